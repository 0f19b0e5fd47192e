// What a WebAssembly module wants, read without compiling it: the runner has rights that a compiler
// fed by a stranger must not come near. Format: WebAssembly Core Specification 3.0, section 5.
import { CocosError } from "../../base/mod.ts";
import { MODULE, SIGNATURES } from "./abi.ts";

/** Most sections; the format has 14 kinds, only custom ones repeat. */
const MAX_SECTIONS = 4096;
/** Largest type, import or export section in bytes. */
const MAX_SECTION_BYTES = 4 << 20;
/** Most names told to a person, and the longest of them in characters. */
const MAX_NAMES_TOLD = 8;
const MAX_NAME_TOLD = 64;

const Section = { TYPE: 1, IMPORT: 2, EXPORT: 7 } as const;
const Kind = { FUNCTION: 0, TABLE: 1, MEMORY: 2, GLOBAL: 3, TAG: 4 } as const;

/** `\0asm`, version 1. */
const HEADER = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
/** The same with the version of a component. */
const COMPONENT = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];

/** Letters of the number types, as in {@linkcode SIGNATURES}. */
const LETTERS: Readonly<Record<number, string>> = {
  0x7f: "i",
  0x7e: "I",
  0x7d: "f",
  0x7c: "F",
  0x7b: "v",
};

/** Reads parts of a module; the caller owns the file. */
export interface Source {
  /** Reads exactly this range; shorter if the file ends. */
  read(offset: number, length: number): Uint8Array;
}

function malformed(what: string): CocosError {
  return new CocosError("invalid-argument", `The algorithm isn't a WebAssembly module: ${what}`);
}

/** Reads numbers and names of one section. */
class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get position(): number {
    return this.#at;
  }

  byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw malformed("a section ends too early");
    this.#at++;
    return byte;
  }

  /** An unsigned LEB128 number of at most 32 bits. */
  number(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) {
        if (value > 0xffff_ffff) break;
        return value;
      }
    }
    throw malformed("a number is too long");
  }

  /** A LEB128 number whose value doesn't matter, of at most 64 bits. */
  skipNumber(): void {
    for (let i = 0; i < 10; i++) if (this.byte() < 0x80) return;
    throw malformed("a number is too long");
  }

  name(): string {
    const length = this.number();
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    if (bytes.length < length) throw malformed("a name ends too early");
    this.#at += length;
    return new TextDecoder().decode(bytes);
  }

  /** A value type, as a letter; `r` for references. */
  type(): string {
    const byte = this.byte();
    // (ref null? heaptype) with its heap type behind it; the others are one byte.
    if (byte === 0x63 || byte === 0x64) this.skipNumber();
    else if (byte < 0x40) throw malformed("a type is unknown");
    return LETTERS[byte] ?? "r";
  }

  types(): string {
    let letters = "";
    for (let left = this.number(); left > 0; left--) letters += this.type();
    return letters;
  }

  limits(): void {
    const flags = this.byte();
    this.skipNumber();
    if ((flags & 1) !== 0) this.skipNumber();
  }
}

/** Signatures of a type section, by index; other types than functions are `undefined`. */
function readTypes(section: Cursor): (string | undefined)[] {
  const types: (string | undefined)[] = [];
  const field = () => {
    section.type();
    section.byte();
  };
  const composite = (form: number) => {
    if (form === 0x60) return void types.push(`${section.types()}:${section.types()}`);
    if (form === 0x5f) { for (let left = section.number(); left > 0; left--) field(); }
    else if (form === 0x5e) field();
    else throw malformed("a type is unknown");
    types.push(undefined);
  };
  const sub = (form: number) => {
    if (form !== 0x50 && form !== 0x4f) return composite(form);
    for (let left = section.number(); left > 0; left--) section.number();
    composite(section.byte());
  };
  for (let left = section.number(); left > 0; left--) {
    const form = section.byte();
    if (form !== 0x4e) sub(form);
    else for (let group = section.number(); group > 0; group--) sub(section.byte());
  }
  return types;
}

/** Names of imports that this host does not have, in the order of the module. */
function readImports(section: Cursor, types: readonly (string | undefined)[]): string[] {
  const unknown: string[] = [];
  for (let left = section.number(); left > 0; left--) {
    const module = section.name();
    const name = section.name();
    const kind = section.byte();
    let signature: string | undefined;
    if (kind === Kind.FUNCTION) signature = types[section.number()];
    else if (kind === Kind.TABLE) {
      section.type();
      section.limits();
    } else if (kind === Kind.MEMORY) section.limits();
    else if (kind === Kind.GLOBAL) {
      section.type();
      section.byte();
    } else if (kind === Kind.TAG) {
      section.byte();
      section.number();
    } else throw malformed("an import is of an unknown kind");
    const ours = module === MODULE && Object.hasOwn(SIGNATURES, name)
      ? SIGNATURES[name as keyof typeof SIGNATURES]
      : undefined;
    if (ours === undefined) unknown.push(`${module}.${name}`);
    else if (ours !== signature) unknown.push(`${module}.${name} with another type`);
  }
  return unknown;
}

function readExports(section: Cursor): Map<string, number> {
  const exports = new Map<string, number>();
  for (let left = section.number(); left > 0; left--) {
    const name = section.name();
    exports.set(name, section.byte());
    section.number();
  }
  return exports;
}

/** Names for a person: nothing in them can steer a terminal or a log. */
function told(names: readonly string[]): string {
  const some = names.slice(0, MAX_NAMES_TOLD).map((name) =>
    name.slice(0, MAX_NAME_TOLD).replaceAll(/[^\x21-\x7e ]/g, "?")
  );
  const more = names.length - some.length;
  return some.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** The sections this file reads, each once. */
function readSections(source: Source): Map<number, Cursor> {
  const sections = new Map<number, Cursor>();
  let at = HEADER.length;
  for (let count = 0;; count++) {
    // A section's number and length: one byte and at most five.
    const head = source.read(at, 6);
    if (head.length === 0) return sections;
    if (count === MAX_SECTIONS) throw malformed(`it has over ${MAX_SECTIONS} sections`);
    const cursor = new Cursor(head);
    const id = cursor.byte();
    const size = cursor.number();
    at += cursor.position;
    if (id === Section.TYPE || id === Section.IMPORT || id === Section.EXPORT) {
      if (size > MAX_SECTION_BYTES) throw malformed(`a section is over ${MAX_SECTION_BYTES} bytes`);
      if (sections.has(id)) throw malformed("a section comes twice");
      const bytes = source.read(at, size);
      if (bytes.length < size) throw malformed("a section ends too early");
      sections.set(id, new Cursor(bytes));
    }
    at += size;
  }
}

/**
 * Checks that a module is a WASI preview 1 command: it exports `_start` and its memory, and imports
 * functions of preview 1 with their own types and nothing else.
 *
 * @throws {CocosError} `invalid-argument` that says what isn't so, unknown imports by name
 */
export function checkModule(source: Source): void {
  const header = source.read(0, HEADER.length);
  const starts = (with_: readonly number[]) => with_.every((byte, i) => header[i] === byte);
  if (starts(COMPONENT)) {
    throw new CocosError("invalid-argument", "The algorithm is a WebAssembly component", {
      hint: "Build a core module for WASI preview 1 (wasm32-wasip1).",
    });
  }
  if (!starts(HEADER)) throw malformed("its first bytes are others");
  const sections = readSections(source);
  const types = sections.get(Section.TYPE);
  const imports = sections.get(Section.IMPORT);
  const exports = sections.get(Section.EXPORT);
  const known = types === undefined ? [] : readTypes(types);
  const unknown = imports === undefined ? [] : readImports(imports, known);
  if (unknown.length > 0) {
    throw new CocosError(
      "invalid-argument",
      `The algorithm imports what no algorithm is given: ${told(unknown)}`,
      { hint: "Build it for WASI preview 1 (wasm32-wasip1) without sockets and threads." },
    );
  }
  const names = exports === undefined ? new Map<string, number>() : readExports(exports);
  if (names.get("_start") !== Kind.FUNCTION) {
    throw new CocosError("invalid-argument", "The algorithm exports no function _start", {
      hint: "Build it as a command, not as a library.",
    });
  }
  if (names.get("memory") !== Kind.MEMORY) {
    throw new CocosError("invalid-argument", "The algorithm doesn't export its memory");
  }
}
