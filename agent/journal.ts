// Where a computation stands, on disk: what a killed agent finds when it comes back (threats C-1,
// C-2). One JSON file, replaced by rename, so that it is the previous or the next version, never a mix.
import { CocosError, messageOf } from "../base/mod.ts";
import { isJobId, type Kind, KINDS } from "../proto/mod.ts";
import type { Mode } from "./config.ts";
import { readSmallFile } from "./envfile.ts";
import { MAX_MANIFEST_BYTES } from "./chunks.ts";
import { DISK, type Disk, replaceFile } from "./replace.ts";
import { isState, type State } from "./states.ts";
import { JOURNAL, reasonOf, type WorkArea } from "./work.ts";

/** The algorithm that was committed; what the seed's wire carries in metadata. */
export interface AlgorithmRecord {
  readonly kind: Kind;
  readonly args: readonly string[];
  readonly pythonRuntime: string;
  /** Digest over the tree of `requirements/`; absent without requirements. */
  readonly requirements?: string;
}

/** One dataset that was committed. */
export interface DatasetRecord {
  readonly index: number;
  /** Names directly under `datasets/`. */
  readonly names: readonly string[];
  /** Digest over the trees of these names, when an archive was unpacked; else the file is the dataset. */
  readonly tree?: string;
}

/** The packed results. */
export interface ResultsRecord {
  readonly size: number;
  /** SHA3-256, lower-case hexadecimal. */
  readonly digest: string;
}

/** Everything beside the manifest that changes during a computation. */
export interface Progress {
  readonly algorithm?: AlgorithmRecord;
  readonly datasets: readonly DatasetRecord[];
  /** Times the run was begun. */
  readonly runs: number;
  readonly results?: ResultsRecord;
  /** Indexes of consumers that have received everything. */
  readonly consumed: readonly number[];
  /** Why the run failed, for the consumers. */
  readonly failure?: string;
}

/** One version of the journal. */
export interface Snapshot {
  readonly state: State;
  /** Absent before a manifest and after Stop. */
  readonly computation?: {
    readonly job: string;
    /** Mode of the agent that took it: none goes on in another one. */
    readonly mode: Mode;
    /** The serialized run request. */
    readonly manifest: Uint8Array;
    readonly progress: Progress;
  };
}

/** Progress of a computation that has just begun. */
export const NO_PROGRESS: Progress = Object.freeze({ datasets: [], runs: 0, consumed: [] });

const VERSION = 1;
/** The manifest in base64 and a tree digest per dataset. */
const MAX_JOURNAL_BYTES = MAX_MANIFEST_BYTES * 2;

/** Reads and writes the journal of one work area. */
export class Journal {
  readonly #path: string;
  readonly #root: string;
  readonly #disk: Disk;

  constructor(area: WorkArea, disk: Disk = DISK) {
    this.#root = area.root;
    this.#disk = disk;
    this.#path = `${area.root}/${JOURNAL}`;
  }

  /**
   * Replaces the journal. Synchronous: a transition and its record are one step for every other call.
   *
   * @throws {CocosError} `io`; the previous version is then still there.
   */
  write(snapshot: Snapshot): void {
    const { computation } = snapshot;
    const text = JSON.stringify({
      version: VERSION,
      state: snapshot.state,
      ...(computation === undefined ? {} : {
        computation: {
          ...computation,
          manifest: computation.manifest.toBase64(),
          progress: needed(snapshot.state, computation.progress),
        },
      }),
    });
    try {
      replaceFile(this.#root, JOURNAL, text, this.#disk);
    } catch (cause) {
      throw new CocosError("io", `Cannot write the journal: ${reasonOf(cause)}`, { cause });
    }
  }

  /**
   * The last version; `undefined` when there is none.
   *
   * @throws {CocosError} `data-loss` for a journal that is not of our making.
   */
  read(): Snapshot | undefined {
    try {
      Deno.lstatSync(this.#path);
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) return undefined;
      throw cause;
    }
    try {
      const bytes = readSmallFile(this.#path, MAX_JOURNAL_BYTES);
      return parse(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
    } catch (cause) {
      throw new CocosError("data-loss", `Cannot read the journal: ${messageOf(cause)}`, { cause });
    }
  }
}

/**
 * What a later life needs of the progress. Arguments and names of unpacked files are a party's: they go
 * when the inputs go, and after the last consumer even the digest of the results (threats Z-1).
 */
function needed(state: State, progress: Progress): Progress {
  const { algorithm: _, datasets: __, results, ...rest } = progress;
  switch (state) {
    case "ConsumingResults":
      return { ...rest, datasets: [], ...(results === undefined ? {} : { results }) };
    case "Complete":
    case "Failed":
      return { ...rest, datasets: [] };
    default:
      return progress;
  }
}

function parse(value: unknown): Snapshot {
  const top = record(value, "journal");
  if (top.version !== VERSION) throw new TypeError(`version must be ${VERSION}`);
  if (!isState(top.state)) throw new TypeError("state must be a state");
  if (top.computation === undefined) return { state: top.state };
  const computation = record(top.computation, "computation");
  const { job, mode, manifest } = computation;
  if (typeof job !== "string" || !isJobId(job)) throw new TypeError("job must be a job id");
  if (mode !== "strict" && mode !== "compat") throw new TypeError("mode must be a mode");
  if (typeof manifest !== "string") throw new TypeError("manifest must be base64");
  return {
    state: top.state,
    computation: {
      job,
      mode,
      manifest: Uint8Array.fromBase64(manifest),
      progress: parseProgress(record(computation.progress, "progress")),
    },
  };
}

function parseProgress(value: Record<string, unknown>): Progress {
  const { algorithm, results, failure } = value;
  return {
    ...(algorithm === undefined
      ? {}
      : { algorithm: parseAlgorithm(record(algorithm, "algorithm")) }),
    datasets: list(value.datasets, "datasets").map((each) => {
      const dataset = record(each, "dataset");
      return {
        index: count(dataset.index, "index"),
        names: list(dataset.names, "names").map((name) => {
          const text = string(name, "name");
          if (text === "" || text === "." || text === ".." || /[/\0]/.test(text)) {
            throw new TypeError("name must be one path component");
          }
          return text;
        }),
        ...(dataset.tree === undefined ? {} : { tree: string(dataset.tree, "tree") }),
      };
    }),
    runs: count(value.runs, "runs"),
    ...(results === undefined ? {} : { results: parseResults(record(results, "results")) }),
    consumed: list(value.consumed, "consumed").map((each) => count(each, "consumed")),
    ...(failure === undefined ? {} : { failure: string(failure, "failure") }),
  };
}

function parseAlgorithm(value: Record<string, unknown>): AlgorithmRecord {
  const kind = KINDS.find((each) => each === value.kind);
  if (kind === undefined) throw new TypeError("kind must be a kind of algorithm");
  return {
    kind,
    args: list(value.args, "args").map((each) => string(each, "argument")),
    pythonRuntime: string(value.pythonRuntime, "pythonRuntime"),
    ...(value.requirements === undefined
      ? {}
      : { requirements: string(value.requirements, "requirements") }),
  };
}

function parseResults(value: Record<string, unknown>): ResultsRecord {
  return { size: count(value.size, "size"), digest: string(value.digest, "digest") };
}

function record(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`${name} must be an object`);
  }
  return value as Record<string, unknown>;
}

function list(value: unknown, name: string): unknown[] {
  if (!Array.isArray(value)) throw new TypeError(`${name} must be a list`);
  return value;
}

function string(value: unknown, name: string): string {
  if (typeof value !== "string") throw new TypeError(`${name} must be text`);
  return value;
}

function count(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw new TypeError(`${name} must be a whole number`);
  }
  return value as number;
}
