// What is run in the sandbox for each kind of algorithm, and what it sees beside the system: pure
// functions of where things are. Nothing in a command comes from a party but its arguments and numbers.
import type { Limits, Mode } from "../runner/mod.ts";
import type { Bind } from "./argv.ts";

/** What to run, with what in sight beside `/usr`. */
export interface Command {
  /** Absolute path inside the sandbox. */
  readonly program: string;
  readonly args: readonly string[];
  readonly binds: readonly Bind[];
}

/** Where the files of a job are, outside. */
export interface Places {
  readonly algorithm: string;
  readonly datasets: string;
  readonly results: string;
}

/** Working directory of every algorithm: holds `datasets/`, `results/` and the algorithm's file. */
export const WORLD = "/cocos";
/** The algorithm's file inside. */
export const ALGORITHM = `${WORLD}/algo`;

const PAGE_BYTES = 65_536;
/** All a 32-bit memory can have, in pages. */
const MAX_PAGES = 65_536;

/** What every algorithm sees of its job. */
export function worldBinds({ algorithm, datasets, results }: Places): Bind[] {
  return [
    { source: algorithm, target: ALGORITHM, writable: false },
    { source: datasets, target: `${WORLD}/datasets`, writable: false },
    { source: results, target: `${WORLD}/results`, writable: true },
  ];
}

/** A program or a `#!` script. */
export function programCommand(places: Places, args: readonly string[]): Command {
  return { program: ALGORITHM, args, binds: worldBinds(places) };
}

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

/** A script for CPython; `site` is the folder its requirements were installed to. */
export function pythonCommand(
  places: Places,
  interpreter: string,
  args: readonly string[],
  site?: string,
): Command {
  const script = site === undefined ? [ALGORITHM] : ["-c", WITH_SITE];
  return {
    program: interpreter,
    args: [...ISOLATED, ...script, ...args],
    binds: [
      ...worldBinds(places),
      ...(site === undefined ? [] : [{ source: site, target: SITE, writable: false }]),
    ],
  };
}

/** The installation of a script's requirements, which sees no data. */
export function installCommand(given: {
  readonly interpreter: string;
  readonly pip: string;
  /** Folder of the wheels that came with the requirements. */
  readonly wheels: string;
  /** The requirements as they were understood. */
  readonly requirements: string;
  readonly site: string;
  /** Whether every requirement has digests. */
  readonly hashed: boolean;
}): Command {
  // deno-fmt-ignore
  const options = [
    "install", "--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir",
    "--no-index", "--find-links", WHEELS, "--only-binary", ":all:", "--no-compile",
    "--progress-bar", "off", "--no-warn-script-location",
    ...(given.hashed ? ["--require-hashes"] : []),
    "--target", SITE, "--requirement", REQUIREMENTS,
  ];
  return {
    program: given.interpreter,
    args: [...ISOLATED, `${PIP}/pip`, ...options],
    binds: [
      { source: given.pip, target: PIP, writable: false },
      { source: given.wheels, target: WHEELS, writable: false },
      { source: given.requirements, target: REQUIREMENTS, writable: false },
      { source: given.site, target: SITE, writable: true },
    ],
  };
}

/** Deno's flags for every child of it in the sandbox: nothing fetched, nothing asked, no right. */
const DENO_CHILD = [
  "run",
  ...["--no-prompt", "--no-config", "--no-lock", "--no-remote", "--no-npm", "--cached-only"],
  ...["--no-check", "--no-code-cache", "--quiet"],
];
const NOTHING_ELSE = [
  ...["--deny-net", "--deny-run", "--deny-ffi", "--deny-sys", "--deny-env", "--deny-import"],
];

/** Memory a WebAssembly engine needs beside the module's own: its compiler, its buffers. */
const WASM_ENGINE_BYTES = 112 << 20;
/** A module with less would not even start. */
const MIN_WASM_PAGES = 16;

function pages(memoryBytes: number, engineBytes: number, least: number): number {
  return Math.min(MAX_PAGES, Math.max(least, Math.floor((memoryBytes - engineBytes) / PAGE_BYTES)));
}

/** Memory a module may have, in pages: what is left of the job's when the engine has its own. */
export function pagesFor(memoryBytes: number): number {
  return pages(memoryBytes, WASM_ENGINE_BYTES, MIN_WASM_PAGES);
}

/** A WebAssembly module, run by a Deno process. */
export function wasmCommand(
  places: Places,
  given: {
    readonly deno: string;
    /** The child, bundled to one file. */
    readonly child: string;
    readonly mode: Mode;
    readonly limits: Pick<Limits, "memoryBytes">;
  },
  args: readonly string[],
): Command {
  const [deno, child] = ["/opt/wasm/deno", "/opt/wasm/child.js"];
  return {
    program: deno,
    args: [
      ...DENO_CHILD,
      // Liftoff's code would stay in a loop that was entered before the better code was there.
      `--v8-flags=--no-liftoff,--wasm-max-mem-pages=${pagesFor(given.limits.memoryBytes)}`,
      `--allow-read=${WORLD}`,
      `--allow-write=${WORLD}/results`,
      ...NOTHING_ELSE,
      ...[child, given.mode, WORLD, ALGORITHM, ALGORITHM, ...args],
    ],
    binds: [
      ...worldBinds(places),
      { source: given.deno, target: deno, writable: false },
      { source: given.child, target: child, writable: false },
    ],
  };
}

/** Memory of the engine beside Pyodide's own: its compiler's code for 10 MB of WebAssembly. */
const PYODIDE_ENGINE_BYTES = 224 << 20;
/** Pyodide does not start with less. */
const MIN_PYODIDE_PAGES = 640;

/** A Python script in Pyodide, run by a Deno process. */
export function pyodideCommand(
  places: Places,
  given: {
    readonly deno: string;
    /** Folder of the interpreter's files and of the child, `child.js`. */
    readonly pyodide: string;
    readonly limits: Pick<Limits, "memoryBytes">;
  },
  args: readonly string[],
): Command {
  const [deno, folder] = ["/opt/python/deno", "/opt/pyodide"];
  const most = pages(given.limits.memoryBytes, PYODIDE_ENGINE_BYTES, MIN_PYODIDE_PAGES);
  return {
    program: deno,
    args: [
      ...DENO_CHILD,
      // The usual tiers of the compiler: with the optimising one alone the start takes half as long
      // again.
      `--v8-flags=--disallow-code-generation-from-strings,--wasm-max-mem-pages=${most}`,
      `--allow-read=${WORLD},${folder}`,
      `--allow-write=${WORLD}/results`,
      ...NOTHING_ELSE,
      ...[`${folder}/child.js`, folder, WORLD, ALGORITHM, ...args],
    ],
    binds: [
      ...worldBinds(places),
      { source: given.deno, target: deno, writable: false },
      { source: given.pyodide, target: folder, writable: false },
    ],
  };
}
