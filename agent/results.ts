// Packs what the algorithm left into one private zip file. The algorithm was hostile: only regular
// files beneath `results/` go in, no link is followed, nothing is waited on, everything is counted
// (threats O-1). Every process of the run is dead by now; the runner says so with `finished`.
import {
  byteOrder,
  CocosError,
  Hasher,
  hex,
  ZIP_READ_BYTES,
  zipEntries,
  type ZipEntry,
} from "../base/mod.ts";
import type { ResultsRecord } from "./journal.ts";
import { reasonOf, removeAll } from "./work.ts";

/** Bounds of the results of one computation. */
export interface ResultLimits {
  readonly maxFiles: number;
  readonly maxBytes: number;
}

/** Enough for a folder of images; a million empty files would take minutes to pack. */
export const RESULT_LIMITS: ResultLimits = { maxFiles: 100_000, maxBytes: 64 * 2 ** 30 };

/** Deepest folder that is looked into. */
const MAX_DEPTH = 64;

/** Packed results, and how many things were left out because they are no plain files. */
export interface Packed extends ResultsRecord {
  readonly files: number;
  readonly skipped: number;
}

interface Found extends ZipEntry {
  readonly size: number;
  readonly ino: number | null;
  readonly dev: number;
}

/**
 * Packs `folder` into the new file `archive`: stored, names in byte order, empty folders left out.
 *
 * @throws {CocosError} `too-large` past the limits, `data-loss` when a file changes meanwhile, `io`;
 * no archive is left then.
 */
export async function packResults(
  folder: string,
  archive: string,
  limits: ResultLimits = RESULT_LIMITS,
  signal?: AbortSignal,
): Promise<Packed> {
  const tally = { files: 0, bytes: 0, skipped: 0 };
  const entries = await list(folder, "", 0, limits, tally);
  using hash = new Hasher();
  let size = 0;
  try {
    using file = Deno.openSync(archive, { write: true, createNew: true, mode: 0o600 });
    for await (const chunk of zipEntries(entries, (entry) => read(entry as Found))) {
      signal?.throwIfAborted();
      size += chunk.length;
      await Promise.all([writeAll(file, chunk), hash.update(chunk)]);
    }
  } catch (cause) {
    removeAll(archive);
    if (cause instanceof CocosError) throw cause;
    throw new CocosError("io", `error packing results: ${reasonOf(cause)}`, { cause });
  }
  return { size, digest: hex(await hash.digest()), files: tally.files, skipped: tally.skipped };
}

async function list(
  dir: string,
  prefix: string,
  depth: number,
  limits: ResultLimits,
  tally: { files: number; bytes: number; skipped: number },
): Promise<Found[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(dir)) {
    names.push(name);
    if (names.length > limits.maxFiles) throw tooMany(limits);
  }
  const found: Found[] = [];
  for (const name of names.sort(byteOrder)) {
    const path = `${dir}/${name}`;
    // Names in another encoding come back changed and are then not found; they are left out, as are
    // names that an archive reader would take for a path or for a terminal command.
    const info = isPlain(name) ? await Deno.lstat(path).catch(() => undefined) : undefined;
    if (info?.isDirectory === true && depth < MAX_DEPTH) {
      found.push(...await list(path, `${prefix}${name}/`, depth + 1, limits, tally));
    } else if (info?.isFile === true && info.nlink === 1) {
      tally.files++;
      tally.bytes += info.size;
      if (tally.files > limits.maxFiles) throw tooMany(limits);
      if (tally.bytes > limits.maxBytes) {
        throw new CocosError(
          "too-large",
          `error packing results: more than ${limits.maxBytes} bytes`,
        );
      }
      const { size, ino, dev } = info;
      const mode = info.mode ?? 0o100640;
      found.push({
        path,
        name: prefix + name,
        mode,
        mtime: info.mtime ?? new Date(0),
        size,
        ino,
        dev,
      });
    } else {
      tally.skipped++;
    }
  }
  return found;
}

function isPlain(name: string): boolean {
  // deno-lint-ignore no-control-regex
  return !/[\x00-\x1f\x7f\\\ufffd]/.test(name) && new TextEncoder().encode(name).length <= 255;
}

/** A file's bytes, when it is still the one that was listed. */
async function* read(entry: Found): AsyncGenerator<Uint8Array> {
  using file = await Deno.open(entry.path, { read: true });
  const info = await file.stat();
  if (!info.isFile || info.ino !== entry.ino || info.dev !== entry.dev) {
    throw new CocosError("data-loss", "error packing results: a file was replaced meanwhile");
  }
  while (true) {
    const buffer = new Uint8Array(ZIP_READ_BYTES);
    const count = await file.read(buffer);
    if (count === null) return;
    yield buffer.subarray(0, count);
  }
}

async function writeAll(file: Deno.FsFile, chunk: Uint8Array): Promise<void> {
  let rest = chunk;
  while (rest.length > 0) rest = rest.subarray(await file.write(rest));
}

function tooMany({ maxFiles }: ResultLimits): CocosError {
  return new CocosError("too-large", `error packing results: more than ${maxFiles} files`);
}
