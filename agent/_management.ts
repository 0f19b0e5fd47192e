// A management server for tests on a real port: it gives manifests, stops, asks, and keeps all that
// agents say over all their streams.
import { create } from "@bufbuild/protobuf";
import {
  ACKNOWLEDGE,
  cvms,
  CvmsService,
  implement,
  Received,
  type RpcServer,
  serve,
  type TlsServer,
} from "../proto/mod.ts";
import { manifestBytes, type Run } from "./_parties.ts";

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
  /** Whether {@linkcode Connection.until} passes over a failure as over any other message. */
  mayFail = false;
  readonly messages: cvms.ClientStreamMessage[] = [];
  readonly #over = Promise.withResolvers<void>();
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

  /** Resolves when the stream is over. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** Ends the stream. */
  end(): void {
    this.#over.resolve();
    this.#out.push(undefined);
    this.#wakeOut();
  }

  /** The next message, after those found before, whose text begins so or matches. */
  async until(what: string | RegExp): Promise<string> {
    while (true) {
      while (this.#seen < this.received.length) {
        const text = this.received[this.#seen++] as string;
        if (typeof what === "string" ? text.startsWith(what) : what.test(text)) return text;
        if (text === "event Failed/Failed" && !this.mayFail) {
          throw new Error(this.received.join("\n"));
        }
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

  /** Resolves when a message with this text has come over any stream, or over the given one. */
  async came(text: string, over?: Connection): Promise<void> {
    const all = over?.messages ?? this.all;
    while (all.findLast((message) => textOf(message) === text) === undefined) {
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
