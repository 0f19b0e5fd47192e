// Every function of preview 1, asked by a program of our own that is compiled here. Run with wasmtime
// it finds three things it doesn't find here: one piece written of several, `fd_allocate` that isn't
// supported, and a directory that can't be removed by a path with a slash behind it.
import assert from "node:assert/strict";
import { BASE, runJob, startRunner, type TestRunner } from "../_harness.ts";
import { compileWasm } from "./_compile.ts";

let runner: TestRunner | undefined;
Deno.test.beforeAll(async () => {
  runner = await startRunner();
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
});

Deno.test("runner answers every function of preview 1 as a program in C expects", async () => {
  const source = new URL("testdata/preview1.c", import.meta.url).pathname;
  const algo = await compileWasm(source, `${BASE}/preview1.wasm`);
  if (algo === undefined) return;
  for (const mode of ["strict", "compat"] as const) {
    const end = await runJob({
      kind: "wasm",
      algo,
      mode,
      args: ["one", "two"],
      limits: { wallSeconds: 120, memoryBytes: 512 << 20, processes: 64 },
    });
    assert.match(end.stdout, /^\d{4} checks, 0 findings\n$/, end.stderr);
    assert.equal(end.finished.outcome, "ok", end.finished.message);
    assert.equal(end.finished.usage.resultsFiles, 0);
  }
});
