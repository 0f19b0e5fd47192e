/**
 * What the parties agree on: from a computation file, or flags that say the same, to the manifest that
 * agents get and parties approve.
 *
 * @example
 * ```ts
 * import { parsePlan } from "./mod.ts";
 *
 * const plan = parsePlan(
 *   JSON.stringify({
 *     algorithm: { file: "train.py", key: "provider.pem", args: ["--epochs", "20"] },
 *     consumers: ["office.pem"],
 *   }),
 *   "study/",
 * );
 * console.log(plan.algorithm.file, plan.channel); // "study/train.py", "tls"
 * ```
 *
 * @module
 */
export * from "./plan.ts";
export * from "./plan_file.ts";
export * from "./resolve.ts";
