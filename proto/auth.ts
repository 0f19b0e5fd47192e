// Keys of the parties and the role signatures of the seed-era wire (wire.md §2). The peer is not
// trusted: keys come from a manifest somebody else wrote, signatures from the network.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { Buffer } from "node:buffer";
import { promisify } from "node:util";
import { CocosError } from "../base/mod.ts";

/** The words a request of each role is signed over. */
export const ROLES = {
  algorithm: "algorithm-provider",
  data: "data-provider",
  consumer: "consumer",
} as const;

/** A role word. */
export type Role = (typeof ROLES)[keyof typeof ROLES];

/** The kinds of key a party may have. */
export const KEY_KINDS = ["rsa", "ecdsa", "ed25519"] as const;

/** A kind of key. */
export type KeyKind = (typeof KEY_KINDS)[number];

/** A party's private key that was read and checked. */
export interface PrivateKey {
  readonly kind: KeyKind;
  readonly key: KeyObject;
}

/** A party's public key that was read and checked. */
export interface PublicKey {
  readonly kind: KeyKind;
  readonly key: KeyObject;
  /** DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), the form a manifest carries. */
  readonly spki: Uint8Array;
}

/** Metadata key of the role's name; the agent does not trust it. */
export const USER_ID_KEY = "user-id";

/** Metadata key of the signature, base64 with padding. */
export const SIGNATURE_KEY = "signature";

/** Least modulus we take: NIST SP 800-131A ended 1,024 bits; a 512-bit key is factored in hours. */
const MIN_RSA_BITS = 2048;

/** Most modulus we take: verification time grows with the square of it. */
const MAX_RSA_BITS = 16384;

/**
 * Curves of ECDSA keys. The Go CLI makes P-256. P-521 is refused before it is relied on: the wire signs
 * SHA-256, and Deno 2.9.6 neither makes nor verifies a P-521 signature over so short a digest.
 */
const CURVES = new Set(["prime256v1", "secp384r1"]);

/** Longest key file we read, in characters: an RSA key of 16,384 bits has about 12,600. */
const MAX_PEM = 65_536;

/** Longest signature text: RSA of 16,384 bits in base64. */
const MAX_SIGNATURE = 2_736;

const generate = promisify(generateKeyPair);

/**
 * Makes a key pair in the formats of the Go CLI (wire.md §2.1): RSA 4096 with a PKCS#1 body under
 * the label `PRIVATE KEY`, P-256 as SEC1, Ed25519 as PKCS#8.
 */
export async function generateKeys(
  kind: KeyKind,
): Promise<{ privatePem: string; publicPem: string }> {
  const publicKeyEncoding = { type: "spki", format: "pem" } as const;
  switch (kind) {
    case "rsa": {
      const pair = await generate("rsa", {
        modulusLength: 4096,
        publicExponent: 65537,
        publicKeyEncoding,
        privateKeyEncoding: { type: "pkcs1", format: "pem" },
      });
      return {
        privatePem: pair.privateKey.replaceAll("RSA PRIVATE KEY", "PRIVATE KEY"),
        publicPem: pair.publicKey,
      };
    }
    case "ecdsa": {
      const pair = await generate("ec", {
        namedCurve: "P-256",
        publicKeyEncoding,
        privateKeyEncoding: { type: "sec1", format: "pem" },
      });
      return { privatePem: pair.privateKey, publicPem: pair.publicKey };
    }
    case "ed25519": {
      const pair = await generate("ed25519", {
        publicKeyEncoding,
        privateKeyEncoding: { type: "pkcs8", format: "pem" },
      });
      return { privatePem: pair.privateKey, publicPem: pair.publicKey };
    }
  }
}

/** Label and body of the one PEM block of a text. */
function readPem(pem: string): { label: string; der: Uint8Array } {
  const block = /^-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----\s*$/
    .exec(pem.length > MAX_PEM ? "" : pem.trimStart());
  if (block === null) {
    throw new CocosError("invalid-key", "error decoding key: the text is not one PEM block");
  }
  try {
    const body = (block[2] as string).replaceAll(/[\r\n]/g, "");
    return { label: block[1] as string, der: Uint8Array.fromBase64(body) };
  } catch (cause) {
    throw new CocosError("invalid-key", "error decoding key: the PEM body is not base64", {
      cause,
    });
  }
}

/**
 * Reads a private key as the Go CLI does: `PRIVATE KEY` holds PKCS#8 or PKCS#1, `EC PRIVATE KEY`
 * SEC1; `RSA PRIVATE KEY` (PKCS#1) is taken as well, since OpenSSL writes it.
 *
 * @throws {CocosError} `invalid-key`.
 */
export function readPrivateKey(pem: string): PrivateKey {
  const { label, der } = readPem(pem);
  const types = {
    "PRIVATE KEY": ["pkcs8", "pkcs1"],
    "RSA PRIVATE KEY": ["pkcs1"],
    "EC PRIVATE KEY": ["sec1"],
  }[label];
  if (types === undefined) {
    throw new CocosError("invalid-key", `error decoding key: label ${JSON.stringify(label)}`, {
      hint: "Give a private key made with `cocos keys`, unencrypted, in PEM.",
    });
  }
  const causes: unknown[] = [];
  for (const type of types as ("pkcs8" | "pkcs1" | "sec1")[]) {
    try {
      const key = createPrivateKey({ key: Buffer.from(der), format: "der", type });
      return { kind: kindOf(key), key };
    } catch (cause) {
      if (cause instanceof CocosError) throw cause;
      causes.push(cause);
    }
  }
  throw new CocosError("invalid-key", "error decoding key: the body is not a private key", {
    cause: new AggregateError(causes),
  });
}

/**
 * DER SubjectPublicKeyInfo of a `PUBLIC KEY` PEM text, checked as {@linkcode readPublicKey} does.
 *
 * @throws {CocosError} `invalid-key`.
 */
export function readPublicKeyPem(pem: string): Uint8Array {
  const { label, der } = readPem(pem);
  if (label !== "PUBLIC KEY") {
    throw new CocosError("invalid-key", `error decoding key: label ${JSON.stringify(label)}`, {
      hint: "Give the public.pem that `cocos keys` wrote.",
    });
  }
  return readPublicKey(der).spki;
}

/**
 * Reads a public key a manifest declares. Threats M-5: other types, RSA below 2,048 bits or with
 * an even or tiny exponent, points off the curve, PEM instead of DER and trailing bytes are refused.
 *
 * @param spki DER SubjectPublicKeyInfo
 * @throws {CocosError} `invalid-key`.
 */
export function readPublicKey(spki: Uint8Array): PublicKey {
  let key: KeyObject;
  let again: Uint8Array;
  try {
    if (spki.length === 0 || spki.length > MAX_PEM) throw new RangeError(`${spki.length} bytes`);
    key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    again = new Uint8Array(key.export({ format: "der", type: "spki" }));
  } catch (cause) {
    throw new CocosError("invalid-key", "Cannot read public key: not a SubjectPublicKeyInfo", {
      cause,
    });
  }
  const kind = kindOf(key);
  if (again.length !== spki.length) {
    throw new CocosError("invalid-key", "Cannot read public key: its DER has bytes left over");
  }
  return { kind, key, spki: spki.slice() };
}

/** The kind of a key whose parameters are acceptable. */
function kindOf(key: KeyObject): KeyKind {
  const details = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "rsa": {
      const bits = details.modulusLength ?? 0;
      const exponent = details.publicExponent ?? 0n;
      if (bits < MIN_RSA_BITS || bits > MAX_RSA_BITS) {
        throw new CocosError(
          "invalid-key",
          `Cannot use RSA key: modulus has ${bits} bits, must have ${MIN_RSA_BITS} to ${MAX_RSA_BITS}`,
        );
      }
      if (exponent < 3n || exponent % 2n === 0n || exponent > 0xffffffffn) {
        throw new CocosError("invalid-key", `Cannot use RSA key: exponent is ${exponent}`);
      }
      return "rsa";
    }
    case "ec":
      if (!CURVES.has(details.namedCurve ?? "")) {
        throw new CocosError("invalid-key", `Cannot use EC key: curve is ${details.namedCurve}`, {
          hint: "Make a key with `cocos keys -k ecdsa`; P-256 and P-384 are taken.",
        });
      }
      return "ecdsa";
    case "ed25519":
      return "ed25519";
    default:
      throw new CocosError("invalid-key", `unsupported public key type: ${key.asymmetricKeyType}`);
  }
}

/** Signs a role word as the Go CLI does; the result is the `signature` metadata value. */
export function signRole(role: Role, { kind, key }: PrivateKey): string {
  return sign(digestName(kind), Buffer.from(role), key).toString("base64");
}

/**
 * Whether `signature` (the metadata value) is this key's signature of the role word. Text that is
 * not strict base64 is a wrong signature.
 */
export function verifyRole(role: Role, signature: string, { kind, key }: PublicKey): boolean {
  if (signature.length > MAX_SIGNATURE || !/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) return false;
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(signature, { lastChunkHandling: "strict" });
  } catch {
    return false;
  }
  try {
    return verify(digestName(kind), Buffer.from(role), key, bytes);
  } catch {
    return false;
  }
}

/** Hash of each kind of key: SHA-256 before RSA PKCS#1 v1.5 and ECDSA (DER); Ed25519 signs the text itself (RFC 8032). */
export function digestName(kind: KeyKind): "sha256" | null {
  return kind === "ed25519" ? null : "sha256";
}
