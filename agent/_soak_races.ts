// Soaks: everybody at once. Uploads of one item race each other, the stop, the end of the run and the
// fetching of results, in orders that a seed decides: exactly one wins, nobody else changes anything,
// and what is left is nothing (threats G-5, G-9, M-1, M-10).
import { digestFile, hex } from "../base/mod.ts";
import { type AgentService, ROLES, type RpcClient } from "../proto/mod.ts";
import { finished, textOf } from "./_fakes.ts";
import { bytes, digest, type Party, party, runOf } from "./_parties.ts";
import { Scene } from "./_scene.ts";
import { type Outcome, randomOf, within } from "./_soak.ts";
import { TABLE } from "./states.ts";

const LIMIT_MS = 60_000;
const ALGORITHM = bytes("#!/bin/sh\n".repeat(600));
const DATASETS = [bytes("a".repeat(5_000)), bytes("b".repeat(3_000))];

type Client = RpcClient<typeof AgentService>;
type Random = (n: number) => number;

/** Lets the streams of one run go on piece by piece in an order that chance decides. */
class Turns {
  readonly #waiting: (() => void)[] = [];
  #open = false;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Resolves when it is this one's turn. */
  turn(): Promise<void> {
    if (this.#open) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    return promise;
  }

  /** Gives `count` turns; between any two, everything that can go on does. */
  async give(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const [next] = this.#waiting.splice(this.#random(this.#waiting.length || 1), 1);
      next?.();
      await new Promise<void>((resolve) => setTimeout(resolve, 0));
    }
  }

  /** No one waits from now on. */
  open(): void {
    this.#open = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Messages of an upload, each in its turn. */
  async *pieces<T>(
    data: Uint8Array,
    make: (chunk: Uint8Array<ArrayBuffer>) => T,
  ): AsyncGenerator<T> {
    for (let at = 0; at < data.length; at += 1_000) {
      await this.turn();
      yield make(new Uint8Array(data.subarray(at, at + 1_000)));
    }
    await this.turn();
  }
}

/** `runs` computations in which everybody acts at once. */
export async function races(runs: number, seed: number): Promise<Outcome> {
  const failures: string[] = [];
  const figures = { stopped: 0, completed: 0, "uploads refused": 0 };
  const parties = await Promise.all([party(), party(), party(), party()]);
  await using scene = await Scene.start({
    behaviour: async ({ dir, stopped }) => {
      const right = await Promise.all([
        digestFile(`${dir}/algo`),
        ...DATASETS.map((_, i) => digestFile(`${dir}/datasets/dataset-${i}`)),
      ]);
      const wanted = [ALGORITHM, ...DATASETS].map((data) => hex(digest(data)));
      const same = right.map(hex).join() === wanted.join();
      Deno.writeTextFileSync(`${dir}/results/out`, same ? "right" : "wrong");
      await Promise.race([stopped, new Promise<void>((resolve) => setTimeout(resolve, 0))]);
      return finished("ok");
    },
  });
  scene.server.mayFail = true;
  for (let i = 0; i < runs; i++) {
    const random = randomOf(seed + i);
    try {
      const end = await within(LIMIT_MS, "a race", race(scene, parties, random));
      figures[end.stopped ? "stopped" : "completed"]++;
      figures["uploads refused"] += end.refused;
    } catch (error) {
      failures.push(`seed ${seed + i}: ${error instanceof Error ? error.message : error}`);
      break;
    }
  }
  return { runs, failures, figures };
}

async function race(
  scene: Scene,
  parties: readonly Party[],
  random: Random,
): Promise<{ stopped: boolean; refused: number }> {
  const [a, b, c, d] = parties as [Party, Party, Party, Party];
  const { server } = scene;
  const before = scene.management.all.length;
  const run = runOf(a, ALGORITHM, DATASETS.map((data, i) => ({ data, owner: i === 0 ? a : b })), {
    resultConsumers: [{ userKey: c.spki }, { userKey: d.spki }],
  });
  // Two manifests at the same instant: the first is taken.
  server.manifest(run);
  server.manifest({ ...run, id: "2" });
  await server.until("runRes 1 ");
  await server.until("log WARN agent not expecting this operation in the current state");
  let turns = new Turns(random);
  const clients = Array.from({ length: 3 }, () => scene.agent.client());
  const client = () => clients[random(clients.length)] as Client;
  const stops = random(2) === 0;
  const winners = { algo: 0, data: [0, 0], result: [0, 0] };
  let refused = 0;
  let over = false;
  const upload = async (call: () => Promise<unknown>, won: () => void) => {
    try {
      await call();
      won();
      if (over) throw new Error("an upload was taken after the stop");
    } catch (error) {
      if (error instanceof Error && /after the stop/.test(error.message)) throw error;
      refused++;
    }
  };
  const algo = () =>
    upload(
      () =>
        client().algo(turns.pieces(ALGORITHM, (algorithm) => ({ algorithm })), {
          metadata: a.sign(ROLES.algorithm),
        }),
      () => winners.algo++,
    );
  const data = (index: 0 | 1) =>
    upload(
      () =>
        client().data(turns.pieces(DATASETS[index] as Uint8Array, (dataset) => ({ dataset })), {
          metadata: (index === 0 ? a : b).sign(ROLES.data),
        }),
      () => winners.data[index] = (winners.data[index] ?? 0) + 1,
    );
  const result = async (index: 0 | 1) => {
    try {
      const metadata = (index === 0 ? c : d).sign(ROLES.consumer);
      const { messages } = client().result({}, { metadata });
      let text = "";
      for await (const { file } of messages) text += new TextDecoder("latin1").decode(file);
      if (!text.includes("right")) throw new Error("the run saw other files");
      winners.result[index] = (winners.result[index] ?? 0) + 1;
    } catch (error) {
      if (error instanceof Error && /other files/.test(error.message)) throw error;
    }
  };
  const stop = async () => {
    server.stop();
    await server.until("stopRes 1 ");
    over = true;
  };
  let stopping: Promise<void> | undefined;
  const maybeStop = () => {
    if (stops && random(3) === 0) stopping ??= stop();
  };
  /** Everybody at once, with a stop in between when chance wants it. */
  const crowd = async (calls: readonly (() => Promise<void>)[]) => {
    turns = new Turns(random);
    const all = Promise.all(calls.map((call) => call()));
    all.catch(() => {});
    await turns.give(random(30));
    maybeStop();
    await turns.give(20);
    turns.open();
    await all;
  };
  try {
    await crowd([algo, algo, () => data(0), () => result(0)]);
    await crowd([
      () => data(0),
      () => data(0),
      () => data(1),
      () => data(1),
      algo,
      () => result(1),
    ]);
    if (stopping === undefined) {
      await server.until("event ConsumingResults/Ready");
      maybeStop();
      await Promise.all([result(0), result(0), result(1)]);
      if (stopping === undefined) {
        if (winners.algo !== 1 || winners.data.some((count) => count !== 1)) {
          throw new Error(`winners: ${JSON.stringify(winners)}`);
        }
        // The second fetch of one consumer may come after the last one had everything.
        if (winners.result.some((count) => count < 1)) throw new Error("a consumer had nothing");
        await server.until("event Complete/Completed");
        await stop();
      }
    }
    await stopping;
  } finally {
    for (const each of clients) await each[Symbol.asyncDispose]();
  }
  if (winners.algo > 1 || winners.data.some((count) => count > 1)) {
    throw new Error(`winners: ${JSON.stringify(winners)}`);
  }
  const files = scene.files();
  if (files.join() !== "/journal.json") throw new Error(`left: ${files}`);
  server.askState();
  const state = await server.until("stateRes");
  if (state !== "stateRes 7 ReceivingManifest") throw new Error(state);
  checkOrder(scene.management.all.slice(before).map(textOf));
  return { stopped: stops && stopping !== undefined, refused };
}

/** The states that were told are a way through the table. */
function checkOrder(said: readonly string[]): void {
  const states = said.map((text) =>
    /^event (ReceivingAlgorithm|ReceivingData|ConsumingResults|Complete|Failed)\/|^event (Running)\/Starting/
      .exec(text)
  ).filter((match) => match !== null).map((match) => match[1] ?? match[2]);
  for (let i = 1; i < states.length; i++) {
    const legal = TABLE.some(({ from, to }) => from === states[i - 1] && to === states[i]);
    if (!legal) throw new Error(`${states[i]} was told after ${states[i - 1]}`);
  }
}

/** `runs` stops and restarts, at every stage, with and without a broken connection (M-10). */
export async function cycles(runs: number, seed: number): Promise<Outcome> {
  const random = randomOf(seed);
  const failures: string[] = [];
  let completed = 0;
  const owner = await party();
  await using scene = await Scene.start({
    behaviour: async ({ stopped, request }) => {
      if (request.args.includes("wait")) await stopped;
      return finished("ok");
    },
  });
  const one = async () => {
    const stage = random(5);
    scene.server.manifest(runOf(owner, ALGORITHM));
    await scene.server.until("runRes 1 ");
    if (random(4) === 0) {
      scene.server.end();
      await scene.reconnected();
    }
    if (stage > 0) {
      await using client = scene.agent.client();
      await client.algo(
        (async function* () {
          yield { algorithm: ALGORITHM };
        })(),
        {
          metadata: {
            ...owner.sign(ROLES.algorithm),
            ...(stage === 1 ? { algo_args: ["wait"] } : {}),
          },
        },
      );
      if (stage > 2) {
        await scene.server.until("event ConsumingResults/Ready");
        const metadata = owner.sign(ROLES.consumer);
        for await (const _ of client.result({}, { metadata }).messages);
        await scene.server.until("event Complete/Completed");
        completed++;
      }
    }
    const storm = 1 + random(4);
    for (let i = 0; i < storm; i++) scene.server.stop();
    for (let i = 0; i < storm; i++) await scene.server.until("stopRes 1 ");
    if (random(4) === 0) {
      scene.server.end();
      await scene.reconnected();
    }
    scene.server.askState();
    const state = await scene.server.until("stateRes");
    if (state !== "stateRes 7 ReceivingManifest") throw new Error(state);
    if (scene.files().join() !== "/journal.json") throw new Error(`left: ${scene.files()}`);
  };
  for (let i = 0; i < runs; i++) {
    try {
      await within(LIMIT_MS, "a cycle", one());
    } catch (error) {
      failures.push(`cycle ${i}: ${error instanceof Error ? error.message : error}`);
      break;
    }
  }
  return { runs, failures, figures: { completed } };
}
