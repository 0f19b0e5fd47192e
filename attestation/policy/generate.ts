// Makes a strict policy from evidence of a VM its owner knows to be good. The evidence must verify
// down to the vendor's root first; only then are its values written down as expectations.
import { CocosError } from "../../base/mod.ts";
import {
  appraiseSnp,
  decodeTcb,
  lineOfCpu,
  parseReport,
  type ProductLine,
  type SnpContext,
  type SnpPolicy,
  snpPolicy,
  splitExtended,
  TCB_ZERO,
} from "../snp/mod.ts";
import {
  appraiseTdx,
  parseTdxQuote,
  type TdxContext,
  type TdxPolicy,
  tdxPolicy,
} from "../tdx/mod.ts";
import { ANY, type Claims, type Flag, requireOk, toHex, type Verdict } from "../verdict.ts";

const onOff = (bit: boolean): Flag => bit ? "on" : "off";
const atMost = (bit: boolean): Flag => bit ? ANY : "off";

/** Root keys other than the vendor's, for tests and private test hardware. */
export interface GenerateOptions {
  readonly roots?: readonly string[];
  /** `any` for evidence of a machine whose collateral is not at hand. */
  readonly revocation?: "required" | "any";
}

/**
 * Policy of a known-good SNP guest: every value of its report becomes an expectation, except those
 * that are new with each boot, machine or session.
 *
 * @throws {CocosError} `untrusted` when the report does not verify.
 */
export async function generateSnp(
  evidence: Uint8Array,
  context: SnpContext,
  options: GenerateOptions = {},
): Promise<SnpPolicy> {
  const report = parseReport(splitExtended(evidence).report);
  const open = snpPolicy({
    products: report.cpuid === undefined ? ["Milan", "Genoa", "Turin"] : lines(report.cpuid),
    signers: ["vcek", "vlek"],
    measurement: ANY,
    reportData: ANY,
    reportIdMa: ANY,
    vmpl: ANY,
    guest: { smt: ANY, cxl: ANY, debug: ANY, migration: ANY },
    platform: { tio: ANY },
    firmware: { provisional: ANY },
    tcb: { reported: TCB_ZERO },
    revocation: options.revocation ?? "required",
    ...(options.roots === undefined ? {} : { roots: options.roots }),
  });
  const verdict = await appraiseSnp(evidence, open, context);
  requireOk(verdict);
  const line = productOf(verdict);
  const { policy, platform, currentVersion } = report;
  const committed = decodeTcb(report.committedTcb, line);
  const current = decodeTcb(report.currentTcb, line);
  return snpPolicy({
    products: [line],
    signers: report.signingKey === "vlek" ? ["vlek"] : ["vcek"],
    ...(options.roots === undefined ? {} : { roots: options.roots }),
    revocation: options.revocation ?? "required",
    measurement: [toHex(report.measurement)],
    hostData: toHex(report.hostData),
    familyId: [toHex(report.familyId)],
    imageId: [toHex(report.imageId)],
    reportIdMa: [toHex(report.reportIdMa)],
    idBlock: report.idKeyDigest.every((byte) => byte === 0)
      ? "none"
      : { idKeys: [toHex(report.idKeyDigest)], authorKeys: [] },
    authorKey: onOff(report.authorKeyEnabled),
    vmpl: [report.vmpl],
    minimumGuestSvn: report.guestSvn,
    guest: {
      minimumAbi: `${policy.abiMajor}.${policy.abiMinor}`,
      debug: onOff(policy.debug),
      migration: onOff(policy.migration),
      smt: atMost(policy.smt),
      cxl: atMost(policy.cxl),
      singleSocket: policy.singleSocket ? "on" : ANY,
      aes256Xts: policy.aes256Xts ? "on" : ANY,
      raplOff: policy.raplOff ? "on" : ANY,
      ciphertextHiding: policy.ciphertextHiding ? "on" : ANY,
      pageSwapOff: policy.pageSwapOff ? "on" : ANY,
    },
    platform: {
      smt: atMost(platform.smt),
      tsme: ANY,
      ecc: platform.ecc ? "on" : ANY,
      raplOff: platform.raplOff ? "on" : ANY,
      ciphertextHiding: platform.ciphertextHiding ? "on" : ANY,
      aliasCheck: platform.aliasCheck ? "on" : ANY,
      tio: atMost(platform.tio),
    },
    firmware: {
      minimumVersion: `${currentVersion.major}.${currentVersion.minor}`,
      minimumBuild: currentVersion.build,
      provisional: toHex(report.committedTcb) === toHex(report.currentTcb) ? "off" : ANY,
    },
    tcb: {
      reported: decodeTcb(report.reportedTcb, line),
      current,
      committed,
      launch: decodeTcb(report.launchTcb, line),
    },
    mitigations: report.version < 5 ? { launch: ANY, current: ANY } : {
      launch: report.launchMitigations.toString(16),
      current: report.currentMitigations.toString(16),
    },
  });
}

function lines(cpu: { family: number; model: number }): ProductLine[] {
  const line = lineOfCpu(cpu);
  if (line === undefined) {
    throw new CocosError("untrusted", "Cannot make a policy: the CPU is unknown");
  }
  return [line];
}

function productOf({ claims }: { claims: Claims }): ProductLine {
  return claims.product as ProductLine;
}

/**
 * Policy of a known-good TD: every value of its quote becomes an expectation, except those that are
 * new with each session.
 *
 * @throws {CocosError} `untrusted` when the quote does not verify.
 */
export async function generateTdx(
  quote: Uint8Array,
  context: TdxContext,
  options: Pick<GenerateOptions, "roots"> & { collateral?: "required" | "any" } = {},
): Promise<TdxPolicy> {
  const { body, qeVendor, qeReport } = parseTdxQuote(quote);
  const roots = options.roots === undefined ? {} : { roots: options.roots };
  const collateral = options.collateral ?? "required";
  const open = tdxPolicy({
    ...roots,
    mrTd: ANY,
    rtmr0: ANY,
    rtmr1: ANY,
    rtmr2: ANY,
    rtmr3: ANY,
    reportData: ANY,
    mrConfigId: ANY,
    mrOwner: ANY,
    mrOwnerConfig: ANY,
    mrServiceTd: ANY,
    qeVendor: ANY,
    debug: ANY,
    tcb: { collateral },
  });
  const verdict: Verdict = await appraiseTdx(quote, open, context);
  requireOk(verdict);
  const claim = (name: string) => [verdict.claims[name] as string];
  const [rtmr0, rtmr1, rtmr2, rtmr3] = body.rtmrs.map((each) => [toHex(each)]);
  return tdxPolicy({
    ...roots,
    mrTd: [toHex(body.mrTd)],
    rtmr0: rtmr0 ?? [],
    rtmr1: rtmr1 ?? [],
    rtmr2: rtmr2 ?? [],
    rtmr3: rtmr3 ?? [],
    qeVendor: [toHex(qeVendor)],
    mrSeam: claim("mrSeam"),
    mrSignerSeam: claim("mrSignerSeam"),
    mrConfigId: claim("mrConfigId"),
    mrOwner: claim("mrOwner"),
    mrOwnerConfig: claim("mrOwnerConfig"),
    mrServiceTd: claim("mrServiceTd"),
    debug: onOff((body.tdAttributes & 1n) === 1n),
    tdAttributes: claim("tdAttributes"),
    xfam: claim("xfam"),
    minimumTeeTcbSvn: toHex(body.teeTcbSvn),
    minimumQeSvn: qeReport.isvSvn,
    minimumPceSvn: verdict.claims.pceSvn as number,
    tcb: { collateral },
  });
}
