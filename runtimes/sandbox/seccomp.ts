// Which system calls an algorithm may make: an allow-list for x86_64. What isn't named is refused.
import { ABSENT, ALLOWED, type Condition, CONDITIONAL } from "../../proto/sandbox/mod.ts";
import { Data, decide, encodeProgram, type Instruction, Op, op, type Range } from "./bpf.ts";
import { LAST_KNOWN, syscallNumber } from "./syscalls.ts";

/** What happens to a call (SECCOMP_RET_*). */
export const Action = {
  ALLOW: 0x7fff_0000,
  KILL_PROCESS: 0x8000_0000,
  /** The call fails with this errno. */
  fail: (errno: number): number => 0x0005_0000 | errno,
} as const;

const EPERM = 1;
const ENOSYS = 38;

/** AUDIT_ARCH_X86_64; a call through the 32-bit gate has another value here. */
export const ARCHITECTURE = 0xc000_003e;
/** Set in the number of a call of the x32 ABI. */
export const X32_BIT = 0x4000_0000;

/** Action for a call that no list names: refused, or unknown to this table and so "not there". */
function otherwise(number: number): number {
  return Action.fail(number > LAST_KNOWN ? ENOSYS : EPERM);
}

function verdict(action: number): Instruction[] {
  return [op(Op.RETURN, action)];
}

function conditionBody(condition: Condition): Instruction[] {
  const load = op(Op.LOAD, Data.argument(condition.argument));
  const allow = op(Op.RETURN, Action.ALLOW);
  const refuse = op(Op.RETURN, Action.fail(EPERM));
  if ("noBitOf" in condition) {
    return [load, op(Op.AND, condition.noBitOf), op(Op.EQUAL, 0, 0, 1), allow, refuse];
  }
  const values = "among" in condition ? condition.among : condition.notAmong;
  const [hit, miss] = "among" in condition ? [allow, refuse] : [refuse, allow];
  // Each compare jumps over the ones left and over the miss.
  const compares = values.map((value, index) => op(Op.EQUAL, value, values.length - index, 0));
  return [load, ...compares, miss, hit];
}

/** The whole program. */
export function seccompInstructions(): Instruction[] {
  const bodies = new Map<number, Instruction[]>();
  for (const name of ALLOWED) bodies.set(syscallNumber(name), verdict(Action.ALLOW));
  for (const name of ABSENT) bodies.set(syscallNumber(name), verdict(Action.fail(ENOSYS)));
  for (const [name, condition] of Object.entries(CONDITIONAL)) {
    bodies.set(syscallNumber(name), conditionBody(condition));
  }
  const ranges: Range[] = [];
  let last = "";
  for (let number = 0; number <= LAST_KNOWN + 1; number++) {
    const body = bodies.get(number) ?? verdict(otherwise(number));
    const text = JSON.stringify(body);
    if (text !== last) ranges.push({ from: number, body });
    last = text;
  }
  return [
    op(Op.LOAD, Data.ARCHITECTURE),
    op(Op.EQUAL, ARCHITECTURE, 1, 0),
    op(Op.RETURN, Action.KILL_PROCESS),
    op(Op.LOAD, Data.NUMBER),
    op(Op.AT_LEAST, X32_BIT, 0, 1),
    op(Op.RETURN, Action.KILL_PROCESS),
    ...decide(ranges),
  ];
}

/** The program's bytes, for bubblewrap's `--seccomp`. */
export function seccompProgram(): Uint8Array {
  return encodeProgram(seccompInstructions());
}
