// Symbolic links the guest makes. They live in this table and nowhere else: no real link ever stands
// in `results/`, so none can lead out of it, for us or for whoever packs the results afterwards. (Deno
// also makes links only with rights over the whole file system.)
import { Errno, fail } from "./abi.ts";

/** Most links at one time. */
const MAX_LINKS = 4096;
/** Inode numbers of links start here, above those of real file systems. */
const FIRST_INODE = 1n << 62n;

/** A link; two names of one link are the same object. */
export interface Link {
  readonly target: string;
  readonly ino: bigint;
  names: bigint;
  /** Times in nanoseconds since 1970. */
  atim: bigint;
  mtim: bigint;
  ctim: bigint;
}

/** Links by the inode of their directory, which stays when a directory is renamed. */
export class Links {
  readonly #byDirectory = new Map<bigint, Map<string, Link>>();
  #count = 0;
  #next = FIRST_INODE;

  /** Whether there is any link at all: most programs make none. */
  get none(): boolean {
    return this.#count === 0;
  }

  get(directory: bigint, name: string): Link | undefined {
    return this.#byDirectory.get(directory)?.get(name);
  }

  /** Names and links of a directory. */
  list(directory: bigint): Iterable<[string, Link]> {
    return this.#byDirectory.get(directory) ?? [];
  }

  /** Whether a directory has a link in it. */
  holds(directory: bigint): boolean {
    return this.#byDirectory.has(directory);
  }

  make(directory: bigint, name: string, target: string, now: bigint): void {
    const ino = this.#next++;
    this.put(directory, name, { target, ino, names: 0n, atim: now, mtim: now, ctim: now });
  }

  /** Gives a link one more name. */
  put(directory: bigint, name: string, link: Link): void {
    if (this.#count >= MAX_LINKS) fail(Errno.NOSPC);
    let names = this.#byDirectory.get(directory);
    if (names === undefined) this.#byDirectory.set(directory, names = new Map());
    names.set(name, link);
    link.names++;
    this.#count++;
  }

  /** Takes a name away; answers whether it was one. */
  remove(directory: bigint, name: string): boolean {
    const names = this.#byDirectory.get(directory);
    const link = names?.get(name);
    if (names === undefined || link === undefined) return false;
    names.delete(name);
    if (names.size === 0) this.#byDirectory.delete(directory);
    link.names--;
    this.#count--;
    return true;
  }
}
