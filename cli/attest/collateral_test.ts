// Threat A-13: cached collateral after expiry, clocks that are off, servers that are down, slow, lying
// or redirecting. Fake clock, real sockets.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { inFolder } from "../_fakes.ts";
import { nobody, vendor } from "./_vendors.ts";
import { Cache, type Item, MAX_BYTES, MAX_ITEMS } from "./cache.ts";
import { Source, type Wanted } from "./collateral.ts";
import { download } from "./download.ts";

const T0 = Date.UTC(2026, 0, 1);
const HOUR = 3600_000;
const never = new AbortController().signal;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function item(url: string, change: Partial<Item> = {}): Item {
  const body = new TextEncoder().encode("body");
  return { url, fetched: T0, expires: T0 + HOUR, headers: { a: "b" }, body, ...change };
}

/** What is wanted: text that begins with its own expiry in hours after T0. */
function wanted(url: string, change: Partial<Wanted> = {}): Wanted {
  return {
    what: "the thing",
    url,
    most: 1000,
    freshMs: HOUR,
    expires: (body) => {
      const hours = /^valid (\d+)/.exec(text(body))?.[1];
      if (hours === undefined) throw new RangeError("it is malformed");
      return T0 + Number(hours) * HOUR;
    },
    ...change,
  };
}

function source(dir: string, now: () => number, change: { offline?: boolean } = {}) {
  const said: string[] = [];
  const made = new Source({
    cache: new Cache(`${dir}/cache`),
    now,
    signal: never,
    offline: false,
    say: (line) => said.push(line),
    timeoutMs: 300,
    ...change,
  });
  return { made, said };
}

/** Keeps one answer from a good server in a folder's cache. */
async function filled(dir: string, path = "/x"): Promise<string> {
  await using server = vendor({ [path]: () => new Response("valid 48") });
  const { made } = source(dir, () => T0);
  const url = server.url + path;
  assert.equal(text((await made.get(wanted(url))).body), "valid 48");
  await made.keep();
  return url;
}

Deno.test("Cache keeps what was written until it expires", async () => {
  await inFolder(async (dir) => {
    const cache = new Cache(`${dir}/cache`);
    const kept = item("http://x.example/a");
    assert.equal(await cache.read(kept.url, T0), undefined);
    await cache.write(kept, T0);
    assert.deepEqual(await cache.read(kept.url, T0 + HOUR - 1), kept);
    assert.equal(await cache.read(kept.url, T0 + HOUR), undefined);
    assert.equal(await cache.read("http://x.example/b", T0), undefined);
    const [name] = [...Deno.readDirSync(`${dir}/cache`)];
    assert.equal(Deno.statSync(`${dir}/cache/${name?.name}`).mode! & 0o777, 0o600);
  });
});

Deno.test("A-13 Cache does not use items of a clock that was ahead by more than five minutes", async () => {
  await inFolder(async (dir) => {
    const cache = new Cache(`${dir}/cache`);
    const kept = item("http://x.example/a", { expires: T0 + 72 * HOUR });
    await cache.write(kept, T0);
    for (
      const [skew, usable] of [[-4, true], [4, true], [-6, false], [-1440, false], [1440, true]]
    ) {
      const found = await cache.read(kept.url, T0 + (skew as number) * 60_000);
      assert.equal(found !== undefined, usable, String(skew));
    }
  });
});

Deno.test("Cache takes a malformed, exchanged, linked or oversized file as not there", async () => {
  await inFolder(async (dir) => {
    const cache = new Cache(`${dir}/cache`);
    const kept = item("http://x.example/a");
    await cache.write(kept, T0);
    const [entry] = [...Deno.readDirSync(`${dir}/cache`)];
    const path = `${dir}/cache/${entry?.name}`;
    const good = await Deno.readTextFile(path);
    for (
      const bad of [
        "",
        "{}",
        good.slice(0, -1),
        good.replace("/a", "/b"),
        good.replace('"cocosCache":1', '"cocosCache":2'),
        good.replace('"headers"', '"extra":1,"headers"'),
        good + " ".repeat(5_000_000),
      ]
    ) {
      await Deno.writeTextFile(path, bad);
      assert.equal(await cache.read(kept.url, T0), undefined, bad.slice(0, 40));
    }
    await Deno.writeTextFile(`${dir}/elsewhere`, good);
    await Deno.remove(path);
    await Deno.symlink(`${dir}/elsewhere`, path);
    assert.equal(await cache.read(kept.url, T0), undefined);
  });
});

Deno.test("Cache stays within its bounds of number and bytes, and drops what is expired", async () => {
  await inFolder(async (dir) => {
    const cache = new Cache(`${dir}/cache`);
    const names = () => [...Deno.readDirSync(`${dir}/cache`)].length;
    for (let at = 0; at < 5; at++) {
      await cache.write(item(`http://x.example/old${at}`), T0);
    }
    await cache.write(item("http://x.example/new", { expires: T0 + 9 * HOUR }), T0 + 2 * HOUR);
    assert.equal(names(), 1);
    for (let at = 0; at < MAX_ITEMS + 3; at++) {
      await cache.write(item(`http://x.example/${at}`), T0);
    }
    assert.equal(names(), MAX_ITEMS);
    const large = new Uint8Array(2_500_000);
    for (let at = 0; at < 8; at++) {
      await cache.write(item(`http://l.example/${at}`, { body: large }), T0);
    }
    const bytes = [...Deno.readDirSync(`${dir}/cache`)]
      .reduce((sum, { name }) => sum + Deno.statSync(`${dir}/cache/${name}`).size, 0);
    assert.ok(bytes <= MAX_BYTES, String(bytes));
    assert.notEqual(await cache.read("http://l.example/7", T0), undefined);
  });
});

Deno.test("A-13 Source uses a fresh item without asking, and asks again when it is old", async () => {
  await inFolder(async (dir) => {
    await using server = vendor({ "/x": () => new Response("valid 48") });
    let now = T0;
    const { made } = source(dir, () => now);
    const want = wanted(`${server.url}/x`);
    await made.get(want);
    await made.get(want);
    assert.equal(server.asked.length, 2); // nothing is kept before it proved good
    await made.keep();
    await made.get(want);
    assert.equal(server.asked.length, 2);
    now = T0 + HOUR;
    await made.get(want);
    assert.equal(server.asked.length, 3);
  });
});

Deno.test("A-13 Source with a server that is down uses what is still valid, and else refuses", async () => {
  await inFolder(async (dir) => {
    const url = await filled(dir);
    for (const [hours, code] of [[2, undefined], [47, undefined], [48, "unavailable"]] as const) {
      const { made, said } = source(dir, () => T0 + hours * HOUR);
      const got = made.get(wanted(url));
      if (code === undefined) {
        assert.equal(text((await got).body), "valid 48");
        assert.match(
          said[0] ?? "",
          /using the thing of 2026-01-01T00:00:00\.000Z, which is still valid/,
        );
      } else await assert.rejects(got, { code });
    }
    const gone = `${nobody()}/y`;
    await assert.rejects(source(dir, () => T0).made.get(wanted(gone)), { code: "unavailable" });
  });
});

Deno.test("A-13 Source falls back for slow, lying, redirecting and oversized answers alike", async () => {
  const answers: [string, () => Response | Promise<Response>, RegExp][] = [
    [
      "slow",
      () => new Response(new ReadableStream({ pull: () => new Promise(() => {}) })),
      /no whole answer within 300 ms/,
    ],
    ["lying", () => new Response("not it"), /it is malformed/],
    ["stale", () => new Response("valid 0"), /it expired 2026-01-01/],
    [
      "redirect",
      () => Response.redirect("http://127.0.0.1:9/"),
      /redirects are refused \(status 302\)/,
    ],
    ["large", () => new Response("valid 48".padEnd(1001)), /longer than 1000 bytes/],
    ["error", () => new Response("no", { status: 500 }), /status 500/],
    ["limited", () => new Response("no", { status: 429 }), /status 429/],
    ["missing", () => new Response("no", { status: 404 }), /not found/],
  ];
  for (const [name, answer, why] of answers) {
    await inFolder(async (dir) => {
      await using server = vendor({ "/x": answer });
      const want = wanted(`${server.url}/x`);
      await assert.rejects(source(dir, () => T0).made.get(want), (error) => {
        assert.ok(error instanceof CocosError);
        assert.match(error.message, why, name);
        return true;
      });
      const cache = new Cache(`${dir}/cache`);
      const body = new TextEncoder().encode("valid 48");
      await cache.write(item(want.url, { body, expires: T0 + 48 * HOUR }), T0);
      const { made, said } = source(dir, () => T0 + 2 * HOUR);
      assert.equal(text((await made.get(want)).body), "valid 48", name);
      assert.match(said[0] ?? "", why);
      await made.keep();
      assert.equal((await cache.read(want.url, T0))?.fetched, T0, "the bad answer was kept");
    });
  }
});

Deno.test("Source offline asks nobody", async () => {
  await inFolder(async (dir) => {
    const url = await filled(dir);
    const { made } = source(dir, () => T0 + 30 * HOUR, { offline: true });
    assert.equal(text((await made.get(wanted(url))).body), "valid 48");
    await assert.rejects(made.get(wanted(`${url}/other`)), /offline: none is kept/);
  });
});

Deno.test("Source keeps the headers that belong to an answer, and wants them", async () => {
  await inFolder(async (dir) => {
    let headers: Record<string, string> = { chain: "a%20b" };
    await using server = vendor({ "/x": () => new Response("valid 48", { headers }) });
    const want = wanted(`${server.url}/x`, { headers: ["chain"] });
    const { made } = source(dir, () => T0);
    assert.deepEqual((await made.get(want)).headers, { chain: "a%20b" });
    headers = {};
    await assert.rejects(made.get(want), /header chain is bad/);
    headers = { chain: "x".repeat(33_000) };
    await assert.rejects(made.get(want), CocosError);
  });
});

Deno.test("download() ends when the person interrupts", async () => {
  const asked = Promise.withResolvers<void>();
  await using server = vendor({
    "/x": () => {
      asked.resolve();
      return new Response(new ReadableStream({ pull: () => new Promise(() => {}) }));
    },
  });
  const interrupt = new AbortController();
  const running = download(`${server.url}/x`, { most: 10, signal: interrupt.signal });
  await asked.promise;
  interrupt.abort();
  await assert.rejects(running, { code: "cancelled" });
});
