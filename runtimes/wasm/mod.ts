/**
 * Kind `wasm`: a WASI preview 1 command module, run by a Deno process of its own inside the sandbox.
 *
 * @example
 * ```ts
 * import { checkModule } from "./module.ts";
 *
 * const bytes = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
 * try {
 *   checkModule({ read: (offset, length) => bytes.subarray(offset, offset + length) });
 * } catch (error) {
 *   console.log(String(error)); // … exports no function _start
 * }
 * ```
 *
 * @module
 */
import { CocosError } from "../../base/mod.ts";
import { wasmCommand } from "../../proto/sandbox/mod.ts";
import { collectExit, type Facilities, placesOf, type Runtime, type Verdict } from "../contract.ts";
import type { Ending } from "../sandbox/mod.ts";
import { Own } from "./endings.ts";
import { checkModule } from "./module.ts";

/** What the child's own exit codes mean. */
const VERDICTS: Readonly<Record<Own, Verdict>> = {
  [Own.CODE_ABOVE]: { outcome: "exit", code: 126, message: "exit status 126 or above" },
  [Own.NOT_VALID]: {
    outcome: "refused",
    message: "The algorithm isn't a valid WebAssembly module: the engine refused it",
  },
  [Own.MEMORY_NOT_GIVEN]: {
    outcome: "refused",
    message: "The algorithm wants shared memory, or more than the job may use",
  },
  [Own.TOO_EARLY]: {
    outcome: "refused",
    message: "The algorithm calls the system before its function _start",
  },
  [Own.UNREACHABLE]: trap("it reached an unreachable instruction"),
  [Own.OUT_OF_BOUNDS]: trap("access out of bounds"),
  [Own.STACK]: trap("call stack exhausted"),
  [Own.ARITHMETIC]: trap("division by zero or a number out of range"),
  [Own.CALL]: trap("call through a wrong table entry"),
  [Own.EXCEPTION]: trap("an exception nobody caught"),
  [Own.HOST]: trap("the engine gave up"),
};

/** A trap is told with the exit status that command lines of other engines give it. */
function trap(what: string): Verdict {
  return { outcome: "exit", code: 134, message: `trap: ${what}` };
}

function need({ deno, wasmChild }: Facilities): { deno: string; child: string } {
  if (deno === undefined || wasmChild === undefined) {
    throw new CocosError("not-supported", "This runner was started without what runs WebAssembly", {
      hint: "Start it with --deno and --wasm-child.",
    });
  }
  return { deno, child: wasmChild };
}

/** The driver. */
export const wasm: Runtime = {
  kind: "wasm",
  prepare: (job, facilities) => {
    need(facilities);
    using file = Deno.openSync(`${job.directory}/algo`);
    checkModule({
      read: (offset, length) => {
        file.seekSync(offset, Deno.SeekMode.Start);
        const bytes = new Uint8Array(length);
        let filled = 0;
        while (filled < length) {
          const read = file.readSync(bytes.subarray(filled));
          if (read === null) break;
          filled += read;
        }
        return bytes.subarray(0, filled);
      },
    });
    return Promise.resolve(undefined);
  },
  command: (job, facilities) =>
    wasmCommand(
      placesOf(job),
      { ...need(facilities), mode: job.mode, limits: job.limits },
      job.args,
    ),
  collect: (ending: Ending): Verdict =>
    (ending.kind === "exit" ? VERDICTS[ending.code as Own] : undefined) ?? collectExit(ending),
};
