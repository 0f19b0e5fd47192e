// The private work area: one folder per computation, names chosen by the agent alone (threats R4,
// F-8). The runner reads it through the group and writes only below `results/`.
import { CocosError, messageOf } from "../base/mod.ts";

/** Modes: the group is the runner's; others see nothing (joints.md §1). */
const FOLDER_MODE = 0o2750;
const RESULTS_MODE = 0o2770;

/** File in the work area's root that the journal is kept in. */
export const JOURNAL = "journal.json";

/** File beside it with the events that still have to reach the management server. */
export const UNSENT = "unsent.json";

/** The folder of one computation. */
export class Job {
  /** `job-` and 16 hexadecimal digits. */
  readonly id: string;
  readonly dir: string;
  #incoming = 0;

  constructor(root: string, id: string) {
    this.id = id;
    this.dir = `${root}/${id}`;
  }

  /** The algorithm. */
  get algorithm(): string {
    return `${this.dir}/algo`;
  }
  /** Python requirements: `requirements.txt` and wheels. */
  get requirements(): string {
    return `${this.dir}/requirements`;
  }
  /** What the algorithm may read. */
  get datasets(): string {
    return `${this.dir}/datasets`;
  }
  /** What the algorithm may write. */
  get results(): string {
    return `${this.dir}/results`;
  }
  /** The packed results. */
  get archive(): string {
    return `${this.dir}/results.zip`;
  }

  /** A fresh name for something that is not yet checked. */
  incoming(): string {
    return `${this.dir}/incoming-${this.#incoming++}`;
  }

  /** Makes the empty folders. */
  create(): void {
    makeFolder(this.dir, FOLDER_MODE);
    makeFolder(this.datasets, FOLDER_MODE);
  }

  /** An empty `results/`; what an interrupted run left in it is removed. */
  freshResults(): void {
    removeAll(this.results);
    makeFolder(this.results, RESULTS_MODE);
  }

  /** Removes what the run needed and no consumer gets (threats Z-1). */
  removeInputs(): void {
    for (const path of [this.algorithm, this.requirements, this.datasets, this.results]) {
      removeAll(path);
    }
  }

  /**
   * Removes everything of the computation.
   *
   * @throws {CocosError} `io` when something is left (threats Z-4).
   */
  purge(): void {
    removeAll(this.dir);
  }
}

/** The root of all jobs. */
export class WorkArea {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /**
   * Opens a work area that exists and is closed to others.
   *
   * @throws {CocosError} `invalid-config`.
   */
  static open(root: string): WorkArea {
    let info: Deno.FileInfo;
    try {
      info = Deno.lstatSync(root);
    } catch (cause) {
      throw new CocosError("invalid-config", `Cannot use work area ${root}: ${messageOf(cause)}`, {
        cause,
        hint: "Create the folder, or give another with --work.",
      });
    }
    if (!info.isDirectory || ((info.mode ?? 0) & 0o007) !== 0) {
      throw new CocosError(
        "invalid-config",
        `Cannot use work area ${root}: must be a folder that others can't enter`,
        { hint: `chmod o= ${root}` },
      );
    }
    return new WorkArea(root);
  }

  /** A job with a fresh random name; nothing is created yet. */
  newJob(): Job {
    return this.job(`job-${crypto.getRandomValues(new Uint8Array(8)).toHex()}`);
  }

  /** The job of a name that {@linkcode WorkArea.newJob} gave. */
  job(id: string): Job {
    return new Job(this.root, id);
  }

  /** Removes whatever is not the agent's own record or the job to keep; gives what was removed. */
  sweep(keep?: string): string[] {
    const removed: string[] = [];
    for (const { name } of Deno.readDirSync(this.root)) {
      if (name === JOURNAL || name === UNSENT || name === keep) continue;
      removeAll(`${this.root}/${name}`);
      removed.push(name);
    }
    return removed;
  }
}

/** Makes a folder with exactly this mode, whatever the umask; fails if something has the name. */
export function makeFolder(path: string, mode = FOLDER_MODE): void {
  Deno.mkdirSync(path, { mode: 0o700 });
  Deno.chmodSync(path, mode);
}

/** Removes a file or tree; links are removed, never followed. Nothing there is fine. */
export function removeAll(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return;
    throw new CocosError("io", `Cannot remove ${path}: ${reasonOf(cause)}`, { cause });
  }
}

/** Why a file operation failed, without the path that Deno's own texts carry (threats R7). */
export function reasonOf(cause: unknown): string {
  const { code, name } = cause as { code?: unknown; name?: unknown };
  return typeof code === "string" ? code : typeof name === "string" ? name : "unknown reason";
}
