/**
 * The runner: drivers for kinds of algorithm, one sandbox, and the process that serves both to the
 * agent.
 *
 * @example
 * ```ts
 * import { readOptions, rights } from "./mod.ts";
 *
 * const options = readOptions([
 *   "--work", "/cocos/work", "--socket", "/run/cocos/runner.sock", "--cgroup", "/run/cocos/cgroup/cocos",
 * ]);
 * if (typeof options !== "string") console.log(rights(options).join("\n"));
 * ```
 *
 * @module
 */
export * from "./contract.ts";
export * from "./drivers.ts";
export * from "./options.ts";
export * from "./rights.ts";
