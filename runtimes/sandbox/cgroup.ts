// Control groups: one for each job, made in a subtree that was handed to the runner's uid. Linux
// Documentation/admin-guide/cgroup-v2.rst; the hybrid fallback follows cgroup-v1/memory.rst.
import { CocosError, messageOf } from "../../base/mod.ts";
import type { Confinement, Limits } from "../../proto/runner/mod.ts";

/** What a job's group counted. */
export interface GroupUsage {
  readonly cpuMs: number;
  readonly peakBytes: number;
  /** Processes the kernel killed for memory. */
  readonly oomKills: number;
  /** Times a new process was refused. */
  readonly forksRefused: number;
}

/** The group of one job. */
export interface JobGroup {
  /** Moves a process in; its later children follow. */
  add(pid: number): void;
  /** Kills every member, where the kernel can do that in one step. */
  kill(): void;
  /** Whether any process is still in it or beneath. */
  populated(): boolean;
  /** Processes in it and in groups beneath, as this namespace numbers them. */
  members(): number[];
  usage(): GroupUsage;
  /** Removes the empty group and those beneath. */
  remove(): void;
}

/** The subtree the runner may make job groups in. */
export interface Groups {
  readonly confinement: Confinement;
  create(job: string, limits: Limits): JobGroup;
  /**
   * Kills and removes groups a runner left that was killed itself (threats C-1); `kill` is for
   * hierarchies that can't.
   */
  sweep(kill: (pids: number[]) => Promise<void>): Promise<void>;
}

/** Length of the kernel's CPU accounting period in microseconds, its own default. */
const PERIOD_US = 100_000;

function quota(limits: Limits): number {
  return Math.max(1000, Math.round(limits.cpus * PERIOD_US));
}

/** Number in a file of `key value` lines; 0 when the key isn't there. */
function field(text: string, key: string): number {
  const line = text.split("\n").find((each) => each.startsWith(`${key} `));
  return line === undefined ? 0 : Number(line.slice(key.length + 1));
}

function readOr(path: string, fallback: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return fallback;
  }
}

function put(path: string, value: number | string): void {
  try {
    Deno.writeTextFileSync(path, String(value), { create: false });
  } catch (cause) {
    throw new CocosError("unavailable", `Cannot set ${path}: ${messageOf(cause)}`, { cause });
  }
}

function makeGroup(path: string): void {
  try {
    Deno.mkdirSync(path);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.AlreadyExists)) {
      throw new CocosError("unavailable", `Cannot make the control group ${path}`, { cause });
    }
  }
  // A container in a user namespace looks its own group up from the top, as an id that is nobody's.
  Deno.chmodSync(path, 0o711);
}

function leftovers(path: string): string[] {
  return [...Deno.readDirSync(path)]
    .filter((entry) => entry.isDirectory && /^job-[0-9a-f]{16}$/.test(entry.name))
    .map((entry) => `${path}/${entry.name}`);
}

/** A group and those a container engine made beneath it, the deepest first. */
function withInner(path: string): string[] {
  try {
    return [
      ...[...Deno.readDirSync(path)].filter((entry) => entry.isDirectory)
        .flatMap((entry) => withInner(`${path}/${entry.name}`)),
      path,
    ];
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw new CocosError("unavailable", `Cannot list the control group ${path}`, { cause });
  }
}

function membersOf(path: string): number[] {
  return withInner(path).flatMap((each) =>
    readOr(`${each}/cgroup.procs`, "").split("\n").filter((line) => line !== "").map(Number)
  );
}

/** Removes groups; one that has a process in it stays and is named in the error. */
function removeGroups(paths: readonly string[]): void {
  for (const path of paths.flatMap(withInner)) {
    try {
      Deno.removeSync(path);
    } catch (cause) {
      if (cause instanceof Deno.errors.NotFound) continue;
      throw new CocosError("unavailable", `Cannot remove the control group ${path}`, { cause });
    }
  }
}

/** Groups of the unified hierarchy in `directory`. */
export function unifiedGroups(directory: string): Groups {
  const controllers = readOr(`${directory}/cgroup.subtree_control`, "").trim().split(/\s+/);
  const missing = ["memory", "pids", "cpu"].filter((name) => !controllers.includes(name));
  if (missing.length > 0) {
    throw new CocosError(
      "unavailable",
      `Cannot limit jobs: ${directory} gives its children no ${missing.join(", ")} controller`,
      { hint: `Write "+${missing.join(" +")}" to cgroup.subtree_control there and above.` },
    );
  }
  return {
    confinement: "cgroup-v2",
    create: (job, limits) => {
      const path = `${directory}/${job}`;
      makeGroup(path);
      put(`${path}/memory.max`, limits.memoryBytes);
      if (readOr(`${path}/memory.swap.max`, "") !== "") put(`${path}/memory.swap.max`, 0);
      put(`${path}/memory.oom.group`, 1);
      put(`${path}/pids.max`, limits.processes);
      put(`${path}/cpu.max`, `${quota(limits)} ${PERIOD_US}`);
      return unifiedGroup(path);
    },
    sweep: async () => {
      for (const path of leftovers(directory)) {
        put(`${path}/cgroup.kill`, 1);
        const group = unifiedGroup(path);
        await emptied(() => group.populated());
        removeGroups([path]);
      }
    },
  };
}

function unifiedGroup(path: string): JobGroup {
  return {
    add: (pid) => put(`${path}/cgroup.procs`, pid),
    kill: () => put(`${path}/cgroup.kill`, 1),
    populated: () => field(readOr(`${path}/cgroup.events`, ""), "populated") !== 0,
    members: () => membersOf(path),
    usage: () => ({
      cpuMs: Math.round(field(readOr(`${path}/cpu.stat`, ""), "usage_usec") / 1000),
      peakBytes: Number(readOr(`${path}/memory.peak`, "0")),
      oomKills: field(readOr(`${path}/memory.events`, ""), "oom_kill"),
      forksRefused: field(readOr(`${path}/pids.events`, ""), "max"),
    }),
    remove: () => removeGroups([path]),
  };
}

/** Controllers the hybrid layout must offer as directories; `cpuacct` is counted if it is there. */
const LEGACY = ["memory", "pids", "cpu"] as const;

/** Groups of separate version-1 hierarchies, mounted as `memory/`, `pids/`, `cpu/` beneath. */
export function legacyGroups(directory: string): Groups {
  const names = [...Deno.readDirSync(directory)].map((entry) => entry.name);
  const missing = LEGACY.filter((name) => !names.includes(name));
  if (missing.length > 0) {
    throw new CocosError(
      "unavailable",
      `Cannot limit jobs: ${directory} has neither cgroup.controllers nor ${missing.join(", ")}`,
    );
  }
  const used: string[] = names.includes("cpuacct") ? [...LEGACY, "cpuacct"] : [...LEGACY];
  return {
    confinement: "cgroup-v1",
    create: (job, limits) => {
      for (const name of used) makeGroup(`${directory}/${name}/${job}`);
      put(`${directory}/memory/${job}/memory.limit_in_bytes`, limits.memoryBytes);
      const swap = `${directory}/memory/${job}/memory.memsw.limit_in_bytes`;
      if (readOr(swap, "") !== "") put(swap, limits.memoryBytes);
      else put(`${directory}/memory/${job}/memory.swappiness`, 0);
      put(`${directory}/pids/${job}/pids.max`, limits.processes);
      put(`${directory}/cpu/${job}/cpu.cfs_period_us`, PERIOD_US);
      put(`${directory}/cpu/${job}/cpu.cfs_quota_us`, quota(limits));
      return legacyGroup(directory, job, used);
    },
    sweep: async (kill) => {
      for (const name of used) {
        for (const path of leftovers(`${directory}/${name}`)) {
          const pids = membersOf(path);
          if (pids.length > 0) await kill(pids);
          await emptied(() => membersOf(path).length > 0);
          removeGroups([path]);
        }
      }
    },
  };
}

function legacyGroup(directory: string, job: string, used: readonly string[]): JobGroup {
  const memory = `${directory}/memory/${job}`;
  const cpu = `${directory}/cpuacct/${job}`;
  return {
    add: (pid) => {
      for (const name of used) put(`${directory}/${name}/${job}/cgroup.procs`, pid);
    },
    // Version 1 has no such step: the death of the pid namespace's first process does it.
    kill: () => {},
    populated: () => membersOf(`${directory}/pids/${job}`).length > 0,
    members: () => membersOf(`${directory}/pids/${job}`),
    usage: () => ({
      cpuMs: Math.round(Number(readOr(`${cpu}/cpuacct.usage`, "0")) / 1e6),
      peakBytes: Number(readOr(`${memory}/memory.max_usage_in_bytes`, "0")),
      oomKills: field(readOr(`${memory}/memory.oom_control`, ""), "oom_kill"),
      forksRefused: field(readOr(`${directory}/pids/${job}/pids.events`, ""), "max"),
    }),
    remove: () => removeGroups(used.map((name) => `${directory}/${name}/${job}`)),
  };
}

/** No groups: memory, processes and CPU are not limited. Only for a machine of one's own. */
export function insecureNoGroups(): Groups {
  const nothing: JobGroup = {
    add: () => {},
    kill: () => {},
    populated: () => false,
    members: () => [],
    usage: () => ({ cpuMs: 0, peakBytes: 0, oomKills: 0, forksRefused: 0 }),
    remove: () => {},
  };
  return { confinement: "insecure-none", create: () => nothing, sweep: () => Promise.resolve() };
}

/** The groups a directory offers: unified if it is of that hierarchy, else version 1. */
export function groupsAt(directory: string): Groups {
  return readOr(`${directory}/cgroup.controllers`, "none") === "none"
    ? legacyGroups(directory)
    : unifiedGroups(directory);
}

/** Waits for killed processes to leave; a group that stays is told by its removal. */
async function emptied(populated: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && populated(); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
