// How much of an algorithm's output is passed on: a token bucket and a total, so that a program that
// prints for ever costs a count and nothing else (threats S-5).

/** Bytes a second passed on in the long run. */
export const OUTPUT_RATE = 512 << 10;
/** Bytes passed on at once after a quiet time. */
export const OUTPUT_BURST = 2 << 20;

/** Decides for each piece how many of its bytes go on. Times are milliseconds of one clock. */
export class OutputGate {
  readonly #total: number;
  #passed = 0;
  #seen = 0;
  #dropped = 0;
  #tokens = OUTPUT_BURST;
  #at: number;

  /** At most `total` bytes pass in the gate's life. */
  constructor(total: number, now: number) {
    this.#total = total;
    this.#at = now;
  }

  /** Bytes of a piece of `length` that pass; the rest is counted as dropped. */
  take(length: number, now: number): number {
    this.#tokens = Math.min(OUTPUT_BURST, this.#tokens + (now - this.#at) * OUTPUT_RATE / 1000);
    this.#at = now;
    const pass = Math.max(
      0,
      Math.min(length, Math.floor(this.#tokens), this.#total - this.#passed),
    );
    this.#tokens -= pass;
    this.#passed += pass;
    this.#seen += length;
    this.#dropped += length - pass;
    return pass;
  }

  /** Adds bytes that passed but couldn't be sent. */
  drop(bytes: number): void {
    this.#dropped += bytes;
  }

  /** Bytes seen so far. */
  get seen(): number {
    return this.#seen;
  }

  /** Dropped bytes since this was last asked. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }
}
