// What a replayed log says about the boot. Digests are signed; types, prefixes and uncovered data are
// the words of whoever sent the log. So facts go by digest: a separator is what hashes like one,
// whatever its type says. Believable only after the replay held.
import { type Bank, BANKS } from "../banks.ts";
import { equalBytes, toHex } from "../verdict.ts";
import { bindingOf } from "./binding.ts";
import type { EventLog, LogEvent } from "./parse.ts";
import { EventType } from "./types.ts";

/** Facts of a boot. */
export interface BootFacts {
  /** `unknown`: the variable is absent, malformed, or measured twice before the separator. */
  readonly secureBoot: "on" | "off" | "unknown";
  /** Version of the firmware's first part, as text or hex: the first thing in PCR 0, if it is one. */
  readonly firmwareVersion: string | undefined;
  /**
   * Digests of all that was extended into PCR 4 (TDX: RTMR 1) besides separators and actions: boot
   * programs by their Authenticode digest, in order. Nothing is left out, whatever type it claims.
   */
  readonly programs: readonly string[];
  /**
   * Commands and command lines a boot loader measured into PCR 8 (TDX: RTMR 2), in order. Which one is
   * the kernel's is not proven: a loader's prefixes are not hashed.
   */
  readonly texts: readonly string[];
  /** What is wrong with the separators, in words. */
  readonly separatorFaults: readonly string[];
}

/** Registers that carry exactly one separator on a PC (PFP §3.3.4). */
const SEPARATED = [0, 1, 2, 3, 4, 5, 6, 7] as const;

/** Where the log kinds keep things. */
const PLACES = {
  tcg: { secureBoot: 7, version: 0, programs: 4, texts: 8, bootVariables: 1 },
  ccel: { secureBoot: 0, version: -2, programs: 1, texts: 2, bootVariables: 0 },
} as const;

/** EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c, then 10 units of name, 1 byte of value. */
const SECURE_BOOT_HEAD = [
  ...[
    0x61,
    0xdf,
    0xe4,
    0x8b,
    0xca,
    0x93,
    0xd2,
    0x11,
    0xaa,
    0x0d,
    0x00,
    0xe0,
    0x98,
    0x03,
    0x2b,
    0x8c,
  ],
  ...[10, 0, 0, 0, 0, 0, 0, 0],
  ...[1, 0, 0, 0, 0, 0, 0, 0],
  ...[..."SecureBoot"].flatMap((char) => [char.charCodeAt(0), 0]),
];

/** Data that marks the end of the firmware's part: well, well in other words, and failed. */
const SEPARATORS = [[0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff]] as const;
const FAILED_SEPARATOR = [1, 0, 0, 0] as const;

/** Gathers the facts by the digests of one bank, which must be one that replayed. */
export function bootFacts(log: EventLog, bank: Bank): BootFacts {
  const events = log.events.filter((event) => event.type !== EventType.NO_ACTION);
  const digest = (bytes: readonly number[]) => BANKS[bank].hash(Uint8Array.from(bytes));
  const is = (event: LogEvent, known: Uint8Array) => {
    const found = event.digests.get(bank);
    return found !== undefined && equalBytes(found, known);
  };
  const good = SEPARATORS.map(digest);
  const bad = digest(FAILED_SEPARATOR);
  const place = PLACES[log.kind];
  // A boot order of 1, 0 is measured as its bare value and hashes like a failed separator.
  const failed = (event: LogEvent) =>
    is(event, bad) &&
    (event.type === EventType.SEPARATOR || event.register !== place.bootVariables);
  const separates = (event: LogEvent) => good.some((each) => is(event, each)) || failed(event);

  const early: LogEvent[] = [];
  for (const event of events.filter(({ register }) => register === place.secureBoot)) {
    if (separates(event)) break;
    early.push(event);
  }
  const on = digest([...SECURE_BOOT_HEAD, 1]);
  const off = digest([...SECURE_BOOT_HEAD, 0]);
  const said = early.filter((event) => is(event, on) || is(event, off));
  const [first] = said;
  const secureBoot = first === undefined || said.length !== 1
    ? "unknown"
    : is(first, on)
    ? "on"
    : "off";

  return Object.freeze({
    secureBoot,
    firmwareVersion: firmwareVersion(events.find(({ register }) => register === place.version)),
    programs: events
      .filter((event) => event.register === place.programs && !separates(event) && !isAction(event))
      .map((event) => toHex(event.digests.get(bank) ?? new Uint8Array())),
    texts: events.filter(({ register }) => register === place.texts).flatMap(textOf),
    separatorFaults: separatorFaults(log, events, separates, failed),
  });
}

function firmwareVersion(event: LogEvent | undefined): string | undefined {
  if (event?.type !== EventType.S_CRTM_VERSION) return undefined;
  const { coverage, bytes } = bindingOf(event);
  if (coverage !== "data") return undefined;
  const text = new TextDecoder("utf-16le").decode(bytes).replace(/\0+$/, "");
  return /^[\x20-\x7e]+$/.test(text) ? text : toHex(bytes);
}

/** A short printable text whose digest this is; no program is one. */
function isAction(event: LogEvent): boolean {
  const { coverage, bytes } = bindingOf(event);
  return coverage === "data" && bytes.length <= 128 &&
    bytes.every((byte) => byte >= 0x20 && byte < 0x7f);
}

function textOf(event: LogEvent): string[] {
  if (event.type !== EventType.IPL) return [];
  const { coverage, bytes } = bindingOf(event);
  return coverage === "text" ? [new TextDecoder().decode(bytes)] : [];
}

/** 1 says that the boot failed. A PC has one separator in each of PCR 0 to 7; RTMRs mix several PCRs. */
function separatorFaults(
  log: EventLog,
  events: readonly LogEvent[],
  separates: (event: LogEvent) => boolean,
  failed: (event: LogEvent) => boolean,
): string[] {
  const faults = events
    .filter((event) => failed(event) || (event.type === EventType.SEPARATOR && !separates(event)))
    .map(({ index, register }) => `event ${index} is a bad separator of register ${register}`);
  if (log.kind === "ccel") return faults;
  for (const each of SEPARATED) {
    const count = events.filter((event) => event.register === each && separates(event)).length;
    if (count !== 1) faults.push(`PCR ${each} has ${count} separators`);
  }
  return faults;
}
