import assert from "node:assert/strict";
import { ROLES } from "../proto/mod.ts";
import { finished, uploadOf } from "./_fakes.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { Scene } from "./_scene.ts";

const DAY = 86_400_000;

Deno.test("H-5 a clock that is wrong by days or years, and jumps during a run, changes no limit and no order", async () => {
  const owner = await party();
  const algorithm = bytes("#!/bin/sh\n".repeat(500));
  const real = Date.now;
  const skews = [0, DAY, -DAY, 3_650 * DAY, -3_650 * DAY];
  for (const skew of skews) {
    await using scene = await Scene.start({
      behaviour: async ({ emit }) => {
        // Back by an hour in the middle of the run, and warnings as fast as they come.
        Date.now = () => real() + skew - 3_600_000;
        for (let i = 0; i < 50; i++) {
          await emit({ type: "output", phase: "run", stream: "stderr", data: bytes("x") });
        }
        return finished("ok");
      },
    });
    try {
      Date.now = () => real() + skew;
      scene.server.manifest(runOf(owner, algorithm));
      await scene.server.until("runRes 1 ");
      await using client = scene.agent.client();
      const jumping = async function* () {
        for await (const message of uploadOf(algorithm, (chunk) => ({ algorithm: chunk }))) {
          yield message;
          // An upload that is idle for a minute is cut off; a minute of this clock is none.
          const now = Date.now();
          Date.now = () => now + 120_000;
        }
      };
      await client.algo(jumping(), { metadata: owner.sign(ROLES.algorithm) });
      await scene.server.until("event ConsumingResults/Ready");
      for await (const _ of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages);
      await scene.server.until("event Complete/Completed");
      const events = scene.management.all.filter(({ message }) => message.case === "agentEvent");
      // Numbers give the order, whatever the timestamps say.
      const ids = events.map(({ eventId }) => eventId);
      assert.deepEqual(ids, [...ids].sort((a, b) => Number(a - b)));
      const warnings = scene.server.received.filter((text) =>
        text === "event AlgorithmRun/Warning"
      );
      assert.ok(warnings.length >= 1 && warnings.length <= 20, `${warnings.length} warnings`);
    } finally {
      Date.now = real;
    }
  }
});
