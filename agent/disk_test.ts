import assert from "node:assert/strict";
import { hex, sha3_256 } from "../base/mod.ts";
import { ROLES } from "../proto/mod.ts";
import { FakeManagement, FakeRunner, finished, freePort, TestAgent, uploadOf } from "./_fakes.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { AgentProcess } from "./_process.ts";
import { Scene } from "./_scene.ts";

const owner = await party();
const algorithm = bytes("#!/bin/sh\n".repeat(300));
const dataset = bytes("a,b\n".repeat(3_000));

async function sh(script: string): Promise<boolean> {
  const { success } = await new Deno.Command("sh", { args: ["-c", script], stderr: "null" })
    .output();
  return success;
}

type Uploads = { agent: { client: TestAgent["client"] } };

const algo = async ({ agent }: Uploads) => {
  await using client = agent.client();
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
};
const data = async ({ agent }: Uploads) => {
  await using client = agent.client();
  await client.data(uploadOf(dataset, (chunk) => ({ dataset: chunk })), {
    metadata: owner.sign(ROLES.data),
  });
};
const fetch = async ({ agent }: Uploads) => {
  await using client = agent.client();
  for await (const _ of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages);
};

Deno.test("F-6 a disk that is full at any write: a typed failure, nothing left, and the next one completes", async () => {
  const folder = await Deno.makeTempDir();
  const work = `${folder}/work`;
  Deno.mkdirSync(work);
  if (Deno.uid() !== 0 || !await sh(`mount -t tmpfs -o size=1m,mode=700 none ${work}`)) {
    console.log("skipped: a small file system needs root");
    await Deno.remove(folder, { recursive: true });
    return;
  }
  // The runner's own writes are not the agent's: results are written as far as they go.
  let fills = false;
  const behaviour = async ({ dir }: { dir: string }) => {
    if (fills) {
      // Not a byte is left, and then it fails.
      await Deno.writeFile(`${dir}/results/out`, new Uint8Array(2 << 20)).catch(() => {});
      return finished("exit", { code: 1 });
    }
    await Deno.writeFile(`${dir}/results/out`, new Uint8Array(9_000)).catch(() => {});
    return finished("ok");
  };
  await using management = await FakeManagement.start();
  await using runner = new FakeRunner(`${folder}/r`, work, behaviour);
  const agent = await TestAgent.start({ work, server: management.port, runner: runner.socket });
  const server = await management.next();
  server.mayFail = true;
  const files = () => {
    const found = [...Deno.readDirSync(work)].map(({ name }) => name);
    return found.filter((name) => !/^unsent\.json/.test(name)).sort();
  };
  const stop = async () => {
    server.stop();
    assert.equal(await server.until("stopRes"), "stopRes 1 ");
    // Its answer comes after the word that the last event has arrived, which removes unsent.json.
    server.askState();
    await server.until("stateRes 7 ReceivingManifest");
    assert.deepEqual(files().filter((name) => name !== "journal.json.new"), ["journal.json"]);
  };
  const failures = new Map<string, number>();
  const seen = (where: string) => failures.set(where, (failures.get(where) ?? 0) + 1);
  /** Tells where a computation failed; anything but a typed refusal for want of space is thrown. */
  const attempt = async (where: string, act: () => Promise<unknown>): Promise<boolean> => {
    try {
      await act();
      return true;
    } catch (error) {
      assert.match(String((error as Error).message), /ENOSPC|StorageFull/i, where);
      seen(where);
      return false;
    }
  };
  const computation = async () => {
    server.manifest(runOf(owner, algorithm, [{ data: dataset }]));
    const answer = await server.until("runRes");
    if (answer !== "runRes 1 ") {
      assert.match(answer, /ENOSPC/);
      return void seen("manifest");
    }
    if (!await attempt("algorithm", () => algo({ agent }))) return;
    if (!await attempt("dataset", () => data({ agent }))) return;
    const end = await server.until(/^event (ConsumingResults\/Ready|Failed\/Failed)/);
    if (end === "event Failed/Failed") {
      const refusal = await fetch({ agent }).then(() => "", (error) => String(error.message));
      assert.match(refusal, /ENOSPC|StorageFull/i);
      return void seen("run");
    }
    if (!await attempt("results", () => fetch({ agent }))) return;
    seen("none");
  };
  const resize = (pages: number) => sh(`mount -o remount,size=${pages * 4}k ${work}`);
  try {
    server.askState();
    await server.until("stateRes 7 ReceivingManifest");
    for (let pages = 1; pages <= 26; pages++) {
      assert.ok(await resize(pages));
      await computation();
      await stop();
    }
    assert.ok(await resize(256));
    await computation();
    await stop();
    fills = true;
    server.manifest(runOf(owner, algorithm, [{ data: dataset }]));
    await server.until("runRes 1 ");
    await algo({ agent });
    await data({ agent });
    await server.until("event Failed/Failed");
    await assert.rejects(fetch({ agent }), { message: /exit status 1/ });
    assert.match(Deno.readTextFileSync(`${work}/journal.json`), /"state":"Failed"/);
    await stop();
    for (const where of ["manifest", "algorithm", "dataset", "run", "none"]) {
      assert.ok((failures.get(where) ?? 0) > 0, `${where}: ${JSON.stringify([...failures])}`);
    }
  } finally {
    await agent[Symbol.asyncDispose]();
    await sh(`umount ${work}`);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("F-6 no descriptors left: calls fail by themselves, the agent answers when there are some again", async () => {
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
    wrap: ["prlimit", "--nofile=64:64"],
  });
  const server = await agent.connected(management);
  server.manifest(runOf(owner, algorithm, [{ data: dataset }]));
  await server.until("runRes 1 ");
  await using client = agent.client();
  const up = () =>
    client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
      metadata: owner.sign(ROLES.algorithm),
    });
  // The connection stands before the crowd comes.
  await assert.rejects(client.algo(uploadOf(bytes("x"), (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  }));
  const crowd: Deno.TcpConn[] = [];
  for (let i = 0; i < 80; i++) {
    crowd.push(await Deno.connect({ hostname: "127.0.0.1", port: agent.port }));
  }
  await assert.rejects(up(), { message: /error creating algorithm file: \w+/ });
  server.askState();
  assert.equal(await server.until("stateRes"), "stateRes 7 ReceivingAlgorithm");
  for (const each of crowd) each.close();
  // The agent sees each connection end before it reads what is sent after that.
  const limit = performance.now() + 30_000;
  while (await up().then(() => false, () => performance.now() < limit));
  await server.until("event ReceivingData/InProgress");
  await client.data(uploadOf(dataset, (chunk) => ({ dataset: chunk })), {
    metadata: owner.sign(ROLES.data),
  });
  await server.until("event ConsumingResults/Ready");
  await agent.end("SIGTERM");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("F-5 a process of the runner's user writes, replaces and links all it can: the run sees the right bytes", async () => {
  if (Deno.uid() !== 0) {
    console.log("skipped: another user's process needs root");
    return;
  }
  const sums = [algorithm, dataset].map((each) => hex(sha3_256(each)));
  const found: string[] = [];
  await using scene = await Scene.start({
    behaviour: async ({ dir }) => {
      for (const name of ["algo", "datasets/dataset-0"]) {
        found.push(hex(sha3_256(await Deno.readFile(`${dir}/${name}`))));
      }
      return finished("ok");
    },
  });
  const { work } = scene;
  const group = 62_000;
  Deno.chownSync(work, null, group);
  Deno.chmodSync(work, 0o2770);
  Deno.chmodSync(`${work}/..`, 0o711);
  const tries = `${work}/../tries`;
  await Deno.writeTextFile(tries, "");
  Deno.chmodSync(tries, 0o666);
  const attack = `while :; do for f in ${work}/job-*/incoming-* ${work}/job-*/algo ` +
    `${work}/job-*/datasets/*; do [ -e "$f" ] || continue; echo "$f" >>${tries}; ` +
    `echo evil >>"$f"; chmod 777 "$f"; rm -f "$f"; mv "$f" "$f.x"; ln -sfn /etc/passwd "$f"; ` +
    `ln "$f" ${work}/hard; done; done`;
  const writer = new Deno.Command("setpriv", {
    args: ["--reuid=61001", `--regid=${group}`, "--clear-groups", "sh", "-c", attack],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    scene.server.manifest(runOf(owner, algorithm, [{ data: dataset }]));
    await scene.server.until("runRes 1 ");
    const slow = async function* <T>(
      content: Uint8Array,
      make: (chunk: Uint8Array<ArrayBuffer>) => T,
    ) {
      for await (const message of uploadOf(content, make)) {
        const before = (await Deno.stat(tries)).size;
        yield message;
        // The writer has been there since this piece was handed over.
        while ((await Deno.stat(tries)).size === before) await sh("true");
      }
    };
    await using client = scene.agent.client();
    await client.algo(slow(algorithm, (chunk) => ({ algorithm: chunk })), {
      metadata: owner.sign(ROLES.algorithm),
    });
    await client.data(slow(dataset, (chunk) => ({ dataset: chunk })), {
      metadata: owner.sign(ROLES.data),
    });
    await scene.server.until("event ConsumingResults/Ready");
  } finally {
    writer.kill("SIGKILL");
    await writer.status;
  }
  assert.deepEqual(found, sums);
  const tried = await Deno.readTextFile(tries);
  assert.match(tried, /incoming-/);
  assert.match(tried, /\/algo\n/);
});
