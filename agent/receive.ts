// Takes an upload in: each byte is hashed while it is written to a fresh private file, so memory
// stays flat and what was checked is what is kept (threats F-5, F-7). The uploader is not trusted.
import { CocosError, Hasher, hex } from "../base/mod.ts";
import { recycle } from "../proto/mod.ts";
import { reasonOf, removeAll } from "./work.ts";

/** What is being taken in; the words are those of the Go agent's texts (wire.md §4.5). */
export type What = "algorithm" | "requirements" | "dataset";

/** Most messages without payload in one upload (threats G-14). */
export const MAX_EMPTY_MESSAGES = 64;

/** An uploader that sends nothing for this long is cut off (threats G-8). */
export const IDLE_MS = 60_000;

/** Payload that must come while the agent waits for it for {@linkcode RATE_MS} in all (threats G-8). */
export const RATE_BYTES = 64 * 1024;

/** Waiting after which an uploader must have sent {@linkcode RATE_BYTES}: about 1 KiB/s. */
export const RATE_MS = 60_000;

/** A file that is being received. Dispose it: unless it was kept, it is removed. */
export class IncomingFile implements Disposable {
  readonly path: string;
  readonly what: What;
  readonly #file: Deno.FsFile;
  readonly #hash = new Hasher();
  readonly #maxBytes: number;
  #size = 0;
  /** The write that is under way: the next chunk comes in meanwhile. */
  #writing: Promise<void> = Promise.resolve();
  #open = true;
  #kept = false;

  /**
   * Creates the file; it must not exist.
   *
   * @throws {CocosError} `io`.
   */
  constructor(path: string, what: What, maxBytes: number) {
    this.path = path;
    this.what = what;
    this.#maxBytes = maxBytes;
    try {
      // createNew is O_EXCL: neither an existing file nor a link at that name is opened (F-2).
      this.#file = Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
    } catch (cause) {
      throw new CocosError("io", `error creating ${what} file: ${reasonOf(cause)}`, { cause });
    }
  }

  /** Bytes so far. */
  get size(): number {
    return this.#size;
  }

  /**
   * Adds bytes. They belong to the file from then on: they may still be written when the promise
   * resolves. One call at a time.
   *
   * @throws {CocosError} `too-large`, before anything of the chunk is written, or `io`, also for the
   * chunk before.
   */
  async write(chunk: Uint8Array): Promise<void> {
    if (this.#size + chunk.length > this.#maxBytes) {
      throw new CocosError(
        "too-large",
        `Cannot take the ${this.what}: it has more than ${this.#maxBytes} bytes`,
      );
    }
    this.#size += chunk.length;
    await Promise.all([this.#writing, this.#hash.update(chunk)]);
    this.#writing = this.#writeAll(chunk);
    this.#writing.catch(() => {}); // whoever comes next learns of it
  }

  async #writeAll(chunk: Uint8Array): Promise<void> {
    try {
      let rest = chunk;
      while (rest.length > 0) rest = rest.subarray(await this.#file.write(rest));
      recycle(chunk);
    } catch (cause) {
      throw new CocosError("io", `error writing ${this.what} to file: ${reasonOf(cause)}`, {
        cause,
      });
    }
  }

  /**
   * Comes to rest: everything is written. Gives the SHA3-256 of it; more may be added.
   *
   * @throws {CocosError} `io`.
   */
  async pause(): Promise<Uint8Array> {
    await this.#writing;
    return await this.#hash.pause();
  }

  /**
   * Closes the file and gives the SHA3-256 of all bytes, lower-case hexadecimal.
   *
   * @throws {CocosError} `io`.
   */
  async finish(): Promise<string> {
    await this.#writing;
    this.#file.close();
    this.#open = false;
    return hex(await this.#hash.digest());
  }

  /**
   * Gives the finished file its place and mode; from now on it is not removed. Synchronous, so that
   * no other call comes between the check before it and the rename.
   *
   * @throws {CocosError} `io`, also when the place is taken.
   */
  keep(place: string, mode: number): void {
    try {
      if (exists(place)) throw new Deno.errors.AlreadyExists();
      Deno.chmodSync(this.path, mode);
      Deno.renameSync(this.path, place);
      this.#kept = true;
    } catch (cause) {
      throw new CocosError("io", `error creating ${this.what} file: ${reasonOf(cause)}`, { cause });
    }
  }

  [Symbol.dispose](): void {
    if (this.#open) this.#file.close();
    this.#open = false;
    this.#hash[Symbol.dispose]();
    if (!this.#kept) removeAll(this.path);
  }
}

/** Whether something has this name, a dangling link included. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    throw cause;
  }
}

/**
 * Passes messages on until they end, the signal fires, or the peer is silent or too slow for too long.
 * Only time spent waiting for the peer counts.
 *
 * @param bytesOf payload of a message
 * @throws the signal's reason, or {@linkcode CocosError} `timeout`.
 */
export async function* watched<T>(
  messages: AsyncIterable<T>,
  signal: AbortSignal,
  bytesOf: (message: T) => number,
  { idleMs = IDLE_MS, now = () => performance.now() } = {},
): AsyncGenerator<T, void, undefined> {
  // Not Promise.race with one promise for the whole stream: that promise would keep every message it
  // ever raced with, which is the whole upload in memory.
  let fail: (reason: unknown) => void = () => {};
  const abort = () => fail(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const idle = () =>
    fail(new CocosError("timeout", `Cannot wait longer: nothing was received for ${idleMs} ms`));
  const iterator = messages[Symbol.asyncIterator]();
  let ended = false;
  let waited = 0;
  let bytes = 0;
  try {
    while (true) {
      signal.throwIfAborted();
      const asked = now();
      timer = setTimeout(idle, idleMs);
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        fail = reject;
        iterator.next().then(resolve, reject);
      });
      clearTimeout(timer);
      if (next.done === true) {
        ended = true;
        return;
      }
      waited += now() - asked;
      bytes += bytesOf(next.value);
      if (waited >= RATE_MS) {
        if (bytes < RATE_BYTES) {
          throw new CocosError(
            "timeout",
            `Cannot wait longer: ${bytes} bytes came in ${Math.round(waited / 1_000)} s`,
            { hint: `An upload must bring ${RATE_BYTES} bytes a minute.` },
          );
        }
        waited = bytes = 0;
      }
      yield next.value;
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
    // Not awaited: an iterator that waits for a silent peer would never come back.
    if (!ended) iterator.return?.().then(undefined, () => {});
  }
}
