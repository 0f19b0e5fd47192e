// TPM2_MakeCredential in software (TPM 2.0 part 1 §24): a secret that only the TPM with a given
// endorsement key can open, and only if it also holds the key of a given name. It ties an attestation
// key to an endorsement key that something else vouches for. Both public areas come from the peer.
import { hmac } from "@noble/hashes/hmac.js";
import { sha256, sha384 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import { equalBytes } from "../verdict.ts";
import { base64url } from "../x509/mod.ts";
import { KeyAttribute, type TpmPublic } from "./public.ts";

/** A credential is at most the digest length of the endorsement key's name algorithm. */
const SECRET_BYTES = 32;

/** Name algorithms of endorsement keys that are taken, with their digest length. */
const SIZES = { sha256: 32, sha384: 48 } as const;
type NameAlg = keyof typeof SIZES;

/** What is sent to the TPM, and what is kept to judge the answer. */
export interface CredentialChallenge {
  /** TPM2B_ID_OBJECT. */
  readonly credentialBlob: Uint8Array;
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly encryptedSecret: Uint8Array;
  /** Never sent. */
  readonly secret: Uint8Array;
  /** Name of the endorsement key it was made for. */
  readonly endorsementKey: Uint8Array;
  /** Name of the attestation key it was made for. */
  readonly attestationKey: Uint8Array;
}

/**
 * Makes a challenge for an RSA endorsement key.
 *
 * @param attestationKey The AK's public area; its name is what the TPM checks.
 * @throws {CocosError} `not-supported` for an endorsement key that is not a restricted RSA decryption
 * key of name algorithm SHA-256 or SHA-384 with AES-128-CFB (the TCG's L-1 template).
 */
export async function makeCredential(
  endorsementKey: TpmPublic,
  attestationKey: TpmPublic,
): Promise<CredentialChallenge> {
  const { nameAlg, attributes, key } = endorsementKey;
  const wanted = KeyAttribute.restricted | KeyAttribute.decrypt | KeyAttribute.fixedTPM;
  if ((attributes & wanted) !== wanted || (attributes & KeyAttribute.sign) !== 0) {
    throw unsupported("the key is not a restricted decryption key fixed to its TPM");
  }
  if (key.kind !== "rsa" || (nameAlg !== "sha256" && nameAlg !== "sha384")) {
    throw unsupported("the key is not RSA with a SHA-256 or SHA-384 name");
  }
  const size = SIZES[nameAlg];
  const seed = crypto.getRandomValues(new Uint8Array(size));
  const imported = await crypto.subtle.importKey(
    "jwk",
    { kty: "RSA", n: base64url(key.modulus), e: base64url(key.exponent) },
    { name: "RSA-OAEP", hash: `SHA-${size * 8}` },
    false,
    ["encrypt"],
  );
  const label = new TextEncoder().encode("IDENTITY\0");
  const encrypted = await crypto.subtle.encrypt({ name: "RSA-OAEP", label }, imported, seed);
  const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  const { name } = attestationKey;
  const storage = kdfa(nameAlg, seed, "STORAGE", name, 16);
  const identity = await cfbEncrypt(storage, sized(secret));
  const integrityKey = kdfa(nameAlg, seed, "INTEGRITY", new Uint8Array(), size);
  const integrity = hmacOf(nameAlg, integrityKey, join(identity, name));
  return Object.freeze({
    credentialBlob: sized(join(sized(integrity), identity)),
    encryptedSecret: sized(new Uint8Array(encrypted)),
    secret,
    endorsementKey: endorsementKey.name,
    attestationKey: name,
  });
}

/** Whether a TPM's answer to TPM2_ActivateCredential opens the challenge. */
export function isActivated(challenge: CredentialChallenge, answer: Uint8Array): boolean {
  return equalBytes(challenge.secret, answer);
}

/** KDFa (part 1 §11.4.10.2): counter mode over HMAC. */
function kdfa(
  alg: NameAlg,
  key: Uint8Array,
  label: string,
  context: Uint8Array,
  bytes: number,
): Uint8Array {
  const bits = 8 * bytes;
  const tail = Uint8Array.of(bits >>> 24, bits >>> 16 & 0xff, bits >>> 8 & 0xff, bits & 0xff);
  const message = join(
    join(Uint8Array.of(0, 0, 0, 1), new TextEncoder().encode(`${label}\0`)),
    join(context, tail),
  );
  return hmacOf(alg, key, message).subarray(0, bytes);
}

/** AES-CFB with a zero IV, one block at a time: WebCrypto has only CBC, whose first block is one. */
async function cfbEncrypt(key: Uint8Array, data: Uint8Array): Promise<Uint8Array> {
  const imported = await crypto.subtle.importKey("raw", key as BufferSource, "AES-CBC", false, [
    "encrypt",
  ]);
  const out = new Uint8Array(data.length);
  let previous = new Uint8Array(16);
  for (let at = 0; at < data.length; at += 16) {
    const stream = new Uint8Array(
      await crypto.subtle.encrypt({ name: "AES-CBC", iv: new Uint8Array(16) }, imported, previous),
    );
    for (let i = at; i < Math.min(at + 16, data.length); i++) {
      out[i] = (data[i] as number) ^ (stream[i - at] as number);
    }
    previous = new Uint8Array(16);
    previous.set(out.subarray(at, at + 16));
  }
  return out;
}

/** TPM2B: a length before the bytes. */
function sized(bytes: Uint8Array): Uint8Array {
  return join(Uint8Array.of(bytes.length >> 8, bytes.length & 0xff), bytes);
}

function hmacOf(alg: NameAlg, key: Uint8Array, message: Uint8Array): Uint8Array {
  return alg === "sha256" ? hmac(sha256, key, message) : hmac(sha384, key, message);
}

function join(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}

function unsupported(why: string): CocosError {
  return new CocosError("not-supported", `Cannot challenge an endorsement key: ${why}`);
}
