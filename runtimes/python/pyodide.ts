// The Python runtime `pyodide`: CPython as WebAssembly in a Deno process of its own inside the sandbox,
// for scripts that must not run natively. Slower to start by seconds; the standard library and no more.
import { CocosError } from "../../base/mod.ts";
import { pyodideCommand } from "../../proto/sandbox/mod.ts";
import {
  collectExit,
  type Command,
  type Facilities,
  type Job,
  placesOf,
  type Verdict,
} from "../contract.ts";
import type { Ending } from "../sandbox/mod.ts";
import { PyodideExit } from "./pyodide_endings.ts";

/** What the child's own exit codes mean. */
const VERDICTS: ReadonlyMap<number, Verdict> = new Map<number, Verdict>([
  [PyodideExit.CODE_ABOVE, { outcome: "exit", code: 126, message: "exit status 126 or above" }],
  [PyodideExit.NOT_STARTED, {
    outcome: "start-failed",
    message: "The Python runtime pyodide did not start",
  }],
  [PyodideExit.BROKEN, {
    outcome: "exit",
    code: 134,
    message: "the Python runtime pyodide broke down",
  }],
]);

function need({ deno, pyodide }: Facilities): { deno: string; pyodide: string } {
  if (deno === undefined || pyodide === undefined) {
    throw new CocosError("not-supported", "The Python runtime pyodide isn't part of this image", {
      hint: "Leave the Python runtime empty or name python3.",
    });
  }
  return { deno, pyodide };
}

/**
 * Looks whether the job can run in Pyodide.
 *
 * @throws {CocosError} `not-supported` where it isn't there, or for requirements.
 */
export function preparePyodide(job: Job, facilities: Facilities): void {
  need(facilities);
  if (job.hasRequirements) {
    throw new CocosError("not-supported", "The Python runtime pyodide takes no requirements", {
      hint: "It has the standard library; name python3 for packages.",
    });
  }
}

/** The script's command. */
export function pyodideRun(job: Job, facilities: Facilities): Command {
  return pyodideCommand(placesOf(job), { ...need(facilities), limits: job.limits }, job.args);
}

/** What an ending of the child means. */
export function collectPyodide(ending: Ending): Verdict {
  return (ending.kind === "exit" ? VERDICTS.get(ending.code) : undefined) ?? collectExit(ending);
}
