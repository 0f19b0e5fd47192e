// Appraises an IMA list under register values that a good quote vouches for: replay to PCR 10, boot
// aggregate, violations, digest algorithms, allow-list. The list comes from the guest.
import { type Bank, BANKS, type BankValues, isBank } from "../banks.ts";
import type { Explained } from "../rules.ts";
import {
  ANY,
  Appraisal,
  equalBytes,
  NOT_SET,
  type OrAny,
  toHex,
  type Verdict,
} from "../verdict.ts";
import { type ImaAllowList, isBootAggregate, refusedFiles } from "./allow.ts";
import { type ImaEntry, type ImaForm, imaFormOf, ImaParser } from "./parse.ts";
import { coverageOf, IMA_PCR, type ImaCoverage, type ImaExtend, type ImaState } from "./replay.ts";

/** A policy over an IMA list. */
export interface ImaPolicy {
  /** Banks that count; SHA-1 never does. The first one with a trusted PCR 10 is used. */
  readonly banks?: readonly Bank[];
  /** How the kernel extends them; `legacy-padded` rests on SHA-1. */
  readonly extend?: ImaExtend;
  /** Entries after the quoted value: `refuse` them, or `ignore` them, that is, look only at the rest. */
  readonly tail?: "refuse" | "ignore";
  /** `refuse`, or `allow` files that changed while they were measured. */
  readonly violations?: "refuse" | "allow";
  /** Accepted file digest algorithms. */
  readonly algorithms?: OrAny<readonly string[]>;
  /** `required`: the first entry must be the digest of the quoted boot PCRs. */
  readonly bootAggregate?: OrAny<"required">;
  /** Accepted files. */
  readonly allowed?: OrAny<ImaAllowList>;
}

/** The checks of an IMA verdict, in order. */
export const IMA_CHECKS = [
  "ima.format",
  "ima.replay",
  "ima.tail",
  "ima.boot-aggregate",
  "ima.violations",
  "ima.algorithms",
  "ima.files",
] as const;

/** Id of a check. */
export type ImaCheck = (typeof IMA_CHECKS)[number];

const EXPECTED: { readonly [id in ImaCheck]: (policy: ImaPolicy) => string } = {
  "ima.format": () => "a whole list of known templates",
  "ima.replay": ({ banks }) =>
    banks === undefined || banks.length === 0
      ? NOT_SET
      : `the quoted PCR 10 of ${banks.join(" or ")}`,
  "ima.tail": ({ tail }) => tail === "refuse" ? "no entry after the quote" : tail ?? NOT_SET,
  "ima.boot-aggregate": ({ bootAggregate }) =>
    bootAggregate === "required" ? "the digest of the quoted boot PCRs" : bootAggregate ?? NOT_SET,
  "ima.violations": ({ violations }) => violations === "refuse" ? "none" : violations ?? NOT_SET,
  "ima.algorithms": ({ algorithms }) =>
    algorithms === ANY || algorithms === undefined || algorithms.length === 0
      ? algorithms === ANY ? ANY : NOT_SET
      : algorithms.join(" or "),
  "ima.files": ({ allowed }) =>
    allowed === undefined || allowed === ANY
      ? allowed ?? NOT_SET
      : `${allowed.files.size} paths and ${allowed.anywhere.size} digests`,
};

const REMEDIES: { readonly [id in ImaCheck]: string } = {
  "ima.format": "Read the whole binary list again.",
  "ima.replay": "Read the list and the quote again, the list last; if it stays so, it was changed.",
  "ima.tail": "Ask for a new quote: files were measured after this one.",
  "ima.boot-aggregate": "Quote PCR 0 to 9 as well, and boot a kernel that reads them.",
  "ima.violations": "Find out who writes files while they are executed, or allow violations.",
  "ima.algorithms": "Boot with ima_hash=sha256, or name the algorithm in the policy.",
  "ima.files": "Find out where these files come from, or add them to the allow-list.",
};

/** What a session adds. */
export interface ImaContext {
  /** Register values of a good TPM verdict. */
  readonly registers: BankValues;
  /** Where an earlier appraisal of the same boot stopped; the list then holds only what follows. */
  readonly from?: ImaState | undefined;
}

/** A verdict with what it covers. */
export interface ImaVerdict {
  readonly verdict: Verdict;
  /** Entries the quote vouches for; empty after a bad verdict. */
  readonly entries: readonly ImaEntry[];
  /** After a good verdict: where the next appraisal of this boot goes on. */
  readonly state: ImaState | undefined;
}

/** What each check will ask for under a policy. */
export function explainIma(policy: ImaPolicy): Explained[] {
  return IMA_CHECKS.map((id) => ({ id, expected: EXPECTED[id](policy) }));
}

/** Appraises a list. Never throws for what the list is. */
export async function appraiseIma(
  list: Uint8Array,
  policy: ImaPolicy,
  context: ImaContext,
  form: ImaForm = imaFormOf(list),
): Promise<ImaVerdict> {
  const appraisal = new Appraisal<ImaCheck>("ima", IMA_CHECKS);
  const decide = (id: ImaCheck, ok: boolean, actual: string) =>
    appraisal.check(id, ok, EXPECTED[id](policy), actual, { remedy: REMEDIES[id] });
  const all = await appraisal.attempt("ima.format", EXPECTED["ima.format"](policy), () => {
    const parser = new ImaParser(form, context.from?.entries ?? 0);
    const entries = parser.push(list);
    parser.end();
    return entries;
  }, { remedy: REMEDIES["ima.format"] });
  if (all === undefined) return { verdict: appraisal.verdict({}), entries: [], state: undefined };

  const coverage = replayed(decide, all, policy, context);
  if (coverage.covered === undefined) {
    return { verdict: appraisal.verdict({}), entries: [], state: undefined };
  }
  const entries = all.slice(0, coverage.covered);
  const after = all.length - entries.length;
  decide(
    "ima.tail",
    policy.tail === "ignore" || (policy.tail === "refuse" && after === 0),
    `${after} entries`,
  );
  checkAggregate(decide, entries, policy, context);
  checkEntries(decide, entries, policy);
  const verdict = appraisal.verdict({
    entries: coverage.state?.entries ?? entries.length,
    violations: entries.filter((entry) => entry.violation).length,
  });
  return verdict.ok
    ? { verdict, entries, state: coverage.state }
    : { verdict, entries: [], state: undefined };
}

type Decide = (id: ImaCheck, ok: boolean, actual: string) => boolean;

function replayed(
  decide: Decide,
  entries: readonly ImaEntry[],
  policy: ImaPolicy,
  { registers, from }: ImaContext,
): ImaCoverage {
  const none: ImaCoverage = {
    covered: undefined,
    forged: undefined,
    elsewhere: undefined,
    state: undefined,
  };
  const bank = (policy.banks ?? []).find((each) =>
    BANKS[each].strong && registers.get(each)?.has(IMA_PCR)
  );
  const trusted = bank === undefined ? undefined : registers.get(bank)?.get(IMA_PCR);
  if (bank === undefined || trusted === undefined) {
    decide("ima.replay", false, "(no counting bank has a signed PCR 10)");
    return none;
  }
  if (from !== undefined && !from.values.has(bank)) {
    decide("ima.replay", false, `(the earlier state has no ${bank} value)`);
    return none;
  }
  const coverage = coverageOf(entries, bank, trusted, {
    how: policy.extend ?? "own",
    ...(from === undefined ? {} : { from }),
  });
  const { covered, forged, elsewhere } = coverage;
  decide(
    "ima.replay",
    covered !== undefined && policy.extend !== undefined,
    policy.extend === undefined
      ? NOT_SET
      : forged !== undefined
      ? `entry ${forged.index} (${forged.path}) has another template hash than its data`
      : elsewhere !== undefined
      ? `entry ${elsewhere.index} is of register ${elsewhere.pcr}, which is not replayed`
      : covered === undefined
      ? `none of ${entries.length} entries leads to ${toHex(trusted)}`
      : `holds after ${covered} entries`,
  );
  return policy.extend === undefined ? none : coverage;
}

/** boot_aggregate = H(PCR 0 to 7), for other hashes than SHA-1 up to PCR 9, in the bank of its hash. */
function checkAggregate(
  decide: Decide,
  entries: readonly ImaEntry[],
  policy: ImaPolicy,
  { registers, from }: ImaContext,
): void {
  if (policy.bootAggregate !== "required") {
    decide("ima.boot-aggregate", policy.bootAggregate === ANY, "(not compared)");
    return;
  }
  if (from !== undefined) {
    decide("ima.boot-aggregate", true, "seen by the earlier appraisal");
    return;
  }
  const first = entries[0];
  if (first === undefined || !isBootAggregate(first) || first.violation) {
    decide("ima.boot-aggregate", false, "the list does not start with it");
    return;
  }
  const { algorithm, digest } = first.file;
  const bank = algorithm.replace("-", "_");
  const values = isBank(bank) ? registers.get(bank) : undefined;
  const count = bank === "sha1" ? 8 : 10;
  const parts = Array.from({ length: count }, (_, index) => values?.get(index));
  if (!isBank(bank) || parts.some((part) => part === undefined)) {
    decide("ima.boot-aggregate", false, `${algorithm}: not every boot PCR of that bank is quoted`);
    return;
  }
  const joined = new Uint8Array(count * BANKS[bank].size);
  parts.forEach((part, index) => joined.set(part as Uint8Array, index * BANKS[bank].size));
  decide(
    "ima.boot-aggregate",
    equalBytes(BANKS[bank].hash(joined), digest),
    `${algorithm}:${toHex(digest)}`,
  );
}

function checkEntries(decide: Decide, entries: readonly ImaEntry[], policy: ImaPolicy): void {
  const violations = entries.filter((entry) => entry.violation);
  decide(
    "ima.violations",
    policy.violations === "allow" || (policy.violations === "refuse" && violations.length === 0),
    violations.length === 0
      ? "none"
      : `${violations.length}, the first is entry ${violations[0]?.index}`,
  );
  const { algorithms, allowed } = policy;
  const found = new Set(
    entries.filter((entry) => !entry.violation && !isBootAggregate(entry)).map((entry) =>
      entry.file.algorithm
    ),
  );
  const others = [...found].filter((each) => algorithms !== ANY && !algorithms?.includes(each));
  decide(
    "ima.algorithms",
    algorithms === ANY ||
      (algorithms !== undefined && algorithms.length > 0 && others.length === 0),
    [...found].join(", ") || "(no file)",
  );
  if (allowed === undefined || allowed === ANY) {
    decide("ima.files", allowed === ANY, allowed === ANY ? "(not compared)" : NOT_SET);
    return;
  }
  const refused = refusedFiles(entries, allowed, { violations: policy.violations === "allow" });
  decide(
    "ima.files",
    refused.length === 0,
    refused.length === 0 ? "all of them" : `${refused.length} are not: ` +
      refused.slice(0, 5).map((each) => `${each.path} ${each.digest} (${each.why})`).join(", "),
  );
}
