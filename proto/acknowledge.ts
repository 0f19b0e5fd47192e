// Numbered messages of the management channel: an agent numbers what must not be lost, the server
// says what it has, the agent sends the rest again after a broken connection, and the server knows a
// message it had before by its number (threats C-3). Both ends use this.
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AcknowledgementSchema, ClientStreamMessage } from "./gen/cvms_pb.ts";

/**
 * Metadata by which an agent asks for acknowledgements; value `1`. The Go agent drops a stream with a
 * message it does not know (wire.md §4.4), so nobody gets one unasked.
 */
export const ACKNOWLEDGE = "cocos-acknowledge";

/** Lives of agents a server remembers; the one that was silent longest is forgotten first. */
const MAX_LIVES = 1_024;

/** Bytes of a life's name. */
const BOOT_BYTES = 8;

/** An acknowledgement, ready to be sent. */
export type Acknowledged = MessageInitShape<typeof AcknowledgementSchema>;

/** What a server has of all its agents, over all their connections. */
export class Received {
  readonly #last = new Map<string, bigint>();

  /** Whether a message is new; a message without number always is. Say it before handling it. */
  isNew({ eventId, bootId }: ClientStreamMessage): boolean {
    if (eventId === 0n || bootId.length !== BOOT_BYTES) return true;
    const life = bootId.toHex();
    const last = this.#last.get(life) ?? 0n;
    this.#last.delete(life);
    this.#last.set(life, eventId > last ? eventId : last);
    if (this.#last.size > MAX_LIVES) {
      const [oldest] = this.#last.keys();
      if (oldest !== undefined) this.#last.delete(oldest);
    }
    return eventId > last;
  }

  /** The answer to a message; `undefined` for one without number. */
  acknowledge({ eventId, bootId }: ClientStreamMessage): Acknowledged | undefined {
    if (eventId === 0n || bootId.length !== BOOT_BYTES) return undefined;
    return { bootId, eventId: this.#last.get(bootId.toHex()) ?? eventId };
  }
}
