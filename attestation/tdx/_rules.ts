// The comparisons of a parsed quote with a policy, one line each (Intel TDX module specification;
// go-tdx-guest's `validate` and more). Signatures are checked elsewhere.
import { atLeast, bound, flag, oneOf, type Rule } from "../rules.ts";
import { ANY, NOT_SET, toHex } from "../verdict.ts";
import type { PckExtensions } from "./pck.ts";
import type { TdxPolicy } from "./policy.ts";
import type { TdxQuote } from "./quote.ts";

/** What a session adds to a policy. */
export interface TdxSession {
  /** Verifier's time, milliseconds since 1970. */
  readonly now: number;
  /** Expected REPORTDATA, hex of 64 bytes. */
  readonly reportData: string | undefined;
}

/** A quote and the platform its key belongs to. */
export interface JudgedQuote {
  readonly quote: TdxQuote;
  readonly pck: PckExtensions;
}

const KNOWN_ATTRIBUTES = 1n | 1n << 28n | 1n << 30n | 1n << 63n;
const XFAM_FIXED_ONE = 0x3n;
const XFAM_ALLOWED = 0x6dbe7n;
const MEASURED =
  "Compute the measurement of the image you trust and set it; if it is right, this is another image.";
const LAUNCH = "The TD was launched with other settings: launch it anew, or name this value.";
const UPDATE =
  "Ask the host's operator to update the platform, or lower the minimum with open eyes.";

function u64(value: bigint): string {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return toHex(bytes);
}

/** All comparisons, in the order they are shown. */
export const TDX_RULES = [
  bound(
    "tdx.report-data",
    (p) => p.reportData,
    (s) => s.reportData,
    (e) => toHex(e.quote.body.reportData),
    "The evidence is not for this session: ask for fresh evidence over your nonce.",
  ),
  oneOf("tdx.mrtd", (p) => p.mrTd, (e) => toHex(e.quote.body.mrTd), MEASURED),
  oneOf("tdx.rtmr0", (p) => p.rtmr0, (e) => toHex(e.quote.body.rtmrs[0]), MEASURED),
  oneOf("tdx.rtmr1", (p) => p.rtmr1, (e) => toHex(e.quote.body.rtmrs[1]), MEASURED),
  oneOf("tdx.rtmr2", (p) => p.rtmr2, (e) => toHex(e.quote.body.rtmrs[2]), MEASURED),
  oneOf("tdx.rtmr3", (p) => p.rtmr3, (e) => toHex(e.quote.body.rtmrs[3]), MEASURED),
  oneOf(
    "tdx.qe-vendor",
    (p) => p.qeVendor,
    (e) => toHex(e.quote.qeVendor),
    "The quote is by another vendor's quoting enclave.",
  ),
  oneOf(
    "tdx.mrseam",
    (p) => p.mrSeam,
    (e) => toHex(e.quote.body.mrSeam),
    "Another TDX module runs on the host.",
  ),
  oneOf(
    "tdx.mrsignerseam",
    (p) => p.mrSignerSeam,
    (e) => toHex(e.quote.body.mrSignerSeam),
    "The TDX module is not signed by Intel.",
  ),
  oneOf("tdx.mrconfigid", (p) => p.mrConfigId, (e) => toHex(e.quote.body.mrConfigId), LAUNCH),
  oneOf("tdx.mrowner", (p) => p.mrOwner, (e) => toHex(e.quote.body.mrOwner), LAUNCH),
  oneOf(
    "tdx.mrownerconfig",
    (p) => p.mrOwnerConfig,
    (e) => toHex(e.quote.body.mrOwnerConfig),
    LAUNCH,
  ),
  oneOf(
    "tdx.mrservicetd",
    (p) => p.mrServiceTd,
    (e) => toHex(e.quote.body.mrServiceTd ?? new Uint8Array(48)),
    LAUNCH,
  ),
  flag(
    "tdx.debug",
    (p) => p.debug,
    (e) => (e.quote.body.tdAttributes & 1n) === 1n,
    "A debug TD can be read by its host: launch it without debug.",
  ),
  {
    id: "tdx.attributes.known",
    expected: () => "no attribute without a name",
    actual: (e) => u64(e.quote.body.tdAttributes),
    holds: (_p, e) => (e.quote.body.tdAttributes & ~KNOWN_ATTRIBUTES) === 0n,
    remedy: "The TD has attributes this program does not know: update the program.",
  },
  oneOf("tdx.attributes", (p) => p.tdAttributes, (e) => u64(e.quote.body.tdAttributes), LAUNCH),
  {
    id: "tdx.xfam.valid",
    expected: () => "x87 and SSE, and only features that exist",
    actual: (e) => u64(e.quote.body.xfam),
    holds: (_p, { quote: { body: { xfam } } }) =>
      (xfam & XFAM_FIXED_ONE) === XFAM_FIXED_ONE && (xfam & ~XFAM_ALLOWED) === 0n,
    remedy: LAUNCH,
  },
  oneOf("tdx.xfam", (p) => p.xfam, (e) => u64(e.quote.body.xfam), LAUNCH),
  {
    id: "tdx.tee-tcb-svn",
    expected: (p) =>
      p.minimumTeeTcbSvn === undefined
        ? NOT_SET
        : p.minimumTeeTcbSvn === ANY
        ? ANY
        : `each byte at least ${p.minimumTeeTcbSvn}`,
    actual: (e) => toHex(e.quote.body.teeTcbSvn),
    holds: (p, { quote: { body: { teeTcbSvn } } }) => {
      const minimum = p.minimumTeeTcbSvn;
      if (minimum === ANY) return true;
      if (minimum === undefined || !/^[0-9a-f]{32}$/.test(minimum)) return false;
      return teeTcbSvn.every((svn, at) => svn >= parseInt(minimum.slice(2 * at, 2 * at + 2), 16));
    },
    remedy: UPDATE,
  },
  atLeast("tdx.qe-svn", (p) => p.minimumQeSvn, (e) => e.quote.qeReport.isvSvn, UPDATE),
  atLeast("tdx.pce-svn", (p) => p.minimumPceSvn, (e) => e.pck.pceSvn, UPDATE),
] as const satisfies readonly Rule<string, TdxPolicy, JudgedQuote, TdxSession>[];
