import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { Journal, NO_PROGRESS, type Snapshot } from "./journal.ts";
import type { Disk } from "./replace.ts";
import { removeAll, WorkArea } from "./work.ts";

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

/** A disk that writes down what it was asked. */
function recorder() {
  const steps: { op: keyof Disk; path: string; to?: string; bytes?: Uint8Array }[] = [];
  const disk: Disk = {
    write: (path, bytes) => void steps.push({ op: "write", path, bytes }),
    sync: (path) => void steps.push({ op: "sync", path }),
    rename: (path, to) => void steps.push({ op: "rename", path, to }),
    syncFolder: (path) => void steps.push({ op: "syncFolder", path }),
  };
  return { steps, disk };
}

/**
 * Every content `path` may have when the power goes after these steps: bytes that were not synced may
 * be there up to any length, a rename that was not synced may have happened or not.
 */
function afterPowerCut(steps: ReturnType<typeof recorder>["steps"], path: string) {
  type File = { bytes: Uint8Array; synced: boolean };
  const files = new Map<string, File>();
  // What the folder on the disk may say the name stands for.
  let names: (File | undefined)[] = [undefined];
  for (const { op, path: at, to, bytes } of steps) {
    if (op === "write") files.set(at, { bytes: bytes as Uint8Array, synced: false });
    if (op === "sync") (files.get(at) as File).synced = true;
    if (op === "rename" && to === path) names = [...names, files.get(at)];
    if (op === "syncFolder") names = names.slice(-1);
  }
  return names.flatMap((file) => {
    if (file === undefined || file.synced) return [file?.bytes];
    const { bytes } = file;
    return [0, 1, bytes.length >> 1, bytes.length - 1, bytes.length].map((n) => bytes.slice(0, n));
  });
}

Deno.test("C-2 Journal: whenever the power goes, the version before or the version after is there", async () => {
  await withArea((area) => {
    const versions: Snapshot[] = [{ state: "Idle" }, full, { state: "ReceivingManifest" }, full];
    const path = `${area.root}/journal.json`;
    const { steps, disk } = recorder();
    const journal = new Journal(area, disk);
    // Number of steps after which each version was promised to be there.
    const promised = versions.map((version) => {
      journal.write(version);
      return steps.length;
    });
    const real = new Journal(area);
    let images = 0;
    for (let cut = 0; cut <= steps.length; cut++) {
      const done = promised.filter((count) => count <= cut).length;
      for (const content of afterPowerCut(steps.slice(0, cut), path)) {
        if (content === undefined) removeAll(path);
        else Deno.writeFileSync(path, content);
        const found = real.read();
        const allowed = [versions[done - 1], versions[done]].filter((_, i) => i === 0 || done < 4);
        assert.ok(
          allowed.some((version) => isDeepStrictEqual(version, found)),
          `after ${cut} steps: ${JSON.stringify(found)}`,
        );
        images++;
      }
    }
    assert.ok(images > 20);
  });
});
