// An interpreter of the classic BPF subset of seccomp, for tests: what would the kernel answer?
import { Data, type Instruction, Op } from "./bpf.ts";

/** A system call as a filter sees it. */
export interface Call {
  readonly number: number;
  readonly architecture: number;
  readonly args: readonly bigint[];
}

/** The action a program returns for a call. */
export function interpret(program: readonly Instruction[], call: Call): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(Data.NUMBER, call.number, true);
  data.setUint32(Data.ARCHITECTURE, call.architecture, true);
  call.args.forEach((value, index) => data.setBigUint64(Data.argument(index), value, true));
  let a = 0;
  for (let pc = 0; pc < program.length; pc++) {
    const { code, jt, jf, k } = program[pc] as Instruction;
    switch (code) {
      case Op.LOAD:
        a = data.getUint32(k, true);
        break;
      case Op.AND:
        a = (a & k) >>> 0;
        break;
      case Op.JUMP:
        pc += k;
        break;
      case Op.EQUAL:
        pc += a === k ? jt : jf;
        break;
      case Op.AT_LEAST:
        pc += a >= k ? jt : jf;
        break;
      case JUMP_GREATER:
        pc += a > k ? jt : jf;
        break;
      case Op.RETURN:
        return k;
      default:
        throw new RangeError(`Cannot interpret operation 0x${code.toString(16)}`);
    }
  }
  throw new RangeError("Cannot interpret: the program has no end");
}

/** BPF_JGT, which libseccomp uses and our encoder doesn't. */
const JUMP_GREATER = 0x25;

/** Instructions of a program's bytes. */
export function decode(bytes: Uint8Array): Instruction[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 8 }, (_, index) => ({
    code: view.getUint16(index * 8, true),
    jt: view.getUint8(index * 8 + 2),
    jf: view.getUint8(index * 8 + 3),
    k: view.getUint32(index * 8 + 4, true),
  }));
}
