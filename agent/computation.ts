// One computation: its manifest, its folder, its progress and what is under way for it. Changes of
// state are agent.ts's; this only answers who may do what next.
import { CocosError } from "../base/mod.ts";
import { Broken } from "./broken.ts";
import { Challenges } from "./challenges.ts";
import { type AlgorithmRecord, type DatasetRecord, NO_PROGRESS, type Progress } from "./journal.ts";
import { fold } from "./labels.ts";
import type { DatasetItem, Manifest, PartyKey } from "./manifest.ts";
import { Output } from "./output.ts";
import { allReceived, badName, foreignDataset, stopped, undeclaredDataset } from "./refusals.ts";
import type { Job } from "./work.ts";

/** Uploads one party may have open beyond those it still owes (threats G-9, G-10). */
const SPARE_UPLOADS = 2;

/** A computation between its manifest and its stop. */
export class Computation {
  readonly manifest: Manifest;
  /** The manifest as it came, for the journal. */
  readonly bytes: Uint8Array;
  readonly job: Job;
  /** Challenges of this computation's front door; a restarted agent knows none of them. */
  readonly challenges = new Challenges();
  /** Uploads that broke off and may go on. */
  readonly broken = new Broken();
  progress: Progress;
  #output: Output | undefined;
  /** The run that is under way; it never rejects. */
  run: Promise<void> = Promise.resolve();
  readonly #over = new AbortController();
  readonly #served = new AbortController();
  readonly #uploads = new Map<string, number>();

  constructor(manifest: Manifest, bytes: Uint8Array, job: Job, progress: Progress = NO_PROGRESS) {
    this.manifest = manifest;
    this.bytes = bytes;
    this.job = job;
    this.progress = progress;
  }

  /**
   * What the last run prints; absent before it, and after everything was purged.
   */
  get output(): Output | undefined {
    return this.#output;
  }

  /** Output of a run that begins; `tell` gets the lines the server may see. */
  freshOutput(tell: ((line: string) => void) | undefined): Output {
    const keeps = this.manifest.logReaders.some((reader) => reader !== "server");
    return this.#output = new Output({ keeps, ...(tell === undefined ? {} : { tell }) });
  }

  /** Fires when the computation is stopped. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Fires when results are no longer given out. */
  get serving(): AbortSignal {
    return AbortSignal.any([this.#over.signal, this.#served.signal]);
  }

  /** Whether it was stopped. */
  get over(): boolean {
    return this.#over.signal.aborted;
  }

  /** Ends everything that is under way. */
  cancel(): void {
    this.#over.abort(stopped());
    this.broken.end();
  }

  /** Ends fetches of results that go on after the last consumer had everything. */
  endServing(): void {
    this.#output = undefined;
    this.#served.abort(new CocosError("conflict", "the results were purged meanwhile"));
  }

  /** Counts an upload of a party in; the returned function counts it out. */
  enter(party: PartyKey, owed: number): () => void {
    const open = this.#uploads.get(party.id) ?? 0;
    if (open >= owed + SPARE_UPLOADS) {
      throw new CocosError("exhausted", `Cannot take more than ${open} uploads of a party at once`);
    }
    this.#uploads.set(party.id, open + 1);
    return () => this.#uploads.set(party.id, (this.#uploads.get(party.id) ?? 1) - 1);
  }

  /** Whether the algorithm is in. */
  get hasAlgorithm(): boolean {
    return this.progress.algorithm !== undefined;
  }

  /** Datasets that are not in yet. */
  get missing(): readonly DatasetItem[] {
    const received = new Set(this.progress.datasets.map(({ index }) => index));
    return this.manifest.datasets.filter(({ index }) => !received.has(index));
  }

  /**
   * The item, when it is still missing.
   *
   * @throws {CocosError} `conflict`.
   */
  expected(item: DatasetItem): DatasetItem {
    if (!this.missing.includes(item)) throw allReceived();
    return item;
  }

  /**
   * The item an upload of these bytes is for, in compat, where a request doesn't say it.
   *
   * @param open items that were missing when the upload began
   * @throws {CocosError} as the Go agent (wire.md §4.5), and `permission-denied` for an item of
   * another party (threats G-4).
   */
  itemFor(
    digest: string,
    filename: string,
    owner: PartyKey,
    open: readonly DatasetItem[],
  ): DatasetItem {
    const same = open.filter((item) => item.digest === digest);
    if (same.length === 0) throw undeclaredDataset();
    const mine = same.filter((item) => item.owner.id === owner.id);
    if (mine.length === 0) throw foreignDataset();
    const missing = new Set(this.missing);
    const left = mine.filter((item) => missing.has(item));
    if (left.length === 0) throw allReceived();
    const item = left.find((each) => each.filename === filename) ??
      left.find((each) => each.filename === "");
    if (item === undefined) throw badName();
    return item;
  }

  /**
   * Refuses names that an unpacked archive may not put beside the datasets (threats F-2).
   *
   * @throws {CocosError} `invalid-archive`.
   */
  checkNames(names: readonly string[], item: DatasetItem): void {
    const taken = new Set([
      ...this.progress.datasets.flatMap((dataset) => dataset.names.map(fold)),
      ...this.manifest.datasets.filter((each) => each !== item)
        .map(({ storedName }) => fold(storedName)),
    ]);
    const twin = names.find((name) => taken.has(fold(name)));
    if (twin !== undefined) {
      throw new CocosError(
        "invalid-archive",
        `error decompressing dataset: ${JSON.stringify(twin)} is the name of another dataset`,
      );
    }
  }

  /** Progress with the algorithm in. */
  withAlgorithm(algorithm: AlgorithmRecord): Progress {
    return { ...this.progress, algorithm };
  }

  /** Progress with one more dataset in. */
  withDataset(dataset: DatasetRecord): Progress {
    return { ...this.progress, datasets: [...this.progress.datasets, dataset] };
  }

  /** Progress with one more consumer served; the same for one that was before. */
  withConsumer(index: number): Progress {
    if (this.progress.consumed.includes(index)) return this.progress;
    return { ...this.progress, consumed: [...this.progress.consumed, index] };
  }
}
