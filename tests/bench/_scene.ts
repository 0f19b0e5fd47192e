// One agent with one computation for a measurement: our processes, or the Go pair in the folder that
// COCOS_PEERS names. Both are driven by the command lines a person would type.
import { fromBinary } from "@bufbuild/protobuf";
import { parsePlan, resolve } from "../../agreement/mod.ts";
import { cvms } from "../../proto/mod.ts";
import { Management, startStrictAgent, workArea } from "../_agent.ts";
import { freePort, House, type Program } from "../_house.ts";
import { type Party, party } from "../_parties.ts";
import { memoryOf, pidOf } from "./_measure.ts";

/** Whose programs are measured. */
export type Maker = "ours" | "go";

/** A computation that is ready to be uploaded to. */
export interface Scene extends AsyncDisposable {
  /** From the agent's start to its open door, in milliseconds. */
  readonly startMs: number;
  /** Runs the CLI against it; throws when it fails. */
  cli(...args: string[]): Promise<void>;
  /** Resolves when the results can be fetched. */
  ready(): Promise<void>;
  /** Memory of the agent process in MiB. */
  memory(field: "VmRSS" | "VmHWM"): Promise<number>;
  /** The first line of the agent's or its runner's log that fits. */
  line(wanted: (line: string) => boolean): Promise<string>;
  readonly port: number;
  /** Id and digest (hexadecimal) of the manifest; absent where requests are signed over the role. */
  readonly agreed?: { readonly id: string; readonly digest: string };
}

/** What is computed. */
export interface Work {
  readonly house: House;
  readonly owner: Party;
  readonly algorithm: string;
  readonly datasets: readonly string[];
}

/** A house with an owner. */
export async function work(
  algorithm: { readonly name: string; readonly text: string | Uint8Array },
  datasetBytes?: number,
): Promise<Work & AsyncDisposable> {
  const house = await House.open("bench");
  const owner = await party(house, "owner", "ed25519");
  const path = await house.write(algorithm.name, algorithm.text, 0o755);
  const datasets: string[] = [];
  if (datasetBytes !== undefined) {
    datasets.push(await randomFile(house.path("set.bin"), datasetBytes));
  }
  return {
    house,
    owner,
    algorithm: path,
    datasets,
    [Symbol.asyncDispose]: () => house[Symbol.asyncDispose](),
  };
}

/** A file of random bytes: nothing on the way can be clever about it. */
async function randomFile(path: string, bytes: number): Promise<string> {
  using file = await Deno.open(path, { write: true, createNew: true });
  const block = new Uint8Array(1 << 20);
  for (let at = 0; at < block.length; at += 65_536) {
    crypto.getRandomValues(block.subarray(at, at + 65_536));
  }
  for (let left = bytes; left > 0; left -= block.length) {
    new DataView(block.buffer).setFloat64(0, left);
    for (let rest = block.subarray(0, Math.min(left, block.length)); rest.length > 0;) {
      rest = rest.subarray(await file.write(rest));
    }
  }
  return path;
}

/** Our agent, with a management server inside this process. */
async function ours(
  { house, owner, algorithm, datasets }: Work,
  flags: readonly string[],
): Promise<Scene> {
  const management = await Management.start();
  const port = freePort();
  // As everybody has it by default: strict. Without TLS, as the Go pair beside it.
  const { manifest, agreement, id } = await resolve(parsePlan(
    JSON.stringify({
      algorithm: { file: algorithm, key: owner.publicFile },
      datasets: datasets.map((file) => ({ file, key: owner.publicFile })),
      consumers: [owner.publicFile],
      agent: { port },
      channel: "insecure",
    }),
    "",
  ));
  management.give(fromBinary(cvms.ComputationRunReqSchema, manifest));
  const approved = await house.write("manifest.json", agreement?.text ?? "");
  const compat = flags.includes("--compat");
  const area = await workArea(house);
  const started = performance.now();
  const agent = startStrictAgent(house, management.port, port, {}, ["--work", area, ...flags]);
  await agent.until((line) => line.includes("gRPC server listening"), "its door");
  const startMs = performance.now() - started;
  await management.until(`runRes ${id} `);
  // The door may open a moment before the runner listens; nobody uploads that early.
  await agent.until((line) => line.includes("runner ready"), "its runner");
  const pid = await pidOf("agent/main.ts", area);
  return {
    startMs,
    port,
    ...(compat ? {} : { agreed: { id, digest: agreement?.digest ?? "" } }),
    async cli(...args) {
      const words = compat ? ["--compat", ...args] : [...args, "--manifest", approved];
      const { code, stderr } = await house.run("cocos", words, {
        AGENT_GRPC_URL: `127.0.0.1:${port}`,
      });
      if (code !== 0) throw new Error(`cocos ${args.join(" ")}: ${stderr}`);
    },
    ready: async () => void await management.until("event ConsumingResults/Ready"),
    memory: (field) => memoryOf(pid, field),
    line: (wanted) => agent.until(wanted, "a line"),
    async [Symbol.asyncDispose]() {
      await agent.stop();
      await management[Symbol.asyncDispose]();
      await Deno.remove(area, { recursive: true });
    },
  };
}

/** The Go agent with the Go test server; its manifest names port 7002, so one runs at a time. */
async function go(
  { house, owner, algorithm, datasets }: Work,
  peers: string,
): Promise<Scene> {
  const managementPort = freePort();
  const server = house.startAt("cvms", `${peers}/cvms`, [
    "-algo-path",
    algorithm,
    "-public-key-path",
    owner.publicFile,
    "-attested-tls-bool",
    "false",
    ...(datasets.length === 0 ? [] : ["-data-paths", datasets.join(",")]),
  ], { HOST: "127.0.0.1", PORT: String(managementPort) });
  await server.until((line) => line.includes("listening"), "listening");
  const started = performance.now();
  const agent: Program = house.startAt("cocos-agent", `${peers}/cocos-agent`, [], {
    AGENT_CVM_GRPC_URL: `127.0.0.1:${managementPort}`,
    AGENT_GRPC_HOST: "127.0.0.1",
    AGENT_LOG_LEVEL: "info",
    HOME: house.folder,
  });
  await agent.until((line) => line.includes("gRPC server listening"), "its door");
  const startMs = performance.now() - started;
  return {
    startMs,
    port: 7002,
    async cli(...args) {
      const { stdout, stderr } = await house.runAt(`${peers}/cocos-cli`, args, {
        AGENT_GRPC_URL: "127.0.0.1:7002",
        HOME: house.folder,
      });
      // The Go CLI ends with 0 whatever happened.
      if (!/[Ss]uccessfully/.test(stdout + stderr)) throw new Error(`${args.join(" ")}: ${stderr}`);
    },
    ready: async () => {
      await server.until((line) => line.includes("ConsumingResults"), "results");
    },
    memory: (field) => memoryOf(agent.pid, field),
    line: (wanted) => agent.until(wanted, "a line"),
    async [Symbol.asyncDispose]() {
      await agent.stop();
      await server.stop();
    },
  };
}

/** Starts an agent of a maker for some work. */
export function scene(
  maker: Maker,
  job: Work,
  peers: string,
  flags: readonly string[] = [],
): Promise<Scene> {
  return maker === "ours" ? ours(job, flags) : go(job, peers);
}
