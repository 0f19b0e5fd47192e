// What a runtime is: a driver says what to run and what it needs, the sandbox decides what it may
// touch. Job files come from parties nobody trusts.
import { CocosError, type Logger } from "../base/mod.ts";
import type { Kind, Limits, Mode, Outcome } from "../proto/runner/mod.ts";
import { type Bind, type Command, type Places, worldBinds } from "../proto/sandbox/mod.ts";
import type { Ending, JobGroup, OutputSink } from "./sandbox/mod.ts";

export { ALGORITHM, type Command, WORLD } from "../proto/sandbox/mod.ts";

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
  /** Whose rules hold: `compat` where those of the Go programs differ. */
  readonly mode: Mode;
}

/** Programs of the machine that drivers may use; given when the runner is started. */
export interface Facilities {
  /** Python interpreter, a path below `/usr`. */
  readonly python: string;
  /** pip: its wheel, or the directory one was unpacked to. */
  readonly pip: string | undefined;
  /** Deno, and the file it runs for WebAssembly modules (`wasm/child.ts`, bundled). */
  readonly deno: string | undefined;
  readonly wasmChild: string | undefined;
  /** Folder with Pyodide's files and its child, bundled (`python/pyodide_child.ts`). */
  readonly pyodide: string | undefined;
  /** Container engine, if the runner was told one. */
  readonly docker: EngineAccess | undefined;
}

/** A container engine and how it sees this runner. */
export interface EngineAccess {
  /** Path of its unix socket. */
  readonly socket: string;
  /** The runner's control group subtree as the engine names it; without one it uses its own. */
  readonly cgroup: string | undefined;
  /** Marks what this runner made there. */
  readonly owner: string;
}

/** What a run has of its job, however it is confined. */
export interface Stage {
  /** Every process of the run must be in it, or in a group beneath. */
  readonly group: JobGroup;
  readonly onOutput: OutputSink;
  /** Ends processes of this user by number, where the group can't. */
  readonly kill: (pids: readonly number[]) => Promise<void>;
  readonly log: Logger;
}

/** A started run, however it is confined. */
export interface Execution {
  /**
   * Resolved when the algorithm was let go, false if it ended before that. Rejects with why it can't
   * be run; `invalid-argument` if a file of the job is to blame.
   */
  readonly released: Promise<boolean>;
  /** How it ended; settled when no process of it is left, also after `released` rejected. */
  readonly ended: Promise<Ending>;
  /** Ends it; safe at any time. */
  kill(): void;
}

/** Starts a run in a confinement of the driver's own, which must hold all that the sandbox does. */
export type Launch = (stage: Stage) => Execution;

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
  /** The algorithm's command for the sandbox, its world included, or a start of the driver's own. */
  command(job: Job, facilities: Facilities): Command | Launch;
  /** Success or not, from how the algorithm's process ended. */
  collect(ending: Ending, job: Job): Verdict;
  /** Removes what a killed runner left outside the work area; asked once, when a runner starts. */
  sweep?(facilities: Facilities, log: Logger): Promise<void>;
}

/** Where a job's files are. */
export function placesOf(job: Job): Places {
  const { directory } = job;
  return {
    algorithm: `${directory}/algo`,
    datasets: `${directory}/datasets`,
    results: `${directory}/results`,
  };
}

/** What every algorithm sees of its job. */
export function worldOf(job: Job): Bind[] {
  return worldBinds(placesOf(job));
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
