// What every verdict of a test must be besides right: of use to the person who reads it.
import assert from "node:assert/strict";
import type { Verdict } from "../verdict.ts";

/** Each failed check says what was expected, what was found, and what to do about it. */
export function assertHelpful({ checks }: Verdict): void {
  for (const { id, ok, expected, actual, remedy } of checks) {
    if (ok) continue;
    assert.ok(expected !== "" && actual !== "", `${id}: expected ${expected}, found ${actual}`);
    assert.ok((remedy ?? "").length > 10, `${id} has no remedy`);
  }
}
