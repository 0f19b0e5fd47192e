// Intel TDX quotes, version 4 and 5 (Intel DCAP quote generation library, "TD Quote"): bytes to a
// frozen value. The bytes come from the peer; SGX quotes and other key types are refused.
import { Reader } from "../reader.ts";
import { decodePem } from "../x509/mod.ts";

/** Largest quote we read; real ones are near 5 KiB, padded ones 8 KiB. */
export const MAX_TDX_QUOTE_BYTES = 64 * 1024;

/** Measurements and settings of a TD. */
export interface TdBody {
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  readonly seamAttributes: Uint8Array;
  readonly tdAttributes: bigint;
  readonly xfam: bigint;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  readonly rtmrs: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  readonly reportData: Uint8Array;
  /** TDX 1.5 only. */
  readonly teeTcbSvn2: Uint8Array | undefined;
  /** TDX 1.5 only. */
  readonly mrServiceTd: Uint8Array | undefined;
}

/** The report of the quoting enclave. */
export interface QeReport {
  /** 384 bytes. */
  readonly raw: Uint8Array;
  readonly cpuSvn: Uint8Array;
  readonly miscSelect: number;
  readonly attributes: Uint8Array;
  readonly mrEnclave: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly reportData: Uint8Array;
}

/** A parsed quote; byte fields are views into the input. */
export interface TdxQuote {
  readonly version: 4 | 5;
  /** What the quote signature covers. */
  readonly signed: Uint8Array;
  readonly qeVendor: Uint8Array;
  readonly userData: Uint8Array;
  readonly body: TdBody;
  /** r ‖ s of P-256. */
  readonly signature: Uint8Array;
  /** x ‖ y of P-256. */
  readonly attestationKey: Uint8Array;
  readonly qeReport: QeReport;
  readonly qeSignature: Uint8Array;
  readonly qeAuth: Uint8Array;
  /** DER of PCK, intermediate, root. */
  readonly certificates: readonly Uint8Array[];
  /** Bytes behind the quote, which nothing signs and nothing uses. */
  readonly padding: number;
}

const TDX = 0x81;
const ECDSA_P256 = 2;
const QE_REPORT_DATA = 6;
const PCK_CHAIN = 5;

/**
 * Parses a quote; bytes behind its end are counted as padding.
 *
 * @throws {CocosError} `invalid-argument` with the offset; SGX quotes, versions other than 4 and 5,
 * key types other than ECDSA P-256 and nested or other certification data are refused (threat A-7).
 */
export function parseTdxQuote(bytes: Uint8Array): TdxQuote {
  const reader = new Reader(bytes, "a TDX quote");
  if (bytes.length > MAX_TDX_QUOTE_BYTES) {
    throw reader.fault(`it is larger than ${MAX_TDX_QUOTE_BYTES} bytes`);
  }
  const version = reader.u16le();
  if (version === 3) throw reader.fault("version 3 is an SGX quote, not a TDX quote", 0);
  if (version !== 4 && version !== 5) throw reader.fault(`version ${version} is unknown`, 0);
  const keyType = reader.u16le();
  if (keyType !== ECDSA_P256) throw reader.fault(`attestation key type ${keyType} is unknown`, 2);
  const tee = reader.u32le();
  if (tee !== TDX) throw reader.fault(`TEE type 0x${tee.toString(16)} is not TDX`, 4);
  reader.bytes(4); // PCE and QE SVN of old texts, reserved now: signed, and not used
  const qeVendor = reader.bytes(16);
  const userData = reader.bytes(20);
  const body = version === 4 ? parseBody(reader, false) : parseBody5(reader);
  const signed = bytes.subarray(0, reader.offset);
  const auth = reader.part(reader.u32le(), "a TDX quote's signature data");
  const padding = reader.left;

  const signature = auth.bytes(64);
  const attestationKey = auth.bytes(64);
  const outer = auth.u16le();
  if (outer !== QE_REPORT_DATA) throw auth.fault(`certification data of type ${outer}, 6 is due`);
  const data = auth.part(auth.u32le());
  auth.end();
  const qeReport = parseQeReport(data.bytes(384));
  const qeSignature = data.bytes(64);
  const qeAuth = data.bytes(data.u16le());
  const inner = data.u16le();
  if (inner !== PCK_CHAIN) throw data.fault(`nested certification data of type ${inner}, 5 is due`);
  const chain = data.part(data.u32le());
  data.end();
  const certificates = decodePem(pemText(chain), "CERTIFICATE", 3);
  if (certificates.length !== 3) {
    throw chain.fault(`${certificates.length} certificates, 3 are due`);
  }
  return Object.freeze({
    version,
    signed,
    qeVendor,
    userData,
    body,
    signature,
    attestationKey,
    qeReport,
    qeSignature,
    qeAuth,
    certificates: Object.freeze(certificates),
    padding,
  });
}

function parseBody5(reader: Reader): TdBody {
  const type = reader.u16le();
  const size = reader.u32le();
  if (!(type === 2 && size === 584) && !(type === 3 && size === 648)) {
    throw reader.fault(`body type ${type} of ${size} bytes is not a TD's`);
  }
  return parseBody(reader, type === 3);
}

function parseBody(reader: Reader, td15: boolean): TdBody {
  return Object.freeze({
    teeTcbSvn: reader.bytes(16),
    mrSeam: reader.bytes(48),
    mrSignerSeam: reader.bytes(48),
    seamAttributes: reader.bytes(8),
    tdAttributes: reader.u64le(),
    xfam: reader.u64le(),
    mrTd: reader.bytes(48),
    mrConfigId: reader.bytes(48),
    mrOwner: reader.bytes(48),
    mrOwnerConfig: reader.bytes(48),
    rtmrs: Object.freeze(
      [reader.bytes(48), reader.bytes(48), reader.bytes(48), reader.bytes(48)] as const,
    ),
    reportData: reader.bytes(64),
    teeTcbSvn2: td15 ? reader.bytes(16) : undefined,
    mrServiceTd: td15 ? reader.bytes(48) : undefined,
  });
}

function parseQeReport(raw: Uint8Array): QeReport {
  const reader = new Reader(raw, "a QE report");
  const cpuSvn = reader.bytes(16);
  const miscSelect = reader.u32le();
  reader.bytes(28);
  const attributes = reader.bytes(16);
  const mrEnclave = reader.bytes(32);
  reader.bytes(32);
  const mrSigner = reader.bytes(32);
  reader.bytes(96);
  const isvProdId = reader.u16le();
  const isvSvn = reader.u16le();
  reader.bytes(60);
  const reportData = reader.bytes(64);
  reader.end();
  return Object.freeze({
    raw,
    cpuSvn,
    miscSelect,
    attributes,
    mrEnclave,
    mrSigner,
    isvProdId,
    isvSvn,
    reportData,
  });
}

/** The chain may end in NUL bytes. */
function pemText(reader: Reader): string {
  const bytes = reader.rest();
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  const text = String.fromCharCode(...bytes.subarray(0, Math.min(end, 16_384)));
  if (end > 16_384) throw reader.fault("the certificate chain is larger than 16 KiB");
  return text;
}

/** Size of a TDREPORT. */
export const TDREPORT_BYTES = 1024;

/** The parts of a TDREPORT that are used: it has a MAC of the machine, so it proves nothing elsewhere. */
export function parseTdReport(bytes: Uint8Array): {
  /** First byte; 0x81 on real hardware. */
  readonly teeType: number;
  readonly reportData: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly rtmrs: readonly Uint8Array[];
} {
  const reader = new Reader(bytes, "a TDREPORT");
  if (bytes.length !== TDREPORT_BYTES) throw reader.fault(`${TDREPORT_BYTES} bytes are due`);
  const at = (offset: number, count: number) => bytes.subarray(offset, offset + count);
  // TDINFO at 0x200: ATTRIBUTES 8, XFAM 8, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0-3.
  return Object.freeze({
    teeType: reader.u8(),
    reportData: at(0x80, 64),
    mrTd: at(0x210, 48),
    rtmrs: Object.freeze([0, 1, 2, 3].map((index) => at(0x2d0 + 48 * index, 48))),
  });
}
