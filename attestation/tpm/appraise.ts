// Appraises TPM quotes: key, binding, signature, nonce, clock, registers, policy; each step a named
// check. Trusted: the policy, and in the session only what a good verdict or the verifier itself gave.
import type { Explained } from "../rules.ts";
import type { Bank, BankValues, Registers } from "../banks.ts";
import { ANY, Appraisal, type Claim, equalBytes, shown, toHex, type Verdict } from "../verdict.ts";
import { Der, only, parseKey, type SubjectKey, Tag } from "../x509/mod.ts";
import { messageOf } from "../../base/mod.ts";
import type { TpmAttestation } from "./attestation.ts";
import {
  type AkBinding,
  type AkBound,
  type AkGiven,
  checkBinding,
  keyFingerprint,
} from "./binding.ts";
import { checkDigests, checkRegisters, type Decide, registerClaims } from "./_registers.ts";
import { TPM_CHECKS, TPM_EXPECTED, TPM_REMEDIES, type TpmCheck, type TpmPolicy } from "./policy.ts";
import { attestationKeyFaults, parsePublic } from "./public.ts";
import { parseQuote, type Quote } from "./quote.ts";
import { parseTpmSignature, rsassa, verifyTpmSignature } from "./signature.ts";

/** One quote per bank, or one over all; a TPM has at most 16 banks. */
const MAX_QUOTES = 16;

/** The attestation key of the evidence, in one of its forms. */
export type AkEvidence =
  | { /** TPMT_PUBLIC. */ readonly area: Uint8Array }
  | { /** SubjectPublicKeyInfo DER. */ readonly spki: Uint8Array }
  | { /** A key taken from elsewhere, such as the HCL runtime data. */ readonly key: SubjectKey };

/** One quote of the evidence. */
export interface QuotedRegisters {
  /** TPMS_ATTEST. */
  readonly quote: Uint8Array;
  /** TPMT_SIGNATURE; or the bare value of RSASSA with SHA-256, as Azure's tools write it. */
  readonly signature: Uint8Array | { readonly rsassaSha256: Uint8Array };
  /** Values the quote is said to cover. */
  readonly values: BankValues;
}

/** Evidence of a TPM. */
export interface TpmEvidence {
  readonly ak: AkEvidence;
  readonly quotes: readonly QuotedRegisters[];
}

/** What a session adds to policy and evidence. */
export interface TpmContext {
  /** The nonce the verifier asked with; at least one byte. */
  readonly nonce?: Uint8Array | undefined;
  readonly binding?: AkBinding | undefined;
}

/** A verdict, and what may be built on it. */
export interface TpmVerdict {
  readonly verdict: Verdict;
  /** Register values of a good verdict, for the event log and IMA; empty after a bad one. */
  readonly registers: BankValues;
}

/** The evidence inside of an attest.Attestation. */
export function evidenceOf(attestation: TpmAttestation): TpmEvidence {
  return {
    ak: { area: attestation.akPublic },
    quotes: attestation.quotes.map(({ quote, signature, bank, pcrs }) => ({
      quote,
      signature,
      values: new Map([[bank, pcrs]]),
    })),
  };
}

/** What each check will ask for under a policy, before there is evidence. */
export function explainTpm(policy: TpmPolicy): Explained[] {
  return TPM_CHECKS.map((id) => ({ id, expected: TPM_EXPECTED[id](policy) }));
}

/** Appraises the evidence. Never throws for what evidence or session are: that is a failed check. */
export async function appraiseTpm(
  evidence: TpmEvidence,
  policy: TpmPolicy,
  context: TpmContext,
): Promise<TpmVerdict> {
  const appraisal = new Appraisal<TpmCheck>("tpm", TPM_CHECKS);
  const decide = (id: TpmCheck, ok: boolean, actual: string): boolean =>
    appraisal.check(id, ok, TPM_EXPECTED[id](policy), actual, { remedy: TPM_REMEDIES[id] });
  const step = async <T>(id: TpmCheck, run: () => T | Promise<T>): Promise<T | undefined> =>
    await appraisal.attempt(id, TPM_EXPECTED[id](policy), run, { remedy: TPM_REMEDIES[id] });
  const end = (claims: Record<string, Claim> = {}, registers: BankValues = new Map()) => {
    const verdict = appraisal.verdict(claims);
    return { verdict, registers: verdict.ok ? registers : new Map<Bank, Registers>() };
  };

  const ak = await step("tpm.ak.format", () => readKey(evidence.ak));
  if (ak === undefined) return end();
  const bound = await bind(policy, context.binding, ak).catch((error) => messageOf(error));
  decide(
    "tpm.ak.binding",
    typeof bound !== "string",
    typeof bound === "string" ? bound : policy.binding ?? "",
  );
  checkAttributes(decide, ak, typeof bound === "string" ? undefined : bound);

  const quotes = await step("tpm.quote.format", () => readQuotes(evidence.quotes));
  if (quotes === undefined) return end();
  const signed = await signedBy(ak.key, evidence.quotes);
  decide("tpm.quote.signature", signed === undefined, signed ?? "holds");
  checkNonce(decide, policy, context.nonce, quotes);
  checkClock(decide, policy, quotes);
  const values = checkDigests(decide, evidence.quotes, quotes);
  checkRegisters(decide, policy, values);
  const [first] = quotes as [Quote];
  return end({
    attestationKey: keyFingerprint(ak.key),
    nonce: toHex(first.nonce),
    firmwareVersion: first.firmwareVersion.toString(16).padStart(16, "0"),
    resetCount: first.clock.resetCount,
    restartCount: first.clock.restartCount,
    safeClock: first.clock.safe,
    pcrs: registerClaims(values),
    ...boundClaims(bound),
  }, values);
}

function readKey(ak: AkEvidence): AkGiven {
  if ("key" in ak) return { key: ak.key, area: undefined };
  if ("area" in ak) {
    const area = parsePublic(ak.area);
    return { key: area.key, area };
  }
  const what = "an attestation key";
  const element = only(ak.spki, Tag.SEQUENCE, what);
  if (ak.spki.length > 2048) throw new Der(ak.spki, what).fault("the key is too long");
  return { key: parseKey(element, what), area: undefined };
}

async function bind(
  { binding: kind }: TpmPolicy,
  binding: AkBinding | undefined,
  ak: AkGiven,
): Promise<AkBound | string> {
  if (kind === undefined) return "(no way is named)";
  if (kind === ANY) return { attributesVouched: false };
  if (binding === undefined) return "(the session brings nothing that binds the key)";
  if (binding.kind !== kind) return `the session brings ${binding.kind}`;
  return await checkBinding(binding, ak);
}

function checkAttributes(decide: Decide, ak: AkGiven, bound: AkBound | undefined): void {
  if (ak.area === undefined) {
    const vouched = bound?.attributesVouched ?? false;
    decide("tpm.ak.attributes", vouched, vouched ? "vouched for by the binding" : "(not known)");
    return;
  }
  const faults = attestationKeyFaults(ak.area.attributes);
  decide("tpm.ak.attributes", faults.length === 0, faults.join(", ") || "all of them");
}

function readQuotes(quotes: readonly QuotedRegisters[]): Quote[] {
  if (quotes.length === 0 || quotes.length > MAX_QUOTES) {
    throw new RangeError(`${quotes.length} quotes`);
  }
  return quotes.map(({ quote }) => parseQuote(quote));
}

/** Why a quote is not signed by the key; `undefined` when all are. */
async function signedBy(
  key: SubjectKey,
  quotes: readonly QuotedRegisters[],
): Promise<string | undefined> {
  for (const [at, { quote, signature }] of quotes.entries()) {
    try {
      const parsed = signature instanceof Uint8Array
        ? parseTpmSignature(signature)
        : rsassa(signature.rsassaSha256, "sha256");
      if (!await verifyTpmSignature(key, parsed, quote)) return `quote ${at + 1} does not hold`;
    } catch (error) {
      return `quote ${at + 1}: ${messageOf(error)}`;
    }
  }
  return undefined;
}

function checkNonce(
  decide: Decide,
  policy: TpmPolicy,
  nonce: Uint8Array | undefined,
  quotes: readonly Quote[],
): void {
  const actual = quotes.map((each) => shown(each.nonce)).join(", ");
  const given = nonce !== undefined && nonce.length > 0;
  const equal = given && quotes.every((each) => equalBytes(each.nonce, nonce));
  decide(
    "tpm.quote.nonce",
    policy.nonce === ANY || (policy.nonce === "session" && equal),
    policy.nonce === "session" && !given ? `${actual} (the session has no nonce)` : actual,
  );
}

function checkClock(decide: Decide, policy: TpmPolicy, quotes: readonly Quote[]): void {
  const [first] = quotes as [Quote];
  const { resetCount, restartCount } = first.clock;
  const oneBoot = quotes.every(({ clock }, at) =>
    clock.resetCount === resetCount && clock.restartCount === restartCount &&
    (at === 0 || clock.clock >= (quotes[at - 1] as Quote).clock.clock)
  );
  const times = quotes.map(({ clock }) =>
    `${clock.resetCount}/${clock.restartCount} at ${clock.clock} ms`
  );
  decide("tpm.quote.clock", oneBoot, times.join(", "));
  const { counters } = policy;
  decide(
    "tpm.counters",
    counters === ANY ||
      (counters !== undefined && counters.resetCount === resetCount &&
        counters.restartCount === restartCount),
    `reset ${resetCount}, restart ${restartCount}`,
  );
}

function boundClaims(bound: AkBound | string): Record<string, Claim> {
  if (typeof bound === "string") return {};
  const { hcl, instance } = bound;
  return {
    ...(hcl === undefined ? {} : { userData: toHex(hcl.userData) }),
    ...(instance === undefined ? {} : {
      instance: {
        zone: instance.zone,
        projectId: instance.projectId,
        projectNumber: String(instance.projectNumber),
        instanceId: String(instance.instanceId),
        instanceName: instance.instanceName,
      },
    }),
  };
}
