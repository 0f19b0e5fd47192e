// Lines for programs and for people; hostile characters never pass.
import assert from "node:assert/strict";
import fc from "fast-check";
import { jsonLine, plainLine, stateLine } from "./print.ts";

type LogRecord = Parameters<typeof jsonLine>[0];

function record(message: string, properties: Record<string, unknown> = {}): LogRecord {
  return {
    category: ["computations"],
    level: "info",
    message: [message],
    rawMessage: message,
    timestamp: Date.UTC(2026, 0, 2, 3, 4, 5),
    properties,
  };
}

Deno.test("plainLine() shows time, level, message, properties and the state line", () => {
  assert.equal(
    plainLine(record("agent event", { event: "Running", status: "Starting", empty: "" })),
    "03:04:05 INFO  agent event  event=Running  status=Starting\n" +
      "         Idle → ReceivingManifest → ReceivingAlgorithm → ReceivingData → [Running] → " +
      "ConsumingResults → Complete\n",
  );
  assert.equal(
    plainLine(record("computation", { consumers: 1, datasets: [{ a: 1 }] })),
    '03:04:05 INFO  computation  consumers=1  datasets=[{"a":1}]\n',
  );
});

Deno.test("stateLine() knows Failed, and no word that is no state", () => {
  assert.match(stateLine("Failed") ?? "", /Running → \[Failed\]$/);
  assert.equal(stateLine("AlgorithmRun"), undefined);
  assert.equal(stateLine("undefined"), undefined);
});

Deno.test("S-5 jsonLine() and plainLine() are one printable line, and JSON stays the same text", () => {
  // deno-lint-ignore no-control-regex
  const unsafe = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]/;
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    const json = jsonLine(record("m", { text }));
    assert.doesNotMatch(json.slice(0, -1), unsafe);
    assert.equal(JSON.parse(json).text, text.toWellFormed());
    assert.doesNotMatch(plainLine(record("m", { text })).slice(0, -1), unsafe);
  }));
});
