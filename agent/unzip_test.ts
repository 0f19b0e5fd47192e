import assert from "node:assert/strict";
import { zipDirectory } from "../base/mod.ts";
import { CocosError } from "../base/mod.ts";
import { type Made, type Whole, zipOf } from "./_zip.ts";
import { unzip, type UnzipOptions } from "./unzip.ts";
import { treeDigest } from "./tree.ts";

async function inFolder(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const limits: UnzipOptions = { maxBytes: 1 << 20 };

async function attempt(archive: Uint8Array, options = limits): Promise<CocosError | undefined> {
  let thrown: CocosError | undefined;
  await inFolder(async (dir) => {
    await Deno.writeFile(`${dir}/in.zip`, archive);
    await Deno.writeTextFile(`${dir}/victim`, "whole");
    try {
      await unzip(`${dir}/in.zip`, `${dir}/out`, options);
    } catch (error) {
      assert.ok(error instanceof CocosError, String(error));
      thrown = error;
    }
    const left = [...Deno.readDirSync(dir)].map(({ name }) => name).sort();
    assert.deepEqual(
      left,
      thrown === undefined ? ["in.zip", "out", "victim"] : ["in.zip", "victim"],
    );
    assert.equal(await Deno.readTextFile(`${dir}/victim`), "whole");
  });
  return thrown;
}

Deno.test("unzip() unpacks stored and deflated files, folders and nested paths", async () => {
  await inFolder(async (dir) => {
    const archive = zipOf([
      { name: "a.csv", data: "1,2\n" },
      { name: "sub/", mode: 0o040755 },
      { name: "sub/deep/b.txt", data: "b".repeat(1000), deflate: true },
      { name: "sub/empty" },
    ], { comment: "made by hand" });
    await Deno.writeFile(`${dir}/in.zip`, archive);
    const names = await unzip(`${dir}/in.zip`, `${dir}/out`, limits);
    assert.deepEqual([...names].sort(), ["a.csv", "sub"]);
    assert.equal(await Deno.readTextFile(`${dir}/out/a.csv`), "1,2\n");
    assert.equal((await Deno.readTextFile(`${dir}/out/sub/deep/b.txt`)).length, 1000);
    assert.equal(Deno.statSync(`${dir}/out/sub/empty`).size, 0);
    assert.equal((Deno.statSync(`${dir}/out/a.csv`).mode ?? 0) & 0o777, 0o640);
    assert.equal((Deno.statSync(`${dir}/out/sub`).mode ?? 0) & 0o777, 0o750);
  });
});

Deno.test("unzip() unpacks what our own directory zip makes", async () => {
  await inFolder(async (dir) => {
    await Deno.mkdir(`${dir}/src/x`, { recursive: true });
    await Deno.writeTextFile(`${dir}/src/x/1`, "one");
    await Deno.writeTextFile(`${dir}/src/2`, "two");
    using file = await Deno.open(`${dir}/in.zip`, { write: true, createNew: true });
    for await (const chunk of zipDirectory(`${dir}/src`)) await file.write(chunk);
    const names = await unzip(`${dir}/in.zip`, `${dir}/out`, limits);
    assert.equal(await treeDigest(`${dir}/out`, names), await treeDigest(`${dir}/src`, ["2", "x"]));
  });
});

const ok: Made = { name: "ok", data: "fine" };
const ZIP64 = new Uint8Array([1, 0, 8, 0, 255, 255, 255, 255, 255, 255, 255, 127]);

const CORPUS: Record<string, [readonly Made[], Whole?]> = {
  "parent": [[ok, { name: "../x" }]],
  "parent inside": [[ok, { name: "a/../../x" }]],
  "parent at end": [[ok, { name: "a/.." }]],
  "dot": [[ok, { name: "./x" }]],
  "dot inside": [[ok, { name: "a/./x" }]],
  "absolute": [[ok, { name: "/etc/passwd" }]],
  "double slash": [[ok, { name: "a//x" }]],
  "empty name": [[ok, { name: "" }]],
  "slash only": [[ok, { name: "/" }]],
  "drive": [[ok, { name: "C:/x" }]],
  "drive relative": [[ok, { name: "c:x" }]],
  "backslash": [[ok, { name: "..\\x" }]],
  "backslash inside": [[ok, { name: "a\\b" }]],
  "UNC": [[ok, { name: "\\\\host\\x" }]],
  "NUL": [[ok, { name: "a\0b" }]],
  "newline": [[ok, { name: "a\nb" }]],
  "escape": [[ok, { name: "\x1b[2J" }]],
  "delete": [[ok, { name: "a\x7f" }]],
  "bad UTF-8": [[ok, { name: new Uint8Array([0x61, 0xff, 0xfe]) }]],
  "symlink": [[ok, { name: "l", data: "/etc/passwd", mode: 0o120777 }]],
  "symlink then through it": [[{ name: "l", data: "..", mode: 0o120777 }, {
    name: "l/victim",
    data: "x",
  }]],
  "fifo": [[ok, { name: "f", mode: 0o010644 }]],
  "socket": [[ok, { name: "s", mode: 0o140644 }]],
  "character device": [[ok, { name: "c", mode: 0o020644 }]],
  "block device": [[ok, { name: "b", mode: 0o060644 }]],
  "setuid": [[ok, { name: "s", mode: 0o104755 }]],
  "setgid": [[ok, { name: "s", mode: 0o102755 }]],
  "folder mode on file": [[ok, { name: "d", mode: 0o040755 }]],
  "file mode on folder": [[ok, { name: "d/", mode: 0o100644 }]],
  "folder with content": [[ok, { name: "d/", mode: 0o040755, data: "x" }]],
  "duplicate": [[ok, ok]],
  "case twin": [[ok, { name: "OK" }]],
  "normal-form twin": [[{ name: "\u00e9" }, { name: "e\u0301" }]],
  "file under file": [[ok, { name: "ok/x" }]],
  "file over folder": [[{ name: "ok/x" }, ok]],
  "file over folder entry": [[{ name: "ok/", mode: 0o040755 }, ok]],
  "case twin folder": [[{ name: "A/x" }, { name: "a" }]],
  "encrypted": [[ok, { name: "e", flags: 0x801 }]],
  "strongly encrypted": [[ok, { name: "e", flags: 0x841 }]],
  "masked": [[ok, { name: "e", flags: 0x2800 }]],
  "bzip2": [[ok, { name: "m", method: 12 }]],
  "lzma": [[ok, { name: "m", method: 14 }]],
  "stored with two sizes": [[ok, { name: "m", data: "abc", size: 2 }]],
  "other local name": [[ok, { name: "a", local: { name: "b" } }]],
  "other local method": [[ok, { name: "a", data: "abc", local: { method: 8 } }]],
  "other local flags": [[ok, { name: "a", local: { flags: 0 } }]],
  "other local size": [[ok, { name: "a", data: "abc", local: { size: 9 } }]],
  "other local packed size": [[ok, { name: "a", data: "abc", local: { packed: 9 } }]],
  "other local checksum": [[ok, { name: "a", data: "abc", local: { crc: 9 } }]],
  "wrong checksum": [[ok, { name: "a", data: "abc", crc: 9 }]],
  "size too small": [[ok, { name: "a", data: "a".repeat(99), deflate: true, size: 5 }]],
  "size too large": [[ok, { name: "a", data: "a".repeat(99), deflate: true, size: 500 }]],
  "damaged stream": [[ok, { name: "a", data: "\xff\xff\xff", method: 8 }]],
  "overlap": [[ok, { name: "ok2", data: "fine", offset: 0, local: {} }]],
  "shared bytes": [[{ name: "a", data: "x".repeat(90), packed: 130, size: 130 }, { name: "b" }]],
  // The bytes of `a` are a whole local header and content of `b`, and the directory points at both.
  "overlap of a file and a header in it": [[
    { name: "a", data: zipOf([{ name: "b", data: "hi" }]).slice(0, 33) },
    { name: "b", data: "hi", offset: 31 },
  ]],
  "offset past the end": [[ok, { name: "a", offset: 1 << 20 }]],
  "zip64 lie": [[ok, { name: "a", size: 0xffffffff, extra: ZIP64 }]],
  "second name": [[ok, {
    name: "a",
    extra: new Uint8Array([0x75, 0x70, 6, 0, 1, 0, 0, 0, 0, 0x62]),
  }]],
  "bytes before": [[ok], { before: new Uint8Array(10) }],
  "bytes after": [[ok], { after: new Uint8Array(10) }],
  "more entries announced": [[ok], { count: 2 }],
  "directory elsewhere": [[ok], { directoryOffset: 1 << 20 }],
  "name of 1,025 bytes": [[ok, { name: "x/".repeat(20) + "y".repeat(1_000) }]],
  "component of 256 bytes": [[ok, { name: "y".repeat(256) }]],
  "33 folders deep": [[ok, { name: "x/".repeat(33) + "y" }]],
  "over the quota": [[ok, { name: "big", data: "z".repeat((1 << 20) + 1), deflate: true }]],
};

Deno.test("F-3 unzip() refuses each archive of the corpus whole and leaves nothing", async () => {
  assert.ok(Object.keys(CORPUS).length >= 60);
  for (const [what, [entries, whole]] of Object.entries(CORPUS)) {
    const error = await attempt(zipOf(entries, whole ?? {}));
    assert.equal(error?.code, "invalid-archive", `${what}: ${error?.message ?? "taken"}`);
    assert.match(error?.message ?? "", /^error decompressing dataset: /);
  }
});

Deno.test("F-3 unzip() refuses what is no archive and one that is cut off anywhere", async () => {
  const whole = zipOf([ok, { name: "b", data: "x".repeat(50), deflate: true }]);
  for (let length = 0; length < whole.length; length += 7) {
    assert.ok(await attempt(whole.slice(0, length)), `cut at ${length}`);
  }
  assert.ok(await attempt(new TextEncoder().encode("not a zip")));
});

Deno.test("F-4 unzip() refuses bombs by quota, ratio and number of entries", async () => {
  const zeros = new Uint8Array(80 << 20);
  const bomb = zipOf([{ name: "zeros", data: zeros, deflate: true }]);
  assert.match((await attempt(bomb, { maxBytes: 2 ** 40 }))?.message ?? "", /200 times/);
  assert.match((await attempt(bomb, { maxBytes: 1 << 20 }))?.message ?? "", /more than 1048576/);
  const many = zipOf(Array.from({ length: 50_001 }, (_, i) => ({ name: `${i}` })));
  assert.match((await attempt(many))?.message ?? "", /at most 50000 entries/);
});

Deno.test("unzip() lets the caller refuse entries and stops when told to", async () => {
  const refuse = (name: string) => name.endsWith(".whl") ? undefined : "must be a wheel";
  assert.match(
    (await attempt(zipOf([ok]), { ...limits, refuse }))?.message ?? "",
    /must be a wheel/,
  );
  const stop = new AbortController();
  stop.abort(new CocosError("cancelled", "stop"));
  assert.equal((await attempt(zipOf([ok]), { ...limits, signal: stop.signal }))?.code, "cancelled");
});
