// For the benchmark: one module in one sandbox, without a runner around it. Prints what the module
// printed, and on standard error the milliseconds from the sandbox's start to its end.
//   deno run … _once.ts DIRECTORY DENO CHILD [ARGUMENT ...]
import { type Job, WORLD } from "../contract.ts";
import { insecureNoGroups, SandboxProcess } from "../sandbox/mod.ts";
import { wasm } from "./mod.ts";

const [directory = "", deno = "", wasmChild = "", ...args] = Deno.args;
const job: Job = {
  id: "job-0000000000000001",
  directory,
  pythonRuntime: "",
  args,
  limits: {
    wallSeconds: 3600,
    memoryBytes: 2 ** 31,
    processes: 64,
    cpus: 2,
    tmpBytes: 1 << 26,
    outputBytes: 1 << 20,
    resultsBytes: 2 ** 30,
    resultsFiles: 1000,
  },
  hasRequirements: false,
  site: `${directory}-site`,
  mode: "strict",
};
const facilities = {
  python: "",
  pip: undefined,
  docker: undefined,
  deno,
  wasmChild,
  pyodide: undefined,
};
await wasm.prepare(job, facilities);
const command = wasm.command(job, facilities);
if (typeof command === "function") throw new Error("the driver starts it itself");
const started = performance.now();
const process = new SandboxProcess(
  { ...command, cwd: WORLD, tmpBytes: job.limits.tmpBytes },
  {
    bwrap: "/usr/bin/bwrap",
    group: insecureNoGroups().create(job.id, job.limits),
    onOutput: (_stream, bytes) => {
      Deno.stdout.writeSync(bytes);
      return "go-on";
    },
  },
);
const { outcome, code, message } = wasm.collect(await process.ended, job);
console.error(`${(performance.now() - started).toFixed(3)} ms`);
if (outcome !== "ok") {
  console.error(message);
  Deno.exit(code ?? 1);
}
