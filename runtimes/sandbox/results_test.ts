import assert from "node:assert/strict";
import { BASE, lockBase } from "../_harness.ts";
import { MAX_RESULT_DEPTH, normaliseResults } from "./results.ts";

async function sh(script: string, ...args: string[]): Promise<boolean> {
  const { success } = await new Deno.Command("/bin/sh", { args: ["-c", script, "sh", ...args] })
    .output();
  return success;
}

async function inRoot(test: (root: string) => Promise<void>): Promise<void> {
  using _lock = await lockBase();
  await Deno.mkdir(BASE, { recursive: true });
  const root = await Deno.makeTempDir({ dir: BASE });
  try {
    await test(root);
  } finally {
    await Deno.remove(BASE, { recursive: true });
  }
}

const mode = (path: string) => ((Deno.lstatSync(path).mode ?? 0) & 0o7777).toString(8);

Deno.test("normaliseResults() O-1 counts files, skips the rest and sets modes without following", async () => {
  await inRoot(async (root) => {
    await sh(
      'cd "$1" && mkdir -p a/b && printf 12345 > a/b/f && ln -s ../outside l && mkfifo p && ' +
        "printf x > ../outside && chmod 600 ../outside && chmod 4777 a/b/f && chmod 700 a",
      root,
    );
    const count = await normaliseResults(root);
    assert.deepEqual(count, {
      files: 1,
      bytes: 5,
      directories: 2,
      skipped: 2,
      tooDeep: 0,
      unnameable: 0,
    });
    assert.deepEqual([mode(root), mode(`${root}/a`), mode(`${root}/a/b/f`)], [
      "2770",
      "2770",
      "640",
    ]);
    assert.equal(mode(`${BASE}/outside`), "600");
  });
});

Deno.test("normaliseResults() O-1 brings back the shared group", async () => {
  await inRoot(async (root) => {
    await sh('mkdir "$1/d" && printf x > "$1/d/f"', root);
    if (!await sh('chgrp -R 12345 "$1/d" && chmod g-s "$1/d"', root)) {
      return console.log("skipped: only root can give files to another group");
    }
    await normaliseResults(root);
    const { gid } = Deno.lstatSync(root);
    assert.deepEqual([Deno.lstatSync(`${root}/d`).gid, Deno.lstatSync(`${root}/d/f`).gid], [
      gid,
      gid,
    ]);
    assert.equal(mode(`${root}/d`), "2770");
  });
});

Deno.test("normaliseResults() O-1 flattens what is too deep, so that it can be removed", async () => {
  await inRoot(async (root) => {
    const { success } = await new Deno.Command("/usr/bin/python3", {
      args: [
        "-c",
        "import os,sys\nos.chdir(sys.argv[1])\n" +
        "for i in range(1000): os.mkdir('d'); os.chdir('d')\nopen('f','w').close()",
        root,
      ],
    }).output();
    assert.ok(success);
    const count = await normaliseResults(root);
    assert.ok(count.tooDeep >= Math.floor(1000 / (MAX_RESULT_DEPTH + 1)), String(count.tooDeep));
    assert.deepEqual([count.files, count.directories], [1, 1000]);
  });
});

Deno.test("normaliseResults() says when there is no such directory", async () => {
  await assert.rejects(normaliseResults(`${BASE}/none`), { name: "CocosError", code: "io" });
});
