// The agent's side of the runner's unix socket: one job a connection. The runner is another uid that
// executes hostile code; its lines are parsed like anybody's.
import { asCocosError, CocosError } from "../base/mod.ts";
import {
  encodeLine,
  type FinishedEvent,
  MAX_EVENT_BYTES,
  parseEvent,
  readLines,
  RUNNER_PROTOCOL,
  type RunRequest,
  type StartedEvent,
} from "../proto/mod.ts";

/** What a run needs, beside what the protocol fixes. */
export type Job = Omit<RunRequest, "type" | "protocol">;

/** Told while a job runs. */
export interface JobWatcher {
  started?(event: StartedEvent): void;
  /** Output was printed; the bytes are the algorithm's, and cut anywhere. */
  output?(stream: "stdout" | "stderr", data: Uint8Array): void;
  /** The runner read and dropped this much. */
  dropped?(bytes: number): void;
}

/** Time limits of a {@linkcode Runner}. */
export interface RunnerTimes {
  /** How long to knock while nobody listens: init starts a dead runner again in about 3 s. */
  readonly connectMs: number;
  /** Pause between knocks. */
  readonly retryMs: number;
  /** How long a stopped run may take to end before the connection is cut (threats S-9). */
  readonly stopMs: number;
}

const TIMES: RunnerTimes = { connectMs: 15_000, retryMs: 250, stopMs: 8_000 };

/** A client of one runner. */
export class Runner {
  readonly #socket: string;
  readonly #times: RunnerTimes;

  constructor(socket: string, times: Partial<RunnerTimes> = {}) {
    this.#socket = socket;
    this.#times = { ...TIMES, ...times };
  }

  /**
   * Runs a job to its end.
   *
   * @param signal stops the run; the promise then still waits for the last process to be gone
   * @returns how it ended; every outcome of the runner is a result, not an error
   * @throws {CocosError} `unavailable` when no runner answers or it dies meanwhile, `data-loss` or
   * `invalid-argument` when it doesn't keep to the protocol.
   */
  async run(job: Job, watcher: JobWatcher, signal: AbortSignal): Promise<FinishedEvent> {
    const end = performance.now() + this.#times.connectMs;
    while (true) {
      const finished = await this.#once(job, watcher, signal);
      // A runner may still be ending the run of an agent that was killed: it says so, we ask again.
      const again = finished.outcome === "refused" && /runs already/.test(finished.message);
      if (!again || signal.aborted || performance.now() >= end) return finished;
      await pause(this.#times.retryMs, signal);
    }
  }

  async #once(job: Job, watcher: JobWatcher, signal: AbortSignal): Promise<FinishedEvent> {
    using connection = await this.#connect(signal);
    const writer = connection.writable.getWriter();
    let cut: ReturnType<typeof setTimeout> | undefined;
    const stop = () => {
      writer.write(encodeLine({ type: "stop" })).catch(() => {});
      cut = setTimeout(() => connection.close(), this.#times.stopMs);
    };
    try {
      await writer.write(encodeLine({ type: "run", protocol: RUNNER_PROTOCOL, ...job }));
      if (signal.aborted) stop();
      signal.addEventListener("abort", stop, { once: true });
      for await (const line of readLines(connection.readable, MAX_EVENT_BYTES)) {
        const event = parseEvent(line);
        switch (event.type) {
          case "started":
            watcher.started?.(event);
            break;
          case "output":
            watcher.output?.(event.stream, event.data);
            break;
          case "dropped":
            watcher.dropped?.(event.bytes);
            break;
          case "finished":
            return event;
        }
      }
    } catch (cause) {
      if (cause instanceof CocosError && cause.code !== "data-loss") throw cause;
      throw gone(cause);
    } finally {
      clearTimeout(cut);
      signal.removeEventListener("abort", stop);
      writer.abort().catch(() => {});
    }
    throw gone();
  }

  async #connect(signal: AbortSignal): Promise<Deno.UnixConn> {
    const end = performance.now() + this.#times.connectMs;
    while (true) {
      signal.throwIfAborted();
      try {
        return await Deno.connect({ transport: "unix", path: this.#socket });
      } catch (cause) {
        const nobody = cause instanceof Deno.errors.NotFound ||
          cause instanceof Deno.errors.ConnectionRefused;
        if (!nobody || performance.now() >= end) {
          throw new CocosError("unavailable", "Cannot reach the runner", {
            cause: asCocosError(cause),
            hint: `Start cocos-runner; its socket is expected at ${this.#socket}.`,
          });
        }
      }
      await pause(this.#times.retryMs, signal);
    }
  }
}

/** Lets time pass, or less when the signal fires. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const wake = () => resolve();
  signal.addEventListener("abort", wake, { once: true });
  if (signal.aborted) wake();
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", wake);
  });
}

function gone(cause?: unknown): CocosError {
  return new CocosError(
    "unavailable",
    "The runner ended during the run",
    cause === undefined ? {} : { cause },
  );
}

/** Names Go gives the signals a program usually dies of (package syscall). */
const SIGNALS: Record<number, string> = {
  1: "hangup",
  2: "interrupt",
  3: "quit",
  4: "illegal instruction",
  5: "trace/breakpoint trap",
  6: "aborted",
  7: "bus error",
  8: "floating point exception",
  9: "killed",
  11: "segmentation fault",
  13: "broken pipe",
  14: "alarm clock",
  15: "terminated",
};

/** Why a run failed. */
export interface Failure {
  /** For the consumers, with the Go agent's texts (wire.md §4.7). */
  readonly text: string;
  /** For the management server: the kind of failure, nothing the algorithm decides (threats S-6). */
  readonly kind: string;
}

/** Classes of a run's end that the management server is told. */
export type ExitClass = "ok" | "failed" | "timeout" | "limit" | "stopped" | "not-started";

/** Class of each outcome. Exit codes and signals are the algorithm's to choose: one class. */
export const EXIT_CLASS: Record<FinishedEvent["outcome"], ExitClass> = {
  ok: "ok",
  exit: "failed",
  signal: "failed",
  timeout: "timeout",
  oom: "limit",
  limit: "limit",
  stopped: "stopped",
  refused: "not-started",
  "install-failed": "not-started",
  "start-failed": "not-started",
};

/** The failure an outcome stands for; `undefined` for success. */
export function failureOf({ outcome, code, signal, message }: FinishedEvent): Failure | undefined {
  const execution = (what: string) => ({
    text: `algorithm execution error: ${what}`,
    kind: "algorithm execution error",
  });
  switch (outcome) {
    case "ok":
      return undefined;
    case "exit":
      // A WebAssembly trap has no exit status of the algorithm's own choice.
      return execution(message.startsWith("trap: ") ? message : `exit status ${code}`);
    case "signal":
      return execution(`signal: ${SIGNALS[signal ?? 0] ?? `signal ${signal}`}`);
    case "timeout":
      return execution("time limit exceeded");
    case "oom":
      return execution("out of memory");
    case "limit":
      return execution("results limit exceeded");
    case "stopped":
      return execution("stopped");
    case "install-failed":
      return {
        text: `error installing requirements: ${message}`,
        kind: "error installing requirements",
      };
    case "refused":
    case "start-failed":
      return { text: `error starting algorithm: ${message}`, kind: "error starting algorithm" };
  }
}
