// The process that runs a Python script in WebAssembly: inside the sandbox, with no right but to read
// the interpreter and the script's world, and to write its results. Bundled to one file. The script is
// hostile; it gets an interpreter whose bridge to JavaScript has been taken away (threats S-14).
//   deno run … child.js FOLDER WORLD SCRIPT [ARGUMENT ...]
import { loadPyodide } from "pyodide";
import { MAX_SCRIPT_CODE, PyodideExit } from "./pyodide_endings.ts";
import { SEALED } from "./pyodide_seal.ts";

const [folder = "", world = "", script = "", ...args] = Deno.args;

// Kept before the globals go.
const { stdout, stderr, exit } = Deno;

/** `EPERM` of WASI, whose numbers Emscripten has. */
const EPERM = 63;

/** What a script could reach through a reference to JavaScript that it finds all the same. */
const AWAY = [
  ...["process", "fetch", "WebSocket", "Worker", "EventSource", "navigator", "caches"],
  ...["localStorage", "sessionStorage", "indexedDB", "BroadcastChannel", "SharedArrayBuffer"],
  ...["XMLHttpRequest", "importScripts", "global", "Buffer"],
];

/** What node:fs needs of Deno: files, which the sandbox decides about; no process, no network. */
function filesOnly(): unknown {
  const needed = new Set(["build", "errors", "FsFile", "SeekMode"]);
  return Object.freeze(Object.fromEntries(
    Object.entries(Deno).filter(([name]) => name.endsWith("Sync") || needed.has(name)),
  ));
}

/** Writes all of it: a pipe takes what it has room for. */
function writer(to: typeof stdout): { write(bytes: Uint8Array): number } {
  return { write: (bytes) => to.writeSync(bytes) };
}

function end(code: number, error: unknown): never {
  const text = `pyodide: ${error instanceof Error ? error.message : error}\n`;
  stderr.writeSync(new TextEncoder().encode(text));
  return exit(code);
}

async function start(): Promise<() => number> {
  const python = await loadPyodide({
    indexURL: `${folder}/`,
    // No package is ever fetched; without this the list of them would be read.
    lockFileContents: JSON.stringify({
      info: {
        abi_version: "2026_0",
        arch: "wasm32",
        platform: "emscripten_5_0_3",
        python: "3.14.2",
        version: "314.0.7",
      },
      packages: {},
    }),
    jsglobals: Object.create(null),
    env: { HOME: "/tmp", LANG: "C.UTF-8" },
    args: [],
  });
  const { FS } = python;
  const { NODEFS } = FS.filesystems;
  const operation = NODEFS.tryFSOperation;
  // A refusal of Deno's has no errno; unanswered it would be the interpreter's end.
  NODEFS.tryFSOperation = (work: () => unknown) => {
    try {
      return operation(work);
    } catch (error) {
      throw error instanceof FS.ErrnoError ? error : new FS.ErrnoError(EPERM);
    }
  };
  FS.mkdirTree(world);
  FS.mount(NODEFS, { root: world }, world);
  FS.chdir(world);
  python.setStdin({ stdin: () => null });
  python.setStdout({ ...writer(stdout), isatty: false });
  python.setStderr({ ...writer(stderr), isatty: false });
  const run = python.runPython(SEALED) as (script: string, args: string) => number;
  Object.defineProperty(globalThis, "Deno", { value: filesOnly() });
  for (const name of AWAY) Reflect.deleteProperty(globalThis, name);
  Object.freeze(Object.prototype);
  Object.freeze(Array.prototype);
  Object.freeze(Function.prototype);
  return () => run(script, JSON.stringify(args));
}

// What nobody waits for is an end too.
globalThis.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  end(PyodideExit.BROKEN, event.reason);
});

let run: () => number;
try {
  run = await start();
} catch (error) {
  end(PyodideExit.NOT_STARTED, error);
}
let code: number;
try {
  code = run();
} catch (error) {
  // The script's own exceptions end in a code; this is the interpreter's end.
  end(PyodideExit.BROKEN, error);
}
exit(code > MAX_SCRIPT_CODE ? PyodideExit.CODE_ABOVE : code);
