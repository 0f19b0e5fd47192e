/**
 * INSECURE: a stand-in for evidence where there is no TEE. It proves nothing.
 *
 * @example
 * ```ts
 * import { appraiseSimulated, INSECURE_SIMULATED_ROOT, issueSimulated, simulatedPolicy } from "./mod.ts";
 *
 * const reportData = new Uint8Array(64).fill(7);
 * const evidence = issueSimulated({
 *   measurement: new Uint8Array(48),
 *   hostData: new Uint8Array(32),
 *   reportData,
 * });
 * const policy = simulatedPolicy({
 *   insecure: true,
 *   roots: [INSECURE_SIMULATED_ROOT],
 *   measurement: ["00".repeat(48)],
 * });
 * console.log((await appraiseSimulated(evidence, policy, { reportData })).ok); // true
 * ```
 *
 * @module
 */
export * from "./evidence.ts";
export * from "./verify.ts";
