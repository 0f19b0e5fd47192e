// Values of flags: hex of a due length, integers beyond 2^53, times. Texts are those of the Go CLI
// where it has one (wire.md §6.1).
import { CocosError } from "../../base/mod.ts";
import { PRODUCT_LINES, type ProductLine } from "../../attestation/mod.ts";

/** The word of a flag that accepts every value. */
export const ANY_WORD = "any";

/** Bytes of a hex flag; `undefined` when it was not given or says `any`. */
export function hexFlag(
  name: string,
  text: string | undefined,
  length: number,
): Uint8Array | undefined {
  if (text === undefined || text === ANY_WORD) return undefined;
  const bytes = hexBytes(name, text);
  if (bytes.length < length) {
    throw usage(`${name} length should be at least ${length} bytes long`);
  }
  if (bytes.length > length) {
    throw usage(`${name} length should be exactly ${length} bytes long`);
  }
  return bytes;
}

/** Bytes of hex. */
export function hexBytes(name: string, text: string): Uint8Array {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(text)) throw usage(`${name} must be hexadecimal`);
  return Uint8Array.fromHex(text);
}

/** An unsigned integer of at most 64 bits, decimal or 0x. */
export function integerFlag(name: string, text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  const value = /^(?:0[xX][0-9a-fA-F]{1,16}|\d{1,20})$/.test(text) ? BigInt(text) : -1n;
  if (value < 0n || value >= 1n << 64n) throw usage(`${name} must be an integer of 64 bits`);
  return value;
}

/** A small integer. */
export function smallFlag(
  name: string,
  text: string | undefined,
  most: number,
): number | undefined {
  const value = integerFlag(name, text);
  if (value !== undefined && value > BigInt(most)) throw usage(`${name} must be at most ${most}`);
  return value === undefined ? undefined : Number(value);
}

/** Milliseconds since 1970. */
export function timeFlag(text: string): number {
  const whole = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z$/.test(text);
  const value = whole ? Date.parse(text) : NaN;
  if (Number.isNaN(value)) throw usage("time must be such as 2026-12-31T00:00:00Z");
  return value;
}

/** A product line. */
export function productFlag(text: string): ProductLine {
  const line = PRODUCT_LINES.find((each) => each === text);
  if (line === undefined) {
    throw usage(`product must be ${PRODUCT_LINES.join(", ")}, is ${JSON.stringify(text)}`);
  }
  return line;
}

/** A mistake in the arguments. */
export function usage(message: string, hint?: string): CocosError {
  return new CocosError("invalid-argument", message, hint === undefined ? {} : { hint });
}
