// What an upload sends: the bytes of a file, a directory's archive or a wheelhouse, in messages of
// 1 MiB, made one at a time so that memory stays flat whatever the size.
import {
  CocosError,
  digestFile,
  digestOf,
  listDirectory,
  listWheelhouse,
  messageOf,
  zipEntries,
  type ZipEntry,
  zipSize,
} from "../base/mod.ts";

/** What is read from a file at once: a message's worth. */
const READ_BYTES = 1024 * 1024;

/** Bytes that are ready to be sent, and how many there will be. */
export interface Payload {
  /** The bytes from an offset on. */
  chunks(offset?: number): AsyncIterable<Uint8Array>;
  readonly size: number;
  /** SHA3-256 of the first `bytes`, or of all; reads them once more. */
  digest(bytes?: number): Promise<Uint8Array>;
}

/**
 * A file's bytes.
 *
 * @throws {CocosError} `not-found`, `io` or `invalid-argument` for what is no regular file or empty.
 */
export async function filePayload(path: string): Promise<Payload> {
  const info = await look(path);
  if (!info.isFile) {
    throw new CocosError(
      "invalid-argument",
      `Cannot upload ${JSON.stringify(path)} as it is not a regular file`,
    );
  }
  if (info.size === 0) {
    throw new CocosError(
      "invalid-argument",
      `Cannot upload ${JSON.stringify(path)} as it is empty`,
    );
  }
  return {
    chunks: (offset = 0) => readFile(path, offset),
    size: info.size,
    digest: (bytes) =>
      bytes === undefined ? digestFile(path) : digestOf(first(readFile(path), bytes)),
  };
}

/** A directory's archive, the same bytes that its checksum covers. */
export async function directoryPayload(path: string): Promise<Payload> {
  return archivePayload(await listDirectory(path));
}

/** A wheelhouse's archive. */
export async function wheelhousePayload(
  directory: string,
  requirements: string | undefined,
): Promise<Payload> {
  return archivePayload(await listWheelhouse(directory, requirements));
}

function archivePayload(entries: readonly ZipEntry[]): Payload {
  return {
    chunks: (offset = 0) => from(zipEntries(entries), offset),
    size: zipSize(entries),
    digest: (bytes = Infinity) => digestOf(first(zipEntries(entries), bytes)),
  };
}

/** The first bytes of a stream. */
async function* first(chunks: AsyncIterable<Uint8Array>, bytes: number) {
  let left = bytes;
  for await (const chunk of chunks) {
    yield chunk.subarray(0, left);
    left -= chunk.length;
    if (left <= 0) return;
  }
}

/** A stream without its first bytes. */
async function* from(chunks: AsyncIterable<Uint8Array>, offset: number) {
  let left = offset;
  for await (const chunk of chunks) {
    const rest = chunk.subarray(Math.min(left, chunk.length));
    left -= chunk.length - rest.length;
    if (rest.length > 0) yield rest;
  }
}

/**
 * Pieces of exactly `size` bytes, the last one shorter. A piece is good until the next is asked for:
 * what is to be sent is copied into its message before.
 */
export async function* inChunks(
  source: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Uint8Array> {
  const chunk = new Uint8Array(size);
  let filled = 0;
  for await (let piece of source) {
    if (filled === 0 && piece.length === size) {
      yield piece;
      continue;
    }
    while (piece.length > 0) {
      const part = piece.subarray(0, size - filled);
      chunk.set(part, filled);
      filled += part.length;
      piece = piece.subarray(part.length);
      if (filled === size) {
        yield chunk;
        filled = 0;
      }
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled);
}

/** Last part of a path, as the Go programs send it: `data/` is `data`. */
export function baseName(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed.slice(trimmed.lastIndexOf("/") + 1);
}

/** `stat` whose failure names the path. */
export async function look(path: string): Promise<Deno.FileInfo> {
  try {
    return await Deno.stat(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

async function* readFile(path: string, offset = 0): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(READ_BYTES);
  try {
    using file = await Deno.open(path);
    await file.seek(offset, Deno.SeekMode.Start);
    while (true) {
      const count = await file.read(buffer);
      if (count === null) return;
      yield buffer.subarray(0, count);
    }
  } catch (cause) {
    throw cause instanceof CocosError ? cause : unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): CocosError {
  return cause instanceof Deno.errors.NotFound
    ? new CocosError(
      "not-found",
      `Cannot read ${JSON.stringify(path)}: no such file or directory`,
      {
        cause,
      },
    )
    : new CocosError("io", `Cannot read ${JSON.stringify(path)}: ${messageOf(cause)}`, { cause });
}
