// Protocol-buffer wire form (proto3) of messages described by a small table. Stricter than the
// standard: a field twice, an unknown field or a map key twice is an error, for evidence that two
// readers may read in two ways is no evidence. The bytes come from the peer.
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";

/** Kind of a field. */
export type Kind =
  | "u32"
  | "u64"
  | "bytes"
  | "string"
  | { readonly message: Schema }
  | { readonly words: Readonly<Record<number, string>> }
  | { readonly map: "u32" | "string" };

/** One field of a message: number, name, kind; maps go from `u32` or `string` to bytes. */
export interface FieldSpec {
  readonly number: number;
  readonly name: string;
  readonly kind: Kind;
  readonly repeated?: boolean;
}

/** A message. */
export interface Schema {
  readonly name: string;
  readonly fields: readonly FieldSpec[];
}

/** Values of a message: absent singular fields are missing, absent lists too. */
export type Value =
  | number
  | bigint
  | string
  | Uint8Array
  | Message
  | readonly Value[]
  | ReadonlyMap<number | string, Uint8Array>;
/** A message as values by field name. */
export interface Message {
  readonly [name: string]: Value;
}

/** Evidence is a few levels deep; a quote with its certificate chain is the deepest. */
const MAX_DEPTH = 8;
/** Elements of one list or map: 24 registers, a few certificates. */
const MAX_ELEMENTS = 256;

/** Decodes a message. @throws {CocosError} `invalid-argument` with the offset. */
export function decode(schema: Schema, bytes: Uint8Array): Message {
  return decodeFrom(schema, new Reader(bytes, schema.name), 0);
}

function decodeFrom(schema: Schema, reader: Reader, depth: number): Message {
  if (depth > MAX_DEPTH) throw reader.fault("messages are nested too deep");
  const message: Record<string, Value> = {};
  while (!reader.done) {
    const at = reader.offset;
    const tag = u32(reader, at);
    const spec = schema.fields.find((each) => each.number === tag >>> 3);
    if (spec === undefined) {
      throw reader.fault(`field ${tag >>> 3} of ${schema.name} is not known`, at);
    }
    const { kind, name } = spec;
    const varint = kind === "u32" || kind === "u64" ||
      (typeof kind === "object" && "words" in kind);
    if ((tag & 7) !== (varint ? 0 : 2)) throw reader.fault(`${name} has a wrong wire type`, at);
    if (typeof kind === "object" && "map" in kind) {
      const map = (message[name] ?? new Map()) as Map<number | string, Uint8Array>;
      const [key, value] = mapEntry(kind.map, reader.part(u32(reader, at)), depth);
      if (map.has(key)) throw reader.fault(`${name} has key ${key} twice`, at);
      if (map.size >= MAX_ELEMENTS) throw reader.fault(`${name} has too many entries`, at);
      map.set(key, value);
      message[name] = map;
      continue;
    }
    const value = single(kind, reader, at, depth);
    if (spec.repeated === true) {
      const list = (message[name] ?? []) as Value[];
      if (list.length >= MAX_ELEMENTS) throw reader.fault(`${name} has too many elements`, at);
      list.push(value);
      message[name] = list;
    } else {
      if (message[name] !== undefined) throw reader.fault(`${name} is given twice`, at);
      message[name] = value;
    }
  }
  return message;
}

function single(kind: Kind, reader: Reader, at: number, depth: number): Value {
  if (kind === "u64") return varint(reader, at);
  if (kind === "u32") return u32(reader, at);
  if (typeof kind === "object" && "words" in kind) return u32(reader, at);
  const length = u32(reader, at);
  if (kind === "bytes") return reader.bytes(length);
  if (kind === "string") return text(reader, reader.bytes(length), at);
  if ("message" in kind) {
    return decodeFrom(kind.message, reader.part(length, kind.message.name), depth + 1);
  }
  throw new CocosError("internal", "A map is not a single value");
}

function mapEntry(
  kind: "u32" | "string",
  reader: Reader,
  depth: number,
): readonly [number | string, Uint8Array] {
  const schema: Schema = {
    name: reader.what,
    fields: [{ number: 1, name: "key", kind }, { number: 2, name: "value", kind: "bytes" }],
  };
  const entry = decodeFrom(schema, reader, depth + 1);
  const key = (entry["key"] ?? (kind === "u32" ? 0 : "")) as number | string;
  return [key, (entry["value"] ?? new Uint8Array()) as Uint8Array];
}

function varint(reader: Reader, at: number): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = reader.u8();
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) {
      if (value > 0xffff_ffff_ffff_ffffn) break;
      return value;
    }
  }
  throw reader.fault("a number has more than 64 bits", at);
}

function u32(reader: Reader, at: number): number {
  const value = varint(reader, at);
  if (value > 0xffff_ffffn) throw reader.fault("a number has more than 32 bits", at);
  return Number(value);
}

function text(reader: Reader, bytes: Uint8Array, at: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw reader.fault("a text is not UTF-8", at);
  }
}

/** Encodes a message: fields in the order of their numbers, defaults left out, map keys ascending. */
export function encode(schema: Schema, message: Message): Uint8Array {
  const out: number[][] = [];
  const chunks: Uint8Array[] = [];
  const put = (...bytes: number[]) => out.push(bytes);
  const flush = () => {
    if (out.length > 0) chunks.push(Uint8Array.from(out.flat()));
    out.length = 0;
  };
  const block = (number: number, bytes: Uint8Array) => {
    put(...varintBytes(BigInt(number * 8 + 2)), ...varintBytes(BigInt(bytes.length)));
    flush();
    chunks.push(bytes);
  };
  for (const spec of schema.fields.toSorted((left, right) => left.number - right.number)) {
    const value = message[spec.name];
    if (value === undefined) continue;
    if (value instanceof Map) {
      for (const [key, each] of sortedEntries(value as ReadonlyMap<number | string, Uint8Array>)) {
        block(spec.number, mapEntryBytes(key, each));
      }
      continue;
    }
    for (const each of spec.repeated === true ? value as readonly Value[] : [value as Value]) {
      if (typeof each === "number" || typeof each === "bigint") {
        if (spec.repeated !== true && BigInt(each) === 0n) continue;
        put(...varintBytes(BigInt(spec.number * 8)), ...varintBytes(BigInt(each)));
      } else if (typeof each === "string" || each instanceof Uint8Array) {
        const bytes = typeof each === "string" ? new TextEncoder().encode(each) : each;
        if (spec.repeated !== true && bytes.length === 0) continue;
        block(spec.number, bytes);
      } else if (typeof spec.kind === "object" && "message" in spec.kind) {
        block(spec.number, encode(spec.kind.message, each as Message));
      }
    }
  }
  flush();
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** Key and value of a map's entry, both written even when they are the default, as Go does. */
function mapEntryBytes(key: number | string, value: Uint8Array): Uint8Array {
  const name = typeof key === "string" ? new TextEncoder().encode(key) : undefined;
  const head = name === undefined
    ? [0x08, ...varintBytes(BigInt(key))]
    : [0x0a, ...varintBytes(BigInt(name.length)), ...name];
  head.push(0x12, ...varintBytes(BigInt(value.length)));
  const entry = new Uint8Array(head.length + value.length);
  entry.set(head);
  entry.set(value, head.length);
  return entry;
}

/** Entries of a map by ascending key. */
export function sortedEntries(
  map: ReadonlyMap<number | string, Uint8Array>,
): (readonly [number | string, Uint8Array])[] {
  return [...map].sort(([left], [right]) => left < right ? -1 : 1);
}

function varintBytes(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}
