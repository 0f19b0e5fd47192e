// What every soak of this room shares: how it tells what it saw, and chance that can be repeated.

/** What a soak saw. */
export interface Outcome {
  readonly runs: number;
  /** What went wrong, in words; empty when all is well. */
  readonly failures: readonly string[];
  readonly figures: Readonly<Record<string, number>>;
}

/** Whole numbers below `n`, the same for the same seed (mulberry32). */
export function randomOf(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor(((t ^ (t >>> 14)) >>> 0) / 4_294_967_296 * n);
  };
}

/**
 * The promise's own end, or a failure when it takes longer than anything on a busy machine.
 *
 * @throws {Error} that says what was waited for.
 */
export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
