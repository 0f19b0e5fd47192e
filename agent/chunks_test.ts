import assert from "node:assert/strict";
import { FakeTime } from "./_time.ts";
import { CHUNK_TIMEOUT_MS, ManifestChunks, MAX_CHUNKS, MAX_MANIFEST_BYTES } from "./chunks.ts";

const never = () => assert.fail("timed out");
const piece = (id: string, text: string, isLast = false) => ({
  id,
  data: new TextEncoder().encode(text),
  isLast,
});
const text = (bytes: Uint8Array | undefined) =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);

Deno.test("ManifestChunks joins pieces, with the last one empty or not", () => {
  using chunks = new ManifestChunks(never);
  assert.equal(chunks.add(piece("1", "ab")), undefined);
  assert.equal(chunks.add(piece("1", "c")), undefined);
  assert.equal(text(chunks.add(piece("1", "", true))), "abc");
  assert.equal(text(chunks.add(piece("2", "xyz", true))), "xyz");
});

Deno.test("ManifestChunks keeps its own copy of the bytes", () => {
  using chunks = new ManifestChunks(never);
  const first = piece("1", "ab");
  chunks.add(first);
  first.data.fill(0);
  assert.equal(text(chunks.add(piece("1", "c", true))), "abc");
});

Deno.test("M-8 ManifestChunks refuses interleaved ids, then starts anew", () => {
  using chunks = new ManifestChunks(never);
  chunks.add(piece("1", "ab"));
  assert.throws(() => chunks.add(piece("2", "c")), { code: "data-loss" });
  assert.equal(text(chunks.add(piece("2", "c", true))), "c");
});

Deno.test("M-8 ManifestChunks refuses a manifest past its bytes or pieces, and an empty one", () => {
  using chunks = new ManifestChunks(never);
  const big = { id: "1", data: new Uint8Array(MAX_MANIFEST_BYTES / 4), isLast: false };
  for (let i = 0; i < 4; i++) chunks.add(big);
  assert.throws(() => chunks.add(piece("1", "x")), { code: "too-large" });
  for (let i = 0; i < MAX_CHUNKS; i++) chunks.add(piece("1", ""));
  assert.throws(() => chunks.add(piece("1", "")), { code: "too-large" });
  assert.throws(() => chunks.add(piece("1", "", true)), { code: "data-loss" });
});

Deno.test("M-8 ManifestChunks drops a manifest that never ends, 30 s after its last piece", () => {
  using time = new FakeTime();
  const dropped: string[] = [];
  using chunks = new ManifestChunks((id) => dropped.push(id));
  chunks.add(piece("1", "ab"));
  time.tick(CHUNK_TIMEOUT_MS - 1);
  chunks.add(piece("1", "cd"));
  time.tick(CHUNK_TIMEOUT_MS - 1);
  assert.deepEqual(dropped, []);
  time.tick(1);
  assert.deepEqual(dropped, ["1"]);
  assert.equal(text(chunks.add(piece("1", "ef", true))), "ef");
});
