import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { hex, sha3_256 } from "./digest.ts";
import { ALONE_BYTES, digestFile, Hasher } from "./hasher.ts";

const MIB = 1 << 20;

/** Bytes that differ from place to place, and their digest as OpenSSL has it. */
function sample(length: number, seed = 1): { bytes: Uint8Array; digest: string } {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0, x = seed; i < words.length; i++) {
    words[i] = x = Math.imul(x, 1664525) + 1013904223;
  }
  const bytes = new Uint8Array(words.buffer, 0, length);
  return { bytes, digest: createHash("sha3-256").update(bytes).digest("hex") };
}

/** Hashes bytes cut into pieces of these sizes, in turn; pieces are overwritten afterwards. */
async function hashed(bytes: Uint8Array, sizes: readonly number[]): Promise<string> {
  using hash = new Hasher();
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const piece = bytes.slice(at, at + (sizes[i % sizes.length] as number));
    await hash.update(piece);
    piece.fill(0xff);
    at += piece.length;
  }
  return hex(await hash.digest());
}

Deno.test("Hasher gives OpenSSL's digest below, at and above the size that takes a worker", async () => {
  for (const length of [0, 1, 136, ALONE_BYTES - 1, ALONE_BYTES, ALONE_BYTES + 1, 12 * MIB + 77]) {
    const { bytes, digest } = sample(length);
    assert.equal(await hashed(bytes, [MIB]), digest, `${length} bytes`);
  }
});

Deno.test("Hasher gives OpenSSL's digest however the bytes are cut", async () => {
  const { bytes, digest } = sample(ALONE_BYTES + MIB + 5);
  for (
    const sizes of [[65_536], [MIB - 1], [3 * MIB + 7], [ALONE_BYTES], [1, 135, 136, 137, 70_000]]
  ) {
    assert.equal(await hashed(bytes, sizes), digest, `${sizes}`);
  }
});

Deno.test("Hasher keeps many hashes apart, and those that end early hold nobody up", async () => {
  const samples = Array.from({ length: 12 }, (_, i) => sample(ALONE_BYTES + i * 100_003, i + 1));
  const dropped = Array.from({ length: 8 }, async (_, i) => {
    using hash = new Hasher();
    await hash.update(sample(ALONE_BYTES + (i + 1) * 1000).bytes);
  });
  const digests = await Promise.all(samples.map(({ bytes }) => hashed(bytes, [MIB])));
  await Promise.all(dropped);
  assert.deepEqual(digests, samples.map(({ digest }) => digest));
});

Deno.test("Hasher ends while it waits for the worker", async () => {
  const hash = new Hasher();
  const update = hash.update(sample(ALONE_BYTES + 20 * MIB).bytes);
  const refused = assert.rejects(update, { name: "CocosError", code: "internal" });
  for (let i = 0; i < 100; i++) await undefined; // every buffer is on its way by now
  hash[Symbol.dispose]();
  await refused;
  await assert.rejects(hash.digest(), { name: "CocosError", code: "internal" });
  const { bytes, digest } = sample(ALONE_BYTES + 10 * MIB);
  assert.equal(await hashed(bytes, [MIB]), digest);
});

Deno.test("Hasher L-2 gives its worker no right", async () => {
  const Real = globalThis.Worker;
  const given: unknown[] = [];
  globalThis.Worker = class extends Real {
    constructor(url: string | URL, options: WorkerOptions & { deno: unknown }) {
      super(url, options);
      given.push(options.deno);
    }
  } as typeof Worker;
  try {
    const { bytes, digest } = sample(ALONE_BYTES + 1);
    assert.equal(await hashed(bytes, [MIB]), digest);
  } finally {
    globalThis.Worker = Real;
  }
  assert.deepEqual(given, [{ permissions: "none" }]);
});

Deno.test("digestFile() reads a file and says when there is none", async () => {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, "hello\n");
    assert.equal(hex(await digestFile(path)), hex(sha3_256(new TextEncoder().encode("hello\n"))));
  } finally {
    await Deno.remove(path);
  }
  await assert.rejects(digestFile(path), Deno.errors.NotFound);
});
