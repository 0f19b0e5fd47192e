// Soak: a model of the whole agent against the agent itself. Random lists of everything that parties,
// server and runner can do are done to both; after each step the agent has to be where the table says
// (threats C-7, M-1, M-10, R6).
import fc from "fast-check";
import { ROLES } from "../proto/mod.ts";
import { type FakeRun, finished, uploadOf } from "./_fakes.ts";
import { bytes, type Party, party, runOf } from "./_parties.ts";
import { Scene } from "./_scene.ts";
import type { Outcome } from "./_soak.ts";
import { type Event, next, type State } from "./states.ts";

const ALGORITHM = bytes("#!/bin/sh\n".repeat(200));
const DATASETS = [bytes("a".repeat(2_500)), bytes("b".repeat(1_500))];
const WRONG = bytes("wrong");

/** What can happen, by name; numbers choose the item or the party. */
const STEPS = [
  "manifest",
  "bad manifest",
  "algorithm",
  "wrong algorithm",
  "dataset 0",
  "dataset 1",
  "wrong dataset",
  "broken dataset",
  "run ends",
  "run fails",
  "runner dies",
  "result 0",
  "result 1",
  "broken result",
  "stop",
  "disconnect",
] as const;
type Step = (typeof STEPS)[number];

/** Lists of steps; `onward` is whatever leads on from where the agent is, so that all states come. */
const plan: fc.Arbitrary<(Step | "onward")[]> = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: fc.constantFrom<Step>(...STEPS) },
    { weight: 3, arbitrary: fc.constant<"onward">("onward") },
  ),
  { minLength: 10, maxLength: 40 },
);

/** Does `runs` lists of steps. */
export async function models(runs: number, seed: number): Promise<Outcome> {
  const counts = new Map<string, number>();
  await using world = await World.start(counts);
  const result = await fc.check(
    fc.asyncProperty(plan, async (steps) => {
      for (const step of steps) await world.step(step);
      await world.step("stop");
    }),
    // A list that failed leaves the agent where it is; shrinking would start from there.
    { numRuns: runs, seed, endOnFailure: true },
  );
  const why = result.errorInstance instanceof Error ? result.errorInstance.message : "";
  return {
    runs: result.numRuns,
    failures: result.failed ? [`${JSON.stringify(result.counterexample)}: ${why}`] : [],
    figures: {
      steps: [...counts.values()].reduce((a, b) => a + b, 0),
      ...Object.fromEntries(counts),
    },
  };
}

/** The agent and its model. */
class World implements AsyncDisposable {
  #state: State = "ReceivingManifest";
  #datasets = new Set<number>();
  #consumers = new Set<number>();
  #runs = 0;
  #job: PromiseWithResolvers<FakeRun> = Promise.withResolvers();
  #ends: ((ok: "ok" | "exit" | undefined) => void) | undefined;

  private constructor(
    readonly scene: Scene,
    readonly parties: readonly Party[],
    readonly counts: Map<string, number>,
  ) {}

  static async start(counts: Map<string, number>): Promise<World> {
    const parties = await Promise.all([party(), party(), party(), party()]);
    // The runner is there before the world it tells.
    const made: { world?: World } = {};
    const scene = await Scene.start({
      behaviour: async (run) => {
        const { promise, resolve } = Promise.withResolvers<"ok" | "exit" | undefined>();
        Deno.writeTextFileSync(`${run.dir}/results/out`, "out");
        const { world } = made;
        if (world !== undefined) {
          world.#ends = resolve;
          world.#job.resolve(run);
        }
        const end = await Promise.race([promise, run.stopped.then(() => "ok" as const)]);
        return end === undefined ? undefined : finished(end, end === "exit" ? { code: 1 } : {});
      },
    });
    const world = new World(scene, parties, counts);
    made.world = world;
    await scene.server.until("event Idle/IdleState");
    return world;
  }

  /** What leads on in each state. */
  #onward(): Step {
    switch (this.#state) {
      case "ReceivingAlgorithm":
        return "algorithm";
      case "ReceivingData":
        return this.#datasets.has(0) ? "dataset 1" : "dataset 0";
      case "Running":
        return "run ends";
      case "ConsumingResults":
        return this.#consumers.has(0) ? "result 1" : "result 0";
      case "Complete":
      case "Failed":
        return "stop";
      default:
        return "manifest";
    }
  }

  /** Does one thing, then compares. */
  async step(asked: Step | "onward"): Promise<void> {
    const step = asked === "onward" ? this.#onward() : asked;
    this.counts.set(`in ${this.#state}`, (this.counts.get(`in ${this.#state}`) ?? 0) + 1);
    await this.#do(step);
    const { server } = this.scene;
    server.mayFail = true;
    server.askState();
    const state = (await server.until("stateRes")).split(" ")[2];
    if (state !== this.#state) throw new Error(`after ${step}: ${state}, not ${this.#state}`);
    if (state !== "Running") this.#look(step);
  }

  #move(event: Event): void {
    const to = next(this.#state, event, { datasets: true });
    if (to === undefined) throw new Error(`the model has no ${event} in ${this.#state}`);
    this.#state = to;
  }

  async #do(step: Step): Promise<void> {
    const { server } = this.scene;
    server.mayFail = true;
    switch (step) {
      case "manifest":
      case "bad manifest": {
        const [a, b, c, d] = this.parties as [Party, Party, Party, Party];
        const run = runOf(
          a,
          ALGORITHM,
          DATASETS.map((data, i) => ({ data, owner: i === 0 ? a : b })),
        );
        const consumers = step === "manifest" ? [{ userKey: c.spki }, { userKey: d.spki }] : [];
        server.manifest({ ...run, resultConsumers: consumers });
        if (this.#state !== "ReceivingManifest") {
          await server.until("log WARN agent not expecting this operation in the current state");
        } else {
          const answer = await server.until("runRes");
          if ((answer === "runRes 1 ") !== (step === "manifest")) throw new Error(answer);
          if (step === "manifest") {
            this.#datasets.clear();
            this.#consumers.clear();
            this.#runs = 0;
            this.#move("ManifestReceived");
          }
        }
        return;
      }
      case "algorithm":
      case "wrong algorithm": {
        const right = step === "algorithm";
        const taken = await this.#try((client) =>
          client.algo(uploadOf(right ? ALGORITHM : WRONG, (algorithm) => ({ algorithm })), {
            metadata: (this.parties[0] as Party).sign(ROLES.algorithm),
          })
        );
        this.#compare(step, taken, right && this.#state === "ReceivingAlgorithm");
        if (taken) this.#move("AlgorithmReceived");
        return;
      }
      case "dataset 0":
      case "dataset 1":
      case "wrong dataset": {
        const index = step === "dataset 1" ? 1 : 0;
        const data = step === "wrong dataset" ? WRONG : DATASETS[index] as Uint8Array;
        const taken = await this.#data(index, data);
        const wanted = step !== "wrong dataset" && this.#state === "ReceivingData" &&
          !this.#datasets.has(index);
        this.#compare(step, taken, wanted);
        if (!taken) return;
        this.#datasets.add(index);
        if (this.#datasets.size === DATASETS.length) await this.#running();
        return;
      }
      case "broken dataset": {
        const cut = new AbortController();
        await this.#try((client) =>
          client.data(
            (async function* () {
              yield { dataset: new Uint8Array(1_000) };
              cut.abort();
              await new Promise(() => {});
            })(),
            { metadata: (this.parties[0] as Party).sign(ROLES.data), signal: cut.signal },
          )
        );
        return;
      }
      case "run ends":
      case "run fails":
      case "runner dies": {
        if (this.#state !== "Running") return;
        await this.#job.promise;
        this.#job = Promise.withResolvers();
        this.#ends?.(step === "run ends" ? "ok" : step === "run fails" ? "exit" : undefined);
        // A runner that died is asked once more; then the run has failed.
        if (step === "runner dies" && ++this.#runs < 2) return void await this.#job.promise;
        const ok = step === "run ends";
        await server.until(ok ? "event ConsumingResults/Ready" : "event Failed/Failed");
        this.#move(ok ? "RunComplete" : "RunFailed");
        return;
      }
      case "result 0":
      case "result 1": {
        const consumer = step === "result 0" ? 0 : 1;
        const taken = await this.#try(async (client) => {
          const metadata = (this.parties[2 + consumer] as Party).sign(ROLES.consumer);
          for await (const _ of client.result({}, { metadata }).messages);
        });
        this.#compare(step, taken, this.#state === "ConsumingResults");
        if (!taken) return;
        this.#consumers.add(consumer);
        if (this.#consumers.size < 2) return;
        await server.until("event Complete/Completed");
        this.#move("ResultsConsumed");
        return;
      }
      case "broken result": {
        await this.#try(async (client) => {
          const cut = new AbortController();
          cut.abort();
          const metadata = (this.parties[2] as Party).sign(ROLES.consumer);
          for await (const _ of client.result({}, { metadata, signal: cut.signal }).messages);
        });
        return;
      }
      case "stop":
        server.stop();
        await server.until("stopRes 1 ");
        this.#move("Stop");
        this.#move("Start");
        this.#job = Promise.withResolvers();
        return;
      case "disconnect":
        server.end();
        await this.scene.reconnected();
        return;
    }
  }

  /** The last dataset is in: the run begins. */
  async #running(): Promise<void> {
    this.#move("DataReceived");
    await this.#job.promise;
  }

  #data(index: number, data: Uint8Array): Promise<boolean> {
    return this.#try((client) =>
      client.data(uploadOf(data, (dataset) => ({ dataset })), {
        metadata: (this.parties[index] as Party).sign(ROLES.data),
      })
    );
  }

  /** Whether a call succeeds. */
  async #try(
    call: (client: ReturnType<Scene["agent"]["client"]>) => Promise<unknown>,
  ): Promise<boolean> {
    await using client = this.scene.agent.client();
    return await call(client).then(() => true, () => false);
  }

  #compare(step: Step, taken: boolean, wanted: boolean): void {
    if (taken === wanted) return;
    throw new Error(`${step} in ${this.#state}: ${taken ? "taken" : "refused"}`);
  }

  /** The work area holds what the state needs and nothing else. */
  #look(step: Step): void {
    const files = this.scene.files().filter((name) => !/\/incoming-\d+$/.test(name));
    const wanted = ["/journal.json"];
    if (this.#state === "ReceivingData") {
      wanted.push("/job/algo", ...[...this.#datasets].map((i) => `/job/datasets/dataset-${i}`));
    }
    if (this.#state === "ConsumingResults") wanted.push("/job/results.zip");
    if (files.join() !== wanted.sort().join()) throw new Error(`after ${step}: ${files}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ends?.("ok");
    await this.scene[Symbol.asyncDispose]();
  }
}
