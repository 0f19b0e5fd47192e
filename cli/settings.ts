// Where the CLI connects and how, from the variables AGENT_GRPC_* and MANAGER_GRPC_* (wire.md §3.2).
// Names and addresses are checked here; they end up in permission lists.
import {
  boolean,
  CocosError,
  duration,
  type Endpoint,
  endpoint,
  messageOf,
  optional,
  readConfig,
  type Source,
  text,
} from "../base/mod.ts";
import type { ClientSecurity } from "../proto/mod.ts";

/** The peers the CLI talks to. */
export type Peer = "agent" | "manager";

/** Settings of one peer. */
export interface PeerSettings {
  readonly peer: Peer;
  readonly target: Endpoint;
  readonly timeoutMs: number;
  /** Files of the connection's protection; none given means no TLS. */
  readonly clientCert: string | undefined;
  readonly clientKey: string | undefined;
  readonly serverCa: string | undefined;
}

/** Suffixes of the variables of every peer. */
const SUFFIXES = ["URL", "TIMEOUT", "CLIENT_CERT", "CLIENT_KEY", "SERVER_CA_CERTS"] as const;

/** Names of all variables the CLI reads for its peers. */
export const VARIABLES: readonly string[] = [
  ...SUFFIXES.map((suffix) => `AGENT_GRPC_${suffix}`),
  "AGENT_GRPC_ATTESTED_TLS",
  ...SUFFIXES.map((suffix) => `MANAGER_GRPC_${suffix}`),
];

/** A path out of a variable; commas would split a permission list. */
const file = optional({
  fallback: "",
  parse: (value: string) => {
    const path = text().parse(value);
    if (path.includes(",")) throw new RangeError("must be a path without comma");
    return path;
  },
});

/**
 * Reads the settings of a peer.
 *
 * @throws {CocosError} `invalid-config` that names every wrong variable; `not-supported` when
 * attested TLS is asked for, which must never be passed over in silence.
 */
export function readSettings(peer: Peer, env: Source): PeerSettings {
  const prefix = `${peer.toUpperCase()}_GRPC_`;
  // The manager has no attested TLS: its variable doesn't exist, and is not granted either.
  const source = (name: string) => VARIABLES.includes(name) ? env(name) || undefined : undefined;
  const values = readConfig({
    [`${prefix}URL`]: endpoint("localhost:7001"),
    [`${prefix}TIMEOUT`]: duration("60s"),
    [`${prefix}CLIENT_CERT`]: file,
    [`${prefix}CLIENT_KEY`]: file,
    [`${prefix}SERVER_CA_CERTS`]: file,
    [`${prefix}ATTESTED_TLS`]: boolean("false"),
  }, source) as Record<string, unknown>;
  const value = (suffix: string) => values[prefix + suffix];
  const settings: PeerSettings = {
    peer,
    target: value("URL") as Endpoint,
    timeoutMs: value("TIMEOUT") as number,
    clientCert: value("CLIENT_CERT") as string | undefined,
    clientKey: value("CLIENT_KEY") as string | undefined,
    serverCa: value("SERVER_CA_CERTS") as string | undefined,
  };
  if ((settings.clientCert === undefined) !== (settings.clientKey === undefined)) {
    throw new CocosError(
      "invalid-config",
      `Cannot use a client certificate without its key: set both ${prefix}CLIENT_CERT and ` +
        `${prefix}CLIENT_KEY, or neither`,
    );
  }
  if (peer === "agent" && value("ATTESTED_TLS") === true) {
    throw new CocosError(
      "not-supported",
      "Cannot connect with attested TLS: this version does not check evidence yet",
      { hint: "Unset AGENT_GRPC_ATTESTED_TLS only if you accept an agent without evidence." },
    );
  }
  return settings;
}

/** Files a peer's settings name. */
export function filesOf(settings: PeerSettings): string[] {
  return [settings.clientCert, settings.clientKey, settings.serverCa]
    .filter((path) => path !== undefined);
}

/**
 * Reads those files.
 *
 * @throws {CocosError} `invalid-config` that names the variable and the file.
 */
export async function securityOf(settings: PeerSettings): Promise<ClientSecurity> {
  if (filesOf(settings).length === 0) return { kind: "none" };
  const read = async (suffix: string, path: string | undefined) => {
    if (path === undefined) return undefined;
    try {
      return await Deno.readTextFile(path);
    } catch (cause) {
      throw new CocosError(
        "invalid-config",
        `Cannot read the file of ${settings.peer.toUpperCase()}_GRPC_${suffix}: ${
          messageOf(cause)
        }`,
        { cause, hint: "Give the path of a PEM file." },
      );
    }
  };
  const ca = await read("SERVER_CA_CERTS", settings.serverCa);
  const clientCert = await read("CLIENT_CERT", settings.clientCert);
  const clientKey = await read("CLIENT_KEY", settings.clientKey);
  return {
    kind: "tls",
    ...(ca === undefined ? {} : { ca }),
    ...(clientCert === undefined ? {} : { clientCert }),
    ...(clientKey === undefined ? {} : { clientKey }),
  };
}
