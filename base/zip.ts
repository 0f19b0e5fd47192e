// Store-only zip writer with the bytes Go's archive/zip gives for the same files (wire.md §4.6, §5):
// directory digests are digests of these bytes. File names and sizes come from whoever made the
// directory and are not trusted: only regular files are packed, and names are checked.
import { crc32 } from "node:zlib";
import { CocosError } from "./errors.ts";

/** One file of an archive. */
export interface ZipEntry {
  /** Path of the file on this machine. */
  readonly path: string;
  /** Name in the archive, relative, with `/` between folders. */
  readonly name: string;
  /** Unix `st_mode`, file type included (0o100644 for a plain file). */
  readonly mode: number;
  /** Modification time; the archive keeps whole seconds, in UTC. */
  readonly mtime: Date;
  /** When given, the file must have exactly this many bytes while it is read. */
  readonly size?: number;
}

/** Gives an entry's bytes; the default reads `entry.path`. */
export type ZipReader = (entry: ZipEntry) => AsyncIterable<Uint8Array>;

/** Bytes read from a file at a time: the memory a writer needs beside one record per entry. */
export const ZIP_READ_BYTES = 256 * 1024;

/** From these values on a field moves to its 64-bit form (APPNOTE 4.4.8, 4.4.21; same bound as Go). */
const MAX_16 = 0xffff;
const MAX_32 = 0xffffffff;

const FLAG_DESCRIPTOR = 0x0008;
const FLAG_UTF8 = 0x0800;
const VERSION_20 = 20;
const VERSION_45 = 45;
const MADE_BY_UNIX = 3 << 8;
/** MS-DOS read-only attribute, set when the owner may not write. */
const DOS_READ_ONLY = 0x01;

const encoder = new TextEncoder();

/** Little-endian writer of one fixed-size record. */
class Fields {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #at = 0;

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
    this.#view = new DataView(this.bytes.buffer);
  }

  u16(...values: number[]): this {
    for (const value of values) {
      this.#view.setUint16(this.#at, value & MAX_16, true);
      this.#at += 2;
    }
    return this;
  }

  u32(...values: number[]): this {
    for (const value of values) {
      this.#view.setUint32(this.#at, value >>> 0, true);
      this.#at += 4;
    }
    return this;
  }

  u64(...values: number[]): this {
    for (const value of values) {
      this.#view.setBigUint64(this.#at, BigInt(value), true);
      this.#at += 8;
    }
    return this;
  }

  put(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.length;
    return this;
  }
}

/** What the central directory needs of an entry that has been written. */
interface Written {
  readonly name: Uint8Array;
  readonly flags: number;
  readonly time: number;
  readonly date: number;
  readonly seconds: number;
  readonly attributes: number;
  readonly crc: number;
  readonly size: number;
  readonly offset: number;
}

/**
 * The archive of the given entries, in the given order, in pieces of at most {@linkcode ZIP_READ_BYTES}.
 *
 * @throws {CocosError} `invalid-argument` for a name no archive may hold, `data-loss` for a file
 * whose length is not the announced one, `io` or `not-found` for one that can't be read.
 */
export async function* zipEntries(
  entries: Iterable<ZipEntry> | AsyncIterable<ZipEntry>,
  read: ZipReader = readEntry,
): AsyncGenerator<Uint8Array<ArrayBufferLike>, void, undefined> {
  const written: Written[] = [];
  let offset = 0;
  for await (const entry of entries) {
    const head = header(entry, offset);
    yield localHeader(head);
    let crc = 0;
    let size = 0;
    for await (const chunk of read(entry)) {
      if (chunk.length === 0) continue;
      size += chunk.length;
      if (entry.size !== undefined && size > entry.size) throw changed(entry);
      crc = crc32(chunk, crc);
      yield chunk;
    }
    if (entry.size !== undefined && size !== entry.size) throw changed(entry);
    const done: Written = { ...head, crc, size };
    const tail = descriptor(done);
    yield tail;
    offset += 30 + done.name.length + 9 + size + tail.length;
    written.push(done);
  }
  const start = offset;
  for (const each of written) {
    const record = centralHeader(each);
    offset += record.length;
    yield record;
  }
  yield endRecords(written.length, offset - start, start);
}

/**
 * The archive of a directory: depth-first, names in byte order within each folder, files only.
 * A symbolic link to a file becomes an entry with the link's mode and the target's bytes, as the Go
 * programs make it; folders behind links are not entered.
 *
 * @throws {CocosError} as {@linkcode zipEntries}; `invalid-argument` for a device, socket, pipe or
 * link to a folder.
 */
export function zipDirectory(
  dir: string,
): AsyncGenerator<Uint8Array<ArrayBufferLike>, void, undefined> {
  return zipEntries(walk(dir, ""));
}

/**
 * The entries of {@linkcode zipDirectory}, to be counted before they are packed.
 *
 * @throws {CocosError} as {@linkcode zipDirectory}.
 */
export async function listDirectory(dir: string): Promise<ZipEntry[]> {
  return await Array.fromAsync(walk(dir, ""));
}

/** Length in bytes of the archive of entries whose `size` is given and below 4 GiB each. */
export function zipSize(entries: readonly ZipEntry[]): number {
  return entries.reduce((sum, { name, size = 0 }) => {
    const length = encoder.encode(name).length;
    return sum + (30 + length + 9) + size + 16 + (46 + length + 9);
  }, 22);
}

async function* walk(dir: string, prefix: string): AsyncGenerator<ZipEntry> {
  for (const child of await namesOf(dir)) {
    const path = `${dir}/${child}`;
    const name = prefix + child;
    const info = await reading(path, () => Deno.lstat(path));
    if (info.isDirectory) {
      yield* walk(path, `${name}/`);
      continue;
    }
    const target = info.isSymlink ? await reading(path, () => Deno.stat(path)) : info;
    if (!target.isFile) {
      throw new CocosError(
        "invalid-argument",
        `Cannot pack ${JSON.stringify(path)} as only regular files can be packed`,
        { hint: "Remove it from the directory, or replace it by a regular file." },
      );
    }
    yield {
      path,
      name,
      mode: info.mode ?? 0o100644,
      mtime: info.mtime ?? new Date(0),
      size: target.size,
    };
  }
}

/** Byte order of two names in UTF-8: UTF-16 order differs above U+FFFF. */
export function byteOrder(a: string, b: string): number {
  const left = encoder.encode(a);
  const right = encoder.encode(b);
  for (let i = 0; i < left.length && i < right.length; i++) {
    const difference = (left[i] as number) - (right[i] as number);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

async function namesOf(dir: string): Promise<string[]> {
  return await reading(dir, async () => {
    const names: string[] = [];
    for await (const entry of Deno.readDir(dir)) names.push(entry.name);
    return names.sort(byteOrder);
  });
}

async function* readEntry(entry: ZipEntry): AsyncGenerator<Uint8Array> {
  using file = await reading(entry.path, () => Deno.open(entry.path));
  while (true) {
    const buffer = new Uint8Array(ZIP_READ_BYTES);
    const count = await reading(entry.path, () => file.read(buffer));
    if (count === null) return;
    yield buffer.subarray(0, count);
  }
}

/** Runs a file operation and turns its failure into a domain error that names the path. */
async function reading<T>(path: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (cause) {
    throw cause instanceof Deno.errors.NotFound
      ? new CocosError("not-found", `Cannot read ${JSON.stringify(path)}: no such file`, { cause })
      : new CocosError("io", `Cannot read ${JSON.stringify(path)}`, {
        cause,
        hint: "Check that the file may be read by this user.",
      });
  }
}

function changed(entry: ZipEntry): CocosError {
  return new CocosError(
    "data-loss",
    `Cannot pack ${JSON.stringify(entry.name)} as its size changed while it was read: expected ` +
      `${entry.size} bytes`,
  );
}

/**
 * Whether a name needs the UTF-8 flag: everything outside 0x20–0x7d, and the backslash, which
 * together with `~` some national code pages show as another character.
 */
function needsUtf8(name: string): boolean {
  return /[^\x20-\x7d]|\\/.test(name);
}

/** Refuses names that could not be an entry below one folder (threats F-3). */
function checkName(name: string): Uint8Array {
  const bytes = encoder.encode(name);
  const parts = name.split("/");
  if (
    bytes.length > MAX_16 || name.includes("\0") || !name.isWellFormed() ||
    parts.some((part) => part === "" || part === "." || part === "..")
  ) {
    throw new CocosError(
      "invalid-argument",
      `Cannot pack a file as an entry name must be a relative path: ${
        JSON.stringify(name.slice(0, 80))
      }`,
    );
  }
  return bytes;
}

function header(entry: ZipEntry, offset: number): Omit<Written, "crc" | "size"> {
  const at = entry.mtime;
  return {
    name: checkName(entry.name),
    flags: FLAG_DESCRIPTOR | (needsUtf8(entry.name) ? FLAG_UTF8 : 0),
    time: Math.floor(at.getUTCSeconds() / 2) | at.getUTCMinutes() << 5 | at.getUTCHours() << 11,
    date: at.getUTCDate() + ((at.getUTCMonth() + 1) << 5) + ((at.getUTCFullYear() - 1980) << 9),
    seconds: Math.floor(at.getTime() / 1000),
    attributes: (entry.mode << 16 | ((entry.mode & 0o200) === 0 ? DOS_READ_ONLY : 0)) >>> 0,
    offset,
  };
}

/** Extended timestamp extra field (0x5455): flag 1, modification time only. */
function timestamp(seconds: number): Uint8Array {
  const extra = new Fields(9).u16(0x5455, 5);
  return extra.put(Uint8Array.of(1)).u32(seconds).bytes;
}

function localHeader(head: Omit<Written, "crc" | "size">): Uint8Array {
  return new Fields(30 + head.name.length + 9)
    .u32(0x04034b50).u16(VERSION_20, head.flags, 0, head.time, head.date)
    .u32(0, 0, 0).u16(head.name.length, 9)
    .put(head.name).put(timestamp(head.seconds)).bytes;
}

function descriptor({ crc, size }: Written): Uint8Array {
  return size >= MAX_32
    ? new Fields(24).u32(0x08074b50, crc).u64(size, size).bytes
    : new Fields(16).u32(0x08074b50, crc, size, size).bytes;
}

function centralHeader(each: Written): Uint8Array {
  const large = each.size >= MAX_32;
  const far = large || each.offset >= MAX_32;
  const extra = far ? 9 + 28 : 9;
  const size = far ? MAX_32 : each.size;
  const record = new Fields(46 + each.name.length + extra)
    .u32(0x02014b50).u16(MADE_BY_UNIX | VERSION_20, large ? VERSION_45 : VERSION_20)
    .u16(each.flags, 0, each.time, each.date)
    .u32(each.crc, size, size).u16(each.name.length, extra, 0, 0, 0)
    .u32(each.attributes, Math.min(each.offset, MAX_32))
    .put(each.name).put(timestamp(each.seconds));
  if (far) record.u16(0x0001, 24).u64(each.size, each.size, each.offset);
  return record.bytes;
}

function endRecords(count: number, size: number, offset: number): Uint8Array {
  const large = count >= MAX_16 || size >= MAX_32 || offset >= MAX_32;
  const end = new Fields(large ? 56 + 20 + 22 : 22);
  if (large) {
    end.u32(0x06064b50).u64(44).u16(VERSION_45, VERSION_45).u32(0, 0)
      .u64(count, count, size, offset)
      .u32(0x07064b50, 0).u64(offset + size).u32(1);
  }
  const entries = large ? MAX_16 : count;
  return end.u32(0x06054b50).u16(0, 0, entries, entries)
    .u32(large ? MAX_32 : size, large ? MAX_32 : offset).u16(0).bytes;
}
