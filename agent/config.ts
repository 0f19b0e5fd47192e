// Settings of the agent: the seed's AGENT_* variables from the environment or a file, and the flags
// of whoever starts it. In a CVM the file comes from the host and is only a hint (threats R8): what
// weakens a check (mode, work area, runner) can be set by a flag alone.
import { parseArgs } from "node:util";
import {
  CocosError,
  duration,
  type Endpoint,
  endpoint,
  type Field,
  integer,
  type Level,
  LEVELS,
  messageOf,
  oneOf,
  optional,
  readConfig,
  text,
} from "../base/mod.ts";
import { MAX_ENV_FILE_BYTES, parseEnvFile, readSmallFile } from "./envfile.ts";

/** Port of the front door when nobody names one (wire.md §3.3). */
export const DEFAULT_PORT = 7002;

/** A field of one regular expression. */
function shaped(pattern: RegExp, rule: string, fallback?: string): Field<string> {
  return {
    fallback,
    parse: (value) => {
      if (!pattern.test(value)) throw new RangeError(`must be ${rule}`);
      return value;
    },
  };
}

/** A path without control characters or commas: a comma would widen a permission list. */
function path(): Field<string> {
  // deno-lint-ignore no-control-regex
  return shaped(/^[^\x00-\x1f\x7f,]{1,1024}$/, "a path without commas and control characters");
}

/** A URL of one of `schemes`, without user, query tricks or an IPv6 zone (threats H-4). */
function url(schemes: readonly string[], fallback?: string): Field<URL> {
  return {
    fallback,
    parse: (value) => {
      const rule = `must be a URL of ${schemes.join(" or ")} without user, spaces or commas`;
      if (!/^[a-z]+:\/\/[A-Za-z0-9./:[\]_~?=&-]{1,1000}$/.test(value)) throw new RangeError(rule);
      let parsed: URL;
      try {
        parsed = new URL(value);
      } catch {
        throw new RangeError(rule);
      }
      if (!schemes.includes(parsed.protocol.slice(0, -1))) throw new RangeError(rule);
      return parsed;
    },
  };
}

/** Go's slog level words in any case. */
const level: Field<Level> = {
  fallback: "debug",
  parse: (value) => oneOf(LEVELS).parse(value.toLowerCase()),
};

/** Where the front door listens: an IP address, or `localhost`. Names would need a resolver. */
const listenHost: Field<string> = shaped(
  /^(localhost|\d{1,3}(\.\d{1,3}){3}|[0-9A-Fa-f:.]{2,45})$/,
  "an IP address or localhost",
  "0.0.0.0",
);

const osWord: Field<string> = shaped(
  /^[A-Za-z0-9._ -]{0,64}$/,
  "at most 64 letters, digits, . _ - or spaces",
  "UVC",
);

/** Every variable the agent reads: the seed's table (wire.md §4.9) and one limit of our own. */
export interface Settings {
  readonly AGENT_CVM_ID: string | undefined;
  readonly AGENT_LOG_LEVEL: Level;
  readonly AGENT_VMPL: number;
  readonly AGENT_CVM_GRPC_URL: Endpoint;
  /** Milliseconds. */
  readonly AGENT_CVM_GRPC_TIMEOUT: number;
  readonly AGENT_CVM_GRPC_CLIENT_CERT: string | undefined;
  readonly AGENT_CVM_GRPC_CLIENT_KEY: string | undefined;
  readonly AGENT_CVM_GRPC_SERVER_CA_CERTS: string | undefined;
  readonly AGENT_CVM_CA_URL: URL | undefined;
  readonly AGENT_CERTS_TOKEN: string | undefined;
  readonly AGENT_GRPC_HOST: string;
  readonly AGENT_GRPC_PORT: number | undefined;
  readonly AGENT_MAA_URL: URL;
  readonly AGENT_OS_BUILD: string;
  readonly AGENT_OS_DISTRO: string;
  readonly AGENT_OS_TYPE: string;
  /** Most bytes of one upload, and of what an uploaded archive unpacks to. */
  readonly AGENT_MAX_UPLOAD_BYTES: number;
}

const FIELDS: { readonly [K in keyof Settings]: Field<Settings[K]> } = {
  AGENT_CVM_ID: optional(shaped(/^[A-Za-z0-9._-]{1,64}$/, "1 to 64 of A-Z a-z 0-9 . _ -")),
  AGENT_LOG_LEVEL: level,
  AGENT_VMPL: {
    fallback: "2",
    parse: (value: string) => {
      if (!/^[0-3]$/.test(value)) throw new RangeError("vmpl level must be in a range [0, 3]");
      return Number(value);
    },
  },
  AGENT_CVM_GRPC_URL: endpoint("localhost:7001"),
  AGENT_CVM_GRPC_TIMEOUT: duration("60s"),
  AGENT_CVM_GRPC_CLIENT_CERT: optional(path()),
  AGENT_CVM_GRPC_CLIENT_KEY: optional(path()),
  AGENT_CVM_GRPC_SERVER_CA_CERTS: optional(path()),
  AGENT_CVM_CA_URL: optional(url(["http", "https"])),
  AGENT_CERTS_TOKEN: optional(text(undefined, 4096)),
  AGENT_GRPC_HOST: listenHost,
  AGENT_GRPC_PORT: optional(integer(1, 65535)),
  AGENT_MAA_URL: url(["https"], "https://sharedeus2.eus2.attest.azure.net"),
  AGENT_OS_BUILD: osWord,
  AGENT_OS_DISTRO: osWord,
  AGENT_OS_TYPE: osWord,
  AGENT_MAX_UPLOAD_BYTES: integer(1, 2 ** 44, String(64 * 2 ** 30)),
};

/** Names of all variables. */
export const VARIABLES: readonly string[] = Object.keys(FIELDS);

/**
 * How parties' requests are signed and where a run's terms come from: `strict` is ours, `compat` the
 * seed-era wire, with signatures over the role only. Chosen by a flag alone (threats R8).
 */
export type Mode = "strict" | "compat";

/** All settings, checked. */
export interface AgentConfig {
  readonly mode: Mode;
  readonly vars: Settings;
  /** Port of the front door that the launcher grants: AGENT_GRPC_PORT, else the default. */
  readonly grantedPort: number;
  /** Unix socket of the runner. */
  readonly runner: string;
  /** Private work area. */
  readonly work: string;
  /** Folder certificates may be read from; without it a manifest may only carry PEM texts. */
  readonly certs: string | undefined;
  /** Addresses of the management server that the launcher resolved, for rights.ts. */
  readonly addresses: readonly string[];
  /** File the variables came from, when not from the environment. */
  readonly file: string | undefined;
  /** Keys of the file that the agent does not know. */
  readonly ignored: readonly string[];
}

/** What the command line asks for. */
export type Command =
  | { readonly kind: "help" | "version" }
  | { readonly kind: "start"; readonly config: AgentConfig };

/** Help text. */
export const HELP = `Usage: cocos-agent [flags]

Runs one computation after another for a management server, inside a confidential VM.

  --compat         speak the seed-era wire: role-only signatures, terms of a run from its uploader
  --config FILE    read AGENT_* settings from KEY=value lines instead of the environment
  --runner SOCKET  unix socket of cocos-runner (default /run/cocos/runner.sock)
  --work DIR       private work area (default /cocos/work)
  --certs DIR      folder certificate paths of settings and manifests must lie in
  --address IP     address of the management server's name, granted by the launcher; may repeat
  --help, --version

Settings: ${VARIABLES.join(", ")}.
`;

/**
 * Reads command line and settings.
 *
 * @param environment the process's variables; not asked for anything when `--config` is given
 * @throws {CocosError} `invalid-config` that lists every mistake.
 */
export function readCommand(
  argv: readonly string[],
  environment: (name: string) => string | undefined,
): Command {
  const mistakes: string[] = [];
  const flags = readFlags(argv);
  if (flags.help) return { kind: "help" };
  if (flags.version) return { kind: "version" };

  let source = environment;
  let ignored: readonly string[] = [];
  if (flags.config !== undefined) {
    const file = parseEnvFile(
      readSmallFile(flags.config, MAX_ENV_FILE_BYTES),
      new Set(VARIABLES),
    );
    source = (name) => file.values.get(name);
    ignored = file.ignored;
  }
  let vars: Settings | undefined;
  try {
    vars = readConfig(FIELDS, source);
  } catch (error) {
    mistakes.push(...messageOf(error).split("\n  ").slice(1));
  }
  const cert = source("AGENT_CVM_GRPC_CLIENT_CERT") || undefined;
  const key = source("AGENT_CVM_GRPC_CLIENT_KEY") || undefined;
  if ((cert === undefined) !== (key === undefined)) {
    mistakes.push(
      "AGENT_CVM_GRPC_CLIENT_CERT and AGENT_CVM_GRPC_CLIENT_KEY: must be set together",
    );
  }
  for (const name of ["runner", "work", "certs"] as const) {
    const value = flags[name];
    if (value === undefined) continue;
    try {
      if (!path().parse(value).startsWith("/")) throw new RangeError("must be an absolute path");
    } catch (error) {
      mistakes.push(`--${name}: ${messageOf(error)}`);
    }
  }
  for (const address of flags.address ?? []) {
    if (!/^(\d{1,3}(\.\d{1,3}){3}|[0-9A-Fa-f:.]{2,45})$/.test(address)) {
      mistakes.push("--address: must be an IP address");
    }
  }
  if (vars === undefined || mistakes.length > 0) {
    throw new CocosError(
      "invalid-config",
      `Cannot start: ${mistakes.length} setting(s) are wrong:\n  ${mistakes.join("\n  ")}`,
      { hint: "Correct the settings named above and start again; --help lists them." },
    );
  }
  return {
    kind: "start",
    config: Object.freeze({
      mode: flags.compat === true ? "compat" : "strict",
      vars,
      grantedPort: vars.AGENT_GRPC_PORT ?? DEFAULT_PORT,
      runner: flags.runner ?? "/run/cocos/runner.sock",
      work: flags.work ?? "/cocos/work",
      certs: flags.certs?.replace(/\/+$/, ""),
      addresses: flags.address ?? [],
      file: flags.config,
      ignored,
    }),
  };
}

function readFlags(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      strict: true,
      allowPositionals: false,
      options: {
        compat: { type: "boolean" },
        config: { type: "string" },
        runner: { type: "string" },
        work: { type: "string" },
        certs: { type: "string" },
        address: { type: "string", multiple: true },
        help: { type: "boolean", short: "h" },
        version: { type: "boolean" },
      },
    }).values;
  } catch (cause) {
    throw new CocosError("invalid-config", `Cannot start: ${messageOf(cause)}`, {
      cause,
      hint: "Run cocos-agent --help.",
    });
  }
}
