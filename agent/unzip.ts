// Unpacks an archive a party uploaded. The archive is hostile: it is read whole first, and one bad
// entry refuses all of it before a byte is unpacked (threats F-3, F-4). Paths come from no entry that
// has not passed every check below.
import { crc32 } from "node:zlib";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { CocosError, messageOf } from "../base/mod.ts";
import { fold } from "./labels.ts";
import { makeFolder, reasonOf, removeAll } from "./work.ts";

/** Most entries: folders of images have tens of thousands of files. */
export const MAX_ENTRIES = 50_000;
/** Longest entry name in bytes. */
export const MAX_NAME_BYTES = 1_024;
/** Longest path component in bytes: Linux's NAME_MAX. */
export const MAX_COMPONENT_BYTES = 255;
/** Deepest folder. */
export const MAX_DEPTH = 32;
/** Unpacked bytes per packed byte: tables deflate 10 to 50 times, bombs a thousand times. */
export const MAX_RATIO = 200;
/** Below this size the ratio is not looked at: a small file of zeros is no attack. */
export const RATIO_FREE_BYTES = 64 * 2 ** 20;

/** What one extraction may do. */
export interface UnzipOptions {
  /** Most unpacked bytes. */
  readonly maxBytes: number;
  /** Whether an entry may be there at all; the text says why not. */
  readonly refuse?: (name: string) => string | undefined;
  readonly signal?: AbortSignal;
}

/**
 * Unpacks a zip archive into a folder that does not exist yet; on any failure nothing is left.
 *
 * @returns the names directly in the folder
 * @throws {CocosError} `invalid-archive` with the entry and the rule, or `io`.
 */
export async function unzip(
  path: string,
  into: string,
  options: UnzipOptions,
): Promise<readonly string[]> {
  let zip: ZipFile;
  try {
    zip = await openPromise(path, {
      lazyEntries: true,
      autoClose: false,
      strictFileNames: true,
      validateEntrySizes: true,
    });
  } catch (cause) {
    throw bad(messageOf(cause), cause);
  }
  try {
    const entries = await checked(zip, options);
    makeFolder(into);
    for (const entry of entries) {
      options.signal?.throwIfAborted();
      await extract(zip, entry, into);
    }
    return [...new Set(entries.map(({ fileName }) => fileName.split("/")[0] as string))];
  } catch (cause) {
    removeAll(into);
    throw cause;
  } finally {
    zip.close();
  }
}

/** All entries, when every one of them and their arrangement is acceptable. */
async function checked(zip: ZipFile, options: UnzipOptions): Promise<readonly Entry[]> {
  if (zip.entryCount > MAX_ENTRIES) throw bad(`must have at most ${MAX_ENTRIES} entries`);
  const entries: Entry[] = [];
  try {
    for await (const entry of zip.eachEntry()) entries.push(entry);
  } catch (cause) {
    throw bad(messageOf(cause), cause);
  }
  const files = new Set<string>();
  const folders = new Set<string>();
  let total = 0;
  for (const entry of entries) {
    const name = entry.fileName;
    const rule = fault(entry) ?? options.refuse?.(name);
    if (rule !== undefined) throw bad(`entry ${shown(name)} ${rule}`);
    const isFolder = name.endsWith("/");
    const parts = (isFolder ? name.slice(0, -1) : name).split("/");
    const parents = parts.slice(0, -1).map((_, i) => fold(parts.slice(0, i + 1).join("/")));
    const whole = fold(parts.join("/"));
    for (const parent of parents) {
      if (files.has(parent)) throw bad(`entry ${shown(name)} lies under a file`);
      folders.add(parent);
    }
    if (files.has(whole) || (!isFolder && folders.has(whole))) {
      throw bad(`entry ${shown(name)} has a name that was there before`);
    }
    (isFolder ? folders : files).add(whole);
    total += entry.uncompressedSize;
    if (total > options.maxBytes) throw bad(`unpacks to more than ${options.maxBytes} bytes`);
  }
  if (total > RATIO_FREE_BYTES && total > zip.fileSize * MAX_RATIO) {
    throw bad(`unpacks to more than ${MAX_RATIO} times its size`);
  }
  await checkArrangement(zip, entries);
  return entries;
}

/** What is wrong with an entry by itself. */
function fault(entry: Entry): string | undefined {
  const name = entry.fileName;
  const isFolder = name.endsWith("/");
  const parts = (isFolder ? name.slice(0, -1) : name).split("/");
  const bytes = new TextEncoder();
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f\\\ufffd]/.test(name) || !name.isWellFormed()) {
    return "has a forbidden character in its name";
  }
  if (/^[A-Za-z]:/.test(name) || name.startsWith("/")) return "has an absolute name";
  if (parts.some((part) => part === "" || part === "." || part === "..")) {
    return "has a name that leaves its folder";
  }
  if (
    parts.length > MAX_DEPTH || bytes.encode(name).length > MAX_NAME_BYTES ||
    parts.some((part) => bytes.encode(part).length > MAX_COMPONENT_BYTES)
  ) {
    return "has a name that is too long or too deep";
  }
  // Bits 0, 6 and 13: encrypted, strongly encrypted, masked header (APPNOTE 4.4.4).
  if ((entry.generalPurposeBitFlag & 0x2041) !== 0) return "is encrypted";
  if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8) {
    return "must be stored or deflated";
  }
  if (entry.compressionMethod === 0 && entry.compressedSize !== entry.uncompressedSize) {
    return "is stored with two sizes";
  }
  // 0x7075 gives a second name, which other programs would use instead.
  if (entry.extraFields.some(({ id }) => id === 0x7075)) return "has two names";
  const mode = entry.externalFileAttributes >>> 16;
  const kind = mode & 0o170000;
  if (isFolder) {
    if (kind !== 0 && kind !== 0o040000) return "must be a folder";
    if (entry.uncompressedSize !== 0) return "is a folder with content";
    return undefined;
  }
  if (kind !== 0 && kind !== 0o100000) return "must be a regular file";
  if ((mode & 0o6000) !== 0) return "must not be setuid or setgid";
  return undefined;
}

/** Local headers must say what the directory says, and no two entries may share bytes. */
async function checkArrangement(zip: ZipFile, entries: readonly Entry[]): Promise<void> {
  const ranges: { start: number; end: number; name: string }[] = [];
  for (const entry of entries) {
    const shownName = shown(entry.fileName);
    let local;
    try {
      local = await zip.readLocalFileHeaderPromise(entry);
    } catch (cause) {
      throw bad(`entry ${shownName}: ${messageOf(cause)}`, cause);
    }
    const deferred = (local.generalPurposeBitFlag & 8) !== 0;
    const same = local.fileName.equals(entry.fileNameRaw) &&
      local.generalPurposeBitFlag === entry.generalPurposeBitFlag &&
      local.compressionMethod === entry.compressionMethod &&
      (deferred || local.crc32 === entry.crc32) &&
      (deferred || local.uncompressedSize === entry.uncompressedSize ||
        local.uncompressedSize === 0xffffffff) &&
      (deferred || local.compressedSize === entry.compressedSize ||
        local.compressedSize === 0xffffffff);
    if (!same) throw bad(`entry ${shownName} has two headers that differ`);
    const start = entry.relativeOffsetOfLocalHeader;
    ranges.push({ start, end: local.fileDataStart + entry.compressedSize, name: shownName });
  }
  ranges.sort((a, b) => a.start - b.start);
  if (ranges[0] !== undefined && ranges[0].start !== 0) throw bad("has bytes before its entries");
  ranges.forEach((range, i) => {
    const before = ranges[i - 1];
    if (before !== undefined && before.end > range.start) {
      throw bad(`entries ${before.name} and ${range.name} overlap`);
    }
  });
}

async function extract(zip: ZipFile, entry: Entry, into: string): Promise<void> {
  const name = entry.fileName;
  const isFolder = name.endsWith("/");
  const parts = (isFolder ? name.slice(0, -1) : name).split("/");
  try {
    for (let i = 1; i <= parts.length - (isFolder ? 0 : 1); i++) {
      try {
        makeFolder(`${into}/${parts.slice(0, i).join("/")}`);
      } catch (cause) {
        if (!(cause instanceof Deno.errors.AlreadyExists)) throw cause;
      }
    }
    if (isFolder) return;
    using file = Deno.openSync(`${into}/${name}`, { write: true, createNew: true, mode: 0o600 });
    let crc = 0;
    for await (const chunk of await zip.openReadStreamPromise(entry)) {
      const bytes = chunk as Uint8Array;
      crc = crc32(bytes, crc);
      let rest = bytes;
      while (rest.length > 0) rest = rest.subarray(await file.write(rest));
    }
    if (crc !== entry.crc32) throw bad(`entry ${shown(name)} is damaged: its checksum is wrong`);
    Deno.chmodSync(`${into}/${name}`, 0o640);
  } catch (cause) {
    if (cause instanceof CocosError) throw cause;
    // An operating system's error has a code like ENOSPC; a damaged stream has zlib's text.
    const code = (cause as { code?: unknown }).code;
    if (typeof code === "string" && /^E[A-Z]+$/.test(code)) {
      throw new CocosError("io", `error decompressing dataset: ${reasonOf(cause)}`, { cause });
    }
    throw bad(`entry ${shown(name)} is damaged: ${messageOf(cause)}`, cause);
  }
}

function shown(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);
}

function bad(rule: string, cause?: unknown): CocosError {
  return new CocosError(
    "invalid-archive",
    `error decompressing dataset: archive ${rule}`,
    cause === undefined ? {} : { cause },
  );
}
