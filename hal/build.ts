// Builds the image of the confidential VM: `build/hal/{bzImage,rootfs.cpio.gz,measurements.json}`.
// Runs on the developer's machine with a closed list of programs; packages are trusted by digest.
import { parseArgs } from "node:util";
import { resolve } from "node:path";
import { asCocosError, CocosError, Exit } from "../base/mod.ts";
import { buildImage } from "./_build.ts";
import { programsOf } from "./_programs.ts";
import { PROFILES } from "./_recipe.ts";

const HELP = `Usage: deno task hal [--profile small|full] [--out DIR] [--force] [--update-lock]

Builds the image of the confidential VM from packages of this machine's mirrors.

  --profile P    small (default), or full: with a container engine, numpy, pandas, scikit-learn
  --out DIR      folder for bzImage, rootfs.cpio.gz, probe.cpio, measurements.json
                 (default build/hal, build/hal-full for the profile full)
  --force        build although nothing changed
  --fresh        --force, and lay out the packages anew instead of using the kept layer
  --update-lock  take the current packages and write them to hal/packages.lock.json
`;

/** Bytes as people read them. */
function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

async function main(argv: string[]): Promise<number> {
  const root = resolve(import.meta.dirname as string, "..");
  const say = (line: string) => console.error(`hal: ${line}`);
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        profile: { type: "string", default: "small" },
        out: { type: "string" },
        force: { type: "boolean", default: false },
        fresh: { type: "boolean", default: false },
        "update-lock": { type: "boolean", default: false },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help === true) {
      console.log(HELP);
      return Exit.OK;
    }
    const profile = PROFILES.find((each) => each === values.profile);
    if (profile === undefined) {
      throw new CocosError("invalid-config", `--profile must be one of ${PROFILES.join(", ")}`);
    }
    const usual = `${root}/build/hal${profile === "small" ? "" : `-${profile}`}`;
    const started = performance.now();
    const { files, packages } = await buildImage({
      root,
      out: resolve(values.out ?? usual),
      programs: programsOf(profile),
      profile,
      force: values.force,
      fresh: values.fresh,
      updateLock: values["update-lock"],
      say,
    });
    for (const [name, { bytes, sha256 }] of Object.entries(files)) {
      say(`${name.padEnd(15)} ${megabytes(bytes).padStart(8)}  sha256 ${sha256}`);
    }
    const drifted = packages.filter(({ pinned }) => !pinned);
    if (drifted.length > 0) {
      say(
        `built from ${drifted.length} package(s) other than the pinned ones: ` +
          drifted.map(({ name, version }) => `${name} ${version}`).join(", "),
      );
    }
    say(`${packages.length} packages, ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return Exit.OK;
  } catch (thrown) {
    const error = asCocosError(thrown);
    console.error(`hal: ${error.message}`);
    if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
    return error.exitCode;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
