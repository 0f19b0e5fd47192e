// Puts a manifest together from the pieces a management server sends (wire.md §4.4). The server is
// not trusted: one manifest at a time, bounded in bytes, pieces and time (threats M-8).
import { CocosError } from "../base/mod.ts";

/** Largest manifest: 1,000 datasets with RSA 16,384 keys and names are about 2.5 MiB. */
export const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;

/** Time after the last piece after which an unfinished manifest is dropped (wire.md §4.4). */
export const CHUNK_TIMEOUT_MS = 30_000;

/** Most pieces of one manifest; empty ones count, so that nobody sends them for ever (G-14). */
export const MAX_CHUNKS = 1_024;

/** One piece. */
export interface Chunk {
  readonly id: string;
  readonly data: Uint8Array;
  readonly isLast: boolean;
}

/** Reassembles manifests of one stream. Dispose it with the stream. */
export class ManifestChunks implements Disposable {
  #id: string | undefined;
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #onTimeout: (id: string) => void;
  readonly #timeoutMs: number;

  /** @param onTimeout told when an unfinished manifest was dropped */
  constructor(onTimeout: (id: string) => void, timeoutMs = CHUNK_TIMEOUT_MS) {
    this.#onTimeout = onTimeout;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Takes a piece; gives the whole manifest's bytes with the last one.
   *
   * @throws {CocosError} `data-loss` for a second open id or an empty manifest, `too-large`
   * past the bounds; what was collected is dropped then.
   */
  add({ id, data, isLast }: Chunk): Uint8Array | undefined {
    if (this.#id !== undefined && this.#id !== id) {
      this.#drop();
      throw new CocosError(
        "data-loss",
        "received manifest may be corrupted: pieces of two manifests are interleaved",
      );
    }
    this.#bytes += data.length;
    if (this.#bytes > MAX_MANIFEST_BYTES || this.#parts.length >= MAX_CHUNKS) {
      this.#drop();
      throw new CocosError(
        "too-large",
        `Cannot take a manifest over ${MAX_MANIFEST_BYTES} bytes or ${MAX_CHUNKS} pieces`,
      );
    }
    // A received message's bytes are a view of a larger buffer; keep a copy of what is ours.
    this.#parts.push(data.slice());
    this.#id = id;
    clearTimeout(this.#timer);
    if (!isLast) {
      this.#timer = setTimeout(() => {
        this.#drop();
        this.#onTimeout(id);
      }, this.#timeoutMs);
      return undefined;
    }
    const whole = new Uint8Array(this.#bytes);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    this.#drop();
    if (whole.length === 0) {
      throw new CocosError("data-loss", "received manifest may be corrupted: it is empty");
    }
    return whole;
  }

  #drop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#id = undefined;
    this.#parts = [];
    this.#bytes = 0;
  }

  [Symbol.dispose](): void {
    this.#drop();
  }
}
