// The verdict itself: no check passes for want of an expectation, none is forgotten, none counts twice.
import assert from "node:assert/strict";
import fc from "fast-check";
import { CocosError } from "../base/mod.ts";
import { atLeast, bound, explainRules, flag, oneOf, runRules } from "./rules.ts";
import {
  ANY,
  Appraisal,
  combine,
  equalBytes,
  firstFailure,
  NOT_SET,
  requireOk,
  toHex,
  verdictOf,
} from "./verdict.ts";

const IDS = ["a", "b"] as const;

Deno.test("R1 Appraisal fails every comparison whose expectation is missing", () => {
  for (
    const compare of [
      (a: Appraisal<"a" | "b">) => a.equal("a", undefined, new Uint8Array()),
      (a: Appraisal<"a" | "b">) => a.oneOf("a", undefined, "x"),
      (a: Appraisal<"a" | "b">) => a.oneOf("a", [], "x"),
      (a: Appraisal<"a" | "b">) => a.atLeast("a", undefined, 1),
    ]
  ) {
    const appraisal = new Appraisal("toy", IDS);
    assert.equal(compare(appraisal), false);
    assert.equal(appraisal.verdict({}).checks[0]?.expected, NOT_SET);
  }
});

Deno.test("Appraisal shows the word any where a policy says so", () => {
  const appraisal = new Appraisal("toy", IDS);
  assert.equal(appraisal.equal("a", ANY, 7), true);
  assert.equal(appraisal.oneOf("b", ANY, Uint8Array.of(1)), true);
  assert.deepEqual(appraisal.verdict({}).checks.map((each) => [each.expected, each.actual]), [[
    ANY,
    "7",
  ], [ANY, "01"]]);
});

Deno.test("R1 Appraisal.verdict() fails what was never decided, in the order of the list", () => {
  const appraisal = new Appraisal("toy", IDS);
  appraisal.equal("b", 1, 1);
  const verdict = appraisal.verdict({});
  assert.equal(verdict.ok, false);
  assert.deepEqual(verdict.checks.map((each) => each.id), ["a", "b"]);
  assert.equal(verdict.checks[0]?.actual, "(not reached)");
});

Deno.test("Appraisal refuses ids outside of its list, twice, or no list at all", () => {
  assert.throws(() => new Appraisal("toy", []), /distinct/);
  assert.throws(() => new Appraisal("toy", ["a", "a"]), /distinct/);
  const appraisal = new Appraisal("toy", IDS);
  assert.throws(() => appraisal.check("c" as "a", true, "", ""), /unknown or decided/);
  appraisal.check("a", true, "", "");
  assert.throws(() => appraisal.check("a", true, "", ""), /unknown or decided/);
});

Deno.test("Appraisal.attempt() turns a throw into a failed check, but not a programming error", async () => {
  const appraisal = new Appraisal("toy", IDS);
  const failing = () => {
    throw new CocosError("untrusted", "no", { hint: "do" });
  };
  assert.equal(await appraisal.attempt("a", "yes", failing, { remedy: "try" }), undefined);
  assert.deepEqual({ ...appraisal.verdict({}).checks[0] }, {
    id: "a",
    ok: false,
    expected: "yes",
    actual: "no",
    remedy: "do",
  });
  await assert.rejects(
    appraisal.attempt("b", "", () => {
      throw new CocosError("internal", "bug");
    }, { remedy: "try" }),
    /bug/,
  );
});

Deno.test("Appraisal compares values of one kind only, in both directions", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 8 }), fc.uint8Array({ maxLength: 8 }), (left, right) => {
      const same = toHex(left) === toHex(right);
      assert.equal(equalBytes(left, right), same);
      const appraisal = new Appraisal("toy", IDS);
      assert.equal(appraisal.equal("a", left, right), same);
    }),
  );
  const appraisal = new Appraisal("toy", ["a", "b", "c"] as const);
  assert.equal(appraisal.equal("a", "1", 1), false);
  assert.equal(appraisal.equal("b", 1n, 1), false);
  assert.equal(appraisal.equal("c", "00", Uint8Array.of(0)), false);
});

Deno.test("verdictOf() needs a check; advice does not decide", () => {
  const check = { id: "a", ok: true, expected: "", actual: "" };
  assert.equal(verdictOf("toy", [], {}).ok, false);
  assert.equal(verdictOf("toy", [check], {}).ok, true);
  assert.equal(
    verdictOf("toy", [check, { ...check, id: "b", ok: false, severity: "advice" }], {}).ok,
    true,
  );
  assert.equal(verdictOf("toy", [{ ...check, ok: false }], {}).ok, false);
});

Deno.test("combine() is good only when all are, and at least one is there", () => {
  const good = verdictOf("x", [{ id: "a", ok: true, expected: "", actual: "" }], { n: 1 });
  const empty = verdictOf("y", [], {});
  assert.equal(combine("all", []).ok, false);
  assert.equal(combine("all", [good]).ok, true);
  assert.equal(combine("all", [good, empty]).ok, false);
  assert.deepEqual(combine("all", [good]).claims, { x: { n: 1 } });
});

Deno.test("requireOk() throws untrusted, exit code 5, with the first failed check", () => {
  const failed = { id: "b", ok: false, expected: "1", actual: "2", remedy: "change it" };
  const verdict = verdictOf("toy", [{ id: "a", ok: true, expected: "", actual: "" }, failed], {});
  assert.equal(firstFailure(verdict), failed);
  assert.throws(() => requireOk(verdict), (error: CocosError) => {
    assert.deepEqual([error.code, error.exitCode, error.hint], ["untrusted", 5, "change it"]);
    assert.match(error.message, /b: expected 1, found 2/);
    return true;
  });
  assert.throws(() => requireOk(verdictOf("toy", [], {})), /no check was made/);
});

Deno.test("R1 rules never hold for a policy that says nothing, whatever the evidence", () => {
  type P = { list?: string[]; number?: number; bit?: "on"; value?: string };
  const rules = [
    oneOf("a", (p: P) => p.list, (e: string) => e, ""),
    atLeast("b", (p: P) => p.number, (e: string) => e.length, ""),
    flag("c", (p: P) => p.bit, (e: string) => e !== "", ""),
    bound("d", (p: P) => p.value, (s: { v?: string }) => s.v, (e: string) => e, ""),
  ] as const;
  fc.assert(
    fc.property(fc.string(), fc.option(fc.string(), { nil: undefined }), (evidence, session) => {
      const appraisal = new Appraisal("toy", ["a", "b", "c", "d"] as const);
      runRules(appraisal, rules, {}, evidence, session === undefined ? {} : { v: session });
      assert.ok(
        appraisal.verdict({}).checks.every((each) => !each.ok && each.expected === NOT_SET),
      );
    }),
  );
  assert.ok(explainRules(rules, {}).every(({ expected }) => expected === NOT_SET));
  assert.equal(explainRules(rules, { value: "session" })[3]?.expected, "the value of the session");
});

Deno.test("R1 bound() refuses a session whose value is missing or empty, even for equal evidence", () => {
  const rule = bound(
    "a",
    (p: { value: string }) => p.value,
    (s: { v?: string }) => s.v,
    (e: string) => e,
    "",
  );
  assert.equal(rule.holds({ value: "session" }, "", { v: "" }), false);
  assert.equal(rule.holds({ value: "session" }, "", {}), false);
  assert.equal(rule.holds({ value: "session" }, "session", {}), false);
  assert.equal(rule.holds({ value: "session" }, "x", { v: "x" }), true);
});
