// What a runtime is: a driver says what to run and what it needs, the sandbox decides what it may
// touch. Job files come from parties nobody trusts.
import { CocosError } from "../base/mod.ts";
import type { Kind, Limits, Outcome } from "../proto/runner/mod.ts";
import type { Bind, Ending } from "./sandbox/mod.ts";

/** A job whose directory and request have been checked. */
export interface Job {
  readonly id: string;
  /** Absolute path of its directory in the work area. */
  readonly directory: string;
  readonly pythonRuntime: string;
  readonly args: readonly string[];
  readonly limits: Limits;
  readonly hasRequirements: boolean;
  /** Directory an installation may fill; made by the runner only if there is one. */
  readonly site: string;
}

/** Programs of the machine that drivers may use; given when the runner is started. */
export interface Facilities {
  /** Python interpreter, a path below `/usr`. */
  readonly python: string;
  /** pip: its wheel, or the directory one was unpacked to. */
  readonly pip: string | undefined;
}

/** What to run, with what in sight beside `/usr`. */
export interface Command {
  /** Absolute path inside the sandbox. */
  readonly program: string;
  readonly args: readonly string[];
  readonly binds: readonly Bind[];
}

/** How a run is told to the agent. */
export interface Verdict {
  readonly outcome: Outcome;
  readonly code?: number;
  readonly signal?: number;
  readonly message: string;
}

/** One kind of algorithm. A fifth is one folder with one of these and one line in `drivers.ts`. */
export interface Runtime {
  readonly kind: Kind;
  /**
   * Checks the job's files; answers what must run before the algorithm, in a sandbox of its own that
   * sees no data.
   *
   * @throws {CocosError} when the job can't be run; its message goes to the agent.
   */
  prepare(job: Job, facilities: Facilities): Promise<Command | undefined>;
  /** The algorithm's command, its world included. */
  command(job: Job, facilities: Facilities): Command;
  /** Success or not, from how the algorithm's process ended. */
  collect(ending: Ending): Verdict;
}

/** Working directory of every algorithm: holds `datasets/`, `results/` and the algorithm's file. */
export const WORLD = "/cocos";
/** The algorithm's file inside. */
export const ALGORITHM = `${WORLD}/algo`;

/** What every algorithm sees of its job. */
export function worldOf(job: Job): Bind[] {
  return [
    { source: `${job.directory}/algo`, target: ALGORITHM, writable: false },
    { source: `${job.directory}/datasets`, target: `${WORLD}/datasets`, writable: false },
    { source: `${job.directory}/results`, target: `${WORLD}/results`, writable: true },
  ];
}

/** Names Go gives the signals a program usually dies of. */
const SIGNALS: Readonly<Record<number, string>> = {
  1: "hangup",
  2: "interrupt",
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
  24: "CPU time limit exceeded",
  25: "file size limit exceeded",
  31: "bad system call",
};

/** The usual {@linkcode Runtime.collect}: exit code 0 is success. Texts are those of Go's os/exec. */
export function collectExit(ending: Ending): Verdict {
  switch (ending.kind) {
    case "not-started":
      return { outcome: "start-failed", message: ending.reason.slice(0, 512) };
    case "killed":
      return { outcome: "signal", signal: 9, message: "signal: killed" };
    case "exit": {
      const { code } = ending;
      if (code === 0) return { outcome: "ok", message: "" };
      // The sandbox's first process passes a death by signal N on as 128 + N, as a shell does.
      const signal = code - 128;
      return signal >= 1 && signal <= 64
        ? { outcome: "signal", signal, message: `signal: ${SIGNALS[signal] ?? signal}` }
        : { outcome: "exit", code, message: `exit status ${code}` };
    }
  }
}

/** Fails with the code for "this job can't be run". */
export function refuse(message: string, cause?: unknown): never {
  throw new CocosError("invalid-argument", message, cause === undefined ? {} : { cause });
}
