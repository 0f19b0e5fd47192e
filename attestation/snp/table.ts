// The extended report: a report, then the host's table of certificates (AMD GHCB 2.0 §4.1.8.1). The
// table is the host's word; it only offers certificates, which must chain to a pinned key.
import { equalBytes, toHex } from "../verdict.ts";
import { Reader } from "../reader.ts";
import { REPORT_BYTES } from "./report.ts";

/** GUIDs of the table, in the byte order of their text (unlike firmware tables). */
export const TABLE_GUIDS = {
  vcek: "63da758d-e664-4564-adc5-f4b93be8accd",
  vlek: "a8074bc2-a25a-483e-aae6-39c045a0b8a1",
  ask: "4ab7b379-bbac-4fe4-a02f-05aef327c782",
  ark: "c0b406a4-a803-4952-9743-3fb6014cd0ae",
  platform: "ecae0c0f-9502-43b1-afa2-0ae2e0d565b6",
} as const;

/** Bounds of a hostile table. */
const MAX_ENTRIES = 32;
const MAX_TABLE_BYTES = 256 * 1024;
const HEADER_BYTES = 24;

/** Certificates offered with a report, DER. */
export interface CertificateTable {
  readonly vcek?: Uint8Array;
  readonly vlek?: Uint8Array;
  /** ASK or ASVK. */
  readonly ask?: Uint8Array;
  readonly ark?: Uint8Array;
  /** All entries by GUID text, unknown ones too. */
  readonly entries: ReadonlyMap<string, Uint8Array>;
}

/** Text of a 16-byte GUID in the table's order. */
export function guidText(bytes: Uint8Array): string {
  return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/**
 * Parses a certificate table.
 *
 * @throws {CocosError} `invalid-argument` with the offset: no end mark, a range outside of the data,
 * a GUID twice, more than 32 entries.
 */
export function parseTable(bytes: Uint8Array): CertificateTable {
  const reader = new Reader(bytes, "an SNP certificate table");
  if (bytes.length > MAX_TABLE_BYTES) throw reader.fault("the table is larger than 256 KiB");
  const headers: { guid: string; offset: number; length: number }[] = [];
  for (;;) {
    const id = reader.bytes(16);
    const offset = reader.u32le();
    const length = reader.u32le();
    if (equalBytes(id, new Uint8Array(16))) {
      if (offset !== 0 || length !== 0) throw reader.fault("the end mark has a range");
      break;
    }
    const guid = guidText(id);
    if (headers.some((each) => each.guid === guid)) throw reader.fault(`entry ${guid} twice`);
    if (headers.length === MAX_ENTRIES) throw reader.fault(`more than ${MAX_ENTRIES} entries`);
    headers.push({ guid, offset, length });
  }
  const start = HEADER_BYTES * (headers.length + 1);
  const entries = new Map<string, Uint8Array>();
  for (const { guid, offset, length } of headers) {
    if (offset < start || length > bytes.length || offset > bytes.length - length) {
      throw reader.fault(`entry ${guid} lies outside of the data`);
    }
    entries.set(guid, bytes.subarray(offset, offset + length));
  }
  const named = Object.entries(TABLE_GUIDS)
    .filter(([name]) => name !== "platform")
    .flatMap(([name, guid]) => {
      const entry = entries.get(guid);
      return entry === undefined ? [] : [[name, entry] as const];
    });
  return Object.freeze({ ...Object.fromEntries(named), entries });
}

/** Bytes of a table with these entries, by GUID text. */
export function encodeTable(entries: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const start = HEADER_BYTES * (entries.size + 1);
  const size = [...entries.values()].reduce((sum, each) => sum + each.length, start);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let header = 0;
  let offset = start;
  for (const [guid, data] of entries) {
    bytes.set(
      Uint8Array.from(guid.replaceAll("-", "").match(/../g) ?? [], (pair) => parseInt(pair, 16)),
      header,
    );
    view.setUint32(header + 16, offset, true);
    view.setUint32(header + 20, data.length, true);
    bytes.set(data, offset);
    header += HEADER_BYTES;
    offset += data.length;
  }
  return bytes;
}

/** A report and what came with it. */
export interface ExtendedReport {
  /** The first 1,184 bytes (fewer when there are fewer: the report's parser says so). */
  readonly report: Uint8Array;
  readonly table: CertificateTable | undefined;
}

/** Splits bytes into report and certificate table. */
export function splitExtended(bytes: Uint8Array): ExtendedReport {
  const report = bytes.subarray(0, REPORT_BYTES);
  const rest = bytes.subarray(REPORT_BYTES);
  return Object.freeze({ report, table: rest.length === 0 ? undefined : parseTable(rest) });
}
