/**
 * Measurements a user computes from files, to compare with what hardware reports.
 *
 * @example
 * ```ts
 * import { measureIgvm } from "./mod.ts";
 *
 * async function isOurs(igvm: Uint8Array, measurement: string): Promise<boolean> {
 *   return (await measureIgvm(igvm, { kvm: true })).digest === measurement;
 * }
 * ```
 *
 * @module
 */
export * from "./igvm.ts";
export * from "./igvm_measure.ts";
export * from "./launch.ts";
export * from "./ovmf.ts";
export * from "./sev.ts";
export * from "./vmsa.ts";
