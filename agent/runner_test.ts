import assert from "node:assert/strict";
import { type Behaviour, FakeRunner, finished, USAGE } from "./_fakes.ts";
import { encodeLine } from "../proto/mod.ts";
import { failureOf, pause, Runner } from "./runner.ts";

const job = {
  job: "job-0123456789abcdef",
  kind: "bin",
  pythonRuntime: "",
  args: ["a"],
  limits: {},
  hasRequirements: false,
} as const;
const live = new AbortController().signal;
const quick = { connectMs: 50, retryMs: 1, stopMs: 50 };

async function withRunner(
  behaviour: Behaviour,
  use: (runner: Runner, fake: FakeRunner) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  const socket = `${dir}/s`;
  {
    await using fake = new FakeRunner(socket, dir, behaviour);
    await use(new Runner(socket, quick), fake);
  }
  await Deno.remove(dir, { recursive: true });
}

Deno.test("Runner hands what was printed to its watcher, and how much was dropped", async () => {
  const seen: unknown[] = [];
  const data = new TextEncoder().encode("canary-4711");
  await withRunner(async ({ emit }) => {
    await emit({ type: "output", phase: "run", stream: "stdout", data });
    await emit({ type: "output", phase: "run", stream: "stderr", data });
    await emit({ type: "dropped", bytes: 5 });
    return finished("ok");
  }, async (runner) => {
    const end = await runner.run(job, {
      output: (...all) => seen.push(all),
      dropped: (...all) => seen.push(all),
    }, live);
    assert.equal(end.outcome, "ok");
  });
  assert.deepEqual(seen, [["stdout", data], ["stderr", data], [5]]);
});

Deno.test("S-9 Runner.run() stops a job when told to, and cuts a runner that does not end", async () => {
  await withRunner(async ({ stopped }) => {
    await stopped;
    return finished("stopped");
  }, async (runner, fake) => {
    const stop = new AbortController();
    const run = runner.run(job, {}, stop.signal);
    await fake.begun(1);
    stop.abort();
    assert.equal((await run).outcome, "stopped");
  });
  const never = Promise.withResolvers<undefined>();
  await withRunner(() => never.promise, async (runner, fake) => {
    const stop = new AbortController();
    const run = runner.run(job, {}, stop.signal);
    await fake.begun(1);
    stop.abort();
    await assert.rejects(run, { code: "unavailable" });
    never.resolve(undefined);
  });
});

Deno.test("Runner.run() says `unavailable` when nobody listens or the runner dies in a job", async () => {
  const dir = await Deno.makeTempDir();
  await assert.rejects(new Runner(`${dir}/none`, quick).run(job, {}, live), {
    code: "unavailable",
    message: "Cannot reach the runner",
  });
  await Deno.remove(dir);
  await withRunner(() => Promise.resolve(undefined), async (runner) => {
    await assert.rejects(runner.run(job, {}, live), { message: "The runner ended during the run" });
  });
});

Deno.test("Runner.run() asks again while the runner still ends an older run of the job", async () => {
  let asked = 0;
  await withRunner(
    ({ request }) =>
      Promise.resolve(
        ++asked < 3
          ? finished("refused", { message: `The job ${request.job} runs already` })
          : finished("ok"),
      ),
    async (runner) => {
      assert.equal((await runner.run(job, {}, live)).outcome, "ok");
    },
  );
  assert.equal(asked, 3);
});

Deno.test("R2 Runner.run() refuses lines that break the protocol, and survives them", async () => {
  const lines = [
    "not json\n",
    "{}\n",
    `{"type":"finished","outcome":"great"}\n`,
    `{"type":"output","phase":"run","stream":"stdout","data":"***"}\n`,
    "x".repeat(200_000),
    new TextDecoder().decode(
      encodeLine({ type: "finished", outcome: "ok", usage: USAGE, message: "" }),
    ).slice(0, 20),
  ];
  for (const line of lines) {
    const dir = await Deno.makeTempDir();
    const listener = Deno.listen({ transport: "unix", path: `${dir}/s` });
    const served = (async () => {
      using connection = await listener.accept();
      let rest = new TextEncoder().encode(line);
      try {
        while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
      } catch {
        // The agent hung up in the middle of a line that is too long.
      }
    })();
    await assert.rejects(new Runner(`${dir}/s`, quick).run(job, {}, live), { name: "CocosError" });
    await served;
    listener.close();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("S-6 failureOf() gives the consumer the reason and the server only its kind", () => {
  const texts = [
    finished("exit", { code: 3 }),
    finished("exit", { code: 77 }),
    finished("exit", { code: 134, message: "trap: access out of bounds" }),
    finished("signal", { signal: 11 }),
    finished("signal", { signal: 40 }),
    finished("timeout"),
    finished("oom"),
    finished("limit"),
  ].map((event) => failureOf(event));
  assert.deepEqual(texts.map((each) => each?.text), [
    "algorithm execution error: exit status 3",
    "algorithm execution error: exit status 77",
    "algorithm execution error: trap: access out of bounds",
    "algorithm execution error: signal: segmentation fault",
    "algorithm execution error: signal: signal 40",
    "algorithm execution error: time limit exceeded",
    "algorithm execution error: out of memory",
    "algorithm execution error: results limit exceeded",
  ]);
  assert.deepEqual([...new Set(texts.map((each) => each?.kind))], ["algorithm execution error"]);
  assert.equal(failureOf(finished("ok")), undefined);
});

Deno.test("pause() ends early when its signal fires, also before it", async () => {
  const stop = new AbortController();
  const waiting = pause(1_000_000, stop.signal);
  stop.abort();
  await waiting;
  await pause(1_000_000, stop.signal);
});
