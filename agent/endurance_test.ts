import assert from "node:assert/strict";
import { flood } from "./_soak_flood.ts";
import { computations } from "./_soak_many.ts";
import { messages, names } from "./_soak_wire.ts";

Deno.test("C-6 (R5) after 20 computations in one agent process descriptors, threads and files are as before", async () => {
  const { failures } = await computations(20, 0);
  assert.deepEqual(failures, []);
});

Deno.test("S-5 an algorithm that prints all it can costs the agent a few MiB and a few events a second", async () => {
  const { failures } = await flood(4, 0);
  assert.deepEqual(failures, []);
});

Deno.test("G-12 R2 10,000 calls with broken messages: each gets a status, the computation goes on", async () => {
  const { failures } = await messages(10_000, 0);
  assert.deepEqual(failures, []);
});

Deno.test("F-1 F-3 10,000 archives with names that lead elsewhere: nothing lies outside", async () => {
  const { failures } = await names(10_000, 0);
  assert.deepEqual(failures, []);
});
