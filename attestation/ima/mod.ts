/**
 * Linux IMA measurement lists: parsing, replay to a signed PCR 10, allow-lists.
 *
 * @example
 * ```ts
 * import { coverageOf, parseImaList } from "./mod.ts";
 *
 * function holds(list: Uint8Array, signedPcr10: Uint8Array): boolean {
 *   return coverageOf(parseImaList(list), "sha256", signedPcr10).covered !== undefined;
 * }
 * ```
 *
 * @module
 */
export * from "./allow.ts";
export * from "./appraise.ts";
export * from "./parse.ts";
export * from "./replay.ts";
export * from "./template.ts";
