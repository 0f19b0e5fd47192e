// For the benchmark: one script by the image's Python, bare and in the sandbox, in turns; no runner
// around it. Prints the milliseconds from start to end and what the script printed, as JSON.
//   deno run … _compare.ts DIRECTORY PYTHON TURNS
import { type Job, WORLD } from "../contract.ts";
import { insecureNoGroups, SandboxProcess } from "../sandbox/mod.ts";
import { python } from "./mod.ts";

const [directory = "", program = "", turns = "1"] = Deno.args;
const job: Job = {
  id: "job-0000000000000001",
  directory,
  pythonRuntime: "",
  args: [],
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
  python: program,
  pip: undefined,
  docker: undefined,
  deno: undefined,
  wasmChild: undefined,
  pyodide: undefined,
};
const group = insecureNoGroups().create(job.id, job.limits);

/** One start, to its end. */
interface Turn {
  readonly ms: number;
  readonly text: string;
}

async function sandboxed(): Promise<Turn> {
  const command = python.command(job, facilities);
  if (typeof command === "function") throw new Error("the driver starts it itself");
  let text = "";
  const started = performance.now();
  const process = new SandboxProcess({ ...command, cwd: WORLD, tmpBytes: job.limits.tmpBytes }, {
    bwrap: "/usr/bin/bwrap",
    group,
    onOutput: (_stream, bytes) => {
      text += new TextDecoder().decode(bytes);
      return "go-on";
    },
  });
  const { outcome, message } = python.collect(await process.ended, job);
  if (outcome !== "ok") throw new Error(`${outcome}: ${message} ${text}`);
  return { ms: performance.now() - started, text };
}

async function bare(): Promise<Turn> {
  const started = performance.now();
  const { success, stdout } = await new Deno.Command(program, {
    args: ["-I", "-B", `${directory}/algo`],
    cwd: directory,
    clearEnv: true,
    stdin: "null",
  }).output();
  if (!success) throw new Error("the bare script failed");
  return { ms: performance.now() - started, text: new TextDecoder().decode(stdout) };
}

const all: { bare: Turn; sandboxed: Turn }[] = [];
for (let turn = 0; turn < Number(turns); turn++) {
  all.push({ bare: await bare(), sandboxed: await sandboxed() });
}
console.log(JSON.stringify(all));
