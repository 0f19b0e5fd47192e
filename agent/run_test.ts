import assert from "node:assert/strict";
import { toBinary } from "@bufbuild/protobuf";
import { cvms, ROLES } from "../proto/mod.ts";
import { finished, uploadOf } from "./_fakes.ts";
import { Scene } from "./_scene.ts";
import { bytes, party, runOf } from "./_parties.ts";

const owner = await party();
const algorithm = bytes("#!/bin/sh\n");

async function upload(scene: Scene): Promise<void> {
  scene.server.manifest(runOf(owner, algorithm));
  await scene.server.until("runRes 1 ");
  await using client = scene.agent.client();
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
}

/** Every byte that left the agent towards the management server and stdout. */
function outgoing(scene: Scene): string {
  const sent = scene.management.connections.flatMap(({ messages }) => messages)
    .map((message) =>
      new TextDecoder("latin1").decode(toBinary(cvms.ClientStreamMessageSchema, message))
    );
  return [...sent, ...scene.agent.lines].join("\n").replace(/took \S+/g, "took");
}

Deno.test("S-6 nothing the algorithm prints, and not its exit code, reaches server or console", async () => {
  const canary = "canary-4711";
  const data = bytes(`${canary}\n`);
  for (const end of [finished("ok"), finished("exit", { code: 213, message: "exit status 213" })]) {
    await using scene = await Scene.start({
      behaviour: async ({ emit, dir }) => {
        for (let i = 0; i < 30; i++) {
          await emit({
            type: "output",
            phase: "run",
            stream: i % 2 === 0 ? "stdout" : "stderr",
            data,
          });
        }
        await Deno.writeTextFile(`${dir}/results/${canary}`, canary);
        return end;
      },
    });
    await upload(scene);
    await scene.server.until(/^event (ConsumingResults|Failed)\//);
    await using client = scene.agent.client();
    const { messages } = client.result({}, { metadata: owner.sign(ROLES.consumer) });
    const fetched = (async () => {
      for await (const _ of messages);
    })();
    if (end.outcome === "ok") await fetched;
    else await assert.rejects(fetched, { message: "algorithm execution error: exit status 213" });
    scene.server.stop();
    await scene.server.until("stopRes");
    assert.doesNotMatch(outgoing(scene), /canary|exit status|\b213\b/);
    const warnings = scene.server.received.filter((text) => text === "event AlgorithmRun/Warning");
    assert.ok(warnings.length >= 1 && warnings.length <= 15);
  }
});

Deno.test("a runner that dies in a run is asked once more; then the run has failed", async () => {
  for (const deaths of [1, 2]) {
    let runs = 0;
    await using scene = await Scene.start({
      behaviour: ({ dir }) => {
        assert.deepEqual([...Deno.readDirSync(`${dir}/results`)], []);
        Deno.writeTextFileSync(`${dir}/results/half`, "half");
        return Promise.resolve(++runs <= deaths ? undefined : finished("ok"));
      },
    });
    await upload(scene);
    await scene.server.until(deaths === 1 ? "event ConsumingResults/Ready" : "event Failed/Failed");
    assert.equal(runs, 2);
  }
});

Deno.test("S-19 without a runner the run fails with its reason; the agent answers and runs the next", async () => {
  await using scene = await Scene.start({ times: { connectMs: 1 } });
  await scene.runner[Symbol.asyncDispose]();
  await upload(scene);
  await scene.server.until(
    /^log WARN failed to run computation: algorithm execution error: Cannot reach the runner/,
  );
  await scene.server.until("event Failed/Failed");
  scene.server.stop();
  await scene.server.until("stopRes 1 ");
  scene.server.askState();
  assert.equal(await scene.server.until("stateRes"), "stateRes 7 ReceivingManifest");
});

Deno.test("S-9 stop in a run ends it, and its late results change nothing", async () => {
  await using scene = await Scene.start({
    behaviour: async ({ stopped, dir }) => {
      await stopped;
      await Deno.writeTextFile(`${dir}/results/late`, "late");
      return finished("ok");
    },
  });
  await upload(scene);
  await scene.runner.begun(1);
  scene.server.stop();
  await scene.server.until("stopRes 1 ");
  assert.deepEqual(scene.files(), ["/journal.json"]);
  assert.ok(!scene.server.received.some((text) => /ConsumingResults|Failed/.test(text)));
});
