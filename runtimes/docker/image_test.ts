import assert from "node:assert/strict";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { Archive } from "./archive.ts";
import { commandOf, readConfig } from "./config.ts";
import { readImage } from "./image.ts";
import { layoutImage, type Made, savedImage, sha256, tarOf, type TestEntry } from "./_image.ts";

const PLACE = "/tmp/cocos-runtimes-images";
const forever = new AbortController().signal;

/** What becomes of an archive: the id and what the engine would get, or why it is refused. */
async function judge(bytes: Uint8Array): Promise<{ id: string; archive: Uint8Array } | string> {
  await Deno.mkdir(PLACE, { recursive: true });
  const path = `${PLACE}/${crypto.randomUUID()}.tar`;
  await Deno.writeFile(path, bytes);
  try {
    using archive = await Archive.open(path);
    const image = await readImage(archive, forever);
    const chunks = await Array.fromAsync(image.archive("ours:1"));
    return {
      id: image.id,
      archive: new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer()),
    };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    assert.equal(code, "invalid-argument", message);
    return message;
  } finally {
    await Deno.remove(path);
  }
}

/** The files of an archive of ours. */
async function filesOf(bytes: Uint8Array): Promise<Record<string, string>> {
  const path = `${PLACE}/${crypto.randomUUID()}.tar`;
  await Deno.writeFile(path, bytes);
  using archive = await Archive.open(path);
  await Deno.remove(path);
  const manifest = JSON.parse(
    new TextDecoder().decode(await archive.read("manifest.json", 1 << 20)),
  );
  const names = [manifest[0].Config, ...manifest[0].Layers] as string[];
  const files: Record<string, string> = { "manifest.json": JSON.stringify(manifest) };
  for (const name of names) files[name] = sha256(await archive.read(name, 1 << 24));
  return files;
}

const RUN: TestEntry = { path: "bin/run", content: "#!/bin/sh\n" };
const layer = tarOf([RUN]);

const GOOD: [name: string, made: Made][] = [
  ["docker save", savedImage({ layers: [layer] })],
  [
    "docker save with several tags",
    savedImage({ layers: [layer], tags: ["debian:12", "x:y", "z"] }),
  ],
  ["docker save without tags", savedImage({ layers: [layer], tags: [] })],
  ["gzip layers", savedImage({ layers: [layer], pack: (tar) => gzipSync(tar) })],
  ["zstd layers", savedImage({ layers: [layer], pack: (tar) => zstdCompressSync(tar) })],
  ["OCI layout", layoutImage({ layers: [layer], pack: (tar) => gzipSync(tar) })],
  [
    "OCI layout of several platforms",
    layoutImage({ layers: [layer] }, (ours) => ({
      index: {
        manifests: [
          { digest: `sha256:${"1".repeat(64)}`, platform: { os: "linux", architecture: "arm64" } },
          {
            digest: `sha256:${"2".repeat(64)}`,
            platform: { os: "unknown", architecture: "unknown" },
          },
          { ...ours, platform: { os: "linux", architecture: "amd64" } },
        ],
      },
    })),
  ],
  [
    "OCI layout, index in an index",
    layoutImage({ layers: [layer] }, (ours) => {
      const inner = new TextEncoder().encode(JSON.stringify({ manifests: [ours] }));
      return { index: { manifests: [{ digest: `sha256:${sha256(inner)}` }] }, blobs: [inner] };
    }),
  ],
];

Deno.test("readImage() S-15 gives the engine the same few checked files, whatever the archive's form", async () => {
  for (const [name, { bytes, id }] of GOOD) {
    const judged = await judge(bytes);
    assert.ok(typeof judged === "object", `${name}: ${judged}`);
    assert.equal(judged.id, id, name);
    assert.deepEqual(await filesOf(judged.archive), {
      "manifest.json": `[{"Config":"${id}.json","RepoTags":["ours:1"],"Layers":["0.tar"]}]`,
      [`${id}.json`]: id,
      "0.tar": sha256(layer),
    }, name);
  }
});

Deno.test("readImage() follows the links that docker save makes for a layer that occurs twice", async () => {
  const made = savedImage({ layers: [layer, layer] });
  const twice = JSON.stringify([{
    Config: `${made.id}.json`,
    Layers: ["a/layer.tar", "b/layer.tar"],
  }]);
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    config: { Cmd: ["/bin/run"] },
    rootfs: {
      type: "layers",
      diff_ids: [sha256(layer), sha256(layer)].map((sum) => `sha256:${sum}`),
    },
  });
  const judged = await judge(tarOf([
    { path: "a", type: "5" },
    { path: "a/layer.tar", content: layer },
    { path: "b/layer.tar", type: "2", target: "../a/layer.tar" },
    { path: `${made.id}.json`, content: config },
    { path: "manifest.json", content: twice },
  ]));
  assert.ok(typeof judged === "object" && judged.id === made.id, JSON.stringify(judged));
});

const one = (...entries: TestEntry[]): Uint8Array => savedImage({ layers: [entries] }).bytes;
const asks = (config: Record<string, unknown>): Uint8Array =>
  savedImage({ layers: [layer], config: { Cmd: ["/bin/run"], ...config } }).bytes;
const link = (path: string, target: string, type = "2"): TestEntry => ({ path, type, target });
const pax = (records: string, path = "x"): TestEntry[] => [
  { path: "pax", type: "x", content: records },
  { path },
];
/** A pax record with its own length in front. */
function record(text: string): string {
  const length = (digits: number): number => digits + 1 + text.length + 1;
  const digits = String(length(String(length(1)).length)).length;
  return `${length(digits)} ${text}\n`;
}
const put = (at: number, text: string) => (header: Uint8Array) =>
  header.set(new TextEncoder().encode(text), at);
const ZEROS = new Uint8Array(64 << 20);

const HOSTILE: [name: string, archive: Uint8Array, reason: RegExp][] = [
  // The archive.
  ["no tar", new Uint8Array(2048).fill(7), /isn't a tar archive|broken number/],
  ["empty", new Uint8Array(0), /neither manifest.json nor index.json/],
  ["an empty tar", tarOf([]), /neither manifest.json nor index.json/],
  ["cut off", savedImage({ layers: [layer] }).bytes.subarray(0, 1200), /cut off/],
  ["a file twice", tarOf([RUN, RUN]), /twice/],
  ["a device in the archive", tarOf([{ path: "x", type: "3" }]), /a device in it/],
  ["a hard link in the archive", tarOf([link("x", "/etc/passwd", "1")]), /a hardlink in it/],
  ["climbing names", tarOf([{ path: "../manifest.json" }]), /climbs with/],
  ["absolute names", tarOf([{ path: "/manifest.json" }]), /absolute/],
  [
    "too many files",
    tarOf(Array.from({ length: 4200 }, (_, i) => ({ path: `f${i}` }))),
    /over 4096/,
  ],
  ["a manifest that is no JSON", tarOf([{ path: "manifest.json", content: "{" }]), /isn't JSON/],
  [
    "a huge manifest",
    tarOf([{ path: "manifest.json", content: ZEROS.subarray(0, 2 << 20) }]),
    /over/,
  ],
  ["no image", tarOf([{ path: "manifest.json", content: "[]" }]), /holds 0 images/],
  ["two images", tarOf([{ path: "manifest.json", content: "[{},{}]" }]), /holds 2 images/],
  [
    "paths outside",
    tarOf([{ path: "manifest.json", content: '[{"Config":"../../etc/passwd"}]' }]),
    /lacks/,
  ],
  [
    "a link outside",
    tarOf([link("c.json", "/etc/passwd"), {
      path: "manifest.json",
      content: '[{"Config":"c.json"}]',
    }]),
    /lacks/,
  ],
  // The manifest list.
  [
    "a list of two for this machine",
    layoutImage({}, (ours) => ({ index: { manifests: [ours, ours] } })).bytes,
    /holds 2 images for linux/,
  ],
  [
    "a list of none for this machine",
    layoutImage(
      {},
      (ours) => ({ index: { manifests: [{ ...ours, platform: { os: "windows" } }] } }),
    )
      .bytes,
    /holds 0 images/,
  ],
  [
    "a list in a list in a list",
    layoutImage({}, (ours) => {
      const inner = new TextEncoder().encode(JSON.stringify({ manifests: [ours] }));
      const middle = new TextEncoder().encode(
        JSON.stringify({ manifests: [{ digest: `sha256:${sha256(inner)}` }] }),
      );
      return {
        index: { manifests: [{ digest: `sha256:${sha256(middle)}` }] },
        blobs: [inner, middle],
      };
    }).bytes,
    /nested too deep/,
  ],
  [
    "a digest that climbs",
    layoutImage({}, () => ({ index: { manifests: [{ digest: "sha256:../../../etc/passwd" }] } }))
      .bytes,
    /no SHA-256/,
  ],
  // The configuration.
  ["another machine", savedImage({ image: { architecture: "arm64" } }).bytes, /linux\/amd64/],
  ["no layers", savedImage({ image: { rootfs: {} } }).bytes, /no layers/],
  [
    "too many layers",
    savedImage({ layers: Array.from({ length: 126 }, () => []) }).bytes,
    /at most 125/,
  ],
  [
    "layers of another image",
    savedImage({ layers: [layer], image: { rootfs: { diff_ids: [`sha256:${"0".repeat(64)}`] } } })
      .bytes,
    /isn't the one its configuration names/,
  ],
  [
    "fewer layers than named",
    savedImage({
      layers: [layer],
      image: { rootfs: { diff_ids: [`sha256:${"0".repeat(64)}`, `sha256:${"0".repeat(64)}`] } },
    }).bytes,
    /another number/,
  ],
  ["a volume", asks({ Volumes: { "/data": {} } }), /VOLUME/],
  ["a volume in small letters", asks({ volumes: { "/data": {} } }), /VOLUME/],
  [
    "two configurations",
    savedImage({ image: { Config: { Volumes: { "/x": {} } } } }).bytes,
    /twice/,
  ],
  ["WORKDIR /proc/self/fd/7", asks({ WorkingDir: "/proc/self/fd/7" }), /WORKDIR/],
  ["WORKDIR /x/../proc", asks({ WorkingDir: "/x/../proc/self/fd/8" }), /WORKDIR/],
  ["WORKDIR //proc", asks({ WorkingDir: "//proc/self/fd/8" }), /WORKDIR/],
  ["WORKDIR /sys", asks({ WorkingDir: "/sys" }), /WORKDIR/],
  ["WORKDIR relative", asks({ WorkingDir: "proc/self/fd/9" }), /WORKDIR/],
  ["WORKDIR with a newline", asks({ WorkingDir: "/a\n" }), /WORKDIR/],
  [
    "WORKDIR through a link",
    savedImage({
      layers: [[link("app", "/proc/self/fd/7")]],
      config: { Cmd: ["x"], WorkingDir: "/app" },
    })
      .bytes,
    /\/app isn't a directory/,
  ],
  [
    "WORKDIR through a link in a later layer",
    savedImage({
      layers: [[{ path: "a", type: "5" }, { path: "a/b", type: "5" }], [
        link("a/b", "/proc/self/fd"),
      ]],
      config: { Cmd: ["x"], WorkingDir: "/a/b/7" },
    }).bytes,
    /\/a\/b isn't a directory/,
  ],
  ["a variable of the runtime", asks({ Env: ["_LIBCONTAINER_INITPIPE=3"] }), /sets the variable/],
  ["sockets handed on", asks({ Env: ["LISTEN_FDS=3"] }), /sets the variable/],
  ["a variable with a newline in its name", asks({ Env: ["A\nB=1"] }), /sets the variable/],
  ["a variable without a value", asks({ Env: ["HOME"] }), /sets the variable/],
  [
    "too many variables",
    asks({ Env: Array.from({ length: 300 }, (_, i) => `V${i}=`) }),
    /at most 256/,
  ],
  ["huge variables", asks({ Env: [`A=${"x".repeat(70_000)}`] }), /over 65536/],
  ["a NUL in the command", asks({ Cmd: ["/bin/run\0"] }), /without NUL/],
  ["a command that is no list", asks({ Cmd: "rm -rf /" }), /no list/],
  // Layers.
  ["a climbing entry", one({ path: "a/../../x" }), /climbs/],
  ["an absolute entry", one({ path: "/etc/cron.d/x" }), /absolute/],
  ["a device", one({ path: "mem", type: "3" }), /the device/],
  ["a block device", one({ path: "a/sda", type: "4" }), /the device/],
  [
    "a device's second name",
    one({ path: "dev", type: "5" }, { path: "dev/sda", type: "4" }, link("sda", "./dev/sda", "1")),
    /a hard link to/,
  ],
  [
    "a device's second name through a link",
    one({ path: "dev/sda", type: "4" }, link("d", "dev"), link("sda", "/d/sda", "1")),
    /a hard link to/,
  ],
  ["a hard link that climbs", one({ path: "a" }, link("b", "x/../a", "1")), /a hard link to/],
  ["passwd is a link", one(link("etc/passwd", "/proc/1/environ")), /\/etc\/passwd isn't a file/],
  [
    "passwd is a hard link",
    one(link("etc/passwd", "etc/shadow", "1")),
    /\/etc\/passwd isn't a file/,
  ],
  ["passwd is a FIFO", one({ path: "etc/passwd", type: "6" }), /\/etc\/passwd isn't a file/],
  ["group is a link", one(link("etc/./group", "/dev/zero")), /\/etc\/group isn't a file/],
  [
    "passwd is huge",
    one({ path: "etc/passwd", content: ZEROS.subarray(0, 2 << 20) }),
    /of at most/,
  ],
  ["etc is a link", one(link("etc", "/proc")), /\/etc isn't a directory/],
  [
    "passwd through a link",
    one(link("e", "etc"), { path: "e/passwd", type: "6" }),
    /through a link/,
  ],
  [
    "a write through a link of the layer below",
    savedImage({ layers: [[link("e", "/etc")], [{ path: "e/x/passwd" }]] }).bytes,
    /through a link/,
  ],
  [
    "passwd through a second name of a link",
    one(link("e", "etc"), link("f", "e", "1"), { path: "f/passwd", type: "6" }),
    /through a link/,
  ],
  ["cocos is a link", one(link("cocos", "/proc")), /\/cocos isn't a directory/],
  ["results is a link", one(link("cocos/results", "/etc")), /\/cocos\/results isn't a directory/],
  ["proc is a link", one(link("proc", "/tmp")), /\/proc isn't a directory/],
  ["sys is a file", one({ path: "sys" }), /\/sys isn't a directory/],
  ["dev is a link", one(link("dev", "/cocos/results")), /\/dev isn't a directory/],
  ["tmp is a link", one(link("tmp", "/proc/self")), /\/tmp isn't a directory/],
  ["a whiteout that is a directory", one({ path: ".wh.etc", type: "5" }), /no whiteout/],
  ["a whiteout with content", one({ path: "a/.wh.b", content: "x" }), /no whiteout/],
  [
    "another file system's whiteout",
    one({ path: ".wh..wh.plnk/1.2" }),
    /in a whiteout/,
  ],
  ["another file system's own", one({ path: ".wh..wh.aufs" }), /for another file system/],
  ["a sparse file of GNU", one({ path: "x", type: "S" }), /of the type "S"/],
  ["a sparse file of pax", one(...pax(record("GNU.sparse.major=1"))), /sparse/],
  [
    "attributes of the overlay",
    one(...pax(record("SCHILY.xattr.trusted.overlay.redirect=/"))),
    /trusted/,
  ],
  ["a broken pax record", one(...pax("99 path=x\n")), /broken extension/],
  ["a pax path with a NUL", one(...pax(record("path=etc\0x"))), /NUL/],
  ["a pax path that climbs", one(...pax(record("path=../x"))), /climbs/],
  ["two pax paths", one(...pax(record("path=a") + record("path=b"))), /two values/],
  [
    // Go's reader forgets the first of them.
    "two pax headers before an entry",
    one({ path: "p", type: "x", content: record("path=harmless") }, {
      path: "p",
      type: "x",
      content: record("mtime=1"),
    }, link("etc/passwd", "/proc/1/environ")),
    /two pax headers/,
  ],
  [
    // Go's reader takes the header's own name then.
    "an empty GNU name",
    one({ path: "L", type: "L", content: "\0" }, { path: "etc/passwd", type: "5" }),
    /empty name/,
  ],
  [
    "a pax path and a GNU name",
    one({ path: "L", type: "L", content: "a\0" }, ...pax(record("path=b"))),
    /two values/,
  ],
  [
    "a pax size on a link",
    one({ path: "p", type: "x", content: record("size=512") }, link("a", "b")),
    /content/,
  ],
  [
    "a global pax header",
    one({ path: "g", type: "g", content: record("path=x") }),
    /of the type "g"/,
  ],
  [
    "an overlong extension",
    one({ path: "x", type: "x", content: ZEROS.subarray(0, 1 << 20) }),
    /overlong/,
  ],
  ["a directory with content", one({ path: "d", type: "5", content: "x" }), /content/],
  ["a file named as a directory", one({ path: "d/" }), /directory's/],
  ["a contiguous file", one({ path: "x", type: "7" }), /of the type/],
  [
    "a number that isn't octal",
    one({ path: "x", bend: put(124, "0000000009\0") }),
    /broken number/,
  ],
  [
    "a negative size",
    one({ path: "x", bend: (h) => h.fill(0xff, 124, 136) }),
    /broken number|impossible|UTF-8/,
  ],
  [
    "an impossible size",
    one({ path: "x", bend: (h) => (h.fill(0x7f, 125, 136), h[124] = 0x80) }),
    /impossible/,
  ],
  // Go's reader passes over NULs before the digits: the file's content would be headers to us.
  ["a size behind a NUL", one({ path: "x", bend: put(124, "\x000000001000") }), /broken number/],
  ["an unknown format", one({ path: "x", bend: put(257, "tar\0\0\0\0\0") }), /unknown tar format/],
  [
    "a hidden prefix",
    one({ path: "x", bend: (h) => (put(257, "ustar  \0")(h), put(345, "etc")(h)) }),
    /more than its format/,
  ],
  ["a trailer", one({ path: "x", bend: put(508, "tar\0") }), /more than its format/],
  ["a name that isn't UTF-8", one({ path: "x", bend: (h) => h.set([0xff, 0xfe], 0) }), /UTF-8/],
  [
    "a layer that goes on after its end",
    savedImage({ layers: [new Uint8Array([...tarOf([]), ...tarOf([RUN])])] }).bytes,
    /after its end/,
  ],
  [
    "a layer cut off",
    savedImage({
      layers: [tarOf([{ path: "x", content: ZEROS.subarray(0, 4096) }]).subarray(0, 2048)],
    }).bytes,
    /cut off/,
  ],
  [
    "a layer that is no tar",
    savedImage({ layers: [new Uint8Array(1024).fill(9)] }).bytes,
    /isn't a tar|broken number/,
  ],
  [
    "a packed layer that breaks",
    savedImage({ layers: [layer], pack: (tar) => gzipSync(tar).subarray(0, 40) }).bytes,
    /can't be unpacked/,
  ],
  [
    "a gzip bomb",
    savedImage({ layers: [tarOf([{ path: "x", content: ZEROS }])], pack: (tar) => gzipSync(tar) })
      .bytes,
    /unpacks to over 100 times/,
  ],
  [
    "a zstd bomb",
    savedImage({
      layers: [tarOf([{ path: "x", content: ZEROS }])],
      pack: (tar) => zstdCompressSync(tar),
    }).bytes,
    /unpacks to over 100 times/,
  ],
];

Deno.test("readImage() S-15 refuses hostile images before an engine sees them", async () => {
  const wrong: string[] = [];
  for (const [name, bytes, reason] of HOSTILE) {
    const judged = await judge(bytes);
    const said = typeof judged === "string" ? judged : "accepted";
    if (!reason.test(said)) wrong.push(`${name}: ${said}`);
  }
  assert.deepEqual(wrong, []);
  console.log(`tried as images, all refused: ${HOSTILE.length}`);
});

Deno.test("readImage() S-15 takes whiteouts, devices of /dev and links that nothing is written through", async () => {
  const judged = await judge(
    savedImage({
      layers: [
        [
          { path: "bin", type: "2", target: "usr/bin" },
          { path: "usr/bin/run", content: "x" },
          { path: "dev", type: "5" },
          { path: "dev/null", type: "3" },
          { path: "etc", type: "5" },
          { path: "etc/passwd", content: "root:x:0:0::/:/bin/sh\n" },
          { path: "a", type: "2", target: "b" },
        ],
        [{ path: ".wh.a" }, { path: "a", type: "5" }, { path: "a/x" }, {
          path: "usr/.wh..wh..opq",
        }],
        pax(record(`path=${"long/".repeat(30)}x`)) as TestEntry[],
      ],
    }).bytes,
  );
  assert.ok(typeof judged === "object", String(judged));
});

Deno.test("readImage() refuses or keeps an archive with any byte changed, and never fails otherwise", async () => {
  const { bytes, id } = savedImage({ layers: [layer] });
  await fc.assert(
    fc.asyncProperty(
      fc.nat({ max: bytes.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      async (at, change) => {
        const bent = bytes.slice();
        bent[at] = (bent[at] as number) ^ change;
        const judged = await judge(bent);
        // What is left over and named nowhere may change; what the engine gets may not.
        if (typeof judged === "object" && judged.id === id) {
          assert.equal((await filesOf(judged.archive))["0.tar"], sha256(layer));
        }
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("commandOf() puts arguments where docker run does, or behind CMD", () => {
  const config = (Entrypoint: unknown, Cmd: unknown) =>
    readConfig(new TextEncoder().encode(JSON.stringify({
      os: "linux",
      architecture: "amd64",
      config: { Entrypoint, Cmd },
      rootfs: { diff_ids: [`sha256:${"0".repeat(64)}`] },
    })));
  assert.deepEqual(commandOf(config(["e"], ["c"]), []), ["e", "c"]);
  assert.deepEqual(commandOf(config(["e"], ["c"]), ["a"]), ["e", "a"]);
  assert.deepEqual(commandOf(config(null, ["c", "d"]), ["a"]), ["c", "d", "a"]);
  for (const nothing of [config(null, null), config([""], []), config([], [])]) {
    assert.throws(() => commandOf(nothing, []), { message: /names no command/ });
  }
});
