/**
 * TPM quotes: parsing, signatures, the attestation key and what vouches for it, and go-tpm-tools'
 * evidence file.
 *
 * @example
 * ```ts
 * import { appraiseTpm, decodeAttestation, evidenceOf, type TpmPolicy } from "./mod.ts";
 *
 * async function holds(file: Uint8Array, nonce: Uint8Array, akKey: string): Promise<boolean> {
 *   const policy: TpmPolicy = {
 *     binding: "pinned",
 *     nonce: "session",
 *     banks: ["sha256"],
 *     registers: [0, 1, 2, 3, 4, 5, 6, 7],
 *     pcrs: "any",
 *     counters: "any",
 *   };
 *   const binding = { kind: "pinned", keys: [akKey] } as const;
 *   const { verdict } = await appraiseTpm(evidenceOf(decodeAttestation(file)), policy, {
 *     nonce,
 *     binding,
 *   });
 *   return verdict.ok;
 * }
 * ```
 *
 * @module
 */
export * from "./appraise.ts";
export * from "./attestation.ts";
export * from "./binding.ts";
export * from "./certificate.ts";
export * from "./credential.ts";
export * from "./hcl.ts";
export * from "./policy.ts";
export * from "./public.ts";
export * from "./quote.ts";
export { registerClaims } from "./_registers.ts";
export * from "./signature.ts";
export * from "./svsm.ts";
