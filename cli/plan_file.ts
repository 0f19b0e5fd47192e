// A computation file in the place of a manifest: which files it names, so that the launcher grants
// exactly those. Nothing it names is opened here.
import type { ComputationPlan } from "../agreement/mod.ts";
import { isManifest } from "./trust.ts";
import type { Parsed } from "./program.ts";

/** Largest file that is looked at; agreement/ reads no larger computation file. */
const MAX_BYTES = 1024 * 1024;

/** Whether a JSON text is a computation file: a manifest has a version and no key files. */
export function isComputationFile(json: string): boolean {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return false;
  }
  return typeof value === "object" && value !== null && "consumers" in value &&
    !("version" in value);
}

/** Folder that a computation file's relative paths are taken from. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/") + 1);
}

/** The computation file a command line names instead of a manifest; nothing when it names none. */
export async function planOf(parsed: Parsed): Promise<ComputationPlan | undefined> {
  const path = isManifest(parsed) ? parsed.file : manifestOf(parsed);
  if (path === undefined || parsed.globals.compat) return undefined;
  try {
    if ((await Deno.stat(path)).size > MAX_BYTES) return undefined;
    const json = await Deno.readTextFile(path);
    if (!isComputationFile(json)) return undefined;
    // The wire's constants come with it, so only a computation file pays for them.
    return (await import("../agreement/mod.ts")).parsePlan(json, folderOf(path));
  } catch {
    // The program itself meets the same mistake, and reports it with its exit code.
    return undefined;
  }
}

/** The file of `--manifest`. */
function manifestOf(parsed: Parsed): string | undefined {
  switch (parsed.command) {
    case "algo":
    case "data":
    case "result":
    case "output":
      return parsed.manifest;
    default:
      return undefined;
  }
}
