// Launches as records hold them, processors' names, and callers who ask for policies at once.
import assert from "node:assert/strict";
import { parseLaunch, type TeeLaunch } from "./launch.ts";
import { productLineOf } from "./machine.ts";
import { Policies } from "./policies.ts";
import { parseRecord } from "./record.ts";

const GOOD = {
  kind: "snp",
  files: { igvm: { path: "/a.igvm", sha256: "ab".repeat(32) } },
  cmdline: "quiet",
  cpus: 4,
  memoryBytes: 2 ** 31,
  machine: "q35",
  hostData: `${"A".repeat(43)}=`,
  productLine: "Milan",
};

Deno.test("parseLaunch() reads what was written", () => {
  assert.deepEqual(parseLaunch(JSON.parse(JSON.stringify(GOOD))), GOOD);
  assert.deepEqual(parseLaunch({ kind: "plain", files: 1 }), { kind: "plain" });
});

Deno.test("N-8 parseLaunch() refuses damaged launches with the field, and a record with one is not read", () => {
  const file = GOOD.files.igvm;
  for (
    const [change, why] of [
      [{ kind: "sev" }, /kind/],
      [{ files: undefined }, /files is no object/],
      [{ files: { other: file } }, /unknown name/],
      [{ files: { igvm: "x" } }, /files.igvm is no object/],
      [{ files: { igvm: { ...file, path: "a" } } }, /igvm.path/],
      [{ files: { igvm: { ...file, sha256: "ab" } } }, /igvm.sha256/],
      [{ cmdline: 1 }, /cmdline/],
      [{ machine: 1 }, /machine/],
      [{ cpus: 0 }, /cpus/],
      [{ memoryBytes: 1.5 }, /memoryBytes/],
      [{ hostData: "AA==" }, /hostData/],
      [{ productLine: 1 }, /productLine/],
    ] as const
  ) {
    assert.throws(() => parseLaunch({ ...GOOD, ...change }), why);
  }
  const id = "00000000-0000-4000-8000-000000000000";
  const record = { version: 1, id, port: 6100, stage: "running", created: 1, command: [] };
  assert.equal(parseRecord(JSON.stringify(record), id).launch, undefined);
  assert.deepEqual(parseRecord(JSON.stringify({ ...record, launch: GOOD }), id).launch, GOOD);
  assert.throws(() => parseRecord(JSON.stringify({ ...record, launch: null }), id), /no object/);
});

Deno.test("productLineOf() knows AMD's numbers, and says nothing of other processors", () => {
  for (
    const [model, line] of [
      ["AMD EPYC 7763 64-Core Processor", "Milan"],
      ["AMD EPYC 72F3 8-Core Processor", "Milan"],
      ["AMD EPYC 7R13 Processor", "Milan"],
      ["AMD EPYC 7473X 24-Core Processor", "Milan"],
      ["AMD EPYC 9654 96-Core Processor", "Genoa"],
      ["AMD EPYC 9R14", "Genoa"],
      ["AMD EPYC 8534P 64-Core Processor", "Genoa"],
      ["AMD EPYC 9755 128-Core Processor", "Turin"],
      ["AMD EPYC 7742 64-Core Processor", undefined],
      ["AMD EPYC 4584PX 16-Core Processor", undefined],
      ["AMD EPYC", undefined],
      ["Intel(R) Xeon(R) Gold 7763 CPU", undefined],
      ["", undefined],
    ] as const
  ) {
    assert.equal(productLineOf(model), line, model);
  }
});

Deno.test("Policies: callers who ask for one VM at once share an answer, its failure too; later ones get their own", async () => {
  const policies = new Policies();
  const launch: TeeLaunch = { ...parseLaunch(GOOD) as TeeLaunch, productLine: undefined };
  const first = policies.of("a", launch);
  assert.equal(policies.of("a", launch), first);
  const other = policies.of("b", { kind: "plain" });
  assert.notEqual(other, first);
  await assert.rejects(first, { code: "not-supported", status: 2 });
  assert.equal((await other).length, 0);
  assert.notEqual(policies.of("a", { kind: "plain" }), first);
});
