/**
 * The sandbox every algorithm runs in: bubblewrap's command line as data, a seccomp allow-list,
 * control groups, bounded output and the clean-up of results.
 *
 * @example
 * ```ts
 * import { sandboxArgv } from "./mod.ts";
 *
 * console.log(["bwrap", ...sandboxArgv({
 *   program: "/bin/true", args: [], binds: [], cwd: "/cocos", tmpBytes: 1 << 20,
 * })].join(" "));
 * ```
 *
 * @module
 */
export * from "../../proto/sandbox/mod.ts";
export * from "./cgroup.ts";
export * from "./output.ts";
export * from "./process.ts";
export * from "./reaper.ts";
export * from "./results.ts";
export * from "./seccomp.ts";
