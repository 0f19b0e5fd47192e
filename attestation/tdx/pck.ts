// Intel's certificates for quotes (Intel SGX PCK Certificate and CRL Profile 1.5): their names, keys
// and the platform data in the PCK's extension. They come with the quote: only the root is trusted.
import { CocosError } from "../../base/mod.ts";
import {
  attribute,
  type Certificate,
  Der,
  Oid,
  oidOf,
  only,
  smallInteger,
  Tag,
} from "../x509/mod.ts";

/** SHA-384 of the SubjectPublicKeyInfo of the Intel SGX Root CA. */
export const INTEL_ROOT_KEY =
  "3cdf1feb4e5eac629170f17625648da4a16effa22ae2bcca030b4358a8961c1bf26cf54a9598cd6a2d4a9cbb62377d22";

/** Platform data of a PCK certificate. */
export interface PckExtensions {
  readonly ppid: Uint8Array;
  /** The 16 component SVNs of the platform's TCB. */
  readonly components: readonly number[];
  readonly pceSvn: number;
  readonly cpuSvn: Uint8Array;
  readonly pceId: Uint8Array;
  readonly fmspc: Uint8Array;
  /** 0 standard, 1 scalable, 2 scalable with integrity. */
  readonly sgxType: number;
}

const SGX = "1.2.840.113741.1.13.1";
const WHAT = "a PCK certificate's extension";

/**
 * Reads the SGX extension of a PCK certificate.
 *
 * @throws {CocosError} `invalid-argument` for a missing, doubled or malformed part.
 */
export function pckExtensions(certificate: Certificate): PckExtensions {
  const extension = certificate.extensions.get(SGX);
  if (extension === undefined) throw refuse("the SGX extension is missing");
  const parts = pairs(extension.value, SGX);
  const tcb = pairs(must(parts, `${SGX}.2`), `${SGX}.2`);
  const bytes = (map: ReadonlyMap<string, Uint8Array>, oid: string, length: number) => {
    const { content } = only(must(map, oid), Tag.OCTET_STRING, WHAT);
    if (content.length !== length) {
      throw refuse(`${oid} has ${content.length} bytes, ${length} are due`);
    }
    return content;
  };
  const number = (oid: string, max: number) =>
    smallInteger(only(must(tcb, oid), Tag.INTEGER, WHAT), max, WHAT);
  return Object.freeze({
    ppid: bytes(parts, `${SGX}.1`, 16),
    components: Object.freeze(
      Array.from({ length: 16 }, (_, index) => number(`${SGX}.2.${index + 1}`, 255)),
    ),
    pceSvn: number(`${SGX}.2.17`, 65535),
    cpuSvn: bytes(tcb, `${SGX}.2.18`, 16),
    pceId: bytes(parts, `${SGX}.3`, 2),
    fmspc: bytes(parts, `${SGX}.4`, 6),
    sgxType: smallInteger(only(must(parts, `${SGX}.5`), Tag.ENUMERATED, WHAT), 2, WHAT),
  });
}

/** A SEQUENCE of {OID, value}, each OID below `prefix` and at most once; values are whole elements. */
function pairs(bytes: Uint8Array, prefix: string): ReadonlyMap<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  const list = new Der(only(bytes, Tag.SEQUENCE, WHAT).content, WHAT);
  while (!list.done) {
    const pair = list.enter(Tag.SEQUENCE);
    const oid = oidOf(pair.next(Tag.OID), WHAT);
    if (!oid.startsWith(`${prefix}.`) || found.has(oid)) throw pair.fault(`${oid} is out of place`);
    found.set(oid, pair.next().raw);
    pair.end();
  }
  return found;
}

function must(map: ReadonlyMap<string, Uint8Array>, oid: string): Uint8Array {
  const value = map.get(oid);
  if (value === undefined) throw refuse(`${oid} is missing`);
  return value;
}

/** Common names Intel uses. */
export const INTEL_NAMES = {
  root: "Intel SGX Root CA",
  platform: "Intel SGX PCK Platform CA",
  processor: "Intel SGX PCK Processor CA",
  pck: "Intel SGX PCK Certificate",
  signing: "Intel SGX TCB Signing",
} as const;

/**
 * @throws {CocosError} `invalid-argument` unless it has the form Intel gives certificates with one of
 * these names.
 */
export function checkIntel(
  certificate: Certificate,
  names: readonly string[],
  authority: boolean,
): void {
  const common = attribute(certificate.subject, Oid.COMMON_NAME) ?? "";
  if (!names.includes(common)) {
    throw refuse(
      `it is named ${JSON.stringify(common.slice(0, 64))}, due is ${names.join(" or ")}`,
    );
  }
  const due = {
    [Oid.ORGANIZATION]: "Intel Corporation",
    [Oid.LOCALITY]: "Santa Clara",
    [Oid.STATE]: "CA",
    [Oid.COUNTRY]: "US",
  };
  for (const [oid, text] of Object.entries(due)) {
    if (attribute(certificate.subject, oid) !== text) {
      throw refuse(`subject ${oid} must be ${text}`);
    }
  }
  if (certificate.version !== 3) throw refuse(`X.509 version ${certificate.version}, 3 is due`);
  if (certificate.algorithm !== "ecdsa-sha256") throw refuse(`signature ${certificate.algorithm}`);
  if (certificate.key.kind !== "ec" || certificate.key.curve !== "P-256") {
    throw refuse("its key is not P-256");
  }
  const usage = certificate.keyUsage ?? 0;
  if (certificate.ca !== authority || (usage & (authority ? 0x04 : 0x80)) === 0) {
    throw refuse(authority ? "it may not sign certificates" : "it may not sign data");
  }
  for (const [oid, { critical }] of certificate.extensions) {
    if (critical && oid !== Oid.BASIC_CONSTRAINTS && oid !== Oid.KEY_USAGE) {
      throw refuse(`critical extension ${oid} is unknown`);
    }
  }
}

function refuse(reason: string): CocosError {
  return new CocosError("invalid-argument", `Cannot take the certificate as Intel's: ${reason}`);
}
