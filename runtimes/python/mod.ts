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
import { ALGORITHM, collectExit, type Job, refuse, type Runtime, worldOf } from "../contract.ts";
import { MAX_REQUIREMENTS_BYTES, readRequirements } from "./requirements.ts";

/** Installed packages inside; only the installer may write there. */
const SITE = "/opt/site";
const WHEELS = "/opt/wheels";
const REQUIREMENTS = "/opt/requirements.txt";
const PIP = "/opt/pip";

/**
 * `-I`: no PYTHON* variables, no user site, neither the script's nor the current directory on the
 * path. `-B`: no byte code is written.
 */
const ISOLATED = ["-I", "-B"];

/**
 * Isolated mode has no way to name one more directory, so this puts it on the path; unlike a site
 * directory its `.pth` files are not executed (S-12).
 */
const WITH_SITE = "import runpy, sys; " +
  `sys.path.insert(0, "${SITE}"); sys.argv[0] = "${ALGORITHM}"; ` +
  `runpy.run_path("${ALGORITHM}", run_name="__main__")`;

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
  prepare: async (job, { python: program, pip }) => {
    if (job.pythonRuntime === "pyodide") {
      throw new CocosError("not-supported", "The runtime pyodide isn't part of this image", {
        hint: "Leave the Python runtime empty or name python3.",
      });
    }
    if (job.pythonRuntime !== "" && job.pythonRuntime !== "python3") {
      refuse(
        "The Python runtime must be empty or python3: the image, not the uploader, chooses the " +
          "interpreter",
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
    // deno-fmt-ignore
    const options = [
      "install", "--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir",
      "--no-index", "--find-links", WHEELS, "--only-binary", ":all:", "--no-compile",
      "--progress-bar", "off", "--no-warn-script-location", ...(hashed ? ["--require-hashes"] : []),
      "--target", SITE, "--requirement", REQUIREMENTS,
    ];
    return {
      program,
      args: [...ISOLATED, `${PIP}/pip`, ...options],
      binds: [
        { source: pip, target: PIP, writable: false },
        { source: `${job.directory}/requirements`, target: WHEELS, writable: false },
        { source: rewritten(job), target: REQUIREMENTS, writable: false },
        { source: job.site, target: SITE, writable: true },
      ],
    };
  },
  command: (job, { python: program }) => {
    const installed = job.hasRequirements && exists(job.site);
    return {
      program,
      args: [
        ...ISOLATED,
        ...(installed ? ["-c", WITH_SITE, ...job.args] : [ALGORITHM, ...job.args]),
      ],
      binds: [
        ...worldOf(job),
        ...(installed ? [{ source: job.site, target: SITE, writable: false }] : []),
      ],
    };
  },
  collect: collectExit,
};

function exists(path: string): boolean {
  try {
    return Deno.lstatSync(path).isDirectory;
  } catch {
    return false;
  }
}
