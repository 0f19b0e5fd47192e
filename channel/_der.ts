// Writes DER (ITU-T X.690): just what a certificate of our own needs. Never reads any.

const CONSTRUCTED = 0x20;
const CONTEXT = 0x80;

/** One element: tag, definite length (X.690 §8.1.3), content. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const size = contents.reduce((sum, { length }) => sum + length, 0);
  const digits: number[] = [];
  for (let rest = size; rest > 0; rest >>>= 8) digits.unshift(rest & 0xff);
  const length = size < 0x80 ? [size] : [0x80 + digits.length, ...digits];
  const whole = new Uint8Array(1 + length.length + size);
  whole.set([tag, ...length]);
  let at = 1 + length.length;
  for (const content of contents) {
    whole.set(content, at);
    at += content.length;
  }
  return whole;
}

/** SEQUENCE of elements. */
export function sequence(...items: readonly Uint8Array[]): Uint8Array {
  return element(0x30, ...items);
}

/** SET of one element. */
export function setOf(item: Uint8Array): Uint8Array {
  return element(0x31, item);
}

/** BOOLEAN TRUE. */
export const TRUE = element(0x01, Uint8Array.of(0xff));

/** INTEGER of a value that is not negative, from its bytes without leading zeros. */
export function integer(bytes: Uint8Array): Uint8Array {
  const sign = (bytes[0] ?? 0x80) >= 0x80 ? [0] : [];
  return element(0x02, Uint8Array.from(sign), bytes);
}

/** BIT STRING, its last `unused` bits without meaning. */
export function bits(bytes: Uint8Array, unused = 0): Uint8Array {
  return element(0x03, Uint8Array.of(unused), bytes);
}

/** OCTET STRING. */
export function octets(bytes: Uint8Array): Uint8Array {
  return element(0x04, bytes);
}

/** OBJECT IDENTIFIER of dotted text (X.690 §8.19). */
export function oid(text: string): Uint8Array {
  const [root = 0, second = 0, ...rest] = text.split(".").map(Number);
  const bytes = [root * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift(left & 0x7f | 0x80);
    return groups;
  });
  return element(0x06, Uint8Array.from(bytes));
}

/** UTF8String. */
export function utf8(text: string): Uint8Array {
  return element(0x0c, new TextEncoder().encode(text));
}

/** Time of a certificate: UTCTime until 2049, GeneralizedTime from then on (RFC 5280 §4.1.2.5). */
export function time(date: Date): Uint8Array {
  const digits = date.toISOString().replace(/\.\d+Z$/, "Z").replace(/[-:T]/g, "");
  const encoder = new TextEncoder();
  return date.getUTCFullYear() < 2050
    ? element(0x17, encoder.encode(digits.slice(2)))
    : element(0x18, encoder.encode(digits));
}

/** Element of the context with a number, holding another element. */
export function explicit(number: number, item: Uint8Array): Uint8Array {
  return element(CONTEXT | CONSTRUCTED | number, item);
}

/** Element of the context with a number, in place of the content's own tag. */
export function implicit(number: number, content: Uint8Array): Uint8Array {
  return element(CONTEXT | number, content);
}
