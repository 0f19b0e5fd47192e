// The session with one agent (wire.md §4.4): the manifest goes out, logs and events come in. The
// agent is not trusted here: what it says is printed and believed about nothing else.
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Computation } from "../agreement/mod.ts";
import { CocosError, type Logger, messageOf } from "../base/mod.ts";
import { ACKNOWLEDGE, type CallContext, type cvms, Received } from "../proto/mod.ts";
import { manifestChunks } from "./manifest.ts";

type FromAgent = cvms.ClientStreamMessage;
type ToAgent = MessageInitShape<typeof cvms.ServerStreamMessageSchema>;

/** States in which an agent wants a manifest. */
const WAITING = new Set(["Idle", "ReceivingManifest"]);

/** Time an agent has to say its state before the manifest is sent anyway. */
export const STATE_ANSWER_MS = 5_000;

/** Longest text of an agent that is printed, in characters; the wire's pieces have 500 bytes. */
const MAX_TEXT = 4_096;

/** The sessions of one computation. */
export class Sessions {
  readonly #computation: Computation;
  readonly #log: Logger;
  readonly #stateAnswerMs: number;
  /** Whether some agent has accepted the manifest, so that a new connection may be its again. */
  #accepted = false;
  /** What agents have said, over all their connections. */
  readonly #received = new Received();

  constructor(computation: Computation, log: Logger, stateAnswerMs = STATE_ANSWER_MS) {
    this.#computation = computation;
    this.#log = log;
    this.#stateAnswerMs = stateAnswerMs;
  }

  /**
   * Handler of `cvms.Service/Process`. The first agent gets the manifest at once. After one has
   * accepted it, a new connection is asked for its state first: an agent that came back has the
   * manifest, and would answer a second one with a warning.
   *
   * An agent that asks for it hears which of its numbered messages have come; one that comes again
   * is not handled twice (threats C-3).
   */
  async *process(messages: AsyncIterable<FromAgent>, call: CallContext): AsyncGenerator<ToAgent> {
    const { peer } = call;
    const states = new Turnstile<string>();
    const out = new Outgoing();
    this.#log.debug(`received who am on ip address ${printablePeer(peer)}`);
    const confirms = call.metadata.get(ACKNOWLEDGE)[0] === "1";
    // At once, so that the agent knows it before it says anything twice.
    if (confirms) out.put({ message: { case: "acknowledgement", value: {} } });
    const reading = this.#read(messages, peer, states, confirms ? out : undefined)
      .finally(() => states.close());
    reading.catch(() => {});
    const giving = this.#give(out, peer, states);
    giving.then(() => reading).catch(() => {}).finally(() => out.close());
    try {
      yield* out;
      await giving;
      await reading;
      this.#log.info("agent disconnected", { peer });
    } catch (error) {
      this.#log.info("agent disconnected", { peer, reason: messageOf(error) });
      if (!(error instanceof CocosError && error.code === "cancelled")) throw error;
    }
  }

  /** Gives the agent the manifest, if it wants one. */
  async #give(out: Outgoing, peer: string, states: Turnstile<string>): Promise<void> {
    const { id } = this.#computation;
    let wanted = true;
    if (this.#accepted) {
      out.put({ message: { case: "agentStateReq", value: { id } } });
      const state = await states.next(this.#stateAnswerMs);
      wanted = state === undefined || WAITING.has(state);
      if (states.closed) wanted = false;
    }
    if (!wanted) {
      this.#log.info("agent has the manifest already", { peer, computation_id: id });
      return;
    }
    for (const value of manifestChunks(this.#computation)) {
      out.put({ message: { case: "runReqChunks", value } });
    }
    this.#log.info("manifest sent", {
      peer,
      computation_id: id,
      bytes: this.#computation.manifest.length,
      sha3_256: this.#computation.digest,
    });
  }

  /** Reads to the end; with `out`, says what has come. */
  async #read(
    messages: AsyncIterable<FromAgent>,
    peer: string,
    states: Turnstile<string>,
    out: Outgoing | undefined,
  ): Promise<void> {
    for await (const whole of messages) {
      const fresh = out === undefined || this.#received.isNew(whole);
      const value = out === undefined ? undefined : this.#received.acknowledge(whole);
      if (value !== undefined) out?.put({ message: { case: "acknowledgement", value } });
      if (!fresh) continue;
      const { message } = whole;
      switch (message.case) {
        case "agentLog":
          this.#agentLog(message.value, peer);
          break;
        case "agentEvent":
          this.#agentEvent(message.value, peer);
          break;
        case "runRes":
          this.#runResponse(message.value, peer);
          break;
        case "agentStateRes":
          this.#log.info("agent state", { peer, state: cut(message.value.state) });
          states.put(message.value.state);
          break;
        case "stopComputationRes":
          this.#log.info("computation stopped", {
            peer,
            computation_id: cut(message.value.computationId),
            error: cut(message.value.message),
          });
          break;
        case "vTPMattestationReport":
        case "azureAttestationToken":
          this.#log.info("agent evidence", {
            peer,
            kind: message.case,
            bytes: message.value.file.length,
            certificate_serial: cut(message.value.certSerialNumber),
          });
          break;
        case undefined:
          this.#log.warn("agent sent a message of no known kind", { peer });
          break;
      }
    }
  }

  #agentLog(value: cvms.AgentLog, peer: string): void {
    const properties = {
      peer,
      computation_id: cut(value.computationId),
      text: cut(value.message),
      at: timeText(value.timestamp),
    };
    switch (value.level) {
      case "ERROR":
        return this.#log.error("agent log", properties);
      case "WARN":
        return this.#log.warn("agent log", properties);
      case "INFO":
        return this.#log.info("agent log", properties);
      default:
        return this.#log.debug("agent log", properties);
    }
  }

  #agentEvent(value: cvms.AgentEvent, peer: string): void {
    const details = new TextDecoder().decode(value.details.subarray(0, MAX_TEXT));
    this.#log.info("agent event", {
      peer,
      computation_id: cut(value.computationId),
      event: cut(value.eventType),
      status: cut(value.status),
      originator: cut(value.originator),
      at: timeText(value.timestamp),
      ...(details === "" ? {} : { details }),
    });
  }

  #runResponse({ computationId, error, doorKey }: cvms.RunResponse, peer: string): void {
    const properties = {
      peer,
      computation_id: cut(computationId),
      // What a party pins with `--pin sha256:…`, when the agent made its own certificate.
      ...(doorKey === "" ? {} : { door_key: cut(doorKey) }),
    };
    if (error !== "") {
      this.#log.error("agent refused the manifest", { ...properties, error: cut(error) });
      return;
    }
    if (computationId === this.#computation.id) this.#accepted = true;
    this.#log.info("agent accepted the manifest", properties);
  }
}

/** Messages to the agent in their order; of acknowledgements that wait only the last is sent. */
class Outgoing {
  #queue: ToAgent[] = [];
  #closed = false;
  #wake = () => {};

  put(message: ToAgent): void {
    if (message.message?.case === "acknowledgement") {
      const { message: last } = this.#queue.at(-1) ?? {};
      if (last?.case === "acknowledgement" && (last.value.eventId ?? 0n) > 0n) this.#queue.pop();
    }
    this.#queue.push(message);
    this.#wake();
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ToAgent> {
    while (true) {
      for (let each = this.#queue.shift(); each !== undefined; each = this.#queue.shift()) {
        yield each;
      }
      if (this.#closed) return;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }
}

/** Values handed from the reading side to the one that waits for them. */
class Turnstile<T> {
  #waiting: ((value: T | undefined) => void) | undefined;
  closed = false;

  put(value: T): void {
    this.#waiting?.(value);
  }

  close(): void {
    this.closed = true;
    this.#waiting?.(undefined);
  }

  /** The next value; nothing after `ms` or when the other side has closed. */
  async next(ms: number): Promise<T | undefined> {
    if (this.closed) return undefined;
    const { promise, resolve } = Promise.withResolvers<T | undefined>();
    this.#waiting = resolve;
    const timer = setTimeout(() => resolve(undefined), ms);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }
}

function cut(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

/** A peer as grpc-js gives it; braces would be read as placeholders by the log. */
function printablePeer(peer: string): string {
  return peer.replaceAll(/[{}]/g, "");
}

/** RFC 3339 text of a timestamp an agent sent; nothing for one that is no time. */
function timeText(at: { seconds: bigint; nanos: number } | undefined): string {
  if (at === undefined) return "";
  const ms = Number(at.seconds) * 1000 + Math.trunc(at.nanos / 1e6);
  return Number.isFinite(ms) && Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : "";
}
