// The guest's descriptor table: streams, files and directories by small numbers of its own. The
// process's real descriptors are never shown to it.
import {
  DIRECTORY_RIGHTS,
  Errno,
  fail,
  Fdflags,
  FILE_RIGHTS,
  Filetype,
  Right,
  STREAM_RIGHTS,
} from "./abi.ts";
import type { Directory, Entry, Tree } from "./tree.ts";

/** Most open descriptors; the sandbox's own limit for real ones is 4096. */
const MAX_DESCRIPTORS = 4000;
/** Files a guest opens get numbers from here: 0 to 2 stay what they are. */
const FIRST_FREE = 3;

interface Common {
  rights: bigint;
  /** Rights that what is opened beneath it can have. */
  inheriting: bigint;
  /** `fdflags` */
  flags: number;
}

/** Standard input, output or error. */
export interface Stream extends Common {
  readonly kind: "stream";
  readonly filetype: number;
  /** 0, 1 or 2. */
  readonly fd: number;
}

/** A regular file. */
export interface File extends Common {
  readonly kind: "file";
  readonly filetype: number;
  readonly real: Deno.FsFile;
  /** Whether it lies where files may change. */
  readonly writable: boolean;
  /** Where the guest reads and writes next. */
  position: number;
  /** Where the real file is: a seek in between is saved where that is the same. */
  at: number;
}

/** A directory. */
export interface Folder extends Common {
  readonly kind: "directory";
  readonly filetype: number;
  readonly directory: Directory;
  /** Name of a directory that was open from the start. */
  readonly preopen: string | undefined;
  /** Entries as they were when reading began. */
  entries: readonly Entry[] | undefined;
}

/** What a number stands for. */
export type Descriptor = Stream | File | Folder;

/** The table. */
export class Descriptors {
  readonly #tree: Tree;
  readonly #table = new Map<number, Descriptor>();

  /** @param preopens names under which the root is open from the start */
  constructor(tree: Tree, preopens: readonly string[]) {
    this.#tree = tree;
    for (const fd of [0, 1, 2]) {
      this.#table.set(fd, {
        kind: "stream",
        // Not a character device: that would make it a terminal for C programs.
        filetype: Filetype.UNKNOWN,
        fd,
        rights: STREAM_RIGHTS | (fd === 0 ? Right.FD_READ : Right.FD_WRITE),
        inheriting: 0n,
        flags: 0,
      });
    }
    for (const name of preopens) {
      this.add({
        kind: "directory",
        filetype: Filetype.DIRECTORY,
        directory: tree.root(),
        preopen: name,
        entries: undefined,
        rights: DIRECTORY_RIGHTS,
        inheriting: DIRECTORY_RIGHTS | FILE_RIGHTS,
        flags: 0,
      });
    }
  }

  /**
   * What a number stands for.
   *
   * @throws {Refusal} BADF for none, NOTCAPABLE without all of these rights
   */
  get(fd: number, rights = 0n): Descriptor {
    const found = this.#table.get(fd >>> 0);
    if (found === undefined) fail(Errno.BADF);
    if ((found.rights & rights) !== rights) fail(Errno.NOTCAPABLE);
    return found;
  }

  /** A directory with these rights; NOTDIR for what is none. */
  folder(fd: number, rights: bigint): Folder {
    const found = this.get(fd);
    if (found.kind !== "directory") fail(Errno.NOTDIR);
    if ((found.rights & rights) !== rights) fail(Errno.NOTCAPABLE);
    return found;
  }

  /** A regular file with these rights; `otherwise` for a stream, BADF for a directory. */
  file(fd: number, rights: bigint, otherwise: Errno = Errno.INVAL): File {
    const found = this.get(fd);
    if (found.kind === "directory") fail(Errno.BADF);
    if (found.kind === "stream") fail(otherwise);
    if ((found.rights & rights) !== rights) fail(Errno.NOTCAPABLE);
    return found;
  }

  /** Fails when one more can't be opened. */
  needRoom(): void {
    if (this.#table.size >= MAX_DESCRIPTORS) fail(Errno.MFILE);
  }

  /** Gives it the lowest free number. */
  add(descriptor: Descriptor): number {
    let fd = FIRST_FREE;
    while (this.#table.has(fd)) fd++;
    this.#table.set(fd, descriptor);
    return fd;
  }

  close(fd: number): void {
    const found = this.get(fd);
    this.#table.delete(fd >>> 0);
    if (found.kind === "file") found.real.close();
    else if (found.kind === "directory") this.#tree.release(found.directory);
  }

  /** Gives what `from` stands for the number `to`, whose own is closed. */
  renumber(from: number, to: number): void {
    const moved = this.get(from);
    this.get(to);
    if (from >>> 0 === to >>> 0) return;
    this.close(to);
    this.#table.delete(from >>> 0);
    this.#table.set(to >>> 0, moved);
  }
}

/** Brings the real file to a place. */
function seek(file: File, position: number): void {
  if (file.at !== position) file.real.seekSync(position, Deno.SeekMode.Start);
  // Until the call has come to its end nobody knows.
  file.at = -1;
}

/** Reads into pieces from a place; answers the number of bytes. */
export function readAt(
  file: File,
  pieces: readonly Uint8Array<ArrayBuffer>[],
  position: number,
): number {
  if (pieces.length === 0) return 0;
  seek(file, position);
  let total = 0;
  for (const piece of pieces) {
    const length = file.real.readSync(piece) ?? 0;
    total += length;
    if (length < piece.length) break;
  }
  file.at = position + total;
  return total;
}

/** Writes pieces; a failure after the first bytes is told by their number. */
function writeAll(
  pieces: readonly Uint8Array<ArrayBuffer>[],
  write: (piece: Uint8Array<ArrayBuffer>) => number,
): number {
  let total = 0;
  try {
    for (const piece of pieces) {
      for (let at = 0; at < piece.length;) {
        const length = write(at === 0 ? piece : piece.subarray(at));
        at += length;
        total += length;
      }
    }
  } catch (error) {
    if (total === 0) throw error;
  }
  return total;
}

/** Writes pieces to a file at a place. */
export function writeAt(
  file: File,
  pieces: readonly Uint8Array<ArrayBuffer>[],
  position: number,
): number {
  const { real, writable, flags } = file;
  if (!writable) fail(Errno.ROFS);
  seek(file, position);
  const total = writeAll(pieces, (piece) => real.writeSync(piece));
  if ((flags & (Fdflags.SYNC | Fdflags.DSYNC)) !== 0) real.syncDataSync();
  file.at = position + total;
  return total;
}

/** Writes pieces to standard output or error. */
export function writeOut({ fd }: Stream, pieces: readonly Uint8Array<ArrayBuffer>[]): number {
  const stream = fd === 1 ? Deno.stdout : Deno.stderr;
  return writeAll(pieces, (piece) => stream.writeSync(piece));
}
