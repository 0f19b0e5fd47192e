// The SEV-SNP attestation report, versions 2 to 5 (AMD 56860, table "ATTESTATION_REPORT"): bytes to
// a frozen value. The bytes come from the peer; nothing is believed before its signature holds.
import { Reader } from "../reader.ts";

/** Size of a report. */
export const REPORT_BYTES = 0x4a0;

/** The part the signature covers. */
export const SIGNED_BYTES = 0x2a0;

/** Bits of the guest policy (AMD 56860, "Guest Policy"). */
export interface GuestPolicy {
  readonly raw: bigint;
  readonly abiMajor: number;
  readonly abiMinor: number;
  readonly smt: boolean;
  readonly migration: boolean;
  readonly debug: boolean;
  readonly singleSocket: boolean;
  readonly cxl: boolean;
  readonly aes256Xts: boolean;
  readonly raplOff: boolean;
  readonly ciphertextHiding: boolean;
  readonly pageSwapOff: boolean;
}

/** Bits of PLATFORM_INFO; `unknown` holds the ones without a name here. */
export interface PlatformInfo {
  readonly raw: bigint;
  readonly smt: boolean;
  readonly tsme: boolean;
  readonly ecc: boolean;
  readonly raplOff: boolean;
  readonly ciphertextHiding: boolean;
  readonly aliasCheck: boolean;
  readonly tio: boolean;
  readonly unknown: bigint;
}

/** Which key signs: per chip, per cloud provider, or none. */
export type SigningKey = "vcek" | "vlek" | "none";

/** Firmware version as the report states it. */
export interface FirmwareVersion {
  readonly major: number;
  readonly minor: number;
  readonly build: number;
}

/** A parsed report; byte fields are views into the input. */
export interface SnpReport {
  /** The 1,184 bytes. */
  readonly raw: Uint8Array;
  /** The first 672 bytes, which the signature covers. */
  readonly signed: Uint8Array;
  readonly version: number;
  readonly guestSvn: number;
  readonly policy: GuestPolicy;
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly vmpl: number;
  readonly platform: PlatformInfo;
  readonly authorKeyEnabled: boolean;
  readonly chipKeyMasked: boolean;
  readonly signingKey: SigningKey;
  readonly reportData: Uint8Array;
  readonly measurement: Uint8Array;
  readonly hostData: Uint8Array;
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array;
  readonly reportId: Uint8Array;
  readonly reportIdMa: Uint8Array;
  /** TCB versions, 8 bytes each; their layout depends on the product. */
  readonly currentTcb: Uint8Array;
  readonly reportedTcb: Uint8Array;
  readonly committedTcb: Uint8Array;
  readonly launchTcb: Uint8Array;
  /** CPUID family, model, stepping; reports before version 3 do not have them. */
  readonly cpuid: { family: number; model: number; stepping: number } | undefined;
  readonly chipId: Uint8Array;
  readonly currentVersion: FirmwareVersion;
  readonly committedVersion: FirmwareVersion;
  /** Mitigation vectors; zero before version 5. */
  readonly launchMitigations: bigint;
  readonly currentMitigations: bigint;
  /** r ‖ s, big-endian, 96 bytes. */
  readonly signature: Uint8Array;
}

const POLICY_MUST_BE_ONE = 1n << 17n;
const POLICY_KNOWN = (1n << 26n) - 1n;
const PLATFORM_KNOWN = 0xbfn;

/** Names the bits of a guest policy; says nothing about whether they are allowed. */
export function guestPolicy(raw: bigint): GuestPolicy {
  const bit = (at: bigint) => (raw >> at & 1n) === 1n;
  return Object.freeze({
    raw,
    abiMinor: Number(raw & 0xffn),
    abiMajor: Number(raw >> 8n & 0xffn),
    smt: bit(16n),
    migration: bit(18n),
    debug: bit(19n),
    singleSocket: bit(20n),
    cxl: bit(21n),
    aes256Xts: bit(22n),
    raplOff: bit(23n),
    ciphertextHiding: bit(24n),
    pageSwapOff: bit(25n),
  });
}

/** Names the bits of PLATFORM_INFO. */
export function platformInfo(raw: bigint): PlatformInfo {
  const bit = (at: bigint) => (raw >> at & 1n) === 1n;
  return Object.freeze({
    raw,
    smt: bit(0n),
    tsme: bit(1n),
    ecc: bit(2n),
    raplOff: bit(3n),
    ciphertextHiding: bit(4n),
    aliasCheck: bit(5n),
    tio: bit(7n),
    unknown: raw & ~PLATFORM_KNOWN,
  });
}

/**
 * Parses a report of exactly 1,184 bytes.
 *
 * @throws {CocosError} `invalid-argument` with the offset, for another size, an unknown version,
 * signature algorithm or signing key, a reserved byte that is not zero, or a guest policy whose
 * bit 17 is clear or whose reserved bits are set (threat A-5).
 */
export function parseReport(bytes: Uint8Array): SnpReport {
  const reader = new Reader(bytes, "an SNP report");
  if (bytes.length !== REPORT_BYTES) {
    throw reader.fault(`${REPORT_BYTES} bytes are due, there are ${bytes.length}`);
  }
  const version = reader.u32le();
  if (version < 2 || version > 5) throw reader.fault(`version ${version} is unknown`, 0);
  const guestSvn = reader.u32le();
  const rawPolicy = reader.u64le();
  if ((rawPolicy & POLICY_MUST_BE_ONE) === 0n) throw reader.fault("bit 17 of POLICY is clear", 8);
  if ((rawPolicy & ~POLICY_KNOWN) !== 0n) throw reader.fault("POLICY has unknown bits", 8);
  const familyId = reader.bytes(16);
  const imageId = reader.bytes(16);
  const vmpl = reader.u32le();
  if (vmpl > 3) throw reader.fault(`VMPL ${vmpl} does not exist`, 0x30);
  const algorithm = reader.u32le();
  if (algorithm !== 1) throw reader.fault(`signature algorithm ${algorithm} is unknown`, 0x34);
  const currentTcb = reader.bytes(8);
  const rawPlatform = reader.u64le();
  const signer = reader.u32le();
  const key = signer >> 2 & 7;
  if (signer >>> 5 !== 0 || (key > 1 && key < 7)) {
    throw reader.fault(`signer information 0x${signer.toString(16)} is unknown`, 0x48);
  }
  reader.zeros(4, "the field after the signer information");
  const reportData = reader.bytes(64);
  const measurement = reader.bytes(48);
  const hostData = reader.bytes(32);
  const idKeyDigest = reader.bytes(48);
  const authorKeyDigest = reader.bytes(48);
  const reportId = reader.bytes(32);
  const reportIdMa = reader.bytes(32);
  const reportedTcb = reader.bytes(8);
  let cpuid: SnpReport["cpuid"];
  if (version >= 3) {
    cpuid = Object.freeze({ family: reader.u8(), model: reader.u8(), stepping: reader.u8() });
  } else reader.zeros(3, "the CPUID field of a version 2 report");
  reader.zeros(21, "the field before CHIP_ID");
  const chipId = reader.bytes(64);
  const committedTcb = reader.bytes(8);
  const currentVersion = firmwareVersion(reader);
  const committedVersion = firmwareVersion(reader);
  const launchTcb = reader.bytes(8);
  let launchMitigations = 0n;
  let currentMitigations = 0n;
  if (version >= 5) {
    launchMitigations = reader.u64le();
    currentMitigations = reader.u64le();
  } else reader.zeros(16, "the mitigation vectors before version 5");
  reader.zeros(152, "the field before the signature");
  const signature = new Uint8Array(96);
  for (const at of [0, 48]) {
    signature.set(reader.bytes(48).toReversed(), at);
    reader.zeros(24, "the upper bytes of a signature value");
  }
  reader.zeros(368, "the field after the signature");
  reader.end();
  return Object.freeze({
    raw: bytes,
    signed: bytes.subarray(0, SIGNED_BYTES),
    version,
    guestSvn,
    policy: guestPolicy(rawPolicy),
    familyId,
    imageId,
    vmpl,
    platform: platformInfo(rawPlatform),
    authorKeyEnabled: (signer & 1) !== 0,
    chipKeyMasked: (signer & 2) !== 0,
    signingKey: key === 0 ? "vcek" : key === 1 ? "vlek" : "none",
    reportData,
    measurement,
    hostData,
    idKeyDigest,
    authorKeyDigest,
    reportId,
    reportIdMa,
    currentTcb,
    reportedTcb,
    committedTcb,
    launchTcb,
    cpuid,
    chipId,
    currentVersion,
    committedVersion,
    launchMitigations,
    currentMitigations,
    signature,
  });
}

function firmwareVersion(reader: Reader): FirmwareVersion {
  const build = reader.u8();
  const minor = reader.u8();
  const major = reader.u8();
  reader.zeros(1, "the byte after a firmware version");
  return Object.freeze({ major, minor, build });
}
