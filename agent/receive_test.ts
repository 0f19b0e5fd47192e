import assert from "node:assert/strict";
import { hex, sha3_256 } from "../base/mod.ts";
import { IncomingFile, RATE_BYTES, watched } from "./receive.ts";
import { setImmediate } from "node:timers";
import { FakeTime } from "./_time.ts";

async function inFolder(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const names = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name);

Deno.test("IncomingFile hashes what it writes and keeps it by rename", async () => {
  await inFolder(async (dir) => {
    using file = new IncomingFile(`${dir}/in`, "dataset", 100);
    assert.equal((Deno.statSync(`${dir}/in`).mode ?? 0) & 0o777, 0o600);
    await file.write(new Uint8Array([1, 2]));
    await file.write(new Uint8Array([3]));
    assert.equal(await file.finish(), hex(sha3_256(new Uint8Array([1, 2, 3]))));
    file.keep(`${dir}/out`, 0o640);
    file[Symbol.dispose]();
    assert.deepEqual(names(dir), ["out"]);
    assert.deepEqual([...await Deno.readFile(`${dir}/out`)], [1, 2, 3]);
    assert.equal((Deno.statSync(`${dir}/out`).mode ?? 0) & 0o777, 0o640);
  });
});

Deno.test("G-15 IncomingFile leaves nothing when it is dropped at any point", async () => {
  await inFolder(async (dir) => {
    for (let chunks = 0; chunks < 3; chunks++) {
      using file = new IncomingFile(`${dir}/in`, "dataset", 100);
      for (let i = 0; i < chunks; i++) await file.write(new Uint8Array(5));
      if (chunks === 2) await file.finish();
      file[Symbol.dispose]();
      assert.deepEqual(names(dir), []);
    }
  });
});

Deno.test("G-7 IncomingFile refuses the chunk that passes the limit before writing it", async () => {
  await inFolder(async (dir) => {
    using file = new IncomingFile(`${dir}/in`, "algorithm", 10);
    await file.write(new Uint8Array(10));
    await assert.rejects(file.write(new Uint8Array(1)), { code: "too-large" });
    await file.finish();
    assert.equal(Deno.statSync(`${dir}/in`).size, 10);
  });
});

Deno.test("F-2 IncomingFile opens no existing file or link and overwrites nothing", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/victim`, "whole");
    await Deno.symlink(`${dir}/victim`, `${dir}/link`);
    await Deno.symlink(`${dir}/nowhere`, `${dir}/dangling`);
    for (const name of ["victim", "link", "dangling"]) {
      assert.throws(() => new IncomingFile(`${dir}/${name}`, "dataset", 10), {
        code: "io",
        message: "error creating dataset file: EEXIST",
      });
      using file = new IncomingFile(`${dir}/in`, "dataset", 10);
      await file.finish();
      assert.throws(() => file.keep(`${dir}/${name}`, 0o640), { code: "io" });
    }
    assert.equal(await Deno.readTextFile(`${dir}/victim`), "whole");
  });
});

Deno.test("F-6 IncomingFile tells of a failed write, without the path, and never keeps the file", async () => {
  const real = Deno.FsFile.prototype.write;
  Deno.FsFile.prototype.write = () =>
    Promise.reject(Object.assign(new Error("No space left on device"), { code: "ENOSPC" }));
  try {
    await inFolder(async (dir) => {
      using file = new IncomingFile(`${dir}/in`, "dataset", 1 << 30);
      const full = { code: "io", message: "error writing dataset to file: ENOSPC" };
      await file.write(new Uint8Array(10));
      await assert.rejects(file.write(new Uint8Array(10)), full);
      using other = new IncomingFile(`${dir}/other`, "dataset", 1 << 30);
      await other.write(new Uint8Array(10));
      await assert.rejects(other.finish(), full);
    });
  } finally {
    Deno.FsFile.prototype.write = real;
  }
});

Deno.test("G-8 watched() ends a silent stream, and one whose signal fires", async () => {
  const silent = async function* () {
    yield 1;
    await new Promise(() => {});
  };
  {
    using time = new FakeTime();
    const stream = watched(silent(), new AbortController().signal, () => 1, { idleMs: 60_000 });
    assert.equal((await stream.next()).value, 1);
    const second = stream.next();
    time.tick(60_000);
    await assert.rejects(second, { code: "timeout" });
    assert.equal(time.pending, 0);
  }
  const stop = new AbortController();
  const stream = watched(silent(), stop.signal, () => 1);
  await stream.next();
  const second = stream.next();
  stop.abort(new Error("stopped"));
  await assert.rejects(second, /stopped/);
});

Deno.test("G-8 watched() ends a stream that trickles, and none whose agent is slow", async () => {
  let now = 0;
  const drops = async function* (bytes: number, waitMs: number) {
    for (let i = 0; i < 100; i++) {
      now += waitMs;
      yield await Promise.resolve(bytes);
    }
  };
  const taken = async (bytes: number, waitMs: number, workMs: number) => {
    let count = 0;
    const signal = new AbortController().signal;
    for await (const _ of watched(drops(bytes, waitMs), signal, (n) => n, { now: () => now })) {
      count++;
      now += workMs;
    }
    return count;
  };
  await assert.rejects(taken(1, 10_000, 0), {
    code: "timeout",
    message: "Cannot wait longer: 6 bytes came in 60 s",
  });
  assert.equal(await taken(Math.ceil(RATE_BYTES / 6), 10_000, 0), 100);
  assert.equal(await taken(1, 0, 10_000), 100);
});

Deno.test("watched() passes a stream on and leaves no timer", async () => {
  using time = new FakeTime();
  const numbers = async function* () {
    yield* [1, 2, 3];
  };
  const seen: number[] = [];
  for await (const each of watched(numbers(), new AbortController().signal, () => 1)) {
    seen.push(each);
  }
  assert.deepEqual(seen, [1, 2, 3]);
  assert.equal(time.pending, 0);
});

Deno.test("F-7 watched() and IncomingFile hold no message: 256 MiB in under 128 MiB of growth", async () => {
  await inFolder(async (dir) => {
    const before = Deno.memoryUsage().rss;
    let most = 0;
    const messages = async function* () {
      for (let i = 0; i < 256; i++) {
        most = Math.max(most, Deno.memoryUsage().rss - before);
        // A fresh buffer each time, as the transport has it, and a turn of the event loop.
        yield await new Promise<Uint8Array>((resolve) =>
          setImmediate(() => resolve(new Uint8Array(1 << 20).fill(i)))
        );
      }
    };
    using file = new IncomingFile(`${dir}/in`, "dataset", 2 ** 40);
    for await (
      const each of watched(messages(), new AbortController().signal, ({ length }) => length)
    ) {
      await file.write(each);
    }
    assert.equal(file.size, 256 << 20);
    assert.ok(most < 128 << 20, `grew by ${most >> 20} MiB`);
  });
});
