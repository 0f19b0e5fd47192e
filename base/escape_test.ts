import assert from "node:assert/strict";
import { escaped } from "./mod.ts";

Deno.test("escaped() S-5 leaves a terminal nothing to obey", () => {
  assert.equal(escaped("ü 漢 \u{1f600}"), "ü 漢 \u{1f600}");
  assert.equal(
    escaped("a\x1b[2Jb\r\n\t\x7f\x9b"),
    "a\\u001b[2Jb\\u000d\\u000a\\u0009\\u007f\\u009b",
  );
  assert.equal(escaped("\u202egpj.exe\u2066\u200f\u2028"), "\\u202egpj.exe\\u2066\\u200f\\u2028");
  assert.equal(escaped("\u061ca\ufeff"), "\\u061ca\\ufeff");
  assert.equal(escaped("half a pair: \ud800"), "half a pair: \ufffd");
  assert.equal(JSON.parse(`"${escaped("\x1b\u202e")}"`), "\x1b\u202e");
});
