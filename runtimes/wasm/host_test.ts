// The host without an engine around it: its functions are called as a module would call them.
import assert from "node:assert/strict";
import { BASE, lockBase } from "../_harness.ts";
import { Errno, type FunctionName, MODULE } from "./abi.ts";
import { errnoOf } from "./errors.ts";
import { hostImports } from "./host.ts";
import { Memory, TooEarly } from "./memory.ts";

/** A guest without a program. */
interface TestGuest extends AsyncDisposable {
  readonly root: string;
  readonly memory: WebAssembly.Memory;
  /** Calls a function; a text becomes its address and length. */
  call(name: FunctionName, ...args: (number | bigint | string)[]): number;
  /** Opens a path for reading and, in `results`, for writing; answers its number or minus its code. */
  open(path: string, oflags?: number, rights?: bigint): number;
  /** Names in an open directory. */
  list(fd: number): string[];
}

const encoder = new TextEncoder();

async function guest(compat = false): Promise<TestGuest> {
  const lock = await lockBase();
  const root = `${BASE}/host-${crypto.randomUUID()}`;
  await Deno.mkdir(`${root}/datasets`, { recursive: true });
  await Deno.mkdir(`${root}/results`);
  await Deno.writeTextFile(`${root}/datasets/a.csv`, "1,2\n");
  await Deno.writeTextFile(`${root}/algo`, "module");
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 8 });
  const view = new Memory();
  view.attach(memory);
  const functions = hostImports({
    root,
    results: `${root}/results`,
    compat,
    args: ["algo", "é"],
    environ: [],
    preopens: ["."],
    exit: (code) => {
      throw new RangeError(`exit ${code}`);
    },
  }, view)[MODULE] as Record<string, (...args: unknown[]) => number>;
  const call: TestGuest["call"] = (name, ...args) => {
    let at = 1024;
    const values = args.flatMap((arg) => {
      if (typeof arg !== "string") return [arg];
      const bytes = encoder.encode(arg);
      new Uint8Array(memory.buffer).set(bytes, at);
      at += bytes.length;
      return [at - bytes.length, bytes.length];
    });
    return (functions[name] as (...args: unknown[]) => number)(...values);
  };
  const u32 = (at: number) => new DataView(memory.buffer).getUint32(at, true);
  return {
    root,
    memory,
    call,
    open: (path, oflags = 0, rights = 2n) => {
      const errno = call("path_open", 3, 1, path, oflags, rights, 0n, 0, 0);
      return errno === 0 ? u32(0) : -errno;
    },
    list: (fd) => {
      assert.equal(call("fd_readdir", fd, 8192, 8192, 0n, 0), 0);
      const names: string[] = [];
      for (let at = 8192; at < 8192 + u32(0);) {
        const length = u32(at + 16);
        names.push(new TextDecoder().decode(new Uint8Array(memory.buffer, at + 24, length)));
        at += 24 + length;
      }
      return names;
    },
    [Symbol.asyncDispose]: async () => {
      await Deno.remove(root, { recursive: true });
      lock[Symbol.dispose]();
    },
  };
}

/** The rights to read and to write. */
const RW = 0x42n;

Deno.test("hostImports() lets a bare name be read and never made, in strict", async () => {
  await using it = await guest();
  assert.equal(it.open("out.txt", 1, RW), -Errno.ROFS);
  assert.equal(it.call("path_create_directory", 3, "sub"), Errno.ROFS);
  assert.equal(it.open("datasets/a.csv", 0, RW), -Errno.ROFS);
  assert.ok(it.open("datasets/a.csv") > 3);
  const root = it.open(".", 2);
  assert.deepEqual(it.list(root).sort(), [".", "..", "algo", "datasets", "results"]);
});

Deno.test("hostImports() puts a bare name into results, in compat", async () => {
  await using it = await guest(true);
  const file = it.open("out.txt", 1, RW);
  assert.ok(file > 3);
  assert.equal(it.call("path_create_directory", 3, "sub"), 0);
  assert.ok(it.open("sub/deep.txt", 1, RW) > 3);
  // The same file by both names; the directory above a directory of results is the one of both.
  assert.equal(it.open("results/out.txt", 1 | 4, RW), -Errno.EXIST);
  assert.ok(it.open("sub/../datasets/a.csv") > 3);
  assert.ok(it.open("sub/../out.txt") > 3);
  assert.equal(it.open("algo"), -Errno.NOENT);
  assert.equal(it.open("../x"), -Errno.PERM);
  assert.equal(it.open("datasets/new", 1, RW), -Errno.ROFS);
  assert.equal(it.call("path_unlink_file", 3, "datasets/a.csv"), Errno.ROFS);
  assert.equal(it.call("path_rename", 3, "out.txt", 3, "datasets/a.csv"), Errno.ROFS);
  assert.equal(it.call("path_rename", 3, "results", 3, "other"), Errno.ROFS);
  const root = it.open(".", 2);
  assert.deepEqual(it.list(root).sort(), [".", "..", "datasets", "out.txt", "results", "sub"]);
  assert.deepEqual(
    [...Deno.readDirSync(`${it.root}/results`)].map(({ name }) => name).sort(),
    ["out.txt", "sub"],
  );
  assert.equal(it.call("path_unlink_file", 3, "out.txt"), 0);
});

Deno.test("hostImports() S-13 makes links for the run only, and not without end", async () => {
  await using it = await guest();
  let made = 0;
  let errno: number;
  while ((errno = it.call("path_symlink", "x", 3, `results/l${made}`)) === 0) made++;
  assert.deepEqual([made, errno], [4096, Errno.NOSPC]);
  assert.deepEqual([...Deno.readDirSync(`${it.root}/results`)], []);
  assert.equal(it.call("path_unlink_file", 3, "results/l7"), 0);
  assert.equal(it.call("path_symlink", "x", 3, "results/again"), 0);
  assert.equal(it.call("path_symlink", "/x", 3, "results/abs"), Errno.PERM);
  assert.equal(it.call("path_symlink", "x", 3, "datasets/l"), Errno.ROFS);
});

Deno.test("hostImports() S-13 follows a link that stands on disk no further than one it made", async () => {
  await using it = await guest();
  // Only a dataset could bring one, and the agent unpacks none.
  const link = async (target: string, name: string) => {
    const { success } = await new Deno.Command("/bin/sh", {
      args: ["-c", 'ln -s "$1" "$2"', "sh", target, `${it.root}/datasets/${name}`],
    }).output();
    assert.ok(success);
  };
  await link("/etc/passwd", "absolute");
  await link("../../../etc/passwd", "climbing");
  await link("a.csv", "inside");
  assert.equal(it.open("datasets/absolute"), -Errno.PERM);
  assert.equal(it.open("datasets/climbing"), -Errno.PERM);
  assert.ok(it.open("datasets/inside") > 3);
  const folder = it.open("datasets", 2);
  assert.deepEqual(it.list(folder).slice(2).sort(), ["a.csv", "absolute", "climbing", "inside"]);
});

Deno.test("hostImports() S-13 checks every address against the memory as it is", async () => {
  await using it = await guest();
  const end = 65_536;
  for (
    const [name, ...args] of [
      ["random_get", end - 4, 8],
      ["random_get", -1, 2],
      ["args_get", end - 4, 1024],
      ["fd_read", 0, end - 4, 1, 0],
      ["fd_read", 0, 0, 0x2000_0001, 0],
      ["fd_write", 1, 64, 1, end],
      ["path_open", 3, 0, -16, 32, 0, 2n, 0n, 0, 0],
      ["path_filestat_get", 3, 0, "algo", end - 60],
      ["fd_readdir", 3, end - 10, 11, 0n, 0],
      ["poll_oneoff", end - 47, 0, 1, 0],
    ] as [FunctionName, ...(number | bigint | string)[]][]
  ) {
    const errno = it.call(name, ...args);
    assert.ok(errno === Errno.FAULT || errno === Errno.INVAL, `${name}(${args}): ${errno}`);
  }
  assert.equal(it.open("algo", 0), 4, "nothing was opened by a call that failed");
  assert.equal(it.call("path_open", 3, 0, "algo", 0, 2n, 0n, 0, end - 2), Errno.FAULT);
  assert.equal(it.open("algo", 0), 5);
  // A piece that ends behind it: nothing is printed of what is before.
  new Uint8Array(it.memory.buffer).set([0xfc, 0xff, 0, 0, 8, 0, 0, 0], 64);
  assert.equal(it.call("fd_write", 1, 64, 1, 0), Errno.FAULT);
  // The memory that grew is another buffer.
  assert.equal(it.call("random_get", end, 200_000), Errno.FAULT);
  it.memory.grow(4);
  assert.equal(it.call("random_get", end, 200_000), 0);
  const bytes = new Uint8Array(it.memory.buffer, end, 200_000);
  assert.ok(bytes.subarray(131_072).some((byte) => byte !== 0));
});

Deno.test("hostImports() refuses paths that are no text", async () => {
  await using it = await guest();
  new Uint8Array(it.memory.buffer).set([0xff, 0xfe], 2048);
  assert.equal(it.call("path_unlink_file", 3, 2048, 2), Errno.ILSEQ);
  assert.equal(it.call("path_unlink_file", 3, "al\0go"), Errno.INVAL);
  assert.equal(it.call("path_unlink_file", 3, ""), Errno.NOENT);
  assert.equal(
    it.call("path_create_directory", 3, `results/${"x".repeat(300)}`),
    Errno.NAMETOOLONG,
  );
  assert.equal(it.call("path_create_directory", 3, 0, 5000), Errno.NAMETOOLONG);
});

Deno.test("hostImports() tells arguments, and entries as they were when reading began", async () => {
  await using it = await guest();
  assert.equal(it.call("args_sizes_get", 0, 4), 0);
  const view = () => new DataView(it.memory.buffer);
  assert.deepEqual([view().getUint32(0, true), view().getUint32(4, true)], [2, 8]);
  assert.equal(it.call("args_get", 0, 100), 0);
  assert.deepEqual([...new Uint8Array(it.memory.buffer, 105, 3)], [0xc3, 0xa9, 0]);
  const folder = it.open("results", 2);
  for (const name of ["a", "b", "c"]) it.open(`results/${name}`, 1, RW);
  assert.equal(it.call("fd_readdir", folder, 8192, 30, 0n, 0), 0);
  const cookie = view().getBigUint64(8192, true);
  it.call("path_unlink_file", 3, "results/b");
  assert.equal(it.call("fd_readdir", folder, 8192, 4096, cookie, 0), 0);
  assert.equal(view().getUint32(0, true), 4 * 24 + 2 + 3, "..");
  assert.equal(it.list(folder).length, 4);
});

Deno.test("Memory asks for the module first, errnoOf() takes numbers from the front only", () => {
  assert.throws(() => new Memory().u32(0), TooEarly);
  assert.equal(errnoOf(new Error("No such file (os error 2): lstat '(os error 30)'")), Errno.NOENT);
  assert.equal(errnoOf(new Error("What (os error 4711)")), Errno.IO);
  assert.equal(errnoOf(new RangeError("Maximum call stack size exceeded")), undefined);
  assert.equal(errnoOf(new Deno.errors.NotCapable("x")), Errno.NOTCAPABLE);
});
