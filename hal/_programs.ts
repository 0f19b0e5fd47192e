// The two programs of the guest: entrances, arguments, and the rights their own rights.ts prints.
import { CocosError } from "../base/mod.ts";
import type { Program } from "./_bundle.ts";
import type { Profile } from "./_recipe.ts";
import { run } from "./_run.ts";

/** A program before its rights are known. */
export type Wanted = Omit<Program, "rights">;

/** Where init puts the host's settings, filtered. */
const ENVIRONMENT = "/run/cocos/agent/environment";

/** A server nobody has (RFC 5737); init grants the real one when the guest starts. */
const NO_SERVER = "192.0.2.1:1";

/** The front door. */
export const AGENT: Wanted = {
  name: "agent",
  entry: "agent/main.ts",
  uid: 1000,
  args: ["--config", ENVIRONMENT, "--certs", "/etc/certs"],
};

/** The one that starts the sandbox. */
export const RUNNER: Wanted = {
  name: "runner",
  entry: "runtimes/main.ts",
  uid: 1001,
  args: [
    ...["--work", "/cocos/work", "--socket", "/run/cocos/runner.sock"],
    ...["--cgroup", "/run/cocos/cgroup/cocos", "--bwrap", "/cocos/bin/bwrap"],
    ...["--python", "/usr/bin/python3", "--pip", "/usr/lib/python3/dist-packages"],
    ...["--deno", "/cocos/wasm/deno", "--wasm-child", "/cocos/wasm/child.js"],
  ],
  // Its real start fails on the building machine, at a moment that varies, and so did the cache.
  warmArgs: ["--help"],
};

/** The runner of an image with a container engine, which its init starts. */
export const RUNNER_WITH_ENGINE: Wanted = {
  ...RUNNER,
  args: [...RUNNER.args, "--docker", "/run/cocos/engine.sock", "--docker-cgroup", "/cocos"],
};

/** The programs of a profile. */
export function programsOf(profile: Profile): readonly Wanted[] {
  return [AGENT, profile === "full" ? RUNNER_WITH_ENGINE : RUNNER];
}

/**
 * Asks a program's rights.ts for its permission flags, with the guest's arguments, as its launcher
 * would: with the permissions its first `// launch:` line names.
 *
 * @param scratch a file below `root`, given relative to it, for the settings
 * @throws {CocosError} `invalid-config` when they are wider than the image allows.
 */
export async function withRights(
  root: string,
  program: Wanted,
  scratch: string,
): Promise<Program> {
  const { name, entry, args } = program;
  const script = entry.replace(/main\.ts$/, "rights.ts");
  const launch = /^\/\/ launch: (.*)$/m.exec(await Deno.readTextFile(`${root}/${script}`))?.[1] ??
    "";
  await Deno.writeTextFile(`${root}/${scratch}`, `AGENT_CVM_GRPC_URL=${NO_SERVER}\n`);
  const given = args.map((word) => word === ENVIRONMENT ? scratch : word);
  const printed = await run(
    Deno.execPath(),
    [
      ...["run", "--quiet", "--no-prompt", "--cached-only", "--frozen"],
      ...launch.split(/\s+/).filter((word) => word !== ""),
      ...[script, "--", ...given],
    ],
    { cwd: root },
  );
  const rights = printed.split("\n").filter((line) => line !== "").map((flag) =>
    guestFlag(flag, scratch)
  );
  checkRights(name, rights);
  return { ...program, rights };
}

/** A flag as the guest has it: its own settings file, and no server yet. */
export function guestFlag(flag: string, scratch: string): string {
  const [kind = "", list] = flag.split("=", 2);
  if (list === undefined) return flag;
  const words = list.split(",").filter((word) => word !== NO_SERVER);
  return `${kind}=${words.map((word) => word === scratch ? ENVIRONMENT : word).join(",")}`;
}

/**
 * No right without a list, none beyond the kinds a guest's program may have (threats L-2).
 *
 * @throws {CocosError} `invalid-config` that names the flag.
 */
export function checkRights(name: string, rights: readonly string[]): void {
  const kinds = ["net", "read", "write", "sys", ...(name === "runner" ? ["run"] : [])];
  const listed = new RegExp(`^--allow-(${kinds.join("|")})=[^,\\s]+(,[^,\\s]+)*$`);
  for (const flag of rights) {
    if (listed.test(flag) || flag === "--ignore-env" || /^--deny-(ffi|import|run)$/.test(flag)) {
      continue;
    }
    throw new CocosError("invalid-config", `Cannot give ${name} in the guest the right ${flag}`);
  }
}
