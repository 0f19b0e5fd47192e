// What waits to be sent to the management server, and what was sent and is not yet confirmed. The
// server may be away for hours: memory stays bounded, events and answers are kept in order and
// numbered, log lines and warnings give way (threats C-3).
import { create } from "@bufbuild/protobuf";
import { cvms } from "../proto/mod.ts";

/** One message of the agent. */
export type Outgoing = cvms.ClientStreamMessage;

/** Most log lines and warnings that wait; the Go agent's queue has the same length (wire.md §4.4). */
export const MAX_LOGS = 1_000;
/** Most other messages that wait; a computation makes about a dozen. */
export const MAX_KEPT = 10_000;

/** Where events are kept that the next life of the agent has to send if this one can't. */
export interface UnsentStore {
  /** Replaces what is kept; it must not throw, a run never fails for it. */
  save(messages: readonly Outgoing[]): void;
}

/** A message in the queue. */
export interface Queued {
  readonly message: Outgoing;
  /** Gives way when too many wait. */
  readonly lossy: boolean;
  /** Is kept on disk until the server has it. */
  readonly durable: boolean;
}

/** The queue of one agent. */
export class Outbox {
  /** Names this life of the agent in its numbers: two lives never give the same one. */
  readonly boot = crypto.getRandomValues(new Uint8Array(8));
  #last = 0n;
  #queue: Queued[] = [];
  #sent: Queued[] = [];
  #server: "unknown" | "forgets" | "acknowledges" = "unknown";
  /** What was sent before may have arrived or not: nothing leaves until the server is known. */
  #holding = false;
  #lossy = 0;
  #dropped = 0;
  #wake: (() => void) | undefined;
  readonly #lost: (count: number) => Outgoing;
  #store: UnsentStore | undefined;
  #stored = 0;

  /** @param lost makes the line that says how many messages were dropped */
  constructor(lost: (count: number) => Outgoing) {
    this.#lost = lost;
  }

  /** Messages that wait to be sent. */
  get size(): number {
    return this.#queue.length;
  }

  /** Messages that were sent and that no server has confirmed. */
  get unconfirmed(): number {
    return this.#sent.length;
  }

  /** Begins to keep durable messages in a store; those it had from an earlier life go out first. */
  attach(store: UnsentStore, earlier: readonly Outgoing[]): void {
    this.#store = store;
    this.#stored = earlier.length;
    this.#queue = [
      ...earlier.map((message) => ({ message, lossy: false, durable: true })),
      ...this.#queue,
    ];
    this.#save();
  }

  /** Adds a message; never waits, so that a run never waits for the server. */
  push(message: Outgoing): void {
    const { lossy, numbered, durable } = kindOf(message);
    const all = this.#queue.length + this.#sent.length;
    if (lossy ? this.#lossy >= MAX_LOGS : all - this.#lossy >= MAX_KEPT) {
      this.#dropped++;
      return;
    }
    if (numbered) {
      message.eventId = ++this.#last;
      message.bootId = this.boot;
    }
    this.#add({ message, lossy, durable });
    if (durable) this.#save();
  }

  #add(entry: Queued): void {
    this.#queue.push(entry);
    if (entry.lossy) this.#lossy++;
    this.#awake();
  }

  /** A new connection begins. */
  connecting(): void {
    this.#server = "unknown";
    this.#holding = this.#sent.length > 0;
  }

  /** The connection ended before the server can have read anything: all is sent again. */
  neverStood(): void {
    if (this.#holding) return;
    this.#queue = [...this.#sent.splice(0), ...this.#queue];
  }

  /** The server of this connection confirms what it has; what it did not confirm is sent again. */
  acknowledges(): void {
    if (this.#server === "acknowledges") return;
    this.#server = "acknowledges";
    this.#settle((entry) => entry.message.eventId > 0n);
    if (this.#holding) this.#queue = [...this.#sent.splice(0), ...this.#queue];
    this.#holding = false;
    this.#awake();
  }

  /** The server of this connection is one that confirms nothing: what was sent counts as received. */
  forgets(): void {
    if (this.#server !== "unknown") return;
    this.#server = "forgets";
    this.#settle(() => false);
    this.#holding = false;
    this.#awake();
  }

  /** The server has everything up to this number of a life. */
  acknowledged({ bootId, eventId }: cvms.Acknowledgement): void {
    const covers = ({ message }: Queued) =>
      message.eventId > 0n && message.eventId <= eventId && equal(message.bootId, bootId);
    // The confirmation may overtake the transport's own word that the first message has left.
    const [first] = this.#queue;
    if (first !== undefined && this.#offered === first && covers(first)) this.sent(first);
    const last = this.#sent.findLastIndex(covers);
    const had = new Set(this.#sent.slice(0, last + 1));
    this.#settle((entry) => !had.has(entry));
  }

  #offered: Queued | undefined;

  /**
   * The first message, which stays in the queue. Waits for one; when the signal has fired and none is
   * there, `undefined`.
   */
  async first(signal: AbortSignal): Promise<Queued | undefined> {
    while (true) {
      const [entry] = this.#queue;
      if (entry !== undefined && !this.#holding) {
        this.#offered = entry;
        return entry;
      }
      if (signal.aborted) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const abort = () => resolve();
      signal.addEventListener("abort", abort, { once: true });
      await promise;
      signal.removeEventListener("abort", abort);
    }
  }

  /** The first message has left, if it is still this one. */
  sent(entry: Queued): void {
    if (this.#queue[0] !== entry) return;
    this.#queue.shift();
    this.#offered = undefined;
    const settled = this.#server === "forgets" ||
      (this.#server === "acknowledges" && entry.message.eventId === 0n);
    if (settled) this.#gone([entry]);
    else this.#sent.push(entry);
  }

  /** Forgets what was sent, except what is still waited for. */
  #settle(waits: (entry: Queued) => boolean): void {
    const before = this.#sent;
    this.#sent = before.filter(waits);
    this.#gone(before.filter((entry) => !waits(entry)));
  }

  #gone(gone: readonly Queued[]): void {
    if (gone.length === 0) return;
    this.#lossy -= gone.filter(({ lossy }) => lossy).length;
    if (this.#dropped > 0 && this.#lossy <= MAX_LOGS / 2) {
      const count = this.#dropped;
      this.#dropped = 0;
      this.#add({ message: this.#lost(count), lossy: true, durable: false });
    }
    // While some remain the store may hold confirmed ones too: their numbers tell them apart.
    if (this.#stored > 0 && !this.#durable().some(() => true)) this.#save();
  }

  #durable(): Queued[] {
    return [...this.#sent, ...this.#queue].filter(({ durable }) => durable);
  }

  #save(): void {
    if (this.#store === undefined) return;
    const waiting = this.#durable();
    this.#stored = waiting.length;
    this.#store.save(waiting.map(({ message }) => message));
  }

  #awake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}

/** How much a message matters. */
function kindOf(
  { message }: Outgoing,
): { lossy: boolean; numbered: boolean; durable: boolean } {
  switch (message.case) {
    case "agentLog":
      return { lossy: true, numbered: false, durable: false };
    case "agentEvent": {
      // The algorithm causes warnings, as many as it likes: they never push a state event out.
      const lossy = message.value.status === "Warning";
      return { lossy, numbered: true, durable: !lossy };
    }
    case "runRes":
    case "stopComputationRes":
      return { lossy: false, numbered: true, durable: true };
    // Said anew by each life of the agent.
    case "vTPMattestationReport":
    case "azureAttestationToken":
      return { lossy: false, numbered: true, durable: false };
    // Answers a question of one connection; on the next one the server asks again.
    default:
      return { lossy: false, numbered: false, durable: false };
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Makes a message of one kind. */
export function outgoing(
  message: Exclude<cvms.ClientStreamMessage["message"], { case: undefined }>,
): Outgoing {
  return create(cvms.ClientStreamMessageSchema, { message });
}
