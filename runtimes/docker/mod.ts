/**
 * Kind `docker`: an image from `docker save` or an OCI layout, run by a container engine.
 *
 * @example
 * ```ts
 * import { commandOf, readConfig } from "./config.ts";
 *
 * const config = readConfig(new TextEncoder().encode(JSON.stringify({
 *   os: "linux", architecture: "amd64", config: { Cmd: ["/bin/app"] },
 *   rootfs: { diff_ids: [`sha256:${"0".repeat(64)}`] },
 * })));
 * console.log(commandOf(config, ["--fast"])); // [ "/bin/app", "--fast" ]
 * ```
 *
 * @module
 */
import { CocosError } from "../../base/mod.ts";
import { collectExit, type EngineAccess, type Facilities, type Runtime } from "../contract.ts";
import { inContainer, sweepEngine } from "./run.ts";

function engineOf({ docker }: Facilities): EngineAccess {
  if (docker !== undefined) return docker;
  throw new CocosError("not-supported", "This runner has no container engine", {
    hint: "Start it with --docker SOCKET, or use the full image.",
  });
}

/** The driver. */
export const docker: Runtime = {
  kind: "docker",
  prepare: (_job, facilities) => {
    engineOf(facilities);
    return Promise.resolve(undefined);
  },
  command: (job, facilities) => inContainer(job, engineOf(facilities)),
  collect: collectExit,
  sweep: async (facilities, log) => {
    if (facilities.docker !== undefined) await sweepEngine(facilities.docker, log);
  },
};
