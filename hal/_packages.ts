// Gets the packages of a recipe: pinned by version and SHA-256, fetched by apt, kept in a cache.
// A file is used only when its digest is the expected one, wherever it comes from.
import { createHash } from "node:crypto";
import { CocosError } from "../base/mod.ts";
import { machineSources, PrivateApt, privateSources, type Version } from "./_apt.ts";
import type { Machine, Recipe } from "./_recipe.ts";
import { run } from "./_run.ts";

/** One pin: what the image was last built from on purpose. */
export interface Pin {
  readonly name: string;
  readonly version: string;
  /** SHA-256 of the .deb, hex. */
  readonly sha256: string;
}

/** A package in hand: its pin or what replaced it, and its unpacked files. */
export interface Package extends Pin {
  readonly pinned: boolean;
  /** Folder of the unpacked files. */
  readonly folder: string;
}

/** Recipe id → pins, sorted by name. */
export type Lock = Record<string, readonly Pin[]>;

/**
 * Reads packages.lock.json.
 *
 * @throws {CocosError} `invalid-config` when an entry is not a name, version and digest.
 */
export function parseLock(text: string): Lock {
  const lock = JSON.parse(text) as Lock;
  for (const [id, pins] of Object.entries(lock)) {
    for (const { name, version, sha256 } of pins) {
      if (
        !/^[a-z0-9][a-z0-9+.~-]+$/.test(name) || !/^[A-Za-z0-9.+~:-]+$/.test(version) ||
        !/^[0-9a-f]{64}$/.test(sha256)
      ) {
        throw new CocosError(
          "invalid-config",
          `Cannot use the pin of ${name} for ${id}: malformed`,
        );
      }
    }
  }
  return lock;
}

/** Lock text with recipes and names in order. */
export function formatLock(lock: Lock): string {
  const byKey = (a: string, b: string) => a < b ? -1 : 1;
  const ordered = Object.entries(lock).sort(([a], [b]) => byKey(a, b)).map(([id, pins]) => [
    id,
    [...pins].sort((a, b) => byKey(a.name, b.name)).map(
      ({ name, version, sha256 }) => ({ name, version, sha256 }),
    ),
  ]);
  return `${JSON.stringify(Object.fromEntries(ordered), null, 2)}\n`;
}

/** Where a package manager keeps what. */
export interface Shelf {
  /** Folder of the cache. */
  readonly cache: string;
  /** Told each step. */
  readonly say: (line: string) => void;
  /** Folder of the machine's apt configuration; /etc/apt when not given. */
  readonly etc?: string;
}

/**
 * Makes every package of the recipe available unpacked.
 *
 * Pins that are still on the mirror, or in the cache, are used as they are; for the others the
 * mirror's current version is taken and the drift is told. `update` ignores the pins.
 */
export async function fetchPackages(
  recipe: Recipe,
  machine: Machine,
  lock: Lock,
  shelf: Shelf,
  update = false,
): Promise<Package[]> {
  const pins = update ? [] : lock[recipe.id] ?? [];
  const complete = pins.length > 0 &&
    recipe.packages.every((name) => pins.some((pin) => pin.name === name));
  if (complete && (await missing(pins, shelf)).length === 0) {
    return await unpackAll(pins.map((pin) => ({ ...pin, pinned: true })), shelf);
  }
  shelf.say("package lists: asking the machine's mirrors");
  const sources = privateSources(
    await machineSources(shelf.etc),
    machine.codename,
    recipe,
  );
  await Deno.mkdir(shelf.cache, { recursive: true });
  const apt = await PrivateApt.open(`${shelf.cache}/apt`, sources);
  const kernel = await kernelPackages(apt, recipe, pins);
  for (const { name } of pins) {
    if (!recipe.packages.includes(name) && !kernel.includes(name)) {
      shelf.say(`drift: ${name} is gone, using ${kernel.join(" and ")}`);
    }
  }
  const names = [...recipe.packages, ...kernel].sort();
  const versions = await apt.versions(names);
  const chosen = names.map((name) => choose(name, pins, versions, recipe));
  for (const { name, version, was } of chosen) {
    if (was !== undefined) shelf.say(`drift: ${name} ${was} is gone, using ${version}`);
  }
  const wanted = chosen.map(({ name, version }) => `${name}=${version}`);
  const expected = await apt.expected(wanted);
  const found = chosen.map(({ name, version }) => {
    const file = fileStem(name, version);
    const match = expected.find((each) => each.file.startsWith(`${file}_`));
    if (match === undefined) {
      throw new CocosError("not-found", `Cannot fetch ${name} ${version}: apt has no file for it`);
    }
    const pin = pins.find((each) => each.name === name && each.version === version);
    if (pin !== undefined && pin.sha256 !== match.sha256) {
      throw new CocosError(
        "digest-mismatch",
        `Cannot use ${name} ${version}: the mirror has ${match.sha256}, the lock ${pin.sha256}`,
      );
    }
    return { name, version, sha256: match.sha256, pinned: pin !== undefined, file: match.file };
  });
  const absent = await missing(found, shelf);
  if (absent.length > 0) {
    shelf.say(`packages: fetching ${absent.length} of ${found.length}`);
    const folder = `${shelf.cache}/debs`;
    await apt.download(absent.map(({ name, version }) => `${name}=${version}`), folder);
    for (const { sha256, file } of found.filter((each) => absent.includes(each))) {
      await Deno.rename(`${folder}/${file}`, debPath(shelf, sha256));
    }
    const still = await missing(found, shelf);
    if (still.length > 0) {
      throw new CocosError(
        "digest-mismatch",
        `Cannot use ${still.map(({ name }) => name).join(", ")}: not the bytes the lists promise`,
      );
    }
  }
  return await unpackAll(found, shelf);
}

/** apt's file names start with name and version, the epoch's colon escaped. */
function fileStem(name: string, version: string): string {
  return `${name}_${version.replaceAll(":", "%3a")}`;
}

/** The pinned kernel, or the one the distribution's meta package names now. */
async function kernelPackages(
  apt: PrivateApt,
  recipe: Recipe,
  pins: readonly Pin[],
): Promise<readonly string[]> {
  const { name, suite } = recipe.kernelMeta;
  const pinned = pins.filter((pin) => !recipe.packages.includes(pin.name)).map((pin) => pin.name);
  const known = await apt.versions([name, ...pinned]);
  if (pinned.length > 0 && pinned.every((each) => known.has(each))) return pinned;
  const version = known.get(name)?.find((each) => suite === "" || each.suite === suite)?.version;
  if (version === undefined) {
    throw new CocosError(
      "not-found",
      `Cannot find a kernel: the mirror has no ${name}${suite && ` in ${suite}`}`,
      { hint: "The image needs a kernel with 9p and configfs-tsm; use a full mirror." },
    );
  }
  const depends = await apt.depends(name, version);
  const kernel = /linux-image-\d[^\s,]*/.exec(depends)?.[0];
  if (kernel === undefined) {
    throw new CocosError("not-found", `Cannot find a kernel: ${name} ${version} names none`);
  }
  return [kernel, ...recipe.modulesOf(kernel)];
}

/** The pinned version where the mirror has it, else the newest of the recipe's suites. */
export function choose(
  name: string,
  pins: readonly Pin[],
  versions: ReadonlyMap<string, readonly Version[]>,
  recipe: Recipe,
): { name: string; version: string; was?: string } {
  const pin = pins.find((each) => each.name === name);
  const offered = versions.get(name) ?? [];
  if (pin !== undefined && offered.some((each) => each.version === pin.version)) {
    return { name, version: pin.version };
  }
  const kernel = name.startsWith("linux-");
  const usual = offered.find((each) => kernel || !each.suite.endsWith("-backports"));
  if (usual === undefined) {
    throw new CocosError("not-found", `Cannot find the package ${name} on the mirror`, {
      hint: `The recipe ${recipe.id} needs it; use a full mirror of ${recipe.suite}.`,
    });
  }
  return { name, version: usual.version, ...(pin === undefined ? {} : { was: pin.version }) };
}

function debPath(shelf: Shelf, sha256: string): string {
  return `${shelf.cache}/debs/${sha256}.deb`;
}

/** Those of `wanted` whose file is absent or not what it should be. */
async function missing<P extends Pin>(wanted: readonly P[], shelf: Shelf): Promise<P[]> {
  await Deno.mkdir(`${shelf.cache}/debs`, { recursive: true });
  const absent: P[] = [];
  for (const pin of wanted) {
    if (await fileSha256(debPath(shelf, pin.sha256)) !== pin.sha256) absent.push(pin);
  }
  return absent;
}

/** SHA-256 (hex) of a file, or undefined when there is none. */
export async function fileSha256(path: string): Promise<string | undefined> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const hash = createHash("sha256");
  for await (const chunk of file.readable) hash.update(chunk);
  return hash.digest("hex");
}

/**
 * Unpacks the C library once more at a fixed place and answers its dynamic linker. dpkg-deb writes
 * it, since Deno lets no process write a program that it may run.
 */
export async function unpackLinker(packages: readonly Package[], shelf: Shelf): Promise<string> {
  const libc = packages.find(({ name }) => name === "libc6");
  if (libc === undefined) throw new CocosError("not-found", "Cannot find the package libc6");
  await run("dpkg-deb", ["-x", debPath(shelf, libc.sha256), `${shelf.cache}/tools`]);
  const linker = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
  const merged = `${shelf.cache}/tools/usr/${linker}`;
  return await exists(merged) ? merged : `${shelf.cache}/tools/${linker}`;
}

async function unpackAll(
  pins: readonly (Pin & { pinned: boolean })[],
  shelf: Shelf,
): Promise<Package[]> {
  const packages: Package[] = [];
  for (const { name, version, sha256, pinned } of pins) {
    const folder = `${shelf.cache}/unpacked/${sha256}`;
    if (!await exists(folder)) {
      const partial = `${folder}.partial`;
      await Deno.mkdir(partial, { recursive: true });
      await run("dpkg-deb", ["-x", debPath(shelf, sha256), partial]);
      await Deno.rename(partial, folder);
    }
    packages.push({ name, version, sha256, pinned, folder });
  }
  return packages.sort((a, b) => a.name < b.name ? -1 : 1);
}

/** Whether there is anything at a path. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
