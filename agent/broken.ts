// Uploads of the strict mode that broke off and may go on: their file stays, with the hash as far as it
// came, until the item is in or the computation ends. One of each item, so they never take more than the
// manifest declares (threats G-15).
import { CocosError } from "../base/mod.ts";
import { type Headers, OFFSET_KEY } from "../proto/mod.ts";
import type { IncomingFile } from "./receive.ts";

/** An upload that is silent for this long may be taken over by its party's next connection. */
const SILENT_MS = 5_000;

/** What is there of an item. */
export interface Held {
  readonly bytes: number;
  /** SHA3-256 of these bytes. */
  readonly digest: Uint8Array;
}

const NOTHING: Held = { bytes: 0, digest: new Uint8Array() };

interface Parked extends Held {
  readonly file: IncomingFile;
}

interface Open {
  /** Ends the upload, for one that goes on with it. */
  readonly stop: AbortController;
  /** Resolves when the upload has ended, and what is left of it is parked. */
  readonly ended: Promise<void>;
  heardAt: number;
}

/** An upload that is under way. */
export interface Upload {
  /** Fires when another connection goes on with it. */
  readonly signal: AbortSignal;
  /** Call it at each message. */
  heard(): void;
  /** Call it at the end, when the file is parked or dropped. */
  leave(): void;
}

/** The broken uploads of one computation. */
export class Broken {
  readonly #parked = new Map<string, Parked>();
  readonly #open = new Map<string, Set<Open>>();
  /** Items that are in: an upload of one that breaks off later leaves nothing here (threats Z-1). */
  readonly #in = new Set<string>();
  readonly #now: () => number;
  #over = false;

  /** @param now milliseconds of a clock that nobody can set back */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** An upload of an item begins. */
  enter(item: string): Upload {
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const open: Open = { stop: new AbortController(), ended, heardAt: this.#now() };
    const all = this.#open.get(item) ?? new Set();
    this.#open.set(item, all.add(open));
    return {
      signal: open.stop.signal,
      heard: () => void (open.heardAt = this.#now()),
      leave: () => {
        all.delete(open);
        if (all.size === 0) this.#open.delete(item);
        resolve();
      },
    };
  }

  /** What is held of an item. Its owner asks: an upload that fell silent is ended for that. */
  async held(item: string): Promise<Held> {
    const silent = [...this.#open.get(item) ?? []].filter(({ heardAt, stop }) =>
      stop.signal.aborted || this.#now() - heardAt >= SILENT_MS
    );
    for (const { stop } of silent) {
      stop.abort(new CocosError("cancelled", "another connection goes on with this upload"));
    }
    await Promise.all(silent.map(({ ended }) => ended));
    const { bytes, digest } = this.#parked.get(item) ?? NOTHING;
    return { bytes, digest };
  }

  /** Keeps a file for an upload that goes on; of two of one item the longer. */
  async park(item: string, file: IncomingFile): Promise<void> {
    const { size: bytes } = file;
    try {
      const parked = { file, bytes, digest: await file.pause() };
      const other = this.#parked.get(item);
      if (this.#over || this.#in.has(item) || (other?.bytes ?? 0) >= bytes) file[Symbol.dispose]();
      else {
        other?.file[Symbol.dispose]();
        this.#parked.set(item, parked);
      }
    } catch {
      // Writing or hashing failed: nothing can go on from it.
      file[Symbol.dispose]();
    }
  }

  /**
   * The file to go on with; it is the caller's now.
   *
   * @throws {CocosError} `out-of-range` when exactly this much is not held.
   */
  take(item: string, offset: number): IncomingFile {
    const parked = this.#parked.get(item);
    if (parked === undefined || parked.bytes !== offset) {
      throw new CocosError(
        "out-of-range",
        `cannot go on at ${offset}: ${parked?.bytes ?? 0} bytes are held`,
        { hint: "Ask with Held how much is there, or begin again." },
      );
    }
    this.#parked.delete(item);
    return parked.file;
  }

  /** An item is in: what is held of it is dropped, now and from now on. */
  received(item: string): void {
    this.#in.add(item);
    this.#drop(item);
  }

  #drop(item: string): void {
    this.#parked.get(item)?.file[Symbol.dispose]();
    this.#parked.delete(item);
  }

  /** Drops everything, now and from now on. */
  end(): void {
    this.#over = true;
    for (const item of [...this.#parked.keys()]) this.#drop(item);
  }
}

/**
 * Where an upload or a download begins.
 *
 * @throws {CocosError} `invalid-argument` for what is no whole number.
 */
export function readOffset(metadata: Headers): number {
  const values = metadata.get(OFFSET_KEY);
  const [text = "0"] = values;
  if (values.length > 1 || !/^(0|[1-9]\d{0,15})$/.test(text) || !Number.isSafeInteger(+text)) {
    throw new CocosError("invalid-argument", `${OFFSET_KEY} must be one whole number`);
  }
  return Number(text);
}

/** Whether an upload ended so that it may go on: its peer went away, or was too slow. */
export function mayGoOn(thrown: unknown): boolean {
  return thrown instanceof CocosError && (thrown.code === "cancelled" || thrown.code === "timeout");
}
