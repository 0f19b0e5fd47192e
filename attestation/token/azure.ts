// Tokens of Microsoft Azure Attestation. A token is Microsoft's word about evidence it saw; issuer and
// keys are pinned by the policy, never taken from the token (threat A-12).
import { compactVerify, importJWK } from "jose";
import { CocosError } from "../../base/mod.ts";
import { Fields, type Json, plain } from "../json.ts";
import {
  atLeast,
  bound,
  type Explained,
  explainRules,
  flag,
  oneOf,
  type Rule,
  runRules,
  SESSION,
} from "../rules.ts";
import {
  ANY,
  Appraisal,
  type Claims,
  type Flag,
  NOT_SET,
  type OrAny,
  toHex,
  type Verdict,
} from "../verdict.ts";
import { decodeBase64 } from "../x509/mod.ts";
import { parseToken } from "./jwt.ts";
import { parseKeySet } from "./keys.ts";

/** What a relying party expects of a token; byte values are lower-case hex. */
export interface AzureTokenPolicy {
  readonly technology: "azure-token";
  /** `iss`, an https URL. */
  readonly issuer: string;
  /** RFC 7638 thumbprints (hex) of accepted keys; `any` trusts the issuer's whole key set. */
  readonly keys: OrAny<readonly string[]>;
  /** `sevsnpvm` or `tdxvm`. */
  readonly isolation: readonly string[];
  /** `session`, hex, or `any`. */
  readonly nonce: string;
  /** What `aud` must be; `none` stands for a token without. */
  readonly audience: OrAny<readonly string[]>;
  /** SHA-256 of the attestation policy of the instance, base64url as in the token. */
  readonly policyHash: OrAny<readonly string[]>;
  /** Launch measurement of SNP, or MRTD. */
  readonly measurement: OrAny<readonly string[]>;
  readonly hostData: OrAny<readonly string[]>;
  readonly debug: Flag;
  readonly migration: Flag;
  readonly secureBoot: Flag;
  readonly minimumGuestSvn: number;
  readonly minimumBootloader: number;
  readonly minimumTee: number;
  readonly minimumSnp: number;
  readonly minimumMicrocode: number;
  /** How far clocks may differ, seconds, at most 300. */
  readonly skewSeconds: number;
  /** How old a token may be, seconds. */
  readonly maximumAgeSeconds: number;
}

/** A policy of strict defaults and what is given. */
export function azureTokenPolicy(
  given: Pick<AzureTokenPolicy, "issuer" | "keys" | "measurement"> & Partial<AzureTokenPolicy>,
): AzureTokenPolicy {
  return Object.freeze({
    technology: "azure-token",
    isolation: ["sevsnpvm"],
    nonce: SESSION,
    audience: ["none"],
    policyHash: ANY,
    hostData: ANY,
    debug: "off",
    migration: "off",
    secureBoot: ANY,
    minimumGuestSvn: 0,
    minimumBootloader: 0,
    minimumTee: 0,
    minimumSnp: 0,
    minimumMicrocode: 0,
    skewSeconds: 60,
    maximumAgeSeconds: 8 * 3600,
    ...given,
  });
}

/** Claims that are judged. */
export interface AzureClaims {
  readonly issuer: string;
  readonly audience: string;
  /** Seconds since 1970. */
  readonly issued: number;
  readonly notBefore: number;
  readonly expires: number;
  readonly nonce: string;
  readonly isolation: string;
  readonly compliance: string;
  readonly policyHash: string;
  readonly measurement: string;
  readonly hostData: string;
  readonly debug: boolean;
  readonly migration: boolean;
  readonly secureBoot: boolean;
  readonly guestSvn: number;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
  /** TDX: Microsoft's word on the TCB; empty for SNP. */
  readonly tcbStatus: string;
}

interface Session {
  readonly now: number;
  readonly nonce: string | undefined;
}

const RULES = [
  oneOf(
    "token.issuer",
    (p) => p.issuer ? [p.issuer] : undefined,
    (e) => e.issuer,
    "The token is of another attestation service.",
  ),
  {
    id: "token.time",
    expected: ({ skewSeconds, maximumAgeSeconds }, session) =>
      skewSeconds === undefined || maximumAgeSeconds === undefined
        ? NOT_SET
        : `valid ${
          session === undefined ? "now" : `at ${session.now / 1000}`
        }, at most ${maximumAgeSeconds} s old, clocks within ${skewSeconds} s`,
    actual: ({ notBefore, issued, expires }) => `nbf ${notBefore}, iat ${issued}, exp ${expires}`,
    holds: ({ skewSeconds, maximumAgeSeconds }, { notBefore, issued, expires }, { now }) => {
      const seconds = now / 1000;
      return skewSeconds >= 0 && skewSeconds <= 300 && maximumAgeSeconds > 0 &&
        notBefore <= seconds + skewSeconds && issued <= seconds + skewSeconds &&
        expires > seconds - skewSeconds && expires > notBefore &&
        issued >= seconds - skewSeconds - maximumAgeSeconds;
    },
    remedy: "Check the clock; get a fresh token.",
  },
  oneOf(
    "token.audience",
    (p) => p.audience,
    (e) => e.audience,
    "The token is meant for another reader.",
  ),
  bound(
    "token.nonce",
    (p) => p.nonce,
    (s) => s.nonce,
    (e) => e.nonce,
    "The token is not for this session: ask for one over your nonce.",
  ),
  oneOf("token.isolation", (p) => p.isolation, (e) => e.isolation, "The VM is of another kind."),
  {
    id: "token.compliance",
    expected: () => "azure-compliant-cvm",
    actual: (e) => e.compliance,
    holds: (_p, e) => e.compliance === "azure-compliant-cvm",
    remedy: "Microsoft does not call this VM a compliant confidential VM.",
  },
  oneOf(
    "token.policy-hash",
    (p) => p.policyHash,
    (e) => e.policyHash,
    "The attestation instance has another policy than the one you know.",
  ),
  oneOf(
    "token.measurement",
    (p) => p.measurement,
    (e) => e.measurement,
    "Another image was started.",
  ),
  oneOf("token.host-data", (p) => p.hostData, (e) => e.hostData, "Launched with other host data."),
  flag("token.debug", (p) => p.debug, (e) => e.debug, "A debug VM can be read by its host."),
  flag("token.migration", (p) => p.migration, (e) => e.migration, "The VM may be migrated."),
  flag(
    "token.secure-boot",
    (p) => p.secureBoot,
    (e) => e.secureBoot,
    "Boot the VM with Secure Boot.",
  ),
  atLeast(
    "token.guest-svn",
    (p) => p.minimumGuestSvn,
    (e) => e.guestSvn,
    "An older guest version.",
  ),
  atLeast(
    "token.bootloader",
    (p) => p.minimumBootloader,
    (e) => e.bootloader,
    "An older bootloader.",
  ),
  atLeast("token.tee", (p) => p.minimumTee, (e) => e.tee, "An older TEE firmware."),
  atLeast("token.snp", (p) => p.minimumSnp, (e) => e.snp, "An older SNP firmware."),
  atLeast("token.microcode", (p) => p.minimumMicrocode, (e) => e.microcode, "Older microcode."),
  {
    id: "token.tcb-status",
    expected: () => "UpToDate, where the VM is a TD",
    actual: (e) => e.tcbStatus || "none",
    holds: (_p, e) => e.isolation === "tdxvm" ? e.tcbStatus === "UpToDate" : e.tcbStatus === "",
    remedy: "Microsoft calls the platform out of date.",
  },
] as const satisfies readonly Rule<string, AzureTokenPolicy, AzureClaims, Session>[];

/** Every check of a token's verdict, in order. */
export const AZURE_TOKEN_CHECKS = [
  "token.format",
  "token.algorithm",
  "token.key-source",
  "token.key",
  "token.signature",
  "token.claims",
  ...RULES.map(({ id }) => id),
] as const;

/** What a verifier knows besides policy and token. */
export interface AzureTokenContext {
  /** Milliseconds since 1970 by the verifier's clock. */
  readonly now: number;
  /** The nonce the token must carry, when the policy says `session`. */
  readonly nonce?: Uint8Array | undefined;
  /** Text of the key set of the issuer the *policy* names. */
  readonly keySet: string;
}

/** Appraises a token in compact form. */
export async function appraiseAzureToken(
  token: string,
  policy: AzureTokenPolicy,
  context: AzureTokenContext,
): Promise<Verdict> {
  const appraisal = new Appraisal("azure-token", AZURE_TOKEN_CHECKS);
  const parsed = await appraisal.attempt(
    "token.format",
    "a compact JWT",
    () => parseToken(token.trim()),
    { remedy: "Give the token itself, three parts with dots between, not its claims." },
  );
  if (parsed === undefined) return appraisal.verdict({});
  appraisal.equal("token.algorithm", "RS256", parsed.algorithm, {
    remedy: "Only RS256 is taken from MAA.",
  });
  const source = `${policy.issuer}/certs`;
  appraisal.check(
    "token.key-source",
    parsed.keyUrl === undefined || parsed.keyUrl === source,
    `none, or ${source}`,
    parsed.keyUrl ?? "none",
    { remedy: "The token points at keys of somebody else; they are not fetched." },
  );
  const key = await appraisal.attempt(
    "token.key",
    policy.keys === ANY ? "a key of the issuer's set" : policy.keys?.join(" or ") || NOT_SET,
    async () => {
      const keys = await parseKeySet(context.keySet);
      const found = keys.find((each) => each.id === parsed.keyId);
      if (found === undefined) throw refuse("the key set has no key of this id");
      if (policy.keys !== ANY && !(policy.keys ?? []).includes(found.thumbprint)) {
        throw refuse(`the key's thumbprint is ${found.thumbprint}`);
      }
      return found;
    },
    { remedy: "Fetch the key set of the issuer your policy names; pin new keys after a rotation." },
  );
  if (key === undefined) return appraisal.verdict({});
  const good = await appraisal.attempt("token.signature", "signed by that key", async () => {
    const imported = await importJWK({ ...key.jwk }, "RS256");
    await compactVerify(token.trim(), imported, { algorithms: ["RS256"] });
    return true;
  }, { remedy: "The token was changed, or is not of this issuer." });
  const claims = await appraisal.attempt(
    "token.claims",
    "the claims of a confidential VM",
    () => readClaims(parsed.payload),
    { remedy: "The token is of another kind of attestation: ask for one of a confidential VM." },
  );
  if (claims === undefined) return appraisal.verdict({});
  const session: Session = {
    now: context.now,
    nonce: context.nonce === undefined ? undefined : toHex(context.nonce),
  };
  runRules(appraisal, RULES, policy, claims, session);
  return appraisal.verdict(good ? { ...claims } as Claims : {});
}

/**
 * Reads the claims that are judged; all others are left alone.
 *
 * @throws {CocosError} `invalid-argument` for a missing or malformed one.
 */
export function readClaims(payload: Json): AzureClaims {
  const what = "a token's claims";
  const top = new Fields(payload, what);
  const tee = top.object("x-ms-isolation-tee") ?? top;
  const isolation = tee.required("x-ms-attestation-type", tee.string("x-ms-attestation-type"));
  const runtime = top.object("x-ms-runtime");
  const nonce = runtime?.object("client-payload")?.string("nonce");
  const audience = top.get("aud");
  const number = (name: string) => tee.required(name, tee.integer(name, 0, 2 ** 32 - 1));
  const seconds = (name: string) => top.required(name, top.integer(name, 0, 2 ** 40));
  const tdx = isolation === "tdxvm";
  const snp = (name: string) => tdx ? 0 : number(`x-ms-sevsnpvm-${name}`);
  const bit = (name: string) => {
    const value = tee.boolean(name);
    return tee.required(name, value);
  };
  const hex = (name: string, bytes: number) => {
    const text = tee.required(name, tee.string(name)).toLowerCase();
    if (text.length !== 2 * bytes || !/^[0-9a-f]*$/.test(text)) {
      throw tee.fault(name, `must be hex of ${bytes} bytes`);
    }
    return text;
  };
  return Object.freeze({
    issuer: top.required("iss", top.string("iss")),
    audience: audience === undefined
      ? "none"
      : JSON.stringify(plain(audience)).replace(/^"(.*)"$/, "$1"),
    issued: seconds("iat"),
    notBefore: seconds("nbf"),
    expires: seconds("exp"),
    nonce: nonce === undefined ? "" : toHex(decodeBase64(nonce)),
    isolation,
    compliance: tee.string("x-ms-compliance-status") ?? "",
    policyHash: top.string("x-ms-policy-hash") ?? "",
    measurement: tdx ? hex("tdx_mrtd", 48) : hex("x-ms-sevsnpvm-launchmeasurement", 48),
    hostData: tdx ? hex("tdx_mrconfigid", 48) : hex("x-ms-sevsnpvm-hostdata", 32),
    debug: tdx
      ? (parseInt(hex("tdx_td_attributes", 8).slice(0, 2), 16) & 1) === 1
      : bit("x-ms-sevsnpvm-is-debuggable"),
    migration: tdx ? false : bit("x-ms-sevsnpvm-migration-allowed"),
    secureBoot: top.boolean("secureboot") ?? false,
    guestSvn: snp("guestsvn"),
    bootloader: snp("bootloader-svn"),
    tee: snp("tee-svn"),
    snp: snp("snpfw-svn"),
    microcode: snp("microcode-svn"),
    tcbStatus: tdx ? tee.string("attester_tcb_status") ?? "missing" : "",
  });
}

/** What {@linkcode appraiseAzureToken} will ask for under a policy. */
export function explainAzureToken(policy: AzureTokenPolicy): Explained[] {
  return [
    { id: "token.format", expected: "a compact JWT without doubled names" },
    { id: "token.algorithm", expected: "RS256" },
    { id: "token.key-source", expected: `no key address, or ${policy.issuer}/certs` },
    {
      id: "token.key",
      expected: policy.keys === ANY
        ? "a key of the issuer's set"
        : policy.keys?.join(" or ") || NOT_SET,
    },
    { id: "token.signature", expected: "signed by that key" },
    { id: "token.claims", expected: "the claims of a confidential VM" },
    ...explainRules(RULES, policy),
  ];
}

function refuse(reason: string): CocosError {
  return new CocosError("untrusted", reason);
}
