// One run of an algorithm, from the runner's job to packed results. The algorithm and its output are
// hostile: what it prints, and what it decides of its own end, goes where the manifest's log policy
// says, and nowhere else (threats S-6, O-7).
import { asCocosError, CocosError } from "../base/mod.ts";
import type { FinishedEvent, LogReader } from "../proto/mod.ts";
import type { Computation } from "./computation.ts";
import type { Mode } from "./config.ts";
import type { Progress } from "./journal.ts";
import { type Packed, packResults, RESULT_LIMITS } from "./results.ts";
import { EXIT_CLASS, type Failure, failureOf, type Runner } from "./runner.ts";
import type { Telemetry } from "./telemetry.ts";

/** Times a run is begun at most: an interrupted one starts again once (threats C-1). */
export const MAX_RUNS = 2;

/** What a run works on and whom it tells. */
export interface RunParts {
  readonly computation: Computation;
  readonly runner: Runner;
  readonly telemetry: Telemetry;
  /** Whose rules hold where those of the Go programs differ. */
  readonly mode: Mode;
  /** The run was counted. */
  begun(progress: Progress): void;
  /** Results are packed. */
  complete(progress: Progress): void;
  /** There will be no results. */
  failed(progress: Progress): void;
  /** Does a removal, and tells it when it fails. */
  purge(remove: () => void): void;
}

/** A run; it begins when it is made. */
export class Run {
  readonly #parts: RunParts;
  readonly #finished: Promise<void>;
  #end: FinishedEvent | undefined;

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
      // A text that isn't ours may hold anything.
      const text = thrown instanceof CocosError
        ? thrown.message
        : "algorithm execution error: internal error";
      this.#fail({ text, kind: text });
    }
  }

  async #execute(): Promise<void> {
    const { computation, telemetry } = this.#parts;
    const failure = await this.#attempts();
    if (computation.signal.aborted) return;
    if (failure !== undefined) {
      this.#fail(failure);
      return;
    }
    const { job } = computation;
    const packed = await this.#packed();
    if (packed === undefined) return;
    if (packed.skipped > 0) {
      const count = this.#seenBy("server") ? `${packed.skipped} things` : "things";
      telemetry.log("warn", `results: left out ${count} that are no plain files`);
    }
    computation.signal.throwIfAborted();
    telemetry.event("Running", "Completed", this.#usage("ok"));
    const { size, digest } = packed;
    this.#parts.complete({ ...computation.progress, results: { size, digest } });
    this.#parts.purge(() => job.removeInputs());
  }

  /** The results in their archive; `undefined` where they can't be packed and the run has failed. */
  async #packed(): Promise<Packed | undefined> {
    const { job, signal } = this.#parts.computation;
    try {
      return await packResults(job.results, job.archive, RESULT_LIMITS, signal);
    } catch (thrown) {
      signal.throwIfAborted();
      // The text may quote a name the algorithm chose: for consumers, not for the server (S-6).
      const { code, message } = asCocosError(thrown);
      this.#fail({ text: message, kind: `error packing results: ${code}` });
      return undefined;
    }
  }

  /** Runs the job, once more when the runner died under it; gives why it failed. */
  async #attempts(): Promise<Failure | undefined> {
    const { computation, runner, telemetry } = this.#parts;
    const { job, manifest, progress: { algorithm }, signal } = computation;
    if (algorithm === undefined) throw new CocosError("internal", "no algorithm is there");
    let reason = "the run was interrupted";
    while (true) {
      signal.throwIfAborted();
      const { runs } = computation.progress;
      if (runs >= MAX_RUNS) {
        throw new CocosError("run-failed", `algorithm execution error: ${reason}`);
      }
      this.#parts.begun({ ...computation.progress, runs: runs + 1 });
      const output = computation.freshOutput(
        this.#seenBy("server") ? (line) => telemetry.printed(line) : undefined,
      );
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
            mode: this.#parts.mode,
            limits: manifest.limits.runner,
            ...(manifest.egress.length === 0 ? {} : { egress: manifest.egress }),
          },
          {
            started: ({ confinement }) => {
              if (confinement === "insecure-none") {
                telemetry.log("warn", "insecure: the run has no memory and process limits");
              }
            },
            output: (stream, data) => {
              output.take(stream, data);
              // That something was written there is the algorithm's word as well; the seed's wire
              // says it all the same, ours sends the lines to whom they are for.
              if (stream === "stderr" && manifest.agreement === undefined) telemetry.warning();
            },
            dropped: (bytes) => output.drop(bytes),
          },
          signal,
        );
        output.end();
        this.#end = finished;
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
    telemetry.event("Running", "Failed", this.#usage("failed"));
    this.#parts.failed({ ...computation.progress, failure: text });
    this.#parts.purge(() => computation.job.purge());
  }

  #seenBy(reader: LogReader): boolean {
    return this.#parts.computation.manifest.logReaders.includes(reader);
  }

  /**
   * What the run used, for the server's event in strict. How much it used is the algorithm's to choose,
   * so that a server that may not see output is told only the next power of two: a few bits a run.
   */
  #usage(end: "ok" | "failed"): Record<string, unknown> | undefined {
    if (this.#parts.computation.manifest.agreement === undefined) return undefined;
    if (this.#end === undefined) return { exit: "failed" };
    const { outcome, usage: { wallMs, cpuMs, peakBytes, outputBytes, resultsBytes } } = this.#end;
    const shown = this.#seenBy("server") ? (value: number) => value : nextPowerOfTwo;
    return {
      // A run that ended well has failed all the same when its results can't be packed.
      exit: outcome === "ok" ? end : EXIT_CLASS[outcome],
      wallMs: shown(wallMs),
      cpuMs: shown(cpuMs),
      peakBytes: shown(peakBytes),
      outputBytes: shown(outputBytes),
      resultsBytes: shown(resultsBytes),
    };
  }
}

function nextPowerOfTwo(value: number): number {
  return value <= 0 ? 0 : 2 ** Math.ceil(Math.log2(value));
}
