// The HTTP/2 conformance suite h2spec against the gRPC server every process of the house uses. What
// counts is that no frame of it ends the process or leaves it mute (threats G-11, R2); where h2spec
// and Deno's HTTP/2 differ about an error code, nobody is hurt.
import assert from "node:assert/strict";
import { checkHealth } from "../../proto/mod.ts";
import { House } from "../_house.ts";
import { buildGo } from "./_go.ts";

/** Cases that pass on Deno 2.9.6; fewer means that a guard or the runtime got worse. */
const PASSED = 128;

Deno.test("G-11 (R2) h2spec ends no process and leaves the server serving", async () => {
  const h2spec = await buildGo("h2spec", "github.com/summerwind/h2spec/cmd/h2spec");
  if ("missing" in h2spec) {
    console.log(`skipped: h2spec: ${h2spec.missing}`);
    return;
  }
  await using house = await House.open("h2spec");
  const server = house.startAt("server", Deno.execPath(), [
    "run",
    "--no-prompt",
    "--quiet",
    "--cached-only",
    "--no-check",
    "--ignore-env",
    "--allow-net=127.0.0.1:0",
    House.path("proto/testdata/server.ts"),
  ]);
  const port = await server.until((line) => /^\d+$/.test(line), "its port");
  const { stdout, stderr } = await house.runAt(h2spec.path, [
    "--host=127.0.0.1",
    `--port=${port}`,
    "--path=/agent.AgentService/Algo",
    "--timeout=1",
  ]);
  const counts = /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(stdout);
  assert.ok(counts !== null, stdout.slice(-2_000) + stderr);
  const serving = await checkHealth({
    target: { host: "127.0.0.1", port: Number(port) },
    security: { kind: "none" },
    service: "agent",
    timeoutMs: 60_000,
  });
  assert.equal(serving, true, "an honest client is not served any more");
  // Everything but the port would be an exception's text.
  assert.deepEqual(server.lines, [port]);
  console.log(`h2spec: ${counts[0]}, 0 uncaught exceptions`);
  assert.ok(Number(counts[2]) >= PASSED, `only ${counts[2]} cases passed\n${stdout.slice(-4_000)}`);
});
