// X.509 v3 certificates (RFC 5280 §4) as a frozen value, strictly: no duplicate extension, no
// unknown signature algorithm, no trailing byte. The bytes come from the peer and are not trusted.
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import {
  bitsOf,
  booleanOf,
  Der,
  type Element,
  integerBytes,
  oidOf,
  only,
  positiveBytes,
  smallInteger,
  Tag,
  textOf,
  timeOf,
} from "./der.ts";

/** Largest certificate we read; real ones of AMD, Intel and Microsoft are below 3 KiB. */
export const MAX_CERTIFICATE_BYTES = 16 * 1024;

/** The signature algorithms that are taken; SHA-1 and MD5 have no name here. */
export type SignatureAlgorithm =
  | "rsa-pss-sha256"
  | "rsa-pss-sha384"
  | "rsa-pss-sha512"
  | "rsa-sha256"
  | "rsa-sha384"
  | "rsa-sha512"
  | "ecdsa-sha256"
  | "ecdsa-sha384"
  | "ecdsa-sha512";

/** A subject's key. */
export type SubjectKey =
  | {
    readonly kind: "ec";
    readonly curve: "P-256" | "P-384" | "P-521";
    /** 04 ‖ x ‖ y. */
    readonly point: Uint8Array;
    /** SubjectPublicKeyInfo DER. */
    readonly spki: Uint8Array;
  }
  | {
    readonly kind: "rsa";
    /** Big-endian, without leading zero. */
    readonly modulus: Uint8Array;
    readonly exponent: Uint8Array;
    readonly spki: Uint8Array;
  };

/** One attribute of a name: OID and text. */
export interface Attribute {
  readonly oid: string;
  readonly text: string;
}

/** A distinguished name. */
export interface Name {
  readonly raw: Uint8Array;
  readonly attributes: readonly Attribute[];
}

/** One extension. */
export interface Extension {
  readonly critical: boolean;
  /** Content of extnValue. */
  readonly value: Uint8Array;
}

/** A parsed certificate; nothing about it is verified. */
export interface Certificate {
  readonly raw: Uint8Array;
  /** The signed bytes. */
  readonly tbs: Uint8Array;
  readonly algorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  readonly version: number;
  /** Lower-case hex of the INTEGER's content. */
  readonly serial: string;
  readonly issuer: Name;
  readonly subject: Name;
  /** Milliseconds since 1970, inclusive. */
  readonly notBefore: number;
  /** Milliseconds since 1970, inclusive. */
  readonly notAfter: number;
  readonly key: SubjectKey;
  readonly extensions: ReadonlyMap<string, Extension>;
  /** basicConstraints cA; false when the extension is absent. */
  readonly ca: boolean;
  /** basicConstraints pathLenConstraint. */
  readonly pathLength: number | undefined;
  /** First byte of keyUsage, bit 0x80 digitalSignature, 0x04 keyCertSign, 0x02 cRLSign; absent when there is none. */
  readonly keyUsage: number | undefined;
}

/** Object identifiers of RFC 5280 and friends that are used by name. */
export const Oid = {
  COMMON_NAME: "2.5.4.3",
  COUNTRY: "2.5.4.6",
  LOCALITY: "2.5.4.7",
  STATE: "2.5.4.8",
  ORGANIZATION: "2.5.4.10",
  UNIT: "2.5.4.11",
  BASIC_CONSTRAINTS: "2.5.29.19",
  KEY_USAGE: "2.5.29.15",
  AUTHORITY_KEY_ID: "2.5.29.35",
  SUBJECT_KEY_ID: "2.5.29.14",
  CRL_POINTS: "2.5.29.31",
  CRL_NUMBER: "2.5.29.20",
} as const;

const SIGNATURES: Record<string, SignatureAlgorithm> = {
  "1.2.840.113549.1.1.11": "rsa-sha256",
  "1.2.840.113549.1.1.12": "rsa-sha384",
  "1.2.840.113549.1.1.13": "rsa-sha512",
  "1.2.840.10045.4.3.2": "ecdsa-sha256",
  "1.2.840.10045.4.3.3": "ecdsa-sha384",
  "1.2.840.10045.4.3.4": "ecdsa-sha512",
};
const PSS = "1.2.840.113549.1.1.10";
const HASHES: Record<string, [SignatureAlgorithm, number]> = {
  "2.16.840.1.101.3.4.2.1": ["rsa-pss-sha256", 32],
  "2.16.840.1.101.3.4.2.2": ["rsa-pss-sha384", 48],
  "2.16.840.1.101.3.4.2.3": ["rsa-pss-sha512", 64],
};
const CURVES: Record<string, ["P-256" | "P-384" | "P-521", number]> = {
  "1.2.840.10045.3.1.7": ["P-256", 32],
  "1.3.132.0.34": ["P-384", 48],
  "1.3.132.0.35": ["P-521", 66],
};

/**
 * Parses one DER certificate.
 *
 * @throws {CocosError} `invalid-argument` with the offset.
 */
export function parseCertificate(bytes: Uint8Array, what = "a certificate"): Certificate {
  if (bytes.length > MAX_CERTIFICATE_BYTES) {
    throw new CocosError(
      "too-large",
      `Cannot read ${what}: ${bytes.length} bytes are more than ${MAX_CERTIFICATE_BYTES}`,
    );
  }
  const outer = new Der(only(bytes, Tag.SEQUENCE, what).content, what);
  const tbs = outer.next(Tag.SEQUENCE);
  const algorithm = outer.next(Tag.SEQUENCE);
  const signature = bitsOf(outer.next(Tag.BIT_STRING), what);
  outer.end();

  const body = new Der(tbs.content, what);
  const versionTag = body.optional(0xa0);
  const version = versionTag === undefined
    ? 1
    : smallInteger(only(versionTag.content, Tag.INTEGER, what), 2, what) + 1;
  const serial = serialOf(body.next(Tag.INTEGER), what);
  const inner = body.next(Tag.SEQUENCE);
  if (toHex(inner.raw) !== toHex(algorithm.raw)) {
    throw body.fault("the two signature algorithms differ");
  }
  const issuer = parseName(body.next(Tag.SEQUENCE), what);
  const validity = body.enter(Tag.SEQUENCE);
  const notBefore = timeOf(validity.next(), what);
  const notAfter = timeOf(validity.next(), what);
  validity.end();
  const subject = parseName(body.next(Tag.SEQUENCE), what);
  const key = parseKey(body.next(Tag.SEQUENCE), what);
  const wrapped = body.optional(0xa3);
  body.end();
  const extensions = wrapped === undefined
    ? new Map<string, Extension>()
    : parseExtensions(only(wrapped.content, Tag.SEQUENCE, what), what);
  if (version !== 3 && extensions.size > 0) throw body.fault("extensions need version 3");

  return Object.freeze({
    raw: bytes,
    tbs: tbs.raw,
    algorithm: parseAlgorithm(algorithm, what),
    signature,
    version,
    serial,
    issuer,
    subject,
    notBefore,
    notAfter,
    key,
    extensions,
    ...parseConstraints(extensions, what),
    keyUsage: parseUsage(extensions, what),
  });
}

/** Algorithm of an AlgorithmIdentifier; PSS only with MGF1 of the same hash and salt of its length. */
export function parseAlgorithm(element: Element, what: string): SignatureAlgorithm {
  const der = new Der(element.content, what);
  const oid = oidOf(der.next(Tag.OID), what);
  if (oid === PSS) return parsePss(der, what);
  const algorithm = SIGNATURES[oid];
  if (algorithm === undefined) throw der.fault(`signature algorithm ${oid} is not taken`);
  if (der.optional(Tag.NULL) !== undefined && algorithm.startsWith("ecdsa")) {
    throw der.fault("ECDSA takes no parameters");
  }
  der.end();
  return algorithm;
}

/** RSASSA-PSS-params (RFC 4055 §3.1). */
function parsePss(der: Der, what: string): SignatureAlgorithm {
  const params = der.enter(Tag.SEQUENCE);
  der.end();
  const hash = params.optional(0xa0);
  const mask = params.optional(0xa1);
  const salt = params.optional(0xa2);
  const trailer = params.optional(0xa3);
  params.end();
  if (hash === undefined || mask === undefined || salt === undefined) {
    throw params.fault("PSS with SHA-1 defaults is not taken");
  }
  const hashOid = hashOf(only(hash.content, Tag.SEQUENCE, what), what);
  const mgf = new Der(only(mask.content, Tag.SEQUENCE, what).content, what);
  const mgfOid = oidOf(mgf.next(Tag.OID), what);
  const mgfHash = hashOf(mgf.next(Tag.SEQUENCE), what);
  mgf.end();
  const known = HASHES[hashOid];
  const saltLength = smallInteger(only(salt.content, Tag.INTEGER, what), 512, what);
  const field = trailer === undefined
    ? 1
    : smallInteger(only(trailer.content, Tag.INTEGER, what), 255, what);
  if (
    known === undefined || mgfOid !== "1.2.840.113549.1.1.8" || mgfHash !== hashOid ||
    saltLength !== known[1] || field !== 1
  ) {
    throw params.fault(
      "PSS parameters must be one hash, MGF1 of it, its length as salt, trailer 1",
    );
  }
  return known[0];
}

function hashOf(element: Element, what: string): string {
  const der = new Der(element.content, what);
  const oid = oidOf(der.next(Tag.OID), what);
  der.optional(Tag.NULL);
  der.end();
  return oid;
}

/** A Name; a relative name of several values is flattened. */
export function parseName(element: Element, what: string): Name {
  const attributes: Attribute[] = [];
  const der = new Der(element.content, what);
  while (!der.done) {
    const set = der.enter(Tag.SET);
    if (set.done) throw set.fault("an empty relative name");
    while (!set.done) {
      const pair = set.enter(Tag.SEQUENCE);
      const oid = oidOf(pair.next(Tag.OID), what);
      attributes.push(Object.freeze({ oid, text: textOf(pair.next(), what) }));
      pair.end();
    }
    if (attributes.length > 32) throw der.fault("a name of more than 32 attributes");
  }
  return Object.freeze({ raw: element.raw, attributes: Object.freeze(attributes) });
}

/** SubjectPublicKeyInfo. */
export function parseKey(element: Element, what: string): SubjectKey {
  const der = new Der(element.content, what);
  const algorithm = der.enter(Tag.SEQUENCE);
  const oid = oidOf(algorithm.next(Tag.OID), what);
  if (oid === "1.2.840.10045.2.1") {
    const curve = CURVES[oidOf(algorithm.next(Tag.OID), what)];
    algorithm.end();
    const point = bitsOf(der.next(Tag.BIT_STRING), what);
    der.end();
    if (curve === undefined) throw der.fault("a curve that is not taken");
    if (point[0] !== 4 || point.length !== 1 + 2 * curve[1]) {
      throw der.fault("an EC point must be uncompressed and of its curve's length");
    }
    return Object.freeze({ kind: "ec", curve: curve[0], point, spki: element.raw });
  }
  if (oid !== "1.2.840.113549.1.1.1") throw der.fault(`key algorithm ${oid} is not taken`);
  algorithm.optional(Tag.NULL);
  algorithm.end();
  const bits = bitsOf(der.next(Tag.BIT_STRING), what);
  der.end();
  const rsa = new Der(only(bits, Tag.SEQUENCE, what).content, what);
  const modulus = positiveBytes(rsa.next(Tag.INTEGER), what);
  const exponent = positiveBytes(rsa.next(Tag.INTEGER), what);
  rsa.end();
  if (modulus.length < 256 || modulus.length > 1024 || !isRsaExponent(exponent)) {
    throw rsa.fault("an RSA key must have 2048 to 8192 bits and an odd exponent from 3 to 2^32");
  }
  return Object.freeze({ kind: "rsa", modulus, exponent, spki: element.raw });
}

/** Odd, at least 3, below 2^32; under the exponent 1 every text is its own signature. */
export function isRsaExponent(bytes: Uint8Array): boolean {
  const last = bytes.at(-1) ?? 0;
  return bytes.length <= 4 && bytes[0] !== 0 && last % 2 === 1 && (bytes.length > 1 || last >= 3);
}

/** Lower-case hex of a serial number: 20 bytes (RFC 5280 §4.1.2.2), and one for the sign. */
export function serialOf(element: Element, what: string): string {
  const bytes = integerBytes(element, what);
  if (bytes.length > 21) throw new Der(bytes, what).fault("a serial number above 20 bytes");
  return toHex(bytes);
}

/** Extensions (of a certificate or a CRL), each at most once. */
export function parseExtensions(element: Element, what: string): ReadonlyMap<string, Extension> {
  const extensions = new Map<string, Extension>();
  const der = new Der(element.content, what);
  while (!der.done) {
    const item = der.enter(Tag.SEQUENCE);
    const oid = oidOf(item.next(Tag.OID), what);
    const flag = item.optional(Tag.BOOLEAN);
    const critical = flag !== undefined && booleanOf(flag, what);
    const value = item.next(Tag.OCTET_STRING).content;
    item.end();
    if (extensions.has(oid)) throw der.fault(`extension ${oid} twice`);
    extensions.set(oid, Object.freeze({ critical, value }));
  }
  return extensions;
}

function parseConstraints(
  extensions: ReadonlyMap<string, Extension>,
  what: string,
): { ca: boolean; pathLength: number | undefined } {
  const extension = extensions.get(Oid.BASIC_CONSTRAINTS);
  if (extension === undefined) return { ca: false, pathLength: undefined };
  const der = new Der(only(extension.value, Tag.SEQUENCE, what).content, what);
  const flag = der.optional(Tag.BOOLEAN);
  const limit = der.optional(Tag.INTEGER);
  der.end();
  return {
    ca: flag !== undefined && booleanOf(flag, what),
    pathLength: limit === undefined ? undefined : smallInteger(limit, 255, what),
  };
}

function parseUsage(extensions: ReadonlyMap<string, Extension>, what: string): number | undefined {
  const extension = extensions.get(Oid.KEY_USAGE);
  if (extension === undefined) return undefined;
  const { content } = only(extension.value, Tag.BIT_STRING, what);
  const unused = content[0] ?? 8;
  if (content.length < 2 || content.length > 3 || unused > 7) {
    throw new Der(content, what).fault("keyUsage must have 1 to 9 bits");
  }
  return content[1];
}

/** Text of the one attribute with that OID; `undefined` when there is none or more than one. */
export function attribute(name: Name, oid: string): string | undefined {
  const found = name.attributes.filter((each) => each.oid === oid);
  return found.length === 1 ? found[0]?.text : undefined;
}
