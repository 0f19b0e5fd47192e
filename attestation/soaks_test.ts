// Short forms of what `deno task test:slow` does at length, and how much of it there is.
import assert from "node:assert/strict";
import { targets } from "./forge/targets.ts";
import { BITS, flips } from "./_soak_flips.ts";
import { hunts } from "./_soak_hunts.ts";
import { MUTANTS, mutants } from "./_soak_mutants.ts";

Deno.test("the slow suite knows how many checks, bits and parsers there are (tests/slow/checks.ts)", async () => {
  assert.equal(MUTANTS.length, 159, "a check came or went: correct the target of `mutants`");
  assert.equal(BITS, 113_312, "evidence came or went: correct the target of `flips`");
  assert.equal((await targets()).length, 46, "a parser came or went: correct that of `hunts`");
  assert.equal(new Set(MUTANTS.map(([id]) => id)).size, MUTANTS.length);
});

Deno.test("A-5 A-7 A-8 flips: bits of each kind of evidence are refused, or change no claim", async () => {
  // Every 2,000th place, a few bits each: reports, quotes and signatures of each kind are met.
  for (let at = 0; at < BITS; at += 2_000) {
    const { failures } = await flips(3, at);
    assert.deepEqual(failures, []);
  }
});

Deno.test("A-14 hunts: a short one finds nothing", async () => {
  const { failures, figures } = await hunts(46 * 50, 1);
  assert.deepEqual(failures, []);
  assert.equal(figures["parsers"], 46);
});

Deno.test("mutants: tests notice a check that always holds, and pass without one", async () => {
  for (const id of ["evidence.kinds", "simulated.report-data"]) {
    const at = MUTANTS.findIndex(([each]) => each === id);
    assert.deepEqual((await mutants(1, at)).failures, []);
  }
});
