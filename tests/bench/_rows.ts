// The rows of the benchmark: what is measured, in which unit, and what we aim at. A row measures one
// value a run; everything it needs is made before the clock starts.
import { sha3_256 } from "../../base/mod.ts";
import {
  AgentService,
  ALGORITHM_ITEM,
  connectTo,
  type Methods,
  PartyService,
  pathOf,
  type PrivateKey,
  readPrivateKey,
  ROLES,
  signRequest,
  signRole,
} from "../../proto/mod.ts";
import { House } from "../_house.ts";
import { DOCKER_ROWS } from "./_docker.ts";
import { timed } from "./_measure.ts";
import { PYTHON_ROWS } from "./_python.ts";
import { type Maker, type Scene, scene, type Work, work } from "./_scene.ts";
import { results, transferRows } from "./_transfers.ts";
import { VERIFIER_ROWS } from "./_verifier.ts";
import { bootToReady, createVm } from "./_vm.ts";
import { TRIVIAL, WASM_ROWS } from "./_wasm.ts";

/** One row. */
export interface Row {
  readonly id: string;
  readonly title: string;
  readonly unit: "ms" | "s" | "MiB" | "MiB/s" | "×";
  /** Whether more is better. */
  readonly more?: true;
  readonly aim?: number;
  /** Makers that can be measured; the Go pair has no rows for what is ours alone. */
  readonly makers: readonly Maker[];
  /** Only when named with --rows: takes minutes, or needs the image. */
  readonly slow?: true;
  readonly run: (maker: Maker, peers: string) => Promise<number>;
}

const BIN = { name: "algo.sh", text: "#!/bin/sh\necho 1 >results/one\n" };
const PYTHON = { name: "algo.py", text: 'open("results/one", "w").write("1")\n' };
const WASM = { name: "algo.wasm", text: TRIVIAL };
const MIB = 1 << 20;

/** Measures an upload of `mib` MiB; the speed of the whole command, or the agent's peak memory. */
function upload(mib: number, what: "speed" | "peak", flags: readonly string[] = []): Row["run"] {
  return async (maker, peers) => {
    await using job = await work(BIN, mib * MIB);
    await using target = await scene(maker, job, peers, flags);
    await sendAlgorithm(target, job, "bin");
    const ms = await timed(() =>
      target.cli("data", job.datasets[0] as string, job.owner.privateFile)
    );
    return what === "speed" ? mib / (ms / 1_000) : await target.memory("VmHWM");
  };
}

/** Kinds of algorithm with a row of their own. */
type AlgorithmType = "bin" | "python" | "wasm" | "docker";

/** From the first byte of a trivial algorithm's upload to its results, on the wire. */
function trivial(algorithm: Parameters<typeof work>[0], type: AlgorithmType): Row["run"] {
  return async (maker, peers) => {
    await using job = await work(algorithm);
    await using target = await scene(maker, job, peers);
    const ready = target.ready();
    return await timed(async () => {
      await sendAlgorithm(target, job, type);
      await ready;
    });
  };
}

/** `Algo` as any client calls it, without the start of a command. */
export async function sendAlgorithm(
  target: Scene,
  job: Work,
  type: AlgorithmType,
): Promise<void> {
  await using line = connectTo({ agent: AgentService, party: PartyService }, {
    target: { host: "127.0.0.1", port: target.port },
    security: { kind: "none" },
  });
  const algorithm = await Deno.readFile(job.algorithm);
  const key = readPrivateKey(await Deno.readTextFile(job.owner.privateFile));
  const metadata = target.agreed === undefined
    ? {
      "user-id": ROLES.algorithm,
      signature: signRole(ROLES.algorithm, key),
      algo_type: type,
      python_runtime: "python3",
    }
    : await signed(line.party, target.agreed, algorithm, key);
  await line.agent.algo(
    (async function* () {
      yield { algorithm };
    })(),
    { metadata },
  );
}

/** Metadata of the strict mode, over a challenge of this connection. */
async function signed(
  party: Methods<typeof PartyService>,
  { id, digest }: NonNullable<Scene["agreed"]>,
  algorithm: Uint8Array,
  key: PrivateKey,
): Promise<Record<string, string>> {
  const { challenge, lifetimeSeconds } = await party.challenge({
    computationId: id,
    manifestDigest: Uint8Array.fromHex(digest),
  });
  return signRequest({
    method: pathOf(AgentService.method.algo),
    computation: id,
    manifest: digest,
    item: ALGORITHM_ITEM,
    payload: sha3_256(algorithm).toHex(),
    size: algorithm.length,
    challenge: challenge.toHex(),
    channel: "",
    lifetime: lifetimeSeconds,
  }, key);
}

const result: Row["run"] = async (maker, peers) => {
  await using job = await work(results(512));
  await using target = await scene(maker, job, peers);
  await sendAlgorithm(target, job, "bin");
  await target.ready();
  const ms = await timed(() =>
    target.cli("result", job.owner.privateFile, job.house.path("results.zip"))
  );
  return 512 / (ms / 1_000);
};

const start: Row["run"] = async (maker, peers) => {
  await using job = await work(BIN);
  await using target = await scene(maker, job, peers);
  return target.startMs;
};

const idle: Row["run"] = async (maker, peers) => {
  await using job = await work(BIN);
  await using target = await scene(maker, job, peers);
  return await target.memory("VmRSS");
};

const help: Row["run"] = async (maker, peers) => {
  await using house = await House.open("bench");
  return await timed(() =>
    maker === "ours"
      ? house.run("cocos", ["--help"])
      : house.runAt(`${peers}/cocos-cli`, ["--help"], { HOME: house.folder })
  );
};

/** Uploads get a command's start as well: 0.2 s of ours, less of Go's. */
const UPLOADS: readonly (readonly [number, string])[] = [[64, "64 MiB"], [512, "512 MiB"], [
  1536,
  "1.5 GiB",
]];

const BOTH = ["ours", "go"] as const;

/** All rows. */
export const ROWS: readonly Row[] = [
  ...UPLOADS.map(([mib, name]): Row => ({
    id: `upload-${mib}`,
    title: `upload ${name}`,
    unit: "MiB/s",
    more: true,
    makers: BOTH,
    ...(mib === 1536 ? { aim: 100 } : {}),
    run: upload(mib, "speed"),
  })),
  // The strict mode reads a file twice: what is not the manifest's never leaves. The seed's doesn't.
  ...[512, 1536].map((mib): Row => ({
    id: `upload-${mib}-compat`,
    title: `upload ${mib === 512 ? "512 MiB" : "1.5 GiB"}, the seed's wire`,
    unit: "MiB/s",
    more: true,
    makers: BOTH,
    ...(mib === 1536 ? { aim: 100 } : {}),
    run: upload(mib, "speed", ["--compat"]),
  })),
  {
    id: "upload-1536-peak",
    title: "upload 1.5 GiB, agent's peak memory",
    unit: "MiB",
    aim: 200,
    makers: BOTH,
    run: upload(1536, "peak"),
  },
  {
    id: "result-512",
    title: "result 512 MiB",
    unit: "MiB/s",
    more: true,
    makers: BOTH,
    run: result,
  },
  {
    id: "bin",
    title: "bin: upload → results ready",
    unit: "ms",
    aim: 150,
    makers: BOTH,
    run: trivial(BIN, "bin"),
  },
  {
    id: "python",
    title: "python: upload → results ready",
    unit: "ms",
    aim: 300,
    makers: BOTH,
    run: trivial(PYTHON, "python"),
  },
  {
    id: "wasm",
    title: "wasm: upload → results ready",
    unit: "ms",
    aim: 200,
    makers: ["ours"],
    run: trivial(WASM, "wasm"),
  },
  { id: "start", title: "agent start → listening", unit: "ms", aim: 400, makers: BOTH, run: start },
  { id: "idle", title: "agent idle, memory", unit: "MiB", makers: BOTH, run: idle },
  { id: "help", title: "CLI --help", unit: "ms", makers: BOTH, run: help },
  ...PYTHON_ROWS,
  ...transferRows(),
  {
    id: "upload-10240-peak",
    title: "upload 10 GiB, agent's peak memory",
    unit: "MiB",
    aim: 200,
    makers: BOTH,
    slow: true,
    run: upload(10_240, "peak"),
  },
  ...WASM_ROWS,
  ...VERIFIER_ROWS,
  ...DOCKER_ROWS,
  {
    id: "create-vm",
    title: "create-vm (TCG)",
    unit: "ms",
    makers: ["ours"],
    slow: true,
    run: createVm,
  },
  {
    id: "boot-direct",
    title: "boot → agent ready (TCG, without OVMF)",
    unit: "s",
    aim: 15,
    makers: ["ours"],
    slow: true,
    run: () => bootToReady("direct"),
  },
  {
    id: "boot-ovmf",
    title: "boot → agent ready (TCG, OVMF)",
    unit: "s",
    aim: 22,
    makers: ["ours"],
    slow: true,
    run: () => bootToReady("ovmf"),
  },
];
