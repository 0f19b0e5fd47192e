// The agent's conversation with the management server (wire.md §4.4): it dials, tells what happens,
// takes a manifest, a stop, questions. The server is trusted to schedule, with nothing else.
import { create } from "@bufbuild/protobuf";
import { asCocosError, CocosError, messageOf } from "../base/mod.ts";
import { ACKNOWLEDGE, cvms, type CvmsService, type RpcClient } from "../proto/mod.ts";
import { ManifestChunks } from "./chunks.ts";
import { outgoing } from "./outbox.ts";
import { pause } from "./runner.ts";
import type { State } from "./states.ts";
import type { Telemetry } from "./telemetry.ts";

/** Pause before each reconnection (wire.md §4.4). */
export const RECONNECT_MS = 5_000;

/**
 * How long a server may keep silent before it counts as one that confirms nothing: the Go servers
 * do, and ours says at once that it confirms.
 */
const SILENT_MS = 5_000;

/** Most commands of the server that wait for one another (threats M-10). */
const MAX_PENDING = 64;

/** A computation that was taken. */
export interface Accepted {
  readonly id: string;
  /** SHA-256 of its front door's public key, hexadecimal; empty where the agent made none. */
  readonly doorKey: string;
}

/** What the server may ask for. */
export interface Commands {
  readonly state: State;
  /** Takes a serialized run request. */
  accept(manifest: Uint8Array): Promise<Accepted>;
  /** Ends what runs and purges it. */
  stop(): Promise<void>;
}

/** What a session needs. */
export interface SessionOptions {
  /** A new client; it is disposed when its stream has ended. */
  readonly connect: () => RpcClient<typeof CvmsService>;
  readonly commands: Commands;
  readonly telemetry: Telemetry;
  /** How long the first connection may take. */
  readonly firstMs: number;
  readonly reconnectMs?: number;
  readonly silentMs?: number;
}

/** One agent's session over all its connections. */
export class Session {
  readonly #options: SessionOptions;
  #opened = false;
  #pending = 0;
  #chain: Promise<void> = Promise.resolve();
  #hangUp: () => void = () => {};
  readonly #finishing = new AbortController();

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Sends what still waits, then ends the stream and {@linkcode Session.run}. */
  finish(): void {
    this.#finishing.abort();
  }

  /**
   * Talks until the signal fires; lost connections are made again for ever.
   *
   * @throws {CocosError} `unavailable` when not even the first one could be made in time.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { telemetry, firstMs, reconnectMs = RECONNECT_MS } = this.#options;
    const end = performance.now() + firstMs;
    let lost = false;
    while (!signal.aborted) {
      let failure: CocosError | undefined;
      try {
        await this.#stream(signal, () => lost = false);
      } catch (thrown) {
        failure = asCocosError(thrown);
      }
      if (signal.aborted || this.#finishing.signal.aborted) break;
      if (!this.#opened && performance.now() >= end) {
        throw new CocosError(
          "unavailable",
          `Cannot open a session with the management server: ${failure?.message ?? "it hung up"}`,
          {
            cause: failure,
            hint: "Check AGENT_CVM_GRPC_URL, and the certificates if TLS is used.",
          },
        );
      }
      if (!lost) {
        lost = true;
        telemetry.log("debug", `session ended: ${failure?.message ?? "closed by the server"}`);
        telemetry.log("warn", "Connection lost, attempting to reconnect...");
      }
      const wake = AbortSignal.any([signal, this.#finishing.signal]);
      await pause(this.#opened ? reconnectMs : Math.min(reconnectMs, 1_000), wake);
      if (wake.aborted) break;
    }
    await this.#chain;
  }

  /** One stream, to its end. */
  async #stream(signal: AbortSignal, connected: () => void): Promise<void> {
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    this.#hangUp = () => over.abort();
    const { outbox } = this.#options.telemetry;
    let answered = false;
    using chunks = new ManifestChunks((id) =>
      this.#options.telemetry.log("error", `manifest ${id} was dropped: its last piece never came`)
    );
    outbox.connecting();
    const silent = setTimeout(() => outbox.forgets(), this.#options.silentMs ?? SILENT_MS);
    await using client = this.#options.connect();
    try {
      const options = { signal: both, metadata: { [ACKNOWLEDGE]: "1" } };
      for await (const message of client.process(this.#messages(both), options)) {
        answered = true;
        this.#opened = true;
        connected();
        if (!this.#handle(message, chunks)) return;
      }
      this.#opened = true;
    } catch (thrown) {
      const never = !answered && neverOpened(asCocosError(thrown));
      // Nothing of a connection that never stood has arrived: it is sent again, in its order.
      if (never) outbox.neverStood();
      else this.#opened = true;
      throw thrown;
    } finally {
      clearTimeout(silent);
      over.abort();
    }
  }

  /** The queue as a stream: a message counts as sent when the transport asks for the next one. */
  async *#messages(signal: AbortSignal) {
    const { outbox } = this.#options.telemetry;
    const end = AbortSignal.any([signal, this.#finishing.signal]);
    while (true) {
      const entry = await outbox.first(end);
      if (entry === undefined || signal.aborted) return;
      yield entry.message;
      outbox.sent(entry);
    }
  }

  /** Handles one message; `false` ends the stream. */
  #handle({ message }: cvms.ServerStreamMessage, chunks: ManifestChunks): boolean {
    const { commands, telemetry } = this.#options;
    if (message.case !== "acknowledgement") telemetry.outbox.forgets();
    switch (message.case) {
      case "acknowledgement":
        telemetry.outbox.acknowledges();
        telemetry.outbox.acknowledged(message.value);
        return true;
      case "runReqChunks": {
        const manifest = chunks.add(message.value);
        if (manifest !== undefined) this.#later(() => this.#run(message.value.id, manifest));
        return true;
      }
      case "stopComputation": {
        const { computationId } = message.value;
        this.#later(() => this.#stop(computationId));
        return true;
      }
      case "agentStateReq": {
        const { id } = message.value;
        const { state } = commands;
        telemetry.log("info", `Method State took 0s to complete with state ${state}`);
        telemetry.outbox.push(
          outgoing({
            case: "agentStateRes",
            value: create(cvms.AgentStateResSchema, { id, state }),
          }),
        );
        return true;
      }
      case "disconnectReq":
        telemetry.log("info", "Received disconnect request");
        return false;
      default:
        throw new CocosError("data-loss", "the management server sent an unknown message");
    }
  }

  /** Commands that change something run one after another, whatever becomes of the connection. */
  #later(command: () => Promise<void>): void {
    if (this.#pending >= MAX_PENDING) {
      throw new CocosError("exhausted", `more than ${MAX_PENDING} commands of the server wait`);
    }
    this.#pending++;
    this.#chain = this.#chain.then(command).catch((thrown) => {
      this.#options.telemetry.log("error", `a command failed: ${messageOf(thrown)}`);
    }).finally(() => this.#pending--);
  }

  async #run(id: string, manifest: Uint8Array): Promise<void> {
    const { commands, telemetry } = this.#options;
    const answer = (computationId: string, error: string, doorKey = "") =>
      telemetry.outbox.push(
        outgoing({
          case: "runRes",
          value: create(cvms.RunResponseSchema, { computationId, error, doorKey }),
        }),
      );
    try {
      const { id, doorKey } = await commands.accept(manifest);
      answer(id, "", doorKey);
    } catch (thrown) {
      const error = asCocosError(thrown);
      // As the Go agent (wire.md §4.4): a manifest in a wrong state is answered by this line alone,
      // bytes that are no manifest by the end of the stream.
      telemetry.log(error.code === "wrong-state" ? "warn" : "error", error.message);
      if (error.hint !== undefined) telemetry.log("info", `hint: ${error.hint}`);
      if (error.code === "data-loss") this.#hangUp();
      else if (error.code !== "wrong-state") answer(id, error.message);
    }
  }

  async #stop(computationId: string): Promise<void> {
    const { commands, telemetry } = this.#options;
    let message = "";
    try {
      await commands.stop();
    } catch (thrown) {
      message = `error stopping computation: ${messageOf(thrown)}`;
    }
    telemetry.outbox.push(
      outgoing({
        case: "stopComputationRes",
        value: create(cvms.StopComputationResponseSchema, { computationId, message }),
      }),
    );
  }
}

/** Whether a stream failed before the server can have read anything of it. */
function neverOpened({ code, message }: CocosError): boolean {
  return (code === "unavailable" && /^(No connection established|Name resolution)/.test(message)) ||
    code === "not-supported" || code === "unauthenticated" || code === "permission-denied";
}
