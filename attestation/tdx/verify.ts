// Appraises TDX quotes: bytes, certificate chain, quoting enclave, signature, Intel's statements,
// policy, in that order, every step a named check. Trusted: the policy, the clock, the pinned root key.
import { CocosError } from "../../base/mod.ts";
import { type Explained, explainRules, runRules } from "../rules.ts";
import {
  ANY,
  Appraisal,
  type Claims,
  equalBytes,
  NOT_SET,
  toHex,
  type Verdict,
} from "../verdict.ts";
import { isIssuedBy, p256Key, parseCertificate, sha, verifyRaw } from "../x509/mod.ts";
import {
  appraiseCollateral,
  type Chain,
  COLLATERAL_CHECKS,
  type TcbVerdict,
} from "./_collateral.ts";
import { TDX_RULES } from "./_rules.ts";
import type { TdxCollateral } from "./collateral.ts";
import { checkIntel, INTEL_NAMES, pckExtensions } from "./pck.ts";
import type { TdxPolicy } from "./policy.ts";
import { parseTdxQuote, type TdxQuote } from "./quote.ts";

/** Every check of a TDX verdict, in order. */
export const TDX_CHECKS = [
  "tdx.format",
  "tdx.certificates",
  "tdx.root",
  "tdx.chain",
  "tdx.validity",
  "tdx.qe-signature",
  "tdx.qe-binding",
  "tdx.signature",
  ...COLLATERAL_CHECKS,
  ...TDX_RULES.map(({ id }) => id),
] as const;

type Ids = (typeof TDX_CHECKS)[number];

/** What a verifier knows besides policy and evidence. */
export interface TdxContext {
  /** Milliseconds since 1970 by the verifier's clock. */
  readonly now: number;
  /** The 64 bytes REPORTDATA must be, when the policy says `session`. */
  readonly reportData?: Uint8Array | undefined;
  readonly collateral?: TdxCollateral | undefined;
}

/**
 * Appraises a quote.
 *
 * Never throws for what the evidence, the collateral or the time are: that is a failed check.
 */
export async function appraiseTdx(
  evidence: Uint8Array,
  policy: TdxPolicy,
  context: TdxContext,
): Promise<Verdict> {
  const appraisal = new Appraisal<Ids>("tdx", TDX_CHECKS);
  const quote = await appraisal.attempt(
    "tdx.format",
    "a TDX quote of version 4 or 5",
    () => parseTdxQuote(evidence),
    { remedy: "These bytes are no TDX quote of a known version: ask for it anew." },
  );
  if (quote === undefined) return appraisal.verdict({});
  const chain = await appraiseChain(appraisal, quote, policy, context.now);
  if (chain === undefined) return appraisal.verdict(tdxClaims(quote));
  await checkSignatures(appraisal, quote, chain);
  const tcb = await appraiseCollateral(
    appraisal,
    quote,
    chain,
    policy,
    context.now,
    context.collateral,
  );
  const session = {
    now: context.now,
    reportData: context.reportData === undefined ? undefined : toHex(context.reportData),
  };
  runRules(appraisal, TDX_RULES, policy, { quote, pck: chain.extensions }, session);
  return appraisal.verdict({ ...tdxClaims(quote), ...platformClaims(chain, tcb) });
}

async function appraiseChain(
  appraisal: Appraisal<Ids>,
  quote: TdxQuote,
  policy: TdxPolicy,
  now: number,
): Promise<Chain | undefined> {
  const chain = await appraisal.attempt(
    "tdx.certificates",
    "PCK, its CA and root of Intel's form",
    () => {
      const [pck, intermediate, root] = quote.certificates.map((der) => parseCertificate(der));
      if (pck === undefined || intermediate === undefined || root === undefined) {
        throw new CocosError("untrusted", "three certificates are due");
      }
      checkIntel(pck, [INTEL_NAMES.pck], false);
      checkIntel(intermediate, [INTEL_NAMES.platform, INTEL_NAMES.processor], true);
      checkIntel(root, [INTEL_NAMES.root], true);
      return { pck, intermediate, root, extensions: pckExtensions(pck) };
    },
    { remedy: "The quote must carry Intel's three certificates: ask for it anew." },
  );
  if (chain === undefined) return undefined;
  const { pck, intermediate, root } = chain;
  const digest = toHex(await sha(384, root.key.spki));
  appraisal.check(
    "tdx.root",
    (policy.roots ?? []).includes(digest),
    (policy.roots ?? []).length === 0 ? NOT_SET : policy.roots.join(" or "),
    digest,
    { remedy: "Only Intel's own root is pinned by default: the certificates are not Intel's." },
  );
  await appraisal.attempt("tdx.chain", "each certificate signed by the one above it", async () => {
    for (
      const [subject, issuer, name] of [
        [root, root, "the root is not signed by itself"],
        [intermediate, root, "the root did not sign the intermediate"],
        [pck, intermediate, "the intermediate did not sign the PCK certificate"],
      ] as const
    ) {
      if (!await isIssuedBy(subject, issuer)) throw new CocosError("untrusted", name);
    }
  }, { remedy: "The quote's certificates do not belong together: ask for it anew." });
  const outside = [pck, intermediate, root].find((each) =>
    !(each.notBefore <= now && now <= each.notAfter)
  );
  const iso = (ms: number) => Number.isFinite(ms) ? new Date(ms).toISOString() : String(ms);
  appraisal.check(
    "tdx.validity",
    outside === undefined,
    `all certificates valid at ${iso(now)}`,
    outside === undefined
      ? "valid"
      : `one is valid from ${iso(outside.notBefore)} to ${iso(outside.notAfter)}`,
    { remedy: "Check the clock." },
  );
  return chain;
}

/** PCK signs the QE's report, the report names the attestation key, that key signs the quote. */
async function checkSignatures(
  appraisal: Appraisal<Ids>,
  quote: TdxQuote,
  chain: Chain,
): Promise<void> {
  const { qeReport, qeSignature, qeAuth, attestationKey } = quote;
  const holds = (ok: boolean) => ok ? "holds" : "does not hold";
  const byPck = await verifyRaw(chain.pck.key, "SHA-256", qeSignature, qeReport.raw).catch(() =>
    false
  );
  appraisal.check("tdx.qe-signature", byPck, "the QE report signed by the PCK", holds(byPck), {
    remedy: "The quoting enclave's report was changed or is of another platform.",
  });
  const named = new Uint8Array(attestationKey.length + qeAuth.length);
  named.set(attestationKey);
  named.set(qeAuth, attestationKey.length);
  const expected = new Uint8Array(64);
  expected.set(await sha(256, named));
  appraisal.check(
    "tdx.qe-binding",
    equalBytes(expected, qeReport.reportData),
    toHex(expected),
    toHex(qeReport.reportData),
    { remedy: "The attestation key is not the quoting enclave's." },
  );
  const signed = await verifyRaw(p256Key(attestationKey), "SHA-256", quote.signature, quote.signed)
    .catch(() => false);
  appraisal.check(
    "tdx.signature",
    signed,
    "the quote signed by the attestation key",
    holds(signed),
    {
      remedy: "The quote was changed.",
    },
  );
}

/** What a quote says, for people and for `generate`; believed only when the verdict is good. */
export function tdxClaims(quote: TdxQuote): Claims {
  const { body } = quote;
  const attributes = new Uint8Array(16);
  new DataView(attributes.buffer).setBigUint64(0, body.tdAttributes, true);
  new DataView(attributes.buffer).setBigUint64(8, body.xfam, true);
  return {
    version: quote.version,
    mrTd: toHex(body.mrTd),
    rtmrs: body.rtmrs.map(toHex),
    reportData: toHex(body.reportData),
    mrSeam: toHex(body.mrSeam),
    mrSignerSeam: toHex(body.mrSignerSeam),
    mrConfigId: toHex(body.mrConfigId),
    mrOwner: toHex(body.mrOwner),
    mrOwnerConfig: toHex(body.mrOwnerConfig),
    mrServiceTd: toHex(body.mrServiceTd ?? new Uint8Array(48)),
    debug: (body.tdAttributes & 1n) === 1n,
    tdAttributes: toHex(attributes.subarray(0, 8)),
    xfam: toHex(attributes.subarray(8)),
    teeTcbSvn: toHex(body.teeTcbSvn),
    qeVendor: toHex(quote.qeVendor),
    qeSvn: quote.qeReport.isvSvn,
  };
}

function platformClaims({ extensions }: Chain, tcb: TcbVerdict | undefined): Claims {
  return {
    fmspc: toHex(extensions.fmspc),
    pceId: toHex(extensions.pceId),
    pceSvn: extensions.pceSvn,
    ...(tcb === undefined ? {} : {
      tcbStatus: tcb.status,
      advisories: tcb.advisories,
      tcbDate: Number.isFinite(tcb.date) ? new Date(tcb.date).toISOString() : null,
    }),
  };
}

/** What {@linkcode appraiseTdx} will ask for under a policy, check by check. */
export function explainTdx(policy: TdxPolicy): Explained[] {
  const { tcb } = policy;
  const also = tcb?.collateral === ANY ? ", where there is collateral" : "";
  const advisories = tcb?.advisories;
  return [
    { id: "tdx.format", expected: "a TDX quote of version 4 or 5 with an ECDSA P-256 key" },
    { id: "tdx.certificates", expected: "PCK, its CA and root of Intel's form" },
    {
      id: "tdx.root",
      expected: `a root key with SHA-384 digest ${policy.roots?.join(" or ") ?? ""}`,
    },
    { id: "tdx.chain", expected: "each certificate signed by the one above it" },
    { id: "tdx.validity", expected: "all certificates valid at the verifier's time" },
    { id: "tdx.qe-signature", expected: "the QE report signed by the PCK" },
    { id: "tdx.qe-binding", expected: "the QE report names the attestation key" },
    { id: "tdx.signature", expected: "the quote signed by the attestation key" },
    ...[
      ["tdx.collateral.tcb-info", "a TDX TCB info signed by Intel"],
      ["tdx.collateral.qe-identity", "a TD quoting enclave identity signed by Intel"],
      ["tdx.collateral.time", "statements current at the verifier's time"],
      ["tdx.collateral.evaluation", `at least ${tcb?.minimumEvaluation ?? NOT_SET}`],
      ["tdx.revocation.root", "a current list of the root, without this chain's certificates"],
      ["tdx.revocation.pck", "a current list of the PCK's CA, without the PCK"],
      ["tdx.platform", "FMSPC and PCE id of the statements"],
      ["tdx.qe-identity", "the quoting enclave Intel names"],
      ["tdx.module", "a TDX module Intel names"],
      ["tdx.tcb.qe-level", "a level for the quoting enclave"],
      ["tdx.tcb.module-level", "a level for the TDX module"],
      ["tdx.tcb.platform-level", "a level for the platform"],
      ["tdx.tcb.status", tcb?.statuses?.join(" or ") ?? NOT_SET],
      [
        "tdx.tcb.advisories",
        advisories === undefined
          ? NOT_SET
          : advisories === ANY
          ? ANY
          : advisories.join(", ") || "none",
      ],
    ].map(([id, expected]) => ({
      id: id as string,
      expected: id === "tdx.qe-identity" ? expected as string : `${expected}${also}`,
    })),
    ...explainRules(TDX_RULES, policy),
  ];
}
