// A certificate authority for tests: makes the certificates and lists a hostile party would make.
// Its keys are published; nothing outside of tests may trust them.
import keys from "../testdata/insecure-test-keys.json" with { type: "json" };
import { Oid, Tag } from "../x509/mod.ts";
import { bits, integer, join, oid, sequence, text, time, tlv, TRUE } from "./der.ts";

/** The ways a forged certificate can be signed. */
export type Algorithm =
  | "rsa-pss-sha384"
  | "rsa-pss-sha256"
  | "rsa-sha256"
  | "ecdsa-sha256"
  | "ecdsa-sha384";

/** A key pair with its public form. */
export interface Pair {
  readonly spki: Uint8Array;
  /** Signs as certificates do: DER for ECDSA. */
  sign(algorithm: Algorithm, data: Uint8Array): Promise<Uint8Array>;
  /** Signs with ECDSA as r ‖ s. */
  signRaw(hash: "SHA-256" | "SHA-384", data: Uint8Array): Promise<Uint8Array>;
}

const NULL = Uint8Array.of(Tag.NULL, 0);

function pss(hash: string, salt: number): Uint8Array {
  const algorithm = sequence(oid(hash), NULL);
  return sequence(
    oid("1.2.840.113549.1.1.10"),
    sequence(
      tlv(0xa0, algorithm),
      tlv(0xa1, sequence(oid("1.2.840.113549.1.1.8"), algorithm)),
      tlv(0xa2, integer(salt)),
    ),
  );
}

/** AlgorithmIdentifiers. */
export const ALGORITHMS: Record<Algorithm, Uint8Array> = {
  "rsa-pss-sha384": pss("2.16.840.1.101.3.4.2.2", 48),
  "rsa-pss-sha256": pss("2.16.840.1.101.3.4.2.1", 32),
  "rsa-sha256": sequence(oid("1.2.840.113549.1.1.11"), NULL),
  "ecdsa-sha256": sequence(oid("1.2.840.10045.4.3.2")),
  "ecdsa-sha384": sequence(oid("1.2.840.10045.4.3.3")),
};

/** r ‖ s as ECDSA-Sig-Value. */
export function derSignature(raw: Uint8Array): Uint8Array {
  const half = raw.length / 2;
  const value = (part: Uint8Array) =>
    integer(part.reduce((sum, byte) => sum << 8n | BigInt(byte), 0n));
  return sequence(value(raw.subarray(0, half)), value(raw.subarray(half)));
}

/** A fresh EC pair. */
export async function ecPair(curve: "P-256" | "P-384"): Promise<Pair> {
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: curve }, true, [
    "sign",
    "verify",
  ]);
  const signRaw = async (hash: string, data: Uint8Array) =>
    new Uint8Array(
      await crypto.subtle.sign({ name: "ECDSA", hash }, pair.privateKey, data as BufferSource),
    );
  return {
    spki: new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey)),
    signRaw,
    sign: async (algorithm, data) =>
      derSignature(await signRaw(`SHA-${algorithm.slice(-3)}`, data)),
  };
}

const publicExponent = integer(65537);

/** One of the published 4096-bit pairs. */
export function rsaPair(name: "ark" | "ask" | "asvk"): Pair {
  const jwk = keys[name];
  const modulus = Uint8Array.from(
    atob(jwk.n.replaceAll("-", "+").replaceAll("_", "/")),
    (character) => character.charCodeAt(0),
  );
  const spki = sequence(
    sequence(oid("1.2.840.113549.1.1.1"), NULL),
    bits(
      sequence(
        integer(modulus.reduce((sum, byte) => sum << 8n | BigInt(byte), 0n)),
        publicExponent,
      ),
    ),
  );
  return {
    spki,
    signRaw: () => Promise.reject(new TypeError("an RSA key makes no ECDSA signature")),
    sign: async (algorithm, data) => {
      const hash = `SHA-${algorithm.slice(-3)}`;
      const name = algorithm.startsWith("rsa-pss") ? "RSA-PSS" : "RSASSA-PKCS1-v1_5";
      const key = await crypto.subtle.importKey("jwk", jwk, { name, hash }, false, ["sign"]);
      const saltLength = Number(algorithm.slice(-3)) / 8;
      return new Uint8Array(
        await crypto.subtle.sign({ name, saltLength }, key, data as BufferSource),
      );
    },
  };
}

/** A name of OID and text pairs. */
export function name(parts: readonly (readonly [string, string])[]): Uint8Array {
  return sequence(
    ...parts.map(([type, value]) => tlv(Tag.SET, sequence(oid(type), text(value)))),
  );
}

/** One extension. */
export function extension(type: string, value: Uint8Array, critical = false): Uint8Array {
  return sequence(oid(type), ...(critical ? [TRUE] : []), tlv(Tag.OCTET_STRING, value));
}

/** basicConstraints and keyUsage of an authority. */
export function authorityExtensions(): Uint8Array[] {
  return [
    extension(Oid.BASIC_CONSTRAINTS, sequence(TRUE), true),
    extension(Oid.KEY_USAGE, Uint8Array.of(Tag.BIT_STRING, 2, 1, 0x06), true),
  ];
}

/** What goes into a certificate. */
export interface Order {
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  readonly spki: Uint8Array;
  readonly signer: Pair;
  readonly algorithm: Algorithm;
  readonly serial?: number;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly extensions?: readonly Uint8Array[];
  /** Written instead of the algorithm's own identifier. */
  readonly identifier?: Uint8Array;
}

/** DER of a certificate. */
export async function certificate(order: Order): Promise<Uint8Array> {
  const identifier = order.identifier ?? ALGORITHMS[order.algorithm];
  const tbs = sequence(
    tlv(0xa0, integer(2)),
    integer(order.serial ?? 1),
    identifier,
    order.issuer,
    sequence(time(order.notBefore), time(order.notAfter)),
    order.subject,
    order.spki,
    ...(order.extensions === undefined ? [] : [tlv(0xa3, sequence(...order.extensions))]),
  );
  return sequence(tbs, identifier, bits(await order.signer.sign(order.algorithm, tbs)));
}

/** DER of a revocation list. */
export async function revocationList(order: {
  readonly issuer: Uint8Array;
  readonly signer: Pair;
  readonly algorithm: Algorithm;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly serials?: readonly number[];
}): Promise<Uint8Array> {
  const revoked = (order.serials ?? []).map((serial) =>
    sequence(integer(serial), time(order.thisUpdate))
  );
  const tbs = sequence(
    integer(1),
    ALGORITHMS[order.algorithm],
    order.issuer,
    time(order.thisUpdate),
    time(order.nextUpdate),
    ...(revoked.length === 0 ? [] : [sequence(...revoked)]),
  );
  const signature = await order.signer.sign(order.algorithm, tbs);
  return join(sequence(tbs, ALGORITHMS[order.algorithm], bits(signature)));
}
