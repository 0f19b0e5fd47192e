import assert from "node:assert/strict";
import fc from "fast-check";
import { Journal, NO_PROGRESS, type Snapshot } from "./journal.ts";
import { WorkArea } from "./work.ts";

async function withArea(use: (area: WorkArea) => void): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    use(WorkArea.open(dir));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const full: Snapshot = {
  state: "ReceivingData",
  computation: {
    job: "job-0123456789abcdef",
    mode: "strict",
    manifest: new Uint8Array([1, 2, 3]),
    progress: {
      algorithm: { kind: "python", args: ["--x", "é"], pythonRuntime: "", requirements: "ab" },
      datasets: [{ index: 1, names: ["a.csv"], tree: "cd" }],
      runs: 1,
      results: { size: 22, digest: "ef" },
      consumed: [0, 2],
      failure: "algorithm execution error: exit status 3",
    },
  },
};

Deno.test("Journal gives back what was written last", async () => {
  await withArea((area) => {
    const journal = new Journal(area);
    assert.equal(journal.read(), undefined);
    journal.write({ state: "Idle" });
    assert.deepEqual(journal.read(), { state: "Idle" });
    journal.write(full);
    assert.deepEqual(journal.read(), full);
    assert.equal((Deno.statSync(`${area.root}/journal.json`).mode ?? 0) & 0o777, 0o600);
    const empty = { ...full.computation, progress: NO_PROGRESS } as Required<
      Snapshot
    >["computation"];
    journal.write({ state: "ReceivingAlgorithm", computation: empty });
    assert.deepEqual(journal.read()?.computation?.progress, NO_PROGRESS);
  });
});

Deno.test("C-2 Journal: a draft cut at any byte leaves the version before it", async () => {
  await withArea((area) => {
    const journal = new Journal(area);
    journal.write(full);
    const bytes = Deno.readFileSync(`${area.root}/journal.json`);
    for (let length = 0; length <= bytes.length; length += 13) {
      Deno.writeFileSync(`${area.root}/journal.json.new`, bytes.slice(0, length));
      assert.deepEqual(journal.read(), full);
    }
    journal.write({ state: "Idle" });
    assert.deepEqual(journal.read(), { state: "Idle" });
  });
});

Deno.test("C-2 Journal: damaged content is data-loss, never a half-read computation", async () => {
  await withArea((area) => {
    const journal = new Journal(area);
    journal.write(full);
    const bytes = Deno.readFileSync(`${area.root}/journal.json`);
    fc.assert(fc.property(fc.nat(bytes.length - 1), (length) => {
      Deno.writeFileSync(`${area.root}/journal.json`, bytes.slice(0, length));
      assert.throws(() => journal.read(), { code: "data-loss" });
    }));
    for (
      const text of [
        "[]",
        `{"version":2,"state":"Idle"}`,
        `{"version":1,"state":"Elsewhere"}`,
        `{"version":1,"state":"Running","computation":{"job":"../x","manifest":"","progress":{}}}`,
        JSON.stringify({
          ...full,
          version: 1,
          computation: {
            ...full.computation,
            manifest: "",
            progress: {
              ...full.computation?.progress,
              datasets: [{ index: 0, names: ["../x"], tree: "" }],
            },
          },
        }),
      ]
    ) {
      Deno.writeTextFileSync(`${area.root}/journal.json`, text);
      assert.throws(() => journal.read(), { code: "data-loss" }, text);
    }
    Deno.removeSync(`${area.root}/journal.json`);
    Deno.symlinkSync("/etc/hostname", `${area.root}/journal.json`);
    assert.throws(() => journal.read(), { code: "data-loss" });
  });
});

Deno.test("F-6 Journal: a write that fails throws and keeps the version before it", async () => {
  await withArea((area) => {
    const journal = new Journal(area);
    journal.write(full);
    Deno.mkdirSync(`${area.root}/journal.json.new`);
    assert.throws(() => journal.write({ state: "Idle" }), { code: "io" });
    assert.deepEqual(journal.read(), full);
  });
});
