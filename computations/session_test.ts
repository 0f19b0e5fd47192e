// Sessions with agents over real sockets: who gets the manifest, when, and what is printed.
import assert from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import { type Computation, parsePlan, resolve } from "../agreement/mod.ts";
import { type Logger, logger, startLogging } from "../base/mod.ts";
import { ACKNOWLEDGE, CHUNK_BYTES, cvms, CvmsService, implement, serve } from "../proto/mod.ts";
import { dial, type FakeAgent, inFolder, KEYS } from "./_testbed.ts";
import { manifestChunks } from "./manifest.ts";
import { jsonLine } from "./print.ts";
import { Sessions } from "./session.ts";

/** Lines printed since the last look, without time. */
const printed: Record<string, unknown>[] = [];
startLogging("debug", (record) => {
  const { time: _, ...line } = JSON.parse(jsonLine(record));
  printed.push(line);
});

/** Id of the computation. */
const ID = "7d444840-9dc0-81d1-b245-5ffdce74fad2";

async function withServer(
  work: (port: number, computation: Computation, log: Logger) => Promise<void>,
  answerMs?: number,
): Promise<void> {
  await inFolder(async (dir) => {
    printed.length = 0;
    const plan = parsePlan(
      JSON.stringify({
        id: ID,
        algorithm: { file: "algo.py", key: "pub.pem" },
        datasets: [{ file: "a.csv", key: "pub.pem" }],
        consumers: ["pub.pem"],
      }),
      `${dir}/`,
    );
    const computation = await resolve(plan);
    const log = logger("computations");
    const sessions = new Sessions(computation, log, answerMs);
    await using server = await serve({
      host: "127.0.0.1",
      port: 0,
      services: [implement(CvmsService, { process: (m, call) => sessions.process(m, call) })],
    });
    await work(server.port, computation, log);
  });
}

/** Reads a whole manifest. */
async function receive(agent: FakeAgent): Promise<cvms.ComputationRunReq> {
  const parts: number[] = [];
  while (true) {
    const message = await agent.next();
    assert.equal(message?.case, "runReqChunks");
    const chunk = message.value as cvms.RunReqChunks;
    parts.push(...chunk.data);
    if (chunk.isLast) return fromBinary(cvms.ComputationRunReqSchema, Uint8Array.from(parts));
  }
}

/** Waits until a line with this message has been printed. */
async function line(msg: string): Promise<Record<string, unknown>> {
  const limit = Date.now() + 5_000;
  while (Date.now() < limit) {
    const found = printed.find((each) => each.msg === msg);
    if (found !== undefined) return found;
    await new Promise((done) => setTimeout(done, 1));
  }
  throw new Error(`"${msg}" was never printed: ${JSON.stringify(printed)}`);
}

const ACCEPT = {
  case: "runRes",
  value: { computationId: ID, error: "" },
} as const;

Deno.test("Sessions gives the first agent the manifest at once, the last chunk empty", async () => {
  await withServer(async (port, computation) => {
    await using agent = dial(port);
    const first = await agent.next();
    assert.deepEqual(
      [first?.case, (first?.value as cvms.RunReqChunks).isLast],
      ["runReqChunks", false],
    );
    assert.deepEqual(
      Uint8Array.from((first?.value as cvms.RunReqChunks).data),
      computation.manifest,
    );
    const last = (await agent.next())?.value as cvms.RunReqChunks;
    assert.deepEqual([last.id, last.data.length, last.isLast], [ID, 0, true]);
    await agent.hangUp();
  });
});

Deno.test("manifestChunks() cuts at 1 MiB", () => {
  const computation = { id: ID, manifest: new Uint8Array(2 * CHUNK_BYTES + 3) } as Computation;
  assert.deepEqual(
    [...manifestChunks(computation)].map(({ data, isLast, id }) => [
      id,
      data.length,
      isLast,
    ]),
    [[ID, CHUNK_BYTES, false], [ID, CHUNK_BYTES, false], [ID, 3, false], [ID, 0, true]],
  );
});

Deno.test("Sessions asks a new connection for its state once an agent has accepted", async () => {
  await withServer(async (port) => {
    await using first = dial(port);
    await receive(first);
    first.say(ACCEPT);
    await line("agent accepted the manifest");
    await first.hangUp();

    // The same agent again: it has the manifest and gets none.
    await using again = dial(port);
    assert.deepEqual((await again.next())?.case, "agentStateReq");
    again.say({ case: "agentStateRes", value: { id: ID, state: "ReceivingData" } });
    await line("agent has the manifest already");
    await again.hangUp();

    // Another agent: it waits for a manifest and gets it.
    await using other = dial(port);
    const request = await other.next();
    assert.equal((request?.value as cvms.AgentStateReq).id, ID);
    other.say({ case: "agentStateRes", value: { id: ID, state: "ReceivingManifest" } });
    assert.equal((await receive(other)).id, ID);
    await other.hangUp();
  });
});

Deno.test("Sessions sends the manifest again to an agent that has not accepted it", async () => {
  await withServer(async (port) => {
    for (const error of [undefined, "x509: unknown key"]) {
      await using agent = dial(port);
      await receive(agent);
      if (error !== undefined) {
        agent.say({ case: "runRes", value: { computationId: ID, error } });
        assert.equal((await line("agent refused the manifest")).error, error);
      }
      await agent.hangUp();
    }
    await using agent = dial(port);
    assert.equal((await receive(agent)).id, ID);
  });
});

Deno.test("Sessions does not wait for ever for a state", async () => {
  await withServer(async (port) => {
    await using first = dial(port);
    await receive(first);
    first.say(ACCEPT);
    await line("agent accepted the manifest");
    await using mute = dial(port);
    assert.equal((await mute.next())?.case, "agentStateReq");
    assert.equal((await receive(mute)).id, ID);
  }, 5);
});

Deno.test("S-5 Sessions prints everything an agent says, and trusts none of it", async () => {
  await withServer(async (port) => {
    await using agent = dial(port);
    await receive(agent);
    const at = { seconds: 1_700_000_000n, nanos: 5_000_000 };
    agent.say({
      case: "agentLog",
      value: { message: "\x1b[2J\n{msg}\x9b", level: "WARN", computationId: ID, timestamp: at },
    });
    agent.say({
      case: "agentEvent",
      value: {
        eventType: "Running",
        status: "InProgress",
        originator: "agent",
        computationId: ID,
        timestamp: { seconds: 9_223_372_036_854_775_807n, nanos: 0 },
        details: new TextEncoder().encode('{"a":1}'),
      },
    });
    agent.say({
      case: "vTPMattestationReport",
      value: { file: new Uint8Array(3), certSerialNumber: "12" },
    });
    agent.say({ case: "stopComputationRes", value: { computationId: ID, message: "" } });
    agent.say({ case: undefined });
    await line("agent sent a message of no known kind");
    await agent.hangUp();
    await line("agent disconnected");
    const [hello] = printed;
    assert.match(String(hello?.msg), /^received who am on ip address 127\.0\.0\.1:\d+$/);
    assert.equal(hello?.level, "DEBUG");
    const lines = printed.slice(1).map(({ peer, ...rest }) => {
      assert.match(String(peer), /^127\.0\.0\.1:\d+$/);
      return rest;
    });
    assert.deepEqual(lines.slice(1), [
      {
        level: "WARN",
        msg: "agent log",
        computation_id: ID,
        text: "\x1b[2J\n{msg}\x9b",
        at: "2023-11-14T22:13:20.005Z",
      },
      {
        level: "INFO",
        msg: "agent event",
        computation_id: ID,
        event: "Running",
        status: "InProgress",
        originator: "agent",
        at: "",
        details: '{"a":1}',
      },
      {
        level: "INFO",
        msg: "agent evidence",
        kind: "vTPMattestationReport",
        bytes: 3,
        certificate_serial: "12",
      },
      { level: "INFO", msg: "computation stopped", computation_id: ID, error: "" },
      { level: "WARN", msg: "agent sent a message of no known kind" },
      {
        level: "INFO",
        msg: "agent disconnected",
        reason: "The peer ended the stream early",
      },
    ]);
  });
});

Deno.test("Sessions serves several agents at once, and survives one that vanishes", async () => {
  await withServer(async (port) => {
    const agents = Array.from({ length: 5 }, () => dial(port));
    for (const agent of agents) await receive(agent);
    for (const agent of agents) await agent[Symbol.asyncDispose]();
    await line("agent disconnected");
    await using late = dial(port);
    assert.equal((await receive(late)).id, ID);
  });
});

Deno.test("the test bed's key is one a manifest takes", () => {
  assert.match(KEYS.publicPem, /^-----BEGIN PUBLIC KEY-----/);
});

Deno.test("C-3 Sessions confirms numbered messages to who asks, and handles none of them twice", async () => {
  await withServer(async (port) => {
    const bootId = new Uint8Array(8).fill(7);
    const event = (eventId: bigint, eventType: string) => ({
      message: {
        case: "agentEvent" as const,
        value: { eventType, status: "InProgress", originator: "agent", computationId: "7" },
      },
      eventId,
      bootId,
    });
    const confirmed = async (agent: FakeAgent, id: bigint) => {
      while (true) {
        const message = await agent.next();
        assert.ok(message !== undefined, "the stream ended");
        if (message.case === "acknowledgement" && message.value.eventId === id) {
          assert.deepEqual([...message.value.bootId], id === 0n ? [] : [...bootId]);
          return;
        }
      }
    };
    const events = () =>
      printed.filter(({ msg }) => msg === "agent event").map(({ event }) => event);
    {
      await using agent = dial(port, { [ACKNOWLEDGE]: "1" });
      assert.equal((await agent.next())?.case, "acknowledgement", "before anything else");
      agent.send(event(1n, "A"));
      agent.send(event(2n, "B"));
      await confirmed(agent, 2n);
    }
    {
      await using agent = dial(port, { [ACKNOWLEDGE]: "1" });
      agent.send(event(2n, "B"));
      agent.send(event(3n, "C"));
      await confirmed(agent, 3n);
    }
    assert.deepEqual(events(), ["A", "B", "C"]);
    // An agent that did not ask, as the Go one, gets nothing it does not know.
    await using agent = dial(port);
    assert.equal((await agent.next())?.case, "runReqChunks");
    agent.send(event(9n, "D"));
    await agent.next();
    await agent.hangUp();
    await line("agent disconnected");
  });
});
