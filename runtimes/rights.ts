// The runner's whole permission list, made from its command line; run by itself it prints one flag a
// line. `deno run rights.ts -- <the runner's arguments>`; it needs no permission.
import { CocosError } from "../base/mod.ts";
import { readOptions, type RunnerOptions } from "./options.ts";

/** Information about the machine the runner asks for. */
const SYS = ["uid", "systemMemoryInfo"];

/**
 * Permission flags of a runner with these options: every kind, so that nothing is inherited from a
 * configuration file.
 */
export function rights(options: RunnerOptions): string[] {
  const { work, socket, cgroup, docker } = options;
  const paths = [work, socket, cgroup, docker].filter((path) => path !== undefined).join();
  const sockets = [socket, docker].filter((path) => path !== undefined);
  return [
    `--allow-run=${options.bwrap}`,
    `--allow-net=${sockets.map((path) => `unix:${path}`).join()}`,
    `--allow-read=${paths}`,
    `--allow-write=${paths}`,
    `--allow-sys=${SYS.join()}`,
    // node:child_process asks for a variable at each start; it is told there is none.
    "--ignore-env",
    "--deny-ffi",
    "--deny-import",
  ];
}

if (import.meta.main) {
  try {
    const argv = Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args;
    const options = readOptions(argv);
    // Help and version need nothing.
    console.log((typeof options === "string" ? ["--ignore-env"] : rights(options)).join("\n"));
  } catch (error) {
    if (!(error instanceof CocosError)) throw error;
    console.error(`cocos-runner: ${error.message}`);
    if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
    Deno.exit(error.exitCode);
  }
}
