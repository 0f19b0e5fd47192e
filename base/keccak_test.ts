// The oracle is OpenSSL's SHA3, through node:crypto.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { hex, Sha3_256, sha3_256 } from "./digest.ts";
import { keccak, MAX_BLOCKS, RATE_BYTES } from "./keccak.ts";

/** Bytes that differ from block to block. */
function sample(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 131 + (i >> 8) * 17) & 0xff);
}

function openssl(bytes: Uint8Array): string {
  return createHash("sha3-256").update(bytes).digest("hex");
}

Deno.test("keccak() permutes the zero state as the Keccak team's test vector says", () => {
  // KeccakF-1600-IntermediateValues.txt: the first lanes after one and after two permutations.
  const { state, blocks, absorb } = keccak();
  absorb(1);
  assert.equal(state.slice(0, 16).toHex(), "e7dde140798f25f18a47c033f9ccd584");
  assert.ok(blocks.every((byte) => byte === 0));
  absorb(1);
  assert.equal(state.slice(0, 16).toHex(), "3ccb6ef94d955c2d6db55770d02c336a");
});

Deno.test("sha3_256() is OpenSSL's for every length up to five blocks, and around a full page", () => {
  const whole = MAX_BLOCKS * RATE_BYTES;
  const lengths = [
    ...Array(5 * RATE_BYTES + 2).keys(),
    ...[whole - 1, whole, whole + 1, whole + RATE_BYTES, 2 * whole, 1 << 20, (1 << 22) + 3],
  ];
  for (const length of lengths) {
    const bytes = sample(length);
    assert.equal(hex(sha3_256(bytes)), openssl(bytes), `${length} bytes`);
  }
});

Deno.test("Sha3_256 is OpenSSL's however the bytes are cut, and hashes don't disturb each other", () => {
  const cuts = fc.array(fc.uint8Array({ maxLength: 3 * RATE_BYTES }), { maxLength: 12 });
  fc.assert(fc.property(cuts, cuts, (left, right) => {
    const [a, b] = [new Sha3_256(), new Sha3_256()];
    for (let i = 0; i < Math.max(left.length, right.length); i++) {
      a.update(left[i] ?? new Uint8Array());
      b.update(right[i] ?? new Uint8Array());
    }
    const join = (parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((p) => [...p]));
    assert.equal(hex(a.digest()), openssl(join(left)));
    assert.equal(hex(b.digest()), openssl(join(right)));
  }));
});

Deno.test("Sha3_256 can be used once", () => {
  const hash = new Sha3_256();
  hash.digest();
  assert.throws(() => hash.digest(), { name: "CocosError", code: "internal" });
  assert.throws(() => hash.update(sample(1)), { name: "CocosError", code: "internal" });
});
