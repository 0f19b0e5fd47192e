// TCG event logs: the crypto-agile form, the SHA-1 form before it, and the CC event log of TDX guests
// (PFP §10.2; the CCEL is the same with RTMR numbers). The bytes come from the guest, whoever runs it;
// only a replay that gives signed register values makes the digests believable, and never the rest.
import { type Bank, bankOfId, BANKS } from "../banks.ts";
import { Reader } from "../reader.ts";
import { EventType } from "./types.ts";

/** Firmware areas are 64 KiB to 1 MiB; kernels cap logs far below. */
export const MAX_LOG_BYTES = 4 * 1024 * 1024;

/** An event takes at least 16 bytes; real logs have below 300. */
export const MAX_EVENTS = 16_384;

/** Register FFFFFFFF, which firmware gives no-action events that concern none (PFP 1.06 §10.4.5). */
const NOWHERE = -2;

/** A TPM has at most 16 banks. */
const MAX_ALGORITHMS = 16;

/** Which registers a log speaks of: PCRs 0–23, or measurement registers 0 (MRTD) to 4 (RTMR 3). */
export type LogKind = "tcg" | "ccel";

/** One event. */
export interface LogEvent {
  /** Position in the log, from 0; the header event of the crypto-agile form does not count. */
  readonly index: number;
  /** Offset of its first byte in the log. */
  readonly offset: number;
  /** PCR, or RTMR (0 to 3; -1 is the MRTD); -2 of an informative event that names none. */
  readonly register: number;
  readonly type: number;
  /** Digests by bank; algorithms that can't be replayed are left out. */
  readonly digests: ReadonlyMap<Bank, Uint8Array>;
  /** Chosen by whoever made the log unless `bindingOf()` says that the digest covers it. */
  readonly data: Uint8Array;
}

/** A parsed log. */
export interface EventLog {
  readonly kind: LogKind;
  readonly form: "crypto-agile" | "sha1";
  /** Banks the log has digests for, and that can be replayed. */
  readonly banks: readonly Bank[];
  readonly events: readonly LogEvent[];
}

/**
 * Parses a log up to its end or its end mark; what follows the mark must be padding.
 *
 * @throws {CocosError} `invalid-argument` with the offset for a cut event, an unknown or doubled digest
 * algorithm, a register that does not exist, too many bytes or events.
 */
export function parseEventLog(bytes: Uint8Array, kind: LogKind): EventLog {
  const reader = new Reader(bytes, kind === "tcg" ? "a TCG event log" : "a CC event log");
  if (bytes.length > MAX_LOG_BYTES) throw reader.fault(`${bytes.length} bytes are too many`);
  if (bytes.length === 0) throw reader.fault("it is empty");
  const algorithms = readHeader(bytes, reader);
  const events: LogEvent[] = [];
  while (!reader.done) {
    if (isPadding(bytes, reader.offset)) break;
    if (events.length >= MAX_EVENTS) throw reader.fault(`more than ${MAX_EVENTS} events`);
    events.push(readEvent(reader, kind, algorithms, events.length));
  }
  const banks: Bank[] = algorithms === undefined
    ? ["sha1"]
    : [...algorithms.keys()].map(bankOfId).filter((bank) => bank !== undefined);
  return Object.freeze({
    kind,
    form: algorithms === undefined ? "sha1" : "crypto-agile",
    banks: Object.freeze(banks),
    events: Object.freeze(events),
  });
}

/** Digest sizes by algorithm of the crypto-agile form; `undefined`, and nothing read, for the other. */
function readHeader(bytes: Uint8Array, reader: Reader): ReadonlyMap<number, number> | undefined {
  const signature = new TextEncoder().encode("Spec ID Event03\0");
  const agile = bytes.length >= 48 && signature.every((byte, at) => bytes[32 + at] === byte);
  if (!agile) return undefined;
  if (reader.u32le() > 1) throw reader.fault("register of the header must be 0 or 1", 0);
  if (reader.u32le() !== EventType.NO_ACTION) throw reader.fault("type of the header is wrong", 4);
  reader.zeros(20, "digest of the header");
  const header = reader.part(reader.u32le(), "the header of an event log");
  header.bytes(16 + 4 + 1 + 1 + 1 + 1); // signature, platform class, minor, major, errata, uintn size
  const count = header.u32le();
  if (count === 0 || count > MAX_ALGORITHMS) throw header.fault(`${count} digest algorithms`);
  const sizes = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    const at = header.offset;
    const id = header.u16le();
    const size = header.u16le();
    const bank = bankOfId(id);
    if (sizes.has(id)) throw header.fault("a digest algorithm twice", at);
    if (size === 0 || size > 64 || (bank !== undefined && BANKS[bank].size !== size)) {
      throw header.fault(`a digest of ${size} bytes`, at + 2);
    }
    sizes.set(id, size);
  }
  header.bytes(header.u8());
  header.end();
  return sizes;
}

/** The end mark, register FFFFFFFF, or zeros where firmware cleared its area; nothing else may follow. */
function isPadding(bytes: Uint8Array, offset: number): boolean {
  const filler = bytes[offset];
  if (filler !== 0xff && filler !== 0) return false;
  const mark = bytes.subarray(offset, offset + 12);
  if (!mark.every((byte) => byte === filler)) return false;
  let at = offset;
  while (at < bytes.length && bytes[at] === filler) at++;
  while (at < bytes.length && bytes[at] === 0xff) at++;
  return at === bytes.length;
}

function readEvent(
  reader: Reader,
  kind: LogKind,
  algorithms: ReadonlyMap<number, number> | undefined,
  index: number,
): LogEvent {
  const offset = reader.offset;
  const number = reader.u32le();
  const type = reader.u32le();
  const most = kind === "tcg" ? 23 : 4;
  const nowhere = number === 0xffffffff && type === EventType.NO_ACTION;
  if (number > most && !nowhere) {
    throw reader.fault(`register ${number}, ${most} is the last`, offset);
  }
  const digests = new Map<Bank, Uint8Array>();
  if (algorithms === undefined) digests.set("sha1", reader.bytes(20));
  else readDigests(reader, algorithms, digests);
  const data = reader.bytes(reader.u32le());
  const register = nowhere ? NOWHERE : kind === "tcg" ? number : number - 1;
  return Object.freeze({ index, offset, register, type, digests, data });
}

function readDigests(
  reader: Reader,
  algorithms: ReadonlyMap<number, number>,
  digests: Map<Bank, Uint8Array>,
): void {
  const start = reader.offset;
  const count = reader.u32le();
  if (count === 0 || count > algorithms.size) throw reader.fault(`${count} digests`, start);
  const seen = new Set<number>();
  for (let i = 0; i < count; i++) {
    const at = reader.offset;
    const id = reader.u16le();
    const size = algorithms.get(id);
    if (size === undefined) throw reader.fault("a digest algorithm the header does not name", at);
    if (seen.has(id)) throw reader.fault("a digest algorithm twice", at);
    seen.add(id);
    const digest = reader.bytes(size);
    const bank = bankOfId(id);
    if (bank !== undefined) digests.set(bank, digest);
  }
}
