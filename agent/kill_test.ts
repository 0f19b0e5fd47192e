import assert from "node:assert/strict";
import { kills, POINTS } from "./_soak_kill.ts";

Deno.test("C-1 kill -9 at each of 13 points with the real runner: the next life goes on or has nothing", async () => {
  const { runs, failures } = await kills(POINTS.length, 0);
  assert.deepEqual(failures, []);
  assert.equal(runs, 13);
});
