// Hash banks and extend, against the platform's own hashes.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { CocosError } from "../base/mod.ts";
import { type Bank, bankOf, bankOfId, BANKS, extend, zeroRegister } from "./banks.ts";

Deno.test("BANKS hash as the platform does, and have the digest lengths of the TPM registry", () => {
  const bytes = new TextEncoder().encode("measured");
  for (const [name, info] of Object.entries(BANKS)) {
    const want = createHash(name.replace("_", "-")).update(bytes).digest();
    assert.deepEqual(info.hash(bytes), new Uint8Array(want), name);
    assert.equal(info.size, want.length);
    assert.equal(bankOfId(info.id), name);
  }
  assert.equal(bankOfId(0x12), undefined);
  assert.deepEqual(Object.entries(BANKS).filter(([, b]) => !b.strong).map(([n]) => n), ["sha1"]);
});

Deno.test("extend() is the hash of register and digest", () => {
  const digest = new Uint8Array(32).fill(7);
  const want = createHash("sha256").update(new Uint8Array(32)).update(digest).digest();
  assert.deepEqual(extend("sha256", zeroRegister("sha256"), digest), new Uint8Array(want));
});

Deno.test("A-9 extend() rejects a digest of another bank's length", () => {
  for (const bank of Object.keys(BANKS) as Bank[]) {
    assert.throws(() => extend(bank, zeroRegister(bank), new Uint8Array(21)), CocosError);
    assert.throws(() => extend(bank, new Uint8Array(21), zeroRegister(bank)), CocosError);
  }
});

Deno.test("bankOf() rejects words that are no bank, inherited ones as well", () => {
  assert.equal(bankOf("sha384"), "sha384");
  for (const word of ["SHA256", "md5", "", "toString", "constructor", "__proto__"]) {
    assert.throws(() => bankOf(word), CocosError, word);
  }
});
