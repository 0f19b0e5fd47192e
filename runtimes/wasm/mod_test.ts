import assert from "node:assert/strict";
import { pagesFor } from "../../proto/sandbox/mod.ts";
import type { Facilities, Job } from "../contract.ts";
import { Own } from "./endings.ts";
import { wasm } from "./mod.ts";

const MIB = 1 << 20;

const job: Job = {
  id: "job-0123456789abcdef",
  directory: "/work/job-0123456789abcdef",
  pythonRuntime: "",
  args: ["--allow-all", "a b"],
  limits: {
    wallSeconds: 60,
    memoryBytes: 512 * MIB,
    processes: 64,
    cpus: 1,
    tmpBytes: MIB,
    outputBytes: MIB,
    resultsBytes: MIB,
    resultsFiles: 10,
  },
  hasRequirements: false,
  site: "/work/site-job-0123456789abcdef",
  mode: "compat",
};

const facilities: Facilities = {
  python: "/usr/bin/python3",
  pip: undefined,
  deno: "/cocos/wasm/deno",
  wasmChild: "/cocos/wasm/child.js",
  docker: undefined,
  pyodide: undefined,
};

Deno.test("wasm.command() gives the child no right but to read its world and to write results", () => {
  assert.deepEqual(wasm.command(job, facilities), {
    program: "/opt/wasm/deno",
    args: [
      ...["run", "--no-prompt", "--no-config", "--no-lock", "--no-remote", "--no-npm"],
      ...["--cached-only", "--no-check", "--no-code-cache", "--quiet"],
      "--v8-flags=--no-liftoff,--wasm-max-mem-pages=6400",
      ...["--allow-read=/cocos", "--allow-write=/cocos/results"],
      ...["--deny-net", "--deny-run", "--deny-ffi", "--deny-sys", "--deny-env", "--deny-import"],
      ...["/opt/wasm/child.js", "compat", "/cocos", "/cocos/algo", "/cocos/algo"],
      ...["--allow-all", "a b"],
    ],
    binds: [
      { source: `${job.directory}/algo`, target: "/cocos/algo", writable: false },
      { source: `${job.directory}/datasets`, target: "/cocos/datasets", writable: false },
      { source: `${job.directory}/results`, target: "/cocos/results", writable: true },
      { source: "/cocos/wasm/deno", target: "/opt/wasm/deno", writable: false },
      { source: "/cocos/wasm/child.js", target: "/opt/wasm/child.js", writable: false },
    ],
  });
});

Deno.test("wasm says what is missing where the runner was started without it", () => {
  for (const missing of ["deno", "wasmChild"] as const) {
    const without = { ...facilities, [missing]: undefined };
    assert.throws(() => wasm.command(job, without), { code: "not-supported" });
  }
});

Deno.test("pagesFor() leaves the engine its part and stays within 4 GiB", () => {
  assert.equal(pagesFor(512 * MIB), 6400);
  assert.equal(pagesFor(16 * MIB), 16);
  assert.equal(pagesFor(64 * 1024 * MIB), 65_536);
});

Deno.test("wasm.collect() knows each of the child's own exit codes, and leaves the rest", () => {
  for (const code of Object.values(Own)) {
    const { outcome, message } = wasm.collect({ kind: "exit", code }, job);
    assert.ok(outcome === "exit" || outcome === "refused", String(code));
    assert.ok(message.length > 10, String(code));
  }
  assert.equal(wasm.collect({ kind: "exit", code: 0 }, job).outcome, "ok");
  assert.deepEqual(wasm.collect({ kind: "exit", code: 137 }, job), {
    outcome: "signal",
    signal: 9,
    message: "signal: killed",
  });
});
