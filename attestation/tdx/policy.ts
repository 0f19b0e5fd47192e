// What a relying party expects of a TD. Every field is there: what is to be ignored is said with the
// word `any`, so that nothing goes unchecked for being forgotten (threats R1, A-7, A-11).
import { SESSION } from "../rules.ts";
import type { Flag, OrAny } from "../verdict.ts";
import type { TcbStatus } from "./collateral.ts";
import { INTEL_ROOT_KEY } from "./pck.ts";

/** Expectations of one TD; byte values are lower-case hex. */
export interface TdxPolicy {
  readonly technology: "tdx";
  /** SHA-384 of the SubjectPublicKeyInfo of each root that is trusted. */
  readonly roots: readonly string[];
  readonly qeVendor: OrAny<readonly string[]>;
  readonly mrTd: OrAny<readonly string[]>;
  readonly rtmr0: OrAny<readonly string[]>;
  readonly rtmr1: OrAny<readonly string[]>;
  readonly rtmr2: OrAny<readonly string[]>;
  readonly rtmr3: OrAny<readonly string[]>;
  /** `session`, 64 bytes, or `any`. */
  readonly reportData: string;
  readonly mrSeam: OrAny<readonly string[]>;
  readonly mrSignerSeam: OrAny<readonly string[]>;
  readonly mrConfigId: OrAny<readonly string[]>;
  readonly mrOwner: OrAny<readonly string[]>;
  readonly mrOwnerConfig: OrAny<readonly string[]>;
  /** All zero for a TD without service TD, and for a TDX 1.0 body. */
  readonly mrServiceTd: OrAny<readonly string[]>;
  readonly debug: Flag;
  /** 8 bytes in the order of the quote. */
  readonly tdAttributes: OrAny<readonly string[]>;
  readonly xfam: OrAny<readonly string[]>;
  /** 16 bytes, compared byte by byte. */
  readonly minimumTeeTcbSvn: OrAny<string>;
  readonly minimumQeSvn: number;
  readonly minimumPceSvn: number;
  readonly tcb: TdxTcbPolicy;
}

/** How current a platform must be. */
export interface TdxTcbPolicy {
  /** `any`: evidence without Intel's statements passes; with them they must hold. */
  readonly collateral: OrAny<"required">;
  readonly statuses: readonly TcbStatus[];
  /** Advisories that may be open. */
  readonly advisories: OrAny<readonly string[]>;
  /** Statements older than this evaluation are refused as replayed. */
  readonly minimumEvaluation: number;
  /** Worse statuses still accepted until a date (milliseconds since 1970). */
  readonly grace?: { readonly statuses: readonly TcbStatus[]; readonly until: number };
}

/** Vendor id of Intel's quoting enclave. */
export const INTEL_QE_VENDOR = "939a7233f79c4ca9940a0db3957f0607";

const ZERO48 = "00".repeat(48);

/** The strict values of everything that has one; MRTD and the RTMRs have none. */
export const TDX_DEFAULTS = Object.freeze(
  {
    technology: "tdx",
    roots: [INTEL_ROOT_KEY],
    qeVendor: [INTEL_QE_VENDOR],
    reportData: SESSION,
    mrSeam: "any",
    mrSignerSeam: [ZERO48],
    mrConfigId: [ZERO48],
    mrOwner: [ZERO48],
    mrOwnerConfig: [ZERO48],
    mrServiceTd: [ZERO48],
    debug: "off",
    tdAttributes: "any",
    xfam: "any",
    minimumTeeTcbSvn: "any",
    minimumQeSvn: 0,
    minimumPceSvn: 0,
    tcb: Object.freeze(
      {
        collateral: "required",
        statuses: ["UpToDate"],
        advisories: [],
        minimumEvaluation: 0,
      } satisfies TdxTcbPolicy,
    ),
  } satisfies Omit<TdxPolicy, "mrTd" | "rtmr0" | "rtmr1" | "rtmr2" | "rtmr3">,
);

/** A policy of strict defaults and what is given. */
export function tdxPolicy(
  given:
    & Pick<TdxPolicy, "mrTd" | "rtmr0" | "rtmr1" | "rtmr2" | "rtmr3">
    & Partial<Omit<TdxPolicy, "technology" | "tcb">>
    & { readonly tcb?: Partial<TdxTcbPolicy> },
): TdxPolicy {
  return Object.freeze({
    ...TDX_DEFAULTS,
    ...given,
    tcb: Object.freeze({ ...TDX_DEFAULTS.tcb, ...given.tcb }),
  });
}
