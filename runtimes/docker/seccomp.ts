// The sandbox's system call table as a profile for a container engine: the same calls, the same
// conditions, the same answers. Format: OCI runtime specification, config-linux.md, "Seccomp".
import { ABSENT, Action, ALLOWED, type Condition, CONDITIONAL } from "../sandbox/mod.ts";

/** A test of one argument, as libseccomp makes it: `(argument & value) == valueTwo`. */
interface Test {
  readonly index: number;
  readonly value: number;
  readonly valueTwo: number;
  readonly op: "SCMP_CMP_MASKED_EQ";
}

/** One rule; its tests must all hold. Rules of one call are alternatives. */
interface Rule {
  readonly names: readonly string[];
  readonly action: "SCMP_ACT_ALLOW" | "SCMP_ACT_ERRNO";
  readonly errnoRet?: number;
  readonly args?: readonly Test[];
}

/** The profile. */
export interface Profile {
  readonly defaultAction: "SCMP_ACT_ERRNO";
  readonly defaultErrnoRet: number;
  /** Calls by any other gate kill the process. */
  readonly architectures: readonly ["SCMP_ARCH_X86_64"];
  readonly syscalls: readonly Rule[];
}

const WORD = 0xffff_ffff;
/** The errno in an {@linkcode Action.fail}. */
const ERRNO = 0xffff;

const EPERM = 1;
const ENOSYS = 38;

/**
 * Blocks `(argument & mask) == bits` that together hold every 32-bit number but the given ones. An
 * engine takes alternatives only, no "none of these".
 */
export function allBut(values: readonly number[], mask = 0, bits = 0): [number, number][] {
  const inside = values.filter((value) => ((value & mask) >>> 0) === bits);
  if (inside.length === 0) return [[mask, bits]];
  if (mask === WORD) return [];
  const longer = (mask >>> 1 | 0x8000_0000) >>> 0;
  const next = (longer ^ mask) >>> 0;
  return [...allBut(inside, longer, bits), ...allBut(inside, longer, (bits | next) >>> 0)];
}

/** The tests that allow a call, one for each alternative. */
function alternatives(condition: Condition): Test[] {
  const test = (value: number, valueTwo: number): Test => ({
    index: condition.argument,
    value,
    valueTwo,
    op: "SCMP_CMP_MASKED_EQ",
  });
  if ("noBitOf" in condition) return [test(condition.noBitOf, 0)];
  if ("among" in condition) return condition.among.map((value) => test(WORD, value));
  return allBut(condition.notAmong).map(([mask, bits]) => test(mask, bits));
}

/**
 * The profile. What no rule names fails with EPERM; calls newer than the engine's libseccomp knows
 * fail with ENOSYS by the runtime's own rule, as they do in our own program.
 */
export function seccompProfile(): Profile {
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: EPERM,
    architectures: ["SCMP_ARCH_X86_64"],
    syscalls: [
      { names: ALLOWED, action: "SCMP_ACT_ALLOW" },
      { names: ABSENT, action: "SCMP_ACT_ERRNO", errnoRet: Action.fail(ENOSYS) & ERRNO },
      ...Object.entries(CONDITIONAL).flatMap(([name, condition]) =>
        alternatives(condition).map((test): Rule => (
          { names: [name], action: "SCMP_ACT_ALLOW", args: [test] }
        ))
      ),
    ],
  };
}
