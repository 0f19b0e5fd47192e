// launch: --ignore-env --allow-env=AGENT_GRPC_URL,AGENT_GRPC_TIMEOUT,AGENT_GRPC_CLIENT_CERT,AGENT_GRPC_CLIENT_KEY,AGENT_GRPC_SERVER_CA_CERTS,AGENT_GRPC_ATTESTED_TLS,MANAGER_GRPC_URL,MANAGER_GRPC_TIMEOUT,MANAGER_GRPC_CLIENT_CERT,MANAGER_GRPC_CLIENT_KEY,MANAGER_GRPC_SERVER_CA_CERTS,COCOS_AMD_KDS_URL,COCOS_INTEL_PCS_URL,COCOS_INTEL_ROOT_CRL_URL,COCOS_GOOGLE_STORAGE_URL,HOME --allow-read --allow-run=getent
// Prints the rights one command needs, one flag a line: the files its arguments name and the one
// peer its variables name. A usage mistake prints nothing; the program then reports it, rightless.
// It opens a computation file that stands for a manifest, wherever that is, and nothing else.
import {
  addressesOf,
  CocosError,
  type Endpoint,
  formatEndpoint,
  type Source,
} from "../base/mod.ts";
import { isAttest } from "./attest/invocation.ts";
import { needsOf } from "./attest/needs.ts";
import { approvalsFolder } from "./approvals.ts";
import { partOf } from "./draft.ts";
import { keyPaths } from "./keys.ts";
import { planOf } from "./plan_file.ts";
import { parse, type Parsed } from "./program.ts";
import { archivePath } from "./result.ts";
import { filesOf, type PeerSettings, readSettings } from "./settings.ts";
import type { Trust } from "./trust.ts";

/** Addresses of a host name. */
export type Resolve = (host: string) => readonly string[];

/**
 * Flags for one parsed command.
 *
 * @param planned files that the command's computation file names, where it has one

 * @throws {CocosError} `invalid-config` for wrong variables of the peer the command talks to.
 */
export function rights(
  parsed: Parsed,
  env: Source,
  resolve: Resolve,
  planned: readonly string[] = [],
): string[] {
  const read: string[] = [...planned];
  const write: string[] = [];
  const net: string[] = [];
  let peer: PeerSettings | undefined;
  if (isAttest(parsed)) {
    const needs = needsOf(parsed, env);
    read.push(...needs.read);
    write.push(...needs.write);
    net.push(...needs.net);
    if (needs.agent) peer = readSettings("agent", env);
    return flagsOf(read, write, net, peer, resolve);
  }
  // What is approved and pinned; without HOME nothing is kept.
  const approvals = approvalsFolder(env);
  const trusted = (given: Trust) => {
    peer = readSettings("agent", env);
    if (parsed.globals.compat) return;
    if (given.manifest !== undefined) read.push(given.manifest);
    if (approvals !== undefined) write.push(approvals);
  };
  switch (parsed.command) {
    case "keys": {
      const { private: secret, public: shared } = keyPaths(parsed.directory);
      write.push(secret, partOf(secret), shared, partOf(shared));
      break;
    }
    case "algo":
      trusted(parsed);
      read.push(parsed.file, parsed.key);
      read.push(...[parsed.requirements, parsed.wheelhouse].filter((path) => path !== undefined));
      break;
    case "output":
      trusted(parsed);
      read.push(parsed.key);
      break;
    case "data":
      trusted(parsed);
      read.push(parsed.path, parsed.key);
      break;
    case "result": {
      trusted(parsed);
      const path = archivePath(parsed);
      read.push(parsed.key, path);
      // Without an output the archive is a draft that never gets its name.
      write.push(...parsed.output === undefined ? [] : [path], partOf(path));
      if (parsed.extract !== undefined) {
        const directory = parsed.extract.replace(/\/+$/, "");
        write.push(directory, partOf(directory));
      }
      break;
    }
    case "manifest show":
    case "manifest digest":
    case "manifest approve":
      if (parsed.command === "manifest approve" && approvals !== undefined) write.push(approvals);
      if (parsed.file === undefined) peer = readSettings("agent", env);
      else read.push(parsed.file);
      break;
    case "create-vm":
      peer = readSettings("manager", env);
      read.push(
        ...[parsed.serverCa, parsed.clientKey, parsed.clientCrt].filter((path) =>
          path !== undefined
        ),
      );
      break;
    case "remove-vm":
      peer = readSettings("manager", env);
      break;
    case "run explain":
      read.push(parsed.file);
      break;
    case "checksum":
      read.push(parsed.path);
      break;
    case "help":
    case "version":
    case "completion":
    case "cvms":
      break;
  }
  return flagsOf(read, write, net, peer, resolve);
}

function flagsOf(
  read: readonly string[],
  write: readonly string[],
  net: readonly string[],
  peer: PeerSettings | undefined,
  resolve: Resolve,
): string[] {
  const peerFiles = peer === undefined ? [] : filesOf(peer);
  const peerHosts = peer === undefined ? [] : hostsOf(peer.target, resolve);
  return [
    ...flag("read", [...read, ...peerFiles, ...write]),
    ...flag("write", write),
    ...flag("net", [...net, ...peerHosts]),
  ];
}

/**
 * Net grants for a target. For a name the gRPC library asks for the bare name (to resolve it) and
 * then for each address with the port.
 */
function hostsOf(target: Endpoint, resolve: Resolve): string[] {
  const { host, port } = target;
  if (/^[0-9.]+$/.test(host) || host.includes(":")) return [formatEndpoint(target)];
  const addresses = host === "localhost" ? ["127.0.0.1", "::1"] : resolve(host);
  return [host, ...addresses.map((address) => formatEndpoint({ host: address, port }))];
}

function flag(kind: string, values: readonly string[]): string[] {
  const wrong = values.find((value) => value === "" || /[,\n]/.test(value));
  if (wrong !== undefined) {
    throw new CocosError(
      "invalid-argument",
      `Cannot grant ${kind} on ${JSON.stringify(wrong)}: commas and line ends are not possible`,
    );
  }
  return values.length === 0 ? [] : [`--allow-${kind}=${[...new Set(values)].join(",")}`];
}

if (import.meta.main) {
  const argv = Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args;
  try {
    const parsed = parse(argv);
    const plan = await planOf(parsed);
    const planned = plan === undefined ? [] : (await import("../agreement/mod.ts")).filesOf(plan);
    for (const each of rights(parsed, (name) => Deno.env.get(name), addressesOf, planned)) {
      console.log(each);
    }
  } catch (error) {
    // The program itself meets the same mistake, and reports it with its exit code.
    if (!(error instanceof CocosError)) throw error;
  }
}
