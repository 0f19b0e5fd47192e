// Time and timers, so that tests can turn the hands.

/** A clock. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls back once the time has come; the result takes the call back. */
  at(time: number, call: () => void): () => void;
}

/** A timer past 2^31 ms fires at once in JavaScript; a year is waited for in parts. */
const LONGEST_MS = 2 ** 31 - 1;

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  at(time, call) {
    let timer: ReturnType<typeof setTimeout>;
    const wait = () => {
      const left = time - Date.now();
      timer = left > LONGEST_MS
        ? setTimeout(wait, LONGEST_MS)
        : setTimeout(() => Date.now() < time ? wait() : call(), Math.max(left, 0));
    };
    wait();
    return () => clearTimeout(timer);
  },
};
