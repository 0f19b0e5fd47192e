// Classic BPF as seccomp reads it: instructions, their bytes, and a decision tree over system call
// numbers. Kernel: Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/filter.h.

/** One instruction: operation, jump distances when true and when false, operand. */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** Operations seccomp programs need. */
export const Op = {
  /** BPF_LD | BPF_W | BPF_ABS: accumulator := 32-bit word of `seccomp_data` at offset k. */
  LOAD: 0x20,
  /** BPF_ALU | BPF_AND | BPF_K. */
  AND: 0x54,
  /** BPF_JMP | BPF_JA: skip k instructions. */
  JUMP: 0x05,
  /** BPF_JMP | BPF_JEQ | BPF_K. */
  EQUAL: 0x15,
  /** BPF_JMP | BPF_JGE | BPF_K. */
  AT_LEAST: 0x35,
  /** BPF_RET | BPF_K: end with action k. */
  RETURN: 0x06,
} as const;

/** Most instructions the kernel takes (BPF_MAXINSNS). */
export const MAX_INSTRUCTIONS = 4096;

/** Offsets in `struct seccomp_data`. */
export const Data = {
  NUMBER: 0,
  ARCHITECTURE: 4,
  /** Low half of argument `index`, little-endian machine. */
  argument: (index: number): number => 16 + 8 * index,
} as const;

/** Makes an instruction; jump distances default to 0. */
export function op(code: number, k: number, jt = 0, jf = 0): Instruction {
  if (![jt, jf].every((jump) => Number.isInteger(jump) && jump >= 0 && jump <= 255)) {
    throw new RangeError(`Cannot encode a jump of ${jt}/${jf}: must be 0 to 255`);
  }
  if (!Number.isInteger(k) || k < 0 || k > 0xffff_ffff) {
    throw new RangeError(`Cannot encode operand ${k}: must be an unsigned 32-bit number`);
  }
  return { code, jt, jf, k };
}

/**
 * Bytes of a program, an array of `struct sock_filter` for a little-endian machine.
 *
 * @throws {RangeError} for an empty or too long program, or one whose jump leaves it.
 */
export function encodeProgram(program: readonly Instruction[]): Uint8Array {
  if (program.length === 0 || program.length > MAX_INSTRUCTIONS) {
    throw new RangeError(`Cannot encode a program of ${program.length} instructions`);
  }
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jt, jf, k }, index) => {
    const furthest = index + 1 +
      (code === Op.JUMP ? k : code === Op.RETURN ? -1 : Math.max(jt, jf));
    if (furthest >= program.length) {
      throw new RangeError(`Cannot encode a jump out of the program at instruction ${index}`);
    }
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, jt);
    view.setUint8(index * 8 + 3, jf);
    view.setUint32(index * 8 + 4, k, true);
  });
  return bytes;
}

/** Numbers from `from` up to the next range's `from` go on with `body`, which must end in RETURN. */
export interface Range {
  readonly from: number;
  readonly body: readonly Instruction[];
}

/**
 * Instructions that choose the range the accumulator falls in by halving: at most log2 n compares.
 * The first range must start at 0, and `from` must rise.
 */
export function decide(ranges: readonly Range[]): Instruction[] {
  const [first] = ranges;
  if (first === undefined) throw new RangeError("Cannot decide between no ranges");
  if (ranges.length === 1) return [...first.body];
  const middle = ranges.length >> 1;
  const pivot = (ranges[middle] as Range).from;
  if (pivot <= first.from) throw new RangeError(`Cannot decide: ranges do not rise at ${pivot}`);
  const low = decide(ranges.slice(0, middle));
  const high = decide(ranges.slice(middle));
  return low.length <= 255
    ? [op(Op.AT_LEAST, pivot, low.length, 0), ...low, ...high]
    : [op(Op.AT_LEAST, pivot, 0, 1), op(Op.JUMP, low.length), ...low, ...high];
}
