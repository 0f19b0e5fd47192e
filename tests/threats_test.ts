import assert from "node:assert/strict";
import { findTests, idsOf, mistakes, readModel, render, testNames } from "./threats.ts";

Deno.test("testNames() finds names in every form they are written in", () => {
  const source = [
    'Deno.test("one", () => {});',
    "Deno.test(\n  'two',\n  () => {});",
    'Deno.test({ name: "three", fn() {} });',
    "await t.step(`four`, () => {});",
    'const x = "Deno.test";',
  ].join("\n");
  assert.deepEqual(testNames(source), ["one", "two", "three", "four"]);
});

Deno.test("idsOf() takes ids and nothing that looks like one", () => {
  assert.deepEqual(idsOf("G-7 refuses (M-5, R2)"), ["G-7", "M-5", "R2"]);
  assert.deepEqual(idsOf("SHA3-256, P-2560, RFC-1, R9, XS-1, G-7-x"), []);
});

Deno.test("mistakes() names a line held by nothing, and an id nobody knows", () => {
  const model = { G: { title: "g", lines: { "G-1": { title: "a" }, "G-2": { title: "b" } } } };
  assert.deepEqual(mistakes(model, [{ file: "f", name: "G-1 and G-3" }]), [
    "G-2 has no test and no reason",
    "G-3 is in a name, not in the model",
  ]);
});

Deno.test("docs/threats.md is up to date, and every held line has a test (deno task threats)", async () => {
  const model = await readModel();
  const tests = await findTests();
  assert.deepEqual(mistakes(model, tests), []);
  const page = await Deno.readTextFile(new URL("../docs/threats.md", import.meta.url));
  assert.equal(page, render(model, tests), "run: deno task threats");
});
