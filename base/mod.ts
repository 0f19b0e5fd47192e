/**
 * What three or more processes need: errors, configuration, durations, logging, digests, archives.
 *
 * @example
 * ```ts
 * import { CocosError } from "./mod.ts";
 *
 * const error = new CocosError("not-found", "Cannot remove the VM: no VM has id 7");
 * console.log(error.exitCode); // 3
 * ```
 *
 * @module
 */
export * from "./config.ts";
export * from "./digest.ts";
export * from "./duration.ts";
export * from "./errors.ts";
export * from "./escape.ts";
export { digestFile, digestOf, Hasher } from "./hasher.ts";
export * from "./log.ts";
export * from "./resolve.ts";
export * from "./wheelhouse.ts";
export * from "./zip.ts";
