// Vectors first (wire.md §5), then the rules one by one. The independent reader is yauzl.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import fc from "fast-check";
import yauzl from "yauzl";
import { CocosError } from "./errors.ts";
import {
  byteOrder,
  listDirectory,
  zipDirectory,
  zipEntries,
  type ZipEntry,
  zipSize,
} from "./zip.ts";

async function collect(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(ReadableStream.from(parts)).arrayBuffer());
}

function digest(algorithm: string, bytes: Uint8Array): string {
  return createHash(algorithm).update(bytes).digest("hex");
}

async function inFolder(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "cocos-zip-" });
  try {
    await work(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const NEW_YEAR = new Date("2024-01-01T00:00:00Z");

async function file(path: string, text: string, mode = 0o644, mtime = NEW_YEAR): Promise<void> {
  await Deno.writeTextFile(path, text);
  await Deno.chmod(path, mode);
  await Deno.utime(path, mtime, mtime);
}

async function golden(dir: string): Promise<void> {
  await file(`${dir}/a.txt`, "hello\n");
  await Deno.mkdir(`${dir}/sub`);
  await file(`${dir}/sub/b.csv`, "x,y\n1,2\n");
}

/** Names and contents as yauzl reads them. */
function list(archive: Uint8Array): Promise<[string, number][]> {
  return new Promise((resolve, reject) => {
    yauzl.fromBuffer(Buffer.from(archive), (error, zip) => {
      if (error !== null) return reject(error);
      const found: [string, number][] = [];
      zip.on("entry", (entry) => found.push([entry.fileName, entry.uncompressedSize]));
      zip.on("error", reject);
      zip.on("end", () => resolve(found));
    });
  });
}

Deno.test("zipDirectory() gives the golden archive of wire.md §5", async () => {
  await inFolder(async (dir) => {
    await golden(dir);
    const archive = await collect(zipDirectory(dir));
    // The specification says 286; its own digests are those of these 284 bytes.
    assert.equal(archive.length, 284);
    assert.equal(
      digest("sha3-256", archive),
      "0416df647a14cfbe7f39eae0961a3a46198dc74a738f42c56812537a53289f40",
    );
    assert.equal(
      digest("sha256", archive),
      "2395357f8f5c7ccd367f2d44ba259fd455491293ed25dd9a17d56e3ca81e0823",
    );
    assert.equal(
      digest("sha3-256", await Deno.readFile(`${dir}/a.txt`)),
      "b314e28493eae9dab57ac4f0c6d887bddbbeb810e900d818395ace558e96516d",
    );
  });
});

Deno.test("zipSize() is the length of the archive of listDirectory()", async () => {
  await inFolder(async (dir) => {
    await golden(dir);
    await file(`${dir}/é`, "three");
    const entries = await listDirectory(dir);
    assert.deepEqual(entries.map(({ name, size }) => [name, size]), [
      ["a.txt", 6],
      ["sub/b.csv", 8],
      ["é", 5],
    ]);
    assert.equal(zipSize(entries), (await collect(zipEntries(entries))).length);
  });
  assert.equal(zipSize([]), 22);
});

Deno.test("zipDirectory() of an empty directory is the empty archive of 22 bytes", async () => {
  await inFolder(async (dir) => {
    await Deno.mkdir(`${dir}/nothing`);
    assert.equal((await collect(zipDirectory(dir))).length, 22);
  });
});

Deno.test("zipDirectory() orders names by bytes within each folder, folders in place", async () => {
  await inFolder(async (dir) => {
    await Deno.mkdir(`${dir}/a`);
    for (const name of ["a.txt", "a/z", "B", "b", "\u{1f600}", "\uff5e", "a-b"]) {
      await file(`${dir}/${name}`, "x");
    }
    const names = (await list(await collect(zipDirectory(dir)))).map(([name]) => name);
    assert.deepEqual(names, ["B", "a/z", "a-b", "a.txt", "b", "\uff5e", "\u{1f600}"]);
  });
});

Deno.test("zipDirectory() keeps modes and times, and marks read-only files", async () => {
  await inFolder(async (dir) => {
    await file(`${dir}/run`, "#!/bin/sh\n", 0o4755, new Date("1999-12-31T23:59:59.900Z"));
    await file(`${dir}/see`, "", 0o444);
    const archive = await collect(zipDirectory(dir));
    const view = new DataView(archive.buffer);
    assert.equal(view.getUint16(10, true), 29 | 59 << 5 | 23 << 11);
    assert.equal(view.getUint16(12, true), 31 + (12 << 5) + (19 << 9));
    assert.equal(view.getUint32(30 + 3 + 5, true), Date.UTC(1999, 11, 31, 23, 59, 59) / 1000);
    const central = archive.findIndex((_, i) =>
      i + 4 <= archive.length && view.getUint32(i, true) === 0x02014b50
    );
    assert.equal(view.getUint32(central + 38, true), (0o104755 << 16) >>> 0);
    assert.equal(view.getUint32(central + 46 + 3 + 9 + 38, true), (0o100444 << 16 | 1) >>> 0);
  });
});

Deno.test("zipEntries() wraps dates before 1980 as the Go writer does", async () => {
  const entry = { path: "", name: "old", mode: 0o100644, mtime: new Date(0) };
  const archive = await collect(zipEntries([entry], async function* () {}));
  const date = new DataView(archive.buffer).getUint16(12, true);
  assert.equal(date, (1 + (1 << 5) - (10 << 9)) & 0xffff);
});

Deno.test("zipDirectory() packs a link to a file with the link's mode and the target's bytes", async () => {
  await inFolder(async (dir) => {
    await file(`${dir}/target`, "content");
    await Deno.symlink("target", `${dir}/link`);
    const archive = await collect(zipDirectory(dir));
    const view = new DataView(archive.buffer);
    const central = archive.findIndex((_, i) =>
      i + 4 <= archive.length && view.getUint32(i, true) === 0x02014b50
    );
    assert.equal(view.getUint32(central + 38, true), (0o120777 << 16) >>> 0);
    assert.deepEqual(await list(archive), [["link", 7], ["target", 7]]);
  });
});

Deno.test("zipDirectory() refuses a link to a folder, a dangling link and a pipe", async () => {
  for (
    const make of [
      (dir: string) => Deno.symlink("/", `${dir}/x`),
      (dir: string) => Deno.symlink("nowhere", `${dir}/x`),
      async (dir: string) => {
        const { success } = await new Deno.Command("mkfifo", { args: [`${dir}/x`] }).output();
        assert.ok(success);
      },
    ]
  ) {
    await inFolder(async (dir) => {
      await make(dir);
      await assert.rejects(collect(zipDirectory(dir)), (error) => {
        assert.ok(error instanceof CocosError);
        assert.match(error.message, /^Cannot (pack|read) ".*\/x"/);
        return true;
      });
    });
  }
});

Deno.test("zipEntries() sets the UTF-8 flag for names some code pages would show otherwise", async () => {
  const flags = async (name: string) => {
    const entry = { path: "", name, mode: 0o100644, mtime: NEW_YEAR };
    const archive = await collect(zipEntries([entry], async function* () {}));
    return new DataView(archive.buffer).getUint16(6, true);
  };
  for (const plain of ["a", "a b/c}.x"]) assert.equal(await flags(plain), 0x0008, plain);
  for (const marked of ["é", "a~", "a\\b", "a\x7f", "日本"]) {
    assert.equal(await flags(marked), 0x0808, marked);
  }
});

Deno.test("F-3 zipEntries() refuses names that leave the folder", async () => {
  for (const name of ["", "../x", "/etc/passwd", "a//b", "a/./b", "a/..", "a\0b", "\ud800"]) {
    const entry = { path: "", name, mode: 0o100644, mtime: NEW_YEAR };
    await assert.rejects(
      collect(zipEntries([entry], async function* () {})),
      /an entry name must be a relative path/,
      JSON.stringify(name),
    );
  }
});

Deno.test("zipEntries() refuses a file whose size is not the announced one", async () => {
  const entry: ZipEntry = { path: "", name: "x", mode: 0o100644, mtime: NEW_YEAR, size: 3 };
  for (const text of ["ab", "abcd"]) {
    await assert.rejects(
      collect(zipEntries([entry], async function* () {
        yield new TextEncoder().encode(text);
      })),
      /its size changed while it was read: expected 3 bytes/,
    );
  }
});

Deno.test("zipEntries() moves to 64-bit fields at 4 GiB, with flat memory", async () => {
  const piece = new Uint8Array(16 * 1024 * 1024);
  const entry = (name: string, size: number): ZipEntry => ({
    path: "",
    name,
    mode: 0o100644,
    mtime: NEW_YEAR,
    size,
  });
  const size = 2 ** 32;
  let total = 0;
  let last = new Uint8Array();
  for await (
    const part of zipEntries([entry("big", size), entry("far", 0)], async function* ({ size }) {
      for (let left = size ?? 0; left > 0; left -= piece.length) yield piece;
    })
  ) {
    total += part.length;
    if (part !== piece) last = Uint8Array.from([...last, ...part]);
  }
  // local 42 + descriptor 24 of "big"; local 42 + descriptor 16 of "far"; two central records with
  // the 64-bit extra; the three end records.
  const directory = 42 + size + 24 + 42 + 16;
  assert.equal(total, directory + 2 * (46 + 3 + 9 + 28) + 56 + 20 + 22);
  const tail = new DataView(last.buffer);
  const big = last.length - (2 * 86 + 98);
  assert.equal(tail.getUint32(big, true), 0x02014b50);
  assert.equal(tail.getUint16(big + 6, true), 45);
  assert.equal(tail.getUint32(big + 20, true), 0xffffffff);
  assert.equal(tail.getBigUint64(big + 46 + 3 + 9 + 4, true), BigInt(size));
  const far = big + 86;
  assert.equal(tail.getUint16(far + 6, true), 20);
  assert.equal(tail.getUint32(far + 42, true), 0xffffffff);
  assert.equal(tail.getBigUint64(far + 46 + 3 + 9 + 4 + 16, true), BigInt(42 + size + 24));
  const end = far + 86;
  assert.equal(tail.getBigUint64(end + 48, true), BigInt(directory));
  assert.equal(tail.getUint16(end + 76 + 10, true), 0xffff);
});

Deno.test("byteOrder() agrees with the order of UTF-8 bytes", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.string({ unit: "grapheme" }), (a, b) => {
      const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
      assert.equal(Math.sign(byteOrder(a, b)), expected);
    }),
  );
});

Deno.test("zipEntries() archives are read back by another program's reader", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.stringMatching(/^[a-z]{1,8}(\/[a-zé~ ]{1,8}x){0,3}$/), { maxLength: 8 }),
      fc.uint8Array({ maxLength: 5000 }),
      async (names, content) => {
        const entries = names.map((name) => ({ path: "", name, mode: 0o100600, mtime: NEW_YEAR }));
        const archive = await collect(zipEntries(entries, async function* () {
          yield content;
        }));
        assert.deepEqual(await list(archive), names.map((name) => [name, content.length]));
      },
    ),
    { numRuns: 30 },
  );
});
