// What a strict manifest grants a run and its onlookers: limits, egress, output, usage.
import assert from "node:assert/strict";
import { toBinary } from "@bufbuild/protobuf";
import { cvms, type LogReader, type OutputEvent } from "../proto/mod.ts";
import { type Behaviour, finished } from "./_fakes.ts";
import { bytes, digest, party, type Run } from "./_parties.ts";
import { Scene } from "./_scene.ts";
import { Caller, ID, refused, strictRun } from "./_strict.ts";

const algorithm = bytes("print(1)\n");
const [owner, provider, stranger] = await Promise.all([party(), party(), party()]);
const CANARY = "canary-4711";

/** A run of a provider who is no consumer. */
function runOf(logReaders: LogReader[], more: Run = {}): Run {
  const run = strictRun(owner, algorithm, [], { logReaders, ...more });
  Object.assign(run.algorithm as object, { userKey: provider.spki });
  return run;
}

function output(stream: OutputEvent["stream"], text: string): OutputEvent {
  return { type: "output", phase: "run", stream, data: bytes(text) };
}

/** Prints the canary on both streams, then ends. */
const printing = (end = finished("ok")): Behaviour => async ({ emit, dir }) => {
  for (let i = 0; i < 5; i++) {
    await emit(output("stdout", `${CANARY} ${i}\n`));
    await emit(output("stderr", `\x1b[31mred ${CANARY}\n`));
  }
  await emit({ type: "dropped", bytes: 1_000 });
  await Deno.writeTextFile(`${dir}/results/${CANARY}`, CANARY);
  Deno.symlinkSync("/etc/passwd", `${dir}/results/link-${CANARY}`);
  return end;
};

/** A computation that has run. */
async function ran(run: Run, behaviour: Behaviour) {
  const scene = await Scene.start({ mode: "strict", behaviour });
  scene.server.manifest(run);
  assert.equal(await scene.server.until("runRes"), `runRes ${ID} `);
  const caller = new Caller(scene.agent.config.grantedPort);
  await caller.algo(provider, algorithm);
  await scene.server.until(/^event (ConsumingResults\/Ready|Failed\/Failed)/);
  return {
    scene,
    caller,
    async [Symbol.asyncDispose]() {
      await caller[Symbol.asyncDispose]();
      await scene[Symbol.asyncDispose]();
    },
  };
}

/** Every byte that left the agent towards the management server and stdout. */
function outgoing({ management, agent }: Scene): string {
  const sent = management.connections.flatMap(({ messages }) => messages).map((message) =>
    new TextDecoder("latin1").decode(toBinary(cvms.ClientStreamMessageSchema, message))
  );
  return [...sent, ...agent.lines].join("\n").replace(/took \S+/g, "took");
}

/** Details of the event that ended the run. */
function usageIn({ server }: Scene): Record<string, unknown> {
  const found = server.messages.flatMap(({ message }) =>
    message.case === "agentEvent" && message.value.eventType === "Running" &&
      /^(Completed|Failed)$/.test(message.value.status)
      ? [JSON.parse(new TextDecoder().decode(message.value.details))]
      : []
  );
  assert.equal(found.length, 1);
  return found[0];
}

const USAGE = {
  wallMs: 1500,
  cpuMs: 0,
  peakBytes: 5_000_000,
  outputBytes: 1_234,
  resultsFiles: 3,
  resultsBytes: 1_024,
};

Deno.test("S-6 by default no byte of the output, no count and no exit code leaves to anybody", async () => {
  for (const end of [finished("ok"), finished("exit", { code: 213, message: CANARY })]) {
    await using at = await ran(runOf([]), printing({ ...end, usage: USAGE }));
    for (const who of [owner, provider]) {
      await refused(at.caller.call(who, "output", "output"), "permission-denied", /./);
    }
    await refused(at.caller.call(stranger, "output", "output"), "unauthenticated", /./);
    if (end.outcome === "exit") {
      await refused(at.caller.result(owner), "run-failed", /: exit status 213$/);
    }
    assert.doesNotMatch(outgoing(at.scene), /canary|exit status|\b(213|1234|1500|5000000)\b/);
    assert.ok(!at.scene.server.received.includes("event AlgorithmRun/Warning"));
    // Rounded up: an algorithm that uses as much as it wants to say says little.
    assert.deepEqual(usageIn(at.scene), {
      exit: end.outcome === "ok" ? "ok" : "failed",
      wallMs: 2048,
      cpuMs: 0,
      peakBytes: 8_388_608,
      outputBytes: 2048,
      resultsBytes: 1024,
    });
  }
});

Deno.test("S-6 the server gets lines and figures where the manifest says so, and nobody else does", async () => {
  await using at = await ran(runOf(["server"]), printing({ ...finished("ok"), usage: USAGE }));
  const { received } = at.scene.server;
  const lines = received.filter((line) => line.startsWith("log INFO algorithm std"));
  assert.equal(lines.length, 10);
  assert.ok(lines.includes(`log INFO algorithm stdout: ${CANARY} 4`));
  assert.ok(lines.includes(`log INFO algorithm stderr: \ufffd[31mred ${CANARY}`));
  assert.ok(!received.includes("event AlgorithmRun/Warning"));
  assert.ok(received.includes("log WARN results: left out 1 things that are no plain files"));
  const { exit, outputBytes, wallMs } = usageIn(at.scene);
  assert.deepEqual([exit, outputBytes, wallMs], ["ok", 1_234, 1_500]);
  for (const line of at.scene.agent.lines) assert.doesNotMatch(line, /canary/);
  await refused(at.caller.call(owner, "output", "output"), "permission-denied", /./);
});

Deno.test("S-6 output is for the readers the manifest names, until the results are purged", async () => {
  const cases = [
    [["consumers"], owner, provider],
    [["algorithm-provider"], provider, owner],
  ] as const;
  for (const [readers, reader, other] of cases) {
    await using at = await ran(runOf([...readers]), printing());
    const { caller } = at;
    const read = async () => {
      const metadata = await caller.sign(reader, "output", "output");
      return await caller.client.party.output({}, { metadata });
    };
    const { tail, droppedBytes, running } = await read();
    assert.deepEqual(tail.split("\n").slice(-2), [
      `${CANARY} 4`,
      `\ufffd[31mred ${CANARY}`,
    ]);
    assert.deepEqual([droppedBytes, running], [1_000n, false]);
    await refused(caller.call(other, "output", "output"), "permission-denied", /./);
    assert.doesNotMatch(outgoing(at.scene), /canary/);
    await caller.acknowledge(owner, await caller.result(owner));
    await at.scene.server.until("event Complete/Completed");
    assert.equal((await read()).tail, "");
  }
});

Deno.test("S-6 a failure's last lines are in its text for consumers, if they may see output", async () => {
  const end = finished("exit", { code: 3 });
  await using shown = await ran(runOf(["consumers"]), printing(end));
  await refused(
    shown.caller.result(owner),
    "run-failed",
    new RegExp(`^algorithm execution error: exit status 3; the last it printed:\\n(.*\\n)+.*red`),
  );
  await using hidden = await ran(runOf(["algorithm-provider", "server"]), printing(end));
  await refused(
    hidden.caller.result(owner),
    "run-failed",
    "algorithm execution error: exit status 3",
  );
  assert.match(await tailOf(hidden.caller), /canary/);
});

async function tailOf(caller: Caller): Promise<string> {
  const metadata = await caller.sign(provider, "output", "output");
  return (await caller.client.party.output({}, { metadata })).tail;
}

Deno.test("S-10 limits and egress of the manifest reach the runner as they were agreed", async () => {
  const limits = {
    wallSeconds: 60n,
    memoryBytes: 1n << 30n,
    processes: 8n,
    diskBytes: 1n << 20n,
    logBytes: 4_096n,
  };
  const run = runOf([], { limits, egress: ["pypi.org:443"] });
  const requirements = bytes("numpy==2.0 --hash=sha256:00\n");
  Object.assign(run.algorithm as object, {
    type: "python",
    requirementsHash: digest(requirements),
  });
  const behaviour: Behaviour = () => Promise.resolve(finished("timeout"));
  await using scene = await Scene.start({ mode: "strict", behaviour });
  scene.server.manifest(run);
  assert.equal(await scene.server.until("runRes"), `runRes ${ID} `);
  await using caller = new Caller(scene.agent.config.grantedPort);
  const send = async (uploaded: Uint8Array) => {
    const metadata = await caller.sign(provider, "algo", "algorithm", algorithm);
    const stream = async function* () {
      if (uploaded.length > 0) yield { requirements: new Uint8Array(uploaded) };
      yield { algorithm };
    };
    return await caller.client.agent.algo(stream(), { metadata });
  };
  // The requirements the manifest names, not others, and not none.
  for (const wrong of [bytes("evil\n"), bytes("")]) {
    await refused(send(wrong), "digest-mismatch", /requirements do not match manifest/);
  }
  await send(requirements);
  await scene.server.until("event Failed/Failed");
  const [job = assert.fail()] = scene.runner.jobs;
  assert.deepEqual(job.limits, {
    wallSeconds: 60,
    memoryBytes: 1 << 30,
    processes: 8,
    resultsBytes: 1 << 20,
    outputBytes: 4_096,
  });
  assert.deepEqual([job.egress, job.hasRequirements], [["pypi.org:443"], true]);
  assert.equal(usageIn(scene).exit, "timeout");
});

Deno.test("S-6 results that can't be packed are said to the server by their kind alone", async () => {
  const behaviour: Behaviour = async ({ dir }) => {
    using file = await Deno.create(`${dir}/results/${CANARY}`);
    // Sparse: it takes no room, and counts whole.
    await file.truncate(65 * 2 ** 30);
    return { ...finished("ok"), usage: USAGE };
  };
  await using at = await ran(runOf([]), behaviour);
  await refused(
    at.caller.result(owner),
    "run-failed",
    /^error packing results: more than \d+ bytes$/,
  );
  const { received } = at.scene.server;
  const line = "log WARN failed to run computation: error packing results: too-large";
  assert.ok(received.includes(line));
  assert.equal(usageIn(at.scene).exit, "failed");
  assert.doesNotMatch(outgoing(at.scene), /canary|more than \d+ bytes/);
});
