// Writes DER: the tests' own certificates and lists, right or wrong on purpose. Never used outside of
// tests; a verifier reads with `x509/`.
import { Tag } from "../x509/mod.ts";

/** Bytes one after another. */
export function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** One element. */
export function tlv(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const content = join(...contents);
  const size = content.length;
  const length = size < 0x80
    ? [size]
    : size < 0x100
    ? [0x81, size]
    : size < 0x10000
    ? [0x82, size >> 8, size & 255]
    : [0x83, size >> 16, size >> 8 & 255, size & 255];
  return join(Uint8Array.of(tag, ...length), content);
}

/** SEQUENCE of elements. */
export function sequence(...items: readonly Uint8Array[]): Uint8Array {
  return tlv(Tag.SEQUENCE, ...items);
}

/** INTEGER of a value that is not negative. */
export function integer(value: bigint | number): Uint8Array {
  let hex = BigInt(value).toString(16);
  if (hex.length % 2 === 1) hex = `0${hex}`;
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  return (bytes[0] as number) >= 0x80
    ? tlv(Tag.INTEGER, Uint8Array.of(0), bytes)
    : tlv(Tag.INTEGER, bytes);
}

/** OBJECT IDENTIFIER of dotted text. */
export function oid(text: string): Uint8Array {
  const [root = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes: number[] = [];
  for (const arc of [root * 40 + second, ...rest]) {
    const groups = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift(left % 128 + 128);
    }
    bytes.push(...groups);
  }
  return tlv(Tag.OID, Uint8Array.from(bytes));
}

/** BIT STRING of whole bytes. */
export function bits(bytes: Uint8Array): Uint8Array {
  return tlv(Tag.BIT_STRING, Uint8Array.of(0), bytes);
}

/** A string element. */
export function text(value: string, tag: number = Tag.UTF8_STRING): Uint8Array {
  return tlv(tag, new TextEncoder().encode(value));
}

/** BOOLEAN true. */
export const TRUE: Uint8Array = Uint8Array.of(Tag.BOOLEAN, 1, 0xff);

/** UTCTime up to 2049, GeneralizedTime after. */
export function time(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14) + "Z";
  return Number(digits.slice(0, 4)) < 2050
    ? text(digits.slice(2), Tag.UTC_TIME)
    : text(digits, Tag.GENERALIZED_TIME);
}
