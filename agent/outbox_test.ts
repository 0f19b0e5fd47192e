import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { cvms, ROLES } from "../proto/mod.ts";
import { FakeManagement, FakeRunner, finished, TestAgent, textOf, uploadOf } from "./_fakes.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { disconnects } from "./_soak_events.ts";
import { MAX_KEPT, MAX_LOGS, type Outgoing } from "./outbox.ts";
import { Telemetry } from "./telemetry.ts";
import { MAX_UNSENT, UnsentFile } from "./unsent.ts";
import { WorkArea } from "./work.ts";

const live = new AbortController().signal;

/** Sends what the queue gives without waiting. */
async function send(telemetry: Telemetry): Promise<Outgoing[]> {
  const sent: Outgoing[] = [];
  const now = AbortSignal.abort();
  while (true) {
    const entry = await telemetry.outbox.first(now);
    if (entry === undefined) return sent;
    sent.push(entry.message);
    telemetry.outbox.sent(entry);
  }
}

const confirm = (telemetry: Telemetry, eventId: bigint, bootId = telemetry.outbox.boot) =>
  telemetry.outbox.acknowledged(create(cvms.AcknowledgementSchema, { bootId, eventId }));

Deno.test("C-3 Outbox sends again what a confirming server did not confirm, nothing else", async () => {
  const telemetry = new Telemetry("info", () => {});
  const { outbox } = telemetry;
  outbox.connecting();
  for (const name of ["a", "b", "c"]) telemetry.event(name, "InProgress");
  telemetry.log("info", "line");
  outbox.acknowledges();
  const first = await send(telemetry);
  assert.deepEqual(first.map(({ eventId }) => eventId), [1n, 2n, 3n, 0n]);
  assert.ok(first.slice(0, 3).every(({ bootId }) => bootId.length === 8));
  confirm(telemetry, 2n);
  assert.equal(outbox.unconfirmed, 1);
  // The connection breaks; whether `c` arrived nobody knows.
  outbox.connecting();
  telemetry.event("d", "InProgress");
  assert.deepEqual(await send(telemetry), [], "nothing leaves before the server is known");
  outbox.acknowledges();
  const again = await send(telemetry);
  assert.deepEqual(again.map(textOf), ["event c/InProgress", "event d/InProgress"]);
  assert.deepEqual(again.map(({ eventId }) => eventId), [3n, 4n]);
  confirm(telemetry, 4n, new Uint8Array(8));
  assert.equal(outbox.unconfirmed, 2, "another life's confirmation confirms nothing");
  confirm(telemetry, 9n);
  assert.equal(outbox.unconfirmed, 0);
});

Deno.test("C-3 Outbox says nothing twice to a server that confirms nothing", async () => {
  const telemetry = new Telemetry("info", () => {});
  const { outbox } = telemetry;
  outbox.connecting();
  telemetry.event("a", "InProgress");
  assert.equal((await send(telemetry)).length, 1);
  outbox.forgets();
  assert.equal(outbox.unconfirmed, 0);
  telemetry.event("b", "InProgress");
  assert.equal((await send(telemetry)).length, 1);
  outbox.connecting();
  telemetry.event("c", "InProgress");
  assert.deepEqual((await send(telemetry)).map(textOf), ["event c/InProgress"]);
});

Deno.test("C-3 a confirmation that overtakes the transport's word is not forgotten", async () => {
  const telemetry = new Telemetry("info", () => {});
  const { outbox } = telemetry;
  outbox.connecting();
  outbox.acknowledges();
  telemetry.event("a", "InProgress");
  telemetry.event("b", "InProgress");
  const entry = await outbox.first(live);
  confirm(telemetry, 2n);
  assert.equal(outbox.size, 1, "what was never handed out can't be confirmed");
  assert.ok(entry);
  outbox.sent(entry);
  assert.deepEqual((await send(telemetry)).map(textOf), ["event b/InProgress"]);
});

Deno.test("C-3 S-5 warnings of an algorithm push no state event out while the server is away", async () => {
  const telemetry = new Telemetry("error", () => {});
  for (let i = 0; i < 20_000; i++) telemetry.warning(i * 1_000);
  telemetry.event("ConsumingResults", "Ready");
  telemetry.outbox.forgets();
  const sent = (await send(telemetry)).map(textOf);
  assert.equal(sent.filter((text) => text === "event AlgorithmRun/Warning").length, MAX_LOGS);
  assert.ok(sent.includes("event ConsumingResults/Ready"));
  assert.equal(
    sent.at(-1),
    `log WARN ${20_000 - MAX_LOGS} messages were dropped while nobody took them`,
  );
});

Deno.test("C-3 Outbox stays bounded with a server that never confirms", async () => {
  const telemetry = new Telemetry("info", () => {});
  telemetry.outbox.connecting();
  telemetry.outbox.acknowledges();
  for (let i = 0; i < MAX_KEPT + 100; i++) {
    telemetry.event(`${i}`, "InProgress");
    telemetry.log("info", "line");
    if (i % 100 === 0) await send(telemetry);
  }
  assert.ok(telemetry.outbox.size + telemetry.outbox.unconfirmed <= MAX_KEPT + MAX_LOGS);
});

async function inArea(use: (area: WorkArea) => void | Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await use(WorkArea.open(dir));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("C-1 C-3 events that wait survive the agent: the next life sends them first, with their numbers", async () => {
  await inArea(async (area) => {
    const before = new Telemetry("info", () => {});
    before.outbox.attach(new UnsentFile(area, assert.fail), []);
    for (let i = 0; i < MAX_UNSENT + 5; i++) before.event(`${i}`, "InProgress");
    before.warning();
    const file = new UnsentFile(area, assert.fail);
    const after = new Telemetry("info", () => {});
    after.event("Idle", "IdleState");
    after.outbox.attach(file, file.read());
    after.outbox.connecting();
    after.outbox.acknowledges();
    const sent = await send(after);
    assert.deepEqual(sent.slice(0, 2).map(textOf), ["event 0/InProgress", "event 1/InProgress"]);
    assert.deepEqual(sent.map(textOf).at(-1), "event Idle/IdleState");
    assert.equal(sent.length, MAX_UNSENT + 1);
    assert.deepEqual(sent[0]?.bootId, before.outbox.boot);
    confirm(after, 10_000n, before.outbox.boot);
    assert.equal(after.outbox.unconfirmed, 1);
    confirm(after, 1n);
    assert.deepEqual([...Deno.readDirSync(area.root)], []);
  });
});

Deno.test("C-3 UnsentFile: damage costs the events, never the start; a failing disk is told once", async () => {
  await inArea((area) => {
    const path = `${area.root}/unsent.json`;
    for (const text of ["", "{", "{}", `["!"]`, `["AA=="]`, `[""]`, "[1]".padEnd(2 ** 21)]) {
      Deno.writeTextFileSync(path, text);
      const told: string[] = [];
      assert.deepEqual(new UnsentFile(area, (why) => told.push(why)).read(), [], text);
      assert.equal(told.length, 1, text);
    }
    Deno.removeSync(path);
    Deno.symlinkSync("/etc/hostname", path);
    const told: string[] = [];
    assert.deepEqual(new UnsentFile(area, (why) => told.push(why)).read(), []);
    assert.equal(told.length, 1);
    Deno.mkdirSync(`${path}.new`);
    const telemetry = new Telemetry("info", () => {});
    const failures: string[] = [];
    telemetry.outbox.attach(new UnsentFile(area, (why) => failures.push(why)), []);
    for (let i = 0; i < 3; i++) telemetry.event("x", "InProgress");
    assert.equal(failures.length, 1);
  });
});

Deno.test("C-3 events come once and in order through 60 broken connections", async () => {
  const { failures, figures } = await disconnects(60, 1);
  assert.deepEqual(failures, []);
  assert.ok(figures.events as number > 50);
});

Deno.test("C-3 with a server like the Go ones a whole computation is told once over reconnections", async () => {
  const owner = await party();
  const algorithm = bytes("#!/bin/sh\n");
  const work = await Deno.makeTempDir();
  await using management = await FakeManagement.start(0, undefined, "go");
  await using runner = new FakeRunner(`${work}.sock`, work, () => Promise.resolve(finished("ok")));
  await using agent = await TestAgent.start({
    work,
    server: management.port,
    runner: runner.socket,
  });
  let server = await management.next();
  server.manifest(runOf(owner, algorithm));
  await server.until("runRes 1 ");
  server.end();
  server = await management.next();
  server.askState();
  await server.until("stateRes 7 ReceivingAlgorithm");
  await using client = agent.client();
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await server.until("event ConsumingResults/Ready");
  assert.deepEqual(
    management.all.map(textOf).filter((text) => /^(event|runRes)/.test(text)),
    [
      "event Idle/IdleState",
      "event ReceivingAlgorithm/InProgress",
      "runRes 1 ",
      "event Running/Starting",
      "event Running/InProgress",
      "event Running/Completed",
      "event ConsumingResults/Ready",
    ],
  );
  assert.ok(server.messages.every(({ message }) => message.case !== undefined));
  await agent[Symbol.asyncDispose]();
  await Deno.remove(work, { recursive: true });
});
