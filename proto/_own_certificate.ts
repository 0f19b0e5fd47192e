// The certificate of a server that is known by its key alone. Deno 2.9.6 leaves the proof of the handshake
// out (RFC 8446 §4.4.3) where authorities are not asked and its TLS library can't read the certificate:
// anybody could show a spoilt copy of the agent's. So only what that library can read is taken: the form
// the agent makes, whole, and signed by the key in it. The server is not trusted (threats M-9, G-18).
import { createHash, verify, X509Certificate } from "node:crypto";
import { CocosError, messageOf } from "../base/mod.ts";

/** Tags (X.690 §8.2.2, §8.6, §8.9). */
const SEQUENCE = 0x30;
const BIT_STRING = 0x03;

/** AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758 §3.2). */
const ECDSA_WITH_SHA256 = "300a06082a8648ce3d040302";

/**
 * SHA-256 of the SubjectPublicKeyInfo of a self-signed certificate, lower-case hexadecimal.
 *
 * @param der the certificate as it came
 * @throws {CocosError} `untrusted` for one that does not prove that the key's holder made it, to the bit.
 */
export function keyOfOwn(der: Uint8Array): string {
  try {
    const whole = element(der, 0, SEQUENCE);
    if (whole.end !== der.length) throw new TypeError("something follows it");
    const body = element(der, whole.start, SEQUENCE);
    const algorithm = element(der, body.end, SEQUENCE);
    const signature = element(der, algorithm.end, BIT_STRING);
    if (signature.end !== der.length) throw new TypeError("something follows its signature");
    if (der.subarray(body.end, algorithm.end).toHex() !== ECDSA_WITH_SHA256) {
      throw new TypeError("it is not signed with ECDSA and SHA-256");
    }
    if (der[signature.start] !== 0) throw new TypeError("its signature has unused bits");
    const { publicKey } = new X509Certificate(der);
    const signed = der.subarray(whole.start, body.end);
    if (!verify("sha256", signed, publicKey, der.subarray(signature.start + 1, signature.end))) {
      throw new TypeError("it is not signed by its own key");
    }
    return createHash("sha256").update(publicKey.export({ format: "der", type: "spki" }))
      .digest("hex");
  } catch (cause) {
    throw new CocosError(
      "untrusted",
      `the agent's certificate is none an agent makes: ${messageOf(cause)}`,
      { cause, hint: "Nothing was sent. Somebody may be between you and the agent." },
    );
  }
}

/** Where the content of an element lies; its length must be in the one form DER has (X.690 §10.1). */
function element(der: Uint8Array, at: number, tag: number): { start: number; end: number } {
  const [found, first = 0x80] = der.subarray(at, at + 2);
  if (found !== tag) throw new TypeError("it is not in DER");
  const more = first < 0x80 ? 0 : first - 0x80;
  if (more > 2 || first === 0x80) throw new TypeError("it is not in DER");
  const length = more === 0
    ? first
    : der.subarray(at + 2, at + 2 + more).reduce((sum, byte) => sum * 256 + byte, 0);
  if (more > 0 && length < (more === 1 ? 0x80 : 0x100)) throw new TypeError("it is not in DER");
  const start = at + 2 + more;
  if (start + length > der.length) throw new TypeError("it is cut off");
  return { start, end: start + length };
}
