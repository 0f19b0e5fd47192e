// Requests of a whole strict run, recorded and used again, and crossed between methods, items and
// keys: each works once, where it was meant, for whom the manifest names (threats G-2 to G-4).
import assert from "node:assert/strict";
import { CocosError, Status } from "../base/mod.ts";
import type { Mode } from "./config.ts";
import { finished, TestAgent } from "./_fakes.ts";
import { bytes, type Party, party } from "./_parties.ts";
import { Scene } from "./_scene.ts";
import { Caller, ID, type Method, refused, type Sent, strictRun } from "./_strict.ts";

const algorithm = bytes("#!/bin/sh\n");
const A = bytes("rows of a");
const B = bytes("rows of b, more of them");
const [provider, one, two, consumer] = await Promise.all([
  party(),
  party("ecdsa"),
  party("rsa"),
  party(),
]);
const OTHER_ID = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

const behaviour: Parameters<typeof Scene.start>[0] = {
  mode: "strict",
  behaviour: async ({ dir }) => {
    await Deno.writeTextFile(`${dir}/results/model`, "weights");
    return finished("ok");
  },
};

/** A provider, two owners, a consumer who may see output. */
function fourParties(id = ID) {
  const run = strictRun(provider, algorithm, [
    { data: A, filename: "a.csv", owner: one },
    { data: B, filename: "b.csv", owner: two },
  ], { id, resultConsumers: [{ userKey: consumer.spki }], logReaders: ["consumers"] });
  return run;
}

async function started(id = ID) {
  const scene = await Scene.start(behaviour);
  scene.server.manifest(fourParties(id));
  assert.equal(await scene.server.until("runRes"), `runRes ${id} `);
  return scene;
}

/** Plays a whole computation; every signed call of it is in `caller.sent` afterwards. */
async function wholeRun(scene: Scene, caller: Caller): Promise<void> {
  await caller.call(provider, "held", "algorithm", algorithm);
  await caller.algo(provider, algorithm);
  await caller.call(one, "held", "dataset:a.csv", A);
  await caller.data(one, "a.csv", A);
  await caller.data(two, "b.csv", B);
  await scene.server.until("event ConsumingResults/Ready");
  await caller.call(consumer, "output", "output");
  await caller.acknowledge(consumer, await caller.result(consumer));
  await scene.server.until("event Complete/Completed");
}

const UNAUTHENTICATED = /^signed request (has a challenge|is for another)/;

/** Sends every recorded request once more, each must be refused as nobody's. */
async function replayAll(caller: Caller, sent: readonly Sent[]): Promise<void> {
  assert.equal(sent.length, 8);
  for (const each of sent) await refused(caller.send(each), "unauthenticated", UNAUTHENTICATED);
}

/** The agent in the same work area again; it goes on with what it finds. */
async function restarted(scene: Scene, mode: Mode = "strict"): Promise<TestAgent> {
  const { grantedPort: port, runner } = scene.agent.config;
  const again = await TestAgent.start({
    work: scene.work,
    server: scene.management.port,
    runner,
    port,
    mode,
  });
  const server = await scene.reconnected();
  await server.until(`event interrupted/${mode === "strict" ? "InProgress" : "Terminated"}`);
  return again;
}

Deno.test("G-2 every request of a full run is refused when it is used again, in five settings", async () => {
  await using scene = await started();
  const { grantedPort: port } = scene.agent.config;
  await using caller = new Caller(port);
  await wholeRun(scene, caller);
  const sent = [...caller.sent];
  const { server } = scene;

  // On the connection it was made for, and on another one.
  await replayAll(caller, sent);
  {
    await using other = new Caller(port);
    await replayAll(other, sent);
  }
  // In the same computation given once more, and in another one of the same parties and files.
  for (const id of [ID, OTHER_ID]) {
    server.stop(id);
    await server.until("stopRes");
    server.manifest(fourParties(id));
    assert.equal(await server.until("runRes"), `runRes ${id} `);
    await using again = new Caller(port);
    await replayAll(again, sent);
    server.askState();
    assert.equal(await server.until("stateRes"), "stateRes 7 ReceivingAlgorithm");
    assert.deepEqual(scene.files(), ["/journal.json"]);
  }
  // After the agent's restart.
  await scene.agent[Symbol.asyncDispose]();
  await using _again = await restarted(scene);
  {
    await using after = new Caller(port);
    await replayAll(after, sent);
  }
  // On another agent with the same manifest.
  await using elsewhere = await started();
  await using stranger = new Caller(elsewhere.agent.config.grantedPort);
  await replayAll(stranger, sent);
});

Deno.test("G-2 a request that was signed and not sent is worth nothing after the agent's restart", async () => {
  await using scene = await started();
  const { grantedPort: port } = scene.agent.config;
  await using caller = new Caller(port);
  const metadata = await caller.sign(provider, "algo", "algorithm", algorithm);
  const sent: Sent = {
    method: "algo",
    metadata,
    item: "algorithm",
    payload: algorithm,
    filename: "",
  };
  await scene.agent[Symbol.asyncDispose]();
  await using _again = await restarted(scene);
  const { server } = scene;
  await using after = new Caller(port);
  await refused(after.send(sent), "unauthenticated", UNAUTHENTICATED);
  await after.algo(provider, algorithm);
  await server.until("event ReceivingData/InProgress");
});

Deno.test("G-2 an agent restarted in compat does not go on with what was agreed in strict", async () => {
  await using scene = await started();
  await using caller = new Caller(scene.agent.config.grantedPort);
  await caller.algo(provider, algorithm);
  await scene.agent[Symbol.asyncDispose]();
  await using _compat = await restarted(scene, "compat");
  scene.server.askState();
  assert.equal(await scene.server.until("stateRes"), "stateRes 7 ReceivingManifest");
  assert.deepEqual(scene.files(), ["/journal.json"]);
});

Deno.test("G-2 a challenge of one connection signed for is refused on another, also right after", async () => {
  await using scene = await started();
  const { grantedPort: port } = scene.agent.config;
  await using one = new Caller(port);
  await using two = new Caller(port);
  const { challenge } = await one.challenge();
  await refused(
    two.call(provider, "algo", "algorithm", algorithm, { challenge }),
    "unauthenticated",
    UNAUTHENTICATED,
  );
  // It was not used up there: it is still good where it was given.
  await one.call(provider, "algo", "algorithm", algorithm, { challenge });
});

const METHODS: readonly Method[] = ["algo", "data", "result", "held", "acknowledge", "output"];
const ITEMS: Record<string, Uint8Array> = {
  algorithm,
  "dataset:a.csv": A,
  "dataset:b.csv": B,
  result: new Uint8Array(),
  output: new Uint8Array(),
};

/** Who may call what about which item: everything else is refused. */
const RIGHTS: readonly (readonly [Method, string, Party])[] = [
  ["algo", "algorithm", provider],
  ["data", "dataset:a.csv", one],
  ["data", "dataset:b.csv", two],
  ["result", "result", consumer],
  ["held", "algorithm", provider],
  ["held", "dataset:a.csv", one],
  ["held", "dataset:b.csv", two],
  ["acknowledge", "result", consumer],
  ["output", "output", consumer],
];

Deno.test("G-3 G-4 of all methods, items and signers, only the manifest's own combinations come in", async () => {
  await using scene = await started();
  await using caller = new Caller(scene.agent.config.grantedPort);
  let tried = 0;
  for (const method of METHODS) {
    for (const [item, payload] of Object.entries(ITEMS)) {
      for (const signer of [provider, one, two, consumer]) {
        const right = RIGHTS.some(([m, i, s]) => m === method && i === item && s === signer);
        // Would begin the next state, and with it the end of this matrix.
        if (right && method === "algo") continue;
        tried++;
        const status = await statusOf(caller.call(signer, method, item, payload));
        const what = `${method} ${item}`;
        if (right) {
          // Let in, and then refused by the state alone, or answered.
          const expected = method === "held" || method === "output"
            ? Status.OK
            : Status.FAILED_PRECONDITION;
          assert.equal(status, expected, what);
        } else {
          assert.equal(status, Status.PERMISSION_DENIED, what);
        }
      }
    }
  }
  assert.equal(tried, METHODS.length * Object.keys(ITEMS).length * 4 - 1);
  assert.deepEqual(scene.files(), ["/journal.json"]);
  await caller.algo(provider, algorithm);
});

Deno.test("G-3 a request of one method opens no other, also for a key that holds every role", async () => {
  const run = strictRun(one, algorithm, [{ data: A, filename: "a.csv" }], {
    logReaders: ["consumers"],
  });
  await using scene = await Scene.start(behaviour);
  scene.server.manifest(run);
  await scene.server.until("runRes");
  await using caller = new Caller(scene.agent.config.grantedPort);
  const item: Record<Method, string> = {
    algo: "algorithm",
    data: "dataset:a.csv",
    result: "result",
    held: "algorithm",
    acknowledge: "result",
    output: "output",
  };
  for (const signed of METHODS) {
    for (const called of METHODS) {
      if (signed === called) continue;
      const payload = ITEMS[item[signed]] as Uint8Array;
      const metadata = await caller.sign(one, signed, item[signed], payload);
      await refused(
        caller.send({ method: called, metadata, item: item[called], payload, filename: "a.csv" }),
        "unauthenticated",
        "signed request is for another method",
      );
    }
  }
});

Deno.test("G-4 an owner can't upload another's dataset, under its name or its own, signed for or not", async () => {
  await using scene = await started();
  await using caller = new Caller(scene.agent.config.grantedPort);
  await caller.algo(provider, algorithm);
  const own = "dataset:b.csv";
  const cases: [Promise<unknown>, "permission-denied" | "digest-mismatch" | "name-mismatch"][] = [
    [caller.call(two, "data", "dataset:a.csv", A), "permission-denied"],
    [caller.call(two, "data", "dataset:a.csv", B), "permission-denied"],
    [caller.call(two, "data", own, A), "digest-mismatch"],
    [caller.call(two, "data", own, B, { filename: "a.csv" }), "name-mismatch"],
    [sendOther(caller), "digest-mismatch"],
  ];
  for (const [call, code] of cases) await refused(call, code, /./);
  await refused(caller.call(two, "data", "dataset:c.csv", B), "undeclared-item", /not declared/);
  assert.deepEqual(scene.files(), ["/job/algo", "/journal.json"]);
  await caller.data(two, "b.csv", B);
  await caller.data(one, "a.csv", A);
  await scene.server.until("event ConsumingResults/Ready");
});

/** Signs for what the manifest names and sends other bytes of the same length. */
async function sendOther(caller: Caller): Promise<unknown> {
  const metadata = await caller.sign(two, "data", "dataset:b.csv", B);
  const payload = new Uint8Array(B.length).fill(65);
  return await caller.send({
    method: "data",
    metadata,
    item: "dataset:b.csv",
    payload,
    filename: "b.csv",
  });
}

async function statusOf(call: Promise<unknown>): Promise<number> {
  try {
    await call;
    return Status.OK;
  } catch (error) {
    assert.ok(error instanceof CocosError);
    return error.status;
  }
}
