import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { messageDecoder } from "./_messages.ts";

/** A message with its prefix. */
function framed(message: Uint8Array, compressed = 0): Uint8Array {
  const whole = new Uint8Array(5 + message.length);
  whole[0] = compressed;
  new DataView(whole.buffer).setUint32(1, message.length);
  whole.set(message, 5);
  return whole;
}

Deno.test("messageDecoder() gives every message whole, however the bytes are cut", () => {
  const messages = fc.array(fc.tuple(fc.uint8Array({ maxLength: 40 }), fc.nat(1)), {
    maxLength: 8,
  });
  fc.assert(
    fc.property(
      messages,
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }),
      (sent, cuts) => {
        const frames = sent.map(([message, flag]) => framed(message, flag));
        const stream = Buffer.concat(frames);
        const decoder = messageDecoder(40);
        const out: Buffer[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const piece = Buffer.from(stream.subarray(at, at + (cuts[i % cuts.length] as number)));
          out.push(...decoder.write(piece));
          piece.fill(0xee); // what was delivered may be used again
          at += piece.length;
        }
        assert.deepEqual(out.map((each) => [...each]), frames.map((each) => [...each]));
      },
    ),
  );
});

Deno.test("messageDecoder() G-6 refuses a message by its announced length", () => {
  const decoder = messageDecoder(100);
  assert.equal(decoder.write(Buffer.from(framed(new Uint8Array(100)))).length, 1);
  const head = framed(new Uint8Array(101)).subarray(0, 5);
  assert.throws(
    () => decoder.write(Buffer.from(head)),
    /^Error: Received message larger than max \(101 vs 100\)$/,
  );
});
