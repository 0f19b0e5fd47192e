// Certificates made here: the agent's own front door, and the small authorities of tests and demos.
// RFC 5280; ECDSA with P-256 and SHA-256 only.
import { Buffer } from "node:buffer";
import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import {
  bits,
  explicit,
  implicit,
  integer,
  octets,
  oid,
  sequence,
  setOf,
  time,
  TRUE,
  utf8,
} from "./_der.ts";

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
  /** Who signs, one made here; absent, it signs itself and may sign others. */
  readonly issuer?: Certificate;
}

/** A certificate that only shows its own key. */
export interface OwnCertificate extends Certificate {
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal. */
  readonly pin: string;
}

const OID = {
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  commonName: "2.5.4.3",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  extKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** Bits of KeyUsage with the number of unused ones (RFC 5280 §4.2.1.3). */
const SIGNS_HANDSHAKES = bits(Uint8Array.of(0x80), 7);
const SIGNS_CERTIFICATES_TOO = bits(Uint8Array.of(0x84), 2);

const ALGORITHM = sequence(oid(OID.ecdsaWithSha256));

/** Makes an ECDSA P-256 certificate, self-signed or signed by `issuer`. */
export async function makeCertificate(options: CertificateOptions): Promise<Certificate> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { issuer } = options;
  const notBefore = options.notBefore ?? new Date(Date.now() - 60_000);
  const notAfter = options.notAfter ?? new Date(notBefore.getTime() + 365 * 86_400_000);
  const root = issuer === undefined;
  const names = options.names ?? [];
  const serial = randomBytes(16);
  serial[0] = (serial[0] as number) & 0x3f | 0x40; // positive, no leading zero (RFC 5280 §4.1.2.2)
  const body = sequence(
    explicit(0, integer(Uint8Array.of(2))),
    integer(serial),
    ALGORITHM,
    nameOf(root ? options.commonName : commonNameOf(issuer)),
    sequence(time(notBefore), time(notAfter)),
    nameOf(options.commonName),
    publicKey.export({ format: "der", type: "spki" }),
    explicit(
      3,
      sequence(
        extension(OID.basicConstraints, root ? sequence(TRUE) : sequence(), true),
        extension(OID.keyUsage, root ? SIGNS_CERTIFICATES_TOO : SIGNS_HANDSHAKES, true),
        extension(OID.extKeyUsage, sequence(oid(OID.serverAuth), oid(OID.clientAuth))),
        ...(names.length === 0
          ? []
          : [extension(OID.subjectAltName, sequence(...names.map(generalName)))]),
      ),
    ),
  );
  const signature = sign("sha256", body, root ? privateKey : createPrivateKey(issuer.key));
  const whole = sequence(body, ALGORITHM, bits(signature));
  return await Promise.resolve({
    cert: pem("CERTIFICATE", whole),
    key: privateKey.export({ format: "pem", type: "pkcs8" }).toString(),
  });
}

/**
 * Makes a certificate for a key that peers know by its digest alone. Its dates say nothing (RFC 5280
 * §4.1.2.5: 9999-12-31 is "no well-defined expiration"): the clock of a guest is its host's.
 */
export async function makeOwnCertificate(): Promise<OwnCertificate> {
  const made = await makeCertificate({
    commonName: "cocos agent",
    notBefore: new Date("2000-01-01T00:00:00Z"),
    notAfter: new Date("9999-12-31T23:59:59Z"),
  });
  return { ...made, pin: pinOf(made.cert) };
}

/** SHA-256 of the SubjectPublicKeyInfo of a certificate (PEM or DER), lower-case hexadecimal. */
export function pinOf(cert: string | Uint8Array): string {
  const { publicKey } = new X509Certificate(cert);
  return createHash("sha256").update(publicKey.export({ format: "der", type: "spki" }))
    .digest("hex");
}

/** Name of one attribute (RFC 5280 §4.1.2.4). */
function nameOf(commonName: string): Uint8Array {
  return sequence(setOf(sequence(oid(OID.commonName), utf8(commonName))));
}

/** Common name of a certificate made here. */
function commonNameOf({ cert }: Certificate): string {
  return new X509Certificate(cert).subject.replace(/^CN=/, "");
}

function extension(id: string, value: Uint8Array, critical = false): Uint8Array {
  return sequence(oid(id), ...(critical ? [TRUE] : []), octets(value));
}

/** GeneralName of an address or a DNS name (RFC 5280 §4.2.1.6). */
function generalName(name: string): Uint8Array {
  if (/^\d+(\.\d+){3}$/.test(name)) {
    return implicit(7, Uint8Array.from(name.split(".").map(Number)));
  }
  if (name.includes(":")) return implicit(7, addressOf(name));
  return implicit(2, new TextEncoder().encode(name));
}

/** The 16 bytes of an IPv6 address (RFC 4291 §2.2, without the mixed form). */
function addressOf(text: string): Uint8Array {
  const [head = "", tail] = text.split("::");
  const groups = (part: string) => part === "" ? [] : part.split(":").map((each) => `0x${each}`);
  const [first, last] = [groups(head), groups(tail ?? "")];
  const middle = new Array(Math.max(0, 8 - first.length - last.length)).fill(0);
  const bytes = new DataView(new ArrayBuffer(16));
  [...first, ...middle, ...last].forEach((group, i) => bytes.setUint16(i * 2, Number(group)));
  return new Uint8Array(bytes.buffer);
}

function pem(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der).toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
