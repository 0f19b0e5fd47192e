// Appraises an event log against register values that a good quote (or TDX report) vouches for. The
// log comes from the guest; its digests must give those values, and its data its digests.
import { type Bank, BANKS, type BankValues } from "../banks.ts";
import type { Explained } from "../rules.ts";
import { ANY, Appraisal, type Flag, NOT_SET, type Verdict } from "../verdict.ts";
import { mismatches } from "./binding.ts";
import { type BootFacts, bootFacts } from "./facts.ts";
import { type EventLog, type LogKind, parseEventLog } from "./parse.ts";
import { compareReplay } from "./replay.ts";
import { EventType, eventTypeName } from "./types.ts";

/** A policy over an event log. */
export interface EventLogPolicy {
  /** Which kind of log is due; the peer does not choose. */
  readonly kind?: LogKind;
  /** Banks that count; SHA-1 never does. Every one that has trusted values must replay. */
  readonly banks?: readonly Bank[];
  /** PCRs, or RTMRs 0 to 3, that the log must give. */
  readonly registers?: readonly number[];
  /** Whether firmware must say that secure boot is on. */
  readonly secureBoot?: Flag;
}

/** The checks of an event log's verdict, in order. */
export const EVENTLOG_CHECKS = [
  "eventlog.format",
  "eventlog.replay",
  "eventlog.digests",
  "eventlog.separators",
  "eventlog.secure-boot",
] as const;

/** Id of a check. */
export type EventLogCheck = (typeof EVENTLOG_CHECKS)[number];

const EXPECTED: { readonly [id in EventLogCheck]: (policy: EventLogPolicy) => string } = {
  "eventlog.format": ({ kind }) => kind === undefined ? NOT_SET : `a ${kind} log with events`,
  "eventlog.replay": ({ banks, registers }) =>
    banks === undefined || registers === undefined || banks.length === 0 || registers.length === 0
      ? NOT_SET
      : `${banks.join(", ")}: trusted values of ${registers.join(", ")}`,
  "eventlog.digests": () => "digests that are of their event's data where they must be",
  "eventlog.separators": () => "valid separators, on a PC one in each of PCR 0 to 7",
  "eventlog.secure-boot": ({ secureBoot }) => secureBoot ?? NOT_SET,
};

const REMEDIES: { readonly [id in EventLogCheck]: string } = {
  "eventlog.format": "Read the log of the kind the policy names again.",
  "eventlog.replay": "Read the log again: it is of another boot, cut, or was changed.",
  "eventlog.digests": "The log's words were changed: do not believe what it says about this boot.",
  "eventlog.separators": "The firmware's part of the boot failed, or the log was changed.",
  "eventlog.secure-boot": "Turn secure boot on, or say otherwise in the policy.",
};

/** A verdict with what may be read from the log after a good one. */
export interface EventLogVerdict {
  readonly verdict: Verdict;
  readonly facts: BootFacts | undefined;
}

/** What each check will ask for under a policy. */
export function explainEventLog(policy: EventLogPolicy): Explained[] {
  return EVENTLOG_CHECKS.map((id) => ({ id, expected: EXPECTED[id](policy) }));
}

/**
 * Appraises a log. Never throws for what the log is.
 *
 * @param trusted Register values of a good TPM verdict; or, for a CCEL, `sha384` → RTMR 0 to 3.
 */
export async function appraiseEventLog(
  bytes: Uint8Array,
  policy: EventLogPolicy,
  trusted: BankValues,
): Promise<EventLogVerdict> {
  const appraisal = new Appraisal<EventLogCheck>("eventlog", EVENTLOG_CHECKS);
  const decide = (id: EventLogCheck, ok: boolean, actual: string) =>
    appraisal.check(id, ok, EXPECTED[id](policy), actual, { remedy: REMEDIES[id] });
  const log = await appraisal.attempt(
    "eventlog.format",
    EXPECTED["eventlog.format"](policy),
    () => {
      if (policy.kind === undefined) throw new TypeError("(the policy names no kind)");
      const parsed = parseEventLog(bytes, policy.kind);
      if (!parsed.events.some((event) => event.type !== EventType.NO_ACTION)) {
        throw new RangeError("no event extends a register");
      }
      return parsed;
    },
    { remedy: REMEDIES["eventlog.format"] },
  );
  if (log === undefined) return { verdict: appraisal.verdict({}), facts: undefined };

  const bank = replayed(decide, log, policy, trusted);
  const lies = mismatches(log);
  decide(
    "eventlog.digests",
    lies.length === 0,
    lies.length === 0
      ? "all of them"
      : lies.slice(0, 8).map((event) =>
        `event ${event.index} (${eventTypeName(event.type)}, register ${event.register})`
      ).join(", "),
  );
  const facts = bootFacts(log, bank);
  decide(
    "eventlog.separators",
    facts.separatorFaults.length === 0,
    facts.separatorFaults.join("; ") || "valid",
  );
  const { secureBoot } = policy;
  decide(
    "eventlog.secure-boot",
    secureBoot === ANY || secureBoot === facts.secureBoot,
    facts.secureBoot,
  );
  const verdict = appraisal.verdict({
    events: log.events.length,
    form: log.form,
    secureBoot: facts.secureBoot,
    firmwareVersion: facts.firmwareVersion ?? null,
    programs: facts.programs,
    texts: facts.texts,
  });
  return { verdict, facts: verdict.ok ? facts : undefined };
}

/** Replays every counting bank with trusted values; answers the bank facts are read in. */
function replayed(
  decide: (id: EventLogCheck, ok: boolean, actual: string) => boolean,
  log: EventLog,
  policy: EventLogPolicy,
  trusted: BankValues,
): Bank {
  const registers = policy.registers ?? [];
  const counting = (policy.banks ?? []).filter((bank) => BANKS[bank].strong && trusted.has(bank));
  const [first] = counting;
  if (first === undefined || registers.length === 0) {
    decide("eventlog.replay", false, registers.length === 0 ? NOT_SET : "(no trusted bank counts)");
    return first ?? "sha256";
  }
  try {
    const wrong = counting.flatMap((bank) =>
      compareReplay(log, bank, trusted.get(bank) ?? new Map(), registers)
    );
    decide(
      "eventlog.replay",
      wrong.length === 0,
      wrong.map(({ bank, register, replayed, note }) =>
        `${bank}:${register}=${replayed}${note === undefined ? "" : ` (${note})`}`
      ).join("; ") || "all equal",
    );
  } catch (error) {
    decide("eventlog.replay", false, error instanceof Error ? error.message : String(error));
  }
  return first;
}
