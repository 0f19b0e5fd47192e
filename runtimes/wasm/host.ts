// The functions a guest imports, put together: each answers an error code instead of throwing.
import { Clock, Errno, fail, type FunctionName, MODULE } from "./abi.ts";
import { Descriptors } from "./descriptors.ts";
import { errnoOf } from "./errors.ts";
import { fdCalls } from "./fd.ts";
import type { Memory } from "./memory.ts";
import { pathCalls } from "./path.ts";
import { pollCalls } from "./poll.ts";
import { now } from "./filestat.ts";
import { type Layout, Tree } from "./tree.ts";

/** What a guest is given. */
export interface HostOptions extends Layout {
  /** Its arguments, the program's name first. */
  readonly args: readonly string[];
  readonly environ: readonly string[];
  /** Names under which the root is open from descriptor 3 on. */
  readonly preopens: readonly string[];
  /** Ends the process; never returns. */
  readonly exit: (code: number) => never;
}

/** What functions of preview 1 are given: the guest's memory, its files, its descriptors. */
export interface Guest {
  readonly memory: Memory;
  readonly tree: Tree;
  readonly descriptors: Descriptors;
}

/** A parameter: i32 as a number with its sign, i64 as a bigint. */
// deno-lint-ignore no-explicit-any -- the guest's type of each function is checked against SIGNATURES
type Call = (...args: any[]) => void;

/** Functions by name; each throws a refusal or returns nothing. */
export type Calls = Partial<Record<FunctionName, Call>>;

/** `getrandom` gives this many bytes at a time. */
const RANDOM_BYTES = 65_536;

/** The clock's value in nanoseconds; it is told to the microsecond. */
export function readClock(id: number): bigint {
  switch (id) {
    case Clock.REALTIME:
      return now();
    case Clock.MONOTONIC:
      return BigInt(Math.trunc(performance.now() * 1000)) * 1000n;
    case Clock.PROCESS_CPUTIME:
    case Clock.THREAD_CPUTIME: {
      const { user, system } = process.cpuUsage();
      return BigInt(user + system) * 1000n;
    }
    default:
      return fail(Errno.INVAL);
  }
}

function processCalls({ args, environ, exit }: HostOptions, { memory }: Guest): Calls {
  return {
    args_get: (list: number, at: number) => memory.putTexts(args, list, at),
    args_sizes_get: (count: number, size: number) => memory.putSizes(args, count, size),
    environ_get: (list: number, at: number) => memory.putTexts(environ, list, at),
    environ_sizes_get: (count: number, size: number) => memory.putSizes(environ, count, size),
    clock_res_get: (id: number, at: number) => {
      readClock(id);
      memory.setU64(at, 1000n);
    },
    clock_time_get: (id: number, _precision: bigint, at: number) => {
      memory.setU64(at, readClock(id));
    },
    random_get: (at: number, length: number) => {
      const bytes = memory.bytes(at, length);
      for (let from = 0; from < bytes.length; from += RANDOM_BYTES) {
        crypto.getRandomValues(bytes.subarray(from, from + RANDOM_BYTES));
      }
    },
    sched_yield: () => {},
    // At once and from here: an exception could be caught by the guest's own handlers.
    proc_exit: (code: number) => exit(code >>> 0),
    proc_raise: () => fail(Errno.NOTSUP),
  };
}

/** A call that answers an error code. */
function guarded(call: Call): (...args: unknown[]) => number {
  return (...args) => {
    try {
      call(...args);
      return Errno.SUCCESS;
    } catch (thrown) {
      const errno = errnoOf(thrown);
      if (errno === undefined) throw thrown;
      return errno;
    }
  };
}

/** The imports of a guest; its memory must be attached before it is started. */
export function hostImports(options: HostOptions, memory: Memory): WebAssembly.Imports {
  const tree = new Tree(options);
  const guest = { memory, tree, descriptors: new Descriptors(tree, options.preopens) };
  const calls: Calls = {
    ...processCalls(options, guest),
    ...fdCalls(guest),
    ...pathCalls(guest),
    ...pollCalls(guest),
  };
  const functions = Object.entries(calls).map(([name, call]) => [name, guarded(call)]);
  return { [MODULE]: Object.fromEntries(functions) };
}
