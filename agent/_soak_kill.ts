// Soak: kill -9 of the real agent process at every point of a computation, with the real runner, after
// random delays. The next life has to be in a defined state, to finish what was begun or to have
// nothing of it, and to do another computation (threats C-1).
import { ROLES } from "../proto/mod.ts";
import { type Connection, FakeManagement, freePort, textOf } from "./_fakes.ts";
import { bytes, type Party, party, type Run, runOf } from "./_parties.ts";
import { AgentProcess } from "./_process.ts";
import { RealRunner } from "./_real_runner.ts";
import { type Outcome, randomOf, within } from "./_soak.ts";

/** Longest time one kill and all that follows may take; a busy machine is slow. */
const LIMIT_MS = 120_000;
/** Longest random delay between a point and the kill. */
const DELAY_MS = 40;
/** What the program leaves: enough that packing takes a moment. */
const RESULT_BYTES = 12_000_000;

const DATASETS = [bytes("a".repeat(200_000)), bytes("b".repeat(3_000_000))] as const;
const PROGRAM = bytes(
  "#!/bin/sh\ncat datasets/* | wc -c >results/bytes\n" +
    `head -c ${RESULT_BYTES} /dev/zero >results/zeros\nsleep 0.15\n`,
);
const FAILING = bytes("#!/bin/sh\nexit 3\n");
const NEXT = bytes("#!/bin/sh\necho next >results/next\n");
const CHUNK = 64 * 1024;

/** Points of a computation at which the agent is killed, in the order of threats C-1. */
export const POINTS = [
  "Idle",
  "ReceivingManifest",
  "ReceivingAlgorithm",
  "ReceivingData at 0 %",
  "ReceivingData at 50 %",
  "ReceivingData at 100 %",
  "Running",
  "packing",
  "ConsumingResults at 0 %",
  "ConsumingResults at 50 %",
  "Complete",
  "Failed",
  "stopping",
] as const;

/** One of them. */
export type Point = (typeof POINTS)[number];

/** Kills the agent `runs` times, point after point. */
export async function kills(runs: number, seed: number): Promise<Outcome> {
  const random = randomOf(seed);
  const failures: string[] = [];
  const figures: Record<string, number> = {};
  let house: House | undefined;
  try {
    for (let i = 0; i < runs; i++) {
      const point = POINTS[(seed + i) % POINTS.length] as Point;
      house ??= await House.open();
      try {
        await within(LIMIT_MS, `killed in ${point}`, house.kill(point, random));
        figures[point] = (figures[point] ?? 0) + 1;
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        failures.push(`${point}: ${why}\n${house.agent?.lines.slice(-15).join("\n")}`);
        await house[Symbol.asyncDispose]();
        house = undefined;
      }
    }
  } finally {
    await house?.[Symbol.asyncDispose]();
  }
  return { runs, failures, figures };
}

/** Agents one after another, with their neighbours. */
class House implements AsyncDisposable {
  agent: AgentProcess | undefined;
  #server!: Connection;
  #life = 0;
  readonly #port = freePort();

  private constructor(
    readonly folder: string,
    readonly management: FakeManagement,
    readonly runner: RealRunner,
    readonly owner: Party,
  ) {}

  static async open(): Promise<House> {
    const folder = await Deno.makeTempDir();
    const management = await FakeManagement.start();
    return new House(folder, management, await RealRunner.start(folder), await party());
  }

  /** One kill and what follows; throws what is wrong. */
  async kill(point: Point, random: (n: number) => number): Promise<void> {
    this.#life++;
    if (point === "Idle") {
      await this.agent?.end("SIGKILL");
      this.#spawn();
      await delay(random(1_000));
    } else {
      if (this.agent === undefined) await this.#start();
      await this.#reach(point);
      await delay(random(DELAY_MS));
    }
    await this.agent?.end("SIGKILL");
    const before = this.management.all.length;
    const state = await this.#start();
    this.#check(point, state, before);
    await this.#finish(state, point);
    await this.#stop();
    await this.#next();
    await this.#stop();
    const left = this.#files().filter((name) => name !== "journal.json");
    if (left.length > 0) throw new Error(`left after the next computation: ${left}`);
    const alive = await processesOf(`${this.folder}/work`);
    if (alive.length > 0) throw new Error(`processes of a run live on: ${alive}`);
  }

  #spawn(): void {
    this.agent = new AgentProcess({
      work: this.runner.work,
      runner: this.runner.socket,
      server: this.management.port,
      port: this.#port,
    });
  }

  /** Starts the next life; gives its state. */
  async #start(): Promise<string> {
    this.#spawn();
    // Streams of an agent that was killed as it dialled may still be there; they answer nothing.
    while (true) {
      this.#server = await (this.agent as AgentProcess).connected(this.management);
      this.#server.mayFail = true;
      const over = this.#server.over.then(() => "");
      await Promise.race([this.#server.until("event Idle/IdleState"), over]);
      this.#server.askState();
      const answer = await Promise.race([this.#server.until("stateRes"), over]);
      if (answer !== "") return answer.split(" ")[2] as string;
    }
  }

  #run(program = PROGRAM): Run {
    return runOf(this.owner, program, DATASETS.map((data) => ({ data })));
  }

  #algo(program = PROGRAM, until = 1) {
    return this.#with((client) =>
      client.algo(pieces(program, until, (algorithm) => ({ algorithm })), {
        metadata: { ...this.owner.sign(ROLES.algorithm), algo_args: [`life-${this.#life}`] },
      })
    );
  }

  #data(index: 0 | 1, until = 1) {
    return this.#with((client) =>
      client.data(pieces(DATASETS[index], until, (dataset) => ({ dataset })), {
        metadata: this.owner.sign(ROLES.data),
      })
    );
  }

  async #with<T>(call: (client: ReturnType<AgentProcess["client"]>) => Promise<T>): Promise<T> {
    await using client = (this.agent as AgentProcess).client();
    return await call(client);
  }

  /** Brings a new computation to a point. */
  async #reach(point: Point): Promise<void> {
    const server = this.#server;
    const program = point === "Failed" ? FAILING : PROGRAM;
    const unfinished = (call: Promise<unknown>) => call.catch(() => {});
    if (point === "ReceivingManifest") return server.manifest(this.#run());
    server.manifest(this.#run(program));
    await server.until("runRes 1 ");
    if (point === "ReceivingAlgorithm") return void unfinished(this.#algo(program, 0.5));
    if (point === "stopping" && this.#life % 2 === 0) return server.stop();
    await this.#algo(program);
    if (point === "ReceivingData at 0 %") return;
    await this.#data(0);
    if (point === "ReceivingData at 50 %") return void unfinished(this.#data(1, 0.5));
    if (point === "ReceivingData at 100 %") return void unfinished(this.#data(1));
    await this.#data(1);
    await server.until("event Running/InProgress");
    if (point === "Running") return delay(this.#life % 150);
    if (point === "stopping") {
      await delay(this.#life % 150);
      return server.stop();
    }
    if (point === "Failed") return void await server.until("event Failed/Failed");
    if (point === "packing") return delay(280);
    await server.until("event ConsumingResults/Ready");
    if (point === "ConsumingResults at 0 %") return;
    if (point === "ConsumingResults at 50 %") return void unfinished(this.#fetch(0.5));
    await this.#fetch();
    await server.until("event Complete/Completed");
  }

  /** Takes the results, or part of them; gives them. */
  async #fetch(until = 1): Promise<Uint8Array> {
    return await this.#with(async (client) => {
      const { headers, messages } = client.result({}, {
        metadata: this.owner.sign(ROLES.consumer),
      });
      const parts: Uint8Array[] = [];
      let size = 0;
      for await (const { file } of messages) {
        parts.push(file);
        size += file.length;
        // Holds the stream open where it is until the agent is gone.
        if (until < 1 && size > RESULT_BYTES * until) await this.agent?.exit();
      }
      const [whole] = (await headers).get("file-size");
      if (String(size) !== whole) throw new Error(`${size} bytes of ${whole} came`);
      const all = new Uint8Array(size);
      for (let at = 0; parts.length > 0;) {
        const part = parts.shift() as Uint8Array;
        all.set(part, at);
        at += part.length;
      }
      return all;
    });
  }

  /** What must hold before anybody speaks to the new life. */
  #check(point: Point, state: string, before: number): void {
    const fresh = this.management.all.slice(before);
    const boot = fresh.find((message) => textOf(message) === "event Idle/IdleState")?.bootId;
    const said = fresh.filter(({ bootId, message }) =>
      boot !== undefined && bootId.toHex() === boot.toHex() && message.case === "agentEvent" &&
      message.value.eventType === "interrupted"
    ).map(textOf);
    const going = said[0] === "event interrupted/InProgress";
    const none = point === "Idle" || point === "ReceivingManifest" || point === "stopping";
    if (said.length > 1 || (said.length === 0 && !none)) {
      throw new Error(`events that say so: ${said.length === 0 ? "none" : said}`);
    }
    if (going === (state === "ReceivingManifest")) {
      throw new Error(`state ${state} after ${said[0] ?? "no event"}`);
    }
    if (!ALLOWED[point].includes(state)) throw new Error(`state ${state}`);
    const whole = /^(journal\.json|job\/(algo|datasets\/dataset-[01]))$/;
    const run = /^job\/results(\.zip|\/(bytes|zeros))$/;
    const half = this.#files().filter((name) =>
      !whole.test(name) &&
      !(run.test(name) && (state === "Running" || state === "ConsumingResults"))
    );
    if (half.length > 0) throw new Error(`half-made: ${half}`);
  }

  /** Goes on from where the new life stands. */
  async #finish(state: string, point: Point): Promise<void> {
    const server = this.#server;
    const has = (name: string) => this.#files().includes(`job/${name}`);
    const program = point === "Failed" ? FAILING : PROGRAM;
    if (state === "Complete" || state === "Failed") return;
    if (state === "ReceivingManifest") {
      server.manifest(this.#run(program));
      await server.until("runRes 1 ");
    }
    if (state === "ReceivingManifest" || state === "ReceivingAlgorithm") await this.#algo(program);
    for (const index of [0, 1] as const) {
      const open = state.startsWith("Receiving");
      if (open && !has(`datasets/dataset-${index}`)) await this.#data(index);
    }
    await this.management.came("event ConsumingResults/Ready", server);
    const text = new TextDecoder("latin1").decode(await this.#fetch());
    const total = DATASETS[0].length + DATASETS[1].length;
    if (!text.includes(`${total}\n`)) throw new Error("the results are not those of the inputs");
    await server.until("event Complete/Completed");
  }

  /** Another computation, from manifest to results. */
  async #next(): Promise<void> {
    this.#server.manifest(runOf(this.owner, NEXT));
    await this.#server.until("runRes 1 ");
    await this.#algo(NEXT);
    await this.#server.until("event ConsumingResults/Ready");
    const text = new TextDecoder("latin1").decode(await this.#fetch());
    if (!text.includes("next\n")) throw new Error("the next results are not the program's");
    await this.#server.until("event Complete/Completed");
  }

  async #stop(): Promise<void> {
    this.#server.stop();
    await this.#server.until("stopRes 1 ");
    const left = this.#files().filter((name) => name !== "journal.json");
    if (left.length > 0) throw new Error(`left after a stop: ${left}`);
  }

  /** Files of the work area, the job's own name replaced. */
  #files(): string[] {
    const found: string[] = [];
    const visit = (path: string) => {
      for (const { name, isDirectory } of Deno.readDirSync(`${this.runner.work}/${path}`)) {
        if (isDirectory) visit(`${path}${name}/`);
        else found.push(`${path}${name}`.replace(/job-[0-9a-f]{16}/, "job"));
      }
    };
    visit("");
    return found.filter((name) => !/^unsent\.json(\.new)?$/.test(name)).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent?.end("SIGKILL");
    await this.management[Symbol.asyncDispose]();
    await this.runner[Symbol.asyncDispose]();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** States the next life may be in; a random delay may have let the computation go on. */
const ALLOWED: Record<Point, readonly string[]> = {
  "Idle": ["ReceivingManifest"],
  "ReceivingManifest": ["ReceivingManifest", "ReceivingAlgorithm"],
  "ReceivingAlgorithm": ["ReceivingAlgorithm"],
  "ReceivingData at 0 %": ["ReceivingData"],
  "ReceivingData at 50 %": ["ReceivingData"],
  "ReceivingData at 100 %": ["ReceivingData", "Running"],
  "Running": ["Running", "ConsumingResults"],
  "packing": ["Running", "ConsumingResults"],
  "ConsumingResults at 0 %": ["ConsumingResults"],
  "ConsumingResults at 50 %": ["ConsumingResults"],
  "Complete": ["Complete"],
  "Failed": ["Failed"],
  "stopping": ["ReceivingAlgorithm", "Running", "ConsumingResults", "ReceivingManifest"],
};

const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Messages of the first part of an upload; a part that is not all waits for ever. */
async function* pieces<T>(
  data: Uint8Array,
  until: number,
  make: (chunk: Uint8Array<ArrayBuffer>) => T,
): AsyncGenerator<T> {
  const end = data.length * until;
  for (let at = 0; at < end; at += CHUNK) {
    yield make(new Uint8Array(data.subarray(at, Math.min(at + CHUNK, end))));
  }
  if (until < 1) await new Promise(() => {});
}

/** Processes of the sandbox that work in a folder. */
async function processesOf(folder: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("ps", { args: ["-e", "-ww", "-o", "pid=,args="] })
    .output();
  return new TextDecoder().decode(stdout).split("\n")
    .filter((line) => /\bbwrap\b/.test(line) && line.includes(`${folder}/job-`));
}
