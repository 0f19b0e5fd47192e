// Soak: an algorithm that prints as fast as it can, through the real runner. The agent's memory and what
// it tells the server must not follow (threats S-5).
import { ROLES } from "../proto/mod.ts";
import { FakeManagement, freePort } from "./_fakes.ts";
import { memoryOf } from "./_measure.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { AgentProcess } from "./_process.ts";
import { RealRunner } from "./_real_runner.ts";
import type { Outcome } from "./_soak.ts";

/** Bytes of one block of output. */
const BLOCK = 100_000_000;
const MAX_GROWTH_MIB = 32;
const MAX_EVENTS_PER_SECOND = 10;

/** A run is one second of output. */
export async function flood(runs: number, _seed: number): Promise<Outcome> {
  const failures: string[] = [];
  const folder = await Deno.makeTempDir();
  await using management = await FakeManagement.start();
  await using runner = await RealRunner.start(folder);
  await using agent = new AgentProcess({
    work: runner.work,
    runner: runner.socket,
    server: management.port,
    port: freePort(),
  });
  const owner = await party();
  const server = await agent.connected(management);
  server.mayFail = true;
  /** Starts a program that prints for so long. */
  const print = async (seconds: number) => {
    const program = bytes(
      `#!/bin/sh\nend=$(($(date +%s) + ${seconds}))\nn=0\n` +
        `while [ "$(date +%s)" -lt "$end" ]; do yes | head -c ${BLOCK} >&2; n=$((n + 1)); done\n` +
        "echo blocks=$n >results/blocks\n",
    );
    server.manifest(runOf(owner, program));
    await server.until("runRes 1 ");
    await using client = agent.client();
    await client.algo(
      (async function* () {
        yield { algorithm: program };
      })(),
      { metadata: owner.sign(ROLES.algorithm) },
    );
    await server.until("event Running/InProgress");
  };
  const DONE = /^event (ConsumingResults\/Ready|Failed\/Failed)/;
  // What an agent needs for its first computation is no growth.
  await print(1);
  await server.until(DONE);
  server.stop();
  await server.until("stopRes 1 ");
  const before = await memoryOf(agent.pid);
  await print(runs);
  const started = performance.now();
  const first = management.all.length;
  let over = false;
  const perSecond: number[] = [];
  let peak = before;
  const watching = (async () => {
    while (!over) {
      const count = management.all.length;
      const at = performance.now();
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      peak = Math.max(peak, await memoryOf(agent.pid));
      perSecond.push((management.all.length - count) / (performance.now() - at) * 1_000);
    }
  })();
  const end = await server.until(DONE);
  const seconds = (performance.now() - started) / 1_000;
  const events = management.all.length - first;
  over = true;
  await watching;
  let text = "";
  if (end === "event Failed/Failed") failures.push("the run failed");
  else {
    await using client = agent.client();
    const { messages } = client.result({}, { metadata: owner.sign(ROLES.consumer) });
    for await (const { file } of messages) text += new TextDecoder("latin1").decode(file);
  }
  const rate = Number(/blocks=(\d+)/.exec(text)?.[1] ?? 0) * BLOCK / 1e6 / seconds;
  if (peak - before > MAX_GROWTH_MIB) failures.push(`memory grew by ${peak - before} MiB`);
  // The events of the run's begin and end are among them.
  if (events / seconds > MAX_EVENTS_PER_SECOND + 5 / seconds) {
    failures.push(`${events} events in ${seconds} s`);
  }
  await agent.end("SIGTERM");
  await runner[Symbol.asyncDispose]();
  await Deno.remove(folder, { recursive: true });
  return {
    runs,
    failures,
    figures: {
      "MB/s printed": rate,
      "RSS growth MiB": peak - before,
      "events/s": events / seconds,
    },
  };
}
