// How old a TDX platform is: levels of platform, TDX module and quoting enclave, and the one status
// they converge to (Intel PCS API v4; DCAP quote verification library). Worst wins; no level = refusal.
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import {
  type Level,
  type ModuleIdentity,
  type QeIdentity,
  type SvnLevel,
  TCB_STATUSES,
  type TcbInfo,
  type TcbStatus,
} from "./collateral.ts";
import type { PckExtensions } from "./pck.ts";
import type { QeReport, TdBody } from "./quote.ts";

/** First level whose SVN is not above the actual one. */
function levelOf(levels: readonly SvnLevel[], svn: number): SvnLevel | undefined {
  return levels.find((each) => each.isvSvn <= svn);
}

/** Whether `value & mask` equals `wanted`; all lower-case hex of one length. */
export function maskedEqual(value: string, mask: string, wanted: string): boolean {
  if (value.length !== mask.length || value.length !== wanted.length) return false;
  const number = (hex: string) => BigInt(`0x${hex}`);
  return (number(value) & number(mask)) === number(wanted);
}

/** What an identity says a quoting enclave is, without its versions. */
export type QeMarks = Pick<
  QeIdentity,
  "miscSelect" | "miscSelectMask" | "attributes" | "attributesMask" | "mrSigner" | "isvProdId"
>;

/**
 * Intel's TD quoting enclave, as every statement so far describes it: it must be this one also where
 * there is no statement. A host can have the PCK sign for an enclave of its own, and that one signs
 * any quote; only the signer's digest tells them apart.
 */
export const INTEL_TD_QE: QeMarks = Object.freeze({
  miscSelect: "00000000",
  miscSelectMask: "ffffffff",
  attributes: "11000000000000000000000000000000",
  attributesMask: "fbffffffffffffff0000000000000000",
  mrSigner: "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5",
  isvProdId: 2,
});

/**
 * Compares a QE report with the identity.
 *
 * @throws {CocosError} `untrusted` that names the first field that differs.
 */
export function checkQeIdentity(report: QeReport, identity: QeMarks): void {
  const misc = toHex(report.raw.subarray(16, 20));
  if (!maskedEqual(misc, identity.miscSelectMask, identity.miscSelect)) {
    throw refuse(`MISCSELECT ${misc}`);
  }
  const attributes = toHex(report.attributes);
  if (!maskedEqual(attributes, identity.attributesMask, identity.attributes)) {
    throw refuse(`ATTRIBUTES ${attributes}`);
  }
  if (toHex(report.mrSigner) !== identity.mrSigner) {
    throw refuse(`MRSIGNER ${toHex(report.mrSigner)}`);
  }
  if (report.isvProdId !== identity.isvProdId) throw refuse(`ISVPRODID ${report.isvProdId}`);
}

/** Level of the quoting enclave. */
export function qeLevel(report: QeReport, identity: QeIdentity): Level {
  const level = levelOf(identity.levels, report.isvSvn);
  if (level === undefined) throw refuse(`no level for ISVSVN ${report.isvSvn}`);
  return level;
}

/**
 * The identity of the TDX module a TD runs under.
 *
 * @throws {CocosError} `untrusted` when Intel names none, or its signer or attributes differ.
 */
export function checkModule(body: TdBody, info: TcbInfo): ModuleIdentity {
  const major = body.teeTcbSvn[1] as number;
  const id = `TDX_${toHex(Uint8Array.of(major)).toUpperCase()}`;
  const found = major === 0
    ? info.module
    : info.modules.find((each) => each.id.toUpperCase() === id);
  if (found === undefined) throw refuse(`module ${id} is not in the TCB info`);
  if (toHex(body.mrSignerSeam) !== found.mrSigner) {
    throw refuse(`MRSIGNERSEAM ${toHex(body.mrSignerSeam)}`);
  }
  const attributes = toHex(body.seamAttributes);
  if (!maskedEqual(attributes, found.attributesMask, found.attributes)) {
    throw refuse(`SEAMATTRIBUTES ${attributes}`);
  }
  return found;
}

/** Level of the module; version 1.0 (no identity of its own) has none. */
export function moduleLevel(body: TdBody, module: ModuleIdentity): Level | undefined {
  if (module.id === "") return undefined;
  const svn = body.teeTcbSvn[0] as number;
  const level = levelOf(module.levels, svn);
  if (level === undefined) throw refuse(`no level for module SVN ${svn}`);
  return level;
}

/** First level of the platform whose every component is not above the actual one. */
export function platformLevel(body: TdBody, pck: PckExtensions, info: TcbInfo): Level {
  // From module version 1.5 on the first two TDX components are the module's, judged apart.
  const from = (body.teeTcbSvn[1] as number) > 0 ? 2 : 0;
  const level = info.levels.find((each) =>
    each.pceSvn <= pck.pceSvn &&
    each.sgx.every((svn, at) => svn <= (pck.components[at] as number)) &&
    each.tdx.every((svn, at) => at < from || svn <= (body.teeTcbSvn[at] as number))
  );
  if (level === undefined) throw refuse("the platform is older than every level Intel names");
  return level;
}

/** One status of several: the worst, with "configuration" and "hardening" kept beside "out of date". */
export function converge(statuses: readonly TcbStatus[]): TcbStatus {
  const has = (word: string) => statuses.some((each) => each.includes(word));
  if (statuses.length === 0 || statuses.includes("Revoked")) return "Revoked";
  if (has("OutOfDate")) {
    return has("Configuration") ? "OutOfDateConfigurationNeeded" : "OutOfDate";
  }
  if (has("Configuration")) {
    return has("SWHardening") ? "ConfigurationAndSWHardeningNeeded" : "ConfigurationNeeded";
  }
  return TCB_STATUSES.find((each) => statuses.includes(each)) ?? "Revoked";
}

function refuse(actual: string): CocosError {
  return new CocosError("untrusted", actual);
}
