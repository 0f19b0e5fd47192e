// TPMT_SIGNATURE (TPM 2.0 part 2 §11.3.4): parsing, and verifying over bytes with WebCrypto. Both the
// signature and the signed bytes come from the peer; whether the key is trusted is decided elsewhere.
import { CocosError } from "../../base/mod.ts";
import { type Bank, bankOfId } from "../banks.ts";
import { Reader } from "../reader.ts";
import { base64url, type SubjectKey } from "../x509/mod.ts";

/** RSA-4096 is the largest key a TPM makes. */
const MAX_SIGNATURE_BYTES = 1024;

/** A quote signature scheme of the TPM. */
export type Scheme = "rsassa" | "rsapss" | "ecdsa";

const SCHEMES = new Map<number, Scheme>([[0x14, "rsassa"], [0x16, "rsapss"], [0x18, "ecdsa"]]);

/** Hashes that WebCrypto verifies with. SHA-1 is left out on purpose: its signatures prove nothing. */
const HASH_NAMES: Partial<Record<Bank, string>> = {
  sha256: "SHA-256",
  sha384: "SHA-384",
  sha512: "SHA-512",
};

const SCALAR_BYTES = { "P-256": 32, "P-384": 48, "P-521": 66 } as const;

/** A parsed signature. */
export interface TpmSignature {
  readonly scheme: Scheme;
  /** Hash of the scheme; a quote's PCR digest is made with it too. */
  readonly hash: Bank;
  /** `rsa*`: the one value. `ecdsa`: r and s, big-endian, of whatever length the TPM wrote. */
  readonly values: readonly Uint8Array[];
}

/** @throws {CocosError} `invalid-argument` for an unknown scheme or hash, or bytes left over. */
export function parseTpmSignature(bytes: Uint8Array): TpmSignature {
  const reader = new Reader(bytes, "a TPM signature");
  if (bytes.length > MAX_SIGNATURE_BYTES) throw reader.fault(`${bytes.length} bytes are too many`);
  const id = reader.u16be();
  const scheme = SCHEMES.get(id);
  if (scheme === undefined) throw reader.fault(`scheme 0x${id.toString(16)} is not known`, 0);
  const hashId = reader.u16be();
  const hash = bankOfId(hashId);
  if (hash === undefined) throw reader.fault(`hash 0x${hashId.toString(16)} is not known`, 2);
  const values = [reader.bytes(reader.u16be())];
  if (scheme === "ecdsa") values.push(reader.bytes(reader.u16be()));
  reader.end();
  return Object.freeze({ scheme, hash, values: Object.freeze(values) });
}

/** A bare RSASSA signature (Azure's tools drop the TPMT_SIGNATURE around it). */
export function rsassa(signature: Uint8Array, hash: Bank): TpmSignature {
  return Object.freeze({ scheme: "rsassa", hash, values: Object.freeze([signature]) });
}

/**
 * Whether `signature` over `data` is by `key`. A signature that does not fit the key is not an error
 * but false.
 *
 * @throws {CocosError} `not-supported` for a hash that must not or can't be used in a signature
 * (SHA-1, SHA-3); `invalid-key` for a key that is none.
 */
export async function verifyTpmSignature(
  key: SubjectKey,
  signature: TpmSignature,
  data: Uint8Array,
): Promise<boolean> {
  const hash = HASH_NAMES[signature.hash];
  if (hash === undefined) {
    throw new CocosError(
      "not-supported",
      `Cannot accept a TPM signature over ${signature.hash}: SHA-256, SHA-384 or SHA-512 is due`,
      { hint: "Make the attestation key with SHA-256." },
    );
  }
  if (signature.scheme === "ecdsa") {
    if (key.kind !== "ec") return false;
    const size = SCALAR_BYTES[key.curve];
    const raw = new Uint8Array(2 * size);
    for (const [i, value] of signature.values.entries()) {
      const scalar = withoutLeadingZeros(value);
      if (scalar.length > size) return false;
      raw.set(scalar, (i + 1) * size - scalar.length);
    }
    const jwk = {
      kty: "EC",
      crv: key.curve,
      x: base64url(key.point.subarray(1, 1 + size)),
      y: base64url(key.point.subarray(1 + size)),
    };
    const imported = await importJwk(jwk, { name: "ECDSA", namedCurve: key.curve });
    return await verify({ name: "ECDSA", hash }, imported, raw, data);
  }
  const value = signature.values[0];
  if (key.kind !== "rsa" || value === undefined || value.length !== key.modulus.length) {
    return false;
  }
  const name = signature.scheme === "rsapss" ? "RSA-PSS" : "RSASSA-PKCS1-v1_5";
  const jwk = { kty: "RSA", n: base64url(key.modulus), e: base64url(key.exponent) };
  const imported = await importJwk(jwk, { name, hash });
  if (name !== "RSA-PSS") return await verify({ name }, imported, value, data);
  // A TPM uses the longest salt that fits, or in FIPS mode one of the digest's length (part 1 §B.7).
  const digest = Number(hash.slice(4)) / 8;
  const longest = key.modulus.length - digest - 2;
  return await verify({ name, saltLength: digest }, imported, value, data) ||
    await verify({ name, saltLength: longest }, imported, value, data);
}

async function importJwk(
  jwk: JsonWebKey,
  algorithm: RsaHashedImportParams | EcKeyImportParams,
): Promise<CryptoKey> {
  try {
    return await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["verify"]);
  } catch (cause) {
    throw new CocosError("invalid-key", "Cannot use a TPM key: it is not a valid key", { cause });
  }
}

async function verify(
  algorithm: AlgorithmIdentifier | RsaPssParams | EcdsaParams,
  key: CryptoKey,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  return await crypto.subtle.verify(
    algorithm,
    key,
    signature as BufferSource,
    data as BufferSource,
  );
}

function withoutLeadingZeros(bytes: Uint8Array): Uint8Array {
  const start = bytes.findIndex((byte) => byte !== 0);
  return start === -1 ? bytes.subarray(bytes.length) : bytes.subarray(start);
}
