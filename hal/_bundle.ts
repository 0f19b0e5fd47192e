// The guest's two programs, each bundled to one file, and the flags each is started with.
import { CocosError } from "../base/mod.ts";
import { run } from "./_run.ts";

/** The version of Deno the guest runs: Deno's channel binding and code cache depend on it. */
export const DENO_VERSION = "2.9.6";

/** One program of the guest. */
export interface Program {
  readonly name: "agent" | "runner";
  /** Entrance in the source tree. */
  readonly entry: string;
  /** Arguments of the program. */
  readonly args: readonly string[];
  /** User id in the guest (overlay/etc/passwd). */
  readonly uid: number;
  /** Arguments when its code cache is made, where the guest's own can't work. */
  readonly warmArgs?: readonly string[];
  /** Permission flags, one a line of the start script's list. */
  readonly rights: readonly string[];
}

/**
 * Flags of every program: one measured file, nothing fetched, nothing asked. The one about workers
 * lets a program take rights away from its own (base/hasher.ts).
 */
const FIXED = [
  "--no-prompt",
  "--quiet",
  "--cached-only",
  "--no-remote",
  "--no-npm",
  "--no-config",
  "--no-lock",
  "--no-check",
  "--unstable-worker-options",
];

/**
 * Refuses a Deno of another version.
 *
 * @throws {CocosError} `not-supported` with the version found.
 */
export function checkDeno(version: string = Deno.version.deno): void {
  if (version === DENO_VERSION) return;
  throw new CocosError(
    "not-supported",
    `Cannot build the image with Deno ${version}: the guest is pinned to ${DENO_VERSION}`,
    { hint: `Run the build with Deno ${DENO_VERSION}; it becomes the guest's.` },
  );
}

/** What the runner starts for a WebAssembly module; it lies in a folder of its own. */
export const WASM_CHILD = { name: "child", entry: "runtimes/wasm/child.ts" };

/** Bundles a program to `<into>/<name>.js`. */
export async function bundle(
  root: string,
  { name, entry }: { readonly name: string; readonly entry: string },
  into: string,
): Promise<void> {
  const path = `${into}/${name}.js`;
  await run(
    Deno.execPath(),
    ["bundle", "--quiet", "--platform", "deno", "--frozen", "-o", path, entry],
    { cwd: root, hint: "The program's own check must pass first: deno check agent runtimes" },
  );
  await Deno.writeTextFile(path, portable(await Deno.readTextFile(path)));
}

/**
 * A bundle without the machine it was made on. The bundler names modules of packages by where this
 * machine keeps them, in comments and in the keys of CommonJS modules:
 * `../<cache>/npm/<registry>/<package>/<version>/<file>` becomes `npm/<package>/<version>/<file>`.
 */
export function portable(bundle: string): string {
  return bundle.replaceAll(
    /^(\/\/ |[ ]{2}")[^"\n]*\/npm\/[^/"\n]+\/((?:@[^/"\n]+\/)?[^/"\n]+\/\d+\.\d+\.\d+[^/"\n]*\/[^"\n]*)/gm,
    "$1npm/$2",
  );
}

/** What follows `deno run` in the guest: fixed flags, rights, program, its or `other` arguments. */
export function commandLine(
  { name, rights, args }: Program,
  other: readonly string[] = args,
): string[] {
  for (const word of [...rights, ...other]) {
    if (/[\0\n]/.test(word)) throw new RangeError("Cannot write a flag of two lines");
  }
  return [...FIXED, ...rights, `/cocos/${name}.js`, ...other];
}
