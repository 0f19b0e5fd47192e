import assert from "node:assert/strict";
import fc from "fast-check";
import { LINE_CHARACTERS, LINES_PER_SECOND, Output, plain, TAIL_CHARACTERS } from "./output.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("S-6 Output keeps nothing and tells nobody where nobody may see it", () => {
  const output = new Output({ keeps: false });
  output.take("stdout", bytes("canary\n"));
  output.end();
  assert.deepEqual(output.tail(), { text: "", dropped: 7 });
  assert.equal(output.last(9, 99), "");
});

Deno.test("Output joins pieces to lines, each stream by itself, characters cut anywhere", () => {
  const told: string[] = [];
  const output = new Output({ keeps: true, tell: (line) => told.push(line) });
  const euro = bytes("a€\n");
  output.take("stdout", euro.subarray(0, 2));
  output.take("stderr", bytes("oops\nno newline"));
  output.take("stdout", euro.subarray(2));
  assert.deepEqual(output.tail(), { text: "oops\na€", dropped: 0 });
  output.end();
  assert.deepEqual(told, ["stderr: oops", "stdout: a€", "stderr: no newline"]);
  assert.equal(output.last(2, 99), "a€\nno newline");
  assert.equal(output.last(3, 4), "…line");
});

Deno.test("S-5 no line steers a terminal, turns text around or passes for another line", () => {
  const bad = "\x1b[2J\x1b]0;t\x07\r\b\x00\x9b\u202e\u2066\u2028\u200f\ufeff";
  assert.match(plain(bad), /^[\ufffd\[\]0;t2J]+$/u);
  assert.equal(plain("tab\tand ünïcode 日本"), "tab\tand ünïcode 日本");
  const output = new Output({ keeps: true });
  output.take("stdout", bytes(`x\r\n${bad}\n`));
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(output.tail().text, /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]/);
});

Deno.test("S-5 a long line goes on in the next, the tail is bounded, what left it is counted", () => {
  const output = new Output({ keeps: true });
  const chunk = bytes("x".repeat(48 << 10));
  for (let i = 0; i < 64; i++) output.take("stdout", chunk);
  output.drop(5);
  output.end();
  const { text, dropped } = output.tail();
  assert.ok(text.length <= TAIL_CHARACTERS && text.length > TAIL_CHARACTERS / 2);
  assert.ok(text.split("\n").every((line) => line.length <= LINE_CHARACTERS));
  assert.equal(dropped, 5 + 64 * chunk.length - text.length - 1);
});

Deno.test("S-5 the server gets ten lines a second after a burst, and the number of those it doesn't", () => {
  let now = 0;
  const told: string[] = [];
  const output = new Output({ keeps: false, tell: (line) => told.push(line), now: () => now });
  const flood = (lines: number) => {
    for (let i = 0; i < lines; i++) output.take("stdout", bytes(`${i}\n`));
  };
  flood(100_000);
  assert.equal(told.length, 20);
  now += 1_000;
  flood(1_000);
  // One of them says how many it didn't get.
  assert.equal(told.length, 20 + LINES_PER_SECOND);
  assert.equal(told[20], "(99980 lines were printed too fast to be sent)");
  assert.equal(told[21], "stdout: 0");
  output.end();
  assert.equal(told.at(-1), "(991 more lines were printed too fast to be sent)");
});

Deno.test("S-5 Output takes any bytes, cut anywhere, and keeps its bounds", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 2_000 }), { maxLength: 200 }), (pieces) => {
      const told: string[] = [];
      const output = new Output({ keeps: true, tell: (line) => told.push(line) });
      for (const [i, piece] of pieces.entries()) {
        output.take(i % 3 === 0 ? "stderr" : "stdout", piece);
      }
      output.end();
      const { text } = output.tail();
      assert.ok(text.length <= TAIL_CHARACTERS && text.isWellFormed());
      assert.ok(told.length <= 22 + LINES_PER_SECOND && told.every((line) => line.isWellFormed()));
      // deno-lint-ignore no-control-regex
      assert.doesNotMatch(text, /[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
    }),
    { numRuns: 200 },
  );
});
