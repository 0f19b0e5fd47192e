// The agent process of a test, with its runner, through its launcher; and a management server inside
// the test that gives it manifests, stops it, and keeps all it says.
import { create, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  cvms,
  CvmsService,
  implement,
  type RpcServer,
  serve,
  type TlsServer,
} from "../proto/mod.ts";
import type { House, Program } from "./_house.ts";

type Manifest = MessageInitShape<typeof cvms.ComputationRunReqSchema>;
type ToAgent = NonNullable<MessageInitShape<typeof cvms.ServerStreamMessageSchema>["message"]>;

/** Longest wait for a word of the agent. */
const LIMIT_MS = 60_000;

/** Flags of the launcher on this machine: control groups need root. */
function launcherFlags(): string[] {
  return Deno.uid() === 0 ? [] : ["--insecure-no-cgroup"];
}

/**
 * A work area of the test's own, for `--work`: it can be looked into, and lies on the disk, while the
 * launcher's own is on a tmpfs that gigabytes may not fit.
 */
export async function workArea(house: House): Promise<string> {
  const area = house.path("work");
  await Deno.mkdir(area);
  // Users of the launchers when root starts them (bin/cocos-agent).
  if (Deno.uid() === 0) await Deno.chown(area, 61_000, 62_000);
  await Deno.chmod(area, 0o2770);
  return area;
}

/** Starts `bin/cocos-agent` in compat for a management server on this machine. */
export function startAgent(
  house: House,
  managementPort: number,
  port: number,
  env: Record<string, string> = {},
  flags: readonly string[] = [],
): Program {
  return startStrictAgent(house, managementPort, port, env, ["--compat", ...flags]);
}

/** Starts `bin/cocos-agent` as it is by default. */
export function startStrictAgent(
  house: House,
  managementPort: number,
  port: number,
  env: Record<string, string> = {},
  flags: readonly string[] = [],
): Program {
  return house.start("cocos-agent", [...launcherFlags(), ...flags], {
    AGENT_CVM_GRPC_URL: `127.0.0.1:${managementPort}`,
    AGENT_GRPC_HOST: "127.0.0.1",
    AGENT_GRPC_PORT: String(port),
    ...env,
  });
}

/** A management server in the test's own process. */
export class Management implements AsyncDisposable {
  /** All that agents said: `event Running/Starting`, `log INFO …`, `runRes 1 …`, `state …`. */
  readonly said: string[] = [];
  readonly #server: RpcServer;
  readonly #queue: ToAgent[];
  readonly #wakers: Set<() => void>;
  readonly #listeners: Set<() => void>;

  private constructor(
    server: RpcServer,
    queue: ToAgent[],
    wakers: Set<() => void>,
    listeners: Set<() => void>,
    said: string[],
  ) {
    this.#server = server;
    this.#queue = queue;
    this.#wakers = wakers;
    this.#listeners = listeners;
    this.said = said;
  }

  /** Starts one on any port of 127.0.0.1. */
  static async start(tls?: TlsServer): Promise<Management> {
    const queue: ToAgent[] = [];
    const wakers = new Set<() => void>();
    const listeners = new Set<() => void>();
    const said: string[] = [];
    const server = await serve({
      host: "127.0.0.1",
      port: 0,
      healthName: "cvms_test_server",
      ...(tls === undefined ? {} : { tls }),
      services: [implement(CvmsService, {
        process: async function* (messages, call) {
          (async () => {
            for await (const { message } of messages) {
              said.push(describe(message));
              for (const look of [...listeners]) look();
            }
          })().catch(() => {});
          while (!call.signal.aborted) {
            for (let each = queue.shift(); each !== undefined; each = queue.shift()) {
              yield { message: each };
            }
            await new Promise<void>((resolve) => {
              const wake = () => {
                wakers.delete(wake);
                resolve();
              };
              wakers.add(wake);
              call.signal.addEventListener("abort", wake, { once: true });
            });
          }
        },
      })],
    });
    return new Management(server, queue, wakers, listeners, said);
  }

  get port(): number {
    return this.#server.port;
  }

  /** Sends a message to the agent. */
  tell(message: ToAgent): void {
    this.#queue.push(message);
    for (const wake of [...this.#wakers]) wake();
  }

  /** Sends a manifest as one piece and an empty last one. */
  give(manifest: Manifest): void {
    const id = manifest.id ?? "";
    const data = toBinary(
      cvms.ComputationRunReqSchema,
      create(cvms.ComputationRunReqSchema, manifest),
    );
    this.tell({ case: "runReqChunks", value: { id, data } });
    this.tell({ case: "runReqChunks", value: { id, isLast: true } });
  }

  /** Asks for the end of what runs. */
  stop(computationId: string): void {
    this.tell({ case: "stopComputation", value: { computationId } });
  }

  /** Waits for the `n`-th line that begins with `text`. */
  until(text: string, n = 1, limitMs = LIMIT_MS): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const look = () => {
      const found = this.said.filter((line) => line.startsWith(text))[n - 1];
      if (found !== undefined) resolve(found);
    };
    const timer = setTimeout(
      () => reject(new Error(`no ${text} (${n}) among:\n${this.said.join("\n")}`)),
      limitMs,
    );
    this.#listeners.add(look);
    look();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#listeners.delete(look);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const wake of [...this.#wakers]) wake();
    await this.#server.close(0);
  }
}

/** One line of a message. */
function describe(message: cvms.ClientStreamMessage["message"]): string {
  switch (message.case) {
    case "agentLog":
      return `log ${message.value.level} ${message.value.message}`;
    case "agentEvent":
      return `event ${message.value.eventType}/${message.value.status}`;
    case "runRes":
      return `runRes ${message.value.computationId} ${message.value.error}${message.value.doorKey}`;
    case "stopComputationRes":
      return `stopped ${message.value.computationId} ${message.value.message}`;
    case "agentStateRes":
      return `state ${message.value.id} ${message.value.state}`;
    default:
      return message.case ?? "nothing";
  }
}
