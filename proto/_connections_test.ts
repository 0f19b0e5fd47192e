import assert from "node:assert/strict";
import { Connections, type Counted, QUIET_MS } from "./_connections.ts";

/** A socket that only counts. */
class FakeSocket {
  bytesRead = 0;
  bytesWritten = 0;
  ended = false;
  readonly remoteAddress: string;
  constructor(remoteAddress: string) {
    this.remoteAddress = remoteAddress;
  }
  destroy() {
    this.ended = true;
    return this as unknown as ReturnType<Counted["destroy"]>;
  }
}

Deno.test("G-8 Connections keeps so many in all and so many of one address", () => {
  const connections = new Connections<FakeSocket>({ total: 3, perPeer: 2 }, () => 0);
  const take = (address: string) => connections.add(new FakeSocket(address));
  assert.deepEqual([take("a"), take("a"), take("a")], [true, true, false]);
  assert.deepEqual([take("b"), take("b"), take("c")], [true, false, false]);
  const [first] = connections.open;
  connections.remove(first as FakeSocket);
  assert.deepEqual([take("a"), take("c")], [true, false]);
});

Deno.test("G-8 Connections gives a newcomer the place of the one that was quiet longest, and of no other", () => {
  let now = 0;
  const connections = new Connections<FakeSocket>({ total: 3, perPeer: 3 }, () => now);
  const sockets = ["a", "b", "c"].map((address) => new FakeSocket(address));
  for (const socket of sockets) {
    assert.ok(connections.add(socket));
    now += 1_000;
  }
  const [quiet, uploads, downloads] = sockets as [FakeSocket, FakeSocket, FakeSocket];
  assert.equal(connections.add(new FakeSocket("d")), false);
  for (; now < QUIET_MS + 1_000; now += 1_000) {
    uploads.bytesRead += 1;
    downloads.bytesWritten += 1;
    connections.add(new FakeSocket("d"));
  }
  assert.deepEqual(sockets.map(({ ended }) => ended), [true, false, false]);
  assert.equal(quiet.ended, true);
  assert.equal(connections.add(new FakeSocket("e")), false);
});
