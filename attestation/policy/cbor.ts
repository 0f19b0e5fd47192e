// CBOR (RFC 8949), strictly: definite lengths, shortest forms, no doubled map key, bounded depth and
// size, nothing behind the value. The bytes come from peers and files and are hostile (threat A-12).
import { Reader } from "../reader.ts";
import { toHex } from "../verdict.ts";

/** A tagged value. */
export interface CborTag {
  readonly tag: number;
  readonly value: Cbor;
}

/** A decoded value. Integers are number where safe, else bigint; maps keep any key type. */
export type Cbor =
  | number
  | bigint
  | string
  | boolean
  | null
  | undefined
  | Uint8Array
  | readonly Cbor[]
  | ReadonlyMap<Cbor, Cbor>
  | CborTag;

/** Bounds and strictness. */
export interface CborOptions {
  /** Nesting, 32 by default. */
  readonly depth?: number;
  /** Demand that map keys are sorted by their encoding (RFC 8949 §4.2.1). */
  readonly sorted?: boolean;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Decodes exactly one value.
 *
 * @throws {CocosError} `invalid-argument` with the offset.
 */
export function decodeCbor(bytes: Uint8Array, options: CborOptions = {}): Cbor {
  const reader = new Reader(bytes, "CBOR");
  const value = decode(reader, bytes, options, 0);
  reader.end();
  return value;
}

function decode(reader: Reader, bytes: Uint8Array, options: CborOptions, depth: number): Cbor {
  if (depth > (options.depth ?? 32)) throw reader.fault("it is nested too deep");
  const at = reader.offset;
  const first = reader.u8();
  const major = first >> 5;
  if (major === 7) return simple(reader, first & 31);
  const argument = argumentOf(reader, first & 31);
  const count = () => {
    if (argument > BigInt(reader.left)) throw reader.fault("a length runs past the end", at);
    return Number(argument);
  };
  switch (major) {
    case 0:
      return small(argument);
    case 1:
      return small(-1n - argument);
    case 2:
      return reader.bytes(count());
    case 3:
      try {
        return utf8.decode(reader.bytes(count()));
      } catch (error) {
        if (error instanceof TypeError) throw reader.fault("a text is not UTF-8", at);
        throw error;
      }
    case 4:
      return Object.freeze(
        Array.from({ length: count() }, () => decode(reader, bytes, options, depth + 1)),
      );
    case 5: {
      const map = new Map<Cbor, Cbor>();
      const seen = new Set<string>();
      let last = "";
      for (let left = count(); left > 0; left--) {
        const start = reader.offset;
        const key = decode(reader, bytes, options, depth + 1);
        const encoded = toHex(bytes.subarray(start, reader.offset));
        if (seen.has(encoded)) throw reader.fault("a map key stands twice", start);
        if (options.sorted && encoded < last) throw reader.fault("map keys are not sorted", start);
        seen.add(encoded);
        last = encoded;
        map.set(key, decode(reader, bytes, options, depth + 1));
      }
      return map;
    }
    default:
      return Object.freeze({
        tag: Number(argument),
        value: decode(reader, bytes, options, depth + 1),
      });
  }
}

function argumentOf(reader: Reader, info: number): bigint {
  if (info < 24) return BigInt(info);
  const at = reader.offset - 1;
  if (info > 27) throw reader.fault("indefinite or reserved length", at);
  const value = info === 24
    ? BigInt(reader.u8())
    : info === 25
    ? BigInt(reader.u16be())
    : info === 26
    ? BigInt(reader.u32be())
    : reader.u64be();
  const least = [24n, 1n << 8n, 1n << 16n, 1n << 32n][info - 24] as bigint;
  if (value < least) throw reader.fault("a number is not in its shortest form", at);
  return value;
}

function small(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? Number(value)
    : value;
}

function simple(reader: Reader, info: number): Cbor {
  switch (info) {
    case 20:
      return false;
    case 21:
      return true;
    case 22:
      return null;
    case 23:
      return undefined;
    case 27: {
      const value = new DataView(reader.bytes(8).slice().buffer).getFloat64(0);
      if (Number.isNaN(value)) throw reader.fault("NaN is no value here");
      return value;
    }
    default:
      throw reader.fault(`simple value ${info} is not taken`, reader.offset - 1);
  }
}
