// A clock for tests: timers fire when the test says so.

/** Replaces the process's timers until it is disposed. */
export class FakeTime implements Disposable {
  #now = 0;
  #next = 1;
  readonly #timers = new Map<number, { at: number; run: () => void }>();
  readonly #real = {
    setTimeout: globalThis.setTimeout,
    clearTimeout: globalThis.clearTimeout,
  };

  constructor() {
    const add = (run: () => void, ms = 0) => {
      this.#timers.set(this.#next, { at: this.#now + ms, run });
      return this.#next++;
    };
    globalThis.setTimeout = add as unknown as typeof setTimeout;
    globalThis.clearTimeout = ((id?: number) => {
      if (id !== undefined) this.#timers.delete(id);
    }) as typeof clearTimeout;
  }

  /** Lets `ms` pass and runs what is due, in order. */
  tick(ms: number): void {
    const end = this.#now + ms;
    while (true) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end)
        .sort(([, a], [, b]) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due[0]);
      this.#now = due[1].at;
      due[1].run();
    }
    this.#now = end;
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#timers.size;
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = this.#real.setTimeout;
    globalThis.clearTimeout = this.#real.clearTimeout;
  }
}
