import assert from "node:assert/strict";
import fc from "fast-check";
import type { cvms } from "../proto/mod.ts";
import { MAX_KEPT, MAX_LOGS } from "./outbox.ts";
import { LOG_BYTES, pieces, Telemetry } from "./telemetry.ts";
import { textOf } from "./_fakes.ts";

const live = new AbortController().signal;

/** Takes everything out of the queue. */
async function drain(telemetry: Telemetry): Promise<cvms.ClientStreamMessage[]> {
  telemetry.outbox.forgets();
  const taken: cvms.ClientStreamMessage[] = [];
  while (telemetry.outbox.size > 0) {
    const entry = await telemetry.outbox.first(live);
    if (entry === undefined) break;
    taken.push(entry.message);
    telemetry.outbox.sent(entry);
  }
  return taken;
}

Deno.test("Telemetry.log() prints protojson EventsLogs and sends the same line", async () => {
  const lines: string[] = [];
  const telemetry = new Telemetry("info", (line) => lines.push(line));
  telemetry.log("debug", "too low");
  telemetry.computationId = "1";
  telemetry.log("warn", "two\nlines \x1b[31mred");
  assert.equal(lines.length, 1);
  const { agentLog } = JSON.parse(lines[0] as string);
  assert.deepEqual({ ...agentLog, timestamp: "" }, {
    message: "two lines  [31mred",
    computationId: "1",
    level: "WARN",
    timestamp: "",
  });
  assert.match(agentLog.timestamp, /^\d{4}-.*Z$/);
  assert.deepEqual((await drain(telemetry)).map(textOf), ["log WARN two lines  [31mred"]);
});

Deno.test("pieces() cuts at 500 bytes, never inside a character, and loses nothing", () => {
  assert.deepEqual(pieces("", 500), [""]);
  assert.deepEqual(pieces("x".repeat(501), 500).map(({ length }) => length), [500, 1]);
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme", maxLength: 600 }),
      fc.integer({ min: 4, max: 500 }),
      (text, max) => {
        const cut = pieces(text.toWellFormed(), max);
        assert.equal(cut.join(""), text.toWellFormed());
        for (const piece of cut) {
          assert.ok(new TextEncoder().encode(piece).length <= max);
          assert.ok(piece.isWellFormed());
        }
      },
    ),
  );
  assert.equal(LOG_BYTES, 500);
});

Deno.test("C-3 Outbox keeps events and answers in order, drops log lines and says how many", async () => {
  const telemetry = new Telemetry("debug", () => {});
  for (let i = 0; i < MAX_LOGS + 50; i++) {
    telemetry.log("info", `line ${i}`);
    if (i % 100 === 0) telemetry.event(`State${i}`, "InProgress");
  }
  const taken = (await drain(telemetry)).map(textOf);
  const events = taken.filter((text) => text.startsWith("event"));
  assert.deepEqual(
    events,
    Array.from({ length: 11 }, (_, i) => `event State${i * 100}/InProgress`),
  );
  assert.equal(taken.filter((text) => /INFO line \d+$/.test(text)).length, MAX_LOGS);
  assert.equal(taken.at(-1), "log WARN 50 messages were dropped while nobody took them");
});

Deno.test("C-3 Outbox is bounded for events as well: the oldest stay", async () => {
  const telemetry = new Telemetry("error", () => {});
  for (let i = 0; i < MAX_KEPT + 10; i++) telemetry.event(`${i}`, "InProgress");
  const taken = (await drain(telemetry)).map(textOf);
  assert.equal(taken[0], "event 0/InProgress");
  assert.equal(taken.filter((text) => text.startsWith("event")).length, MAX_KEPT);
});

Deno.test("Outbox gives messages of a connection that never stood out again, in their order", async () => {
  const telemetry = new Telemetry("error", () => {});
  for (const name of ["a", "b", "c"]) telemetry.event(name, "InProgress");
  const { outbox } = telemetry;
  outbox.connecting();
  for (let i = 0; i < 2; i++) {
    const entry = await outbox.first(live);
    assert.ok(entry);
    outbox.sent(entry);
  }
  outbox.neverStood();
  assert.deepEqual((await drain(telemetry)).map(textOf).map((text) => text.at(6)), ["a", "b", "c"]);
});

Deno.test("Outbox.first() waits for a message and ends with its signal", async () => {
  const telemetry = new Telemetry("error", () => {});
  const waiting = telemetry.outbox.first(live);
  telemetry.event("x", "InProgress");
  assert.ok(await waiting);
  await drain(telemetry);
  const stop = new AbortController();
  const cut = telemetry.outbox.first(stop.signal);
  stop.abort();
  assert.equal(await cut, undefined);
});

Deno.test("S-5 Telemetry.warning() sends at most five events a second, whatever is printed", async () => {
  const telemetry = new Telemetry("error", () => {});
  for (let i = 0; i < 100_000; i++) telemetry.warning(i / 100);
  assert.equal((await drain(telemetry)).length, 5);
  telemetry.warning(1_000);
  const [event] = await drain(telemetry);
  assert.equal(event === undefined ? "" : textOf(event), "event AlgorithmRun/Warning");
});
