// What is kept of a VM on disk, and of VMs that ended by themselves. The files may be damaged,
// planted or of another version: a record is read field by field or not at all (threats N-8).
import { CocosError, messageOf } from "../base/mod.ts";
import { type Launch, parseLaunch } from "./launch.ts";
import { isVmId } from "./spec.ts";

/** Version of the file's form; another one is not read. */
export const RECORD_VERSION = 1;

/** Largest record that is read; ours have about 3 KB. */
const MAX_RECORD_BYTES = 256 * 1024;

/** One VM as `vm.json` holds it. */
export interface VmRecord {
  readonly version: typeof RECORD_VERSION;
  readonly id: string;
  readonly port: number;
  /** `creating` until the caller is told the id; such a VM is ended by the next manager. */
  readonly stage: "creating" | "running";
  /** Milliseconds since 1970. */
  readonly created: number;
  /** End of its life, milliseconds since 1970. */
  readonly until: number | undefined;
  /** For people only; no manager ever signals it (threats N-8). */
  readonly pid: number | undefined;
  readonly command: readonly string[];
  /** What it was launched from; absent in records of managers that did not note it. */
  readonly launch: Launch | undefined;
}

/**
 * Reads a record, refusing links and files of other users.
 *
 * @throws {CocosError} `data-loss` that says what is wrong with the file.
 */
export async function readRecord(path: string, id: string, uid: number | null): Promise<VmRecord> {
  try {
    const info = await Deno.lstat(path);
    if (!info.isFile) throw new TypeError("is not a regular file");
    if (uid !== null && info.uid !== uid) throw new TypeError(`belongs to user ${info.uid}`);
    if (info.size > MAX_RECORD_BYTES) throw new TypeError(`has ${info.size} bytes`);
    return parseRecord(await Deno.readTextFile(path), id);
  } catch (cause) {
    throw new CocosError("data-loss", `Cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** Reads a record's text; throws a TypeError with the field. */
export function parseRecord(text: string, id: string): VmRecord {
  const json: unknown = JSON.parse(text);
  if (typeof json !== "object" || json === null) throw new TypeError("is no object");
  const { version, id: own, port, stage, created, until, pid, command, launch } = json as Record<
    string,
    unknown
  >;
  if (version !== RECORD_VERSION) throw new TypeError(`is of version ${JSON.stringify(version)}`);
  if (typeof own !== "string" || !isVmId(own) || own !== id) {
    throw new TypeError("id is not the folder's");
  }
  if (!isWhole(port) || port < 1 || port > 65535) throw new TypeError("port is no port");
  if (stage !== "creating" && stage !== "running") throw new TypeError("stage is unknown");
  if (!isWhole(created)) throw new TypeError("created is no time");
  if (until !== undefined && !isWhole(until)) throw new TypeError("until is no time");
  if (pid !== undefined && !isWhole(pid)) throw new TypeError("pid is no number");
  if (!Array.isArray(command) || !command.every((each) => typeof each === "string")) {
    throw new TypeError("command is no list of texts");
  }
  return Object.freeze({
    version,
    id: own,
    port,
    stage,
    created,
    until,
    pid,
    command,
    launch: launch === undefined ? undefined : parseLaunch(launch),
  });
}

function isWhole(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** Replaces a file by whole JSON: the old or the new text is there, never a part (threats C-2). */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const next = `${path}.new`;
  await Deno.remove(next).catch(ignoreMissing);
  {
    using file = await Deno.open(next, { write: true, createNew: true, mode: 0o600 });
    const bytes = new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    await file.sync();
  }
  await Deno.rename(next, path);
}

/** How a VM ended that nobody removed. */
export interface VmEnd {
  readonly id: string;
  readonly port: number;
  /** ISO time. */
  readonly ended: string;
  /** Exit code of QEMU; absent for an adopted VM, which is no child of ours. */
  readonly code?: number;
  readonly signal?: string;
  /** Last lines of QEMU's stderr. */
  readonly stderr: readonly string[];
}

/** Ends that are kept; older ones fall out. */
export const MAX_ENDS = 50;

/** Adds an end to the list in `path`; a list that can't be read is begun anew. */
export async function recordEnd(path: string, end: VmEnd): Promise<void> {
  let ends: unknown[] = [];
  try {
    const json: unknown = JSON.parse(await Deno.readTextFile(path));
    if (Array.isArray(json)) ends = json;
  } catch {
    // Absent the first time; a broken list is only history.
  }
  await writeJson(path, [...ends, end].slice(-MAX_ENDS));
}

/** For `.catch`: lets a missing file pass. */
export function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
