// What waits to be sent to the management server. The server may be away for hours: memory stays
// bounded, state events and answers are kept in order, log lines give way (threats C-3).
import { create } from "@bufbuild/protobuf";
import { cvms } from "../proto/mod.ts";

/** One message of the agent. */
export type Outgoing = cvms.ClientStreamMessage;

/** Most log lines that wait; the Go agent's queue has the same length (wire.md §4.4). */
export const MAX_LOGS = 1_000;
/** Most other messages that wait; a computation makes about a dozen. */
export const MAX_KEPT = 10_000;

/** A message in the queue. */
export interface Queued {
  readonly message: Outgoing;
  readonly isLog: boolean;
}

/** The queue of one agent. */
export class Outbox {
  #queue: Queued[] = [];
  #logs = 0;
  #dropped = 0;
  #wake: (() => void) | undefined;
  readonly #lost: (count: number) => Outgoing;

  /** @param lost makes the line that says how many log lines were dropped */
  constructor(lost: (count: number) => Outgoing) {
    this.#lost = lost;
  }

  /** Messages that wait. */
  get size(): number {
    return this.#queue.length;
  }

  /** Adds a message; never waits, so that a run never waits for the server. */
  push(message: Outgoing): void {
    const isLog = message.message.case === "agentLog";
    if (isLog ? this.#logs >= MAX_LOGS : this.#queue.length - this.#logs >= MAX_KEPT) {
      this.#dropped++;
      return;
    }
    this.#add({ message, isLog });
  }

  #add(entry: Queued): void {
    this.#queue.push(entry);
    if (entry.isLog) this.#logs++;
    this.#wake?.();
    this.#wake = undefined;
  }

  /**
   * The first message, which stays in the queue. Waits for one; when the signal has fired and none is
   * there, `undefined`.
   */
  async first(signal: AbortSignal): Promise<Queued | undefined> {
    while (true) {
      const [entry] = this.#queue;
      if (entry !== undefined) return entry;
      if (signal.aborted) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const abort = () => resolve();
      signal.addEventListener("abort", abort, { once: true });
      await promise;
      signal.removeEventListener("abort", abort);
    }
  }

  /** Takes the first message out, if it is still this one. */
  sent(entry: Queued): void {
    if (this.#queue[0] !== entry) return;
    this.#queue.shift();
    if (entry.isLog) this.#logs--;
    if (this.#dropped > 0 && this.#logs <= MAX_LOGS / 2) {
      const count = this.#dropped;
      this.#dropped = 0;
      this.#add({ message: this.#lost(count), isLog: true });
    }
  }

  /** Puts messages back at the front, in their order: they went into a connection that never was. */
  unsent(entries: readonly Queued[]): void {
    if (entries.length === 0) return;
    this.#queue = [...entries, ...this.#queue];
    this.#logs += entries.filter(({ isLog }) => isLog).length;
  }
}

/** Makes a message of one kind. */
export function outgoing(
  message: Exclude<cvms.ClientStreamMessage["message"], { case: undefined }>,
): Outgoing {
  return create(cvms.ClientStreamMessageSchema, { message });
}
