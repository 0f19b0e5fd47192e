// Archives from an agent: checked whole before they get their name, unpacked only into a fresh
// directory (threats O-8, F-3). The bytes are hostile.
import { Buffer } from "node:buffer";
import type { Readable } from "node:stream";
import { crc32 } from "node:zlib";
import yauzl from "yauzl";
import { CocosError, messageOf } from "../base/mod.ts";
import { printable } from "./terminal.ts";

/** Entries of an archive: as many as a result directory reasonably has. */
export const MAX_ENTRIES = 100_000;

/** Contents below this size are always taken; above, only {@linkcode MAX_RATIO} times the archive. */
export const FREE_BYTES = 1024 ** 3;

/** Most a compressed archive may grow: text reaches 20, a bomb 1,000. */
export const MAX_RATIO = 100;

/** Longest path and longest part of it, in UTF-8 bytes (Linux PATH_MAX with room, NAME_MAX). */
const MAX_PATH = 2048;
const MAX_PART = 255;

const TYPE_MASK = 0o170000;
const REGULAR = 0o100000;
const DIRECTORY = 0o040000;
const SPECIAL_BITS = 0o7000;
const ENCRYPTED = 0x0001;
const STORE = 0;
const DEFLATE = 8;

/** One entry of a checked archive. */
export interface ArchiveEntry {
  /** Relative path with `/`; a directory's has no `/` at its end. */
  readonly name: string;
  readonly directory: boolean;
  readonly size: number;
}

/**
 * Checks every entry and every byte of an archive.
 *
 * @throws {CocosError} `invalid-archive` that names the entry and the rule.
 */
export async function checkArchive(path: string): Promise<ArchiveEntry[]> {
  return await readArchive(path, async (entries, open) => {
    for (const [raw, entry] of entries) {
      if (entry.directory) continue;
      await contents(raw, await open(raw), () => Promise.resolve());
    }
  });
}

/**
 * Unpacks an archive into `directory`, which must not exist; files get mode 0600, directories 0700.
 * On failure the directory may be left half-filled: the caller removes it.
 *
 * @throws {CocosError} as {@linkcode checkArchive}; `io` when a file can't be written.
 */
export async function extractArchive(path: string, directory: string): Promise<ArchiveEntry[]> {
  return await readArchive(path, async (entries, open) => {
    await writing(() => Deno.mkdir(directory, { mode: 0o700 }));
    for (const [raw, entry] of entries) {
      const target = `${directory}/${entry.name}`;
      const parent = entry.directory ? target : target.slice(0, target.lastIndexOf("/"));
      await writing(() => Deno.mkdir(parent, { recursive: true, mode: 0o700 }));
      if (entry.directory) continue;
      using file = await writing(() =>
        Deno.open(target, { write: true, createNew: true, mode: 0o600 })
      );
      await contents(raw, await open(raw), async (chunk) => {
        for (let at = 0; at < chunk.length;) {
          at += await writing(() => file.write(chunk.subarray(at)));
        }
      });
    }
  });
}

/** Tells a failure of ours, of the disk, from one of the archive. */
async function writing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new CocosError("io", `Cannot unpack the archive: ${messageOf(cause)}`, { cause });
  }
}

type Opener = (entry: yauzl.Entry) => Promise<Readable>;

/** Opens an archive, reads and checks its directory, and hands the entries to `work`. */
async function readArchive(
  path: string,
  work: (entries: [yauzl.Entry, ArchiveEntry][], open: Opener) => Promise<void>,
): Promise<ArchiveEntry[]> {
  let zip: yauzl.ZipFile;
  try {
    zip = await call<yauzl.ZipFile>((done) =>
      yauzl.open(path, { lazyEntries: true, autoClose: false, strictFileNames: true }, done)
    );
  } catch (cause) {
    throw refused(messageOf(cause), cause);
  }
  try {
    const directoryStart = (zip as unknown as { readEntryCursor: number }).readEntryCursor;
    const entries = await listEntries(zip);
    const checked = entries.map((raw) => [raw, checkEntry(raw)] as [yauzl.Entry, ArchiveEntry]);
    checkNames(checked.map(([, entry]) => entry));
    checkTotal(checked.map(([, entry]) => entry), zip.fileSize);
    await checkRanges(zip, entries, directoryStart);
    await work(checked, (raw) => call((done) => zip.openReadStream(raw, done)));
    return checked.map(([, entry]) => entry);
  } catch (cause) {
    throw cause instanceof CocosError ? cause : refused(messageOf(cause), cause);
  } finally {
    zip.close();
  }
}

/** A callback function as a promise. */
function call<T>(run: (done: (error: Error | null, value: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) =>
    run((error, value) => error === null ? resolve(value) : reject(error))
  );
}

function listEntries(zip: yauzl.ZipFile): Promise<yauzl.Entry[]> {
  return new Promise((resolve, reject) => {
    const entries: yauzl.Entry[] = [];
    zip.on("error", reject);
    zip.on("end", () => resolve(entries));
    zip.on("entry", (entry: yauzl.Entry) => {
      entries.push(entry);
      if (entries.length > MAX_ENTRIES) reject(refused(`more than ${MAX_ENTRIES} entries`));
      else zip.readEntry();
    });
    zip.readEntry();
  });
}

function checkEntry(raw: yauzl.Entry): ArchiveEntry {
  const shown = JSON.stringify(printable(raw.fileName, 200));
  const mode = raw.versionMadeBy >>> 8 === 3 ? raw.externalFileAttributes >>> 16 : 0;
  const type = mode & TYPE_MASK;
  const directory = raw.fileName.endsWith("/");
  if ((raw.generalPurposeBitFlag & ENCRYPTED) !== 0) throw refused(`${shown} is encrypted`);
  if (raw.compressionMethod !== STORE && raw.compressionMethod !== DEFLATE) {
    throw refused(`${shown} has compression method ${raw.compressionMethod}`);
  }
  if (type !== 0 && type !== (directory ? DIRECTORY : REGULAR)) {
    throw refused(`${shown} is not a regular file`);
  }
  if ((mode & SPECIAL_BITS) !== 0) throw refused(`${shown} has set-uid, set-gid or sticky bits`);
  if (raw.compressionMethod === STORE && raw.compressedSize !== raw.uncompressedSize) {
    throw refused(`${shown} announces two sizes`);
  }
  const name = directory ? raw.fileName.slice(0, -1) : raw.fileName;
  // The raw bytes: without the UTF-8 flag, control bytes are shown as signs of code page 437.
  const control = raw.fileNameRaw.some((byte) => byte < 0x20 || byte === 0x7f);
  if (control || name === "" || Buffer.byteLength(name) > MAX_PATH) {
    throw refused(`${shown} is not a name`);
  }
  for (const part of name.split("/")) {
    if (part === "" || part === "." || part === ".." || Buffer.byteLength(part) > MAX_PART) {
      throw refused(`${shown} is not a relative path`);
    }
  }
  return { name, directory, size: raw.uncompressedSize };
}

/** No name twice, and no entry below a file. */
function checkNames(entries: readonly ArchiveEntry[]): void {
  const seen = new Map<string, boolean>();
  for (const { name, directory } of entries) {
    if (seen.has(name)) throw refused(`${JSON.stringify(printable(name, 200))} is there twice`);
    seen.set(name, directory);
  }
  for (const { name } of entries) {
    for (let at = name.lastIndexOf("/"); at > 0; at = name.lastIndexOf("/", at - 1)) {
      if (seen.get(name.slice(0, at)) === false) {
        throw refused(`${JSON.stringify(printable(name, 200))} lies below a file`);
      }
    }
  }
}

function checkTotal(entries: readonly ArchiveEntry[], archive: number): void {
  const total = entries.reduce((sum, { size }) => sum + size, 0);
  if (total > FREE_BYTES && total > archive * MAX_RATIO) {
    throw refused(`it unpacks to ${total} bytes from ${archive}`);
  }
}

/** Local headers must say what the central directory says, and entries must not overlap. */
async function checkRanges(
  zip: yauzl.ZipFile,
  entries: readonly yauzl.Entry[],
  directoryStart: number,
): Promise<void> {
  const sorted = entries.toSorted((a, b) =>
    a.relativeOffsetOfLocalHeader - b.relativeOffsetOfLocalHeader
  );
  let free = 0;
  for (const entry of sorted) {
    const shown = JSON.stringify(printable(entry.fileName, 200));
    const local = await call<yauzl.LocalFileHeader>((done) => zip.readLocalFileHeader(entry, done));
    const name = local.fileName.toString("utf8");
    if (
      name !== entry.fileNameRaw.toString("utf8") ||
      local.compressionMethod !== entry.compressionMethod ||
      local.generalPurposeBitFlag !== entry.generalPurposeBitFlag
    ) {
      throw refused(`${shown} has another local header`);
    }
    if (entry.relativeOffsetOfLocalHeader < free) throw refused(`${shown} overlaps another entry`);
    free = local.fileDataStart + entry.compressedSize;
    if (free > directoryStart) throw refused(`${shown} overlaps the directory`);
  }
}

/** Reads an entry's bytes and compares size and CRC-32 with the directory. */
async function contents(
  raw: yauzl.Entry,
  stream: Readable,
  take: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  let crc = 0;
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    crc = crc32(chunk, crc);
    await take(chunk);
  }
  if (crc !== raw.crc32) {
    throw refused(`${JSON.stringify(printable(raw.fileName, 200))} is damaged (CRC-32 differs)`);
  }
}

function refused(why: string, cause?: unknown): CocosError {
  return new CocosError("invalid-archive", `Cannot accept the archive: ${printable(why, 400)}`, {
    ...(cause === undefined ? {} : { cause }),
    hint:
      "Nothing was kept. The agent or the algorithm made an archive that is not safe to unpack.",
  });
}
