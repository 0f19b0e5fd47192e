// Signatures over bytes, by the platform's WebCrypto. Keys come from parsed certificates; whether
// the key is trusted is not decided here.
import { CocosError } from "../../base/mod.ts";
import type { Certificate, SignatureAlgorithm, SubjectKey } from "./certificate.ts";
import { Der, only, positiveBytes, Tag } from "./der.ts";

const SCALAR_BYTES = { "P-256": 32, "P-384": 48, "P-521": 66 } as const;

/** base64url without padding, as JWK wants it. */
export function base64url(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function jwk(key: SubjectKey): JsonWebKey {
  if (key.kind === "rsa") {
    return { kty: "RSA", n: base64url(key.modulus), e: base64url(key.exponent) };
  }
  const size = SCALAR_BYTES[key.curve];
  return {
    kty: "EC",
    crv: key.curve,
    x: base64url(key.point.subarray(1, 1 + size)),
    y: base64url(key.point.subarray(1 + size)),
  };
}

function hashName(algorithm: SignatureAlgorithm): "SHA-256" | "SHA-384" | "SHA-512" {
  return `SHA-${algorithm.slice(-3)}` as "SHA-256" | "SHA-384" | "SHA-512";
}

/**
 * Whether `signature` (as certificates carry it: DER r, s for ECDSA) over `data` is by `key`.
 * A malformed signature is not an error but false.
 */
export async function verifySignature(
  key: SubjectKey,
  algorithm: SignatureAlgorithm,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  if (algorithm.startsWith("ecdsa")) {
    if (key.kind !== "ec") return false;
    const raw = rawSignature(signature, SCALAR_BYTES[key.curve]);
    return raw !== undefined && await verifyRaw(key, hashName(algorithm), raw, data);
  }
  if (key.kind !== "rsa" || signature.length !== key.modulus.length) return false;
  const hash = hashName(algorithm);
  const pss = algorithm.startsWith("rsa-pss");
  const name = pss ? "RSA-PSS" : "RSASSA-PKCS1-v1_5";
  const saltLength = Number(algorithm.slice(-3)) / 8;
  return await verify(key, { name, hash }, pss ? { name, saltLength } : { name }, signature, data);
}

/** Whether r ‖ s (IEEE P1363, each of the curve's length, big-endian) over `data` is by `key`. */
export async function verifyRaw(
  key: SubjectKey,
  hash: "SHA-256" | "SHA-384" | "SHA-512",
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  if (key.kind !== "ec" || signature.length !== 2 * SCALAR_BYTES[key.curve]) return false;
  const name = "ECDSA";
  return await verify(key, { name, namedCurve: key.curve }, { name, hash }, signature, data);
}

/**
 * WebCrypto looks whether an EC point lies on its curve: browsers when the key is imported, Deno when
 * it is first used. Either is one error here, and never a bad signature.
 */
async function verify(
  key: SubjectKey,
  importing: RsaHashedImportParams | EcKeyImportParams,
  verifying: AlgorithmIdentifier | RsaPssParams | EcdsaParams,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  try {
    const imported = await crypto.subtle.importKey("jwk", jwk(key), importing, false, ["verify"]);
    return await crypto.subtle.verify(
      verifying,
      imported,
      signature as BufferSource,
      data as BufferSource,
    );
  } catch (cause) {
    throw new CocosError("invalid-key", "Cannot use a public key: it is not a valid key", {
      cause,
    });
  }
}

/** P-256 key of x ‖ y (64 bytes), as Intel and the TPM write it; `spki` is rebuilt. */
export function p256Key(xy: Uint8Array): SubjectKey {
  if (xy.length !== 64) {
    throw new CocosError("invalid-key", `Cannot read a P-256 key: ${xy.length} bytes, 64 are due`);
  }
  const point = new Uint8Array(65);
  point[0] = 4;
  point.set(xy, 1);
  const prefix = [0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
  const curve = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0];
  return Object.freeze({
    kind: "ec",
    curve: "P-256",
    point,
    spki: Uint8Array.from([...prefix, ...curve, ...point]),
  });
}

/** r ‖ s of an ECDSA-Sig-Value; `undefined` when it is not one or does not fit. */
function rawSignature(der: Uint8Array, size: number): Uint8Array | undefined {
  try {
    const reader = new Der(
      only(der, Tag.SEQUENCE, "an ECDSA signature").content,
      "an ECDSA signature",
    );
    const raw = new Uint8Array(2 * size);
    for (const end of [size, 2 * size]) {
      const bytes = positiveBytes(reader.next(Tag.INTEGER), "an ECDSA signature");
      if (bytes.length > size) return undefined;
      raw.set(bytes, end - bytes.length);
    }
    reader.end();
    return raw;
  } catch (error) {
    if (error instanceof CocosError) return undefined;
    throw error;
  }
}

/** Whether `issuer` signed `subject`, and is named as its issuer, byte for byte. */
export async function isIssuedBy(subject: Certificate, issuer: Certificate): Promise<boolean> {
  if (subject.issuer.raw.length !== issuer.subject.raw.length) return false;
  if (!subject.issuer.raw.every((byte, at) => byte === issuer.subject.raw[at])) return false;
  return await verifySignature(issuer.key, subject.algorithm, subject.signature, subject.tbs);
}

/** SHA-256, SHA-384 or SHA-512 of bytes. */
export async function sha(bits: 256 | 384 | 512, data: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest(`SHA-${bits}`, data as BufferSource));
}
