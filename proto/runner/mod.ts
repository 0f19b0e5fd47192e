/**
 * The runner's protocol by itself: the runner imports this and not the whole wire, so that no gRPC
 * code is loaded into the process that starts programs.
 *
 * @example
 * ```ts
 * import { isJobId } from "./mod.ts";
 *
 * console.log(isJobId("job-0123456789abcdef"), isJobId("../job")); // true false
 * ```
 *
 * @module
 */
export * from "./protocol.ts";
