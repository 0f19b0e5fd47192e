// Hostile archives (threats F-3, O-8): each must be refused whole, with nothing unpacked. They are
// built here record by record, so that each is wrong in one thing only.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { crc32, deflateRawSync } from "node:zlib";
import { CocosError } from "../base/mod.ts";
import { checkArchive, extractArchive } from "./archive.ts";
import { inFolder } from "./_fakes.ts";

/** One entry; everything but the name has an honest default. */
interface Part {
  name: string | Uint8Array;
  data?: string;
  mode?: number;
  localName?: string;
  flags?: number;
  localFlags?: number;
  method?: number;
  localMethod?: number;
  crc?: number;
  size?: number;
  compressedSize?: number;
  offset?: number;
}

const FILE = 0o100644;

/** An archive of the given entries, with changes to the end record. */
function craft(parts: readonly Part[], end: { tail?: string; count?: number } = {}): Uint8Array {
  const locals: Uint8Array[] = [];
  const centrals: Uint8Array[] = [];
  let offset = 0;
  for (const part of parts) {
    const name = Buffer.from(part.name);
    const raw = Buffer.from(part.data ?? "data");
    const method = part.method ?? 0;
    const body = method === 8 ? deflateRawSync(raw) : raw;
    const crc = part.crc ?? crc32(raw);
    const size = part.size ?? raw.length;
    const compressed = part.compressedSize ?? body.length;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(20, 4);
    local.writeUInt16LE(part.localFlags ?? part.flags ?? 0, 6);
    local.writeUInt16LE(part.localMethod ?? method, 8);
    local.writeUInt32LE(crc, 14);
    local.writeUInt32LE(compressed, 18);
    local.writeUInt32LE(size, 22);
    const localName = Buffer.from(part.localName ?? part.name);
    local.writeUInt16LE(localName.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(3 << 8 | 20, 4);
    central.writeUInt16LE(20, 6);
    central.writeUInt16LE(part.flags ?? 0, 8);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(crc, 16);
    central.writeUInt32LE(compressed, 20);
    central.writeUInt32LE(size, 24);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(((part.mode ?? FILE) << 16) >>> 0, 38);
    central.writeUInt32LE(part.offset ?? offset, 42);
    locals.push(local, localName, body);
    centrals.push(central, name);
    offset += 30 + localName.length + body.length;
  }
  const length = centrals.reduce((sum, each) => sum + each.length, 0);
  const record = Buffer.alloc(22);
  record.writeUInt32LE(0x06054b50, 0);
  record.writeUInt16LE(end.count ?? parts.length, 8);
  record.writeUInt16LE(end.count ?? parts.length, 10);
  record.writeUInt32LE(length, 12);
  record.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, ...centrals, record, Buffer.from(end.tail ?? "")]);
}

const HOSTILE: Record<string, Uint8Array> = {
  "parent folder": craft([{ name: "../x" }]),
  "parent folder inside": craft([{ name: "a/../../x" }]),
  "parent folder at the end": craft([{ name: "a/.." }]),
  "parent folder alone": craft([{ name: ".." }]),
  "current folder": craft([{ name: "./x" }]),
  "absolute": craft([{ name: "/etc/passwd" }]),
  "two slashes": craft([{ name: "a//b" }]),
  "drive letter": craft([{ name: "C:/x" }]),
  "backslash": craft([{ name: "..\\x" }]),
  "empty name": craft([{ name: "" }]),
  "slash alone": craft([{ name: "/", data: "" }]),
  "NUL in the name": craft([{ name: "a\0b" }]),
  "line end in the name": craft([{ name: "a\nb" }]),
  "escape in the name": craft([{ name: "a\x1b[2Jb" }]),
  "part of 256 bytes": craft([{ name: "a".repeat(256) }]),
  "path of 3,000 bytes": craft([{ name: "a/".repeat(1500) + "b" }]),
  "symbolic link": craft([{ name: "x", data: "/etc/passwd", mode: 0o120777 }]),
  "link, then a file through it": craft([
    { name: "x", data: "/tmp", mode: 0o120777 },
    { name: "x/y" },
  ]),
  "character device": craft([{ name: "x", mode: 0o020666 }]),
  "block device": craft([{ name: "x", mode: 0o060666 }]),
  "pipe": craft([{ name: "x", mode: 0o010666 }]),
  "socket": craft([{ name: "x", mode: 0o140666 }]),
  "folder that is called a file": craft([{ name: "x/", data: "", mode: FILE }]),
  "file that is called a folder": craft([{ name: "x", mode: 0o040755 }]),
  "set-uid": craft([{ name: "x", mode: 0o104755 }]),
  "set-gid": craft([{ name: "x", mode: 0o102755 }]),
  "sticky": craft([{ name: "x", mode: 0o101755 }]),
  "same name twice": craft([{ name: "x" }, { name: "x" }]),
  "file and folder of one name": craft([{ name: "x" }, { name: "x/", data: "", mode: 0o040755 }]),
  "file below a file": craft([{ name: "x" }, { name: "x/y" }]),
  "file far below a file": craft([{ name: "a/x/b/c" }, { name: "a/x" }]),
  "encrypted": craft([{ name: "x", flags: 1 }]),
  "unknown compression": craft([{ name: "x", method: 12 }]),
  "other local name": craft([{ name: "x", localName: "y" }]),
  "other local method": craft([{ name: "x", localMethod: 8 }]),
  "other local flags": craft([{ name: "x", localFlags: 8 }]),
  "wrong CRC": craft([{ name: "x", crc: 1 }]),
  "stored with two sizes": craft([{ name: "x", size: 3 }]),
  "inflates to more than announced": craft([{ name: "x", method: 8, size: 3 }]),
  "inflates to less than announced": craft([{ name: "x", method: 8, size: 5 }]),
  "no deflate data": craft([{ name: "x", method: 8, compressedSize: 2 }]),
  "overlapping entries": craft([{ name: "x" }, { name: "x", offset: 0 }]),
  "entry behind the directory": craft([{ name: "x", offset: 400 }]),
  "data that reaches into the directory": craft([{ name: "x", size: 60, compressedSize: 60 }]),
  "bomb by announcement": craft([{ name: "x", method: 8, size: 0xfffffff0 }]),
  "bytes behind the end": craft([{ name: "x" }], { tail: "more" }),
  "more entries announced than there are": craft([{ name: "x" }], { count: 2 }),
  "cut in the middle": craft([{ name: "x" }]).subarray(0, 60),
  "not an archive": Buffer.from("hello, world, this is no archive at all"),
  "nothing": new Uint8Array(),
};

for (const [what, bytes] of Object.entries(HOSTILE)) {
  Deno.test(`O-8 F-3 extractArchive() refuses: ${what}`, async () => {
    await inFolder(async (dir) => {
      await Deno.writeFile(`${dir}/a.zip`, bytes);
      const isRefusal = (error: unknown) => {
        assert.ok(error instanceof CocosError);
        assert.equal(error.code, "invalid-archive");
        assert.match(error.message, /^Cannot accept the archive: /);
        // deno-lint-ignore no-control-regex
        assert.doesNotMatch(error.message, /[\x00-\x1f]/);
        return true;
      };
      await assert.rejects(checkArchive(`${dir}/a.zip`), isRefusal);
      await Deno.mkdir(`${dir}/box`);
      await assert.rejects(extractArchive(`${dir}/a.zip`, `${dir}/box/out`), isRefusal);
      const left = await Array.fromAsync(Deno.readDir(dir));
      assert.deepEqual(left.map(({ name }) => name).sort(), ["a.zip", "box"]);
    });
  });
}

Deno.test("extractArchive() unpacks files and folders with private modes", async () => {
  await inFolder(async (dir) => {
    const bytes = craft([
      { name: "folder/", data: "", mode: 0o040777 },
      { name: "folder/a.txt", data: "one", mode: 0o100777 },
      { name: "deep/er/b.txt", data: "two".repeat(1000), method: 8 },
      { name: "ünï", data: "", flags: 0x0800 },
    ]);
    await Deno.writeFile(`${dir}/a.zip`, bytes);
    const entries = await extractArchive(`${dir}/a.zip`, `${dir}/out`);
    assert.deepEqual(entries, await checkArchive(`${dir}/a.zip`));
    assert.deepEqual(entries.map(({ name, directory, size }) => [name, directory, size]), [
      ["folder", true, 0],
      ["folder/a.txt", false, 3],
      ["deep/er/b.txt", false, 3000],
      ["ünï", false, 0],
    ]);
    assert.equal(await Deno.readTextFile(`${dir}/out/deep/er/b.txt`), "two".repeat(1000));
    assert.equal((await Deno.stat(`${dir}/out/folder/a.txt`)).mode! & 0o777, 0o600);
    assert.equal((await Deno.stat(`${dir}/out/folder`)).mode! & 0o777, 0o700);
  });
});

Deno.test("O-8 extractArchive() refuses a directory that exists", async () => {
  await inFolder(async (dir) => {
    await Deno.writeFile(`${dir}/a.zip`, craft([{ name: "x" }]));
    await Deno.mkdir(`${dir}/out`);
    await assert.rejects(extractArchive(`${dir}/a.zip`, `${dir}/out`), /Cannot unpack/);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${dir}/out`)), []);
  });
});
