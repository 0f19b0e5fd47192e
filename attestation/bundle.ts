// Offline bundles: evidence, collateral, policy, session and time in one JSON file, so that a verdict
// can be reached again years later and without a network. The bundle is a claim like any other: who
// verifies it must know where policy and nonces come from.
import { appraise, type Collateral, type Evidence, type Session } from "./appraise.ts";
import { Fields, type Json, parseJson, sliceOf } from "./json.ts";
import { formatPolicy, parsePolicy, type Policy } from "./policy/mod.ts";
import type { TdxCollateral } from "./tdx/mod.ts";
import {
  decodeAttestation,
  encodeAttestation,
  evidenceOf,
  type TpmAttestation,
} from "./tpm/mod.ts";
import { hclKey } from "./tpm/mod.ts";
import type { Verdict } from "./verdict.ts";
import { decodeBase64, encodeBase64 } from "./x509/mod.ts";

/** Version of the format. */
export const BUNDLE_VERSION = 1;

/** Longest bundle we read: an IMA list of a whole system fits. */
export const MAX_BUNDLE_CHARACTERS = 64 * 1024 * 1024;

const WHAT = "a bundle";

/** A bundle in memory. TPM evidence is the seed era's container, the one form that can be written. */
export interface Bundle {
  readonly policy: Policy;
  readonly evidence: Omit<Evidence, "tpm">;
  /** attest.Attestation with the quotes; its AK is replaced by the HCL report's where there is one. */
  readonly attestation?: TpmAttestation;
  readonly session: Omit<Session, "credential">;
  readonly collateral: Collateral;
}

const EVIDENCE = [
  "snp",
  "tdx",
  "eventLog",
  "ima",
  "gcpEndorsement",
  "simulated",
  "hclReport",
  "svsmManifest",
  "akCertificate",
] as const;
const SESSION = ["reportData", "hostData", "nonce", "teeNonce", "userData"] as const;
const SNP = ["leaf", "intermediate", "root"] as const;
const TDX_TEXTS = [
  "tcbInfo",
  "tcbInfoSignature",
  "tcbInfoChain",
  "qeIdentity",
  "qeIdentitySignature",
  "qeIdentityChain",
] as const;
const TDX_BYTES = ["rootCrl", "pckCrl"] as const;

function base64(fields: Fields, name: string): Uint8Array | undefined {
  const text = fields.string(name);
  if (text === undefined) return undefined;
  try {
    return decodeBase64(text);
  } catch (cause) {
    throw Object.assign(fields.fault(name, "must be base64"), { cause });
  }
}

function pick<N extends string>(fields: Fields, names: readonly N[]): { [name in N]?: Uint8Array } {
  const found: { [name in N]?: Uint8Array } = {};
  for (const name of names) {
    const value = base64(fields, name);
    if (value !== undefined) found[name] = value;
  }
  return found;
}

function list(fields: Fields, name: string): Uint8Array[] | undefined {
  return fields.array(name)?.map((json: Json) => {
    if (json.kind !== "string") throw fields.fault(name, "must be a list of base64 texts");
    return decodeBase64(json.value as string);
  });
}

/**
 * Reads a bundle.
 *
 * @throws {CocosError} `invalid-argument` with the line.
 */
export function parseBundle(text: string): Bundle {
  const top = new Fields(parseJson(text, WHAT, { characters: MAX_BUNDLE_CHARACTERS }), WHAT);
  if (top.integer("cocosBundle", 0, 1000) !== BUNDLE_VERSION) {
    throw top.fault("cocosBundle", `must be ${BUNDLE_VERSION}`);
  }
  const policy = top.required("policy", top.get("policy"));
  const evidence = top.required("evidence", top.object("evidence"));
  const session = top.required("session", top.object("session"));
  const collateral = top.object("collateral");
  top.end();
  const now = Date.parse(session.required("now", session.string("now")));
  if (Number.isNaN(now)) throw session.fault("now", "must be a time such as 2026-12-31T00:00:00Z");
  const attestation = base64(evidence, "attestation");
  const azureToken = evidence.string("azureToken");
  const svsmSingle = evidence.boolean("svsmSingle");
  const result: Bundle = {
    policy: parsePolicy(sliceOf(text, policy)),
    evidence: {
      ...pick(evidence, EVIDENCE),
      ...(azureToken === undefined ? {} : { azureToken }),
      ...(svsmSingle === undefined ? {} : { svsmSingle }),
    },
    ...(attestation === undefined ? {} : { attestation: decodeAttestation(attestation) }),
    session: { now, ...pick(session, SESSION) },
    collateral: collateral === undefined ? {} : parseCollateral(collateral),
  };
  evidence.end();
  session.end();
  return Object.freeze(result);
}

function parseCollateral(fields: Fields): Collateral {
  const snp = fields.object("snp");
  const tdx = fields.object("tdx");
  const azureKeySet = fields.string("azureKeySet");
  const akCertificates = list(fields, "akCertificates");
  const akCrls = list(fields, "akCrls");
  const crls = snp === undefined ? undefined : list(snp, "crls");
  const result: Collateral = {
    ...(snp === undefined ? {} : { snp: { ...pick(snp, SNP), crls } }),
    ...(tdx === undefined ? {} : { tdx: parseTdx(tdx) }),
    ...(azureKeySet === undefined ? {} : { azureKeySet }),
    ...(akCertificates === undefined ? {} : { akCertificates }),
    ...(akCrls === undefined ? {} : { akCrls }),
  };
  snp?.end();
  fields.end();
  return result;
}

function parseTdx(fields: Fields): TdxCollateral {
  const texts = TDX_TEXTS.map((name) => [name, fields.required(name, fields.string(name))]);
  const bytes = TDX_BYTES.map((name) => [name, fields.required(name, base64(fields, name))]);
  fields.end();
  return Object.fromEntries([...texts, ...bytes]) as unknown as TdxCollateral;
}

/** Text of a bundle. */
export function formatBundle(bundle: Bundle): string {
  const { attestation, session, evidence, collateral, policy } = bundle;
  const whole = {
    cocosBundle: BUNDLE_VERSION,
    policy: JSON.parse(formatPolicy(policy)),
    session: { ...session, now: new Date(session.now).toISOString() },
    evidence: {
      ...evidence,
      ...(attestation === undefined ? {} : { attestation: encodeAttestation(attestation) }),
    },
    collateral,
  };
  const text = JSON.stringify(
    whole,
    (_name, value) => value instanceof Uint8Array ? encodeBase64(value) : value,
    2,
  );
  return `${text}\n`;
}

/** Appraises a bundle by the policy, session and time inside of it. */
export async function appraiseBundle(bundle: Bundle): Promise<Verdict> {
  const { policy, session, collateral, attestation } = bundle;
  const { hclReport } = bundle.evidence;
  const evidence: Evidence = attestation === undefined ? bundle.evidence : {
    ...bundle.evidence,
    tpm: {
      ...evidenceOf(attestation),
      ...(hclReport === undefined || attestation.akPublic.length > 0
        ? {}
        : { ak: { key: hclKey(hclReport) } }),
    },
  };
  return await appraise(policy, evidence, session, collateral);
}
