/**
 * TCG event logs and the CC event log of TDX guests: parsing, replay, which data is covered, facts.
 *
 * @example
 * ```ts
 * import { parseEventLog, replay } from "./mod.ts";
 *
 * function rtmr0(ccel: Uint8Array): Uint8Array | undefined {
 *   return replay(parseEventLog(ccel, "ccel")).get("sha384")?.get(0);
 * }
 * ```
 *
 * @module
 */
export * from "./appraise.ts";
export * from "./binding.ts";
export * from "./facts.ts";
export * from "./parse.ts";
export * from "./replay.ts";
export * from "./types.ts";
