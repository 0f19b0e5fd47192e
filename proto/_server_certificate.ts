// What a server's certificate must be before its handshake counts. Deno 2.9.6 leaves both the proof of the
// handshake (RFC 8446 §4.4.3) and the authority's word out where its TLS library can't read the
// certificate, and says `authorized` all the same: anybody could show a spoilt copy of the server's, or one
// of their own. So only what that library can read is taken, signed by whoever must have signed it: to the
// bit what they made. The server is not trusted (threats M-9, G-17, G-18).
import type { Buffer } from "node:buffer";
import { createHash, verify, X509Certificate } from "node:crypto";
import { CocosError, messageOf } from "../base/mod.ts";

/** Tags (X.690 §8.2.2, §8.6, §8.9). */
const SEQUENCE = 0x30;
const BIT_STRING = 0x03;

/** AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758 §3.2). */
const ECDSA_WITH_SHA256 = "300a06082a8648ce3d040302";

/** Version 3 as it begins a TBSCertificate (RFC 5280 §4.1.2.1); no other is read. */
const VERSION_3 = "a003020102";

/** Most certificates between a server's and an authority's. */
const MAX_BETWEEN = 8;

/**
 * SHA-256 of the SubjectPublicKeyInfo of a self-signed certificate as agents make it, lower-case
 * hexadecimal.
 *
 * @param der the certificate as it came
 * @throws {CocosError} `untrusted` for one that does not prove that the key's holder made it, to the bit.
 */
export function keyOfOwn(der: Uint8Array): string {
  try {
    const { signed, algorithm, signature } = parts(der);
    if (algorithm !== ECDSA_WITH_SHA256) {
      throw new TypeError("it is not signed with ECDSA and SHA-256");
    }
    const { publicKey } = new X509Certificate(der);
    if (!verify("sha256", signed, publicKey, signature)) {
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

/**
 * Refuses a server's certificate that Deno took without looking at it, beside all Deno looks at.
 *
 * @param shown the certificates as they came, the server's first
 * @param ca PEM texts of the authorities; the system's can't be read with the rights our programs have,
 * so without any the server is refused
 * @throws {TypeError} why it can't be relied on.
 */
export function checkSigned(shown: readonly Uint8Array[], ca: string | undefined): void {
  const [first = new Uint8Array()] = shown;
  parts(first);
  if (ca === undefined) {
    throw new TypeError(
      "no authority is named that the server's certificate must come from; give its CA certificates",
    );
  }
  const anchors = pemsOf(ca).flatMap(readable);
  const [server, ...between] = shown.flatMap(readable);
  let current = server;
  for (let i = 0; current !== undefined && i <= MAX_BETWEEN; i++) {
    const each: X509Certificate = current;
    if (anchors.some((anchor) => isSignedBy(each, anchor))) return;
    current = between.find((one) => one.ca && isSignedBy(each, one));
  }
  throw new TypeError("the server's certificate leads to no authority that is asked");
}

function pemsOf(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}

function readable(certificate: string | Uint8Array): X509Certificate[] {
  try {
    return [new X509Certificate(certificate as string | Buffer)];
  } catch {
    return [];
  }
}

function isSignedBy(one: X509Certificate, by: X509Certificate): boolean {
  try {
    return one.issuer === by.subject && one.verify(by.publicKey);
  } catch {
    return false; // a key of another kind
  }
}

/** What is signed in a certificate of version 3 in DER, how, and the signature. */
function parts(der: Uint8Array) {
  const whole = element(der, 0, SEQUENCE);
  if (whole.end !== der.length) throw new TypeError("something follows the certificate");
  const body = element(der, whole.start, SEQUENCE);
  const algorithm = element(der, body.end, SEQUENCE);
  const signature = element(der, algorithm.end, BIT_STRING);
  if (signature.end !== der.length) throw new TypeError("something follows its signature");
  if (der[signature.start] !== 0) throw new TypeError("its signature has unused bits");
  if (der.subarray(body.start, body.start + 5).toHex() !== VERSION_3) {
    throw new TypeError("the certificate is not of version 3");
  }
  return {
    signed: der.subarray(whole.start, body.end),
    algorithm: der.subarray(body.end, algorithm.end).toHex(),
    signature: der.subarray(signature.start + 1, signature.end),
  };
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
