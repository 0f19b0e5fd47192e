// Replay of an event log: the register values its digests give. What the log says matters only where
// these equal values that a trusted key signed.
import { type Bank, type BankValues, extend, type Registers, zeroRegister } from "../banks.ts";
import { CocosError } from "../../base/mod.ts";
import { equalBytes, toHex } from "../verdict.ts";
import type { EventLog, LogEvent } from "./parse.ts";
import { EventType } from "./types.ts";

const LOCALITY = new TextEncoder().encode("StartupLocality\0");

/**
 * Replays every bank for which each extending event has a digest. Registers without an event are
 * absent.
 *
 * @throws {CocosError} `invalid-argument` for a startup locality given late, twice or out of range.
 */
export function replay(log: EventLog): BankValues {
  const values = new Map<Bank, Registers>();
  const extending = log.events.filter((event) => event.type !== EventType.NO_ACTION);
  for (const bank of log.banks) {
    if (!extending.every((event) => event.digests.has(bank))) continue;
    values.set(bank, replayBank(log, bank));
  }
  return values;
}

function replayBank(log: EventLog, bank: Bank): Registers {
  const registers = new Map<number, Uint8Array>();
  if (log.kind === "ccel" && bank === "sha384") {
    for (let i = 0; i < 4; i++) registers.set(i, zeroRegister(bank));
  }
  for (const event of log.events) {
    if (event.type === EventType.NO_ACTION) {
      const locality = startupLocality(log, event);
      if (locality === undefined) continue;
      if (registers.has(0)) {
        throw invalid(event, "a startup locality after the first event of PCR 0");
      }
      const first = zeroRegister(bank);
      first[first.length - 1] = locality;
      registers.set(0, first);
      continue;
    }
    const before = registers.get(event.register) ?? zeroRegister(bank);
    const digest = event.digests.get(bank);
    if (digest !== undefined) registers.set(event.register, extend(bank, before, digest));
  }
  return registers;
}

/** The locality a TPM2_Startup came from, which becomes the last byte of PCR 0 (PFP §10.4.5.3). */
function startupLocality(log: EventLog, event: LogEvent): number | undefined {
  if (log.kind !== "tcg" || event.register !== 0) return undefined;
  const { data } = event;
  if (!LOCALITY.every((byte, at) => data[at] === byte)) return undefined;
  const locality = data[LOCALITY.length];
  if (data.length !== LOCALITY.length + 1 || locality === undefined || locality > 4) {
    throw invalid(event, "a startup locality above 4");
  }
  return locality;
}

/** A register whose replayed value is not the trusted one. */
export interface ReplayDifference {
  readonly bank: Bank;
  readonly register: number;
  readonly trusted: string;
  readonly replayed: string;
  /** Says more when a part of the log fits: the log is then longer than what was signed. */
  readonly note: string | undefined;
}

/** Compares a replay with trusted values; empty when every asked register is equal. */
export function compareReplay(
  log: EventLog,
  bank: Bank,
  trusted: Registers,
  registers: readonly number[],
): ReplayDifference[] {
  const replayed = replay(log).get(bank);
  const differences: ReplayDifference[] = [];
  for (const register of registers) {
    const want = trusted.get(register);
    const got = replayed?.get(register) ??
      (replayed === undefined ? undefined : zeroRegister(bank));
    if (want !== undefined && got !== undefined && equalBytes(want, got)) continue;
    differences.push({
      bank,
      register,
      trusted: want === undefined ? "(no trusted value)" : toHex(want),
      replayed: got === undefined ? `(the log has no ${bank} digests)` : toHex(got),
      note: want === undefined || replayed === undefined
        ? undefined
        : longerNote(log, bank, register, want),
    });
  }
  return differences;
}

function longerNote(
  log: EventLog,
  bank: Bank,
  register: number,
  want: Uint8Array,
): string | undefined {
  const events = log.events.filter((event) =>
    event.register === register && event.type !== EventType.NO_ACTION
  );
  let value = zeroRegister(bank);
  for (const [at, event] of events.entries()) {
    const digest = event.digests.get(bank);
    if (digest === undefined) return undefined;
    value = extend(bank, value, digest);
    if (equalBytes(value, want)) {
      const later = events.length - at - 1;
      return `the first ${
        at + 1
      } events give the trusted value: ${later} more were added to the log`;
    }
  }
  return undefined;
}

/** Where two logs part, for a person who compares a machine with a good one. */
export interface LogDifference {
  readonly register: number;
  /** Place among the extending events of this register, from 0. */
  readonly position: number;
  readonly good: LogEvent | undefined;
  readonly other: LogEvent | undefined;
}

/** First difference of each register, by the digests of one bank. */
export function compareLogs(good: EventLog, other: EventLog, bank: Bank): LogDifference[] {
  const differences: LogDifference[] = [];
  const left = byRegister(good);
  const right = byRegister(other);
  const registers = [...new Set([...left.keys(), ...right.keys()])].sort((a, b) => a - b);
  for (const register of registers) {
    const goodEvents = left.get(register) ?? [];
    const otherEvents = right.get(register) ?? [];
    const most = Math.max(goodEvents.length, otherEvents.length);
    for (let position = 0; position < most; position++) {
      const [a, b] = [goodEvents[position], otherEvents[position]];
      const [x, y] = [a?.digests.get(bank), b?.digests.get(bank)];
      if (x !== undefined && y !== undefined && equalBytes(x, y)) continue;
      differences.push({ register, position, good: a, other: b });
      break;
    }
  }
  return differences;
}

function byRegister(log: EventLog): Map<number, LogEvent[]> {
  const events = new Map<number, LogEvent[]>();
  for (const event of log.events) {
    if (event.type === EventType.NO_ACTION) continue;
    const list = events.get(event.register) ?? [];
    list.push(event);
    events.set(event.register, list);
  }
  return events;
}

function invalid(event: LogEvent, why: string): CocosError {
  return new CocosError(
    "invalid-argument",
    `Cannot replay an event log: event ${event.index} at offset ${event.offset}: ${why}`,
  );
}
