import assert from "node:assert/strict";
import { canBind, Ports } from "./ports.ts";

Deno.test("N-4 Ports.take() gives the lowest free port once, and again when it was given back", () => {
  const ports = new Ports({ first: 6100, last: 6102 }, (port) => port !== 6101);
  assert.deepEqual([ports.take(), ports.take()], [6100, 6102]);
  assert.throws(() => ports.take(), {
    code: "exhausted",
    message: "failed to allocate free port on host : failed to find free port in range 6100-6102",
  });
  ports.release(6100);
  ports.release(1);
  assert.equal(ports.take(), 6100);
  ports.release(6102);
  ports.hold(6102);
  assert.throws(() => ports.take(), { code: "exhausted" });
});

Deno.test("canBind() sees a port another socket holds, on one address and on every", () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  assert.equal(canBind("127.0.0.1", port), false);
  assert.equal(canBind("", port), false);
  listener.close();
  assert.equal(canBind("127.0.0.1", port), true);
});
