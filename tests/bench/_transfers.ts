// Rows of large transfers: what the agent's memory does when everybody comes at once, or comes at the
// wrong moment.
import { CocosError, digestFile } from "../../base/mod.ts";
import {
  AgentService,
  connectTo,
  datasetItem,
  PartyService,
  pathOf,
  type PrivateKey,
  readPrivateKey,
  signRequest,
} from "../../proto/mod.ts";
import { type Row, sendAlgorithm } from "./_rows.ts";
import { type Scene, scene, type Work, work } from "./_scene.ts";

const MIB = 1 << 20;
const PARTIES = 100;
const PARTY_MIB = 10;

/** An algorithm whose results are this large. */
export const results = (mib: number) => ({
  name: "algo.sh",
  text: `#!/bin/sh\nhead -c ${mib * MIB} /dev/urandom >results/big\n`,
});

const NOTHING = { name: "algo.sh", text: "#!/bin/sh\necho 1 >results/one\n" };

/** Uploads a dataset on a connection of its own, as the strict mode wants it. */
async function upload(
  { port, agreed }: Scene,
  key: PrivateKey,
  index: number,
  path: string,
): Promise<void> {
  if (agreed === undefined) throw new Error("the Go pair has no strict mode");
  const { size } = await Deno.stat(path);
  const filename = path.split("/").at(-1) ?? "";
  const payload = (await digestFile(path)).toHex();
  await using client = connectTo({ agent: AgentService, party: PartyService }, {
    target: { host: "127.0.0.1", port },
    security: { kind: "none" },
  });
  const { challenge, lifetimeSeconds } = await client.party.challenge({
    computationId: agreed.id,
    manifestDigest: Uint8Array.fromHex(agreed.digest),
  });
  const metadata = signRequest({
    method: pathOf(AgentService.method.data),
    computation: agreed.id,
    manifest: agreed.digest,
    item: datasetItem({ filename, index }),
    payload,
    size,
    challenge: challenge.toHex(),
    channel: "",
    lifetime: lifetimeSeconds,
  }, key);
  const pieces = async function* () {
    using file = await Deno.open(path);
    const dataset = new Uint8Array(MIB);
    for (let n; (n = await file.read(dataset)) !== null;) {
      yield { dataset: dataset.subarray(0, n), filename };
    }
  };
  await client.agent.data(pieces(), { metadata });
}

/** Work with datasets of one size, each different. */
async function shares(count: number, mib: number): Promise<Work & AsyncDisposable> {
  const job = await work(NOTHING);
  const datasets: string[] = [];
  for (let i = 0; i < count; i++) {
    const path = job.house.path(`share-${i}.bin`);
    using file = await Deno.open(path, { write: true, createNew: true });
    await file.write(new Uint8Array(MIB).fill(i + 1));
    await file.truncate(mib * MIB);
    datasets.push(path);
  }
  return { ...job, datasets, [Symbol.asyncDispose]: () => job[Symbol.asyncDispose]() };
}

const parties: Row["run"] = async (maker, peers) => {
  await using job = await shares(PARTIES, PARTY_MIB);
  await using target = await scene(maker, job, peers);
  await sendAlgorithm(target, job, "bin");
  const key = readPrivateKey(await Deno.readTextFile(job.owner.privateFile));
  // `Ready` says that all of them were right.
  const ready = target.ready();
  await Promise.all(job.datasets.map((path, index) => upload(target, key, index, path)));
  await ready;
  return await target.memory("VmHWM");
};

/** 1 GiB before the algorithm is there. */
const wrongState: Row["run"] = async (maker, peers) => {
  await using job = await shares(1, 1_024);
  await using target = await scene(maker, job, peers);
  const key = readPrivateKey(await Deno.readTextFile(job.owner.privateFile));
  const before = await target.memory("VmRSS");
  try {
    await upload(target, key, 0, job.datasets[0] as string);
    throw new Error("it was taken");
  } catch (thrown) {
    if (!(thrown instanceof CocosError) || !/not expecting/.test(thrown.message)) throw thrown;
  }
  return await target.memory("VmHWM") - before;
};

const resultPeak: Row["run"] = async (maker, peers) => {
  await using job = await work(results(512));
  await using target = await scene(maker, job, peers);
  await sendAlgorithm(target, job, "bin");
  await target.ready();
  await target.cli("result", job.owner.privateFile, job.house.path("results.zip"));
  return await target.memory("VmHWM");
};

/** The rows. */
export const transferRows = (): readonly Row[] => [
  {
    id: "parties-100",
    title: "100 uploads of 10 MiB at once, agent's peak memory",
    unit: "MiB",
    aim: 250,
    makers: ["ours"],
    run: parties,
  },
  {
    id: "wrong-state",
    title: "1 GiB in a wrong state, agent's memory grows by",
    unit: "MiB",
    aim: 64,
    makers: ["ours"],
    run: wrongState,
  },
  {
    id: "result-512-peak",
    title: "result 512 MiB, agent's peak memory",
    unit: "MiB",
    aim: 200,
    makers: ["ours"],
    run: resultPeak,
  },
];
