import assert from "node:assert/strict";
import { Sha3_256 } from "../base/mod.ts";
import { type AgentService, ROLES, type RpcClient } from "../proto/mod.ts";
import { type Connection, FakeManagement, FakeRunner, finished, freePort } from "./_fakes.ts";
import { uploadOf } from "./_fakes.ts";
import { foundInMemory } from "./_measure.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { AgentProcess } from "./_process.ts";
import { RealRunner } from "./_real_runner.ts";
import { Scene } from "./_scene.ts";
import { zipOf } from "./_zip.ts";

const owner = await party();

/** Text that is nowhere else on this machine; made at run time, so that no file of ours holds it. */
const CANARY = `canary-${crypto.randomUUID()}`;

type Client = RpcClient<typeof AgentService>;

async function output(command: string, args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(command, { args, stderr: "null" }).output();
  return new TextDecoder().decode(stdout);
}

/** Files with the canary in or as their name, below folders where anything of a run could be. */
async function canaries(folders: string[], mark: string): Promise<string[]> {
  const young = ["-xdev", "-newer", mark];
  const [inside, named] = await Promise.all([
    output("find", [
      ...folders,
      ...young,
      "-type",
      "f",
      "-exec",
      "grep",
      "-laF",
      CANARY,
      "{}",
      "+",
    ]),
    output("find", [...folders, ...young, "-name", `*${CANARY}*`]),
  ]);
  return (inside + named).split("\n").filter((line) => line !== "");
}

/** Processes whose command line names a folder, as `pid args`. */
async function processes(folder: string): Promise<string[]> {
  return (await output("ps", ["-e", "-ww", "-o", "pid=,args="])).split("\n")
    .filter((line) => line.includes(folder) && !line.includes("ps -e"));
}

/** Descriptors of these processes that are of deleted files or lead into a folder. */
async function openFiles(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const line of await processes(folder)) {
    const pid = line.trim().split(" ")[0] as string;
    const list = await output("ls", ["-l", `/proc/${pid}/fd`]);
    found.push(
      ...list.split("\n").filter((each) =>
        /\(deleted\)$/.test(each) || each.includes(`${folder}/work`)
      ),
    );
  }
  // The mapped memory of V8 and its compiled code is no file of anybody.
  return found.filter((each) => !/\/memfd:|\/dev\/shm\/|deno|sqlite/i.test(each));
}

const archive = zipOf([{ name: `d/${CANARY}`, data: CANARY }, { name: "y", data: CANARY }]);
const plain = bytes(`${CANARY}\n`.repeat(2_000));

async function upload(client: Client, program: Uint8Array): Promise<void> {
  await client.algo(uploadOf(program, (algorithm) => ({ algorithm })), {
    metadata: { ...owner.sign(ROLES.algorithm), algo_args: [CANARY] },
  });
  await client.data(uploadOf(plain, (dataset) => ({ dataset })), {
    metadata: { ...owner.sign(ROLES.data), decompress: "false" },
  });
  await client.data(uploadOf(archive, (dataset) => ({ dataset })), {
    metadata: { ...owner.sign(ROLES.data), decompress: "true" },
  });
}

const PRINTS = `#!/bin/sh
echo ${CANARY}; echo ${CANARY} >&2
echo ${CANARY} >/tmp/${CANARY}; echo ${CANARY} >/dev/shm/${CANARY}
cat datasets/dataset-0 >results/${CANARY}
`;

/** How a computation ends, and what its program does for it. */
const ENDS = {
  Complete: PRINTS,
  Failed: `${PRINTS}exit 3\n`,
  Stop: `${PRINTS}sleep 600\n`,
} as const;

async function until(server: Connection, end: keyof typeof ENDS, client: Client): Promise<void> {
  server.mayFail = true;
  if (end === "Failed") {
    await server.until("event Failed/Failed");
    return;
  }
  if (end === "Stop") {
    await server.until(/^event AlgorithmRun\/Warning/);
    server.stop();
    await server.until("stopRes 1 ");
    return;
  }
  await server.until("event ConsumingResults/Ready");
  for await (const _ of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages);
  await server.until("event Complete/Completed");
}

Deno.test("Z-1 Z-2 nothing of a party is on any disk or held open after Complete, Failed and Stop", async () => {
  const folder = await Deno.makeTempDir();
  const mark = `${folder}/mark`;
  await Deno.writeTextFile(mark, "");
  await using runner = await RealRunner.start(folder);
  await using management = await FakeManagement.start();
  await using agent = new AgentProcess({
    work: runner.work,
    runner: runner.socket,
    server: management.port,
    port: freePort(),
  });
  const server = await agent.connected(management);
  for (const [end, text] of Object.entries(ENDS)) {
    const program = bytes(text);
    server.manifest(runOf(owner, program, [{ data: plain }, { data: archive }]));
    await server.until("runRes 1 ");
    await using client = agent.client();
    await upload(client, program);
    await until(server, end as keyof typeof ENDS, client);
    const places = [folder, "/tmp", "/var/tmp", "/dev/shm", "/run"];
    assert.deepEqual(await canaries(places, mark), [], end);
    assert.deepEqual(await openFiles(folder), [], end);
    assert.ok(!agent.lines.join("\n").includes(CANARY), "the agent's own output");
    if (end !== "Stop") {
      server.stop();
      await server.until("stopRes 1 ");
    }
  }
  await agent.end("SIGTERM");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Z-1 nothing of a party is left after a time-out", async () => {
  await using scene = await Scene.start({
    behaviour: async ({ dir }) => {
      await Deno.writeTextFile(`${dir}/results/${CANARY}`, CANARY);
      return finished("timeout");
    },
  });
  scene.server.mayFail = true;
  const program = bytes(PRINTS);
  const mark = `${scene.work}/../mark`;
  await Deno.writeTextFile(mark, "");
  scene.server.manifest(runOf(owner, program, [{ data: plain }, { data: archive }]));
  await scene.server.until("runRes 1 ");
  await using client = scene.agent.client();
  await upload(client, program);
  assert.ok((await canaries([scene.work], mark)).length > 0, "the search finds what is there");
  await scene.server.until("event Failed/Failed");
  // The runner's last words and the removal are one step of the agent; a question comes after it.
  scene.server.askState();
  await scene.server.until("stateRes 7 Failed");
  assert.deepEqual(await canaries([scene.work], mark), []);
});

Deno.test("Z-4 a purge that fails is told, and no manifest is taken until it succeeds", async () => {
  if (Deno.uid() !== 0) {
    console.log("skipped: a busy folder needs root");
    return;
  }
  let busy = "";
  await using scene = await Scene.start({
    behaviour: async ({ dir, stopped }) => {
      busy = `${dir}/datasets`;
      await stopped;
      return finished("stopped");
    },
  });
  const { server } = scene;
  const program = bytes("#!/bin/sh\n");
  server.manifest(runOf(owner, program));
  await server.until("runRes 1 ");
  await using client = scene.agent.client();
  await client.algo(uploadOf(program, (algorithm) => ({ algorithm })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await scene.runner.begun(1);
  await output("mount", ["-t", "tmpfs", "none", busy]);
  try {
    server.stop();
    await server.until("event Purge/Failed");
    assert.match(await server.until("stopRes"), /Cannot remove .*EBUSY/);
    server.manifest(runOf(owner, program));
    assert.match(await server.until("runRes"), /^runRes 1 Cannot remove .*EBUSY/);
    server.askState();
    await server.until("stateRes 7 ReceivingManifest");
  } finally {
    await output("umount", [busy]);
  }
  server.manifest(runOf(owner, program));
  assert.equal(await server.until("runRes"), "runRes 1 ");
});

Deno.test("Z-4 a life that finds what it can't remove says so, comes up, and takes no manifest", async () => {
  if (Deno.uid() !== 0) {
    console.log("skipped: a busy folder needs root");
    return;
  }
  const folder = await Deno.makeTempDir();
  const work = `${folder}/work`;
  Deno.mkdirSync(`${work}/job-0123456789abcdef`, { recursive: true });
  Deno.chmodSync(work, 0o700);
  await output("mount", ["-t", "tmpfs", "none", `${work}/job-0123456789abcdef`]);
  await using management = await FakeManagement.start();
  await using runner = new FakeRunner(`${folder}/r`, work, () => Promise.resolve(finished("ok")));
  await using agent = new AgentProcess({
    work,
    runner: runner.socket,
    server: management.port,
    port: freePort(),
  });
  const server = await agent.connected(management);
  try {
    await server.until("event Purge/Failed");
    server.manifest(runOf(owner, bytes("x")));
    assert.match(await server.until("runRes"), /EBUSY/);
  } finally {
    await output("umount", [`${work}/job-0123456789abcdef`]);
  }
  server.manifest(runOf(owner, bytes("x")));
  assert.equal(await server.until("runRes"), "runRes 1 ");
  await agent.end("SIGKILL");
  await Deno.remove(folder, { recursive: true });
});

/** Most of a dataset that may lie in memory until the collector comes: frames of a fast upload. */
const MAX_HELD_MIB = 96;

Deno.test("Z-3 after the purge the agent's memory holds no whole dataset: a bounded rest, whatever its size", async () => {
  const folder = await Deno.makeTempDir();
  Deno.mkdirSync(`${folder}/work`, { mode: 0o700 });
  await using management = await FakeManagement.start();
  await using runner = new FakeRunner(`${folder}/r`, `${folder}/work`, () => {
    return Promise.resolve(finished("ok"));
  });
  await using agent = new AgentProcess({
    work: `${folder}/work`,
    runner: runner.socket,
    server: management.port,
    port: freePort(),
  });
  const server = await agent.connected(management);
  const program = bytes("#!/bin/sh\n");
  const line = bytes(`${CANARY}\n`);
  const chunk = new Uint8Array(1 << 20);
  for (let at = 0; at + line.length <= chunk.length; at += line.length) chunk.set(line, at);
  const chunks = 320;
  const whole = new Sha3_256();
  for (let i = 0; i < chunks; i++) whole.update(chunk);
  const run = runOf(owner, program, [{ data: chunk }]);
  const hash = new Uint8Array(whole.digest());
  server.manifest({ ...run, datasets: (run.datasets ?? []).map((each) => ({ ...each, hash })) });
  await server.until("runRes 1 ");
  {
    await using client = agent.client();
    await client.algo(uploadOf(program, (algorithm) => ({ algorithm })), {
      metadata: owner.sign(ROLES.algorithm),
    });
    await client.data(
      (async function* () {
        for (let i = 0; i < chunks; i++) yield { dataset: chunk };
      })(),
      { metadata: owner.sign(ROLES.data) },
    );
    await server.until("event ConsumingResults/Ready");
  }
  server.stop();
  await server.until("stopRes 1 ");
  const copies = await foundInMemory(agent.pid, CANARY);
  if (copies === undefined) {
    console.log("skipped: the memory of another process can't be read here");
  } else {
    const held = copies * line.length / 2 ** 20;
    console.log(`${held.toFixed(1)} MiB of a dataset of ${chunks} MiB are in the agent's memory`);
    assert.ok(held < MAX_HELD_MIB, `${held} MiB`);
  }
  await agent.end("SIGKILL");
  await Deno.remove(folder, { recursive: true });
});
