// Certificates made here: the agent's own front door, and the small authorities of tests and demos.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { webcrypto } from "node:crypto";

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A certificate with its private key, PEM texts. */
export interface Certificate {
  readonly cert: string;
  /** PKCS#8. */
  readonly key: string;
}

/** What a certificate says of its holder. */
export interface CertificateOptions {
  readonly commonName: string;
  /** DNS names and IP addresses of the holder. */
  readonly names?: readonly string[];
  /** From when it holds; default a minute ago, for clocks that differ a little. */
  readonly notBefore?: Date;
  /** Until when it holds; default a year after `notBefore`. */
  readonly notAfter?: Date;
  /** Who signs; absent, it signs itself and may sign others. */
  readonly issuer?: Certificate;
}

/** Makes an ECDSA P-256 certificate (RFC 5280), self-signed or signed by `issuer`. */
export async function makeCertificate(options: CertificateOptions): Promise<Certificate> {
  const crypto = webcrypto as unknown as Crypto;
  const keys = await crypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const notBefore = options.notBefore ?? new Date(Date.now() - 60_000);
  const notAfter = options.notAfter ?? new Date(notBefore.getTime() + 365 * 86_400_000);
  const subject = `CN=${options.commonName}`;
  const names = (options.names ?? []).map((value) => ({
    type: /^[0-9.]+$|:/.test(value) ? "ip" as const : "dns" as const,
    value,
  }));
  const root = options.issuer === undefined;
  const issuer = options.issuer === undefined ? undefined : {
    cert: new x509.X509Certificate(options.issuer.cert),
    key: await crypto.subtle.importKey(
      "pkcs8",
      x509.PemConverter.decodeFirst(options.issuer.key),
      P256,
      false,
      ["sign"],
    ),
  };
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: crypto.getRandomValues(new Uint8Array(16)).toHex().replace(/^[89a-f]/, "7"),
    subject,
    issuer: issuer?.cert.subject ?? subject,
    notBefore,
    notAfter,
    publicKey: keys.publicKey,
    signingKey: issuer?.key ?? keys.privateKey,
    signingAlgorithm: P256,
    extensions: [
      new x509.BasicConstraintsExtension(root, undefined, true),
      new x509.KeyUsagesExtension(
        root
          ? x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.digitalSignature
          : x509.KeyUsageFlags.digitalSignature,
        true,
      ),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
    ],
  }, crypto);
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { cert: cert.toString("pem"), key: x509.PemConverter.encode(pkcs8, "PRIVATE KEY") };
}
