// The runner's unix-socket protocol: one JSON object a line, one job a connection. The agent is the
// client and the runner the server; neither trusts a line before the parsers below have seen it.
import { bad, Reader } from "./_reader.ts";

export { readLines } from "./_reader.ts";

/** Version spoken here; a runner refuses a job of another one. */
export const RUNNER_PROTOCOL = 1;

/** Longest request line in bytes: the arguments are the only large part. */
export const MAX_REQUEST_BYTES = 1 << 20;
/** Longest event line in bytes: one output chunk in base64 and its envelope. */
export const MAX_EVENT_BYTES = 128 << 10;
/** Largest piece of output in one event, before base64. */
export const MAX_OUTPUT_CHUNK = 48 << 10;
/** Most arguments; with {@linkcode MAX_ARGUMENT_BYTES} below Linux's ARG_MAX of 2 MiB. */
export const MAX_ARGUMENTS = 4096;
/** Longest argument in bytes, one below Linux's MAX_ARG_STRLEN for the closing NUL. */
export const MAX_ARGUMENT_BYTES = (128 << 10) - 1;
/** Most package indexes a manifest may name. */
export const MAX_EGRESS = 16;
/** Longest message text in an event, in characters. */
export const MAX_MESSAGE = 4096;

/** Kinds of algorithm, as on the Cocos wire. */
export const KINDS = ["bin", "python", "wasm", "docker"] as const;

/** A kind of algorithm. */
export type Kind = (typeof KINDS)[number];

/** Whose rules hold where those of the Go programs differ from ours. */
export const MODES = ["strict", "compat"] as const;

/** Whose rules hold. */
export type Mode = (typeof MODES)[number];

/** What one run may use at most. */
export interface Limits {
  /** Wall time in seconds, over the installation and the run together. */
  readonly wallSeconds: number;
  /** Memory in bytes: anonymous memory, tmpfs pages and results on a tmpfs all count. */
  readonly memoryBytes: number;
  /** Processes and threads at one time. */
  readonly processes: number;
  /** CPUs' worth of time per second of wall time. */
  readonly cpus: number;
  /** Bytes of `/tmp`. */
  readonly tmpBytes: number;
  /** Bytes of standard output and error that are passed on; the rest is counted and dropped. */
  readonly outputBytes: number;
  /** Bytes of all results, apparent size, so a sparse file counts in full. */
  readonly resultsBytes: number;
  /** Number of files and directories under `results/`. */
  readonly resultsFiles: number;
}

/** Lowest and highest value of each limit. A timer past 2^31 ms would fire at once: 20 days. */
export const LIMIT_RANGES: { readonly [K in keyof Limits]: readonly [number, number] } = {
  wallSeconds: [0.001, 20 * 86_400],
  memoryBytes: [16 << 20, 2 ** 50],
  processes: [4, 32_768],
  cpus: [0.01, 1024],
  tmpBytes: [4096, 2 ** 50],
  outputBytes: [0, 2 ** 40],
  resultsBytes: [0, 2 ** 50],
  resultsFiles: [0, 10_000_000],
};

/** "Run this job": always the first line of a connection. */
export interface RunRequest {
  readonly type: "run";
  readonly protocol: typeof RUNNER_PROTOCOL;
  /** `job-` and 16 lower-case hexadecimal digits: the job's directory in the work area. */
  readonly job: string;
  readonly kind: Kind;
  /** Empty or `python3` for the interpreter of the image; other names are for the driver to judge. */
  readonly pythonRuntime: string;
  /** Arguments after the program's name. */
  readonly args: readonly string[];
  /** Limits the manifest sets; the runner fills in the others. */
  readonly limits: Partial<Limits>;
  /** Whether the job's directory has `requirements/`. */
  readonly hasRequirements: boolean;
  /**
   * Package indexes, `host:port`, the installation of requirements may reach; the run itself never
   * reaches any. Absent: none. A runner that can't grant them refuses the job.
   */
  readonly egress?: readonly string[];
  /** `strict` if it isn't said. */
  readonly mode?: Mode;
}

/** "End it now": the run is killed and `finished` with `stopped` follows. Closing does the same. */
export interface StopRequest {
  readonly type: "stop";
}

/** A line from the agent. */
export type RunnerRequest = RunRequest | StopRequest;

/** Parts of a run: installing the requirements (no data in sight), then the algorithm. */
export const PHASES = ["install", "run"] as const;

/** A part of a run. */
export type Phase = (typeof PHASES)[number];

/** How group limits are enforced; `insecure-none` means that they are not. */
export const CONFINEMENTS = ["cgroup-v2", "cgroup-v1", "insecure-none"] as const;

/** How group limits are enforced. */
export type Confinement = (typeof CONFINEMENTS)[number];

/** A phase has begun: its first process exists and is confined. */
export interface StartedEvent {
  readonly type: "started";
  readonly phase: Phase;
  readonly confinement: Confinement;
  /** Limits in force, the runner's defaults filled in. */
  readonly limits: Limits;
}

/** A piece of what the algorithm printed; cut anywhere, also inside a character. */
export interface OutputEvent {
  readonly type: "output";
  readonly phase: Phase;
  readonly stream: "stdout" | "stderr";
  readonly data: Uint8Array;
}

/** Output that was read and thrown away since the last such event (rate or amount exceeded). */
export interface DroppedEvent {
  readonly type: "dropped";
  readonly bytes: number;
}

/** Outcomes of a run. */
export const OUTCOMES = [
  /** Exit code 0, results within limits. */
  "ok",
  /** Another exit code. */
  "exit",
  /** Ended by a signal of its own doing. */
  "signal",
  /** Past its wall time. */
  "timeout",
  /** Killed for memory. */
  "oom",
  /** Results over their limit. */
  "limit",
  /** Ended by `stop` or by the connection's end. */
  "stopped",
  /** The request, a file of the job or its requirements are not acceptable; nothing ran. */
  "refused",
  /** The requirements could not be installed. */
  "install-failed",
  /** The sandbox or the program could not be started. */
  "start-failed",
] as const;

/** Outcome of a run. */
export type Outcome = (typeof OUTCOMES)[number];

/** What a run used. */
export interface Usage {
  readonly wallMs: number;
  /** User and system time of all its processes; 0 where no cgroup counts it. */
  readonly cpuMs: number;
  /** Peak memory of the group in bytes; 0 where no cgroup counts it. */
  readonly peakBytes: number;
  /** Bytes printed on both streams, dropped ones included. */
  readonly outputBytes: number;
  /** Files in `results/` after the run. */
  readonly resultsFiles: number;
  /** Their bytes. */
  readonly resultsBytes: number;
}

/** The last event: every process of the run is dead and `results/` is readable for the agent. */
export interface FinishedEvent {
  readonly type: "finished";
  readonly outcome: Outcome;
  /** Exit code, with `exit`. */
  readonly code?: number;
  /** Signal number, with `signal`. */
  readonly signal?: number;
  readonly usage: Usage;
  /** One sentence for a person, without anything the algorithm printed. */
  readonly message: string;
}

/** A line from the runner. */
export type RunnerEvent = StartedEvent | OutputEvent | DroppedEvent | FinishedEvent;

/** Whether a text names a package index: a name in lower case or an IPv4 address, and a port. */
export function isEgress(value: string): boolean {
  const match = /^([a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,16}):([1-9][0-9]{0,4})$/.exec(value);
  return match !== null && !/^-|-$|-\.|\.-/.test(match[1] as string) && Number(match[2]) <= 65_535;
}

/** Whether a text is a job's name; also what keeps `..` and `/` out of every path made of it. */
export function isJobId(value: string): boolean {
  return /^job-[0-9a-f]{16}$/.test(value);
}

const encoder = new TextEncoder();

/** One line of a request or an event, newline included. */
export function encodeLine(message: RunnerRequest | RunnerEvent): Uint8Array {
  // Before JSON sees the bytes: Node's Buffer has an idea of its own how it looks in JSON.
  const plain = message.type === "output" ? { ...message, data: message.data.toBase64() } : message;
  return encoder.encode(JSON.stringify(plain) + "\n");
}

/**
 * Reads a request line.
 *
 * @throws {CocosError} `invalid-argument` that names the field.
 */
export function parseRequest(line: string): RunnerRequest {
  const object = read(line);
  const type = object.word("type", ["run", "stop"]);
  if (type === "stop") return object.done({ type });
  return object.done({
    type,
    protocol: object.number("protocol", RUNNER_PROTOCOL, RUNNER_PROTOCOL) as typeof RUNNER_PROTOCOL,
    job: object.matching("job", isJobId),
    kind: object.word("kind", KINDS),
    pythonRuntime: object.text("pythonRuntime", 256),
    args: readArguments(object.take("args")),
    limits: readLimits(object.take("limits"), false),
    hasRequirements: object.boolean("hasRequirements"),
    ...(object.has("egress") ? { egress: readEgress(object.take("egress")) } : {}),
    ...(object.has("mode") ? { mode: object.word("mode", MODES) } : {}),
  });
}

/**
 * Reads an event line.
 *
 * @throws {CocosError} `invalid-argument` that names the field.
 */
export function parseEvent(line: string): RunnerEvent {
  const object = read(line);
  const type = object.word("type", ["started", "output", "dropped", "finished"]);
  switch (type) {
    case "started":
      return object.done({
        type,
        phase: object.word("phase", PHASES),
        confinement: object.word("confinement", CONFINEMENTS),
        limits: readLimits(object.take("limits"), true) as Limits,
      });
    case "output":
      return object.done({
        type,
        phase: object.word("phase", PHASES),
        stream: object.word("stream", ["stdout", "stderr"]),
        data: readBase64(object.text("data", MAX_EVENT_BYTES)),
      });
    case "dropped":
      return object.done({ type, bytes: object.count("bytes") });
    case "finished": {
      const outcome = object.word("outcome", OUTCOMES);
      return object.done({
        type,
        outcome,
        ...(outcome === "exit" ? { code: object.number("code", 1, 255) } : {}),
        ...(outcome === "signal" ? { signal: object.number("signal", 1, 64) } : {}),
        usage: readUsage(object.take("usage")),
        message: object.text("message", MAX_MESSAGE),
      });
    }
  }
}

function read(line: string): Reader {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw bad("a line", "be JSON", cause);
  }
  return new Reader(value, "");
}

function readArguments(value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length > MAX_ARGUMENTS) {
    throw bad("args", `be a list of at most ${MAX_ARGUMENTS} texts`);
  }
  value.forEach((argument: unknown, index) => {
    if (
      typeof argument !== "string" || argument.includes("\0") || !argument.isWellFormed() ||
      encoder.encode(argument).length > MAX_ARGUMENT_BYTES
    ) {
      throw bad(`args[${index}]`, `be text without NUL of at most ${MAX_ARGUMENT_BYTES} bytes`);
    }
  });
  return Object.freeze(value as string[]);
}

function readEgress(value: unknown): readonly string[] {
  const isName = (each: unknown) => typeof each === "string" && isEgress(each);
  if (!Array.isArray(value) || value.length > MAX_EGRESS || !value.every(isName)) {
    throw bad("egress", `be a list of at most ${MAX_EGRESS} texts host:port`);
  }
  return Object.freeze(value as string[]);
}

function readLimits(value: unknown, all: boolean): Partial<Limits> {
  const object = new Reader(value, "limits.");
  const limits: Record<string, number> = {};
  for (const [name, [min, max]] of Object.entries(LIMIT_RANGES)) {
    if (!all && !object.has(name)) continue;
    const limit = object.number(name, min, max);
    if (name !== "wallSeconds" && name !== "cpus" && !Number.isInteger(limit)) {
      throw bad(`limits.${name}`, "be a whole number");
    }
    limits[name] = limit;
  }
  return object.done(limits);
}

function readUsage(value: unknown): Usage {
  const object = new Reader(value, "usage.");
  return object.done({
    wallMs: object.count("wallMs"),
    cpuMs: object.count("cpuMs"),
    peakBytes: object.count("peakBytes"),
    outputBytes: object.count("outputBytes"),
    resultsFiles: object.count("resultsFiles"),
    resultsBytes: object.count("resultsBytes"),
  });
}

function readBase64(text: string): Uint8Array {
  let data: Uint8Array;
  try {
    data = Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch (cause) {
    throw bad("data", "be base64", cause);
  }
  if (data.length > MAX_OUTPUT_CHUNK) throw bad("data", `hold at most ${MAX_OUTPUT_CHUNK} bytes`);
  return data;
}
