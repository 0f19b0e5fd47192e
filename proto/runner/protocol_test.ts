import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import {
  encodeLine,
  isEgress,
  isJobId,
  type Limits,
  MAX_ARGUMENT_BYTES,
  MAX_OUTPUT_CHUNK,
  OUTCOMES,
  parseEvent,
  parseRequest,
  readLines,
  type RunnerEvent,
  type RunRequest,
} from "./mod.ts";

const RUN: RunRequest = {
  type: "run",
  protocol: 1,
  job: "job-0123456789abcdef",
  kind: "python",
  pythonRuntime: "",
  args: ["--epochs", "5", "é\n"],
  limits: { wallSeconds: 1.5, processes: 64 },
  hasRequirements: true,
};

const LIMITS: Limits = {
  wallSeconds: 60,
  memoryBytes: 1 << 30,
  processes: 128,
  cpus: 1.5,
  tmpBytes: 1 << 20,
  outputBytes: 1 << 20,
  resultsBytes: 1 << 20,
  resultsFiles: 100,
};

const USAGE = {
  wallMs: 1,
  cpuMs: 2,
  peakBytes: 3,
  outputBytes: 4,
  resultsFiles: 5,
  resultsBytes: 6,
};

const text = (line: Uint8Array) => new TextDecoder().decode(line).trimEnd();
const wrong = (pattern: RegExp) => ({
  name: "CocosError",
  code: "invalid-argument",
  message: pattern,
});

Deno.test("parseRequest() reads what encodeLine() writes", () => {
  assert.deepEqual(parseRequest(text(encodeLine(RUN))), RUN);
  assert.deepEqual(parseRequest(text(encodeLine({ type: "stop" }))), { type: "stop" });
  const indexed: RunRequest = { ...RUN, egress: ["pypi.org:443", "10.0.2.2:3141"] };
  assert.deepEqual(parseRequest(text(encodeLine(indexed))), indexed);
});

Deno.test("isEgress() takes a name or an IPv4 address with a port, nothing that could be more", () => {
  for (const good of ["pypi.org:443", "localhost:1", "10.0.2.2:65535", "a-b.example:8080"]) {
    assert.equal(isEgress(good), true, good);
  }
  for (
    const bad of [
      "",
      "pypi.org",
      "pypi.org:",
      "pypi.org:0",
      "pypi.org:65536",
      "pypi.org:0443",
      "PyPI.org:443",
      "https://pypi.org:443",
      "u@pypi.org:443",
      "pypi.org:443/simple",
      "pypi..org:443",
      "-pypi.org:443",
      "pypi-.org:443",
      "*.org:443",
      "[::1]:443",
      "pypi.org:443\n",
      "pypi.org,evil.org:443",
    ]
  ) assert.equal(isEgress(bad), false, bad);
});

Deno.test("parseEvent() reads what encodeLine() writes", () => {
  const events: RunnerEvent[] = [
    { type: "started", phase: "install", confinement: "cgroup-v2", limits: LIMITS },
    { type: "output", phase: "run", stream: "stderr", data: new Uint8Array([0, 10, 255]) },
    { type: "dropped", bytes: 7 },
    { type: "finished", outcome: "ok", usage: USAGE, message: "" },
    { type: "finished", outcome: "exit", code: 3, usage: USAGE, message: "exit status 3" },
    { type: "finished", outcome: "signal", signal: 11, usage: USAGE, message: "signal 11" },
  ];
  for (const event of events) assert.deepEqual(parseEvent(text(encodeLine(event))), event);
  const data = Buffer.from([1, 2]);
  const line = encodeLine({ type: "output", phase: "run", stream: "stdout", data });
  assert.deepEqual(JSON.parse(text(line)).data, "AQI=");
});

Deno.test("parseRequest() names the field that is wrong", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ type: "go" }, /type must be one of run, stop/],
    [{ protocol: 2 }, /protocol must be 1/],
    [{ job: "job-../../etc" }, /job must be job- and 16/],
    [{ job: "job-0123456789ABCDEF" }, /job must/],
    [{ job: 7 }, /job must be text/],
    [{ kind: "sh" }, /kind must be one of bin/],
    [{ pythonRuntime: "a\0b" }, /pythonRuntime must/],
    [{ args: "x" }, /args must be a list/],
    [{ args: ["a", "b\0"] }, /args\[1\] must/],
    [{ args: ["\ud800"] }, /args\[0\] must/],
    [{ args: ["é".repeat(MAX_ARGUMENT_BYTES / 2 + 1)] }, /args\[0\] must/],
    [{ args: new Array(4097).fill("") }, /args must be a list of at most 4096/],
    [{ limits: undefined }, /limits must be an object/],
    [{ limits: { wallSeconds: -1 } }, /limits.wallSeconds must be a number from/],
    [{ limits: { wallSeconds: 1e9 } }, /limits.wallSeconds must/],
    [{ limits: { memoryBytes: 2.5e8 + 0.5 } }, /limits.memoryBytes must be a whole/],
    [{ limits: { memory: 1 } }, /limits."memory" must not be there/],
    [{ hasRequirements: 1 }, /hasRequirements must be true or false/],
    [{ egress: "pypi.org:443" }, /egress must be a list of at most 16 texts host:port/],
    [{ egress: ["pypi.org"] }, /egress must/],
    [{ egress: new Array(17).fill("pypi.org:443") }, /egress must/],
    [{ argv: ["/bin/sh"] }, /"argv" must not be there/],
  ];
  for (const [change, pattern] of cases) {
    const line = JSON.stringify({ ...RUN, ...change });
    assert.throws(() => parseRequest(line), wrong(pattern), line);
  }
  assert.throws(
    () => parseRequest(text(encodeLine(RUN)).replace("{", '{"__proto__":{"x":1},')),
    wrong(/"__proto__" must not be there/),
  );
  for (const line of ["", "{", "[]", "null", "1", '"run"']) {
    assert.throws(() => parseRequest(line), wrong(/a line must be/), line);
  }
});

Deno.test("parseEvent() names the field that is wrong", () => {
  const cases: [unknown, RegExp][] = [
    [{ type: "output", phase: "run", stream: "stdin", data: "" }, /stream must/],
    [{ type: "output", phase: "run", stream: "stdout", data: "*" }, /data must be base64/],
    [{ type: "output", phase: "run", stream: "stdout", data: "QQ" }, /data must be base64/],
    [{
      type: "output",
      phase: "run",
      stream: "stdout",
      data: "A".repeat(Math.ceil(MAX_OUTPUT_CHUNK / 3) * 4 + 4),
    }, /data must hold at most/],
    [{ type: "dropped", bytes: -1 }, /bytes must/],
    [{ type: "dropped", bytes: 0.5 }, /bytes must be a whole number/],
    [{ type: "finished", outcome: "exit", usage: USAGE, message: "" }, /code must/],
    [{ type: "finished", outcome: "ok", code: 0, usage: USAGE, message: "" }, /"code" must not/],
    [{ type: "finished", outcome: "ok", usage: { ...USAGE, cpuMs: -1 }, message: "" }, /usage.cpu/],
    [{ type: "started", phase: "run", confinement: "none", limits: LIMITS }, /confinement must/],
    [{
      type: "started",
      phase: "run",
      confinement: "cgroup-v1",
      limits: { ...LIMITS, cpus: undefined },
    }, /limits.cpus must/],
  ];
  for (const [event, pattern] of cases) {
    assert.throws(() => parseEvent(JSON.stringify(event)), wrong(pattern));
  }
});

Deno.test("parseRequest() and parseEvent() end any text with a value or a CocosError", () => {
  const lines = fc.oneof(fc.string(), fc.json(), fc.json().map((json) => `{"type":${json}}`));
  fc.assert(fc.property(lines, (line) => {
    for (const parse of [parseRequest, parseEvent]) {
      try {
        assert.ok(OUTCOMES.length > 0 && typeof parse(line) === "object");
      } catch (error) {
        assert.equal((error as Error).name, "CocosError");
      }
    }
  }));
});

Deno.test("isJobId() takes nothing a path could be made to climb with", () => {
  assert.ok(isJobId("job-00000000deadbeef"));
  for (
    const bad of [
      "job-",
      "job-00000000deadbee",
      "../job-00000000deadbeef",
      "job-00000000deadbeef\n",
    ]
  ) {
    assert.equal(isJobId(bad), false, bad);
  }
});

async function* chunksOf(...chunks: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    yield await Promise.resolve(
      typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk,
    );
  }
}

Deno.test("readLines() joins chunks and cuts at newlines", async () => {
  const lines = await Array.fromAsync(readLines(chunksOf("a\nb", "c", "\n\nd\n", ""), 4));
  assert.deepEqual(lines, ["a", "bc", "", "d"]);
});

Deno.test("readLines() finds the same lines however the bytes are cut", async () => {
  await fc.assert(fc.asyncProperty(
    fc.array(fc.string({ unit: "grapheme" }).map((line) => line.replaceAll("\n", ""))),
    fc.array(fc.nat(40)),
    async (lines, cuts) => {
      const bytes = new TextEncoder().encode(lines.map((line) => line + "\n").join(""));
      const chunks: Uint8Array[] = [];
      let at = 0;
      for (const cut of cuts) chunks.push(bytes.subarray(at, at += cut));
      chunks.push(bytes.subarray(at));
      assert.deepEqual(await Array.fromAsync(readLines(chunksOf(...chunks), 1 << 20)), lines);
    },
  ));
});

Deno.test("readLines() rejects a long line, a broken end and bytes that are not UTF-8", async () => {
  const all = (...chunks: (string | Uint8Array)[]) =>
    Array.fromAsync(readLines(chunksOf(...chunks), 4));
  await assert.rejects(all("abc", "de\n"), { code: "too-large" });
  await assert.rejects(all("ok\nabcde"), { code: "too-large" });
  await assert.rejects(all("ok\nabc"), { code: "data-loss" });
  await assert.rejects(all(new Uint8Array([0xff, 10])), { code: "invalid-argument" });
});
