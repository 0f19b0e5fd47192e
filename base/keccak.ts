// Keccak-f[1600] (FIPS 202 §3) as WebAssembly, made here instruction by instruction: there is no
// binary to trust and no compiler to install. JavaScript has no fast 64-bit integers, and Deno's own
// SHA3 runs at a little more than half the speed; uploads are bound by it.

/** Bytes of a state: 25 lanes of 64 bits, lane (x, y) at 8·(x + 5y) (FIPS 202 §3.1.2). */
export const STATE_BYTES = 200;

/** Bytes one permutation takes in for SHA3-256: 1600 bits less twice the digest (FIPS 202 §6.1). */
export const RATE_BYTES = 136;

/** Blocks that fit beside the state into one memory page. */
export const MAX_BLOCKS = 478;

/** Where things lie in the memory: round constants, the state, blocks to take in. */
const CONSTANTS_AT = 0;
export const STATE_AT = 256;
export const BLOCKS_AT = 512;

const ROUNDS = 24;
const LANES = 25;
const RATE_LANES = RATE_BYTES / 8;

/** Rotations of step ρ by lane (FIPS 202 §3.2.2). */
const ROTATIONS = rotations();

/** Constants of step ι by round (FIPS 202 §3.2.5). */
const CONSTANTS = constants();

/**
 * Lanes that are kept inverted within the permutation, as the Keccak team's own implementations do
 * ("Keccak implementation overview" §2.2): step χ then needs half the NOTs.
 */
const INVERTED = new Set([1, 2, 8, 12, 17, 20]);

/** A permutation with a memory of its own. */
export interface Keccak {
  /** The state, {@linkcode STATE_BYTES}. */
  readonly state: Uint8Array;
  /** Blocks to be taken in, {@linkcode MAX_BLOCKS} of {@linkcode RATE_BYTES}. */
  readonly blocks: Uint8Array;
  /** Takes in this many blocks (at least one): XOR into the state, then permute, each. */
  absorb(count: number): void;
}

/** Makes a permutation; about a millisecond. */
export function keccak(): Keccak {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(keccakModule()));
  const { memory, absorb } = instance.exports as {
    memory: WebAssembly.Memory;
    absorb: (count: number) => void;
  };
  return {
    state: new Uint8Array(memory.buffer, STATE_AT, STATE_BYTES),
    blocks: new Uint8Array(memory.buffer, BLOCKS_AT, MAX_BLOCKS * RATE_BYTES),
    absorb,
  };
}

function rotations(): readonly number[] {
  const found: number[] = Array(LANES).fill(0);
  let [x, y] = [1, 0];
  for (let t = 0; t < LANES - 1; t++) {
    found[x + 5 * y] = (t + 1) * (t + 2) / 2 % 64;
    [x, y] = [y, (2 * x + 3 * y) % 5];
  }
  return found;
}

function constants(): readonly bigint[] {
  let register = 1; // the shift register of FIPS 202 §3.2.5, algorithm 5
  return Array.from({ length: ROUNDS }, () => {
    let constant = 0n;
    for (let j = 0; j <= 6; j++) {
      if ((register & 1) !== 0) constant |= 1n << BigInt(2 ** j - 1);
      register = (register & 0x80) === 0 ? register << 1 : (register << 1) ^ 0x171;
    }
    return constant;
  });
}

// From here on the module, in the binary format of the WebAssembly core specification §5.

const I32 = 0x7f;
const I64 = 0x7e;

/** Instructions (§5.4). */
const END = [0x0b];
const LOOP = [0x03, 0x40];
const BR_IF_0 = [0x0d, 0];
const AND = [0x83];
const OR = [0x84];
const XOR = [0x85];
const ROTL = [0x89];
const I32_LT_U = [0x49];
const I32_ADD = [0x6a];
const I32_SUB = [0x6b];
const get = (local: number) => [0x20, ...leb(local)];
const set = (local: number) => [0x21, ...leb(local)];
const tee = (local: number) => [0x22, ...leb(local)];
const load = (offset: number) => [0x29, 3, ...leb(offset)];
const store = (offset: number) => [0x37, 3, ...leb(offset)];
const i32 = (value: number) => [0x41, ...leb(value)];
const i64 = (value: bigint) => [0x42, ...leb(BigInt.asIntN(64, value))];
const NOT = [...i64(-1n), ...XOR];

/** Locals: the parameter, where the next block lies, which round; then lanes. */
const COUNT = 0;
const BLOCK = 1;
const ROUND = 2;
/** The two states that rounds go to and fro between, parities, what θ adds, one row. */
const A = 3;
const E = A + LANES;
const C = E + LANES;
const D = C + 5;
const B = D + 5;
const LOCAL_LANES = 2 * LANES + 15;

/** A number in signed LEB128 (§5.2.2); one that isn't negative reads the same as an unsigned. */
function leb(value: number | bigint): number[] {
  const bytes: number[] = [];
  for (let rest = BigInt(value);;) {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    if (rest === ((byte & 0x40) === 0 ? 0n : -1n)) return [...bytes, byte];
    bytes.push(byte | 0x80);
  }
}

const list = (items: readonly number[][]) => [...leb(items.length), ...items.flat()];
const sized = (bytes: readonly number[]) => [...leb(bytes.length), ...bytes];
const section = (id: number, items: readonly number[][]) => [id, ...sized(list(items))];
const word = (text: string) => sized([...new TextEncoder().encode(text)]);

/** A module that exports `memory`, one page, and `absorb(count)`. */
export function keccakModule(): Uint8Array<ArrayBuffer> {
  const table = [...new Uint8Array(BigUint64Array.from(CONSTANTS).buffer)];
  const locals = list([[...leb(2), I32], [...leb(LOCAL_LANES), I64]]);
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [[0x60, ...list([[I32]]), ...list([])]]),
    ...section(3, [[0]]),
    ...section(5, [[1, 1, 1]]),
    ...section(7, [[...word("memory"), 2, 0], [...word("absorb"), 0, 0]]),
    ...section(10, [sized([...locals, ...absorbing()])]),
    ...section(11, [[0, ...i32(CONSTANTS_AT), ...END, ...sized(table)]]),
  ]);
}

/** Loads the state, takes in one block after another, stores the state. */
function absorbing(): number[] {
  const invert = (lane: number) => INVERTED.has(lane) ? NOT : [];
  const code: number[] = [...i32(BLOCKS_AT), ...set(BLOCK)];
  for (let lane = 0; lane < LANES; lane++) {
    code.push(...i32(STATE_AT), ...load(8 * lane), ...invert(lane), ...set(A + lane));
  }
  code.push(...LOOP);
  for (let lane = 0; lane < RATE_LANES; lane++) {
    code.push(...get(A + lane), ...get(BLOCK), ...load(8 * lane), ...XOR, ...set(A + lane));
  }
  code.push(...i32(0), ...set(ROUND), ...LOOP);
  code.push(...round(A, E, CONSTANTS_AT), ...round(E, A, CONSTANTS_AT + 8));
  code.push(...get(ROUND), ...i32(16), ...I32_ADD, ...tee(ROUND));
  code.push(...i32(8 * ROUNDS), ...I32_LT_U, ...BR_IF_0, ...END);
  code.push(...get(BLOCK), ...i32(RATE_BYTES), ...I32_ADD, ...set(BLOCK));
  code.push(...get(COUNT), ...i32(1), ...I32_SUB, ...tee(COUNT), ...BR_IF_0, ...END);
  for (let lane = 0; lane < LANES; lane++) {
    code.push(...i32(STATE_AT), ...get(A + lane), ...invert(lane), ...store(8 * lane));
  }
  return [...code, ...END];
}

/** One round from the lanes at `from` to those at `to` (FIPS 202 §3.2, §3.3). */
function round(from: number, to: number, constantsAt: number): number[] {
  const code: number[] = [];
  const column = (x: number) => [0, 1, 2, 3, 4].map((y) => x + 5 * y);
  // θ: the parity of each column, then what is added to each.
  for (let x = 0; x < 5; x++) {
    const [first = 0, ...others] = column(x);
    code.push(...get(from + first));
    for (const lane of others) code.push(...get(from + lane), ...XOR);
    code.push(...set(C + x));
  }
  for (let x = 0; x < 5; x++) {
    code.push(...get(C + (x + 4) % 5), ...get(C + (x + 1) % 5), ...i64(1n), ...ROTL, ...XOR);
    code.push(...set(D + x));
  }
  const odd = (x: number) => column(x % 5).filter((lane) => INVERTED.has(lane)).length % 2 === 1;
  for (let y = 0; y < 5; y++) {
    // ρ and π bring five lanes into this row, which may be inverted there.
    const inverted: boolean[] = [];
    for (let x = 0; x < 5; x++) {
      const lane = (x + 3 * y) % 5 + 5 * x;
      code.push(...get(from + lane), ...get(D + lane % 5), ...XOR);
      code.push(...i64(BigInt(ROTATIONS[lane] as number)), ...ROTL, ...set(B + x));
      inverted.push(INVERTED.has(lane) !== (odd(lane + 4) !== odd(lane + 1)));
    }
    for (let x = 0; x < 5; x++) {
      const [a, b, c] = [x, (x + 1) % 5, (x + 2) % 5] as const;
      const want = INVERTED.has(x + 5 * y) !== (inverted[a] as boolean);
      code.push(...get(B + a), ...chi(b, c, inverted[b] as boolean, inverted[c] as boolean, want));
      code.push(...XOR);
      // ι
      if (x + y === 0) code.push(...get(ROUND), ...load(constantsAt), ...XOR);
      code.push(...set(to + x + 5 * y));
    }
  }
  return code;
}

/** Step χ's `¬b ∧ c` of row lanes that may be inverted, itself inverted if wanted (De Morgan). */
function chi(
  b: number,
  c: number,
  bInverted: boolean,
  cInverted: boolean,
  want: boolean,
): number[] {
  // As `b ∧ c` or, inverted, as `b ∨ c`; either takes ¬b and c, or their opposites.
  const notB = bInverted === want ? NOT : [];
  const notC = cInverted === want ? [] : NOT;
  return [...get(B + b), ...notB, ...get(B + c), ...notC, ...(want ? OR : AND)];
}
