// One job from request to result: check, install, run, count what it left. The request comes from
// the agent, the files from parties, and neither is trusted with a path.
import { asCocosError, CocosError, type Logger, messageOf } from "../base/mod.ts";
import type {
  FinishedEvent,
  Limits,
  Outcome,
  Phase,
  RunnerEvent,
  RunRequest,
  Usage,
} from "../proto/runner/mod.ts";
import { MAX_MESSAGE, MAX_OUTPUT_CHUNK } from "../proto/runner/mod.ts";
import type { Command, Execution, Facilities, Job, Launch, Runtime, Verdict } from "./contract.ts";
import { WORLD } from "./contract.ts";
import { driverOf } from "./drivers.ts";
import {
  type Ending,
  type Groups,
  type JobGroup,
  killProcesses,
  normaliseResults,
  OutputGate,
  type ResultsCount,
  SandboxProcess,
} from "./sandbox/mod.ts";

/** What jobs need of their runner. */
export interface Workshop {
  /** Root of the work area. */
  readonly work: string;
  readonly bwrap: string;
  readonly groups: Groups;
  readonly facilities: Facilities;
  readonly defaults: Limits;
  /** Inherited descriptors to hide, found by the self-test. */
  readonly leaked: readonly number[];
  readonly log: Logger;
}

/** Sends an event; answers false when it couldn't be queued (output only). */
export type Emit = (event: RunnerEvent) => boolean;

/** Name of an installation directory; the runner removes left ones when it starts. */
export const SITE_PREFIX = "site-";

const NOTHING: ResultsCount = {
  files: 0,
  bytes: 0,
  directories: 0,
  skipped: 0,
  tooDeep: 0,
  unnameable: 0,
};

/** Runs a job. Never throws: whatever goes wrong is an outcome. */
export async function runJob(
  request: RunRequest,
  shop: Workshop,
  emit: Emit,
  signal: AbortSignal,
): Promise<FinishedEvent> {
  const run = new Run(request, shop, emit, signal);
  const verdict = await run.go();
  return {
    type: "finished",
    outcome: verdict.outcome,
    ...(verdict.code === undefined ? {} : { code: verdict.code }),
    ...(verdict.signal === undefined ? {} : { signal: verdict.signal }),
    usage: run.usage(),
    message: verdict.message.slice(0, MAX_MESSAGE),
  };
}

class Run {
  readonly #request: RunRequest;
  readonly #shop: Workshop;
  readonly #emit: Emit;
  readonly #signal: AbortSignal;
  readonly #started = performance.now();
  readonly #limits: Limits;
  readonly #gate: OutputGate;
  readonly #job: Job;
  #group: JobGroup | undefined;
  #counted = { cpuMs: 0, peakBytes: 0, oomKills: 0, forksRefused: 0 };
  #results: ResultsCount = NOTHING;
  #process: Execution | undefined;
  /** Why we ended it, if we did. */
  #cut: "stopped" | "timeout" | undefined;

  constructor(request: RunRequest, shop: Workshop, emit: Emit, signal: AbortSignal) {
    this.#request = request;
    this.#shop = shop;
    this.#emit = emit;
    this.#signal = signal;
    this.#limits = { ...shop.defaults, ...request.limits };
    this.#gate = new OutputGate(this.#limits.outputBytes, this.#started);
    this.#job = {
      id: request.job,
      directory: `${shop.work}/${request.job}`,
      pythonRuntime: request.pythonRuntime,
      args: request.args,
      limits: this.#limits,
      hasRequirements: request.hasRequirements,
      mode: request.mode ?? "strict",
      site: `${shop.work}/${SITE_PREFIX}${request.job}`,
    };
  }

  usage(): Usage {
    return {
      wallMs: Math.round(performance.now() - this.#started),
      cpuMs: this.#counted.cpuMs,
      peakBytes: this.#counted.peakBytes,
      outputBytes: this.#gate.seen,
      resultsFiles: this.#results.files,
      resultsBytes: this.#results.bytes,
    };
  }

  async go(): Promise<Verdict> {
    const cut = (why: "stopped" | "timeout") => () => {
      this.#cut ??= why;
      this.#process?.kill();
    };
    const onStop = cut("stopped");
    const deadline = setTimeout(cut("timeout"), this.#limits.wallSeconds * 1000);
    this.#signal.addEventListener("abort", onStop);
    if (this.#signal.aborted) onStop();
    try {
      return await this.#steps();
    } catch (thrown) {
      const error = asCocosError(thrown);
      this.#shop.log.error("job failed", { job: this.#job.id, error: messageOf(thrown) });
      const outcome = error.code === "invalid-argument" ? "refused" : "start-failed";
      return { outcome, message: error.message };
    } finally {
      clearTimeout(deadline);
      this.#signal.removeEventListener("abort", onStop);
      await this.#cleanUp();
    }
  }

  async #steps(): Promise<Verdict> {
    let driver: Runtime;
    let installation: Command | undefined;
    try {
      refuseEgress(this.#request);
      driver = driverOf(this.#request.kind);
      await checkDirectory(this.#job);
      installation = await driver.prepare(this.#job, this.#shop.facilities);
    } catch (thrown) {
      return { outcome: "refused", message: asCocosError(thrown).message };
    }
    this.#group = this.#shop.groups.create(this.#job.id, this.#limits);
    if (installation !== undefined) {
      const ended = this.#judge(await this.#phase("install", installation), driver);
      if (ended.outcome === "exit") {
        return {
          outcome: "install-failed",
          message: `Cannot install the requirements: ${ended.message}`,
        };
      }
      if (ended.outcome !== "ok") return ended;
      await this.#countResults(this.#job.site);
    }
    const command = driver.command(this.#job, this.#shop.facilities);
    const verdict = this.#judge(await this.#phase("run", command), driver);
    const over = await this.#countResults(`${this.#job.directory}/results`);
    return verdict.outcome === "ok" && over !== undefined ? over : verdict;
  }

  /** How a command is started: by bubblewrap. */
  #inSandbox({ program, args, binds }: Command): Launch {
    const { bwrap, leaked } = this.#shop;
    const { tmpBytes } = this.#limits;
    return ({ group, onOutput }) =>
      new SandboxProcess(
        { program, args, binds, cwd: WORLD, tmpBytes },
        { bwrap, group, leaked, onOutput },
      );
  }

  async #phase(phase: Phase, command: Command | Launch): Promise<Ending> {
    if (this.#cut !== undefined) return { kind: "killed" };
    const launch = typeof command === "function" ? command : this.#inSandbox(command);
    this.#process = launch({
      group: this.#group as JobGroup,
      onOutput: (stream, bytes) => this.#onOutput(phase, stream, bytes),
      kill: (pids) => killProcesses(this.#shop.bwrap, pids),
      log: this.#shop.log,
    });
    if (this.#cut !== undefined) this.#process.kill();
    const process = this.#process;
    try {
      if (await process.released) {
        this.#emit({
          type: "started",
          phase,
          confinement: this.#shop.groups.confinement,
          limits: this.#limits,
        });
      }
    } finally {
      await process.ended;
      this.#tellDropped();
    }
    return await process.ended;
  }

  #onOutput(phase: Phase, stream: "stdout" | "stderr", bytes: Uint8Array): "go-on" | "slow-down" {
    const pass = this.#gate.take(bytes.length, performance.now());
    if (pass > 0) this.#tellDropped();
    for (let at = 0; at < pass; at += MAX_OUTPUT_CHUNK) {
      const data = bytes.subarray(at, Math.min(pass, at + MAX_OUTPUT_CHUNK));
      if (!this.#emit({ type: "output", phase, stream, data })) this.#gate.drop(data.length);
    }
    return pass === bytes.length ? "go-on" : "slow-down";
  }

  #tellDropped(): void {
    const bytes = this.#gate.takeDropped();
    if (bytes > 0) this.#emit({ type: "dropped", bytes });
  }

  /** The driver's verdict, unless something other than the program ended it. */
  #judge(ending: Ending, driver: Runtime): Verdict {
    const verdict = driver.collect(ending, this.#job);
    this.#counted = this.#group?.usage() ?? this.#counted;
    if (verdict.outcome === "ok") return verdict;
    if (this.#cut === "stopped") return { outcome: "stopped", message: "stopped" };
    if (this.#cut === "timeout") {
      return { outcome: "timeout", message: `over the time of ${this.#limits.wallSeconds} s` };
    }
    if (this.#counted.oomKills > 0 || (ending.kind === "exit" && ending.oom === true)) {
      return { outcome: "oom", message: `over the memory of ${this.#limits.memoryBytes} bytes` };
    }
    const { forksRefused } = this.#counted;
    return forksRefused === 0 ? verdict : {
      ...verdict,
      message: `${verdict.message}; over ${this.#limits.processes} processes ${forksRefused} times`,
    };
  }

  /** Normalises a directory a job wrote; answers a verdict if it is over a limit. */
  async #countResults(path: string): Promise<Verdict | undefined> {
    const count = await normaliseResults(path);
    if (path === this.#job.site) return undefined;
    this.#results = count;
    const over = (outcome: Outcome, message: string): Verdict => ({ outcome, message });
    if (count.bytes > this.#limits.resultsBytes) {
      return over("limit", `results of ${count.bytes} bytes, over ${this.#limits.resultsBytes}`);
    }
    const entries = count.files + count.directories + count.skipped + count.unnameable;
    if (entries > this.#limits.resultsFiles) {
      return over("limit", `${entries} entries in results, over ${this.#limits.resultsFiles}`);
    }
    if (count.tooDeep > 0) return over("limit", "results in directories nested too deep");
    if (count.unnameable > 0) return over("limit", "results whose names aren't UTF-8");
    return undefined;
  }

  async #cleanUp(): Promise<void> {
    try {
      if (this.#group !== undefined) {
        this.#counted = this.#group.usage();
        await removeGroup(this.#group);
      }
      removeSite(this.#job.site);
    } catch (error) {
      this.#shop.log.error("clean-up failed", { job: this.#job.id, error: messageOf(error) });
    }
  }
}

/** A group may stay busy for a moment after its last process has been reaped. */
async function removeGroup(group: JobGroup): Promise<void> {
  for (let tries = 0;; tries++) {
    try {
      return group.remove();
    } catch (error) {
      if (tries === 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Removes an installation and its requirements file, if they are there. */
export function removeSite(site: string): void {
  for (const path of [site, `${site}.txt`]) {
    try {
      Deno.removeSync(path, { recursive: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** No installer here has a network: what a manifest allows beyond that is not silently left out. */
function refuseEgress({ egress = [] }: RunRequest): void {
  if (egress.length === 0) return;
  throw new CocosError(
    "not-supported",
    `This runner has no network to grant, and the manifest names ${egress.join(", ")}`,
  );
}

/** The job's directory must be what the contract says, made of nothing but real directories. */
async function checkDirectory(job: Job): Promise<void> {
  const need = async (path: string, kind: "isFile" | "isDirectory") => {
    let info: Deno.FileInfo;
    try {
      info = await Deno.lstat(`${job.directory}${path}`);
    } catch (cause) {
      throw new CocosError("not-found", `The job has no ${path.slice(1) || "directory"}`, {
        cause,
      });
    }
    if (!info[kind]) {
      throw new CocosError(
        "invalid-argument",
        `The job's ${path.slice(1)} isn't what it should be`,
      );
    }
  };
  await need("", "isDirectory");
  await need("/algo", "isFile");
  await need("/datasets", "isDirectory");
  await need("/results", "isDirectory");
  if (job.hasRequirements) await need("/requirements", "isDirectory");
}
