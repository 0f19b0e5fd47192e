import assert from "node:assert/strict";
import { decide, encodeProgram, MAX_INSTRUCTIONS, Op, op } from "./bpf.ts";
import { interpret } from "./_interpret.ts";

Deno.test("encodeProgram() lays out struct sock_filter in little-endian order", () => {
  assert.deepEqual(
    encodeProgram([op(Op.EQUAL, 0xc000003e, 1, 0), op(Op.RETURN, 0), op(Op.RETURN, 0x7fff0000)]),
    // deno-fmt-ignore
    new Uint8Array([
      0x15, 0, 1, 0, 0x3e, 0, 0, 0xc0,
      0x06, 0, 0, 0, 0, 0, 0, 0,
      0x06, 0, 0, 0, 0, 0, 0xff, 0x7f,
    ]),
  );
});

Deno.test("encodeProgram() refuses what the kernel would refuse", () => {
  assert.throws(() => encodeProgram([]), RangeError);
  assert.throws(() => encodeProgram(new Array(MAX_INSTRUCTIONS + 1).fill(op(Op.RETURN, 0))));
  assert.throws(() => encodeProgram([op(Op.LOAD, 0)]), /out of the program at instruction 0/);
  assert.throws(() => encodeProgram([op(Op.EQUAL, 1, 0, 1), op(Op.RETURN, 0)]), /instruction 0/);
  assert.throws(() => encodeProgram([op(Op.JUMP, 1), op(Op.RETURN, 0)]), /instruction 0/);
  assert.throws(() => op(Op.EQUAL, 1, 256, 0), RangeError);
  assert.throws(() => op(Op.EQUAL, 2 ** 32), RangeError);
});

Deno.test("decide() finds the range of every number, also when a half is over 255 long", () => {
  const long = new Array(300).fill(op(Op.JUMP, 0));
  const ranges = [0, 3, 4, 100, 101, 350].map((from) => ({
    from,
    body: [...(from === 4 ? long : []), op(Op.RETURN, from)],
  }));
  const program = [op(Op.LOAD, 0), ...decide(ranges)];
  encodeProgram(program);
  for (let number = 0; number < 400; number++) {
    const expected = ranges.findLast((range) => range.from <= number)?.from;
    assert.equal(interpret(program, { number, architecture: 0, args: [] }), expected);
  }
  assert.throws(() => decide([]), RangeError);
  assert.throws(() => decide([ranges[1], ranges[0]].map((range) => range!)), /do not rise/);
});
