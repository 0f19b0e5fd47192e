// What must hold before the agent listens or dials: that the digest everything rests on is computed
// right by this runtime. A failure ends the start (threats R1).
import { CocosError, hex, sha3_256 } from "../base/mod.ts";

/** SHA3-256 of no bytes and of "abc" (NIST, FIPS 202 example values). */
const KNOWN: readonly (readonly [string, string])[] = [
  ["", "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a"],
  ["abc", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"],
];

/**
 * Tests this runtime.
 *
 * @param digest the function under test
 * @throws {CocosError} `internal`.
 */
export function selfTest(digest: (bytes: Uint8Array) => Uint8Array = sha3_256): void {
  for (const [text, expected] of KNOWN) {
    if (hex(digest(new TextEncoder().encode(text))) !== expected) {
      throw new CocosError("internal", "Cannot start: the self-test of SHA3-256 failed", {
        hint: "This Deno binary is damaged or not the pinned version.",
      });
    }
  }
}
