import assert from "node:assert/strict";
import { AS_ROOT, runJob, startRunner, type TestRunner } from "../_harness.ts";
import { encodeModule, op } from "./_encode.ts";

let runner: TestRunner | undefined;
Deno.test.beforeAll(async () => {
  runner = await startRunner();
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
});

const FAST = { wallSeconds: 60, memoryBytes: 256 << 20, processes: 64 };

/** How a module ends whose `_start` has these instructions. */
async function outcome(
  body: readonly number[],
  imports: string[] = [],
  more: Partial<Parameters<typeof encodeModule>[0]> = {},
): Promise<unknown[]> {
  const algo = encodeModule({ imports, body, ...more });
  const { finished } = await runJob({ kind: "wasm", algo, limits: FAST });
  return [finished.outcome, finished.code ?? finished.signal, finished.message];
}

/** Instructions that give up unless a call answers 0. */
const must = (...instructions: (readonly number[])[]) => [...instructions.flat(), ...op.needZero];

Deno.test("runner runs a WebAssembly module that prints, reads a dataset and writes a result", async () => {
  // Numbers of the imports, in their order.
  const [open, read, write] = [0, 1, 2].map(op.call) as [number[], number[], number[]];
  const path = (at: number, length: number, oflags: number) =>
    must(
      ...[op.i32(3), op.i32(0), op.i32(at), op.i32(length), op.i32(oflags)],
      ...[op.i64(0x42), op.i64(0), op.i32(0), op.i32(200), open],
    );
  const algo = encodeModule({
    imports: ["path_open", "fd_read", "fd_write"],
    data: {
      // Two lists of one piece: 300 to 364, and the greeting.
      0: new Uint8Array([0x2c, 1, 0, 0, 64, 0, 0, 0]),
      8: new Uint8Array([100, 0, 0, 0, 6, 0, 0, 0]),
      100: "hello\n",
      110: "datasets/a.csv",
      130: "results/b.csv",
    },
    body: [
      ...must(op.i32(1), op.i32(8), op.i32(1), op.i32(204), op.call(2)),
      // Reading needs no right to write: 0x42 asks for both, so the dataset is opened by 2 alone.
      ...must(
        ...[op.i32(3), op.i32(0), op.i32(110), op.i32(14), op.i32(0)],
        ...[op.i64(2), op.i64(0), op.i32(0), op.i32(200), open],
      ),
      // The piece to write gets the length that was read.
      ...must(op.i32(200), op.load, op.i32(0), op.i32(1), op.i32(4), read),
      ...path(130, 13, 1),
      ...must(op.i32(200), op.load, op.i32(0), op.i32(1), op.i32(204), write),
    ],
  });
  const end = await runJob({
    kind: "wasm",
    algo,
    datasets: { "a.csv": "1,2,3\n" },
    limits: FAST,
  });
  assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
  assert.equal(end.stdout, "hello\n");
  assert.equal(await Deno.readTextFile(`${end.results}/b.csv`), "1,2,3\n");
  assert.equal(end.finished.usage.resultsFiles, 1);
});

Deno.test("runner tells how a WebAssembly module ends", async () => {
  const exit = async (code: number) =>
    await outcome([...op.i32(code), ...op.call(0)], ["proc_exit"]);
  assert.deepEqual(await exit(0), ["ok", undefined, ""]);
  assert.deepEqual(await exit(3), ["exit", 3, "exit status 3"]);
  assert.deepEqual(await exit(125), ["exit", 125, "exit status 125"]);
  // Codes that would look like a signal, like one of our own, or like 0 when cut to a byte.
  for (const code of [126, 137, 201, 210, 256, -1]) {
    assert.deepEqual(await exit(code), ["exit", 126, "exit status 126 or above"], String(code));
  }
  assert.deepEqual(
    await outcome(op.unreachable),
    ["exit", 134, "trap: it reached an unreachable instruction"],
  );
  assert.deepEqual(
    await outcome([...op.i32(-4), ...op.load, ...op.drop]),
    ["exit", 134, "trap: access out of bounds"],
  );
  assert.deepEqual(
    await outcome([...op.i32(1), ...op.i32(0), ...op.divide, ...op.drop]),
    ["exit", 134, "trap: division by zero or a number out of range"],
  );
  assert.deepEqual(await outcome(op.call(0)), ["exit", 134, "trap: call stack exhausted"]);
});

Deno.test("runner S-11 gives a WebAssembly module one variable, where its directory is", async () => {
  const [sizes, get, write] = [0, 1, 2].map(op.call) as [number[], number[], number[]];
  const { stdout, finished } = await runJob({
    kind: "wasm",
    algo: encodeModule({
      imports: ["environ_sizes_get", "environ_get", "fd_write"],
      // Prints the texts: their bytes go to 200, their number and length to 100 and 104.
      body: [
        ...must(op.i32(100), op.i32(104), sizes),
        ...must(op.i32(150), op.i32(200), get),
        ...[...op.i32(0), ...op.i32(200), ...op.store],
        ...[...op.i32(4), ...op.i32(104), ...op.load, ...op.store],
        ...must(op.i32(1), op.i32(0), op.i32(1), op.i32(16), write),
      ],
    }),
    limits: FAST,
  });
  assert.equal(finished.outcome, "ok", finished.message);
  assert.equal(stdout, "PWD=/cocos\0");
});

Deno.test("runner S-13 refuses a WebAssembly module before it runs", async () => {
  const unknown = encodeModule({ imports: [["env.system", "i:i"], "fd_write"] });
  const refused = async (algo: Uint8Array) => {
    const { finished } = await runJob({ kind: "wasm", algo, limits: FAST });
    assert.equal(finished.outcome, "refused", finished.message);
    return finished.message;
  };
  assert.equal(
    await refused(unknown),
    "The algorithm imports what no algorithm is given: env.system",
  );
  assert.match(
    await refused(new Uint8Array([0x7f, 0x45, 0x4c, 0x46])),
    /isn't a WebAssembly module/,
  );
  // What only the engine sees: code that isn't valid, a shared memory, too large a memory.
  assert.match(await refused(encodeModule({ body: op.drop })), /isn't a valid WebAssembly module/);
  assert.match(await refused(encodeModule({ shared: true })), /wants shared memory, or more than/);
  assert.match(await refused(encodeModule({ pages: 40_000 })), /isn't a valid|or more than/);
  const body = [...op.i32(0), ...op.i64(0), ...op.i32(0), ...op.call(0), ...op.drop];
  const early = encodeModule({ imports: ["clock_time_get"], body });
  assert.equal((await runJob({ kind: "wasm", algo: early, limits: FAST })).finished.outcome, "ok");
  assert.match(
    await refused(encodeModule({ imports: ["clock_time_get"], body, startsItself: true })),
    /before its function _start/,
  );
});

Deno.test("runner S-13 S-10 ends a WebAssembly module's endless loop at its time", async () => {
  for (const imports of [[], ["sched_yield"]]) {
    const body = op.forever(imports.length === 0 ? [] : [...op.call(0), ...op.drop]);
    const { finished } = await runJob({
      kind: "wasm",
      algo: encodeModule({ imports, body }),
      limits: { ...FAST, wallSeconds: 2 },
    });
    assert.deepEqual([finished.outcome, finished.message], ["timeout", "over the time of 2 s"]);
  }
});

Deno.test("runner S-13 S-4 gives a WebAssembly module no more memory than its job has", async () => {
  // Grows page by page until it is told no, then says so by its exit code.
  const grow = [...op.i32(16), ...op.grow, ...op.i32(-1)];
  const equal = [0x46];
  const body = op.forever([
    ...grow,
    ...equal,
    ...[0x04, 0x40, ...op.i32(9), ...op.call(0), 0x0b],
  ]);
  const end = await runJob({
    kind: "wasm",
    algo: encodeModule({ imports: ["proc_exit"], body }),
    limits: FAST,
  });
  assert.deepEqual([end.finished.outcome, end.finished.code], ["exit", 9], end.stderr);
  if (AS_ROOT) assert.ok(end.finished.usage.peakBytes <= FAST.memoryBytes);
});
