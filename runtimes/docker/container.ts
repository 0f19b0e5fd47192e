// What a container is made of, as data: one pure function, and the comparison with what the engine
// made of it. The algorithm's image chooses its command, its variables and where it starts.
import { CocosError } from "../../base/mod.ts";
import type { Limits } from "../../proto/runner/mod.ts";
import { seccompProfile } from "./seccomp.ts";

/** What varies. */
export interface ContainerSpec {
  /** The image, by its content. */
  readonly image: string;
  readonly command: readonly string[];
  readonly environment: readonly string[];
  readonly workdir: string;
  /** `UID:GID` inside; never root's. */
  readonly user: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly datasets: string;
  readonly results: string;
  readonly limits: Limits;
  /** Whether the engine can hold swap; where not, the control group around the container does. */
  readonly swapLimit: boolean;
  /** CPUs the engine has; it refuses a higher limit. */
  readonly cpus: number;
  /** The control group it goes in, if ours can be named to the engine. */
  readonly cgroupParent: string | undefined;
}

/** Variables every algorithm has; PATH and LANG are the image's if it has any. */
const ALWAYS = ["HOME=/tmp", "TMPDIR=/tmp"];
const UNLESS_SET = ["LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin"];

/** Parts of /proc that tell of the machine, and those that change it. */
const MASKED = [
  "acpi",
  "asound",
  "kcore",
  "keys",
  "kmsg",
  "kpagecount",
  "kpageflags",
  "kpagecgroup",
]
  .concat(["latency_stats", "pagetypeinfo", "sched_debug", "scsi", "slabinfo", "timer_list"])
  .concat(["timer_stats", "vmallocinfo"]);
const READ_ONLY = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/** Descriptors of one process, as for the other kinds (bin/cocos-runner). */
const DESCRIPTORS = 4096;
/** An algorithm dies before runner and agent when the machine's memory ends (threats C-4). */
const OOM_SCORE = 600;

const PROFILE = JSON.stringify(seccompProfile());

/** The body of `POST /containers/create`. */
export function containerBody(spec: ContainerSpec): Record<string, unknown> {
  const { limits } = spec;
  const [program, ...rest] = spec.command;
  const named = (variable: string) => variable.slice(0, variable.indexOf("=") + 1);
  const defaults = UNLESS_SET.filter((each) =>
    !spec.environment.some((own) => own.startsWith(named(each)))
  );
  return {
    Image: spec.image,
    Entrypoint: [program],
    Cmd: rest,
    Env: [
      ...spec.environment.filter((own) => !ALWAYS.some((each) => own.startsWith(named(each)))),
      ...defaults,
      ...ALWAYS,
    ],
    WorkingDir: spec.workdir,
    User: spec.user,
    Labels: spec.labels,
    Hostname: "cocos",
    NetworkDisabled: true,
    Tty: false,
    OpenStdin: false,
    Healthcheck: { Test: ["NONE"] },
    HostConfig: {
      NetworkMode: "none",
      IpcMode: "private",
      CgroupnsMode: "private",
      PidMode: "",
      UTSMode: "",
      UsernsMode: "",
      Privileged: false,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges", `seccomp=${PROFILE}`],
      ReadonlyRootfs: true,
      // Nothing of the machine's devices and kernel objects: /sys is empty.
      Tmpfs: {
        "/sys": "ro,noexec,nosuid,nodev,size=4096,mode=0555",
        "/tmp": `rw,noexec,nosuid,nodev,size=${limits.tmpBytes},mode=1777`,
      },
      ShmSize: limits.tmpBytes,
      MaskedPaths: MASKED.map((name) => `/proc/${name}`),
      ReadonlyPaths: READ_ONLY.map((name) => `/proc/${name}`),
      Memory: limits.memoryBytes,
      MemorySwap: spec.swapLimit ? limits.memoryBytes : -1,
      PidsLimit: limits.processes,
      NanoCpus: Math.round(Math.min(limits.cpus, spec.cpus) * 1e9),
      OomScoreAdj: OOM_SCORE,
      Ulimits: [
        { Name: "core", Soft: 0, Hard: 0 },
        { Name: "nofile", Soft: DESCRIPTORS, Hard: DESCRIPTORS },
      ],
      Mounts: [mount(spec.datasets, "datasets", true), mount(spec.results, "results", false)],
      // What is printed goes to the runner's gate and is kept nowhere.
      LogConfig: { Type: "none" },
      RestartPolicy: { Name: "no" },
      AutoRemove: false,
      ...(spec.cgroupParent === undefined ? {} : { CgroupParent: spec.cgroupParent }),
    },
  };
}

function mount(source: string, name: string, readOnly: boolean): Record<string, unknown> {
  return {
    Type: "bind",
    Source: source,
    Target: `/cocos/${name}`,
    ReadOnly: readOnly,
    BindOptions: { Propagation: "rprivate", NonRecursive: true },
  };
}

/**
 * Whether the engine made what was asked for: a field it doesn't know it leaves away without a word,
 * and it adds what an image's configuration says where we said nothing.
 *
 * @throws {CocosError} `remote` that names the first difference.
 */
export function checkMade(asked: Record<string, unknown>, made: Record<string, unknown>): void {
  const { Image: image, HostConfig: host, NetworkDisabled: _, ...config } = asked;
  const found = difference(host, made["HostConfig"], "HostConfig") ??
    difference(config, made["Config"], "Config") ??
    difference(image, made["Image"], "Image") ??
    nothing(made["HostConfig"], ["Binds", "CapAdd", "Devices", "DeviceRequests", "VolumesFrom"]) ??
    nothing(made["Config"], ["Volumes"]) ??
    mounts(made["Mounts"]);
  if (found !== undefined) {
    throw new CocosError("remote", `The container engine made another container: ${found}`, {
      hint: "Use an engine that keeps to Docker's API.",
    });
  }
}

/** The first place where something asked for isn't there. */
function difference(asked: unknown, made: unknown, path: string): string | undefined {
  if (typeof asked !== "object" || asked === null) return asked === made ? undefined : path;
  if (Array.isArray(asked)) {
    const list = Array.isArray(made) ? made : [];
    if (list.length !== asked.length) return path;
    return first(asked.map((each, index) => difference(each, list[index], `${path}[${index}]`)));
  }
  const members = typeof made === "object" && made !== null ? made as Record<string, unknown> : {};
  return first(
    Object.entries(asked).map(([name, value]) =>
      // The engine leaves out what is false or empty.
      difference(value, members[name] ?? (isEmpty(value) ? value : undefined), `${path}.${name}`)
    ),
  );
}

function isEmpty(value: unknown): boolean {
  return value === false || value === "" || (Array.isArray(value) && value.length === 0);
}

function first(found: readonly (string | undefined)[]): string | undefined {
  return found.find((each) => each !== undefined);
}

function nothing(made: unknown, names: readonly string[]): string | undefined {
  const members = made as Record<string, unknown>;
  return names.find((name) => Object.keys(members[name] ?? {}).length > 0);
}

/** Our two, and nothing an image brought. */
function mounts(made: unknown): string | undefined {
  const found = (Array.isArray(made) ? made as Record<string, unknown>[] : [])
    .map((each) => `${each["Type"]} ${each["Destination"]} ${each["RW"]}`).sort().join(", ");
  const expected = "bind /cocos/datasets false, bind /cocos/results true";
  return found === expected ? undefined : `Mounts are ${found}`;
}
