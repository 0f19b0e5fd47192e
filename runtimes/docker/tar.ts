// Tar headers, read strictly (POSIX pax and GNU's two long-name records). The engine reads layers
// again with a parser of its own: what two parsers could understand differently is refused.
import { refuse } from "../contract.ts";

/** Size of a header and unit of all padding. */
export const BLOCK = 512;
/** Longest extension record; real ones are a few hundred bytes. */
export const MAX_EXTENSION = 64 << 10;
/** Longest path, Linux's own. */
const MAX_PATH = 4096;

/** What an entry is. */
export type EntryKind = "file" | "directory" | "symlink" | "hardlink" | "device" | "fifo";

/** One entry, its extensions applied. */
export interface Entry {
  readonly kind: EntryKind;
  /** Relative path without `.`, empty parts or a `/` at its end; empty for the root itself. */
  readonly path: string;
  /** Target of a link, as it is written. */
  readonly target: string;
  /** Bytes of content that follow; 0 for all but files. */
  readonly size: number;
}

const KINDS: Readonly<Record<string, EntryKind>> = {
  "\0": "file",
  "0": "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "device",
  "4": "device",
  "5": "directory",
  "6": "fifo",
};

/** Records that describe the entry after them. */
const EXTENSIONS = "xLK";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  try {
    return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
  } catch (cause) {
    refuse("The image has a name that isn't UTF-8", cause);
  }
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** A number field: octal digits, or GNU's big-endian form where the first bit is set. */
function numberOf(field: Uint8Array): number {
  if ((field[0] as number) === 0x80) {
    let value = 0;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) refuse("The image has an entry of an impossible size");
    return value;
  }
  const digits = text(field).trim();
  // Other readers look for digits behind NULs and spaces too.
  if (
    !/^[0-7]*$/.test(digits) || (digits === "" && field.some((byte) => byte !== 0 && byte !== 32))
  ) {
    refuse("The image has a header with a broken number");
  }
  return digits === "" ? 0 : parseInt(digits, 8);
}

/** A path as both parsers must see it: relative, plain, bounded. */
function plain(path: string): string {
  if (path.startsWith("/") || path.length > MAX_PATH) {
    refuse("The image has an entry with an absolute or overlong path");
  }
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) refuse("The image has an entry whose path climbs with ..");
  return parts.join("/");
}

/** Reads a sequence of headers; keep one for a whole archive. */
export class Headers {
  readonly #extra = new Map<string, string>();
  /** Whether a pax header for the next entry was there. */
  #pax = false;

  /**
   * Reads one header block. Answers an entry; `extension` with the size of the record that follows
   * and must be given to {@linkcode extend}; or `end` for a block of zeros.
   *
   * @throws {CocosError} `invalid-argument` for anything unusual.
   */
  read(block: Uint8Array): Entry | { readonly extension: string; readonly size: number } | "end" {
    if (isZero(block)) {
      if (this.#extra.size > 0) refuse("The image ends within an entry");
      return "end";
    }
    let sum = 8 * 32;
    for (let at = 0; at < BLOCK; at++) {
      if (at < 148 || at >= 156) sum += block[at] as number;
    }
    if (numberOf(block.subarray(148, 156)) !== sum) {
      refuse("The image isn't a tar archive, or is damaged: a header's checksum is wrong");
    }
    const magic = String.fromCharCode(...block.subarray(257, 265));
    const posix = magic === "ustar\0" + "00";
    if (!posix && magic !== "ustar  \0") refuse("The image has a header of an unknown tar format");
    // GNU's format has times where POSIX has a prefix, and the end is empty in both.
    if (!isZero(block.subarray(500)) || (!posix && !isZero(block.subarray(345, 500)))) {
      refuse("The image has a header with more than its format holds");
    }
    const size = numberOf(block.subarray(124, 136));
    const type = String.fromCharCode(block[156] as number);
    if (EXTENSIONS.includes(type)) {
      if (size > MAX_EXTENSION) refuse("The image has an overlong extension header");
      return { extension: type, size };
    }
    const kind = KINDS[type];
    if (kind === undefined) refuse(`The image has an entry of the type ${JSON.stringify(type)}`);
    const prefix = posix ? text(block.subarray(345, 500)) : "";
    const name = text(block.subarray(0, 100));
    const written = this.#extra.get("path") ?? (prefix === "" ? name : `${prefix}/${name}`);
    const target = this.#extra.get("linkpath") ?? text(block.subarray(157, 257));
    const length = this.#extra.has("size") ? Number(this.#extra.get("size")) : size;
    this.#extra.clear();
    this.#pax = false;
    if (kind !== "file" && length !== 0) {
      refuse("The image has an entry with content that can't have any");
    }
    if (kind === "file" && written.endsWith("/")) {
      refuse("The image has a file whose name ends as a directory's");
    }
    return { kind, path: plain(written), target, size: length };
  }

  /** Takes the content of an extension record. */
  extend(type: string, content: Uint8Array): void {
    if (type === "L" || type === "K") {
      const name = text(content);
      // Other readers take the header's own name then.
      if (name === "") refuse("The image has an extension header with an empty name");
      this.#set(type === "L" ? "path" : "linkpath", name);
      return;
    }
    // Of two, other readers forget the first.
    if (this.#pax) refuse("The image has two pax headers before one entry");
    this.#pax = true;
    for (let rest = content; rest.length > 0;) {
      const space = rest.indexOf(32);
      const length = Number(text(rest.subarray(0, Math.max(0, space))));
      const record = rest.subarray(space + 1, length);
      const equals = record.indexOf(61);
      if (
        space < 1 || !Number.isInteger(length) || length <= space + 1 || length > rest.length ||
        equals < 1 || record.at(-1) !== 10
      ) {
        refuse("The image has a broken extension header");
      }
      this.#record(text(record.subarray(0, equals)), record.subarray(equals + 1, -1));
      rest = rest.subarray(length);
    }
  }

  #record(key: string, value: Uint8Array): void {
    if (key.startsWith("GNU.sparse")) refuse("The image has a sparse file");
    // Attributes of this kind steer the overlay file system itself.
    if (key.startsWith("SCHILY.xattr.trusted.")) refuse("The image has a trusted attribute");
    if (key === "hdrcharset") refuse("The image has names in another character set");
    if (key !== "path" && key !== "linkpath" && key !== "size") return;
    if (value.includes(0)) refuse("The image has a name with a NUL");
    const word = text(value);
    if (word === "" || (key === "size" && !/^\d{1,15}$/.test(word))) {
      refuse("The image has a broken extension header");
    }
    this.#set(key, word);
  }

  #set(key: string, value: string): void {
    if (this.#extra.has(key)) refuse(`The image gives an entry two values for ${key}`);
    this.#extra.set(key, value);
  }
}

/** Bytes a content of this size takes with its padding. */
export function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}

/** One header block for a regular file, as POSIX writes it; `path` is at most 100 bytes. */
export function fileHeader(path: string, size: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, word: string) => block.set(new TextEncoder().encode(word), at);
  put(0, path);
  put(100, "0000644\0" + "0000000\0" + "0000000\0");
  if (size < 8 ** 11) put(124, `${size.toString(8).padStart(11, "0")}\0`);
  else new DataView(block.buffer).setBigUint64(128, BigInt(size)), block[124] = 0x80;
  put(136, "00000000000\0" + "        " + "0");
  put(257, "ustar\0" + "00");
  const sum = block.reduce((a, b) => a + b, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}
