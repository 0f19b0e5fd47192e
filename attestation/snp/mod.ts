/**
 * AMD SEV-SNP: parser of reports, AMD's certificates, and the appraisal.
 *
 * @example
 * ```ts
 * import { appraiseSnp, snpPolicy, tcbOf } from "./mod.ts";
 *
 * const policy = snpPolicy({
 *   products: ["Milan"],
 *   measurement: ["00".repeat(48)],
 *   tcb: { reported: tcbOf({ snp: 8, microcode: 115 }) },
 * });
 * const verdict = await appraiseSnp(new Uint8Array(1184), policy, { now: 0 });
 * console.log(verdict.ok); // false
 * ```
 *
 * @module
 */
export type { SnpCollateral } from "./_chain.ts";
export * from "./certificates.ts";
export * from "./idblock.ts";
export * from "./kds.ts";
export * from "./policy.ts";
export * from "./report.ts";
export * from "./roots.ts";
export * from "./table.ts";
export * from "./tcb.ts";
export * from "./verify.ts";
