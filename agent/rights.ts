// launch: --ignore-env --allow-env=AGENT_* --allow-read
// What the agent process may do, as the flags of `deno run`: pure, from the checked settings. The
// launcher trusts no setting it has not seen here (joints.md §8, threats L-2).
import { asCocosError, CocosError, formatEndpoint } from "../base/mod.ts";
import { type AgentConfig, readCommand, VARIABLES } from "./config.ts";

/**
 * The whole list of every kind, one flag each.
 *
 * @throws {CocosError} `invalid-config` for a server name without addresses: granting a name alone
 * would let whoever answers for it choose the peer's address and port.
 */
export function rights(config: AgentConfig): string[] {
  const { vars, runner, work, certs, file } = config;
  const files = [
    vars.AGENT_CVM_GRPC_CLIENT_CERT,
    vars.AGENT_CVM_GRPC_CLIENT_KEY,
    vars.AGENT_CVM_GRPC_SERVER_CA_CERTS,
  ].filter((path) => path !== undefined);
  const host = vars.AGENT_GRPC_HOST === "localhost" ? "127.0.0.1" : vars.AGENT_GRPC_HOST;
  const flags = [
    `--allow-net=${
      [
        formatEndpoint({ host, port: config.grantedPort }),
        ...peers(config),
        `unix:${runner}`,
      ].join(",")
    }`,
    `--allow-read=${
      [
        work,
        runner,
        ...(file === undefined ? [] : [file]),
        ...(certs === undefined ? files : [certs]),
      ]
        .join(",")
    }`,
    `--allow-write=${[work, runner].join(",")}`,
    "--ignore-env",
  ];
  if (file === undefined) flags.push(`--allow-env=${VARIABLES.join(",")}`);
  for (const flag of flags) {
    // deno-lint-ignore no-control-regex
    if (/[\x00-\x20\x7f]/.test(flag)) {
      throw new CocosError("invalid-config", "Cannot grant a path with spaces");
    }
  }
  return flags;
}

/** The name a launcher has to resolve before {@linkcode rights} can be granted, if there is one. */
export function nameToResolve(config: AgentConfig): string | undefined {
  const { host } = config.vars.AGENT_CVM_GRPC_URL;
  return isAddress(host) || host === "localhost" ? undefined : host;
}

/** Grants for the management server. */
function peers(config: AgentConfig): string[] {
  const { host, port } = config.vars.AGENT_CVM_GRPC_URL;
  if (isAddress(host)) return [formatEndpoint({ host, port })];
  const addresses = host === "localhost" ? ["127.0.0.1", "::1"] : config.addresses;
  if (addresses.length === 0) {
    throw new CocosError("invalid-config", `Cannot grant ${host} without its addresses`, {
      hint: "Give them with --address; bin/cocos-agent does it.",
    });
  }
  // The resolver asks for the bare name, the connection for address and port (joints.md §4).
  return [host, ...addresses.map((address) => formatEndpoint({ host: address, port }))];
}

function isAddress(host: string): boolean {
  return host.includes(":") || /^\d{1,3}(\.\d{1,3}){3}$/.test(host);
}

if (import.meta.main) {
  const args = Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args;
  try {
    const command = readCommand(args, (name) => Deno.env.get(name));
    if (command.kind === "start") {
      const { config } = command;
      const name = config.addresses.length > 0 ? undefined : nameToResolve(config);
      // A launcher resolves the name and asks again with the addresses.
      console.log(name === undefined ? rights(config).join("\n") : `resolve ${name}`);
    }
  } catch (thrown) {
    const error = asCocosError(thrown);
    console.error(`cocos-agent: ${error.message}`);
    if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
    Deno.exit(error.exitCode);
  }
}
