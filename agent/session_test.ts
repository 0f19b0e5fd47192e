import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { cvms, ROLES } from "../proto/mod.ts";
import { FakeManagement, FakeRunner, finished, freePort, TestAgent, uploadOf } from "./_fakes.ts";
import { Scene } from "./_scene.ts";
import { manifestDigest, readManifest } from "./manifest.ts";
import { bytes, manifestBytes, party, runOf } from "./_parties.ts";
import { Session } from "./session.ts";
import { Telemetry } from "./telemetry.ts";

const owner = await party();
const algorithm = bytes("#!/bin/sh\n");
const run = runOf(owner, algorithm, [{ data: bytes("a") }]);
const WRONG = "log WARN agent not expecting this operation in the current state";

Deno.test("M-1 a second manifest is refused in every state by a warning alone; the first goes on", async () => {
  const going = Promise.withResolvers<void>();
  await using scene = await Scene.start({
    behaviour: async () => {
      await going.promise;
      return finished("ok");
    },
  });
  const { server, agent } = scene;
  const again = async () => {
    server.manifest({ ...run, id: "2" });
    await server.until(WRONG);
  };
  server.manifest(run);
  server.manifest({ ...run, id: "2" });
  await server.until("runRes 1 ");
  await server.until(WRONG);
  await using client = agent.client();
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await again();
  await client.data(uploadOf(bytes("a"), (dataset) => ({ dataset })), {
    metadata: owner.sign(ROLES.data),
  });
  await server.until("event Running/InProgress");
  await again();
  going.resolve();
  await server.until("event ConsumingResults/Ready");
  await again();
  for await (const _ of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages);
  await server.until("event Complete/Completed");
  await again();
  assert.ok(!server.received.some((text) => text.startsWith("runRes 2")));
});

Deno.test("M-1 manifests at the same instant are taken one after another", async () => {
  const going = Promise.withResolvers<void>();
  const telemetry = new Telemetry("error", () => {});
  let inside = 0;
  const taken: string[] = [];
  const accept = async (bytes: Uint8Array) => {
    assert.equal(++inside, 1, "two manifests are being taken at once");
    await going.promise;
    inside--;
    const { id } = readManifest(bytes, "compat");
    taken.push(id);
    return { id, doorKey: "" };
  };
  const over = new AbortController();
  const session = new Session({
    commands: { state: "ReceivingManifest", accept, stop: () => Promise.resolve() },
    telemetry,
    firstMs: 1_000,
    connect: () => ({
      process: async function* () {
        for (const id of ["1", "2", "3"]) {
          const value = create(cvms.RunReqChunksSchema, {
            id,
            data: new Uint8Array(manifestBytes({ ...run, id })),
            isLast: true,
          });
          yield create(cvms.ServerStreamMessageSchema, {
            message: { case: "runReqChunks", value },
          });
        }
        over.abort();
        going.resolve();
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    } as unknown as ReturnType<ConstructorParameters<typeof Session>[0]["connect"]>),
  });
  await session.run(over.signal);
  assert.deepEqual(taken, ["1", "2", "3"]);
});

Deno.test("M-2 M-5 a manifest with a fault is answered with its field; the next one is taken", async () => {
  await using scene = await Scene.start();
  const { server } = scene;
  server.manifest({ ...run, resultConsumers: [] });
  assert.match(await server.until("runRes"), /^runRes 1 manifest field result_consumers /);
  server.manifest({ ...run, algorithm: { hash: new Uint8Array(31), userKey: owner.spki } });
  assert.match(await server.until("runRes"), /^runRes 1 manifest field algorithm.hash /);
  server.manifest({ ...run, agentConfig: { attestedTls: true } });
  assert.match(await server.until("runRes"), /^runRes 1 .*TEE device not found/);
  server.manifest({ ...run, agentConfig: { certFile: "/etc/shadow", keyFile: "/etc/shadow" } });
  assert.match(await server.until("runRes"), /^runRes 1 .*cert_file must be PEM text/);
  server.askState();
  assert.equal(await server.until("stateRes"), "stateRes 7 ReceivingManifest");
  assert.deepEqual(scene.files(), ["/journal.json"]);
  server.manifest(run);
  assert.equal(await server.until("runRes"), "runRes 1 ");
});

Deno.test("M-8 corrupted, interleaved and unknown messages end the stream; the agent comes back", async () => {
  await using scene = await Scene.start();
  const chunk = (id: string, data: Uint8Array<ArrayBuffer>, isLast: boolean) =>
    scene.server.send({
      case: "runReqChunks",
      value: create(cvms.RunReqChunksSchema, { id, data, isLast }),
    });
  chunk("1", bytes("a"), false);
  chunk("2", bytes("b"), false);
  await scene.reconnected();
  chunk("1", new Uint8Array(), true);
  await scene.reconnected();
  scene.server.send({ case: "runReq", value: create(cvms.ComputationRunReqSchema, { id: "1" }) });
  await scene.reconnected();
  scene.server.manifest(run);
  assert.equal(await scene.server.until("runRes"), "runRes 1 ");
});

Deno.test("a manifest that is no run request ends the stream, as with the Go agent", async () => {
  await using scene = await Scene.start();
  scene.server.manifest(run, new Uint8Array([0xff, 0xff, 0xff]));
  await scene.reconnected();
  await scene.server.until("log ERROR received manifest may be corrupted");
  scene.server.manifest(run);
  assert.equal(await scene.server.until("runRes"), "runRes 1 ");
});

Deno.test("disconnect ends the stream; the computation is kept over the reconnection", async () => {
  await using scene = await Scene.start();
  scene.server.manifest(run);
  await scene.server.until("runRes 1 ");
  scene.server.send({
    case: "disconnectReq",
    value: create(cvms.DisconnectReqSchema, { id: "1" }),
  });
  await scene.reconnected();
  scene.server.askState("x");
  assert.equal(await scene.server.until("stateRes"), "stateRes x ReceivingAlgorithm");
});

Deno.test("C-3 events are neither lost nor doubled when the server ends the stream at each step", async () => {
  await using scene = await Scene.start({
    behaviour: async ({ dir }) => {
      await Deno.writeTextFile(`${dir}/results/x`, "x");
      return finished("ok");
    },
  });
  const step = async () => {
    scene.server.end();
    await scene.reconnected();
  };
  await scene.server.until("event Idle/IdleState");
  await step();
  scene.server.manifest(run);
  await scene.server.until("runRes 1 ");
  await step();
  await using client = scene.agent.client();
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await scene.server.until("event ReceivingData/InProgress");
  await step();
  await client.data(uploadOf(bytes("a"), (dataset) => ({ dataset })), {
    metadata: owner.sign(ROLES.data),
  });
  await scene.server.until("event ConsumingResults/Ready");
  await step();
  for await (const _ of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages);
  await scene.server.until("event Complete/Completed");
  await step();
  scene.server.stop();
  await scene.server.until("stopRes 1 ");
  const all = scene.management.connections.flatMap(({ received }) => received)
    .filter((text) => /^(event|runRes|stopRes)/.test(text));
  assert.deepEqual(all, [
    "event Idle/IdleState",
    "event ReceivingAlgorithm/InProgress",
    "runRes 1 ",
    "event ReceivingData/InProgress",
    "event Running/Starting",
    "event Running/InProgress",
    "event Running/Completed",
    "event ConsumingResults/Ready",
    "event Complete/Completed",
    "event Stopped/Stopped",
    "stopRes 1 ",
  ]);
});

Deno.test("C-3 a run goes on while the server is away, and the server hears all of it afterwards", async () => {
  const port = freePort();
  const work = await Deno.makeTempDir();
  const first = await FakeManagement.start(port);
  await using runner = new FakeRunner(`${work}.sock`, work, () => Promise.resolve(finished("ok")));
  await using agent = await TestAgent.start({ work, server: port, runner: runner.socket });
  const before = await first.next();
  before.manifest(runOf(owner, algorithm));
  await before.until("runRes 1 ");
  await first[Symbol.asyncDispose]();
  await using client = agent.client();
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await runner.idle();
  await using second = await FakeManagement.start(port);
  const after = await second.next();
  await after.until("event ConsumingResults/Ready");
  assert.deepEqual(
    after.received.filter((text) => text.startsWith("event")),
    [
      "event Running/Starting",
      "event Running/InProgress",
      "event Running/Completed",
      "event ConsumingResults/Ready",
    ],
  );
  await agent[Symbol.asyncDispose]();
  await Deno.remove(work, { recursive: true });
});

Deno.test("the first connection has to stand in time; later ones are tried for ever", async () => {
  const work = await Deno.makeTempDir();
  const agent = await TestAgent.start({
    work,
    server: freePort(),
    env: { AGENT_CVM_GRPC_TIMEOUT: "20ms" },
  });
  await assert.rejects(agent.session, { code: "unavailable" });
  await agent[Symbol.asyncDispose]();
  await Deno.remove(work, { recursive: true });
});

Deno.test("M-10 stop is answered in every state, and storms of it leave the agent ready", async () => {
  const never = Promise.withResolvers<void>();
  await using scene = await Scene.start({
    behaviour: async ({ stopped }) => {
      await Promise.race([stopped, never.promise]);
      return finished("stopped");
    },
  });
  const { server } = scene;
  const stop = async () => {
    server.stop("s");
    await server.until("event Stopped/Stopped");
    assert.equal(await server.until("stopRes"), "stopRes s ");
    server.askState();
    assert.equal(await server.until("stateRes"), "stateRes 7 ReceivingManifest");
    assert.deepEqual(scene.files(), ["/journal.json"]);
  };
  await stop();
  const simple = runOf(owner, algorithm);
  server.manifest(simple);
  await server.until("runRes 1 ");
  await stop();
  server.manifest(simple);
  await server.until("runRes 1 ");
  await using client = scene.agent.client();
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await server.until("event Running/InProgress");
  await stop();
  for (let i = 0; i < 20; i++) server.stop("storm");
  for (let i = 0; i < 20; i++) await server.until("stopRes storm ");
  server.manifest(simple);
  assert.equal(await server.until("runRes"), "runRes 1 ");
  never.resolve();
});

Deno.test("R3 the digest in the log is of the manifest that was sent", async () => {
  await using scene = await Scene.start();
  scene.server.manifest(run);
  const line = await scene.server.until(/manifest digest/);
  assert.ok(line.endsWith(manifestDigest(readManifest(manifestBytes(run), "compat"))));
});
