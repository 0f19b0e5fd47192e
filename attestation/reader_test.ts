// The bounded reader against short, long and absurd inputs.
import assert from "node:assert/strict";
import { CocosError } from "../base/mod.ts";
import { Reader } from "./reader.ts";

const BYTES = Uint8Array.from({ length: 16 }, (_, i) => i + 1);

Deno.test("Reader reads integers of both byte orders", () => {
  const reader = new Reader(BYTES, "a toy");
  assert.equal(reader.u8(), 0x01);
  assert.equal(reader.u16le(), 0x0302);
  assert.equal(reader.u16be(), 0x0405);
  assert.equal(reader.u32le(), 0x09080706);
  assert.equal(reader.u32be(), 0x0a0b0c0d);
  assert.deepEqual(reader.rest(), Uint8Array.of(14, 15, 16));
  assert.equal(new Reader(BYTES, "a toy").u64le(), 0x0807060504030201n);
  assert.equal(new Reader(BYTES, "a toy").u64be(), 0x0102030405060708n);
  const high = new Uint8Array(8).fill(0xff);
  assert.equal(new Reader(high, "a toy").u32le(), 0xffffffff);
  assert.equal(new Reader(high, "a toy").u32be(), 0xffffffff);
  assert.equal(new Reader(high, "a toy").u64le(), 2n ** 64n - 1n);
  assert.equal(new Reader(high, "a toy").u64be(), 2n ** 64n - 1n);
  reader.end();
});

Deno.test("Reader reads within a view that does not start at its buffer's start", () => {
  assert.equal(new Reader(BYTES.subarray(4), "a toy").u16be(), 0x0506);
});

Deno.test("A-14 Reader throws a typed error with the offset at the end of the input", () => {
  for (const width of ["u8", "u16le", "u16be", "u32le", "u32be", "u64le", "u64be"] as const) {
    const reader = new Reader(BYTES.subarray(0, 8), "a toy");
    reader.bytes(8);
    assert.throws(() => reader[width](), (error) => {
      assert.ok(error instanceof CocosError);
      assert.equal(error.code, "invalid-argument");
      assert.match(error.message, /^Cannot read a toy at offset 8: \d bytes are due, 0 are left$/);
      return true;
    });
  }
});

Deno.test("A-14 Reader rejects lengths that are negative, fractional or past the end", () => {
  for (const count of [-1, 0.5, NaN, Infinity, 2 ** 53, 17]) {
    assert.throws(() => new Reader(BYTES, "a toy").bytes(count), CocosError);
  }
});

Deno.test("A-14 Reader.end() rejects trailing bytes", () => {
  const reader = new Reader(BYTES, "a toy");
  reader.bytes(13);
  assert.throws(() => reader.end(), /Cannot read a toy at offset 13: 3 trailing bytes/);
});

Deno.test("A-5 Reader.zeros() names the byte that is not zero", () => {
  const reader = new Reader(Uint8Array.of(9, 0, 0, 7), "a toy");
  reader.u8();
  assert.throws(() => reader.zeros(3, "the gap"), /at offset 3: the gap must be zero/);
});

Deno.test("Reader.part() is bounded and counts from the outer start", () => {
  const reader = new Reader(BYTES, "a toy");
  reader.bytes(4);
  const part = reader.part(2, "its part");
  assert.equal(part.u16be(), 0x0506);
  assert.throws(() => part.u8(), /Cannot read its part at offset 6: 1 bytes are due, 0 are left/);
  assert.equal(reader.u8(), 7);
});
