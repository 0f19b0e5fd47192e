// Which part of an event's data its digests cover. Data that no digest covers is the words of whoever
// made the log; data that must be covered and is not is a lie (threat A-9).
import { type Bank, BANKS } from "../banks.ts";
import { Reader } from "../reader.ts";
import { equalBytes } from "../verdict.ts";
import type { EventLog, LogEvent } from "./parse.ts";
import { DATA_IS_PREIMAGE, EventType } from "./types.ts";

/**
 * `data`: the whole; `value`: of a variable the value alone; `text`: what follows a boot loader's
 * prefix; `all-but-last`: old shims log one byte too many; `opaque`: the digest is of something else
 * (a file, an image), and the data describes it without proof; `mismatch`: the digest should be of
 * this data and is not.
 */
export type Coverage = "data" | "value" | "text" | "all-but-last" | "opaque" | "mismatch";

/** What the digests of an event cover. */
export interface EventBinding {
  readonly coverage: Coverage;
  /** The covered bytes; empty when opaque or a mismatch. */
  readonly bytes: Uint8Array;
}

/** Prefixes that GRUB writes into the log and does not hash. */
const TEXT_PREFIXES = [
  "grub_cmd: ",
  "grub_cmd ",
  "kernel_cmdline: ",
  "grub_kernel_cmdline ",
  "module_cmdline: ",
];

const NONE = new Uint8Array();

/** Decides for one event, by all of its banks: one bank that disagrees decides against it. */
export function bindingOf(event: LogEvent): EventBinding {
  for (const [coverage, bytes] of candidates(event)) {
    if (covers(event.digests, bytes)) return { coverage, bytes };
  }
  const must = DATA_IS_PREIMAGE.has(event.type);
  return { coverage: must ? "mismatch" : "opaque", bytes: NONE };
}

/** The extending events whose data should hash to their digest and does not. */
export function mismatches(log: EventLog): LogEvent[] {
  return log.events.filter((event) =>
    event.type !== EventType.NO_ACTION && DATA_IS_PREIMAGE.has(event.type) &&
    bindingOf(event).coverage === "mismatch"
  );
}

function covers(digests: ReadonlyMap<Bank, Uint8Array>, bytes: Uint8Array): boolean {
  if (digests.size === 0) return false;
  for (const [bank, digest] of digests) {
    if (!equalBytes(BANKS[bank].hash(bytes), digest)) return false;
  }
  return true;
}

function* candidates({ type, data }: LogEvent): Generator<readonly [Coverage, Uint8Array]> {
  yield ["data", data];
  if (type === EventType.VARIABLE_BOOT) {
    const variable = parseVariable(data);
    if (variable !== undefined) yield ["value", variable.value];
  }
  if (type === EventType.VARIABLE_AUTHORITY && data.length > 1) {
    yield ["all-but-last", data.subarray(0, -1)];
  }
  if (type === EventType.IPL) {
    for (const prefix of TEXT_PREFIXES) {
      if (!startsWith(data, prefix)) continue;
      const text = data.subarray(prefix.length);
      yield ["text", text.at(-1) === 0 ? text.subarray(0, -1) : text];
      break;
    }
  }
}

/** A UEFI variable of an event (UEFI_VARIABLE_DATA, PFP §10.2.6). */
export interface EventVariable {
  /** GUID bytes, mixed-endian. */
  readonly vendor: Uint8Array;
  readonly name: string;
  readonly value: Uint8Array;
}

/** Parses a variable; `undefined` when lengths disagree (some firmware writes wrong ones). */
export function parseVariable(data: Uint8Array): EventVariable | undefined {
  if (data.length < 32) return undefined;
  const reader = new Reader(data, "a variable of an event");
  const vendor = reader.bytes(16);
  const units = reader.u64le();
  const size = reader.u64le();
  if (units * 2n + size !== BigInt(reader.left)) return undefined;
  const name = new TextDecoder("utf-16le").decode(reader.bytes(Number(units) * 2));
  return { vendor, name, value: reader.rest() };
}

function startsWith(data: Uint8Array, prefix: string): boolean {
  for (let i = 0; i < prefix.length; i++) if (data[i] !== prefix.charCodeAt(i)) return false;
  return true;
}
