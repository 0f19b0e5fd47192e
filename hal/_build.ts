// The whole recipe: packages → stage → bundles → caches → two layers → one image, measured.
import { denoOf } from "./_run.ts";
import { CocosError } from "../base/mod.ts";
import { bundle, checkDeno, commandLine, WASM_CHILD } from "./_bundle.ts";
import type { Entry } from "./_cpio.ts";
import { entriesOf, folders, join, type Measured, writeLayer } from "./_image.ts";
import { probeInitrd } from "./_initrd.ts";
import { inputsDigest } from "./_inputs.ts";
import {
  fetchPackages,
  fileSha256,
  formatLock,
  type Package,
  parseLock,
  unpackLinker,
} from "./_packages.ts";
import { type Wanted, withRights } from "./_programs.ts";
import { parseOsRelease, type Profile, type Recipe, recipeFor } from "./_recipe.ts";
import { layOut, links, type Stage } from "./_stage.ts";
import { sandboxRefusal, warm } from "./_warm.ts";

/** What to build, and where. All paths are absolute. */
export interface BuildOptions {
  /** Top of the source tree. */
  readonly root: string;
  /** Folder the image goes to. */
  readonly out: string;
  /** Programs to put in; the agent and the runner. */
  readonly programs: readonly Wanted[];
  /** What it holds; `small` when not given. */
  readonly profile?: Profile;
  /** Build although nothing changed. */
  readonly force?: boolean;
  /** Lay the packages out anew too, beside the kept base layer: a proof that it comes out the same. */
  readonly fresh?: boolean;
  /** Take the mirror's current packages and write their versions to the lock. */
  readonly updateLock?: boolean;
  /** Told each step, for people. */
  readonly say: (line: string) => void;
}

/** What measurements.json says of an image. */
export interface Measurements {
  /** Digest of everything it was made from. */
  readonly inputs: string;
  readonly files: Record<string, Measured>;
  readonly deno: { readonly version: string; readonly sha256: string };
  /** Whether the programs' code caches are in the image. */
  readonly warmed: boolean;
  readonly packages: readonly {
    name: string;
    version: string;
    sha256: string;
    /** False when the pin was gone and the mirror's current version took its place. */
    pinned: boolean;
  }[];
}

/** Folders the guest mounts on or writes to. */
const GUEST_FOLDERS = {
  "cocos": 0o755,
  "cocos/cache": 0o755,
  "cocos/lib": 0o755,
  "cocos/work": 0o755,
  "dev": 0o755,
  "etc": 0o755,
  "etc/certs": 0o755,
  "proc": 0o555,
  "root": 0o700,
  "run": 0o755,
  "sys": 0o555,
  "tmp": 0o1777,
  "var": 0o755,
  "var/log": 0o755,
  "var/log/cocos": 0o750,
};

/** Builds the image, or finds it built. */
export async function buildImage(options: BuildOptions): Promise<Measurements> {
  const { root, out, programs, say } = options;
  checkDeno();
  const machine = parseOsRelease(await Deno.readTextFile("/etc/os-release"));
  const recipe = recipeFor(machine, Deno.build.arch, options.profile);
  const digest = () => inputsDigest(root, [recipe.id, Deno.version.deno, JSON.stringify(programs)]);
  const update = options.updateLock === true;
  const mayKeep = options.force !== true && options.fresh !== true && !update;
  const before = mayKeep ? await intact(out, await digest()) : undefined;
  if (before !== undefined) return before;

  const cache = `${root}/.cache/hal`;
  await Deno.mkdir(`${cache}/tools`, { recursive: true });
  await Deno.mkdir(out, { recursive: true });
  // One build at a time: another one's result may be just what is wanted.
  using guard = await Deno.open(`${cache}/lock`, { create: true, write: true });
  await guard.lock(true);
  const meanwhile = mayKeep ? await intact(out, await digest()) : undefined;
  if (meanwhile !== undefined) return meanwhile;

  const lockPath = `${root}/hal/packages.lock.json`;
  const lock = parseLock(await Deno.readTextFile(lockPath));
  const packages = await fetchPackages(recipe, machine, lock, { cache, say }, update);
  if (update) await Deno.writeTextFile(lockPath, formatLock({ ...lock, [recipe.id]: packages }));
  const inputs = await digest();

  const linker = await unpackLinker(packages, { cache, say });
  const denoSha256 = await fileSha256(denoOf(root)) ?? "";
  const top = `${cache}/top-${crypto.randomUUID()}`;
  try {
    await Deno.mkdir(top);
    const fresh = options.fresh === true ? `${top}/base` : undefined;
    const base = await baseLayer({ root, cache, linker, recipe, packages, denoSha256, say, fresh });
    const { entries, warmed } = await topEntries(root, top, base.stage, programs, recipe, say);
    say("image: writing");
    await writeLayer(entries, `${top}/layer.gz`);
    const kernel = packages.find(({ name }) => name.startsWith("linux-image-"));
    if (kernel === undefined) throw new CocosError("not-found", "Cannot find the kernel package");
    await Deno.writeFile(`${top}/probe.cpio`, await probeInitrd());
    const files = {
      "bzImage": await join(
        [`${kernel.folder}/boot/vmlinuz-${kernel.name.slice("linux-image-".length)}`],
        `${out}/bzImage`,
      ),
      "rootfs.cpio.gz": await join([base.layer, `${top}/layer.gz`], `${out}/rootfs.cpio.gz`),
      "probe.cpio": await join([`${top}/probe.cpio`], `${out}/probe.cpio`),
    };
    const measurements: Measurements = {
      inputs,
      files,
      deno: { version: Deno.version.deno, sha256: denoSha256 },
      warmed,
      packages: packages.map(({ name, version, sha256, pinned }) => ({
        name,
        version,
        sha256,
        pinned: pinned || update,
      })),
    };
    await Deno.writeTextFile(
      `${out}/measurements.json`,
      `${JSON.stringify(measurements, null, 2)}\n`,
    );
    return measurements;
  } finally {
    await Deno.remove(top, { recursive: true });
  }
}

/** The measurements of an image that is whole and made from these inputs. */
async function intact(out: string, inputs: string): Promise<Measurements | undefined> {
  let built: Measurements;
  try {
    built = JSON.parse(await Deno.readTextFile(`${out}/measurements.json`)) as Measurements;
  } catch {
    return undefined;
  }
  if (built.inputs !== inputs) return undefined;
  for (const [name, { sha256 }] of Object.entries(built.files)) {
    if (await fileSha256(`${out}/${name}`) !== sha256) return undefined;
  }
  return built;
}

/** The layer that follows from packages and Deno alone; kept until one of them changes. */
async function baseLayer(
  { root, cache, linker, recipe, packages, denoSha256, say, fresh }: {
    readonly root: string;
    readonly cache: string;
    readonly linker: string;
    readonly recipe: Recipe;
    readonly packages: readonly Package[];
    readonly denoSha256: string;
    readonly say: (line: string) => void;
    /** A folder to lay it out in anew, whatever is kept. */
    readonly fresh: string | undefined;
  },
): Promise<{ stage: Stage; layer: string }> {
  const recipeSources = await Promise.all(
    ["_stage.ts", "_full.ts", "_modules.ts", "_image.ts", "_cpio.ts"].map((name) =>
      Deno.readTextFile(`${root}/hal/${name}`)
    ),
  );
  const key = (await sha256([
    recipe.python,
    denoSha256,
    ...packages.map((each) => each.sha256),
    ...recipeSources,
  ])).slice(0, 16);
  const folder = fresh ?? `${cache}/base-${recipe.profile}-${key}`;
  const stage = { root: `${folder}/stage`, linker, python: recipe.python };
  const layer = `${folder}/layer.gz`;
  if (fresh === undefined) {
    if (await fileSha256(layer) !== undefined) return { stage, layer };
    const old = (await Array.fromAsync(Deno.readDir(cache))).map(({ name }) => name);
    for (const name of old.filter((each) => each.startsWith(`base-${recipe.profile}-`))) {
      await Deno.remove(`${cache}/${name}`, { recursive: true });
    }
  }
  say("base: laying out packages, compiling Python's library");
  await layOut(stage.root, linker, recipe.python, packages, recipe.profile);
  await Deno.copyFile(denoOf(root), `${stage.root}/cocos/bin/deno`);
  await Deno.chmod(`${stage.root}/cocos/bin/deno`, 0o755);
  say("base: compressing");
  await writeLayer([
    ...await entriesOf(stage.root),
    ...Object.entries(links(recipe.python)).map(([path, target]): Entry => (
      { kind: "link", path, mode: 0o777, target }
    )),
    { kind: "directory", path: "dev", mode: 0o755 },
    { kind: "device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
  ], layer);
  return { stage, layer };
}

/** Our own layer: scripts, tables, programs, flags, code caches. */
async function topEntries(
  root: string,
  top: string,
  stage: Stage,
  wanted: readonly Wanted[],
  { profile }: Recipe,
  say: (line: string) => void,
): Promise<{ entries: Entry[]; warmed: boolean }> {
  const bundles = `${top}/cocos`;
  await Deno.mkdir(bundles);
  const environment = `${top}/environment`;
  const programs = [];
  for (const each of wanted) {
    programs.push(await withRights(root, each, environment.slice(root.length + 1)));
  }
  say(`programs: bundling ${programs.map(({ name }) => name).join(" and ")}`);
  for (const program of programs) await bundle(root, program, bundles);
  await Deno.mkdir(`${bundles}/wasm`);
  await bundle(root, WASM_CHILD, `${bundles}/wasm`);
  say("programs: filling their code caches");
  const refused = await sandboxRefusal(stage);
  const warmed = refused === undefined;
  for (const { name } of programs) {
    await Deno.mkdir(`${bundles}/cache/${name}`, { recursive: true });
  }
  if (warmed) {
    await Promise.all(
      programs.map((program) =>
        warm(stage, program, bundles, environment, `${bundles}/cache/${program.name}`)
      ),
    );
  } else {
    // Slower to start, otherwise the same.
    say(`WARNING: no code caches, the guest starts later: ${refused}`);
  }
  const encoder = new TextEncoder();
  const overlay = (name: string) =>
    entriesOf(
      `${root}/hal/${name}`,
      "",
      (path) => !path.startsWith("etc/") || /\/\d+$/.test(path),
    );
  const entries = [
    ...folders(GUEST_FOLDERS),
    // The first entry of a path counts: a profile's own files take the place of the common ones.
    ...profile === "full" ? await overlay("overlay-full") : [],
    ...await overlay("overlay"),
    ...await entriesOf(bundles, "cocos", () => false),
    ...programs.map((program): Entry => ({
      kind: "file",
      path: `cocos/lib/${program.name}.flags`,
      mode: 0o644,
      content: encoder.encode(commandLine(program).map((word) => `${word}\n`).join("")),
    })),
    // Another name for it: no argument of bubblewrap may start with the path the runner is run by.
    { kind: "link", path: "cocos/wasm/deno", mode: 0o777, target: "../bin/deno" } as const,
    {
      kind: "link",
      path: "etc/resolv.conf",
      mode: 0o777,
      target: "/run/cocos/resolv.conf",
    } as const,
  ];
  // The overlay has some of the folders too; the table's mode is the one that counts.
  const byPath = new Map(entries.reverse().map((entry) => [entry.path, entry]));
  return { entries: [...byPath.values()], warmed };
}

async function sha256(words: readonly string[]): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(words));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
