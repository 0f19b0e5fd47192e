import assert from "node:assert/strict";
import { exists } from "./receive.ts";
import { WorkArea } from "./work.ts";
import { treeDigest } from "./tree.ts";

async function withRoot(use: (root: string) => void | Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await use(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const mode = (path: string) => (Deno.lstatSync(path).mode ?? 0) & 0o7777;

Deno.test("WorkArea.open() refuses what is absent, a file, a link, or open to others", async () => {
  await withRoot((root) => {
    WorkArea.open(root);
    Deno.writeTextFileSync(`${root}/file`, "");
    Deno.mkdirSync(`${root}/open`);
    Deno.chmodSync(`${root}/open`, 0o755);
    Deno.symlinkSync(root, `${root}/link`);
    for (const name of ["absent", "file", "open", "link"]) {
      assert.throws(() => WorkArea.open(`${root}/${name}`), { code: "invalid-config" }, name);
    }
  });
});

Deno.test("Job makes its folders with the modes the runner's group needs", async () => {
  await withRoot((root) => {
    const job = WorkArea.open(root).newJob();
    assert.match(job.id, /^job-[0-9a-f]{16}$/);
    job.create();
    job.freshResults();
    Deno.writeTextFileSync(`${job.results}/old`, "");
    job.freshResults();
    assert.deepEqual([...Deno.readDirSync(job.results)], []);
    assert.equal(mode(job.dir) & 0o777, 0o750);
    assert.equal(mode(job.datasets) & 0o777, 0o750);
    assert.equal(mode(job.results) & 0o777, 0o770);
    assert.notEqual(job.incoming(), job.incoming());
  });
});

Deno.test("Z-1 Job.purge() and removeInputs() leave nothing, and follow no link", async () => {
  await withRoot((root) => {
    Deno.writeTextFileSync(`${root}/outside`, "whole");
    const job = WorkArea.open(root).newJob();
    job.create();
    job.freshResults();
    Deno.symlinkSync(`${root}/outside`, `${job.results}/link`);
    Deno.writeTextFileSync(job.algorithm, "canary");
    Deno.writeTextFileSync(`${job.datasets}/d`, "canary");
    job.removeInputs();
    assert.deepEqual([...Deno.readDirSync(job.dir)], []);
    job.purge();
    job.purge();
    assert.equal(exists(job.dir), false);
    assert.equal(Deno.readTextFileSync(`${root}/outside`), "whole");
  });
});

Deno.test("F-8 WorkArea.sweep() removes leftovers, keeps the journal and the named job", async () => {
  await withRoot((root) => {
    const area = WorkArea.open(root);
    const [kept, old] = [area.newJob(), area.newJob()];
    kept.create();
    old.create();
    Deno.writeTextFileSync(`${root}/journal.json`, "{}");
    Deno.writeTextFileSync(`${root}/journal.json.new`, "{");
    Deno.mkdirSync(`${root}/planted/deep`, { recursive: true });
    Deno.symlinkSync("/etc", `${root}/link`);
    assert.equal(area.sweep(kept.id).length, 4);
    assert.deepEqual(
      [...Deno.readDirSync(root)].map(({ name }) => name).sort(),
      [kept.id, "journal.json"].sort(),
    );
  });
});

Deno.test("treeDigest() changes with any path, byte, missing or added file, and refuses links", async () => {
  await withRoot(async (root) => {
    const write = (path: string, text: string) => Deno.writeTextFileSync(`${root}/${path}`, text);
    Deno.mkdirSync(`${root}/d`);
    write("d/a", "1");
    write("d/b", "2");
    write("f", "3");
    const seen = new Set([await treeDigest(root, ["f", "d"])]);
    assert.ok(seen.has(await treeDigest(root, ["d", "f"])));
    write("d/a", "x");
    seen.add(await treeDigest(root, ["d", "f"]));
    write("d/c", "");
    seen.add(await treeDigest(root, ["d", "f"]));
    Deno.removeSync(`${root}/d/b`);
    seen.add(await treeDigest(root, ["d", "f"]));
    assert.equal(seen.size, 4);
    await assert.rejects(treeDigest(root, ["gone"]), {
      code: "data-loss",
      message: "a file is not there",
    });
    Deno.symlinkSync("/etc/hostname", `${root}/d/l`);
    await assert.rejects(treeDigest(root, ["d"]), { code: "data-loss" });
  });
});
