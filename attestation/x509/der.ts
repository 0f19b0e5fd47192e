// Strict DER (ITU-T X.690 §10): definite minimal lengths, nothing left over. The bytes come from
// the peer or from a collateral server; neither is trusted.
import { CocosError } from "../../base/mod.ts";

/** Tag bytes used here (class, constructed bit and number in one byte). */
export const Tag = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  NULL: 0x05,
  OID: 0x06,
  ENUMERATED: 0x0a,
  UTF8_STRING: 0x0c,
  PRINTABLE_STRING: 0x13,
  IA5_STRING: 0x16,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  SEQUENCE: 0x30,
  SET: 0x31,
} as const;

/** One element: its tag, its content and the whole of it, as views into the input. */
export interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content: what a signature covers. */
  readonly raw: Uint8Array;
}

/** Reads the elements that stand one after another in `bytes`. */
export class Der {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** True when everything has been read. */
  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Tag of the next element, `undefined` at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** The next element; with `tag`, it must have that tag. */
  next(tag?: number): Element {
    const start = this.#at;
    const found = this.#byte();
    if ((found & 0x1f) === 0x1f) throw this.fault("a tag number above 30 is not used here");
    if (tag !== undefined && found !== tag) {
      throw this.fault(`tag 0x${tag.toString(16)} is due, found 0x${found.toString(16)}`);
    }
    let length = this.#byte();
    if (length >= 0x80) {
      const count = length - 0x80;
      if (count === 0 || count > 3) throw this.fault("indefinite or oversized length");
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + this.#byte();
      if (length < 0x80 || length < 2 ** (8 * (count - 1))) {
        throw this.fault("length is not minimal");
      }
    }
    if (length > this.#bytes.length - this.#at) throw this.fault("length runs past the end");
    const content = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return { tag: found, content, raw: this.#bytes.subarray(start, this.#at) };
  }

  /** The next element when it has that tag, else `undefined` and nothing is read. */
  optional(tag: number): Element | undefined {
    return this.peek() === tag ? this.next(tag) : undefined;
  }

  /** Reader of the content of the next element. */
  enter(tag: number): Der {
    return new Der(this.next(tag).content, this.#what);
  }

  /** @throws {CocosError} when something is left. */
  end(): void {
    if (!this.done) throw this.fault(`${this.#bytes.length - this.#at} trailing bytes`);
  }

  /** An error that names what was read and where. */
  fault(reason: string): CocosError {
    return new CocosError(
      "invalid-argument",
      `Cannot read ${this.#what} as DER: ${reason} at offset ${this.#at}`,
    );
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw this.fault("it ends too early");
    this.#at++;
    return byte;
  }
}

/** The one element that `bytes` is. */
export function only(bytes: Uint8Array, tag: number, what: string): Element {
  const der = new Der(bytes, what);
  const element = der.next(tag);
  der.end();
  return element;
}

/** Longest INTEGER that is made a number: beyond any that is compared, and quick to read. */
const MAX_INTEGER_BYTES = 64;

/**
 * An INTEGER's content, whose form must be minimal two's complement; its value is not looked at.
 * Moduli and serial numbers stay bytes: as a number, a long one would take its length squared to make.
 */
export function integerBytes(element: Element, what: string): Uint8Array {
  const bytes = element.content;
  const [first, second] = bytes;
  const der = new Der(bytes, what);
  if (first === undefined) throw der.fault("an INTEGER without content");
  if (
    second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))
  ) {
    throw der.fault("an INTEGER that is not minimal");
  }
  return bytes;
}

/** Content of an INTEGER above 0, without the zero before a set first bit. */
export function positiveBytes(element: Element, what: string): Uint8Array {
  const bytes = integerBytes(element, what);
  const first = bytes[0] as number;
  if (first >= 0x80 || (first === 0 && bytes.length === 1)) {
    throw new Der(bytes, what).fault("a value below 1");
  }
  return first === 0 ? bytes.subarray(1) : bytes;
}

/** Value of an INTEGER of at most 64 bytes. */
export function integerOf(element: Element, what: string): bigint {
  const bytes = integerBytes(element, what);
  if (bytes.length > MAX_INTEGER_BYTES) {
    throw new Der(bytes, what).fault(`an INTEGER of more than ${MAX_INTEGER_BYTES} bytes`);
  }
  let value = 0n;
  for (const byte of bytes) value = value << 8n | BigInt(byte);
  return (bytes[0] as number) >= 0x80 ? value - (1n << BigInt(8 * bytes.length)) : value;
}

/** Value of an INTEGER that must lie between 0 and `max`. */
export function smallInteger(element: Element, max: number, what: string): number {
  const value = integerOf(element, what);
  if (value < 0n || value > BigInt(max)) {
    throw new CocosError(
      "invalid-argument",
      `Cannot read ${what}: an INTEGER must be 0 to ${max}, is ${value}`,
    );
  }
  return Number(value);
}

/** Value of a BOOLEAN; DER knows 00 and FF only. */
export function booleanOf(element: Element, what: string): boolean {
  const [byte] = element.content;
  if (element.content.length !== 1 || (byte !== 0 && byte !== 0xff)) {
    throw new Der(element.content, what).fault("a BOOLEAN must be 00 or FF");
  }
  return byte === 0xff;
}

/** Dotted text of an OBJECT IDENTIFIER's content. */
export function oidOf(element: Element, what: string): string {
  const parts: number[] = [];
  let value = 0;
  let started = false;
  for (const byte of element.content) {
    if (!started && byte === 0x80) {
      throw new Der(element.content, what).fault("an OID is not minimal");
    }
    started = true;
    value = value * 128 + (byte & 0x7f);
    if (value > 2 ** 40) throw new Der(element.content, what).fault("an OID arc is too large");
    if (byte < 0x80) {
      parts.push(value);
      value = 0;
      started = false;
    }
  }
  const first = parts.shift();
  if (first === undefined || started) throw new Der(element.content, what).fault("a cut OID");
  const root = Math.min(2, Math.floor(first / 40));
  return [root, first - 40 * root, ...parts].join(".");
}

/** Bits of a BIT STRING that must be whole bytes. */
export function bitsOf(element: Element, what: string): Uint8Array {
  if (element.content[0] !== 0) {
    throw new Der(element.content, what).fault("a BIT STRING must have whole bytes");
  }
  return element.content.subarray(1);
}

const ascii = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text of a string element; UTF-8, printable and IA5 are taken. */
export function textOf(element: Element, what: string): string {
  const { tag, content } = element;
  if (tag !== Tag.UTF8_STRING && tag !== Tag.PRINTABLE_STRING && tag !== Tag.IA5_STRING) {
    throw new Der(content, what).fault(`tag 0x${tag.toString(16)} is no text`);
  }
  try {
    return ascii.decode(content);
  } catch (cause) {
    throw new CocosError("invalid-argument", `Cannot read ${what}: text is not UTF-8`, { cause });
  }
}

/** Milliseconds since 1970 of a UTCTime or GeneralizedTime in the one form RFC 5280 §4.1.2.5 allows. */
export function timeOf(element: Element, what: string): number {
  const text = String.fromCharCode(...element.content.subarray(0, 32));
  const full = element.tag === Tag.UTC_TIME
    ? (Number(text.slice(0, 2)) >= 50 ? "19" : "20") + text
    : text;
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full);
  const wrong = (element.tag !== Tag.UTC_TIME && element.tag !== Tag.GENERALIZED_TIME) ||
    parts === null;
  if (wrong) {
    throw new Der(element.content, what).fault("a time must be YYMMDDhhmmssZ or YYYYMMDDhhmmssZ");
  }
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const ms = Date.UTC(year, month - 1, day, hour, minute, second);
  if (new Date(ms).getUTCDate() !== day || month > 12 || hour > 23 || minute > 59 || second > 59) {
    throw new Der(element.content, what).fault("a time that does not exist");
  }
  return ms;
}
