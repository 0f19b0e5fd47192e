import assert from "node:assert/strict";
import { equalBytes, fromHex, hex, Sha3_256, sha3_256 } from "./digest.ts";

const text = new TextEncoder();

Deno.test("sha3_256() gives the digests of FIPS 202 and of the seed's golden file", () => {
  assert.equal(
    hex(sha3_256(new Uint8Array())),
    "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
  );
  assert.equal(
    hex(sha3_256(text.encode("hello\n"))),
    "b314e28493eae9dab57ac4f0c6d887bddbbeb810e900d818395ace558e96516d",
  );
});

Deno.test("Sha3_256 takes its input in pieces", () => {
  const pieces = new Sha3_256().update(text.encode("hel")).update(text.encode("lo\n"));
  assert.equal(hex(pieces.digest()), hex(sha3_256(text.encode("hello\n"))));
});

Deno.test("fromHex() reads what hex() writes and refuses the rest", () => {
  assert.equal(hex(fromHex("00FFa0")), "00ffa0");
  for (const bad of ["0", "zz", "0x00", " 00"]) {
    assert.throws(() => fromHex(bad), { name: "CocosError", code: "invalid-argument" });
  }
});

Deno.test("equalBytes() compares contents and length", () => {
  assert.equal(equalBytes(new Uint8Array([1, 2]), new Uint8Array([1, 2])), true);
  assert.equal(equalBytes(new Uint8Array([1, 2]), new Uint8Array([1, 3])), false);
  assert.equal(equalBytes(new Uint8Array([1]), new Uint8Array([1, 2])), false);
});
