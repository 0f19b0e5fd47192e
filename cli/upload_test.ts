// Pieces of exactly the asked size, buffers of their own, and the names the wire gets.
import assert from "node:assert/strict";
import fc from "fast-check";
import { baseName, inChunks } from "./upload.ts";

Deno.test("inChunks() keeps the bytes and cuts them in pieces of one size", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }),
      fc.integer({ min: 1, max: 32 }),
      async (pieces, size) => {
        async function* source() {
          // One buffer for all pieces, as a file reader may do it.
          const shared = new Uint8Array(40);
          for (const piece of pieces) {
            shared.set(piece);
            yield shared.subarray(0, piece.length);
          }
        }
        const chunks = await Array.fromAsync(inChunks(source(), size), (chunk) => chunk.slice());
        assert.deepEqual(
          chunks.flatMap((chunk) => [...chunk]),
          pieces.flatMap((each) => [...each]),
        );
        assert.ok(chunks.slice(0, -1).every((chunk) => chunk.length === size));
        assert.ok(chunks.every((chunk) => chunk.length > 0 && chunk.length <= size));
      },
    ),
  );
});

Deno.test("baseName() is the last part of a path, also with slashes behind", () => {
  const cases = { "a/b.csv": "b.csv", "b.csv": "b.csv", "/x/y/": "y", "y//": "y", "/": "", "": "" };
  for (const [path, name] of Object.entries(cases)) assert.equal(baseName(path), name);
});
