// IMA measurement lists, binary and ASCII, whole or as they grow. The list comes from the guest; its
// lines are believed only as far as a replay leads to a signed PCR 10.
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";
import {
  asciiText,
  FILE_HASHES,
  IMA_TEMPLATES,
  type ImaFields,
  type ImaTemplate,
  isTemplate,
  oldTemplateData,
  parseTemplateData,
} from "./template.ts";

/** A list of a million short lines. */
export const MAX_LIST_BYTES = 256 * 1024 * 1024;
/** Entries of one list. */
export const MAX_ENTRIES = 2_000_000;
/** A measured buffer may be a policy or an initrd's command line; keys are below 4 KiB. */
const MAX_DATA_BYTES = 512 * 1024;
/** Two hex digits for each byte of data, and the short fields. */
const MAX_LINE = 2 * MAX_DATA_BYTES + 1024;
const SHA1_BYTES = 20;

/** The two forms a kernel shows. */
export type ImaForm = "binary" | "ascii";

/** One entry. */
export interface ImaEntry extends ImaFields {
  /** Position in the list, from 0. */
  readonly index: number;
  readonly pcr: number;
  readonly template: ImaTemplate;
  /** SHA-1 of the template data, as the list has it; zeros for a violation. */
  readonly templateHash: Uint8Array;
  /** What was hashed. */
  readonly data: Uint8Array;
  /**
   * A file was open for writing when it was measured, or measured while open for writing. The kernel
   * extends the PCR by FF bytes then: nothing else in this entry is measured.
   */
  readonly violation: boolean;
}

/** Reads a list as it grows: the parts may be cut anywhere. */
export class ImaParser {
  readonly #form: ImaForm;
  #rest: Uint8Array = new Uint8Array();
  #offset = 0;
  #count: number;

  /** @param count How many entries came before, when the list is read from where one stopped. */
  constructor(form: ImaForm, count = 0) {
    this.#form = form;
    this.#count = count;
  }

  /** Bytes of whole entries so far: where to go on reading another time. */
  get offset(): number {
    return this.#offset;
  }

  /** Entries that the new part completes. @throws {CocosError} `invalid-argument` with the place. */
  push(part: Uint8Array): ImaEntry[] {
    const bytes = this.#rest.length === 0 ? part : join(this.#rest, part);
    if (this.#offset + bytes.length > MAX_LIST_BYTES) {
      throw fault(this.#offset, "the list is too long");
    }
    const entries: ImaEntry[] = [];
    let at = 0;
    for (;;) {
      const length = this.#form === "binary"
        ? recordLength(bytes, at, this.#offset)
        : lineLength(bytes, at);
      if (length === undefined) break;
      if (this.#count >= MAX_ENTRIES) throw fault(this.#offset, "the list has too many entries");
      const record = bytes.subarray(at, at + length);
      entries.push(
        this.#form === "binary"
          ? readRecord(record, this.#count, this.#offset)
          : readLine(record, this.#count),
      );
      this.#count++;
      at += length;
      this.#offset += length;
    }
    this.#rest = bytes.slice(at);
    const most = this.#form === "binary" ? MAX_DATA_BYTES + 1024 : MAX_LINE;
    if (this.#rest.length > most) throw fault(this.#offset, "an entry is too long");
    return entries;
  }

  /** @throws {CocosError} `invalid-argument` when the list ends inside of an entry. */
  end(): void {
    if (this.#rest.length > 0) {
      throw fault(this.#offset, `the list ends ${this.#rest.length} bytes into an entry`);
    }
  }
}

/**
 * Parses a whole list.
 *
 * @throws {CocosError} `invalid-argument` for a cut, unknown or malformed entry.
 */
export function parseImaList(bytes: Uint8Array, form: ImaForm = imaFormOf(bytes)): ImaEntry[] {
  const parser = new ImaParser(form);
  const entries = parser.push(bytes);
  parser.end();
  return entries;
}

/** The form of a list by its first byte: a line starts with a blank or a digit, a record with its PCR. */
export function imaFormOf(bytes: Uint8Array): ImaForm {
  const first = bytes[0] ?? 0;
  return first === 0x20 || (first >= 0x30 && first <= 0x39) ? "ascii" : "binary";
}

/** Length of the record at `at`; `undefined` when it is not whole yet. */
function recordLength(bytes: Uint8Array, at: number, offset: number): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, bytes.length - at);
  const head = 4 + SHA1_BYTES + 4;
  if (view.byteLength < head) return undefined;
  const name = view.getUint32(head - 4, true);
  if (name < 3 || name > 32) throw fault(offset, `a template name of ${name} bytes`);
  const old = name === 3; // "ima": no length of the whole, but a digest and a name with its length
  const fixed = head + name + (old ? SHA1_BYTES : 0) + 4;
  if (view.byteLength < fixed) return undefined;
  const data = view.getUint32(fixed - 4, true);
  if (data > MAX_DATA_BYTES) throw fault(offset, `template data of ${data} bytes`);
  return view.byteLength < fixed + data ? undefined : fixed + data;
}

function readRecord(record: Uint8Array, index: number, base: number): ImaEntry {
  const reader = new Reader(record, "an IMA entry", { base });
  const pcr = reader.u32le();
  const templateHash = reader.bytes(SHA1_BYTES);
  const name = asciiText(reader.bytes(reader.u32le()));
  if (!isTemplate(name)) throw fault(base, `template ${JSON.stringify(name)} is not known`);
  let data: Uint8Array | undefined;
  if (name === "ima") {
    const digest = reader.bytes(SHA1_BYTES);
    data = oldTemplateData(digest, reader.bytes(reader.u32le()));
  } else data = reader.bytes(reader.u32le());
  reader.end();
  if (data === undefined) throw fault(base, "a name that does not fit its template");
  return entryOf(index, pcr, name, templateHash, data, new Reader(data, "an IMA entry", { base }));
}

function entryOf(
  index: number,
  pcr: number,
  template: ImaTemplate,
  templateHash: Uint8Array,
  data: Uint8Array,
  reader: Reader,
): ImaEntry {
  if (pcr > 23) throw reader.fault(`register ${pcr}, 23 is the last`);
  const fields = parseTemplateData(template, reader);
  const violation = templateHash.every((byte) => byte === 0);
  return Object.assign({ index, pcr, template, templateHash, data, violation }, fields);
}

/** Length of the line at `at` with its end; `undefined` when it is not whole yet. */
function lineLength(bytes: Uint8Array, at: number): number | undefined {
  const end = bytes.indexOf(0x0a, at);
  return end === -1 ? undefined : end + 1 - at;
}

/** `PCR hash template field…`, one blank between: the kernel turns blanks in names into `_`. */
function readLine(line: Uint8Array, index: number): ImaEntry {
  const words = splitBlanks(line.subarray(line[0] === 0x20 ? 1 : 0, -1));
  const [pcr, hash, template, ...fields] = words;
  const number = pcr === undefined ? "" : asciiText(pcr);
  const name = template === undefined ? "" : asciiText(template);
  if (!/^[0-9]{1,2}$/.test(number) || hash?.length !== 2 * SHA1_BYTES) {
    throw lineFault(index, "it does not start with a register and a SHA-1");
  }
  if (!isTemplate(name)) throw lineFault(index, `template ${JSON.stringify(name)} is not known`);
  const templateHash = fromHex(hash, index);
  const names = IMA_TEMPLATES[name];
  if (fields.length !== names.length) throw lineFault(index, `${fields.length} fields`);
  if (name === "ima") {
    const [digest, path] = fields as [Uint8Array, Uint8Array];
    const data = oldTemplateData(fromHex(digest, index), path);
    if (data === undefined) throw lineFault(index, "a name that does not fit its template");
    return entryOf(index, Number(number), name, templateHash, data, lineReader(data, index));
  }
  const parts = names.map((field, at) => fieldBytes(field, fields[at] as Uint8Array, index));
  const data = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 0));
  const view = new DataView(data.buffer);
  let at = 0;
  for (const part of parts) {
    view.setUint32(at, part.length, true);
    data.set(part, at + 4);
    at += 4 + part.length;
  }
  return entryOf(index, Number(number), name, templateHash, data, lineReader(data, index));
}

/** Reads rebuilt data: offsets are of the data, the place is the line. */
function lineReader(data: Uint8Array, index: number): Reader {
  return new Reader(data, `the data of line ${index + 1} of an IMA list`);
}

/** A field as it stands in the template data. */
function fieldBytes(field: string, word: Uint8Array, index: number): Uint8Array {
  if (field === "n-ng") return join(word, Uint8Array.of(0));
  if (!field.startsWith("d-")) return fromHex(word, index);
  if (field === "d-modsig" && word.length === 0) return word;
  const colon = word.lastIndexOf(0x3a);
  const digest = fromHex(word.subarray(colon + 1), index);
  const algorithm = asciiText(
    word.subarray(Math.max(0, word.lastIndexOf(0x3a, colon - 1) + 1), Math.max(0, colon)),
  );
  if (colon < 1 || !FILE_HASHES.has(algorithm)) {
    throw lineFault(index, "a digest without algorithm");
  }
  return join(join(word.subarray(0, colon + 1), Uint8Array.of(0)), digest);
}

function splitBlanks(line: Uint8Array): Uint8Array[] {
  const words: Uint8Array[] = [];
  let start = 0;
  for (;;) {
    const end = line.indexOf(0x20, start);
    words.push(line.subarray(start, end === -1 ? line.length : end));
    if (end === -1) return words;
    if (words.length > 12) return words;
    start = end + 1;
  }
}

function digit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  return byte >= 0x61 && byte <= 0x66 ? byte - 0x57 : -1;
}

function fromHex(word: Uint8Array, index: number): Uint8Array {
  const bytes = new Uint8Array(word.length >> 1);
  for (let i = 0; i < bytes.length; i++) {
    const high = digit(word[2 * i] as number);
    const low = digit(word[2 * i + 1] as number);
    if (high < 0 || low < 0) throw lineFault(index, "hex is due");
    bytes[i] = high * 16 + low;
  }
  if (word.length % 2 === 1) throw lineFault(index, "hex of whole bytes is due");
  return bytes;
}

function join(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}

function fault(offset: number, why: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read an IMA list at offset ${offset}: ${why}`);
}

function lineFault(index: number, why: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read an IMA list: line ${index + 1}: ${why}`, {
    hint: "Names with line breaks spoil the ASCII form: read binary_runtime_measurements.",
  });
}
