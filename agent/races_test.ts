import assert from "node:assert/strict";
import { cycles, races } from "./_soak_races.ts";

Deno.test("G-9 G-5 uploads, stops, manifests and fetches race in 50 seeded orders: one of each wins", async () => {
  const { failures, figures } = await races(50, 0);
  assert.deepEqual(failures, []);
  assert.ok((figures.stopped as number) > 10 && (figures.completed as number) > 10);
});

Deno.test("M-10 stops, restarts and reconnections 30 times over leave the agent ready each time", async () => {
  const { failures, figures } = await cycles(30, 0);
  assert.deepEqual(failures, []);
  assert.ok((figures.completed as number) > 5);
});
