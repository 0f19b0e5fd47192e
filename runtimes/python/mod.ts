/**
 * Kind `python`: a script for the image's CPython, with wheels that came with it.
 *
 * @example
 * ```ts
 * import { readRequirements } from "./requirements.ts";
 *
 * console.log(readRequirements("numpy>=2 # fast\n")[0]?.name); // numpy
 * ```
 *
 * @module
 */
import { CocosError, messageOf } from "../../base/mod.ts";
import { installCommand, pythonCommand } from "../../proto/sandbox/mod.ts";
import { collectExit, type Job, placesOf, refuse, type Runtime } from "../contract.ts";
import { collectPyodide, preparePyodide, pyodideRun } from "./pyodide.ts";
import { MAX_REQUIREMENTS_BYTES, readRequirements } from "./requirements.ts";

/** The runtime in WebAssembly. */
const PYODIDE = "pyodide";

/** Requirements as pip gets them, beside the site directory. */
function rewritten(job: Job): string {
  return `${job.site}.txt`;
}

async function readFile(job: Job): Promise<string> {
  const path = `${job.directory}/requirements/requirements.txt`;
  let size: number;
  try {
    size = (await Deno.lstat(path)).size;
  } catch (cause) {
    refuse("There is no requirements.txt among the requirements", cause);
  }
  if (size > MAX_REQUIREMENTS_BYTES) {
    refuse(`requirements.txt is over ${MAX_REQUIREMENTS_BYTES} bytes`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await Deno.readFile(path));
  } catch (cause) {
    refuse("requirements.txt isn't UTF-8 text", cause);
  }
}

/** The driver. */
export const python: Runtime = {
  kind: "python",
  prepare: async (job, facilities) => {
    const { python: program, pip } = facilities;
    if (job.pythonRuntime === PYODIDE) {
      preparePyodide(job, facilities);
      return undefined;
    }
    if (job.pythonRuntime !== "" && job.pythonRuntime !== "python3") {
      refuse(
        "The Python runtime must be empty, python3 or pyodide: the image, not the uploader, chooses " +
          "the interpreter",
      );
    }
    if (!job.hasRequirements) return undefined;
    const file = await readFile(job);
    let requirements;
    try {
      requirements = readRequirements(file);
    } catch (cause) {
      refuse(messageOf(cause), cause);
    }
    if (requirements.length === 0) return undefined;
    if (pip === undefined) {
      throw new CocosError("not-supported", "This image has no pip to install requirements with");
    }
    // pip reads what we understood, not the file: its idea of a line may differ from ours.
    await Deno.writeTextFile(rewritten(job), requirements.map(({ text }) => text + "\n").join(""));
    await Deno.mkdir(job.site, { mode: 0o700 });
    const hashed = requirements.some(({ hashes }) => hashes.length > 0);
    return installCommand({
      interpreter: program,
      pip,
      wheels: `${job.directory}/requirements`,
      requirements: rewritten(job),
      site: job.site,
      hashed,
    });
  },
  command: (job, facilities) => {
    if (job.pythonRuntime === PYODIDE) return pyodideRun(job, facilities);
    const { python: program } = facilities;
    const installed = job.hasRequirements && exists(job.site);
    return pythonCommand(placesOf(job), program, job.args, installed ? job.site : undefined);
  },
  collect: (ending, job) =>
    job.pythonRuntime === PYODIDE ? collectPyodide(ending) : collectExit(ending),
};

function exists(path: string): boolean {
  try {
    return Deno.lstatSync(path).isDirectory;
  } catch {
    return false;
  }
}
