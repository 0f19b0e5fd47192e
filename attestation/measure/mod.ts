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
export * from "./authenticode.ts";
export * from "./explain.ts";
export * from "./igvm.ts";
export * from "./igvm_measure.ts";
export * from "./launch.ts";
export * from "./linux.ts";
export * from "./ovmf.ts";
export {
  firmwareDigest,
  type KernelFiles,
  MAX_CPUS,
  measureSev,
  SEV_MODES,
  type SevLaunch,
  type SevMode,
} from "./sev.ts";
export * from "./tdx.ts";
export * from "./vmsa.ts";
