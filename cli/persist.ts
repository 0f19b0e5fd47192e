// Transfers that go on after a broken connection: the command connects again by itself, a few times and
// with longer and longer pauses, and says so. Everything is checked again on the new connection.
import { CocosError } from "../base/mod.ts";
import { OFFSET_KEY, PartyService } from "../proto/mod.ts";
import type { Context } from "./context.ts";
import type { Agent, Subject } from "./strict.ts";
import { printable } from "./terminal.ts";
import type { Payload } from "./upload.ts";

/** Pauses before each new attempt; they begin again whenever a transfer got on. */
export const PAUSES_MS: readonly number[] = [1_000, 2_000, 4_000, 8_000, 15_000];

/** Uploads below this begin again: asking what is held takes as long. */
const ASK_FROM = 8 * 1024 * 1024;

/** What a transfer tells of itself. */
export interface Transfer {
  /** The first byte is about to leave or to come: from now on a broken connection is tried again. */
  begun(): void;
  /** It got further than ever before. */
  moved(): void;
  /** Attempts before this one. */
  readonly attempt: number;
}

/**
 * Works until it succeeds or fails for another reason than the connection.
 *
 * @throws what the last attempt threw
 */
export async function persist<T>(
  { terminal, signal }: Context,
  work: (transfer: Transfer) => Promise<T>,
  pauses: readonly number[] = PAUSES_MS,
): Promise<T> {
  let begun = false;
  let failed = 0;
  for (let attempt = 0;; attempt++) {
    try {
      return await work({
        attempt,
        begun: () => void (begun = true),
        moved: () => void (failed = 0),
      });
    } catch (thrown) {
      const pause = pauses[failed++];
      if (!begun || pause === undefined || signal.aborted || !isBroken(thrown)) throw thrown;
      terminal.failure(
        `The connection broke (${printable(thrown.message, 200)}); ` +
          `attempt ${failed} of ${pauses.length} in ${pause / 1_000} s`,
        { before: "🔌" },
      );
      await sleep(pause, signal);
    }
  }
}

/** Whether the connection is at fault, and not what was asked for. */
function isBroken(thrown: unknown): thrown is CocosError {
  return thrown instanceof CocosError &&
    (thrown.code === "unavailable" || thrown.code === "cancelled");
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}

/** What is left to be sent of an upload. */
export interface GoingOn {
  /** Bytes the agent has already. */
  readonly offset: number;
  /** Metadata of the call that sends the rest. */
  readonly metadata: Record<string, string>;
  /** Nothing is left. */
  readonly committed: boolean;
}

/**
 * Where an upload goes on: what the agent holds of it, when that is what we have, too.
 *
 * @returns bytes, and the metadata that say so; `committed` when an earlier attempt of this command
 * was taken and only its answer got lost
 */
export async function goesOn(
  { party, sign }: Agent,
  subject: Subject,
  payload: Payload,
  { attempt }: Transfer,
  { terminal, signal }: Context,
): Promise<GoingOn> {
  const nothing = { offset: 0, metadata: {}, committed: false };
  if (attempt === 0 && payload.size < ASK_FROM) return nothing;
  const metadata = await sign(PartyService.method.held, subject);
  const { bytes, digest, committed } = await party.held({ item: subject.item }, {
    metadata,
    signal,
  });
  if (committed && attempt > 0) {
    terminal.say("The agent has it, whole; its answer was lost with the connection");
    return { ...nothing, committed };
  }
  if (bytes === 0n || bytes > BigInt(payload.size)) return nothing;
  const offset = Number(bytes);
  if ((await payload.digest(offset)).toHex() !== digest.toHex()) {
    terminal.say("The agent holds other bytes of an earlier upload; beginning again");
    return nothing;
  }
  terminal.say(`Going on at byte ${offset} of ${payload.size}, which the agent has already`);
  return { offset, metadata: { [OFFSET_KEY]: String(offset) }, committed: false };
}
