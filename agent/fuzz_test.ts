// The short forms of the fuzzing soaks; `deno task test:slow` runs a million of each.
import assert from "node:assert/strict";
import { manifests, requests } from "./_soak_fuzz.ts";

Deno.test("G-2 G-13 fuzz: of 10,000 signed requests broken at random only right ones come in", async () => {
  const { failures, figures } = await requests(10_000, 1);
  assert.deepEqual(failures, []);
  for (const code of ["admitted", "unauthenticated", "undeclared-item", "digest-mismatch"]) {
    assert.ok((figures[code] ?? 0) > 10, JSON.stringify(figures));
  }
});

Deno.test("M-2 M-6 G-12 fuzz: 10,000 strict manifests broken at random are typed refusals or read", async () => {
  const { failures, figures } = await manifests(10_000, 1);
  assert.deepEqual(failures, []);
  for (const code of ["invalid-manifest", "data-loss", "another agreement"]) {
    assert.ok((figures[code] ?? 0) > 10, JSON.stringify(figures));
  }
});
