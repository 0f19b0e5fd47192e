import assert from "node:assert/strict";
import fc from "fast-check";
import { type Event, EVENTS, isState, next, type State, STATES, TABLE } from "./states.ts";

const state = fc.constantFrom<State>(...STATES);
const event = fc.constantFrom<Event>(...EVENTS);

/** The rows of design §4, written a second time by hand. */
const LEGAL: Record<string, State> = {
  "Idle Start": "ReceivingManifest",
  "ReceivingManifest ManifestReceived": "ReceivingAlgorithm",
  "ReceivingAlgorithm AlgorithmReceived": "ReceivingData",
  "ReceivingData DataReceived": "Running",
  "Running RunComplete": "ConsumingResults",
  "Running RunFailed": "Failed",
  "ConsumingResults ResultsConsumed": "Complete",
};

Deno.test("next() takes exactly the rows of the design for every pair of state and event", () => {
  for (const from of STATES) {
    for (const each of EVENTS) {
      const expected = each === "Stop" ? "Idle" : LEGAL[`${from} ${each}`];
      assert.equal(next(from, each, { datasets: true }), expected, `${from} ${each}`);
    }
  }
});

Deno.test("next() skips ReceivingData when no datasets are declared", () => {
  assert.equal(next("ReceivingAlgorithm", "AlgorithmReceived", { datasets: false }), "Running");
  assert.equal(
    next("ReceivingAlgorithm", "AlgorithmReceived", { datasets: true }),
    "ReceivingData",
  );
});

Deno.test("C-7 next(): any interleaving of events stays in the table and Stop always leads out", () => {
  fc.assert(fc.property(state, fc.array(event), fc.boolean(), (start, events, datasets) => {
    let now = start;
    for (const each of events) {
      const after = next(now, each, { datasets });
      if (after === undefined) continue;
      assert.ok(TABLE.some((row) => row.event === each && row.to === after));
      now = after;
    }
    assert.ok(isState(now));
    assert.equal(next(now, "Stop", { datasets }), "Idle");
    assert.equal(next("Idle", "Start", { datasets }), "ReceivingManifest");
  }));
});

Deno.test("isState() refuses other words", () => {
  for (const word of ["", "idle", "Any", 3, null, undefined]) assert.equal(isState(word), false);
});
