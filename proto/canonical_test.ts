import assert from "node:assert/strict";
import fc from "fast-check";
import { type Canonical, canonicalJson } from "./canonical.ts";

Deno.test("canonicalJson() sorts keys and escapes as RFC 8785 shows", () => {
  // RFC 8785 §3.2.3: the order of the keys; the values are ours.
  const keys = ["\u20ac", "\r", "\ufb33", "1", "\u{1f600}", "\u0080", "\u00f6"];
  const value = Object.fromEntries(keys.map((key) => [key, ""]));
  assert.deepEqual(Object.keys(JSON.parse(canonicalJson(value))), [
    "1",
    "\r",
    "\u0080",
    "\u00f6",
    "\u20ac",
    "\u{1f600}",
    "\ufb33",
  ]);
  assert.equal(
    canonicalJson({ b: ['\u20ac$\u000f\nA\'B"\\\\"/'], a: true }),
    String.raw`{"a":true,"b":["€$\u000f\nA'B\"\\\\\"/"]}`,
  );
});

Deno.test("canonicalJson() refuses what has no canonical form here", () => {
  for (const value of [0.5, NaN, Infinity, 2 ** 53, "\ud800", { "\udc00": 1 }] as Canonical[]) {
    assert.throws(() => canonicalJson(value), { code: "invalid-argument" });
  }
});

Deno.test("canonicalJson() is read back as the same value, whatever the order it came in", () => {
  const { tree } = fc.letrec<{ tree: Canonical }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      fc.string({ unit: "binary" }),
      fc.boolean(),
      fc.maxSafeInteger(),
      fc.array(tie("tree"), { maxLength: 4 }),
      fc.dictionary(fc.string(), tie("tree"), { maxKeys: 4, noNullPrototype: true }),
    ),
  }));
  fc.assert(fc.property(tree, (value) => {
    const text = canonicalJson(value);
    const again = JSON.parse(text);
    assert.equal(canonicalJson(again), text);
    assert.deepEqual(again, JSON.parse(JSON.stringify(value)));
  }));
});
