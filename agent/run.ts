// One run of an algorithm, from the runner's job to packed results. The algorithm and its output are
// hostile; of what it prints only amounts leave this file (threats S-6, O-7).
import { asCocosError, CocosError } from "../base/mod.ts";
import type { Computation } from "./computation.ts";
import type { Progress } from "./journal.ts";
import { packResults, RESULT_LIMITS } from "./results.ts";
import { type Failure, failureOf, type Runner } from "./runner.ts";
import type { Telemetry } from "./telemetry.ts";

/** Times a run is begun at most: an interrupted one starts again once (threats C-1). */
export const MAX_RUNS = 2;

/** What a run works on and whom it tells. */
export interface RunParts {
  readonly computation: Computation;
  readonly runner: Runner;
  readonly telemetry: Telemetry;
  /** The run was counted. */
  begun(progress: Progress): void;
  /** Results are packed. */
  complete(progress: Progress): void;
  /** There will be no results. */
  failed(progress: Progress): void;
}

/** A run; it begins when it is made. */
export class Run {
  readonly #parts: RunParts;
  readonly #finished: Promise<void>;
  #output = 0;

  constructor(parts: RunParts) {
    this.#parts = parts;
    // Not before the transition that caused it is over.
    this.#finished = Promise.resolve().then(() => this.#run());
  }

  /** Resolves when nothing of the run is left; never rejects. */
  finished(): Promise<void> {
    return this.#finished;
  }

  async #run(): Promise<void> {
    const { computation, telemetry } = this.#parts;
    try {
      telemetry.event("Running", "Starting");
      telemetry.log("info", "computation run started");
      await this.#execute();
    } catch (thrown) {
      if (computation.signal.aborted) return;
      const error = asCocosError(thrown);
      this.#fail({ text: error.message, kind: error.message });
    }
  }

  async #execute(): Promise<void> {
    const { computation, telemetry } = this.#parts;
    const failure = await this.#attempts();
    if (computation.signal.aborted) return;
    if (this.#output > 0) {
      telemetry.log(
        "debug",
        `algorithm printed ${this.#output} bytes; the log policy shows nobody`,
      );
    }
    if (failure !== undefined) {
      this.#fail(failure);
      return;
    }
    const { job } = computation;
    const packed = await packResults(job.results, job.archive, RESULT_LIMITS, computation.signal);
    if (packed.skipped > 0) {
      telemetry.log("warn", `results: left out ${packed.skipped} that are no plain files`);
    }
    computation.signal.throwIfAborted();
    telemetry.event("Running", "Completed");
    const { size, digest } = packed;
    this.#parts.complete({ ...computation.progress, results: { size, digest } });
    this.#tidy(() => job.removeInputs());
  }

  /** Runs the job, once more when the runner died under it; gives why it failed. */
  async #attempts(): Promise<Failure | undefined> {
    const { computation, runner, telemetry } = this.#parts;
    const { job, progress: { algorithm }, signal } = computation;
    if (algorithm === undefined) throw new CocosError("internal", "no algorithm is there");
    let reason = "the run was interrupted";
    while (true) {
      signal.throwIfAborted();
      const { runs } = computation.progress;
      if (runs >= MAX_RUNS) {
        throw new CocosError("run-failed", `algorithm execution error: ${reason}`);
      }
      this.#parts.begun({ ...computation.progress, runs: runs + 1 });
      job.freshResults();
      telemetry.event("Running", "InProgress");
      try {
        const finished = await runner.run(
          {
            job: job.id,
            kind: algorithm.kind,
            pythonRuntime: algorithm.pythonRuntime,
            args: algorithm.args,
            hasRequirements: algorithm.requirements !== undefined,
            limits: {},
          },
          {
            started: ({ confinement }) => {
              if (confinement === "insecure-none") {
                telemetry.log("warn", "insecure: the run has no memory and process limits");
              }
            },
            output: (stream, bytes) => {
              this.#output += bytes;
              if (stream === "stderr") telemetry.warning();
            },
            dropped: (bytes) => this.#output += bytes,
          },
          signal,
        );
        return failureOf(finished);
      } catch (thrown) {
        const error = asCocosError(thrown);
        if (signal.aborted || error.code !== "unavailable") throw error;
        reason = error.message;
        telemetry.log("warn", reason);
      }
    }
  }

  #fail({ text, kind }: Failure): void {
    const { computation, telemetry } = this.#parts;
    telemetry.log("warn", `failed to run computation: ${kind}`);
    telemetry.event("Running", "Failed");
    this.#tidy(() => this.#parts.failed({ ...computation.progress, failure: text }));
    this.#tidy(() => computation.job.purge());
  }

  #tidy(work: () => void): void {
    try {
      work();
    } catch (thrown) {
      this.#parts.telemetry.log("error", asCocosError(thrown).message);
    }
  }
}
