import assert from "node:assert/strict";
import { models } from "./_soak_model.ts";
import { STATES } from "./states.ts";

Deno.test("C-7 R6 the agent is where the table says after every step of 25 random lists of steps", async () => {
  const { failures, figures } = await models(25, 4);
  assert.deepEqual(failures, []);
  for (const state of STATES) {
    if (state !== "Idle") assert.ok((figures[`in ${state}`] ?? 0) > 0, `${state} was reached`);
  }
});
