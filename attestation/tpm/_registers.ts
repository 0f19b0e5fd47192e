// Register values of TPM quotes: which of them the quotes' digests vouch for, and what a policy asks
// of them. The values come from the peer; only the digests are signed.
import { type Bank, BANKS, type BankValues } from "../banks.ts";
import { ANY, type Claim, equalBytes, NOT_SET, toHex } from "../verdict.ts";
import type { QuotedRegisters } from "./appraise.ts";
import type { PcrExpectations, TpmCheck, TpmPolicy } from "./policy.ts";
import type { Quote } from "./quote.ts";
import { parseTpmSignature } from "./signature.ts";

/** Records a check of a TPM verdict. */
export type Decide = (id: TpmCheck, ok: boolean, actual: string) => boolean;

/** Values that every quote's digest vouches for; empty unless all do. */
export function checkDigests(
  decide: Decide,
  evidence: readonly QuotedRegisters[],
  quotes: readonly Quote[],
): BankValues {
  const all = new Map<Bank, Map<number, Uint8Array>>();
  for (const [at, { values, signature }] of evidence.entries()) {
    const quote = quotes[at] as Quote;
    const why = digestFault(quote, values, hashOf(signature)) ?? merge(all, values);
    if (why !== undefined) {
      decide("tpm.pcrs.digest", false, `quote ${at + 1}: ${why}`);
      return new Map();
    }
  }
  decide("tpm.pcrs.digest", true, "holds");
  return all;
}

function digestFault(
  quote: Quote,
  values: BankValues,
  hash: Bank | undefined,
): string | undefined {
  if (hash === undefined) return "the hash of its signature is not known";
  const parts: Uint8Array[] = [];
  for (const { bank, indices } of quote.selections) {
    const given = values.get(bank);
    if ((given?.size ?? 0) !== indices.length) {
      return `${given?.size ?? 0} values of bank ${bank}, ${indices.length} are selected`;
    }
    for (const index of indices) {
      const value = given?.get(index);
      if (value === undefined) return `${bank}:${index} is selected and not given`;
      if (value.length !== BANKS[bank].size) return `${bank}:${index} has ${value.length} bytes`;
      parts.push(value);
    }
  }
  for (const bank of values.keys()) {
    if (!quote.selections.some((each) => each.bank === bank)) return `bank ${bank} is not selected`;
  }
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  const digest = BANKS[hash].hash(joined);
  return equalBytes(digest, quote.pcrDigest)
    ? undefined
    : `values hash to ${toHex(digest)}, the quote says ${toHex(quote.pcrDigest)}`;
}

function hashOf(signature: QuotedRegisters["signature"]): Bank | undefined {
  if (!(signature instanceof Uint8Array)) return "sha256";
  try {
    return parseTpmSignature(signature).hash;
  } catch {
    return undefined; // tpm.quote.signature tells why
  }
}

/** Adds the values of one quote; two quotes that differ about a register are a fault. */
function merge(all: Map<Bank, Map<number, Uint8Array>>, values: BankValues): string | undefined {
  for (const [bank, registers] of values) {
    const known = all.get(bank) ?? new Map<number, Uint8Array>();
    all.set(bank, known);
    for (const [index, value] of registers) {
      const before = known.get(index);
      if (before !== undefined && !equalBytes(before, value)) return `${bank}:${index} changed`;
      known.set(index, value);
    }
  }
  return undefined;
}

export function checkRegisters(decide: Decide, policy: TpmPolicy, values: BankValues): void {
  const quoted = [...values].filter(([, registers]) => registers.size > 0).map(([bank]) => bank);
  const wanted = (policy.banks ?? []).filter((bank) => BANKS[bank].strong);
  const counting = quoted.filter((bank) => wanted.includes(bank));
  decide("tpm.pcrs.bank", counting.length > 0, quoted.join(", ") || "(none)");
  const registers = policy.registers ?? [];
  const complete = registers.length > 0 &&
    counting.some((bank) => registers.every((index) => values.get(bank)?.has(index)));
  decide(
    "tpm.pcrs.selection",
    complete,
    quoted.map((bank) => `${bank}: ${[...(values.get(bank)?.keys() ?? [])].join(" ")}`).join(
      "; ",
    ) ||
      "(none)",
  );
  if (policy.pcrs === ANY) decide("tpm.pcrs.values", true, "(not compared)");
  else if (policy.pcrs === undefined) decide("tpm.pcrs.values", false, NOT_SET);
  else {
    const { compared, wrong } = differences(policy.pcrs, values);
    const strong = Object.entries(policy.pcrs).some(([bank, list]) =>
      BANKS[bank as Bank].strong && Object.keys(list).length > 0
    );
    const text = !strong ? "(no value of a bank that counts is named)" : wrong.join(" ");
    decide("tpm.pcrs.values", strong && compared > 0 && wrong.length === 0, text || "all equal");
  }
}

/** Registers whose value is not an accepted one, by an exact comparison of every named register. */
function differences(
  expected: PcrExpectations,
  values: BankValues,
): { compared: number; wrong: string[] } {
  const wrong: string[] = [];
  let compared = 0;
  for (const [bank, list] of Object.entries(expected)) {
    for (const [index, accepted] of Object.entries(list)) {
      const value = values.get(bank as Bank)?.get(Number(index));
      const actual = value === undefined ? "(not quoted)" : toHex(value);
      compared++;
      if (!accepted.includes(actual)) wrong.push(`${bank}:${index}=${actual}`);
    }
  }
  return { compared, wrong };
}

/** Registers as claims: bank → index → hex. */
export function registerClaims(values: BankValues): Claim {
  return Object.fromEntries(
    [...values].map(([bank, registers]) => [
      bank,
      Object.fromEntries([...registers].map(([index, value]) => [String(index), toHex(value)])),
    ]),
  );
}
