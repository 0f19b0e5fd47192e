/**
 * Intel TDX: parser of quotes, Intel's certificates and statements, and the appraisal.
 *
 * @example
 * ```ts
 * import { appraiseTdx, tdxPolicy } from "./mod.ts";
 *
 * const policy = tdxPolicy({
 *   mrTd: ["00".repeat(48)],
 *   rtmr0: "any",
 *   rtmr1: "any",
 *   rtmr2: "any",
 *   rtmr3: "any",
 * });
 * const verdict = await appraiseTdx(new Uint8Array(5000), policy, { now: 0 });
 * console.log(verdict.ok); // false
 * ```
 *
 * @module
 */
export * from "./collateral.ts";
export * from "./pck.ts";
export * from "./pcs.ts";
export * from "./policy.ts";
export * from "./quote.ts";
export * from "./tcb.ts";
export * from "./verify.ts";
