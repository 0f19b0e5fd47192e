import assert from "node:assert/strict";
import { hex, sha3_256 } from "../base/mod.ts";
import { packResults, RESULT_LIMITS } from "./results.ts";
import { unzip } from "./unzip.ts";

async function inFolder(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${dir}/results`);
    await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("packResults() packs nested files in byte order and says size and digest", async () => {
  await inFolder(async (dir) => {
    await Deno.mkdir(`${dir}/results/b/c`, { recursive: true });
    await Deno.writeTextFile(`${dir}/results/b/c/x`, "x");
    await Deno.writeTextFile(`${dir}/results/a`, "a");
    await Deno.writeTextFile(`${dir}/results/-rf`, "dash");
    const packed = await packResults(`${dir}/results`, `${dir}/r.zip`);
    const bytes = await Deno.readFile(`${dir}/r.zip`);
    assert.deepEqual(packed, {
      size: bytes.length,
      digest: hex(sha3_256(bytes)),
      files: 3,
      skipped: 0,
    });
    assert.equal((Deno.statSync(`${dir}/r.zip`).mode ?? 0) & 0o777, 0o600);
    await unzip(`${dir}/r.zip`, `${dir}/out`, { maxBytes: 1000 });
    assert.equal(await Deno.readTextFile(`${dir}/out/b/c/x`), "x");
  });
});

Deno.test("packResults() makes the 22-byte zip of an empty folder", async () => {
  await inFolder(async (dir) => {
    assert.equal((await packResults(`${dir}/results`, `${dir}/r.zip`)).size, 22);
  });
});

Deno.test("O-1 packResults() follows no link, waits on no pipe and takes no second name of a file", async () => {
  await inFolder(async (dir) => {
    const at = (name: string) => `${dir}/results/${name}`;
    await Deno.writeTextFile(`${dir}/secret`, "canary-4711");
    await Deno.mkdir(`${dir}/outside`);
    await Deno.writeTextFile(`${dir}/outside/secret`, "canary-4711");
    await Deno.symlink(`${dir}/secret`, at("link"));
    await Deno.symlink("/proc/self/environ", at("environ"));
    await Deno.symlink(`${dir}/outside`, at("folder"));
    await Deno.symlink("self", at("self"));
    await Deno.symlink("nowhere", at("dangling"));
    await Deno.link(`${dir}/secret`, at("hard"));
    const made = await new Deno.Command("mkfifo", { args: [at("pipe")] }).output();
    assert.ok(made.success);
    using listener = Deno.listen({ transport: "unix", path: at("socket") });
    assert.ok(listener);
    await Deno.writeTextFile(at("new\nline"), "x");
    await Deno.writeTextFile(at("back\\slash"), "x");
    await Deno.writeTextFile(at("good"), "good");
    const packed = await packResults(`${dir}/results`, `${dir}/r.zip`);
    assert.deepEqual([packed.files, packed.skipped], [1, 10]);
    const text = new TextDecoder("latin1").decode(await Deno.readFile(`${dir}/r.zip`));
    assert.ok(text.includes("good") && !text.includes("canary-4711"));
  });
});

Deno.test("O-1 packResults() refuses too many files, too many bytes and a sparse terabyte", async () => {
  await inFolder(async (dir) => {
    for (let i = 0; i < 5; i++) await Deno.writeTextFile(`${dir}/results/${i}`, "x".repeat(10));
    const pack = (limits: { maxFiles: number; maxBytes: number }) =>
      packResults(`${dir}/results`, `${dir}/r.zip`, limits);
    await assert.rejects(pack({ maxFiles: 4, maxBytes: 1000 }), { code: "too-large" });
    await assert.rejects(pack({ maxFiles: 5, maxBytes: 49 }), { code: "too-large" });
    // Files count together, wherever they are.
    for (const i of [0, 1, 2, 3, 4]) {
      await Deno.mkdir(`${dir}/results/in-${i % 2}`, { recursive: true });
      await Deno.rename(`${dir}/results/${i}`, `${dir}/results/in-${i % 2}/${i}`);
    }
    await assert.rejects(pack({ maxFiles: 4, maxBytes: 1000 }), { code: "too-large" });
    await pack({ maxFiles: 5, maxBytes: 50 });
    await Deno.remove(`${dir}/r.zip`);
    await Deno.truncate(`${dir}/results/in-0/0`, 2 ** 40);
    await assert.rejects(pack(RESULT_LIMITS), { code: "too-large" });
    assert.throws(() => Deno.statSync(`${dir}/r.zip`), Deno.errors.NotFound);
  });
});

Deno.test("O-1 packResults() refuses a file that was replaced after it was listed", async () => {
  await inFolder(async (dir) => {
    // As long as `b`: its size gives nothing away.
    await Deno.writeTextFile(`${dir}/secret`, "canary-4711");
    await Deno.writeFile(`${dir}/results/a`, new Uint8Array(1 << 20));
    await Deno.writeTextFile(`${dir}/results/b`, "b".repeat(11));
    let swapped = false;
    // Asked between two pieces of `a`, when `b` has been listed and not yet opened.
    const signal = {
      throwIfAborted: () => {
        if (swapped) return;
        swapped = true;
        Deno.removeSync(`${dir}/results/b`);
        Deno.symlinkSync(`${dir}/secret`, `${dir}/results/b`);
      },
    } as AbortSignal;
    await assert.rejects(packResults(`${dir}/results`, `${dir}/r.zip`, RESULT_LIMITS, signal), {
      code: "data-loss",
    });
    assert.ok(swapped);
    assert.throws(() => Deno.statSync(`${dir}/r.zip`), Deno.errors.NotFound);
  });
});
