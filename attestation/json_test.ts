// Strict JSON: the same values as JSON.parse where it accepts, and more refusals.
import assert from "node:assert/strict";
import fc from "fast-check";
import { Fields, parseJson, plain, sliceOf } from "./json.ts";

Deno.test("parseJson() reads what JSON.parse reads, for every value", () => {
  fc.assert(fc.property(fc.json({ maxDepth: 5 }), (text) => {
    let doubled = false;
    JSON.parse(text, (_name, value) => value);
    try {
      const value = plain(parseJson(text, "x"));
      assert.deepEqual(
        JSON.parse(JSON.stringify(value, (_n, v) => typeof v === "bigint" ? Number(v) : v)),
        JSON.parse(text),
      );
    } catch (error) {
      doubled = /twice|surrogate|wrong escape/.test((error as Error).message);
      if (!doubled) throw error;
    }
  }));
});

Deno.test("parseJson() refuses what JSON.parse refuses, for any text", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom(...'[]{},:"\\ 01-.eEtrufalsn\n'), maxLength: 12 }),
      (text) => {
        let accepted = true;
        try {
          JSON.parse(text);
        } catch {
          accepted = false;
        }
        if (!accepted) assert.throws(() => parseJson(text, "x"), /Cannot read x: line/);
      },
    ),
    { numRuns: 3000 },
  );
});

Deno.test("parseJson() keeps integers of any size, bytes and lines", () => {
  const text = '{\n "a": 15352208179752599555,\n "b": [ 1.50 ,{"c":null}]\n}';
  const json = parseJson(text, "x");
  assert.ok(json.kind === "object");
  const [a, b] = [json.members.get("a"), json.members.get("b")];
  assert.ok(a && b);
  assert.equal(plain(a), 15352208179752599555n);
  assert.equal(sliceOf(text, b), '[ 1.50 ,{"c":null}]');
  assert.deepEqual([a.line, b.line], [2, 3]);
});

Deno.test("A-11 A-12 parseJson() refuses doubled names, also by escape or __proto__, and depth bombs", () => {
  for (const text of ['{"a":1,"a":1}', '{"a":1,"\\u0061":1}', '{"__proto__":1,"__proto__":2}']) {
    assert.throws(() => parseJson(text, "x"), /stands twice/);
  }
  assert.throws(() => parseJson("[".repeat(40) + "]".repeat(40), "x"), /more than 32 levels/);
  assert.throws(() => parseJson(`"${"a".repeat(100)}"`, "x", { characters: 50 }), /too long/);
  assert.throws(() => parseJson("1".repeat(65), "x"), /a value is due/);
  assert.equal(
    Object.getPrototypeOf(plain(parseJson('{"__proto__":{"x":1}}', "x"))),
    Object.prototype,
  );
});

Deno.test("Fields refuses unknown names, wrong kinds and numbers out of bounds with path and line", () => {
  const fields = new Fields(parseJson('{"a": 1, "b": "x",\n"c": true}', "x"), "x", "top");
  assert.equal(fields.integer("a", 0, 1), 1);
  assert.throws(() => fields.integer("a", 2, 3), /top.a must be a whole number from 2 to 3, is 1/);
  assert.throws(() => fields.string("c"), /line 2: top.c must be a string/);
  assert.throws(() => fields.boolean("b"), /top.b must be true or false/);
  assert.equal(fields.object("d"), undefined);
  assert.throws(() => fields.required("d", undefined), /top.d is missing/);
  assert.equal(fields.string("b"), "x");
  fields.end();
  assert.throws(() => new Fields(parseJson('{"a": 1}', "x"), "x").end(), /a is not a known name/);
  assert.throws(() => new Fields(parseJson("[]", "x"), "x"), /must be an object/);
});

Deno.test("A-14 parseJson() refuses more values than any document has, before they fill memory", () => {
  const limits = { characters: 8_000_000 };
  const many = `[${"1,".repeat(1_000_000)}1]`;
  assert.throws(() => parseJson(many, "a text", limits), /more than 1000000 values/);
  const enough = parseJson(`[${"1,".repeat(300_000)}1]`, "a text", limits);
  assert.ok(enough.kind === "array" && enough.items.length === 300_001);
});
