import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { cvms, Received } from "./mod.ts";

const message = (eventId: bigint, boot = 1) =>
  create(cvms.ClientStreamMessageSchema, { eventId, bootId: new Uint8Array(8).fill(boot) });

Deno.test("C-3 Received knows a message again by life and number, in any later connection", () => {
  const received = new Received();
  assert.equal(received.isNew(message(1n)), true);
  assert.equal(received.isNew(message(2n)), true);
  assert.equal(received.isNew(message(1n)), false);
  assert.deepEqual(received.acknowledge(message(1n))?.eventId, 2n);
  assert.equal(received.isNew(message(2n)), false);
  assert.equal(received.isNew(message(3n)), true);
  assert.equal(received.isNew(message(1n, 2)), true, "another life has its own numbers");
  assert.equal(received.isNew(message(4n)), true);
});

Deno.test("Received lets messages without number pass and answers them with nothing", () => {
  const received = new Received();
  const plain = create(cvms.ClientStreamMessageSchema, {});
  const odd = create(cvms.ClientStreamMessageSchema, { eventId: 5n, bootId: new Uint8Array(3) });
  for (const each of [plain, odd]) {
    assert.equal(received.isNew(each), true);
    assert.equal(received.isNew(each), true);
    assert.equal(received.acknowledge(each), undefined);
  }
});

Deno.test("Received forgets the lives that were silent longest, so that agents can't fill memory", () => {
  const received = new Received();
  const life = (n: number) => {
    const each = message(1n);
    new DataView(each.bootId.buffer).setUint32(0, n);
    return each;
  };
  for (let n = 0; n < 1_024; n++) assert.equal(received.isNew(life(n)), true);
  assert.equal(received.isNew(life(0)), false, "the oldest speaks: it is the youngest now");
  assert.equal(received.isNew(life(5_000)), true);
  assert.equal(received.isNew(life(0)), false);
  assert.equal(received.isNew(life(1)), true, "the one that was silent longest is forgotten");
});
