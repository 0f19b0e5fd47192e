// After a run: makes `results/` readable and removable for the agent, and counts it. Everything in
// there was made by a hostile program that is dead by now, so nothing changes beneath us (O-1).
import { CocosError } from "../../base/mod.ts";

/** Longest path below `results/`, in characters: what is deeper is moved up and refused. */
export const MAX_RESULT_PATH = 2048;
/** Most directories within one another; Deno looks at each again for each file beneath. */
export const MAX_RESULT_DEPTH = 64;

/** Mode of a directory: group `work` may list, read and remove; new entries keep the group. */
const DIRECTORY_MODE = 0o2770;
/** Mode of a file; no setuid, no execution. */
const FILE_MODE = 0o640;

/** What is in `results/`. */
export interface ResultsCount {
  /** Regular files. */
  files: number;
  /** Their apparent size in bytes. */
  bytes: number;
  /** Directories below the root. */
  directories: number;
  /** Entries that can't be results: links, FIFOs, sockets, devices. The agent skips them too. */
  skipped: number;
  /** Directories beyond {@linkcode MAX_RESULT_PATH} or {@linkcode MAX_RESULT_DEPTH}. */
  tooDeep: number;
  /** Entries whose name isn't UTF-8. */
  unnameable: number;
}

/** Entries handled between two turns of the event loop. */
const BATCH = 256;

/**
 * Sets modes below `root` and counts; links are neither followed nor changed. `root` must belong to
 * this uid, or to the group with write permission.
 *
 * @throws {CocosError} `io` if a directory can't be read.
 */
export async function normaliseResults(root: string): Promise<ResultsCount> {
  const count: ResultsCount = {
    files: 0,
    bytes: 0,
    directories: 0,
    skipped: 0,
    tooDeep: 0,
    unnameable: 0,
  };
  // Where agent and runner are one user, the program could have closed the root itself.
  setMode(root, DIRECTORY_MODE);
  const { gid } = Deno.lstatSync(root);
  const pending: [path: string, depth: number][] = [[root, 0]];
  let handled = 0;
  let moved = 0;
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [path, depth] = next;
    for (const name of list(path)) {
      if (++handled % BATCH === 0) await new Promise((resolve) => setTimeout(resolve, 0));
      let entry = `${path}/${name}`;
      let info: Deno.FileInfo;
      try {
        info = Deno.lstatSync(entry);
      } catch (cause) {
        if (!(cause instanceof Deno.errors.NotFound)) throw unreadable(entry, cause);
        count.unnameable++;
        continue;
      }
      // A program can take the shared group away from what it made; the agent reads by that group.
      if (info.gid !== gid && (info.isDirectory || info.isFile)) setGroup(entry, gid);
      if (info.isDirectory) {
        setMode(entry, DIRECTORY_MODE);
        count.directories++;
        let deeper = depth + 1;
        if (entry.length - root.length > MAX_RESULT_PATH || deeper > MAX_RESULT_DEPTH) {
          count.tooDeep++;
          const higher = `${root}/too-deep-${crypto.randomUUID().slice(0, 8)}-${moved++}`;
          Deno.renameSync(entry, higher);
          entry = higher;
          deeper = 1;
        }
        pending.push([entry, deeper]);
      } else if (info.isFile) {
        // A second name of the same file is harmless: both are below `results/`, the only
        // writable place on that file system.
        setMode(entry, FILE_MODE);
        count.files++;
        count.bytes += info.size;
      } else {
        count.skipped++;
      }
    }
  }
  return count;
}

/** What another user made has its owner's mode: the algorithm only makes files of this uid. */
function setMode(path: string, mode: number): void {
  try {
    Deno.chmodSync(path, mode);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.PermissionDenied)) throw unreadable(path, cause);
  }
}

function setGroup(path: string, gid: number | null): void {
  try {
    Deno.chownSync(path, null, gid);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.PermissionDenied)) throw unreadable(path, cause);
  }
}

function list(path: string): string[] {
  try {
    return [...Deno.readDirSync(path)].map((entry) => entry.name);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): CocosError {
  return new CocosError("io", `Cannot read the results at ${path}`, { cause });
}
