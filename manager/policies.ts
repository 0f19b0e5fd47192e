// Answers requests for policies: callers who ask for the same VM at once share one computation, and
// computations follow one another, so that no caller makes the manager hold many images in memory.
import { CocosError, logger, messageOf, Status } from "../base/mod.ts";
import type { Launch } from "./launch.ts";
import { launchPolicy } from "./policy.ts";

const log = logger("manager");

/** The Go manager's words before every failure. */
const PREFIX = "error while creating attestation policy : ";

/** Policies of the VMs of one manager. */
export class Policies {
  readonly #pending = new Map<string, Promise<Uint8Array>>();
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Bytes of a VM's policy; none for a plain VM.
   *
   * @throws {CocosError} with the Go manager's words and status UNKNOWN, and the code of what failed.
   */
  of(id: string, launch: Launch | undefined): Promise<Uint8Array> {
    const pending = this.#pending.get(id);
    if (pending !== undefined) return pending;
    const made = this.#last.then(() => make(id, launch));
    this.#last = made.catch(() => {});
    this.#pending.set(id, made);
    const done = () => this.#pending.delete(id);
    made.then(done, done);
    return made;
  }
}

async function make(id: string, launch: Launch | undefined): Promise<Uint8Array> {
  try {
    if (launch === undefined) {
      throw new CocosError("data-loss", "what the VM was launched from is not known", {
        hint: "An earlier manager launched it, and its record is lost; create the VM again.",
      });
    }
    const { text, notes } = await launchPolicy(launch);
    for (const note of notes) log.with({ cvm: id }).info`attestation policy: ${note}`;
    return new TextEncoder().encode(text);
  } catch (cause) {
    if (!(cause instanceof CocosError)) throw cause;
    throw new CocosError(cause.code, PREFIX + messageOf(cause), {
      cause,
      status: Status.UNKNOWN,
      ...(cause.hint === undefined ? {} : { hint: cause.hint }),
    });
  }
}
