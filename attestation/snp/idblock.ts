// ID blocks (AMD 56860, "ID Block" and "ID Authentication Information"): who vouches for a launch, and
// the digests of their keys as a report carries them. Files from a build or a host; not trusted.
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";
import { toHex } from "../verdict.ts";
import {
  Der,
  only,
  parseCertificate,
  parseKey,
  sha,
  type SubjectKey,
  Tag,
  verifyRaw,
} from "../x509/mod.ts";

/** Sizes of the two structures and of AMD's form of a public key. */
export const ID_BLOCK_BYTES = 0x60;
export const ID_AUTH_BYTES = 0x1000;
export const AMD_KEY_BYTES = 0x404;

/** What an ID block binds a launch to. */
export interface IdBlock {
  readonly measurement: Uint8Array;
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly guestSvn: number;
  readonly policy: bigint;
}

/** An ID block whose signatures hold. */
export interface VerifiedIdBlock {
  readonly block: IdBlock;
  /** SHA-384 of the ID key in AMD's form, hex: ID_KEY_DIGEST of the report. */
  readonly idKeyDigest: string;
  /** SHA-384 of the author key, hex; absent without author key. */
  readonly authorKeyDigest: string | undefined;
}

/** Parses the 96 bytes of an ID block. */
export function parseIdBlock(bytes: Uint8Array): IdBlock {
  const reader = new Reader(bytes, "an ID block");
  const measurement = reader.bytes(48);
  const familyId = reader.bytes(16);
  const imageId = reader.bytes(16);
  const version = reader.u32le();
  if (version !== 1) throw reader.fault(`version ${version} is unknown`, 0x50);
  const guestSvn = reader.u32le();
  const policy = reader.u64le();
  reader.end();
  return Object.freeze({ measurement, familyId, imageId, guestSvn, policy });
}

/**
 * Verifies an ID block with its authentication information.
 *
 * @throws {CocosError} `untrusted` when a signature does not hold, `invalid-argument` for malformed bytes.
 */
export async function verifyIdBlock(block: Uint8Array, auth: Uint8Array): Promise<VerifiedIdBlock> {
  const parsed = parseIdBlock(block);
  const reader = new Reader(auth, "ID authentication information");
  const idAlgorithm = reader.u32le();
  const authorAlgorithm = reader.u32le();
  if (idAlgorithm !== 1 || authorAlgorithm > 1) {
    throw reader.fault("a key algorithm that is unknown", 0);
  }
  reader.zeros(56, "the field before the signature");
  const blockSignature = signatureOf(reader.bytes(512));
  const idKey = reader.bytes(AMD_KEY_BYTES);
  reader.zeros(60, "the field after the ID key");
  const keySignature = signatureOf(reader.bytes(512));
  const authorKey = reader.bytes(AMD_KEY_BYTES);
  reader.zeros(892, "the field after the author key");
  reader.end();
  if (!await verifyRaw(parseAmdKey(idKey), "SHA-384", blockSignature, block)) {
    throw new CocosError("untrusted", "Cannot trust the ID block: the ID key did not sign it");
  }
  const author = authorAlgorithm === 1;
  if (!author && authorKey.some((byte) => byte !== 0)) {
    throw reader.fault("an author key without algorithm", 0x880);
  }
  if (author && !await verifyRaw(parseAmdKey(authorKey), "SHA-384", keySignature, idKey)) {
    throw new CocosError(
      "untrusted",
      "Cannot trust the ID block: the author key did not sign the ID key",
    );
  }
  return Object.freeze({
    block: parsed,
    idKeyDigest: toHex(await sha(384, idKey)),
    authorKeyDigest: author ? toHex(await sha(384, authorKey)) : undefined,
  });
}

/** r ‖ s of a signature field: two 72-byte little-endian values, then zeros. */
function signatureOf(field: Uint8Array): Uint8Array {
  const reader = new Reader(field, "an ID block's signature");
  const signature = new Uint8Array(96);
  for (const at of [0, 48]) {
    signature.set(reader.bytes(48).toReversed(), at);
    reader.zeros(24, "the upper bytes of a signature value");
  }
  reader.zeros(reader.left, "the field after a signature");
  return signature;
}

/** Reads AMD's form of a P-384 public key: curve 2, x and y of 72 bytes little-endian, zeros. */
export function parseAmdKey(bytes: Uint8Array): SubjectKey {
  const reader = new Reader(bytes, "a public key of AMD's form");
  const curve = reader.u32le();
  if (curve !== 2) throw reader.fault(`curve ${curve} is not P-384`, 0);
  const point = new Uint8Array(97);
  point[0] = 4;
  for (const at of [1, 49]) {
    point.set(reader.bytes(48).toReversed(), at);
    reader.zeros(24, "the upper bytes of a coordinate");
  }
  reader.zeros(reader.left, "the field after a key");
  const prefix = [0x30, 0x76, 0x30, 0x10, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
  const p384 = [6, 5, 0x2b, 0x81, 4, 0, 0x22, 3, 0x62, 0];
  return Object.freeze({
    kind: "ec",
    curve: "P-384",
    point,
    spki: Uint8Array.from([...prefix, ...p384, ...point]),
  });
}

/** AMD's form of a P-384 public key. */
export function encodeAmdKey(key: SubjectKey): Uint8Array {
  if (key.kind !== "ec" || key.curve !== "P-384") {
    throw new CocosError("invalid-key", "Cannot write a key in AMD's form: it is not P-384");
  }
  const bytes = new Uint8Array(AMD_KEY_BYTES);
  bytes[0] = 2;
  bytes.set(key.point.slice(1, 49).toReversed(), 4);
  bytes.set(key.point.slice(49).toReversed(), 76);
  return bytes;
}

/** SHA-384 of a key in AMD's form, hex: what a report and a policy name it by. */
export async function amdKeyDigest(key: SubjectKey): Promise<string> {
  return toHex(await sha(384, encodeAmdKey(key)));
}

/**
 * The key of DER that is a certificate, a SubjectPublicKeyInfo, or already AMD's form.
 *
 * @throws {CocosError} `invalid-argument` or `invalid-key`.
 */
export function readTrustedKey(bytes: Uint8Array): SubjectKey {
  if (bytes.length === AMD_KEY_BYTES) return parseAmdKey(bytes);
  const what = "a trusted key";
  const outer = new Der(only(bytes, Tag.SEQUENCE, what).content, what);
  const first = new Der(outer.next(Tag.SEQUENCE).content, what);
  const isKey = first.peek() === Tag.OID;
  const key = isKey
    ? parseKey(only(bytes, Tag.SEQUENCE, what), what)
    : parseCertificate(bytes, what).key;
  return key;
}
