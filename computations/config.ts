// What the process is asked to do: a computation from a file, or the seed's test server (`cvms`).
// Flags and variables are all checked before anything is opened, and all mistakes are named.
import {
  boolean,
  CocosError,
  type Field,
  integer,
  type Level,
  LEVELS,
  messageOf,
  oneOf,
  readConfig,
  type Source,
  text,
} from "../base/mod.ts";
import { flagHelp, type Flags, type FlagSpec, parseFlags } from "./flags.ts";

/** Where the process listens, and how it speaks. */
export interface ServerSettings {
  readonly host: string;
  readonly port: number;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly clientCa: string;
  readonly logLevel: Level;
  /** Lines for people instead of JSON. */
  readonly plain: boolean;
}

/** Where the computation comes from. */
export type Origin =
  | { readonly kind: "file"; readonly path: string }
  | {
    readonly kind: "cvms";
    readonly algorithm: string;
    readonly publicKey: string;
    readonly datasets: readonly string[];
    readonly attestedTls: boolean;
    readonly clientCaFile: string;
  };

/** A parsed command line. */
export type Invocation =
  | { readonly command: "help"; readonly text: string }
  | { readonly command: "version" }
  | {
    readonly command: "serve";
    readonly settings: ServerSettings;
    readonly origin: Origin;
  };

const COMMON = {
  plain: { value: false, help: "lines for people instead of JSON lines" },
  host: { value: true, help: "address to listen on, before the variable" },
  port: { value: true, help: "port to listen on, before the variable" },
  help: { value: false, help: "print this" },
  h: { value: false, help: "the same" },
} as const satisfies Record<string, FlagSpec>;

const FILE_FLAGS = {
  file: { value: true, help: "computation to hold (JSON)" },
  ...COMMON,
  version: { value: false, help: "print the version" },
} as const satisfies Record<string, FlagSpec>;

const CVMS_FLAGS = {
  "algo-path": { value: true, help: "algorithm file; its digest goes into the manifest" },
  "public-key-path": { value: true, help: "public key (PEM) of every party" },
  "attested-tls-bool": {
    value: true,
    help: "whether the agent serves attested TLS: true or false",
  },
  "data-paths": { value: true, help: "dataset files or directories, separated by commas" },
  "client-ca-file": {
    value: true,
    help: "path in the CVM of the authority of client certificates",
  },
  "ca-url": { value: true, help: "accepted; the agent gets it from create-vm --ca-url" },
  "cvm-id": { value: true, help: "accepted; the agent gets it from the manager" },
  "cmv-id": { value: true, help: "the same, as the seed's walk spells it" },
  ...COMMON,
} as const satisfies Record<string, FlagSpec>;

/** Suffixes of the variables; `cvms` reads them bare, as the Go test server does. */
const SUFFIXES = [
  "HOST",
  "PORT",
  "SERVER_CERT",
  "SERVER_KEY",
  "SERVER_CA_CERTS",
  "CLIENT_CA_CERTS",
  "LOG_LEVEL",
] as const;

/** Every variable the process may read. */
export const VARIABLES: readonly string[] = ["", "COMPUTATIONS_"].flatMap((prefix) =>
  SUFFIXES.map((suffix) => prefix + suffix)
);

const HELP = `Usage: cocos-computations --file <computation.json> [flags]
       cocos-computations cvms -algo-path <file> -public-key-path <file> -attested-tls-bool <bool> [flags]

Holds one computation and gives its manifest to the agents that dial in.

Flags:
${flagHelp(FILE_FLAGS)}

Flags of cvms, with one dash or two:
${flagHelp(CVMS_FLAGS)}

Variables: COMPUTATIONS_HOST (localhost), _PORT (7001), _SERVER_CERT, _SERVER_KEY, _SERVER_CA_CERTS,
_CLIENT_CA_CERTS, _LOG_LEVEL (debug); for cvms the same names without prefix.`;

/**
 * Reads the command line and the environment.
 *
 * @throws {CocosError} `invalid-argument` or `invalid-config` that names every mistake.
 */
export function readInvocation(argv: readonly string[], env: Source): Invocation {
  const cvms = argv[0] === "cvms";
  const mistakes: string[] = [];
  const attempt = <T>(work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      mistakes.push(messageOf(error));
      return undefined;
    }
  };
  const flags = attempt(() =>
    cvms ? parseFlags(argv.slice(1), CVMS_FLAGS) : parseFlags(argv, FILE_FLAGS)
  ) as Flags<keyof typeof CVMS_FLAGS | keyof typeof FILE_FLAGS> | undefined;
  if (flags?.help !== undefined || flags?.h !== undefined) return { command: "help", text: HELP };
  if (flags?.version !== undefined) return { command: "version" };
  const settings = attempt(() => readServer(cvms ? "" : "COMPUTATIONS_", flags ?? {}, env));
  const origin = flags === undefined
    ? undefined
    : cvms
    ? cvmsOrigin(flags, mistakes)
    : fileOrigin(flags, mistakes);
  if (mistakes.length > 0 || settings === undefined || origin === undefined) {
    throw new CocosError("invalid-argument", mistakes.join("\n"), {
      hint: cvms
        ? `The flags of cvms are:\n${flagHelp(CVMS_FLAGS)}`
        : "`cocos-computations --help` lists flags and variables.",
    });
  }
  return { command: "serve", settings, origin };
}

function fileOrigin({ file }: { file?: string }, mistakes: string[]): Origin | undefined {
  if (file === undefined || file === "") {
    mistakes.push("A computation is required: --file <computation.json>");
    return undefined;
  }
  return attempt(mistakes, () => ({ kind: "file", path: path(file) }));
}

function cvmsOrigin(
  flags: Flags<keyof typeof CVMS_FLAGS>,
  mistakes: string[],
): Origin | undefined {
  const before = mistakes.length;
  if (!flags["algo-path"]) mistakes.push("Algorithm path is required");
  if (!flags["public-key-path"]) mistakes.push("Public key path is required");
  const attestedTls = attempt([], () => boolean().parse(flags["attested-tls-bool"] ?? ""));
  if (attestedTls === undefined) {
    mistakes.push("Attested TLS flag is required and it must be a boolean value");
  }
  if (mistakes.length > before) return undefined;
  return attempt(mistakes, () => ({
    kind: "cvms",
    algorithm: path(flags["algo-path"] ?? ""),
    publicKey: path(flags["public-key-path"] ?? ""),
    datasets: (flags["data-paths"] ?? "").split(",").filter((each) => each !== "").map(path),
    attestedTls: attestedTls as boolean,
    clientCaFile: text().parse(flags["client-ca-file"] ?? ""),
  }));
}

function attempt<T>(mistakes: string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    mistakes.push(messageOf(error));
    return undefined;
  }
}

function readServer(
  prefix: string,
  { host, port, plain }: { host?: string; port?: string; plain?: string },
  env: Source,
): ServerSettings {
  const given: Record<string, string | undefined> = { HOST: host, PORT: port };
  const values = readConfig<Record<string, Field<unknown>>>(
    {
      [`${prefix}HOST`]: hostName("localhost"),
      [`${prefix}PORT`]: integer(1, 65535, "7001"),
      [`${prefix}SERVER_CERT`]: pathField,
      [`${prefix}SERVER_KEY`]: pathField,
      [`${prefix}SERVER_CA_CERTS`]: pathField,
      [`${prefix}CLIENT_CA_CERTS`]: pathField,
      [`${prefix}LOG_LEVEL`]: oneOf(LEVELS, "debug"),
    },
    (name) => given[name.slice(prefix.length)] ?? (env(name) || undefined),
  );
  const value = (suffix: typeof SUFFIXES[number]) => values[prefix + suffix] as string;
  const settings: ServerSettings = {
    host: value("HOST"),
    port: values[`${prefix}PORT`] as number,
    serverCert: value("SERVER_CERT"),
    serverKey: value("SERVER_KEY"),
    clientCa: value("CLIENT_CA_CERTS"),
    logLevel: value("LOG_LEVEL") as Level,
    plain: plain !== undefined,
  };
  if ((settings.serverCert === "") !== (settings.serverKey === "")) {
    throw new CocosError(
      "invalid-config",
      `${prefix}SERVER_CERT and ${prefix}SERVER_KEY belong together: set both or neither`,
    );
  }
  if (settings.clientCa !== "" && settings.serverCert === "") {
    throw new CocosError(
      "invalid-config",
      `${prefix}CLIENT_CA_CERTS asks for client certificates, which needs ${prefix}SERVER_CERT and ` +
        `${prefix}SERVER_KEY`,
    );
  }
  return settings;
}

/** A path that fits a permission list. */
function path(value: string): string {
  const one = text().parse(value);
  if (one.includes(",")) throw new RangeError(`must be a path without comma, is "${one}"`);
  return one;
}

const pathField: Field<string> = { fallback: "", parse: path };

/** An address or name to listen on. */
function hostName(fallback: string): Field<string> {
  return {
    fallback,
    parse: (value) => {
      if (!/^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$|^[0-9A-Fa-f:.]{2,45}$/.test(value)) {
        throw new RangeError(`must be a host name or address, is ${JSON.stringify(value)}`);
      }
      return value;
    },
  };
}
