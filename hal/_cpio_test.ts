// The archive writer: bytes of the format, order, and what it refuses.
import assert from "node:assert/strict";
import { cpio, type Entry, sorted } from "./_cpio.ts";

async function bytesOf(entries: readonly Entry[]): Promise<Uint8Array<ArrayBuffer>> {
  const parts = await Array.fromAsync(cpio(entries)) as Uint8Array<ArrayBuffer>[];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

const file = (path: string, text = ""): Entry => ({
  kind: "file",
  path,
  mode: 0o644,
  content: new TextEncoder().encode(text),
});
const folder = (path: string): Entry => ({ kind: "directory", path, mode: 0o755 });

Deno.test("cpio() writes the newc header field by field", async () => {
  const bytes = await bytesOf([
    { kind: "file", path: "ab", mode: 0o750, uid: 1, gid: 2, content: new Uint8Array([65]) },
  ]);
  const text = new TextDecoder().decode(bytes.subarray(0, 117));
  assert.equal(text.slice(0, 6), "070701");
  const fields = [...text.slice(6, 110).matchAll(/.{8}/g)].map(([hex]) => parseInt(hex, 16));
  assert.deepEqual(fields, [1, 0o100750, 1, 2, 1, 0, 1, 0, 0, 0, 0, 3, 0]);
  assert.equal(text.slice(110, 112), "ab");
  assert.equal(bytes[112], 0);
  assert.equal(bytes[116], 65); // 110 + "ab\0" padded to a multiple of four
});

Deno.test("cpio() ends with the trailer and fills 512 bytes, so that layers can follow", async () => {
  const bytes = await bytesOf([file("a", "x".repeat(1000))]);
  assert.equal(bytes.length % 512, 0);
  assert.match(new TextDecoder("latin1").decode(bytes), /TRAILER!!!\0+$/);
});

Deno.test("cpio() writes types: folder, link, device", async () => {
  const text = new TextDecoder("latin1").decode(
    await bytesOf([
      folder("dev"),
      { kind: "device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
      { kind: "link", path: "lib", mode: 0o777, target: "usr/lib" },
    ]),
  );
  const modes = [...text.matchAll(/070701.{8}(.{8})/g)].map(([, mode]) => parseInt(mode ?? "", 16));
  assert.deepEqual(modes, [0o40755, 0o20600, 0o120777, 0]);
  assert.match(text, /lib\0+usr\/lib/);
  assert.match(text, /0000000500000001/);
});

Deno.test("cpio() L-3 does not depend on the order entries come in", async () => {
  const entries = [folder("b"), file("b/c", "1"), file("a", "2"), folder("b.d")];
  assert.deepEqual(await bytesOf(entries), await bytesOf([...entries].reverse()));
});

Deno.test("sorted() refuses paths that are not plain, double, or without a parent", () => {
  for (const path of ["/a", "a/", "../a", "a/../b", ".", "a//b", "a\0", ""]) {
    assert.throws(() => sorted([file(path)]), RangeError, path);
  }
  assert.throws(() => sorted([file("a"), file("a")]), /twice/);
  assert.throws(() => sorted([file("a/b")]), /no directory/);
  assert.throws(() => sorted([file("a"), file("a/b")]), /no directory/);
});

Deno.test("cpio() refuses a file whose size changed since it was listed", async () => {
  const source = `${import.meta.dirname}/mod.ts`;
  const entry: Entry = { kind: "copy", path: "a", mode: 0o644, source, size: 1 };
  await assert.rejects(bytesOf([entry]), /changed/);
});
