// What the page does with the files it is given: the same appraisal as everywhere, from bytes to a
// verdict. Every file is hostile but the policy, which is the person's own; which file is which is
// said by the person, never guessed from evidence (threat A-3).
import { CocosError } from "../../base/mod.ts";
import {
  appraiseBundle,
  attribute,
  boundPolicy,
  type Bundle,
  type Collateral,
  decodeAttestation,
  decodePem,
  type Evidence,
  type Finding,
  type GivenValues,
  importSeedPolicy,
  lintPolicy,
  Oid,
  parseBundle,
  parseCertificate,
  parseCrl,
  parseJson,
  parsePolicy,
  type Policy,
  type SnpCollateral,
  type Verdict,
} from "../mod.ts";

/** What the person gave. */
export interface Given {
  /** Text of an offline bundle; its own policy counts only without {@linkcode Given.policy}. */
  readonly bundle?: string;
  /** Text of a policy, ours or an SNP policy of the Go programs. */
  readonly policy?: string;
  readonly evidence?: Uint8Array;
  /** Certificates and revocation lists, DER or PEM. */
  readonly collateral: readonly Uint8Array[];
  /** Hex; empty is not given. */
  readonly reportData: string;
  readonly hostData: string;
  readonly nonce: string;
  /** RFC 3339; empty is the page's clock. */
  readonly time: string;
}

/** What the page shows. */
export interface Judged {
  readonly verdict: Verdict;
  /** Whether the policy came inside of the bundle: then it is its maker's. */
  readonly bundled: boolean;
  /** What the policy leaves open. */
  readonly findings: readonly Finding[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Judges what was given.
 *
 * @throws {CocosError} `invalid-argument` for files that are missing or can't be read; evidence that
 * does not hold is a verdict, not an error.
 */
export async function judge(given: Given, clock: number): Promise<Judged> {
  const taken = given.policy === undefined ? undefined : await readPolicy(given.policy);
  const bundle = given.bundle === undefined
    ? makeBundle(given, taken?.policy, clock)
    : ofBundle(parseBundle(given.bundle), taken?.policy, given);
  return {
    verdict: await appraiseBundle(bundle),
    bundled: taken === undefined,
    findings: taken?.findings ?? lintPolicy(bundle.policy),
    now: bundle.session.now,
  };
}

function ofBundle(bundle: Bundle, policy: Policy | undefined, given: Given): Bundle {
  const values = valuesOf(given);
  return {
    ...bundle,
    policy: boundPolicy(policy ?? bundle.policy, values),
    session: {
      ...bundle.session,
      ...values,
      ...(given.time === "" ? {} : { now: timeOf(given.time) }),
    },
  };
}

/** Values that were typed in. */
function valuesOf(given: Given): GivenValues {
  const bytes = (name: "reportData" | "hostData" | "nonce") => {
    if (given[name] === "") return {};
    if (!/^(?:[0-9a-fA-F]{2})+$/.test(given[name])) {
      throw new CocosError("invalid-argument", `Cannot read ${name}: it must be hexadecimal`);
    }
    const pairs = given[name].match(/../g) ?? [];
    return { [name]: Uint8Array.from(pairs, (pair) => parseInt(pair, 16)) };
  };
  return { ...bytes("reportData"), ...bytes("hostData"), ...bytes("nonce") };
}

async function readPolicy(text: string): Promise<{ policy: Policy; findings: readonly Finding[] }> {
  const json = parseJson(text, "a policy", { characters: text.length + 1 });
  if (json.kind === "object" && json.members.has("cocosPolicy")) {
    const policy = parsePolicy(text);
    return { policy, findings: lintPolicy(policy) };
  }
  return await importSeedPolicy(text);
}

function makeBundle(given: Given, policy: Policy | undefined, clock: number): Bundle {
  if (policy === undefined) throw missing("a policy, or a bundle");
  if (given.evidence === undefined) throw missing("evidence");
  const values = valuesOf(given);
  // With a TPM key bound by the report, what was asked with is not what is in the report.
  const { reportData, ...others } = values;
  const session = policy.tpm?.binding === "report-data" && reportData !== undefined
    ? { ...others, teeNonce: reportData }
    : values;
  return {
    policy: boundPolicy(policy, session),
    ...evidenceOf(given.evidence, policy),
    session: { ...session, now: given.time === "" ? clock : timeOf(given.time) },
    collateral: collateralOf(given.collateral),
  };
}

/** The policy says what the file is. */
function evidenceOf(bytes: Uint8Array, policy: Policy): Pick<Bundle, "evidence" | "attestation"> {
  if (policy.tpm !== undefined) {
    const attestation = decodeAttestation(bytes);
    const { snp, akCertificate, eventLog } = attestation;
    const evidence: Omit<Evidence, "tpm"> = {
      ...(policy.snp === undefined || snp === undefined ? {} : { snp: snp.report }),
      ...(policy.eventLog === undefined || eventLog.length === 0 ? {} : { eventLog }),
      ...(akCertificate.length === 0 ? {} : { akCertificate }),
    };
    return { attestation, evidence };
  }
  if (policy.azureToken !== undefined) {
    return { evidence: { azureToken: new TextDecoder().decode(bytes).trim() } };
  }
  const name = policy.tdx !== undefined
    ? "tdx"
    : policy.simulated !== undefined
    ? "simulated"
    : "snp";
  return { evidence: { [name]: bytes } };
}

/** Sorts certificates and lists by what they are; all of them are checked by the chain. */
function collateralOf(files: readonly Uint8Array[]): Collateral {
  const snp: { -readonly [K in keyof SnpCollateral]: SnpCollateral[K] } = {};
  const crls: Uint8Array[] = [];
  const akCertificates: Uint8Array[] = [];
  for (const der of files.flatMap(derOf)) {
    if (isList(der)) {
      crls.push(der);
      continue;
    }
    const { subject, issuer, ca } = parseCertificate(der);
    akCertificates.push(der);
    const name = attribute(subject, Oid.COMMON_NAME) ?? "";
    const self = subject.raw.every((byte, at) => byte === issuer.raw[at]);
    if (self && subject.raw.length === issuer.raw.length) snp.root = der;
    else if (ca) snp.intermediate = der;
    else if (/^SEV-V[CL]EK$/.test(name)) snp.leaf = der;
  }
  if (crls.length > 0) snp.crls = crls;
  return { snp, akCertificates, akCrls: crls };
}

function derOf(bytes: Uint8Array): readonly Uint8Array[] {
  if (bytes[0] === 0x30) return [bytes];
  const text = new TextDecoder().decode(bytes);
  return text.includes("X509 CRL") ? decodePem(text, "X509 CRL") : decodePem(text, "CERTIFICATE");
}

function isList(der: Uint8Array): boolean {
  try {
    parseCrl(der);
    return true;
  } catch {
    return false; // then it must be a certificate, whose parser says what is wrong
  }
}

function timeOf(text: string): number {
  const value = Date.parse(text);
  if (Number.isNaN(value)) {
    throw new CocosError("invalid-argument", "Cannot read the time: such as 2026-12-31T00:00:00Z");
  }
  return value;
}

function missing(what: string): CocosError {
  return new CocosError("invalid-argument", `Cannot appraise: give ${what}`);
}
