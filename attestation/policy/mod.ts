/**
 * Policies: the file people write, what it asks, what it leaves open, where it comes from.
 *
 * @example
 * ```ts
 * import { lintPolicy, parsePolicy } from "./mod.ts";
 *
 * const policy = parsePolicy(`{
 *   "cocosPolicy": 1,
 *   "snp": { "products": ["Milan"], "measurement": "any", "tcb": { "reported": { "snp": 8 } } }
 * }`);
 * console.log(lintPolicy(policy)[0]?.path); // snp.measurement
 * ```
 *
 * @module
 */
export * from "./cbor.ts";
export * from "./corim.ts";
export * from "./document.ts";
export * from "./explain.ts";
export * from "./generate.ts";
export * from "./import.ts";
export * from "./lint.ts";
export * from "./seed.ts";
export * from "./seed_tdx.ts";
