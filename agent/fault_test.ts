import assert from "node:assert/strict";
import { ROLES } from "../proto/mod.ts";
import { type Connection, FakeManagement, FakeRunner, finished, freePort } from "./_fakes.ts";
import { uploadOf } from "./_fakes.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { AgentProcess } from "./_process.ts";
import { RealRunner } from "./_real_runner.ts";

const owner = await party();
const algorithm = bytes("#!/bin/sh\n");
const dataset = bytes("a,b\n");

/** An agent with faults in it, its neighbours, and a computation half way. */
class Faulty implements AsyncDisposable {
  agent!: AgentProcess;
  server!: Connection;
  readonly #port = freePort();

  private constructor(
    readonly folder: string,
    readonly management: FakeManagement,
    readonly runner: FakeRunner,
  ) {}

  static async start(): Promise<Faulty> {
    const folder = await Deno.makeTempDir();
    Deno.mkdirSync(`${folder}/work`, { mode: 0o700 });
    const runner = new FakeRunner(`${folder}/r`, `${folder}/work`, () => {
      return Promise.resolve(finished("ok"));
    });
    const faulty = new Faulty(folder, await FakeManagement.start(), runner);
    await faulty.life();
    faulty.server.manifest(runOf(owner, algorithm, [{ data: dataset }]));
    await faulty.server.until("runRes 1 ");
    await using client = faulty.agent.client();
    await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
      metadata: owner.sign(ROLES.algorithm),
    });
    return faulty;
  }

  /** The next life; the faulty one's supervisor starts it again like this. */
  async life(): Promise<void> {
    this.agent = new AgentProcess({
      work: `${this.folder}/work`,
      runner: this.runner.socket,
      server: this.management.port,
      port: this.#port,
      program: "./_faulty.ts",
      flags: ["--v8-flags=--max-old-space-size=120"],
    });
    this.server = await this.agent.connected(this.management);
    await this.server.until("event Idle/IdleState");
  }

  async finish(): Promise<void> {
    await using client = this.agent.client();
    await client.data(uploadOf(dataset, (chunk) => ({ dataset: chunk })), {
      metadata: owner.sign(ROLES.data),
    });
    await this.server.until("event ConsumingResults/Ready");
    for await (const _ of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages);
    await this.server.until("event Complete/Completed");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.management[Symbol.asyncDispose]();
    await this.runner[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

for (
  const [signal, what, word] of [
    ["SIGUSR1", "an exception nobody catches", /injected exception/],
    ["SIGUSR2", "a rejection nobody handles", /injected rejection/],
    ["SIGHUP", "memory without end", /out of memory/i],
  ] as const
) {
  Deno.test(`C-4 C-5 ${what} ends the agent with a code; its next life goes on from whole inputs`, async () => {
    await using faulty = await Faulty.start();
    faulty.agent.signal(signal);
    assert.notEqual(await faulty.agent.exit(), 0);
    assert.match(faulty.agent.lines.join("\n"), word);
    await faulty.life();
    await faulty.server.until("event interrupted/InProgress");
    await faulty.server.until("event ReceivingData/InProgress");
    await faulty.finish();
  });
}

Deno.test("C-4 when memory ends for all, the algorithm dies first and the agent tells it", async () => {
  const memory = "/sys/fs/cgroup/memory";
  const group = `${memory}/cocos-test-${crypto.randomUUID()}`;
  const sh = async (script: string) => {
    const { success } = await new Deno.Command("sh", { args: ["-c", script], stderr: "null" })
      .output();
    return success;
  };
  const made = Deno.uid() === 0 &&
    await sh(`test -w ${memory} && mkdir ${group} && echo 700M >${group}/memory.limit_in_bytes`);
  if (!made) {
    console.log("skipped: a memory group for agent and runner needs root and cgroup version 1");
    return;
  }
  const wrap = ["sh", "-c", `echo $$ >${group}/cgroup.procs; exec "$@"`, "sh"];
  const folder = await Deno.makeTempDir();
  try {
    await using runner = await RealRunner.start(folder, wrap, ["--insecure-no-cgroup"]);
    await using management = await FakeManagement.start();
    await using agent = new AgentProcess({
      work: runner.work,
      runner: runner.socket,
      server: management.port,
      port: freePort(),
      wrap,
    });
    const server = await agent.connected(management);
    server.mayFail = true;
    const hungry = bytes("#!/bin/sh\nexec tail /dev/zero\n");
    server.manifest(runOf(owner, hungry));
    await server.until("runRes 1 ");
    await using client = agent.client();
    await client.algo(uploadOf(hungry, (chunk) => ({ algorithm: chunk })), {
      metadata: owner.sign(ROLES.algorithm),
    });
    await server.until("event Failed/Failed");
    const fetch = async () => {
      for await (const _ of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages);
    };
    await assert.rejects(fetch, { message: /signal: killed|exit status 137|out of memory/ });
    server.stop();
    await server.until("stopRes 1 ");
    server.manifest(runOf(owner, algorithm));
    await server.until("runRes 1 ");
    await using next = agent.client();
    await next.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
      metadata: owner.sign(ROLES.algorithm),
    });
    await server.until("event ConsumingResults/Ready");
  } finally {
    await sh(`rmdir ${group}`);
    await Deno.remove(folder, { recursive: true });
  }
});
