// The image as a whole: the same bytes twice (L-3), and nothing in it that was not meant (L-4).
import assert from "node:assert/strict";
import { resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import { CocosError } from "../base/mod.ts";
import { buildImage, type Measurements } from "./_build.ts";
import { AGENT, RUNNER } from "./_programs.ts";
import { APPLETS, SYSTEM_APPLETS } from "./_stage.ts";

const ROOT = resolve(import.meta.dirname as string, "..");
const SCRATCH = `${ROOT}/.cache/hal/test-image`;

/** One entry of the image, read back. */
interface Found {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly body: Uint8Array;
}

/** Reads the archives the kernel would: member after member, later entries replace earlier ones. */
function readImage(gz: Uint8Array): Map<string, Found> {
  const bytes = gunzipSync(gz);
  const text = new TextDecoder("latin1");
  const found = new Map<string, Found>();
  for (let at = 0; at < bytes.length;) {
    if (bytes[at] === 0) {
      at += 4;
      continue;
    }
    assert.equal(text.decode(bytes.subarray(at, at + 6)), "070701");
    const field = (index: number) =>
      parseInt(text.decode(bytes.subarray(at + 6 + 8 * index, at + 14 + 8 * index)), 16);
    const name = text.decode(bytes.subarray(at + 110, at + 109 + field(11)));
    const body = (at + 110 + field(11) + 3) & ~3;
    if (name !== "TRAILER!!!") {
      const entry = { mode: field(1), uid: field(2), gid: field(3) };
      found.set(name, { ...entry, body: bytes.subarray(body, body + field(6)) });
    }
    at = (body + field(6) + 3) & ~3;
  }
  return found;
}

async function build(name: string, fresh: boolean): Promise<Measurements | undefined> {
  try {
    return await buildImage({
      root: ROOT,
      out: `${SCRATCH}/${name}`,
      programs: [AGENT, RUNNER],
      force: true,
      fresh,
      say: () => {},
    });
  } catch (error) {
    if (!(error instanceof CocosError) || error.code !== "not-supported") throw error;
    console.log(`skipped: ${error.message}`);
    return undefined;
  }
}

/** The ordinary build, once for all tests. */
const ordinary = (() => {
  let built: Promise<Measurements | undefined> | undefined;
  return () => built ??= build("first", false);
})();

Deno.test("buildImage() L-3 gives the same bytes twice, the second time from the packages on", async () => {
  const first = await ordinary();
  if (first === undefined) return;
  const second = await build("second", true);
  assert.deepEqual(second?.files, first.files);
  const size = first.files["rootfs.cpio.gz"]?.bytes ?? 0;
  assert.ok(size > 0 && size <= 70e6, `the image has ${size} bytes, at most 70 MB are promised`);
});

Deno.test("buildImage() L-4 puts in no shell login, remote shell, compiler or package manager", async () => {
  const built = await ordinary();
  if (built === undefined) return;
  const image = readImage(await Deno.readFile(`${SCRATCH}/first/rootfs.cpio.gz`));
  const text = (path: string) => new TextDecoder().decode(image.get(path)?.body);
  const names = [...image.keys()];
  const isFile = ({ mode }: Found) => (mode & 0o170000) === 0o100000;

  // Every program by name: what is not here can't be started by path.
  const programs = names.filter((name) => {
    const entry = image.get(name) as Found;
    return isFile(entry) && (entry.mode & 0o111) !== 0 &&
      !/^usr\/lib\/(python3|x86_64-linux-gnu\/)/.test(name);
  });
  assert.deepEqual(programs.filter((name) => !/^usr\/bin\/python3\.\d+$/.test(name)).sort(), [
    "cocos/bin/bwrap",
    "cocos/bin/deno",
    "cocos/bin/setpriv",
    "cocos/lib/agent",
    "cocos/lib/dhcp",
    "cocos/lib/guest.sh",
    "cocos/lib/log",
    "cocos/lib/runner",
    "etc/acpi/PWRF/00000080",
    "init",
    "usr/bin/busybox",
  ]);
  const links = names.filter((name) => /^usr\/s?bin\//.test(name) && !programs.includes(name));
  assert.deepEqual(
    links.sort(),
    [
      ...APPLETS.map((applet) => `usr/bin/${applet}`),
      ...SYSTEM_APPLETS.map((applet) => `usr/sbin/${applet}`),
      "usr/bin/python3",
    ].sort(),
  );
  const unwanted =
    /\/(a?getty|login|su|sudo|passwd|s?sh[d]|ssh[^/]*|dropbear|telnetd?|nc|wget|ftp\w*|httpd|inetd|gcc|cc|ld|as|make|perl|apt[^/]*|dpkg|rpm|vi)$/;
  assert.deepEqual(names.filter((name) => unwanted.test(`/${name}`) && /bin\//.test(name)), []);

  // Nobody gets more rights by a file, nothing belongs to anybody but root, no secret is inside.
  for (const [name, entry] of image) {
    assert.equal(entry.mode & 0o6000, 0, name);
    assert.deepEqual([entry.uid, entry.gid], [0, 0], name);
    if ((entry.mode & 0o170000) !== 0o120000 && name !== "tmp") {
      assert.equal(entry.mode & 0o022, 0, name);
    }
    assert.doesNotMatch(name, /(^|\/)(shadow|authorized_keys|id_[a-z0-9]+|[^/]*\.(key|p12))$/);
  }
  assert.doesNotMatch(text("etc/inittab"), /askfirst|getty|\bsh\b/);
  for (const line of text("etc/passwd").trim().split("\n")) assert.match(line, /:\/bin\/false$/);

  // The flags of the two programs: one bundle each, no right without a list.
  for (const program of ["agent", "runner"]) {
    const flags = text(`cocos/lib/${program}.flags`).trim().split("\n");
    assert.ok(flags.includes("--cached-only") && flags.includes("--no-remote"), program);
    assert.deepEqual(
      flags.filter((flag) => /^(-A|--allow-all|--allow-\w+|--allow-\w+=)$/.test(flag)),
      [],
    );
    assert.ok(image.has(`cocos/${program}.js`));
    // Nor the machine that built it: no path above the source tree, no registry.
    assert.doesNotMatch(text(`cocos/${program}.js`), /^(\/\/ |[ ]{2}")(\.\.\/|\/)/m);
  }
});
