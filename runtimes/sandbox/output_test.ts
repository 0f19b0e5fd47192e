import assert from "node:assert/strict";
import { OUTPUT_BURST, OUTPUT_RATE, OutputGate } from "./output.ts";

Deno.test("OutputGate.take() S-5 passes a burst, then the rate, and counts the rest", () => {
  const gate = new OutputGate(1e12, 0);
  assert.equal(gate.take(OUTPUT_BURST + 5, 0), OUTPUT_BURST);
  assert.equal(gate.takeDropped(), 5);
  assert.equal(gate.takeDropped(), 0);
  assert.equal(gate.take(100, 0), 0);
  assert.equal(gate.take(OUTPUT_RATE * 2, 1000), OUTPUT_RATE);
  assert.equal(gate.takeDropped(), 100 + OUTPUT_RATE);
  assert.equal(gate.take(OUTPUT_BURST * 2, 1e9), OUTPUT_BURST);
  gate.drop(7);
  assert.equal(gate.takeDropped(), OUTPUT_BURST + 7);
  assert.equal(gate.seen, OUTPUT_BURST * 3 + 105 + OUTPUT_RATE * 2);
});

Deno.test("OutputGate.take() S-5 stops at the total", () => {
  const gate = new OutputGate(10, 0);
  assert.equal(gate.take(8, 0), 8);
  assert.equal(gate.take(8, 0), 2);
  assert.equal(gate.take(8, 1e9), 0);
  assert.equal(gate.takeDropped(), 14);
});
