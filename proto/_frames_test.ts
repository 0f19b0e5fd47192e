import assert from "node:assert/strict";
import fc from "fast-check";
import { goawayFilter } from "./_frames.ts";

/** A frame of a type, on stream 1. */
function frame(type: number, payload: number[]): number[] {
  return [0, payload.length >> 8, payload.length & 255, type, 0, 0, 0, 0, 1, ...payload];
}

Deno.test("G-11 goawayFilter() passes everything but GOAWAY, however the bytes are cut", () => {
  const frames = fc.array(
    fc.record({
      type: fc.integer({ min: 0, max: 10 }),
      payload: fc.array(fc.nat(255), { maxLength: 40 }),
    }),
    { maxLength: 12 },
  );
  fc.assert(fc.property(
    frames,
    fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }),
    fc.boolean(),
    (list, cuts, server) => {
      const preface = server ? Array.from({ length: 24 }, (_, i) => 100 + i) : [];
      const bytes = (each: typeof list) =>
        each.flatMap(({ type, payload }) => frame(type, payload));
      const sent = new Uint8Array([...preface, ...bytes(list)]);
      const filter = goawayFilter(preface.length);
      const got: number[] = [];
      for (let at = 0, i = 0; at < sent.length; i++) {
        const size = cuts[i % cuts.length] as number;
        got.push(...filter(sent.subarray(at, at + size)));
        at += size;
      }
      assert.deepEqual(got, [...preface, ...bytes(list.filter(({ type }) => type !== 7))]);
    },
  ));
});

Deno.test("goawayFilter() copies nothing where there is nothing to take out", () => {
  const chunk = new Uint8Array(frame(0, [1, 2, 3]));
  const passed = goawayFilter(0)(chunk);
  assert.equal(passed.buffer, chunk.buffer);
  assert.equal(passed.length, chunk.length);
});
