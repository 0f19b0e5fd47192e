import assert from "node:assert/strict";
import { sha3_256 } from "../base/mod.ts";
import { selfTest } from "./selftest.ts";

Deno.test("R1 selfTest() passes here and ends the start of a runtime that computes wrongly", () => {
  selfTest();
  const wrong = (bytes: Uint8Array) => sha3_256(bytes).fill(0, 31);
  assert.throws(() => selfTest(wrong), { code: "internal" });
});
