// The agent's neighbours for tests, speaking the real protocols: a management server on a real port, a
// runner on a real socket, and an agent between them.
import {
  AgentService,
  type ClientSecurity,
  connect,
  encodeLine,
  type FinishedEvent,
  MAX_REQUEST_BYTES,
  parseRequest,
  readLines,
  type RpcClient,
  type RunnerEvent,
  type RunRequest,
} from "../proto/mod.ts";
import { Agent } from "./agent.ts";
import { type AgentConfig, type Mode, readCommand } from "./config.ts";
import { introduce, management } from "./management.ts";
import { Runner, type RunnerTimes } from "./runner.ts";
import { Session } from "./session.ts";
import { Telemetry } from "./telemetry.ts";
import { UnsentFile } from "./unsent.ts";
import { WorkArea } from "./work.ts";

export { Connection, FakeManagement, textOf } from "./_management.ts";

/** Usage of a run that took nothing. */
export const USAGE: FinishedEvent["usage"] = {
  wallMs: 1,
  cpuMs: 1,
  peakBytes: 0,
  outputBytes: 0,
  resultsFiles: 0,
  resultsBytes: 0,
};

/** Event of an ended run. */
export function finished(
  outcome: FinishedEvent["outcome"],
  more: Partial<FinishedEvent> = {},
): FinishedEvent {
  return { type: "finished", outcome, usage: USAGE, message: outcome, ...more };
}

/** What a fake run may use. */
export interface FakeRun {
  readonly request: RunRequest;
  /** The job's folder. */
  readonly dir: string;
  /** Sends an event. */
  readonly emit: (event: RunnerEvent) => Promise<void>;
  /** Resolves when the agent asks for an end or goes away. */
  readonly stopped: Promise<void>;
  /** Ends the connection without an answer. */
  readonly hangUp: () => void;
}

/** What a fake runner does with a job; `undefined` stands for a runner that died. */
export type Behaviour = (run: FakeRun) => Promise<FinishedEvent | undefined>;

/** A runner on a unix socket. */
export class FakeRunner implements AsyncDisposable {
  readonly socket: string;
  readonly jobs: RunRequest[] = [];
  readonly #listener: Deno.UnixListener;
  readonly #work: string;
  readonly #behaviour: Behaviour;
  readonly #open = new Set<Promise<void>>();
  #wake: (() => void)[] = [];

  constructor(socket: string, work: string, behaviour: Behaviour) {
    this.socket = socket;
    this.#work = work;
    this.#behaviour = behaviour;
    this.#listener = Deno.listen({ transport: "unix", path: socket });
    this.#accept();
  }

  /** Resolves when the first job, or one that is under way, has ended. */
  async idle(): Promise<void> {
    await this.begun(1);
    await Promise.all(this.#open);
  }

  /** Resolves when this many jobs have begun. */
  async begun(count: number): Promise<void> {
    while (this.jobs.length < count) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  async #accept(): Promise<void> {
    try {
      for await (const connection of this.#listener) {
        const served = this.#serve(connection).catch(() => {});
        this.#open.add(served);
        served.then(() => this.#open.delete(served));
      }
    } catch {
      // Closed while it waited.
    }
  }

  async #serve(connection: Deno.UnixConn): Promise<void> {
    let open = true;
    const hangUp = () => {
      if (open) connection.close();
      open = false;
    };
    const lines = readLines(connection.readable, MAX_REQUEST_BYTES);
    const first = await lines.next();
    const request = parseRequest(String(first.value));
    if (request.type !== "run") return hangUp();
    this.jobs.push(request);
    for (const wake of this.#wake.splice(0)) wake();
    const stopped = lines.next().then(() => {}, () => {});
    const emit = async (event: RunnerEvent) => {
      let rest = encodeLine(event);
      while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
    };
    const dir = `${this.#work}/${request.job}`;
    try {
      const end = await this.#behaviour({ request, dir, emit, stopped, hangUp });
      if (end !== undefined) await emit(end);
    } finally {
      hangUp();
      await stopped;
    }
  }

  #closed = false;

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) this.#listener.close();
    this.#closed = true;
    await Promise.all(this.#open);
  }
}

/**
 * A port nobody listens on, below those Linux gives to outgoing connections (32,768 and up): a
 * connection of another test could take one of those while an agent is down.
 */
export function freePort(): number {
  while (true) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    try {
      using listener = Deno.listen({ hostname: "127.0.0.1", port });
      return listener.addr.port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

/** An agent with its session, as main.ts makes it. */
export class TestAgent implements AsyncDisposable {
  readonly agent: Agent;
  readonly config: AgentConfig;
  readonly telemetry: Telemetry;
  readonly lines: string[] = [];
  readonly session: Promise<void>;
  readonly #stop = new AbortController();

  private constructor(config: AgentConfig, times: Partial<RunnerTimes>, reconnectMs: number) {
    this.config = config;
    this.telemetry = new Telemetry("debug", (line) => this.lines.push(line));
    const area = WorkArea.open(config.work);
    const unsent = new UnsentFile(area, (text) => this.telemetry.log("warn", text));
    this.telemetry.outbox.attach(unsent, unsent.read());
    const server = management(config);
    introduce(this.telemetry, server.serial);
    this.agent = new Agent({
      config,
      area,
      runner: new Runner(config.runner, { retryMs: 5, connectMs: 500, ...times }),
      telemetry: this.telemetry,
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.session = promise;
    this.#begin = () =>
      new Session({
        connect: server.connect,
        commands: this.agent,
        telemetry: this.telemetry,
        firstMs: config.vars.AGENT_CVM_GRPC_TIMEOUT,
        reconnectMs,
      }).run(this.#stop.signal).then(resolve, reject);
  }
  readonly #begin: () => void;

  static async start(options: {
    work: string;
    server: number;
    port?: number;
    runner?: string;
    env?: Record<string, string>;
    argv?: string[];
    /** Default `compat`. */
    mode?: Mode;
    times?: Partial<RunnerTimes>;
    reconnectMs?: number;
  }): Promise<TestAgent> {
    const env: Record<string, string> = {
      AGENT_CVM_GRPC_URL: `127.0.0.1:${options.server}`,
      AGENT_GRPC_HOST: "127.0.0.1",
      AGENT_GRPC_PORT: String(options.port ?? freePort()),
      ...options.env,
    };
    const argv = ["--work", options.work, ...options.argv ?? []];
    if (options.mode !== "strict") argv.push("--compat");
    argv.push("--runner", options.runner ?? `${options.work}.sock`);
    const command = readCommand(argv, (name) => env[name]);
    if (command.kind !== "start") throw new Error("no start");
    const made = new TestAgent(
      command.config,
      options.times ?? {},
      options.reconnectMs ?? 5,
    );
    await made.agent.start();
    made.#begin();
    return made;
  }

  /** A client of the front door. */
  client(security: ClientSecurity = { kind: "none" }): RpcClient<typeof AgentService> {
    const target = { host: "127.0.0.1", port: this.config.grantedPort };
    return connect(AgentService, { target, security });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.session.catch(() => {});
    await this.agent[Symbol.asyncDispose]();
  }
}

/** Messages of an upload: pieces of 1,000 bytes, so that even small ones are several. */
export async function* uploadOf<T>(
  data: Uint8Array,
  make: (chunk: Uint8Array<ArrayBuffer>) => T,
): AsyncGenerator<T> {
  for (let at = 0; at < data.length; at += 1_000) {
    yield make(new Uint8Array(data.subarray(at, at + 1_000)));
  }
}

/** Resolves when a file whose path has this in it appears below a folder. Ask before causing it. */
export function appears(folder: string, part: string): Promise<void> {
  const watcher = Deno.watchFs(folder, { recursive: true });
  return (async () => {
    using _ = watcher;
    for await (const { paths } of watcher) if (paths.some((path) => path.includes(part))) return;
  })();
}
