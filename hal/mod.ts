/**
 * The CVM image: its builder (`build.ts`) and the tiny guest that tells whether KVM really works.
 *
 * @example
 * ```ts
 * import { PROBE_MARKER, probeInitrd } from "./mod.ts";
 *
 * const initrd = await probeInitrd();
 * console.log(initrd.length % 512, PROBE_MARKER.length > 0); // 0 true
 * ```
 *
 * @module
 */
export { PROBE_MARKER } from "./_probe.ts";
export { probeInitrd } from "./_initrd.ts";
