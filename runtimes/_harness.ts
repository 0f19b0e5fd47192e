// For tests: a real runner started by its launcher (as root it becomes another user), jobs in a real
// work area, and a client that speaks the protocol.
import {
  encodeLine,
  type FinishedEvent,
  type Kind,
  type Limits,
  MAX_EVENT_BYTES,
  type Mode,
  parseEvent,
  readLines,
  type RunnerEvent,
  type StartedEvent,
} from "../proto/runner/mod.ts";

/** Fixed, because a permission list names the socket: tests of this folder run one at a time. */
export const BASE = "/tmp/cocos-runtimes-test";
/** The runner's socket. */
export const SOCKET = `${BASE}/runner.sock`;
/** The runner's work area. */
export const WORK = `${BASE}/work`;

const LAUNCHER = new URL("../bin/cocos-runner", import.meta.url).pathname;

/**
 * Waits until no other test run uses {@linkcode BASE}, in this or another process; dispose the result.
 */
export async function lockBase(): Promise<Disposable> {
  const file = await Deno.open(`${BASE}.lock`, { read: true, write: true, create: true });
  await file.lock(true);
  return file;
}

/** Who the tests run as: root's runner has control groups, another user's has not. */
export const AS_ROOT = Deno.uid() === 0;

/** What a job is made of. */
export interface JobSpec {
  readonly kind?: Kind;
  readonly algo: string | Uint8Array;
  readonly args?: readonly string[];
  readonly limits?: Partial<Limits>;
  readonly egress?: readonly string[];
  readonly datasets?: Readonly<Record<string, string>>;
  readonly requirements?: Readonly<Record<string, string | Uint8Array>>;
  readonly pythonRuntime?: string;
  readonly mode?: Mode;
  /** Ends the job when this aborts. */
  readonly signal?: AbortSignal;
  readonly onStarted?: (event: StartedEvent) => void | Promise<void>;
}

/** How a job ended. */
export interface JobEnd {
  readonly id: string;
  /** Directory of its results. */
  readonly results: string;
  readonly events: readonly RunnerEvent[];
  readonly finished: FinishedEvent;
  readonly stdout: string;
  readonly stderr: string;
  readonly dropped: number;
}

/** A runner process. */
export interface TestRunner extends AsyncDisposable {
  /** Its log lines so far. */
  readonly log: string[];
  readonly process: Deno.ChildProcess;
  /** Lets the next runner start although this one, killed by the test, was not disposed. */
  readonly release: () => void;
}

/**
 * Starts a runner with flags and variables of its own and waits until it is ready; rejects with its
 * output. `onEnd` is called when it has ended, before its directory is removed.
 */
export async function startRunner(
  flags: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
  onEnd: () => void = () => {},
): Promise<TestRunner> {
  const lock = await lockBase();
  await Deno.mkdir(BASE, { recursive: true });
  const process = new Deno.Command("/bin/sh", {
    args: [
      LAUNCHER,
      ...["--work", WORK, "--socket", SOCKET, "--log-level", "debug"],
      ...(AS_ROOT || flags.includes("--cgroup") ? [] : ["--insecure-no-cgroup"]),
      ...flags,
    ],
    env: { COCOS_DENO: Deno.execPath(), ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const log: string[] = [];
  const ready = Promise.withResolvers<void>();
  const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    let rest = "";
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() as string;
      log.push(...lines);
      if (lines.some((line) => line.includes('"runner ready"'))) ready.resolve();
    }
    if (rest !== "") log.push(rest);
  };
  const over = Promise.all([read(process.stdout), read(process.stderr), process.status]);
  over.then(() => ready.reject(new Error(`the runner ended: ${log.join("\n")}`)));
  try {
    await ready.promise;
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
  return {
    log,
    process,
    release: () => lock[Symbol.dispose](),
    [Symbol.asyncDispose]: async () => {
      process.kill("SIGTERM");
      await over;
      onEnd();
      await Deno.remove(BASE, { recursive: true });
      lock[Symbol.dispose]();
    },
  };
}

/** A fresh job id; random, because a test run that was killed leaves its jobs behind. */
export function jobId(): string {
  return `job-${crypto.getRandomValues(new Uint8Array(8)).toHex()}`;
}

/** Makes a job's directory as the agent does; the group is inherited from the work area. */
export async function makeJob(spec: JobSpec, id = jobId()): Promise<string> {
  const directory = `${WORK}/${id}`;
  const make = async (path: string, mode: number) => {
    await Deno.mkdir(path);
    await Deno.chmod(path, mode);
  };
  const put = async (path: string, content: string | Uint8Array, mode: number) => {
    if (typeof content === "string") await Deno.writeTextFile(path, content);
    else await Deno.writeFile(path, content);
    await Deno.chmod(path, mode);
  };
  await make(directory, 0o2750);
  await put(`${directory}/algo`, spec.algo, (spec.kind ?? "bin") === "bin" ? 0o750 : 0o640);
  await make(`${directory}/datasets`, 0o2750);
  for (const [name, content] of Object.entries(spec.datasets ?? {})) {
    await put(`${directory}/datasets/${name}`, content, 0o640);
  }
  await make(`${directory}/results`, 0o2770);
  if (spec.requirements !== undefined) {
    await make(`${directory}/requirements`, 0o2750);
    for (const [name, content] of Object.entries(spec.requirements)) {
      await put(`${directory}/requirements/${name}`, content, 0o640);
    }
  }
  return id;
}

/** Sends bytes on a fresh connection and gives the events that come back. */
export async function* converse(
  first: Uint8Array,
  signal?: AbortSignal,
): AsyncGenerator<RunnerEvent> {
  using conn = await Deno.connect({ transport: "unix", path: SOCKET });
  const stop = () => void conn.write(encodeLine({ type: "stop" })).catch(() => {});
  signal?.addEventListener("abort", stop);
  await conn.write(first);
  // A signal may come while the connection is made.
  if (signal?.aborted === true) stop();
  const chunks = async function* () {
    const buffer = new Uint8Array(1 << 16);
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
      yield buffer.slice(0, n);
    }
  };
  try {
    for await (const line of readLines(chunks(), MAX_EVENT_BYTES)) yield parseEvent(line);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** The request line of a job that has been made. */
export function requestOf(id: string, spec: JobSpec): Uint8Array {
  return encodeLine({
    type: "run",
    protocol: 1,
    job: id,
    kind: spec.kind ?? "bin",
    pythonRuntime: spec.pythonRuntime ?? "",
    args: spec.args ?? [],
    limits: spec.limits ?? {},
    hasRequirements: spec.requirements !== undefined,
    ...(spec.mode === undefined ? {} : { mode: spec.mode }),
    ...(spec.egress === undefined ? {} : { egress: spec.egress }),
  });
}

/** Makes and runs a job to its end. */
export async function runJob(spec: JobSpec): Promise<JobEnd> {
  return await runMade(await makeJob(spec), spec);
}

/** Runs a job that has been made. */
export async function runMade(id: string, spec: JobSpec): Promise<JobEnd> {
  const events: RunnerEvent[] = [];
  const text = { stdout: "", stderr: "" };
  let dropped = 0;
  for await (const event of converse(requestOf(id, spec), spec.signal)) {
    events.push(event);
    if (event.type === "output") {
      if (text[event.stream].length < 1 << 20) {
        text[event.stream] += new TextDecoder().decode(event.data);
      }
    } else if (event.type === "dropped") dropped += event.bytes;
    else if (event.type === "started") await spec.onStarted?.(event);
  }
  const finished = events.at(-1);
  if (finished?.type !== "finished") throw new Error(`the job has no end: ${events.length} events`);
  return { id, results: `${WORK}/${id}/results`, events, finished, ...text, dropped };
}
