import assert from "node:assert/strict";
import { answer, Counters, openHttp } from "./http.ts";

function door() {
  const counters = new Counters();
  return { counters, vms: () => 2, instanceId: "i-1" };
}

Deno.test("answer() of /health and /metrics has the Go manager's names", async () => {
  const what = door();
  what.counters.add("CreateVM", 1.5, true);
  what.counters.add("CreateVM", 2, false);
  const health = answer(new Request("http://h/health"), what);
  assert.equal(health.headers.get("content-type"), "application/health+json");
  assert.deepEqual(await health.json(), {
    status: "pass",
    version: "0.1.0",
    description: "manager service",
    instance_id: "i-1",
  });
  const metrics = await answer(new Request("http://h/metrics"), what).text();
  for (
    const line of [
      'manager_api_request_count{method="CreateVM"} 2',
      'manager_api_request_latency_microseconds_sum{method="CreateVM"} 3500',
      'manager_api_request_failed_count{method="CreateVM"} 1',
      'manager_api_request_count{method="RemoveVM"} 0',
      "manager_vms 2",
    ]
  ) assert.ok(metrics.includes(`${line}\n`), line);
});

Deno.test("answer() refuses other methods and paths", () => {
  const status = (path: string, method = "GET") =>
    answer(new Request(`http://h${path}`, { method }), door()).status;
  assert.deepEqual([
    status("/"),
    status("/health/"),
    status("/metrics", "POST"),
    status("/metrics", "DELETE"),
  ], [
    404,
    404,
    405,
    405,
  ]);
});

Deno.test("openHttp() serves, and says which setting to change when the port is taken", async () => {
  await using first = openHttp({ host: "127.0.0.1", port: 0 }, door());
  const response = await fetch(`http://127.0.0.1:${first.port}/health`);
  assert.equal((await response.json()).status, "pass");
  assert.throws(() => openHttp({ host: "127.0.0.1", port: first.port }, door()), {
    code: "unavailable",
    hint: /MANAGER_HTTP_PORT/,
  });
});
