// Order of kernel modules, from what the modules say of themselves.
import assert from "node:assert/strict";
import { closure, dependsOf } from "./_modules.ts";

const module = (depends: string) =>
  new TextEncoder().encode(`\x7fELF junk\0license=GPL\0depends=${depends}\0name=x\0`);

Deno.test("dependsOf() reads the list from .modinfo", () => {
  assert.deepEqual(dependsOf(module("netfs,9pnet")), ["netfs", "9pnet"]);
  assert.deepEqual(dependsOf(module("")), []);
});

Deno.test("closure() puts each module after what it needs, once, and skips built-in ones", async () => {
  const needs: Record<string, string> = { "9p": "netfs,9pnet", "9pnet": "", "a-b": "9p" };
  const order = await closure(
    ["9p", "a-b"],
    (name) => Promise.resolve(name === "netfs" ? undefined : module(needs[name] ?? "")),
  );
  assert.equal(order, "9pnet.ko\n9p.ko\na_b.ko\n");
});
