// For tests: writes WebAssembly modules by hand, so that they need no compiler. Format: WebAssembly
// Core Specification, section 5.
import { MODULE, SIGNATURES } from "./abi.ts";

const encoder = new TextEncoder();

/** An unsigned LEB128 number. */
export function number(value: number): number[] {
  const bytes: number[] = [];
  do {
    const low = value % 128;
    value = Math.floor(value / 128);
    bytes.push(value > 0 ? low | 0x80 : low);
  } while (value > 0);
  return bytes;
}

/** A signed LEB128 number of 32 bits. */
export function signed(value: number): number[] {
  const bytes: number[] = [];
  value |= 0;
  while (true) {
    const low = value & 0x7f;
    value >>= 7;
    const done = (value === 0 && (low & 0x40) === 0) || (value === -1 && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) return bytes;
  }
}

const text = (value: string): number[] => {
  const bytes = [...encoder.encode(value)];
  return [...number(bytes.length), ...bytes];
};

const vector = (items: readonly (readonly number[])[]): number[] => [
  ...number(items.length),
  ...items.flat(),
];

/** A section with its number and length. */
export function section(id: number, body: readonly number[]): number[] {
  return [id, ...number(body.length), ...body];
}

const TYPES: Readonly<Record<string, number>> = { i: 0x7f, I: 0x7e, f: 0x7d, F: 0x7c };

/** A function type from its letters: `iI:i`. */
function functionType(signature: string): number[] {
  const [parameters = "", results = ""] = signature.split(":");
  const types = (letters: string) => vector([...letters].map((letter) => [TYPES[letter] ?? 0]));
  return [0x60, ...types(parameters), ...types(results)];
}

/** The magic number and version. */
export const HEADER: readonly number[] = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** Instructions tests use. */
export const op = {
  /** Traps. */
  unreachable: [0x00],
  /** Pushes a number. */
  i32: (value: number): number[] => [0x41, ...signed(value)],
  /** Pushes a small number of 64 bits. */
  i64: (value: number): number[] => [0x42, ...signed(value)],
  /** Calls an import, or with the number of all imports the function itself. */
  call: (index: number): number[] => [0x10, ...number(index)],
  drop: [0x1a],
  /** Divides two numbers. */
  divide: [0x6d],
  /** Loads a number from an address. */
  load: [0x28, 0x02, 0x00],
  /** Stores a number: address, then value. */
  store: [0x36, 0x02, 0x00],
  /** Grows the memory by a number of pages; pushes the old size or -1. */
  grow: [0x40, 0x00],
  /** A loop without end around other instructions. */
  forever: (body: readonly number[]): number[] => [0x03, 0x40, ...body, 0x0c, 0x00, 0x0b],
  /** Traps unless the number on the stack is 0. */
  needZero: [0x04, 0x40, 0x00, 0x0b],
} as const;

/** What a module is made of; what isn't said is what a plain command has. */
export interface ModuleSpec {
  /** Imports: a function of preview 1 by name, or `module.name` with a signature. */
  readonly imports?: readonly (string | readonly [name: string, signature: string])[];
  /** Instructions of `_start`. */
  readonly body?: readonly number[];
  /** Bytes the memory starts with, by address. */
  readonly data?: Readonly<Record<number, string | Uint8Array>>;
  /** Pages the memory starts with. */
  readonly pages?: number;
  /** Whether other threads could see the memory. */
  readonly shared?: boolean;
  readonly exports?: readonly ("_start" | "memory")[];
  /** Whether `_start` has a number of 32 bits of its own. */
  readonly local?: boolean;
  /** Whether `_start` also runs when the module is made. */
  readonly startsItself?: boolean;
}

/** A module. */
export function encodeModule(spec: ModuleSpec): Uint8Array<ArrayBuffer> {
  const imports = (spec.imports ?? []).map((each): readonly [string, string, string] => {
    if (typeof each === "string") return [MODULE, each, SIGNATURES[each as "fd_close"]];
    const [name, signature] = each;
    const dot = name.indexOf(".");
    return [name.slice(0, dot), name.slice(dot + 1), signature];
  });
  const signatures = [...imports.map(([, , signature]) => signature), ":"];
  const start = imports.length;
  const exported = spec.exports ?? ["_start", "memory"];
  const pages = number(spec.pages ?? 1);
  const code = [...(spec.local ? [0x01, 0x01, 0x7f] : [0x00]), ...(spec.body ?? []), 0x0b];
  const data = Object.entries(spec.data ?? {}).map(([at, content]) => {
    const bytes = typeof content === "string" ? encoder.encode(content) : content;
    return [0x00, ...op.i32(Number(at)), 0x0b, ...number(bytes.length), ...bytes];
  });
  return new Uint8Array([
    ...HEADER,
    ...section(1, vector(signatures.map(functionType))),
    ...section(
      2,
      vector(imports.map(([module, name], i) => [
        ...text(module),
        ...text(name),
        0x00,
        ...number(i),
      ])),
    ),
    ...section(3, vector([number(start)])),
    ...section(5, vector([spec.shared ? [0x03, ...pages, ...pages] : [0x00, ...pages]])),
    ...section(
      7,
      vector(exported.map((name) => [
        ...text(name),
        ...(name === "memory" ? [0x02, 0x00] : [0x00, ...number(start)]),
      ])),
    ),
    ...(spec.startsItself ? section(8, number(start)) : []),
    ...section(10, vector([[...number(code.length), ...code]])),
    ...section(11, vector(data)),
  ]);
}
