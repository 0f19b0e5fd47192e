// Builds archives for tests, every field of which may lie.
// deno-fmt-ignore-file: rows of header fields read better in columns
import { crc32, deflateRawSync } from "node:zlib";

/** One entry; fields that are absent are honest. */
export interface Made {
  readonly name: string | Uint8Array;
  readonly data?: Uint8Array | string;
  readonly deflate?: boolean;
  readonly flags?: number;
  readonly method?: number;
  readonly mode?: number;
  readonly madeBy?: number;
  readonly crc?: number;
  readonly size?: number;
  readonly packed?: number;
  readonly offset?: number;
  readonly extra?: Uint8Array;
  readonly local?: {
    readonly name?: string;
    readonly method?: number;
    readonly flags?: number;
    readonly crc?: number;
    readonly size?: number;
    readonly packed?: number;
  };
}

/** Lies about the archive as a whole. */
export interface Whole {
  readonly before?: Uint8Array;
  readonly after?: Uint8Array;
  readonly comment?: string;
  readonly count?: number;
  readonly directoryOffset?: number;
  readonly directorySize?: number;
}

const encode = (value: string | Uint8Array) =>
  typeof value === "string" ? new TextEncoder().encode(value) : value;

function fields(...pairs: [size: 2 | 4, value: number][]): Uint8Array {
  const bytes = new Uint8Array(pairs.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of pairs) {
    if (size === 2) view.setUint16(at, value & 0xffff, true);
    else view.setUint32(at, value >>> 0, true);
    at += size;
  }
  return bytes;
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The archive. */
export function zipOf(entries: readonly Made[], whole: Whole = {}): Uint8Array<ArrayBuffer> {
  const body: Uint8Array[] = whole.before === undefined ? [] : [whole.before];
  const directory: Uint8Array[] = [];
  let at = whole.before?.length ?? 0;
  for (const made of entries) {
    const name = encode(made.name);
    const data = encode(made.data ?? "");
    const packed = made.deflate === true ? new Uint8Array(deflateRawSync(data)) : data;
    const method = made.method ?? (made.deflate === true ? 8 : 0);
    const flags = made.flags ?? 0x800;
    const crc = made.crc ?? crc32(data);
    const local = made.local ?? {};
    const localName = local.name === undefined ? name : encode(local.name);
    const header = join([
      fields(
        [4, 0x04034b50], [2, 20], [2, local.flags ?? flags], [2, local.method ?? method],
        [2, 0], [2, 33], [4, local.crc ?? crc], [4, local.packed ?? made.packed ?? packed.length],
        [4, local.size ?? made.size ?? data.length], [2, localName.length], [2, 0],
      ),
      localName,
    ]);
    directory.push(
      fields(
        [4, 0x02014b50], [2, made.madeBy ?? (3 << 8 | 20)], [2, 20], [2, flags], [2, method],
        [2, 0], [2, 33], [4, crc], [4, made.packed ?? packed.length],
        [4, made.size ?? data.length], [2, name.length], [2, made.extra?.length ?? 0], [2, 0],
        [2, 0], [2, 0], [4, (made.mode ?? 0o100644) << 16], [4, made.offset ?? at],
      ),
      name,
      made.extra ?? new Uint8Array(),
    );
    body.push(header, packed);
    at += header.length + packed.length;
  }
  const records = join(directory);
  const comment = encode(whole.comment ?? "");
  return join([
    ...body,
    records,
    fields(
      [4, 0x06054b50], [2, 0], [2, 0], [2, whole.count ?? entries.length],
      [2, whole.count ?? entries.length], [4, whole.directorySize ?? records.length],
      [4, whole.directoryOffset ?? at], [2, comment.length],
    ),
    comment,
    whole.after ?? new Uint8Array(),
  ]);
}
