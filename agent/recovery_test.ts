import assert from "node:assert/strict";
import { type AgentService, ROLES, type RpcClient } from "../proto/mod.ts";
import {
  appears,
  type Behaviour,
  type Connection,
  FakeManagement,
  FakeRunner,
  finished,
  freePort,
  uploadOf,
} from "./_fakes.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { AgentProcess } from "./_process.ts";
import { zipOf } from "./_zip.ts";

const owner = await party();
const algorithm = bytes("#!/bin/sh\n".repeat(300));
const plain = bytes("a,b\n".repeat(1_000));
const archive = zipOf([{ name: "d/x", data: "x" }, { name: "y", data: "y" }]);
const run = runOf(owner, algorithm, [{ data: plain }, { data: archive }]);

/** One agent over several lives, with its neighbours. */
class Lives implements AsyncDisposable {
  agent: AgentProcess;
  server!: Connection;
  readonly #port = freePort();

  private constructor(
    readonly folder: string,
    readonly management: FakeManagement,
    readonly runner: FakeRunner,
  ) {
    this.agent = this.#spawn();
  }

  static async start(behaviour: Behaviour): Promise<Lives> {
    const folder = await Deno.makeTempDir();
    Deno.mkdirSync(`${folder}/work`, { mode: 0o700 });
    const runner = new FakeRunner(`${folder}/runner.sock`, `${folder}/work`, behaviour);
    const lives = new Lives(folder, await FakeManagement.start(), runner);
    lives.server = await lives.agent.connected(lives.management);
    return lives;
  }

  #spawn(): AgentProcess {
    return new AgentProcess({
      work: `${this.folder}/work`,
      runner: this.runner.socket,
      server: this.management.port,
      port: this.#port,
    });
  }

  /** kill -9, then a new process; gives the event that says what became of the computation. */
  async killed(): Promise<string> {
    await this.agent.end("SIGKILL");
    this.agent = this.#spawn();
    this.server = await this.agent.connected(this.management);
    await this.server.until("event Idle/IdleState");
    return await this.server.until("event");
  }

  async state(): Promise<string> {
    this.server.askState();
    return (await this.server.until("stateRes")).split(" ")[2] as string;
  }

  files(): string[] {
    const found: string[] = [];
    const visit = (path: string) => {
      for (const { name, isDirectory } of Deno.readDirSync(`${this.folder}/work${path}`)) {
        if (isDirectory) visit(`${path}/${name}`);
        else found.push(`${path}/${name}`.replace(/job-[0-9a-f]{16}/, "job"));
      }
    };
    visit("");
    return found.filter((name) => !/^\/unsent\.json(\.new)?$/.test(name)).sort();
  }

  job(): string {
    const names = [...Deno.readDirSync(`${this.folder}/work`)].map(({ name }) => name);
    return `${this.folder}/work/${names.find((name) => name.startsWith("job-"))}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.management[Symbol.asyncDispose]();
    await this.runner[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

type Client = RpcClient<typeof AgentService>;

const algo = (client: Client) =>
  client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
const data = (client: Client, content: Uint8Array, decompress = "false") =>
  client.data(uploadOf(content, (dataset) => ({ dataset })), {
    metadata: { ...owner.sign(ROLES.data), decompress },
  });

/** Messages that stop half way until they are let go. */
function half<T>(messages: T[]) {
  const reached = Promise.withResolvers<void>();
  const stream = async function* () {
    yield* messages;
    reached.resolve();
    await new Promise(() => {});
  };
  return { stream: stream(), reached: reached.promise };
}

const writes: Behaviour = async ({ dir }) => {
  const read = (name: string) => Deno.readTextFile(`${dir}/datasets/${name}`);
  assert.equal(await read("dataset-0"), "a,b\n".repeat(1_000));
  assert.deepEqual([await read("d/x"), await read("y")], ["x", "y"]);
  await Deno.writeTextFile(`${dir}/results/model`, "model".repeat(1_000_000));
  return finished("ok");
};

Deno.test("C-1 kill -9 while waiting for a manifest: the agent waits for it again", async () => {
  await using lives = await Lives.start(writes);
  await lives.server.until("event Idle/IdleState");
  assert.equal(await lives.state(), "ReceivingManifest");
  await lives.agent.end("SIGKILL");
  await using next = new AgentProcess({
    work: `${lives.folder}/work`,
    runner: lives.runner.socket,
    server: lives.management.port,
    port: freePort(),
  });
  const server = await next.connected(lives.management);
  await server.until("event Idle/IdleState");
  server.manifest(runOf(owner, algorithm));
  assert.equal(await server.until("runRes"), "runRes 1 ");
  assert.ok(!server.received.some((text) => text.startsWith("event interrupted")));
  await next.end("SIGKILL");
});

Deno.test("C-1 kill -9 at every step of a computation: it goes on from whole inputs and completes", async () => {
  await using lives = await Lives.start(writes);
  lives.server.manifest(run);
  await lives.server.until("runRes 1 ");
  const resumed = async (state: string) => {
    assert.equal(await lives.killed(), "event interrupted/InProgress");
    assert.equal(await lives.state(), state);
  };
  await resumed("ReceivingAlgorithm");
  {
    await using client = lives.agent.client();
    const begun = appears(`${lives.folder}/work`, "incoming");
    const upload = half([{ algorithm: algorithm.slice(0, 1_000) }]);
    const broken = assert.rejects(
      client.algo(upload.stream, { metadata: owner.sign(ROLES.algorithm) }),
    );
    await upload.reached;
    await begun;
    await resumed("ReceivingAlgorithm");
    await broken;
    assert.deepEqual(lives.files(), ["/journal.json"]);
  }
  {
    await using client = lives.agent.client();
    await algo(client);
  }
  await resumed("ReceivingData");
  {
    await using client = lives.agent.client();
    await data(client, archive, "true");
    const begun = appears(`${lives.folder}/work`, "incoming");
    const upload = half([{ dataset: plain.slice(0, 1_000) }]);
    const broken = assert.rejects(
      client.data(upload.stream, { metadata: owner.sign(ROLES.data) }),
    );
    await upload.reached;
    await begun;
    await resumed("ReceivingData");
    await broken;
    const kept = ["/job/algo", "/job/datasets/d/x", "/job/datasets/y", "/journal.json"];
    assert.deepEqual(lives.files(), kept);
  }
  {
    await using client = lives.agent.client();
    await data(client, plain);
    await lives.server.until("event ConsumingResults/Ready");
  }
  await resumed("ConsumingResults");
  {
    await using client = lives.agent.client();
    const { messages } = client.result({}, { metadata: owner.sign(ROLES.consumer) });
    const broken = assert.rejects(async () => {
      for await (const _ of messages) await lives.agent.end("SIGKILL");
    });
    await broken;
    await resumed("ConsumingResults");
  }
  {
    await using client = lives.agent.client();
    let size = 0;
    for await (
      const { file } of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages
    ) {
      size += file.length;
    }
    assert.ok(size > 5_000_000);
    await lives.server.until("event Complete/Completed");
  }
  await resumed("Complete");
  assert.deepEqual(lives.files(), ["/journal.json"]);
  lives.server.stop();
  await lives.server.until("stopRes 1 ");
  lives.server.manifest(runOf(owner, algorithm));
  assert.equal(await lives.server.until("runRes"), "runRes 1 ");
});

Deno.test("C-1 kill -9 in a run: it starts again once, then fails and leaves nothing", async () => {
  await using lives = await Lives.start(async ({ dir, stopped }) => {
    // A fresh results folder each time: what the first run left is gone.
    assert.deepEqual([...Deno.readDirSync(`${dir}/results`)], []);
    await Deno.writeTextFile(`${dir}/results/half`, "half");
    await stopped;
    return undefined;
  });
  const simple = runOf(owner, algorithm);
  lives.server.manifest(simple);
  await lives.server.until("runRes 1 ");
  {
    await using client = lives.agent.client();
    await algo(client);
  }
  await lives.server.until("event Running/InProgress");
  await lives.runner.begun(1);
  assert.equal(await lives.killed(), "event interrupted/InProgress");
  await lives.server.until("event Running/InProgress");
  await lives.runner.begun(2);
  assert.equal(await lives.killed(), "event interrupted/InProgress");
  await lives.server.until("event Running/Failed");
  await lives.server.until("event Failed/Failed");
  assert.deepEqual(lives.files(), ["/journal.json"]);
  assert.equal(await lives.killed(), "event interrupted/InProgress");
  await lives.server.until("event Failed/Failed");
  assert.equal(await lives.state(), "Failed");
});

Deno.test("C-1 C-2 inputs that are not whole any more: all is purged, one event says so", async () => {
  const damages: ((job: string) => void)[] = [
    (job) => Deno.truncateSync(`${job}/algo`, 5),
    (job) => Deno.removeSync(`${job}/datasets/y`),
    (job) => Deno.writeTextFileSync(`${job}/datasets/d/x`, "X"),
    (job) => Deno.writeTextFileSync(`${job}/../journal.json`, "{"),
  ];
  await using lives = await Lives.start(writes);
  for (const damage of damages) {
    lives.server.manifest(run);
    await lives.server.until("runRes 1 ");
    {
      await using client = lives.agent.client();
      await algo(client);
      await data(client, archive, "true");
    }
    damage(lives.job());
    assert.equal(await lives.killed(), "event interrupted/Terminated");
    assert.equal(await lives.state(), "ReceivingManifest");
    assert.deepEqual(lives.files(), ["/journal.json"]);
  }
});

Deno.test("SIGTERM ends the agent orderly: exit 0, its last words sent, the next life goes on", async () => {
  await using lives = await Lives.start(writes);
  lives.server.manifest(run);
  await lives.server.until("runRes 1 ");
  assert.equal(await lives.agent.end("SIGTERM"), 0);
  await lives.server.until("log INFO Received signal, shutting down...");
  assert.equal(await lives.killed(), "event interrupted/InProgress");
  assert.equal(await lives.state(), "ReceivingAlgorithm");
});
