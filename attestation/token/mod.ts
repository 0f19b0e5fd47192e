/**
 * Words of cloud providers about evidence: Azure attestation tokens, Google launch endorsements.
 *
 * @example
 * ```ts
 * import { appraiseAzureToken, azureTokenPolicy } from "./mod.ts";
 *
 * const policy = azureTokenPolicy({
 *   issuer: "https://maa.example",
 *   keys: ["00".repeat(32)],
 *   measurement: ["00".repeat(48)],
 * });
 * const verdict = await appraiseAzureToken("a.b.c", policy, { now: 0, keySet: '{"keys":[]}' });
 * console.log(verdict.ok); // false
 * ```
 *
 * @module
 */
export * from "./azure.ts";
export * from "./gcp.ts";
export * from "./jwt.ts";
export * from "./keys.ts";
