// The process that runs one WebAssembly module: inside the sandbox, with no right but to read the
// guest's world and to write its results. Bundled to one file. The module is hostile; so is whatever
// it makes this process do.
//   deno run … child.js strict|compat ROOT MODULE NAME [ARGUMENT ...]
import { MODULE } from "./abi.ts";
import { MAX_GUEST_CODE, Own, ownCode } from "./endings.ts";
import { hostImports } from "./host.ts";
import { Memory, TooEarly } from "./memory.ts";

// Errors are how calls answer; nobody looks at where they come from.
Error.stackTraceLimit = 0;

/** Tells the person behind the log policy why, and ends. */
function end(code: Own, error: unknown): never {
  console.error(`wasm: ${error instanceof Error ? error.message : error}`);
  Deno.exit(code);
}

function exit(code: number): never {
  Deno.exit(code > MAX_GUEST_CODE ? Own.CODE_ABOVE : code);
}

function run(mode: string, root: string, path: string, args: readonly string[]): never {
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(Deno.readFileSync(path));
  } catch (error) {
    end(Own.NOT_VALID, error);
  }
  let instance: WebAssembly.Instance;
  const guest = new Memory();
  const imports = hostImports({
    root,
    results: `${root}/results`,
    compat: mode === "compat",
    args,
    // Go's programs look for files beneath it; the others take what is open.
    environ: [`PWD=${root}`],
    preopens: [".", root],
    exit,
  }, guest);
  try {
    instance = new WebAssembly.Instance(module, imports);
  } catch (error) {
    if (error instanceof TooEarly) end(Own.TOO_EARLY, error);
    if (error instanceof WebAssembly.LinkError) end(Own.NOT_VALID, `${MODULE}: ${error.message}`);
    if (error instanceof RangeError && /memory/i.test(error.message)) {
      end(Own.MEMORY_NOT_GIVEN, error);
    }
    end(ownCode(error), error);
  }
  const { memory, _start } = instance.exports;
  if (!(memory instanceof WebAssembly.Memory) || typeof _start !== "function") {
    end(Own.NOT_VALID, "no memory or no _start");
  }
  // What other threads could change between check and use; there are none to share it with.
  if (!(memory.buffer instanceof ArrayBuffer)) end(Own.MEMORY_NOT_GIVEN, "shared memory");
  guest.attach(memory);
  try {
    _start();
  } catch (error) {
    end(ownCode(error), error);
  }
  exit(0);
}

const [mode = "strict", root = "", path = "", ...args] = Deno.args;
run(mode, root, path, args);
