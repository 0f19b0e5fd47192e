// The agent's neighbours for tests, speaking the real protocols: a management server on a real port, a
// runner on a real socket, and an agent between them.
import { create } from "@bufbuild/protobuf";
import {
  ACKNOWLEDGE,
  AgentService,
  type ClientSecurity,
  connect,
  cvms,
  CvmsService,
  encodeLine,
  type FinishedEvent,
  implement,
  MAX_REQUEST_BYTES,
  parseRequest,
  readLines,
  Received,
  type RpcClient,
  type RpcServer,
  type RunnerEvent,
  type RunRequest,
  serve,
  type TlsServer,
} from "../proto/mod.ts";
import { Agent } from "./agent.ts";
import { type AgentConfig, readCommand } from "./config.ts";
import { introduce, management } from "./management.ts";
import { manifestBytes, type Run } from "./_parties.ts";
import { Runner, type RunnerTimes } from "./runner.ts";
import { Session } from "./session.ts";
import { Telemetry } from "./telemetry.ts";
import { UnsentFile } from "./unsent.ts";
import { WorkArea } from "./work.ts";

type Server = Exclude<cvms.ServerStreamMessage["message"], { case: undefined }>;

/** Text of a message: `event Running/Starting`, `log WARN text`, `runRes 1 `, … */
export function textOf({ message }: cvms.ClientStreamMessage): string {
  switch (message.case) {
    case "agentEvent":
      return `event ${message.value.eventType}/${message.value.status}`;
    case "agentLog":
      return `log ${message.value.level} ${message.value.message}`;
    case "runRes":
      return `runRes ${message.value.computationId} ${message.value.error}`;
    case "stopComputationRes":
      return `stopRes ${message.value.computationId} ${message.value.message}`;
    case "agentStateRes":
      return `stateRes ${message.value.id} ${message.value.state}`;
    default:
      return String(message.case);
  }
}

/** One stream of an agent, seen from the server. */
export class Connection {
  /** Texts of its messages, without those that a stream before had brought. */
  readonly received: string[] = [];
  /** Messages that a stream before had brought. */
  doubled = 0;
  readonly messages: cvms.ClientStreamMessage[] = [];
  readonly #out: (cvms.ServerStreamMessage | undefined)[] = [];
  #wakeOut = () => {};
  #wakeIn: (() => void)[] = [];
  #seen = 0;

  send(message: Server): void {
    this.#out.push(create(cvms.ServerStreamMessageSchema, { message }));
    this.#wakeOut();
  }

  /** Sends a run request as the Go server does: pieces, then an empty last one. */
  manifest(run: Run, bytes = manifestBytes(run)): void {
    const id = run.id ?? "";
    const chunk = (data: Uint8Array, isLast: boolean) =>
      this.send({
        case: "runReqChunks",
        value: create(cvms.RunReqChunksSchema, { id, data: new Uint8Array(data), isLast }),
      });
    const half = Math.ceil(bytes.length / 2);
    chunk(bytes.subarray(0, half), false);
    chunk(bytes.subarray(half), false);
    chunk(new Uint8Array(), true);
  }

  stop(computationId = "1"): void {
    this.send({
      case: "stopComputation",
      value: create(cvms.StopComputationSchema, { computationId }),
    });
  }

  askState(id = "7"): void {
    this.send({ case: "agentStateReq", value: create(cvms.AgentStateReqSchema, { id }) });
  }

  /** Ends the stream. */
  end(): void {
    this.#out.push(undefined);
    this.#wakeOut();
  }

  /** The next message, after those found before, whose text begins so or matches. */
  async until(what: string | RegExp): Promise<string> {
    while (true) {
      while (this.#seen < this.received.length) {
        const text = this.received[this.#seen++] as string;
        if (typeof what === "string" ? text.startsWith(what) : what.test(text)) return text;
        if (text === "event Failed/Failed") throw new Error(this.received.join("\n"));
      }
      await new Promise<void>((resolve) => this.#wakeIn.push(resolve));
    }
  }

  /** Used by the server; gives whether the message is new. */
  take(message: cvms.ClientStreamMessage, all?: Received): boolean {
    if (all !== undefined) {
      const fresh = all.isNew(message);
      const value = all.acknowledge(message);
      if (value !== undefined) {
        this.send({ case: "acknowledgement", value: create(cvms.AcknowledgementSchema, value) });
      }
      if (!fresh) {
        this.doubled++;
        return false;
      }
    }
    this.messages.push(message);
    this.received.push(textOf(message));
    for (const wake of this.#wakeIn.splice(0)) wake();
    return true;
  }

  /** Used by the server. */
  async *outgoing(): AsyncGenerator<cvms.ServerStreamMessage> {
    while (true) {
      while (this.#out.length > 0) {
        const next = this.#out.shift();
        if (next === undefined) return;
        yield next;
      }
      await new Promise<void>((resolve) => this.#wakeOut = resolve);
    }
  }
}

/** A management server: one of ours, which confirms events, or one like the Go servers. */
export class FakeManagement implements AsyncDisposable {
  readonly connections: Connection[] = [];
  /** New messages of all streams in the order they came. */
  readonly all: cvms.ClientStreamMessage[] = [];
  readonly #received = new Received();
  readonly #waiting: ((connection: Connection) => void)[] = [];
  #server: RpcServer | undefined;
  #taken = 0;

  static async start(
    port = 0,
    tls?: TlsServer,
    kind: "ours" | "go" = "ours",
  ): Promise<FakeManagement> {
    const fake = new FakeManagement();
    fake.#server = await serve({
      host: "127.0.0.1",
      port,
      ...(tls === undefined ? {} : { tls }),
      services: [implement(CvmsService, {
        process: (requests, call) => {
          const connection = new Connection();
          const confirms = kind === "ours" && call.metadata.get(ACKNOWLEDGE)[0] === "1";
          const all = confirms ? fake.#received : undefined;
          if (confirms) {
            const value = create(cvms.AcknowledgementSchema, {});
            connection.send({ case: "acknowledgement", value });
          }
          (async () => {
            for await (const message of requests) {
              if (!connection.take(message, all)) continue;
              fake.all.push(message);
              for (const wake of fake.#wake.splice(0)) wake();
            }
          })().catch(() => {}).finally(() => connection.end());
          fake.connections.push(connection);
          fake.#waiting.shift()?.(connection);
          return connection.outgoing();
        },
      })],
    });
    return fake;
  }

  get port(): number {
    return (this.#server as RpcServer).port;
  }

  readonly #wake: (() => void)[] = [];

  /** Resolves when a message with this text has come over any stream. */
  async came(text: string): Promise<void> {
    while (this.all.findLast((message) => textOf(message) === text) === undefined) {
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  /** The next stream an agent opens. */
  next(): Promise<Connection> {
    const connection = this.connections[this.#taken++];
    if (connection !== undefined) return Promise.resolve(connection);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.connections) connection.end();
    await this.#server?.close(0);
  }
}

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
    times?: Partial<RunnerTimes>;
    reconnectMs?: number;
  }): Promise<TestAgent> {
    const env: Record<string, string> = {
      AGENT_CVM_GRPC_URL: `127.0.0.1:${options.server}`,
      AGENT_GRPC_HOST: "127.0.0.1",
      AGENT_GRPC_PORT: String(options.port ?? freePort()),
      ...options.env,
    };
    const argv = ["--compat", "--work", options.work, ...options.argv ?? []];
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
