// TPMT_PUBLIC (TPM 2.0 part 2 §12.2.4): the public area of a TPM key, its name and its attributes.
// The bytes come from the peer: that the key is in any TPM must be shown by something else.
import { type Bank, bankOfId, BANKS } from "../banks.ts";
import { Reader } from "../reader.ts";
import type { SubjectKey } from "../x509/mod.ts";

/** RSA-4096 with a policy of 64 bytes stays below. */
export const MAX_PUBLIC_BYTES = 1024;

/** Bits of TPMA_OBJECT (part 2 §8.3) that say what a key may do. */
export const KeyAttribute = {
  fixedTPM: 1 << 1,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;

/** Curves by TPM_ECC_CURVE, with the length of a coordinate and the curve's OID in DER. */
const CURVES = new Map<number, readonly ["P-256" | "P-384" | "P-521", number, readonly number[]]>([
  [3, ["P-256", 32, [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]]],
  [4, ["P-384", 48, [6, 5, 0x2b, 0x81, 4, 0, 0x22]]],
  [5, ["P-521", 66, [6, 5, 0x2b, 0x81, 4, 0, 0x23]]],
]);

const EC_OID = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const RSA_OID = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];

const ALG_RSA = 0x01;
const ALG_NULL = 0x10;
const ALG_ECC = 0x23;

/** A parsed public area. */
export interface TpmPublic {
  /** The TPMT_PUBLIC bytes. */
  readonly raw: Uint8Array;
  readonly nameAlg: Bank;
  /** TPMA_OBJECT. */
  readonly attributes: number;
  readonly authPolicy: Uint8Array;
  /** TPM_ALG_ID of the fixed signing scheme; `undefined` when it is chosen at each use. */
  readonly scheme: number | undefined;
  readonly key: SubjectKey;
  /** nameAlg ‖ H(TPMT_PUBLIC): what a TPM calls this key. */
  readonly name: Uint8Array;
}

/**
 * Parses a TPMT_PUBLIC of an RSA or ECC key.
 *
 * @throws {CocosError} `invalid-argument` with the offset; keys below RSA-2048 and other curves than
 * P-256, P-384 and P-521 are not taken.
 */
export function parsePublic(bytes: Uint8Array): TpmPublic {
  const reader = new Reader(bytes, "a TPM public area");
  if (bytes.length > MAX_PUBLIC_BYTES) throw reader.fault(`${bytes.length} bytes are too many`);
  const type = reader.u16be();
  if (type !== ALG_RSA && type !== ALG_ECC) throw reader.fault("neither an RSA nor an ECC key", 0);
  const nameAlgId = reader.u16be();
  const nameAlg = bankOfId(nameAlgId);
  if (nameAlg === undefined) throw reader.fault("name algorithm is not known", 2);
  const attributes = reader.u32be();
  const authPolicy = reader.bytes(reader.u16be());
  const symmetric = reader.u16be();
  if (symmetric !== ALG_NULL) reader.bytes(4); // key bits and mode of a storage or endorsement key
  const scheme = readScheme(reader);
  const key = type === ALG_RSA ? readRsa(reader) : readEcc(reader);
  reader.end();
  const digest = BANKS[nameAlg].hash(bytes);
  const name = Uint8Array.of(nameAlgId >> 8, nameAlgId & 0xff, ...digest);
  return Object.freeze({ raw: bytes, nameAlg, attributes, authPolicy, scheme, key, name });
}

/** Parses a TPM2B_PUBLIC: a TPMT_PUBLIC behind its length (what tpm2-tools writes). */
export function parsePublic2b(bytes: Uint8Array): TpmPublic {
  const reader = new Reader(bytes, "a TPM2B_PUBLIC");
  const area = reader.bytes(reader.u16be());
  reader.end();
  return parsePublic(area);
}

/**
 * What a key lacks to be an attestation key: `restricted` above all, for an unrestricted key signs a
 * forged quote for anyone who may use it. Empty when nothing is missing.
 */
export function attestationKeyFaults(attributes: number): string[] {
  const faults: string[] = [];
  for (const [name, bit] of Object.entries(KeyAttribute)) {
    const set = (attributes & bit) !== 0;
    if (name === "decrypt" ? set : !set) {
      faults.push(name === "decrypt" ? "decrypt" : `not ${name}`);
    }
  }
  return faults;
}

/** TPMT_ASYM_SCHEME or TPMT_RSA_SCHEME: an id, then a hash unless there is none. */
function readScheme(reader: Reader): number | undefined {
  const start = reader.offset;
  const scheme = reader.u16be();
  if (scheme === ALG_NULL) return undefined;
  const hash = reader.u16be();
  if (bankOfId(hash) === undefined) {
    throw reader.fault("hash of the scheme is not known", start + 2);
  }
  return scheme;
}

function readRsa(reader: Reader): SubjectKey {
  const bits = reader.u16be();
  const given = reader.u32be();
  const start = reader.offset;
  const modulus = reader.bytes(reader.u16be());
  if (bits < 2048 || bits > 4096 || modulus.length * 8 !== bits || !((modulus[0] ?? 0) & 0x80)) {
    throw reader.fault("an RSA modulus must have 2048 to 4096 bits and the stated length", start);
  }
  const number = given === 0 ? 65537 : given;
  if (number < 3 || number % 2 === 0) throw reader.fault("an RSA exponent must be odd", start - 4);
  const exponent = minimal(number);
  return rsaKey(modulus, exponent);
}

function readEcc(reader: Reader): SubjectKey {
  const start = reader.offset;
  const curve = CURVES.get(reader.u16be());
  if (curve === undefined) throw reader.fault("curve is not taken", start);
  const kdf = reader.u16be();
  if (kdf !== ALG_NULL) reader.u16be();
  const [name, size, oid] = curve;
  const point = new Uint8Array(1 + 2 * size);
  point[0] = 4;
  for (const end of [1 + size, 1 + 2 * size]) {
    const at = reader.offset;
    const coordinate = reader.bytes(reader.u16be());
    if (coordinate.length > size) throw reader.fault("a coordinate is too long", at);
    point.set(coordinate, end - coordinate.length);
  }
  const algorithm = der(0x30, Uint8Array.from([...EC_OID, ...oid]));
  const spki = der(0x30, join(algorithm, der(0x03, join(Uint8Array.of(0), point))));
  return Object.freeze({ kind: "ec", curve: name, point, spki });
}

/** An RSA key of modulus and exponent, both big-endian without leading zeros, as certificates have it. */
export function rsaKey(modulus: Uint8Array, exponent: Uint8Array): SubjectKey {
  const numbers = der(0x30, join(derUnsigned(modulus), derUnsigned(exponent)));
  const algorithm = der(0x30, Uint8Array.from(RSA_OID));
  const spki = der(0x30, join(algorithm, der(0x03, join(Uint8Array.of(0), numbers))));
  return Object.freeze({ kind: "rsa", modulus, exponent, spki });
}

function derUnsigned(bytes: Uint8Array): Uint8Array {
  const sign = (bytes[0] ?? 0) & 0x80;
  return der(0x02, sign ? join(Uint8Array.of(0), bytes) : bytes);
}

function der(tag: number, content: Uint8Array): Uint8Array {
  const { length } = content;
  const head = length < 0x80
    ? [tag, length]
    : length < 0x100
    ? [tag, 0x81, length]
    : [tag, 0x82, length >> 8, length & 0xff];
  return join(Uint8Array.from(head), content);
}

function join(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}

function minimal(number: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = number; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Uint8Array.from(bytes);
}
