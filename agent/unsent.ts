// Events the management server has not confirmed, on disk: a killed agent's next life sends them
// (threats C-1, C-3). Nothing of a party is in them. A file that can't be read costs these events,
// never the agent's start.
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { CocosError, messageOf } from "../base/mod.ts";
import { cvms } from "../proto/mod.ts";
import { readSmallFile } from "./envfile.ts";
import type { Outgoing, UnsentStore } from "./outbox.ts";
import { exists } from "./receive.ts";
import { DISK, type Disk, replaceFile } from "./replace.ts";
import { reasonOf, removeAll, UNSENT, type WorkArea } from "./work.ts";

/** Most events that are kept on disk: the oldest, as the queue in memory does. */
export const MAX_UNSENT = 256;
/** Bytes of the file: an answer to a bad manifest has a few hundred. */
const MAX_BYTES = 2 ** 20;

/** A kill loses nothing; after a power cut the work area, memory of the CVM, is gone anyway. */
const UNSYNCED: Disk = { ...DISK, sync() {}, syncFolder() {} };

/** The file of one work area. */
export class UnsentFile implements UnsentStore {
  readonly #area: WorkArea;
  readonly #failed: (text: string) => void;
  #broken = false;

  /** @param failed told once when events can't be kept */
  constructor(area: WorkArea, failed: (text: string) => void) {
    this.#area = area;
    this.#failed = failed;
  }

  save(messages: readonly Outgoing[]): void {
    try {
      if (messages.length === 0) {
        removeAll(`${this.#area.root}/${UNSENT}`);
        return;
      }
      const list = messages.slice(0, MAX_UNSENT)
        .map((message) => toBinary(cvms.ClientStreamMessageSchema, message).toBase64());
      replaceFile(this.#area.root, UNSENT, JSON.stringify(list), UNSYNCED);
      this.#broken = false;
    } catch (cause) {
      if (this.#broken) return;
      this.#broken = true;
      this.#failed(`events that wait can't be kept on disk: ${reasonOf(cause)}`);
    }
  }

  /** What the life before could not send. */
  read(): Outgoing[] {
    const path = `${this.#area.root}/${UNSENT}`;
    try {
      if (!exists(path)) return [];
      const list: unknown = JSON.parse(
        new TextDecoder("utf-8", { fatal: true }).decode(readSmallFile(path, MAX_BYTES)),
      );
      if (!Array.isArray(list) || list.length > MAX_UNSENT) {
        throw new CocosError("data-loss", "must be a short list");
      }
      return list.map((each) => {
        const message = fromBinary(
          cvms.ClientStreamMessageSchema,
          Uint8Array.fromBase64(String(each)),
        );
        if (message.eventId === 0n || message.bootId.length !== 8) {
          throw new CocosError("data-loss", "must hold numbered messages");
        }
        return message;
      });
    } catch (cause) {
      this.#failed(`events of the life before are lost: ${messageOf(cause)}`);
      return [];
    }
  }
}
