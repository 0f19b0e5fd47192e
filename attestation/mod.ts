/**
 * Evidence of confidential machines and its appraisal: pure code, the same in agent, CLI, manager and
 * browser. Bytes, time, collateral and policy go in; a verdict, a list of named checks, comes out.
 *
 * @example
 * ```ts
 * import { appraise, parsePolicy, verdictText } from "./mod.ts";
 *
 * const policy = parsePolicy(`{
 *   "cocosPolicy": 1,
 *   "snp": {
 *     "products": ["Milan"],
 *     "measurement": "${"00".repeat(48)}",
 *     "tcb": { "reported": { "snp": 8, "microcode": 115 } }
 *   }
 * }`);
 * const verdict = await appraise(policy, { snp: new Uint8Array(1184) }, { now: 0 });
 * console.log(verdictText(verdict).split("\n")[0]); // ok   evidence.kinds: snp
 * ```
 *
 * @module
 */
export * from "./appraise.ts";
export * from "./banks.ts";
export * from "./bundle.ts";
export * from "./eventlog/mod.ts";
export * from "./ima/mod.ts";
export * from "./json.ts";
export * from "./measure/mod.ts";
export * from "./policy/mod.ts";
export * from "./reader.ts";
export * from "./result.ts";
export * from "./rules.ts";
export * from "./session.ts";
export * from "./simulated/mod.ts";
export * from "./snp/mod.ts";
export * from "./tdx/mod.ts";
export * from "./token/mod.ts";
export * from "./tpm/mod.ts";
export * from "./verdict.ts";
export * from "./x509/mod.ts";
