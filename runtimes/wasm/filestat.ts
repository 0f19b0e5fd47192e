// Facts about files as the guest is told them. The host's file API knows milliseconds; times a guest
// sets are remembered to the nanosecond, so that it reads back what it wrote.
import { Filetype } from "./abi.ts";

/** Most times remembered to the nanosecond; beyond, the oldest are told in milliseconds. */
const MAX_TIMES = 4096;

/** Facts about a file, as `filestat` tells them; times in nanoseconds since 1970. */
export interface Filestat {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly filetype: number;
  readonly nlink: bigint;
  readonly size: bigint;
  readonly atim: bigint;
  readonly mtim: bigint;
  readonly ctim: bigint;
}

/** Times to set; undefined leaves one as it is. */
export interface NewTimes {
  readonly atim: bigint | undefined;
  readonly mtim: bigint | undefined;
}

/** Times a guest set, which the host's file API would round. */
interface Exact {
  readonly told: { readonly atim: bigint; readonly mtim: bigint };
  readonly real: { readonly atim: bigint; readonly mtim: bigint };
}

const NANOS = 1_000_000_000n;

/** Nanoseconds since 1970, to the microsecond. */
export function now(): bigint {
  return BigInt(Math.trunc((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
}

/** Kind of a file (`filetype`). */
export function filetypeOf(
  stat: Pick<Deno.FileInfo, "isFile" | "isDirectory" | "isSymlink">,
): number {
  if (stat.isFile) return Filetype.REGULAR_FILE;
  if (stat.isDirectory) return Filetype.DIRECTORY;
  if (stat.isSymlink) return Filetype.SYMBOLIC_LINK;
  return Filetype.UNKNOWN;
}

const nanosOf = (time: Date | null): bigint => BigInt(time?.getTime() ?? 0) * 1_000_000n;

/** Inode number of a file. */
export const inodeOf = ({ ino }: Deno.FileInfo): bigint => BigInt(ino ?? 0);

/** Facts about a path that may lead to nothing. */
export function lookAt(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Times a guest set, by inode. */
export class ExactTimes {
  readonly #exact = new Map<bigint, Exact>();

  /** Facts as the guest is told them. */
  told(stat: Deno.FileInfo): Filestat {
    const ino = inodeOf(stat);
    const exact = this.#exact.get(ino);
    const [atim, mtim] = [nanosOf(stat.atime), nanosOf(stat.mtime)];
    return {
      dev: BigInt(stat.dev),
      ino,
      filetype: filetypeOf(stat),
      nlink: BigInt(stat.nlink ?? 1),
      size: BigInt(stat.size),
      atim: exact?.real.atim === atim ? exact.told.atim : atim,
      mtim: exact?.real.mtim === mtim ? exact.told.mtim : mtim,
      ctim: nanosOf(stat.ctime),
    };
  }

  /** Sets times by `set`; `look` gives the facts before and after. */
  set(
    times: NewTimes,
    set: (atim: number, mtim: number) => void,
    look: () => Deno.FileInfo,
  ): void {
    const before = this.told(look());
    const told = { atim: times.atim ?? before.atim, mtim: times.mtim ?? before.mtim };
    // Two divisions: a number holds whole seconds exactly, and the rest as well as it can.
    const seconds = (time: bigint) => Number(time / NANOS) + Number(time % NANOS) / 1e9;
    set(seconds(told.atim), seconds(told.mtim));
    const after = look();
    const real = { atim: nanosOf(after.atime), mtim: nanosOf(after.mtime) };
    const [oldest] = this.#exact.keys();
    if (this.#exact.size >= MAX_TIMES && oldest !== undefined) this.#exact.delete(oldest);
    this.#exact.set(inodeOf(after), { told, real });
  }
}
