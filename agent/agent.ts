// The life of computations, one after another: every transition goes through the table, into the
// journal and out as an event, in this order and in one step (threats R6, C-1). No input of any side
// ends the agent (R2).
import { asCocosError, CocosError, type ErrorCode, formatDuration } from "../base/mod.ts";
import type { CallRecord } from "../proto/mod.ts";
import { Computation } from "./computation.ts";
import type { AgentConfig } from "./config.ts";
import { type Door, openDoor } from "./door.ts";
import { front } from "./front.ts";
import { type AlgorithmRecord, Journal, type Progress } from "./journal.ts";
import { type DatasetItem, manifestDigest, readManifest } from "./manifest.ts";
import { recovered } from "./recovery.ts";
import { allReceived, stopped, wrongState } from "./refusals.ts";
import { exists, type IncomingFile } from "./receive.ts";
import { Run } from "./run.ts";
import type { Runner } from "./runner.ts";
import type { Accepted, Commands } from "./session.ts";
import { type Event, next, type State } from "./states.ts";
import type { EventStatus, Telemetry } from "./telemetry.ts";
import { removeAll, type WorkArea } from "./work.ts";

/** How long calls may go on after a stop (wire.md §4.7). */
const CLOSE_MS = 5_000;

/** Event a state begins with (wire.md §4.2); `Running` has several, which run.ts sends. */
const ENTERED: Partial<Record<State, EventStatus>> = {
  ReceivingAlgorithm: "InProgress",
  ReceivingData: "InProgress",
  ConsumingResults: "Ready",
  Complete: "Completed",
  Failed: "Failed",
};

/**
 * What the log, and so the server, is told where the whole text is a party's: what the algorithm decided
 * about its end, and names in an archive (threats S-6, R7).
 */
const UNTOLD: Partial<Record<ErrorCode, string>> = {
  "run-failed": "the run failed",
  "invalid-archive": "error decompressing dataset: the archive is not acceptable",
};

/** What an agent is made of. */
export interface AgentParts {
  readonly config: AgentConfig;
  readonly area: WorkArea;
  readonly runner: Runner;
  readonly telemetry: Telemetry;
}

/** What a dataset is committed from: its file, or the folder an archive was unpacked into. */
export type DatasetContent =
  | { readonly file: IncomingFile }
  | { readonly folder: string; readonly names: readonly string[]; readonly tree: string };

/** The agent. */
export class Agent implements Commands, AsyncDisposable {
  readonly #parts: AgentParts;
  readonly #journal: Journal;
  #state: State = "Idle";
  #computation: Computation | undefined;
  #door: Door | undefined;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    this.#journal = new Journal(parts.area);
  }

  get state(): State {
    return this.#state;
  }

  /** Port of the front door while it is open. */
  get port(): number | undefined {
    return this.#door?.server.port;
  }

  /** Most bytes of one upload where the manifest declares no size (threats §3). */
  get maxUploadBytes(): number {
    return this.#parts.config.vars.AGENT_MAX_UPLOAD_BYTES;
  }

  /** Most bytes of an upload of this declared size. */
  most(declared: number | undefined): number {
    return Math.min(declared ?? Infinity, this.maxUploadBytes);
  }

  /**
   * Comes up: goes on with a computation that was interrupted, if all it needs is whole, else
   * removes every trace of it; then waits for a manifest (threats C-1, F-8).
   */
  async start(): Promise<void> {
    const { area, telemetry } = this.#parts;
    const found = await recovered(this.#journal, area, this.#parts.config.mode);
    this.#purge(() => {
      const removed = area.sweep(found.computation?.job.id);
      if (removed.length > 0) telemetry.log("warn", `removed ${removed.length} leftovers`);
    });
    if (found.computation === undefined) {
      this.#journal.write({ state: "Idle" });
      if (found.interrupted !== undefined) {
        telemetry.log("error", `interrupted computation was purged: ${found.interrupted}`);
        telemetry.event("interrupted", "Terminated");
      }
      this.#move("Start");
      return;
    }
    const computation = found.computation;
    telemetry.computationId = computation.manifest.id;
    await this.#open(computation);
    this.#computation = computation;
    this.#state = found.state;
    telemetry.log("warn", `interrupted computation goes on in state ${found.state}`);
    telemetry.event("interrupted", "InProgress", this.#terms());
    this.#announce();
    if (found.state === "Running") this.#startRun(computation);
  }

  /**
   * Takes a manifest and opens the front door for it. Either all of it happens, or nothing.
   *
   * @returns the computation's id, and the key of its door
   * @throws {CocosError} `wrong-state`, or why the manifest can't be taken.
   */
  async accept(bytes: Uint8Array): Promise<Accepted> {
    const started = performance.now();
    const { area, telemetry } = this.#parts;
    if (this.#state !== "ReceivingManifest") throw wrongState();
    const manifest = readManifest(bytes, this.#parts.config.mode);
    const computation = new Computation(manifest, bytes, area.newJob());
    try {
      area.sweep();
      computation.job.create();
      await this.#open(computation);
      this.#computation = computation;
      telemetry.computationId = manifest.id;
      this.#move("ManifestReceived");
    } catch (thrown) {
      this.#computation = undefined;
      telemetry.computationId = "";
      await this.#close();
      computation.job.purge();
      throw thrown;
    }
    if (manifest.unknownFields.length > 0) {
      telemetry.log("warn", `manifest has unknown fields: ${manifest.unknownFields.join(", ")}`);
    }
    const digest = manifest.agreement?.digest ?? manifestDigest(manifest);
    telemetry.log("info", `manifest digest ${digest}`);
    telemetry.log(
      "info",
      `Method InitComputation for computation id ${manifest.id} took ` +
        `${formatDuration(performance.now() - started)} to complete without errors`,
    );
    return { id: manifest.id, doorKey: this.#door?.key ?? "" };
  }

  /** Ends the computation, if there is one, and purges it; then waits for the next manifest. */
  async stop(): Promise<void> {
    const started = performance.now();
    const { telemetry, area } = this.#parts;
    telemetry.event("Stopped", "Stopped");
    const computation = this.#computation;
    computation?.cancel();
    this.#computation = undefined;
    await Promise.all([this.#close(), computation?.run]);
    const failure = this.#purge(() => area.sweep());
    telemetry.log(
      "info",
      `Method StopComputation took ${formatDuration(performance.now() - started)} to complete ` +
        (failure === undefined ? "without errors" : `with error: ${failure.message}.`),
    );
    this.#moveAnyway("Stop");
    telemetry.computationId = "";
    this.#moveAnyway("Start");
    if (failure !== undefined) throw failure;
  }

  /** The computation calls at the front door belong to. */
  current(): Computation {
    if (this.#computation === undefined) throw stopped();
    return this.#computation;
  }

  /** Refuses a call that comes in another state or for a computation that is over. */
  expect(computation: Computation, state: State): void {
    if (this.#computation !== computation) throw stopped();
    if (this.#state !== state) throw wrongState();
  }

  /** Makes an algorithm whose digest was right part of the computation; one of several wins (G-9). */
  commitAlgorithm(
    computation: Computation,
    program: IncomingFile,
    requirements: string | undefined,
    record: AlgorithmRecord,
    mode: number,
  ): void {
    const { job } = computation;
    if (this.#computation !== computation) throw stopped();
    if (computation.hasAlgorithm) throw allReceived();
    this.expect(computation, "ReceivingAlgorithm");
    try {
      if (requirements !== undefined) Deno.renameSync(requirements, job.requirements);
      program.keep(job.algorithm, mode);
      this.#move("AlgorithmReceived", computation.withAlgorithm(record));
    } catch (thrown) {
      removeAll(job.requirements);
      removeAll(job.algorithm);
      throw thrown;
    }
  }

  /** Makes a dataset part of the computation; `find` names the item, or refuses. */
  commitDataset(computation: Computation, find: () => DatasetItem, content: DatasetContent): void {
    const { datasets } = computation.job;
    if (this.#computation !== computation) throw stopped();
    const item = find();
    this.expect(computation, "ReceivingData");
    const names = "file" in content ? [item.storedName] : content.names;
    if (!("file" in content)) computation.checkNames(names, item);
    const placed: string[] = [];
    try {
      for (const name of names) {
        const place = `${datasets}/${name}`;
        if ("file" in content) content.file.keep(place, 0o640);
        else if (exists(place)) throw new CocosError("io", "error creating dataset file: EEXIST");
        else Deno.renameSync(`${content.folder}/${name}`, place);
        placed.push(place);
      }
      const { index } = item;
      const progress = computation.withDataset(
        "file" in content ? { index, names } : { index, names, tree: content.tree },
      );
      if (computation.missing.length === 1) this.#move("DataReceived", progress);
      else this.#record(computation, progress);
    } catch (thrown) {
      for (const place of placed) removeAll(place);
      throw thrown;
    }
  }

  /** A consumer has received everything; the last one completes the computation. */
  consumed(computation: Computation, consumer: number): void {
    if (this.#computation !== computation || this.#state !== "ConsumingResults") return;
    const progress = computation.withConsumer(consumer);
    try {
      if (progress.consumed.length < computation.manifest.consumers.length) {
        this.#record(computation, progress);
        return;
      }
      this.#move("ResultsConsumed", progress);
      computation.endServing();
      this.#purge(() => computation.job.purge());
    } catch (thrown) {
      this.#parts.telemetry.log("error", asCocosError(thrown).message);
    }
  }

  /**
   * Removes what must be gone. What can't be is told and stays known: every manifest begins with the
   * same removal and is refused while it fails (threats Z-4).
   */
  #purge(remove: () => void): CocosError | undefined {
    const { telemetry } = this.#parts;
    try {
      remove();
      return undefined;
    } catch (thrown) {
      const error = asCocosError(thrown);
      telemetry.log("error", `purge failed: ${error.message}`);
      telemetry.event("Purge", "Failed");
      return error;
    }
  }

  /**
   * Moves although the journal can't be written: what ended the state before has happened, and an
   * agent that stayed in it would be stuck (threats F-6). `makeRoom` is tried first, as a full disk is
   * a reason to fail. A later life otherwise finds the older entry, and inputs that are gone.
   */
  #moveAnyway(event: Event, progress?: Progress, makeRoom?: () => void): void {
    try {
      this.#move(event, progress);
    } catch (thrown) {
      if (makeRoom !== undefined) {
        this.#purge(makeRoom);
        return this.#moveAnyway(event, progress);
      }
      const { telemetry } = this.#parts;
      telemetry.log("error", `the journal is behind: ${asCocosError(thrown).message}`);
      const computation = event === "Stop" ? undefined : this.#computation;
      const state = next(this.#state, event, {
        datasets: (computation?.manifest.datasets.length ?? 0) > 0,
      });
      if (state === undefined) throw thrown;
      if (computation !== undefined && progress !== undefined) computation.progress = progress;
      this.#state = state;
      this.#announce();
    }
  }

  /** Moves by the table: journal first, then memory, then the event. */
  #move(event: Event, progress?: Progress): void {
    const computation = event === "Stop" ? undefined : this.#computation;
    const state = next(this.#state, event, {
      datasets: (computation?.manifest.datasets.length ?? 0) > 0,
    });
    if (state === undefined) throw wrongState();
    this.#write(state, computation, progress);
    this.#state = state;
    this.#announce();
    if (state === "Running" && computation !== undefined) this.#startRun(computation);
  }

  #record(computation: Computation, progress: Progress): void {
    this.#write(this.#state, computation, progress);
  }

  #write(state: State, computation: Computation | undefined, progress?: Progress): void {
    this.#journal.write({
      state,
      ...(computation === undefined ? {} : {
        computation: {
          job: computation.job.id,
          mode: this.#parts.config.mode,
          manifest: computation.bytes,
          progress: progress ?? computation.progress,
        },
      }),
    });
    if (computation !== undefined && progress !== undefined) computation.progress = progress;
  }

  #announce(): void {
    const status = ENTERED[this.#state];
    const terms = this.#state === "ReceivingAlgorithm" ? this.#terms() : undefined;
    if (status !== undefined) this.#parts.telemetry.event(this.#state, status, terms);
  }

  /** What everybody should see of how the computation is protected (threats G-18). */
  #terms(): Record<string, string> {
    const { mode } = this.#parts.config;
    const manifest = this.#computation?.manifest;
    const door = this.#door?.server.protection === "none" ? "insecure" : "tls";
    return {
      mode,
      channel: manifest?.door.channel ?? door,
      ...(manifest?.agreement === undefined ? {} : { manifest: manifest.agreement.digest }),
      ...(this.#door?.key === undefined ? {} : { doorKey: this.#door.key }),
    };
  }

  #startRun(computation: Computation): void {
    const run = new Run({
      computation,
      runner: this.#parts.runner,
      telemetry: this.#parts.telemetry,
      mode: this.#parts.config.mode,
      begun: (progress) => this.#record(computation, progress),
      complete: (progress) => this.#move("RunComplete", progress),
      failed: (progress) => this.#moveAnyway("RunFailed", progress, () => computation.job.purge()),
      purge: (remove) => void this.#purge(remove),
    });
    computation.run = run.finished();
  }

  async #open(computation: Computation): Promise<void> {
    const { config, telemetry } = this.#parts;
    const services = front(this, config.mode);
    const door = computation.manifest.door;
    this.#door = await openDoor(config, door, services, (record) => this.#called(record));
    telemetry.log("info", this.#door.text);
    if (this.#door.ignored !== undefined) telemetry.log("warn", this.#door.ignored);
    if (this.#door.server.protection === "none") {
      telemetry.log("warn", "insecure: the front door has no TLS, as the manifest asks");
    }
  }

  async #close(): Promise<void> {
    const door = this.#door;
    this.#door = undefined;
    if (door === undefined) return;
    await door.server.close(CLOSE_MS);
    const { host, port } = door.server;
    this.#parts.telemetry.log("info", `agent gRPC service shutdown at ${host}:${port}`);
  }

  #called({ method, ms, error }: CallRecord): void {
    const name = method.split("/").at(-1);
    const quiet = /^\/cocos\.agent\.v1\.PartyService\/(Manifest|Challenge)$/.test(method);
    if (quiet || !/^\/(cocos\.)?agent\./.test(method)) return;
    const text = error === undefined ? undefined : UNTOLD[error.code] ?? error.message;
    this.#parts.telemetry.log(
      error === undefined ? "info" : "warn",
      `Method ${name} took ${formatDuration(ms)} to complete ` +
        (text === undefined ? "without errors" : `with error: ${text}.`),
    );
  }

  /** Ends what is open; the journal stays, so that the next process goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#computation?.cancel();
    await Promise.all([this.#close(), this.#computation?.run]);
  }
}
