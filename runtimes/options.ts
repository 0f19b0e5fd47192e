// The runner's command line. Started by the launcher or by the image's init, not by a party; checked
// all the same, because permission lists are made from it.
import { parseArgs } from "node:util";
import { CocosError, type Level, LEVELS } from "../base/mod.ts";

/** What the runner is told. */
export interface RunnerOptions {
  /** Root of the work area. */
  readonly work: string;
  /** Path of the socket. */
  readonly socket: string;
  /** Delegated control group subtree; undefined only with `--insecure-no-cgroup`. */
  readonly cgroup: string | undefined;
  readonly bwrap: string;
  readonly python: string;
  readonly pip: string | undefined;
  /** Socket of the container engine; undefined: containers are refused. */
  readonly docker: string | undefined;
  /** The subtree of `cgroup` as the engine names it. */
  readonly dockerCgroup: string | undefined;
  readonly deno: string | undefined;
  readonly wasmChild: string | undefined;
  /** Folder of Pyodide; undefined: that Python runtime is refused. */
  readonly pyodide: string | undefined;
  /** Memory of a job whose manifest names none, in bytes; undefined: three quarters of the machine. */
  readonly memoryBytes: number | undefined;
  readonly logLevel: Level;
}

/** Text of `--help`. */
export const HELP = `cocos-runner: runs algorithms in the sandbox for the agent

  --work DIR             work area shared with the agent (required)
  --socket PATH          unix socket to listen on (required)
  --cgroup DIR           control group subtree delegated to this user: cgroup.procs of version 2,
                         or memory/ pids/ cpu/ of version 1
  --insecure-no-cgroup   run without memory, process and CPU limits instead
  --bwrap PATH           bubblewrap (default /usr/bin/bwrap)
  --python PATH          interpreter, below /usr (default /usr/bin/python3)
  --pip PATH             pip's wheel or directory; without it requirements are refused
  --docker SOCKET        container engine; without it containers are refused
  --docker-cgroup PATH   the directory of --cgroup as the engine names it, from the hierarchy's root
  --deno PATH            Deno for WebAssembly; not the path this runner was started by
  --wasm-child PATH      runtimes/wasm/child.ts, bundled; without both the kind is refused
  --pyodide DIR          Pyodide's files with python/pyodide_child.ts, bundled, as child.js; without
                         it and --deno that Python runtime is refused
  --memory BYTES         memory of a job that names none (default: 3/4 of the machine)
  --log-level LEVEL      debug, info, warn or error (default info)
  --help, --version
`;

/**
 * Reads the arguments after the program's name; answers the word for `--help` and `--version`.
 *
 * @throws {CocosError} `invalid-config` that names the flag.
 */
export function readOptions(argv: readonly string[]): RunnerOptions | "help" | "version" {
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        "work": { type: "string" },
        "socket": { type: "string" },
        "cgroup": { type: "string" },
        "insecure-no-cgroup": { type: "boolean" },
        "bwrap": { type: "string", default: "/usr/bin/bwrap" },
        "python": { type: "string", default: "/usr/bin/python3" },
        "pip": { type: "string" },
        "docker": { type: "string" },
        "docker-cgroup": { type: "string" },
        "deno": { type: "string" },
        "wasm-child": { type: "string" },
        "pyodide": { type: "string" },
        "memory": { type: "string" },
        "log-level": { type: "string", default: "info" },
        "help": { type: "boolean" },
        "version": { type: "boolean" },
      },
    }));
  } catch (cause) {
    throw wrong(cause instanceof Error ? cause.message : String(cause));
  }
  if (values["help"] === true) return "help";
  if (values["version"] === true) return "version";
  const path = (name: string): string => {
    const value = values[name];
    if (typeof value !== "string") throw wrong(`--${name} is required`);
    // A comma would add an entry to a permission list (joints.md §8).
    if (!/^\/[^\0,\n]*$/.test(value) || /(^|\/)\.\.?(\/|$)|\/\/|.\/$/.test(value)) {
      throw wrong(`--${name} must be an absolute path without comma, is ${JSON.stringify(value)}`);
    }
    return value;
  };
  const optional = (name: string) => values[name] === undefined ? undefined : path(name);
  const cgroup = optional("cgroup");
  const insecure = values["insecure-no-cgroup"] === true;
  if ((cgroup === undefined) !== insecure) {
    throw wrong(
      cgroup === undefined
        ? "--cgroup is required: without control groups an algorithm can use all memory"
        : "--cgroup and --insecure-no-cgroup exclude each other",
    );
  }
  const python = path("python");
  if (!python.startsWith("/usr/")) throw wrong("--python must be below /usr");
  const memory = values["memory"];
  const memoryBytes = memory === undefined ? undefined : Number(memory);
  if (
    memoryBytes !== undefined && !(/^\d{8,15}$/.test(String(memory)) && memoryBytes >= 16 << 20)
  ) {
    throw wrong("--memory must be a number of bytes from 16777216");
  }
  const logLevel = LEVELS.find((level) => level === values["log-level"]);
  if (logLevel === undefined) throw wrong(`--log-level must be one of ${LEVELS.join(", ")}`);
  return {
    work: path("work"),
    socket: path("socket"),
    cgroup,
    bwrap: path("bwrap"),
    python,
    pip: optional("pip"),
    docker: optional("docker"),
    dockerCgroup: optional("docker-cgroup"),
    deno: optional("deno"),
    wasmChild: optional("wasm-child"),
    pyodide: optional("pyodide"),
    memoryBytes,
    logLevel,
  };
}

function wrong(message: string): CocosError {
  return new CocosError("invalid-config", message, { hint: "See cocos-runner --help." });
}
