// Appraises SEV-SNP evidence: bytes, certificate chain, signature, claims, policy, in that order,
// with every step a named check. Trusted: the policy, the clock that is passed, the pinned root keys.
import { type Explained, explainRules, runRules } from "../rules.ts";
import { Appraisal, type Claims, equalBytes, toHex, type Verdict } from "../verdict.ts";
import { verifyRaw } from "../x509/mod.ts";
import { appraiseChain, CHAIN_CHECKS, type SnpCollateral } from "./_chain.ts";
import { type Judged, SNP_RULES, type SnpSession } from "./_rules.ts";
import type { SnpPolicy } from "./policy.ts";
import { parseReport, type SnpReport } from "./report.ts";
import { splitExtended } from "./table.ts";
import { decodeTcb, type Tcb, tcbText } from "./tcb.ts";

/** Every check of an SNP verdict, in order. */
export const SNP_CHECKS = [
  "snp.format",
  ...CHAIN_CHECKS,
  "snp.signature",
  "snp.hardware-id",
  "snp.tcb.layout",
  "snp.tcb.certified",
  ...SNP_RULES.map(({ id }) => id),
] as const;

/** What a verifier knows besides policy and evidence. */
export interface SnpContext {
  /** Milliseconds since 1970 by the verifier's clock. */
  readonly now: number;
  /** The 64 bytes REPORT_DATA must be, when the policy says `session`. */
  readonly reportData?: Uint8Array | undefined;
  /** The 32 bytes HOST_DATA must be, when the policy says `session`. */
  readonly hostData?: Uint8Array | undefined;
  readonly collateral?: SnpCollateral | undefined;
}

/**
 * Appraises a report, or an extended report (report and certificate table).
 *
 * Never throws for what the evidence, the collateral or the time are: that is a failed check.
 *
 * @param evidence 1,184 bytes, or more with a certificate table.
 */
export async function appraiseSnp(
  evidence: Uint8Array,
  policy: SnpPolicy,
  context: SnpContext,
): Promise<Verdict> {
  const appraisal = new Appraisal<(typeof SNP_CHECKS)[number]>("snp", SNP_CHECKS);
  const parsed = await appraisal.attempt("snp.format", "a report of version 2 to 5", () => {
    const { report, table } = splitExtended(evidence);
    return { report: parseReport(report), table };
  }, { remedy: "These bytes are no report as AMD's firmware writes it: ask for it anew." });
  if (parsed === undefined) return appraisal.verdict({});
  const { report, table } = parsed;
  const leaf = await appraiseChain(
    appraisal,
    report,
    table,
    policy,
    context.now,
    context.collateral ?? {},
  );
  if (leaf === undefined) return appraisal.verdict(snpClaims(report));

  const { certificate, extensions, line } = leaf;
  const signed = await verifyRaw(certificate.key, "SHA-384", report.signature, report.signed)
    .catch(() => false);
  appraisal.check(
    "snp.signature",
    signed,
    "signed by the leaf's key",
    signed ? "holds" : "does not hold",
    {
      remedy: "The report was changed, or is not of this chip and TCB.",
    },
  );
  checkHardwareId(appraisal, report, extensions.hwid);
  const tcbs = await appraisal.attempt(
    "snp.tcb.layout",
    `TCB versions as ${line} lays them out`,
    () => ({
      reported: decodeTcb(report.reportedTcb, line, "REPORTED_TCB"),
      current: decodeTcb(report.currentTcb, line, "CURRENT_TCB"),
      committed: decodeTcb(report.committedTcb, line, "COMMITTED_TCB"),
      launch: decodeTcb(report.launchTcb, line, "LAUNCH_TCB"),
    }),
    { remedy: "The firmware counts versions in a way this program does not know: update it." },
  );
  if (tcbs === undefined) return appraisal.verdict(snpClaims(report));
  appraisal.equal("snp.tcb.certified", tcbText(extensions.tcb), tcbText(tcbs.reported), {
    remedy: "The certificate is for another TCB than the report: fetch the one for REPORTED_TCB.",
  });
  const judged: Judged = { report, leaf: extensions, ...tcbs };
  const session: SnpSession = {
    now: context.now,
    reportData: hexOf(context.reportData),
    hostData: hexOf(context.hostData),
  };
  runRules(appraisal, SNP_RULES, policy, judged, session);
  return appraisal.verdict({ product: line, ...snpClaims(report), ...tcbClaims(tcbs) });
}

/**
 * A VCEK belongs to one chip; a VLEK, and a report with masked chip id, to none. The hardware id has
 * 64 bytes; on Turin 8, which are the first of CHIP_ID.
 */
function checkHardwareId(
  appraisal: Appraisal<(typeof SNP_CHECKS)[number]>,
  report: SnpReport,
  hwid: Uint8Array | undefined,
): void {
  const none = report.signingKey === "vlek" || report.chipKeyMasked || hwid === undefined;
  const expected = none ? new Uint8Array(64) : hwid;
  const zero = !none && hwid.every((byte) => byte === 0);
  appraisal.check(
    "snp.hardware-id",
    !zero && equalBytes(expected, report.chipId.subarray(0, expected.length)),
    none ? "no chip id (VLEK or masked)" : toHex(expected),
    toHex(report.chipId),
    { remedy: "The certificate belongs to another chip." },
  );
}

function hexOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : toHex(bytes);
}

/** What a report says, for people and for `generate`; believed only when the verdict is good. */
export function snpClaims(report: SnpReport): Claims {
  return {
    version: report.version,
    measurement: toHex(report.measurement),
    reportData: toHex(report.reportData),
    hostData: toHex(report.hostData),
    vmpl: report.vmpl,
    guestPolicy: report.policy.raw.toString(16).padStart(16, "0"),
    debug: report.policy.debug,
    platformInfo: report.platform.raw.toString(16).padStart(16, "0"),
    guestSvn: report.guestSvn,
    familyId: toHex(report.familyId),
    imageId: toHex(report.imageId),
    reportId: toHex(report.reportId),
    reportIdMa: toHex(report.reportIdMa),
    chipId: toHex(report.chipId),
    idKeyDigest: toHex(report.idKeyDigest),
    authorKeyDigest: toHex(report.authorKeyDigest),
    signingKey: report.signingKey,
    firmware:
      `${report.currentVersion.major}.${report.currentVersion.minor}.${report.currentVersion.build}`,
  };
}

function tcbClaims(tcbs: Record<"reported" | "current" | "committed" | "launch", Tcb>): Claims {
  return {
    reportedTcb: { ...tcbs.reported },
    currentTcb: { ...tcbs.current },
    committedTcb: { ...tcbs.committed },
    launchTcb: { ...tcbs.launch },
  };
}

/** What {@linkcode appraiseSnp} will ask for under a policy, check by check. */
export function explainSnp(policy: SnpPolicy): Explained[] {
  const roots = policy.roots?.join(" or ") ?? "";
  return [
    { id: "snp.format", expected: "a report of version 2 to 5 whose reserved bytes are zero" },
    { id: "snp.signer", expected: policy.signers?.join(" or ") ?? "" },
    { id: "snp.leaf", expected: "a VCEK or VLEK certificate of AMD's form" },
    { id: "snp.product", expected: policy.products?.join(" or ") ?? "" },
    { id: "snp.intermediate", expected: "an ASK or ASVK certificate of the product line" },
    { id: "snp.root", expected: `a root key with SHA-384 digest ${roots}` },
    { id: "snp.chain", expected: "each certificate signed by the one above it" },
    { id: "snp.validity", expected: "all certificates valid at the verifier's time" },
    { id: "snp.revocation", expected: policy.revocation ?? "" },
    { id: "snp.signature", expected: "the report signed by the leaf's key" },
    { id: "snp.hardware-id", expected: "the chip id of the VCEK" },
    { id: "snp.tcb.layout", expected: "TCB versions as the product lays them out" },
    { id: "snp.tcb.certified", expected: "the certificate's TCB equals the reported one" },
    ...explainRules(SNP_RULES, policy),
  ];
}
