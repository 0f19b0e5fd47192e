// A hunt for input that a parser can't bear: an exception without type, too much time, too much
// memory. Mutations change right input; fuzzing also goes on from whatever led somewhere new.
import { CocosError } from "../../base/mod.ts";

/** A parser and right input to start from; more than one where a format has several forms. */
export interface Target {
  readonly name: string;
  readonly seeds: readonly Uint8Array[];
  readonly parse: (bytes: Uint8Array) => unknown;
}

/** What a hunt saw. */
export interface Hunted {
  readonly executions: number;
  /** Slowest execution that stayed slow when it was repeated, milliseconds. */
  readonly slowest: number;
  /** Most bytes an execution took, of those that were looked at. */
  readonly largest: number;
  /** Different ways in which input was refused or taken. */
  readonly ways: number;
  /** Input that broke the rules, and how. */
  readonly broken: readonly { readonly input: Uint8Array; readonly why: string }[];
}

/** What an execution may take (threat A-14). */
export const MAX_MS = 50;
export const MAX_BYTES = 16 * 1024 * 1024;

/** Small generator with a seed, so that a find can be seen again. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const EDGES = [0, 1, 0x7f, 0x80, 0xff, 0x30, 0x22, 0x2c, 0x7b, 0x5b, 0x5c, 0x39, 0x2d, 0x0a, 0x20];
/** Lengths and counts that parsers like to believe. */
const WORDS = [[0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0x80], [0x7f, 0xff, 0xff, 0xff], [0, 1, 0, 0], [
  0x80,
  0x80,
  0x80,
  0x80,
]];
/** Input may grow by copies of itself; beyond this only the size would be tested. */
const MAX_GROWN = 256 * 1024;

function without(bytes: Uint8Array, at: number, count: number): Uint8Array {
  const result = new Uint8Array(bytes.length - count);
  result.set(bytes.subarray(0, at));
  result.set(bytes.subarray(at + count), at);
  return result;
}

function inserted(bytes: Uint8Array, at: number, more: Uint8Array): Uint8Array {
  const result = new Uint8Array(bytes.length + more.length);
  result.set(bytes.subarray(0, at));
  result.set(more, at);
  result.set(bytes.subarray(at), at + more.length);
  return result;
}

/** Headers stand in front and tables at the end: of large input half of the changes go there. */
const EDGE_BYTES = 512;

function placeIn(length: number, random: (below: number) => number): number {
  if (length <= 4 * EDGE_BYTES) return random(length);
  const side = random(4);
  if (side > 1) return random(length);
  return side === 0 ? random(EDGE_BYTES) : length - 1 - random(EDGE_BYTES);
}

/** One to eight changes: bytes set, cut out, doubled, moved, words of extreme lengths, the end cut off. */
export function mutate(
  bytes: Uint8Array,
  random: (below: number) => number,
  other: Uint8Array = bytes,
): Uint8Array {
  let result: Uint8Array = bytes.slice();
  for (let left = 1 + random(8); left > 0 && result.length > 0; left--) {
    const at = placeIn(result.length, random);
    const count = 1 + random(Math.min(16, result.length - at));
    switch (random(9)) {
      case 0:
        result[at] = random(256);
        break;
      case 1:
        result[at] = EDGES[random(EDGES.length)] as number;
        break;
      case 2:
        result = without(result, at, count);
        break;
      case 3:
        result = inserted(result, at, result.slice(at, at + count));
        break;
      case 4:
        result.fill(random(2) * 255, at, at + count);
        break;
      case 5: {
        const word = WORDS[random(WORDS.length)] as number[];
        for (const [i, byte] of word.entries()) if (at + i < result.length) result[at + i] = byte;
        break;
      }
      case 6: {
        const from = random(other.length + 1);
        const piece = other.slice(from, from + 1 + random(256));
        if (result.length + piece.length < MAX_GROWN) result = inserted(result, at, piece);
        break;
      }
      case 7:
        if (random(8) === 0) result = result.slice(0, at);
        break;
      default:
        result[at] = (result[at] as number) ^ (1 << random(8));
    }
  }
  return result;
}

/** How an execution ended, without the numbers that differ from input to input. */
function wayOf(parse: Target["parse"], bytes: Uint8Array): string {
  try {
    parse(bytes);
    return "taken";
  } catch (error) {
    if (!(error instanceof CocosError) || error.code === "internal") throw error;
    return error.message.slice(0, 160)
      .replace(/"[^"]*"/g, '"…"').replace(/[0-9a-f]{4,}(-[0-9a-f]+)*|\d+/g, "#");
  }
}

/** Inputs that are kept because they led somewhere new. */
const MAX_CORPUS = 512;

/**
 * Runs a parser `mutations` times on changes of right input, and `fuzz` times on changes of all that
 * led to a way not seen before.
 */
export function hunt(
  { seeds, parse }: Target,
  { mutations, fuzz, memory, seed = 0x5eed }: {
    readonly mutations: number;
    readonly fuzz: number;
    /** Bytes the process holds now. */
    readonly memory: () => number;
    readonly seed?: number;
  },
): Hunted {
  const random = randomOf(seed);
  const corpus = [...seeds];
  const ways = new Set<string>();
  const broken: { input: Uint8Array; why: string }[] = [];
  let slowest = 0;
  let largest = 0;
  const execute = (bytes: Uint8Array, watch: boolean): void => {
    const before = watch ? memory() : 0;
    let start = performance.now();
    let way: string;
    try {
      way = wayOf(parse, bytes);
    } catch (error) {
      const why = error instanceof Error ? error.stack ?? error.message : String(error);
      broken.push({ input: bytes, why: `no typed error: ${why}` });
      return;
    }
    let ms = performance.now() - start;
    if (watch) largest = Math.max(largest, memory() - before);
    // A pause of the collector or of the machine is not the parser's: slow input is tried again.
    for (let again = 0; ms > MAX_MS / 5 && again < 3; again++) {
      start = performance.now();
      wayOf(parse, bytes);
      ms = Math.min(ms, performance.now() - start);
    }
    slowest = Math.max(slowest, ms);
    if (ms > MAX_MS) broken.push({ input: bytes, why: `${ms} ms` });
    if (!ways.has(way)) {
      ways.add(way);
      if (corpus.length < MAX_CORPUS && bytes.length < MAX_GROWN) corpus.push(bytes);
    }
  };
  for (const each of seeds) execute(each, true);
  for (let count = 0; count < mutations && broken.length < 8; count++) {
    execute(mutate(seeds[count % seeds.length] as Uint8Array, random), count % 32 === 0);
  }
  for (let count = 0; count < fuzz && broken.length < 8; count++) {
    const base = corpus[random(corpus.length)] as Uint8Array;
    const other = corpus[random(corpus.length)] as Uint8Array;
    execute(mutate(base, random, other), count % 32 === 0);
  }
  if (largest > MAX_BYTES) broken.push({ input: new Uint8Array(), why: `${largest} bytes` });
  const executions = seeds.length + mutations + fuzz;
  return { executions, slowest, largest, ways: ways.size, broken };
}
