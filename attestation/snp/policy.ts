// What a relying party expects of an SNP guest. Every field is there: what is to be ignored is said
// with the word `any`, so that nothing goes unchecked for being forgotten (threats R1, A-11).
import type { Flag, OrAny } from "../verdict.ts";
import { SESSION } from "../rules.ts";
import { ARK_KEYS } from "./roots.ts";
import { type ProductLine, type Tcb, TCB_ZERO } from "./tcb.ts";

/** Expectations of one SNP guest; byte values are lower-case hex. */
export interface SnpPolicy {
  readonly technology: "snp";
  readonly products: readonly ProductLine[];
  /** CPUID steppings; `any` unless a machine type is meant. Reports before version 3 have none. */
  readonly steppings: OrAny<readonly number[]>;
  readonly signers: readonly ("vcek" | "vlek")[];
  /** SHA-384 of the SubjectPublicKeyInfo of each root that is trusted. */
  readonly roots: readonly string[];
  /** `required`: a current revocation list of the root must be at hand. */
  readonly revocation: OrAny<"required">;
  /** Accepted launch measurements, 48 bytes each. */
  readonly measurement: OrAny<readonly string[]>;
  /** `session`, 64 bytes, or `any`. */
  readonly reportData: string;
  /** `session`, 32 bytes, or `any`. */
  readonly hostData: string;
  readonly familyId: OrAny<readonly string[]>;
  readonly imageId: OrAny<readonly string[]>;
  readonly reportId: OrAny<readonly string[]>;
  /** All FF means that no migration agent is bound. */
  readonly reportIdMa: OrAny<readonly string[]>;
  readonly chipId: OrAny<readonly string[]>;
  /** `none`: launched without ID block; else the digest of one of these keys must be in the report. */
  readonly idBlock: OrAny<"none" | SnpTrustedKeys>;
  /** What AUTHOR_KEY_EN must be. */
  readonly authorKey: Flag;
  readonly vmpl: OrAny<readonly number[]>;
  readonly minimumGuestSvn: number;
  readonly guest: SnpGuestFlags;
  readonly platform: SnpPlatformFlags;
  readonly firmware: {
    /** `major.minor` of the SNP ABI firmware, at least. */
    readonly minimumVersion: string;
    /** Build, at least; compared by itself, as the Go programs do. */
    readonly minimumBuild: number;
    /** `off`: firmware that runs must be committed, so that it cannot be rolled back. */
    readonly provisional: "off" | "any";
  };
  readonly tcb: {
    readonly reported: Tcb;
    readonly current: Tcb;
    readonly committed: Tcb;
    readonly launch: Tcb;
    /** A lower TCB still accepted until a date (milliseconds since 1970), for a planned update. */
    readonly grace?: { readonly reported: Tcb; readonly until: number };
  };
  /** Mitigation bits that must be present (hex of 64 bits); `any` for reports before version 5. */
  readonly mitigations: { readonly launch: OrAny<string>; readonly current: OrAny<string> };
}

/** Digests (SHA-384 of AMD's key form, hex) of keys that may sign an ID block: either kind suffices. */
export interface SnpTrustedKeys {
  readonly idKeys: readonly string[];
  readonly authorKeys: readonly string[];
}

/** Bits of the guest policy. */
export interface SnpGuestFlags {
  /** ABI version the guest asked for, `major.minor`, at least. */
  readonly minimumAbi: string;
  readonly debug: Flag;
  readonly migration: Flag;
  readonly smt: Flag;
  readonly cxl: Flag;
  readonly singleSocket: Flag;
  readonly aes256Xts: Flag;
  readonly raplOff: Flag;
  readonly ciphertextHiding: Flag;
  readonly pageSwapOff: Flag;
}

/** Bits of the platform. */
export interface SnpPlatformFlags {
  readonly smt: Flag;
  readonly tsme: Flag;
  readonly ecc: Flag;
  readonly raplOff: Flag;
  readonly ciphertextHiding: Flag;
  readonly aliasCheck: Flag;
  readonly tio: Flag;
  /** Bits this program has no name for. */
  readonly unknown: "off" | "any";
}

/** 32 bytes FF: REPORT_ID_MA of a guest without migration agent. */
export const NO_MIGRATION_AGENT = "ff".repeat(32);

/** The strict values of everything that has one; products, measurement and TCB have none. */
export const SNP_DEFAULTS = Object.freeze(
  {
    technology: "snp",
    steppings: "any",
    signers: ["vcek"],
    roots: Object.values(ARK_KEYS),
    revocation: "required",
    reportData: SESSION,
    hostData: "any",
    familyId: "any",
    imageId: "any",
    reportId: "any",
    reportIdMa: [NO_MIGRATION_AGENT],
    chipId: "any",
    idBlock: "any",
    authorKey: "any",
    vmpl: [0],
    minimumGuestSvn: 0,
    guest: Object.freeze(
      {
        minimumAbi: "0.0",
        debug: "off",
        migration: "off",
        smt: "off",
        cxl: "off",
        singleSocket: "any",
        aes256Xts: "any",
        raplOff: "any",
        ciphertextHiding: "any",
        pageSwapOff: "any",
      } satisfies SnpGuestFlags,
    ),
    platform: Object.freeze(
      {
        smt: "any",
        tsme: "any",
        ecc: "any",
        raplOff: "any",
        ciphertextHiding: "any",
        aliasCheck: "any",
        tio: "off",
        unknown: "off",
      } satisfies SnpPlatformFlags,
    ),
    firmware: Object.freeze({ minimumVersion: "0.0", minimumBuild: 0, provisional: "off" }),
    mitigations: Object.freeze({ launch: "any", current: "any" }),
  } satisfies Omit<SnpPolicy, "products" | "measurement" | "tcb">,
);

/** A policy of strict defaults and what is given; TCBs not given are the reported one's minimum. */
export function snpPolicy(
  given:
    & Pick<SnpPolicy, "products" | "measurement">
    & Partial<Omit<SnpPolicy, "technology" | "guest" | "platform" | "firmware" | "tcb">>
    & {
      readonly guest?: Partial<SnpGuestFlags>;
      readonly platform?: Partial<SnpPlatformFlags>;
      readonly firmware?: Partial<SnpPolicy["firmware"]>;
      readonly tcb: { readonly reported: Tcb } & Partial<SnpPolicy["tcb"]>;
    },
): SnpPolicy {
  const { reported } = given.tcb;
  return Object.freeze({
    ...SNP_DEFAULTS,
    ...given,
    guest: Object.freeze({ ...SNP_DEFAULTS.guest, ...given.guest }),
    platform: Object.freeze({ ...SNP_DEFAULTS.platform, ...given.platform }),
    firmware: Object.freeze({ ...SNP_DEFAULTS.firmware, ...given.firmware }),
    tcb: Object.freeze({ current: reported, committed: reported, launch: reported, ...given.tcb }),
  });
}

/** A TCB in which the parts not given are 0. */
export function tcbOf(parts: Partial<Tcb>): Tcb {
  return Object.freeze({ ...TCB_ZERO, ...parts });
}
