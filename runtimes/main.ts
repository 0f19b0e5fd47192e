// The runner process: no network, one socket, one program it may start. It must not be root: as root
// the sandbox's user namespace would leave /proc/sys writable.
import {
  asCocosError,
  CocosError,
  Exit,
  type Logger,
  logger,
  messageOf,
  startLogging,
} from "../base/mod.ts";
import type { Limits } from "../proto/runner/mod.ts";
import type { Facilities } from "./contract.ts";
import { sweepDrivers } from "./drivers.ts";
import { removeSite, SITE_PREFIX, type Workshop } from "./job.ts";
import { HELP, readOptions, type RunnerOptions } from "./options.ts";
import {
  DEFAULT_LIMITS,
  type Groups,
  groupsAt,
  insecureNoGroups,
  killProcesses,
} from "./sandbox/mod.ts";
import { selfTest } from "./selftest.ts";
import { serveRunner } from "./server.ts";

/** Version printed by `--version`. */
const VERSION = "0.1.0";
/** The agent connects through the group that owns the socket's directory. */
const SOCKET_MODE = 0o660;

/** Limits of a job whose manifest names none. */
function defaultLimits(memoryBytes: number | undefined): Limits {
  const memory = memoryBytes ?? Math.floor(Deno.systemMemoryInfo().total * 3 / 4);
  return {
    ...DEFAULT_LIMITS,
    memoryBytes: memory,
    cpus: navigator.hardwareConcurrency,
    tmpBytes: Math.min(DEFAULT_LIMITS.tmpBytes, Math.floor(memory / 4)),
  };
}

async function groupsOf(options: RunnerOptions, log: Logger): Promise<Groups> {
  if (options.cgroup === undefined) {
    log.warn(
      "INSECURE: started with --insecure-no-cgroup: memory, processes and CPU of algorithms are " +
        "not limited; only their time is",
    );
    return insecureNoGroups();
  }
  const groups = groupsAt(options.cgroup);
  if (groups.confinement === "cgroup-v1") {
    log.warn(
      "control groups are version 1 here: no cgroup.kill and no group-wide out-of-memory kill; " +
        "runs end by the death of their process namespace",
      { cgroup: options.cgroup },
    );
  }
  await groups.sweep((pids) => killProcesses(options.bwrap, pids));
  return groups;
}

/** Removes what a killed runner left: its socket and installations (threats C-1). */
function sweep(options: RunnerOptions, log: Logger): void {
  try {
    if (!Deno.lstatSync(options.socket).isSocket) {
      throw new CocosError("already-exists", `Cannot listen at ${options.socket}: it is no socket`);
    }
    Deno.removeSync(options.socket);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  for (const { name } of Deno.readDirSync(options.work)) {
    if (!name.startsWith(SITE_PREFIX) || name.endsWith(".txt")) continue;
    log.info("removing a left installation", { name });
    try {
      removeSite(`${options.work}/${name}`);
    } catch (error) {
      log.warn("a left installation stays", { name, error: messageOf(error) });
    }
  }
}

function facilitiesOf(options: RunnerOptions): Facilities {
  const { python, pip, deno, wasmChild, pyodide, docker, dockerCgroup, work } = options;
  return {
    python,
    pip,
    deno,
    wasmChild,
    pyodide,
    docker: docker === undefined
      ? undefined
      : { socket: docker, cgroup: dockerCgroup, owner: work },
  };
}

async function run(options: RunnerOptions): Promise<void> {
  startLogging(options.logLevel);
  const log = logger("runner");
  if (Deno.uid() === 0) {
    throw new CocosError("invalid-config", "Cannot start as root: the sandbox would not hold", {
      hint: "Start bin/cocos-runner, which changes to another user, or start it as one.",
    });
  }
  const facilities = facilitiesOf(options);
  sweep(options, log);
  await sweepDrivers(facilities, log);
  const groups = await groupsOf(options, log);
  const defaults = defaultLimits(options.memoryBytes);
  const { leaked } = await selfTest(options.bwrap, groups, defaults);
  const shop: Workshop = {
    work: options.work,
    bwrap: options.bwrap,
    groups,
    facilities,
    defaults,
    leaked,
    log,
  };
  const server = serveRunner(options.socket, SOCKET_MODE, shop);
  log.info("runner ready", {
    socket: options.socket,
    confinement: groups.confinement,
    hiddenDescriptors: leaked,
  });
  const stop = () => void server.close();
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
  try {
    await server.finished;
    log.info("runner stopped");
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.removeSignalListener(signal, stop);
    removeSocket(options.socket);
  }
}

function removeSocket(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

if (import.meta.main) {
  try {
    const options = readOptions(Deno.args);
    if (options === "help") console.log(HELP.trimEnd());
    else if (options === "version") console.log(`cocos-runner ${VERSION}`);
    else await run(options);
  } catch (thrown) {
    const error = asCocosError(thrown);
    console.error(`cocos-runner: ${error.message}`);
    if (error.cause !== undefined) console.error(`cause: ${messageOf(error.cause)}`);
    if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
    Deno.exit(error.exitCode ?? Exit.FAILURE);
  }
}
