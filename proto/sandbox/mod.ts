/**
 * What the sandbox is, as data: bubblewrap's command line, the commands of each kind of algorithm, the
 * system calls. Pure and in a room of its own, so that the runner that starts it and the command line
 * that explains it use the same.
 *
 * @example
 * ```ts
 * import { programCommand, sandboxArgv, WORLD } from "./mod.ts";
 *
 * const places = { algorithm: "/job/algo", datasets: "/job/datasets", results: "/job/results" };
 * console.log(["bwrap", ...sandboxArgv({
 *   ...programCommand(places, ["--epochs", "5"]), cwd: WORLD, tmpBytes: 1 << 20,
 * })].join(" "));
 * ```
 *
 * @module
 */
export * from "./argv.ts";
export * from "./calls.ts";
export * from "./commands.ts";
export * from "./defaults.ts";
