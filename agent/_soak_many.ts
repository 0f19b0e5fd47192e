// Soak: one computation after another in one agent process. What it holds must not grow (threats C-6).
import { ROLES } from "../proto/mod.ts";
import { FakeManagement, FakeRunner, finished, freePort } from "./_fakes.ts";
import { handlesOf, memoryOf } from "./_measure.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { AgentProcess } from "./_process.ts";
import { type Outcome, within } from "./_soak.ts";

const LIMIT_MS = 120_000;
const ALGORITHM = bytes("#!/bin/sh\n".repeat(1_000));
const DATASET = new Uint8Array(1 << 20).fill(7);

/** Runs from which memory is judged: V8's own growth is over by then. */
const SETTLED = 200;
/** Most growth of the resident memory from there to the end. */
const MAX_SLOPE = 0.05;
/** Computations between two looks at the memory. */
const SAMPLE = 10;

/** `runs` computations, from manifest to purge. */
export async function computations(runs: number, _seed: number): Promise<Outcome> {
  const failures: string[] = [];
  const figures: Record<string, number> = {};
  const folder = await Deno.makeTempDir();
  Deno.mkdirSync(`${folder}/work`, { mode: 0o700 });
  await using management = await FakeManagement.start();
  await using runner = new FakeRunner(`${folder}/r`, `${folder}/work`, async ({ dir }) => {
    await Deno.writeFile(`${dir}/results/out`, DATASET);
    return finished("ok");
  });
  await using agent = new AgentProcess({
    work: `${folder}/work`,
    runner: runner.socket,
    server: management.port,
    port: freePort(),
    // What is printed would be kept by this process.
    env: { AGENT_LOG_LEVEL: "error" },
  });
  const owner = await party();
  const server = await agent.connected(management);
  const one = async () => {
    server.manifest(runOf(owner, ALGORITHM, [{ data: DATASET }]));
    await server.until("runRes 1 ");
    await using client = agent.client();
    const each = async function* <T>(message: T) {
      yield message;
    };
    await client.algo(each({ algorithm: ALGORITHM }), { metadata: owner.sign(ROLES.algorithm) });
    await client.data(each({ dataset: DATASET }), { metadata: owner.sign(ROLES.data) });
    await server.until("event ConsumingResults/Ready");
    let size = 0;
    const { messages } = client.result({}, { metadata: owner.sign(ROLES.consumer) });
    for await (const { file } of messages) size += file.length;
    if (size <= DATASET.length) throw new Error(`${size} bytes of results`);
    await server.until("event Complete/Completed");
    server.stop();
    await server.until("stopRes 1 ");
  };
  const memory: number[] = [];
  try {
    await within(LIMIT_MS, "a computation", one());
    const before = await handlesOf(agent.pid);
    for (let i = 0; i < runs; i++) {
      await within(LIMIT_MS, `computation ${i}`, one());
      if (i % SAMPLE === SAMPLE - 1) memory.push(await memoryOf(agent.pid));
    }
    const after = await handlesOf(agent.pid);
    const left = [...Deno.readDirSync(`${folder}/work`)].map(({ name }) => name)
      .filter((name) => !/^unsent/.test(name));
    figures["descriptors before"] = before.files;
    figures["descriptors after"] = after.files;
    if (after.files > before.files) failures.push(`descriptors: ${before.files}, ${after.files}`);
    if (after.threads > before.threads + 4) {
      failures.push(`threads: ${before.threads}, ${after.threads}`);
    }
    if (left.join() !== "journal.json") failures.push(`files: ${left}`);
    const settled = memory.slice(SETTLED / SAMPLE);
    if (settled.length > 1) {
      const growth = slope(settled) * (settled.length - 1) / mean(settled);
      figures["RSS MiB at the end"] = mean(settled.slice(-5));
      figures["RSS growth % from 200 to the end"] = growth * 100;
      if (growth > MAX_SLOPE) failures.push(`memory grew by ${(growth * 100).toFixed(1)} %`);
    }
  } catch (error) {
    failures.push(error instanceof Error ? error.message : String(error));
  }
  await agent.end("SIGKILL");
  await Deno.remove(folder, { recursive: true });
  return { runs, failures, figures };
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Least-squares slope of values at 0, 1, 2, … */
function slope(values: readonly number[]): number {
  const [x, y] = [(values.length - 1) / 2, mean(values)];
  let [up, down] = [0, 0];
  for (const [i, value] of values.entries()) {
    up += (i - x) * (value - y);
    down += (i - x) ** 2;
  }
  return up / down;
}
