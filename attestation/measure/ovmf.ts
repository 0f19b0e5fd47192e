// What OVMF says about itself at its end: the table of GUIDs (OvmfPkg ResetVector), the SEV metadata
// and the TDX metadata. The firmware is the user's file; its offsets are checked all the same.
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";
import { PAGE_BYTES } from "./launch.ts";

/** GUIDs of the table. */
const GUID = {
  footer: "96b582de-1fb2-45f7-baea-a366c55a082d",
  resetBlock: "00f771de-1a7e-4fcb-890e-68c77e2fb44e",
  sevMetadata: "dc886566-984a-4798-a75e-5585a7bf67cc",
  hashTable: "7255371f-3a3b-4b04-927b-1da6efa8d454",
  svsmInfo: "a789a612-0597-4c4b-a49f-cbb1fe9d1ddd",
  tdxMetadata: "e47a6535-984a-4798-865e-4685a7bf8ec2",
} as const;

/** Firmware is 1 to 16 MiB; with an SVSM inside a little more. */
export const MAX_FIRMWARE_BYTES = 64 * 1024 * 1024;
const MAX_SECTIONS = 64;
/** Size and GUID of an entry, behind its data. */
const ENTRY_BYTES = 18;
/** The reset vector, behind the table. */
const RESET_BYTES = 32;

/** Sections of the SEV metadata. */
export const SEV_SECTIONS = {
  1: "sec-mem",
  2: "secrets",
  3: "cpuid",
  4: "svsm-caa",
  16: "kernel-hashes",
} as const;

/** One section of the SEV metadata. */
export interface SevSection {
  readonly kind: (typeof SEV_SECTIONS)[keyof typeof SEV_SECTIONS];
  readonly gpa: bigint;
  readonly bytes: number;
}

/** One section of the TDX metadata (TDVF design guide §11). */
export interface TdxSection {
  /** 0 BFV, 1 CFV, 2 TD HOB, 3 temporary memory, 4 permanent memory, 5 payload, 6 payload parameters. */
  readonly type: number;
  readonly dataOffset: number;
  readonly rawBytes: number;
  readonly gpa: bigint;
  readonly memoryBytes: bigint;
  /** Bit 0: content is measured into MRTD. Bit 1: added later, not measured at all. */
  readonly attributes: number;
}

/** A firmware file. */
export interface Firmware {
  readonly bytes: Uint8Array;
  /** EIP of application processors; `undefined` without an SEV-ES reset block. */
  readonly resetEip: number | undefined;
  readonly sevSections: readonly SevSection[];
  /** Where the kernel hashes go; 0 when unsupported. */
  readonly hashTableGpa: number;
  /** Offset of the SVSM's entry from its start, when this is an SVSM. */
  readonly svsmEntry: number | undefined;
  /** Where the TDX metadata stands, in bytes before the end; see {@linkcode tdxSections}. */
  readonly tdxMetadata: number | undefined;
}

/**
 * Parses a firmware file; one without a table has no sections.
 *
 * @throws {CocosError} `invalid-argument` for entries and sections that lie outside of the file, unknown
 * section types and odd sizes; `too-large`.
 */
export function parseFirmware(bytes: Uint8Array): Firmware {
  if (bytes.length > MAX_FIRMWARE_BYTES) {
    throw new CocosError("too-large", `Cannot measure a firmware of ${bytes.length} bytes`);
  }
  const table = readTable(bytes);
  const number = (guid: string): number | undefined => {
    const data = table.get(guid);
    if (data === undefined) return undefined;
    return new Reader(data, `firmware entry ${guid}`).u32le();
  };
  return Object.freeze({
    bytes,
    resetEip: number(GUID.resetBlock),
    sevSections: readSev(bytes, number(GUID.sevMetadata)),
    hashTableGpa: number(GUID.hashTable) ?? 0,
    svsmEntry: number(GUID.svsmInfo),
    tdxMetadata: number(GUID.tdxMetadata),
  });
}

/** Entries by GUID, read from the back: data, u16 size of all, GUID. */
function readTable(bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const table = new Map<string, Uint8Array>();
  const end = bytes.length - RESET_BYTES;
  if (end < ENTRY_BYTES) return table;
  const entryAt = (stop: number, floor: number): readonly [string, number] => {
    if (stop - floor < ENTRY_BYTES) throw fault("the table of GUIDs is cut", stop);
    const reader = new Reader(bytes.subarray(stop - ENTRY_BYTES, stop), "a firmware", {
      base: stop - ENTRY_BYTES,
    });
    const size = reader.u16le();
    const guid = mixedGuid(reader.bytes(16));
    return [guid, size];
  };
  const [guid, total] = entryAt(end, 0);
  if (guid !== GUID.footer) return table;
  if (total < ENTRY_BYTES || total > end) throw fault("the table of GUIDs has a wrong size", end);
  const floor = end - total;
  let stop = end - ENTRY_BYTES;
  while (stop - floor >= ENTRY_BYTES) {
    const [name, size] = entryAt(stop, floor);
    if (size < ENTRY_BYTES || stop - size < floor) {
      throw fault(`entry ${name} has a wrong size`, stop);
    }
    if (table.has(name)) throw fault(`entry ${name} twice`, stop);
    table.set(name, bytes.subarray(stop - size, stop - ENTRY_BYTES));
    stop -= size;
  }
  return table;
}

/** Reader from `fromEnd` bytes before the end of the file. */
function readerFromEnd(bytes: Uint8Array, fromEnd: number): Reader {
  const start = bytes.length - fromEnd;
  if (start < 0 || fromEnd === 0) throw fault("metadata lies outside of the file", 0);
  return new Reader(bytes.subarray(start), "the metadata of a firmware", { base: start });
}

function readSev(bytes: Uint8Array, fromEnd: number | undefined): readonly SevSection[] {
  if (fromEnd === undefined) return [];
  const reader = readerFromEnd(bytes, fromEnd);
  const start = reader.offset;
  if (reader.u32be() !== 0x41534556) throw reader.fault("SEV metadata must start with ASEV", start);
  const size = reader.u32le();
  if (reader.u32le() !== 1) throw reader.fault("SEV metadata must be of version 1", start + 8);
  const count = reader.u32le();
  if (count > MAX_SECTIONS || size < 16 + 12 * count) {
    throw reader.fault("SEV metadata is cut", start);
  }
  return Array.from({ length: count }, (): SevSection => {
    const at = reader.offset;
    const gpa = BigInt(reader.u32le());
    const length = reader.u32le();
    const type = reader.u32le();
    const kind = SEV_SECTIONS[type as keyof typeof SEV_SECTIONS];
    if (kind === undefined) throw reader.fault(`SEV section type ${type} is not known`, at + 8);
    if (length % PAGE_BYTES !== 0) throw reader.fault(`an SEV section of ${length} bytes`, at + 4);
    return Object.freeze({ kind, gpa, bytes: length });
  });
}

/**
 * Sections a TDX guest starts from.
 *
 * @throws {CocosError} `invalid-argument` when the firmware has none, or one outside of the file.
 */
export function tdxSections({ bytes, tdxMetadata }: Firmware): readonly TdxSection[] {
  if (tdxMetadata === undefined) throw fault("it has no TDX metadata", bytes.length);
  const reader = readerFromEnd(bytes, tdxMetadata);
  const start = reader.offset;
  if (reader.u32be() !== 0x54445646) throw reader.fault("TDX metadata must start with TDVF", start);
  const size = reader.u32le();
  if (reader.u32le() !== 1) throw reader.fault("TDX metadata must be of version 1", start + 8);
  const count = reader.u32le();
  if (count > MAX_SECTIONS || size < 16 + 32 * count) {
    throw reader.fault("TDX metadata is cut", start);
  }
  return Array.from({ length: count }, (): TdxSection => {
    const at = reader.offset;
    const dataOffset = reader.u32le();
    const rawBytes = reader.u32le();
    const gpa = reader.u64le();
    const memoryBytes = reader.u64le();
    const type = reader.u32le();
    const attributes = reader.u32le();
    if (type > 6 || attributes > 3) throw reader.fault(`TDX section type ${type} is not known`, at);
    if (dataOffset + rawBytes > bytes.length || memoryBytes < BigInt(rawBytes)) {
      throw reader.fault("a TDX section lies outside of the file", at);
    }
    if (gpa % 4096n !== 0n || memoryBytes % 4096n !== 0n) {
      throw reader.fault("a TDX section is not of whole pages", at);
    }
    return Object.freeze({ type, dataOffset, rawBytes, gpa, memoryBytes, attributes });
  });
}

/** Text of a GUID whose first three fields are little-endian. */
export function mixedGuid(bytes: Uint8Array): string {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  const hex = order.map((at) => (bytes[at] ?? 0).toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
    .join("-");
}

/** The 16 bytes of a GUID whose first three fields are little-endian. */
export function guidBytes(guid: string): Uint8Array {
  const hex = guid.replaceAll("-", "");
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return Uint8Array.from(order, (at) => parseInt(hex.slice(2 * at, 2 * at + 2), 16));
}

function fault(why: string, offset: number): CocosError {
  return new CocosError("invalid-argument", `Cannot read a firmware at offset ${offset}: ${why}`);
}
