// What each command about evidence may touch: the files its arguments name, the folders of ours it
// keeps things in, the servers its variables name. Pure; the launcher's list is made of it.
import type { Source } from "../../base/mod.ts";
import { partOf } from "../draft.ts";
import { outputOf } from "./names.ts";
import type { AttestInvocation, Mode } from "./invocation.ts";
import { cacheFolder, homeFolder, hostOf, readServers } from "./servers.ts";

/** Files, `host:port` of servers, and whether the agent is talked to. */
export interface Needs {
  readonly read: readonly string[];
  readonly write: readonly string[];
  readonly net: readonly string[];
  readonly agent: boolean;
}

const NOTHING: Needs = { read: [], write: [], net: [], agent: false };

/** Product lines whose folders `ca-bundle` may write: which one, only the policy says. */
const LINES = ["Milan", "Genoa", "Turin"];

/**
 * Needs of an invocation.
 *
 * @throws {CocosError} `invalid-config` for wrong variables of what it talks to.
 */
export function needsOf(invocation: AttestInvocation, env: Source): Needs {
  switch (invocation.command) {
    case "attestation get":
      return { ...NOTHING, write: drafts([outputOf(invocation)]), agent: true };
    case "ima-measurements": {
      const { file, pcr10 } = invocation;
      return pcr10 === undefined
        ? { ...NOTHING, write: drafts([file]), agent: true }
        : { ...NOTHING, read: [file] };
    }
    case "attestation validate": {
      const { file, flags } = invocation;
      const collateral = collateralNeeds(
        hostsOf(flags.mode, flags.config !== undefined, env),
        flags.offline,
        env,
      );
      return {
        ...collateral,
        read: [
          ...given([file, flags.config, flags.hcl_report, flags.event_log, flags.ima, flags.keys]),
          ...given([flags.endorsement]),
          ...flags.trusted_author_keys,
          ...flags.trusted_id_keys,
          ...flags.CA_bundles_paths,
          ...flags.trusted_root,
          ...collateral.read,
        ],
        write: [...drafts(given([flags.output, flags.bundle, flags.eat])), ...collateral.write],
      };
    }
    case "verify":
      return {
        ...NOTHING,
        read: given([invocation.bundle, invocation.policy]),
        write: drafts(given([invocation.eat])),
      };
    case "policy measurement":
    case "policy hostdata":
      return { ...NOTHING, write: drafts([invocation.file]) };
    case "policy extend":
      return { ...NOTHING, read: invocation.manifests, write: drafts([invocation.file]) };
    case "policy lint":
    case "policy explain":
      return { ...NOTHING, read: [invocation.file] };
    case "policy diff":
      return { ...NOTHING, read: [invocation.before, invocation.after] };
    case "policy import":
      return { ...NOTHING, read: [invocation.file], write: drafts(given([invocation.output])) };
    case "policy generate": {
      const { file, mode, roots, offline, output } = invocation;
      const collateral = collateralNeeds(hostsOf(mode, false, env), offline, env);
      return {
        ...collateral,
        read: [file, ...roots, ...collateral.read],
        write: [...drafts(given([output])), ...collateral.write],
      };
    }
    case "policy gcp":
    case "policy download":
      return {
        ...NOTHING,
        read: given([invocation.file, "root" in invocation ? invocation.root : undefined]),
        write: drafts(["output" in invocation ? invocation.output : "ovmf.fd"]),
        net: [hostOf(readServers(env).google)],
      };
    case "policy azure":
      return {
        ...NOTHING,
        read: given([invocation.file, invocation.keys]),
        write: drafts([invocation.output]),
      };
    case "igvmmeasure":
      return { ...NOTHING, read: [invocation.file] };
    case "sevsnpmeasure": {
      const { ovmf, kernel, initrd, svsm, varsFile } = invocation.flags;
      return { ...NOTHING, read: given([ovmf, kernel, initrd, svsm, varsFile]) };
    }
    case "ca-bundle":
      return {
        ...NOTHING,
        read: [invocation.policy],
        write: LINES.map((line) => `${homeFolder(env)}/${line}`),
        net: [hostOf(readServers(env).amd)],
      };
  }
}

function given(paths: readonly (string | undefined)[]): string[] {
  return paths.filter((path) => path !== undefined);
}

/** A file that is written whole needs its draft, too. */
function drafts(paths: readonly string[]): string[] {
  return paths.flatMap((path) => [path, partOf(path)]);
}

/** Vendors' servers of a mode; both vendors' when only a policy file says which technology is due. */
function hostsOf(mode: Mode | undefined, config: boolean, env: Source): string[] {
  const servers = readServers(env);
  const amd = [servers.amd];
  const intel = [servers.intel, servers.intelRootCrl];
  const wanted = mode === "tdx"
    ? intel
    : mode === "snp" || mode === "snp-vtpm"
    ? amd
    : mode !== undefined
    ? []
    : config
    ? [...amd, ...intel]
    : amd;
  return wanted.map(hostOf);
}

/** The cache, and the servers unless offline; offline without HOME there is not even a cache. */
function collateralNeeds(hosts: readonly string[], offline: boolean, env: Source): Needs {
  if (offline && env("HOME") === undefined) return NOTHING;
  const cache = cacheFolder(env);
  return offline
    ? { ...NOTHING, read: [cache] }
    : { read: [], write: [cache], net: hosts, agent: false };
}
