// What the process is asked to do: a computation from a file, or the seed's test server (`cvms`).
// Flags and variables are all checked before anything is opened, and all mistakes are named.
import {
  CocosError,
  type Field,
  integer,
  type Level,
  LEVELS,
  messageOf,
  oneOf,
  readConfig,
  type Source,
} from "../base/mod.ts";
import { type ComputationPlan, readPlanFile } from "../agreement/mod.ts";
import { CVMS_FLAGS, cvmsPlan } from "./cvms.ts";
import { flagHelp, type Flags, type FlagSpecs, parseFlags, path } from "./flags.ts";

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
  | { readonly kind: "cvms"; readonly plan: ComputationPlan };

/**
 * Reads the plan of an origin.
 *
 * @throws {CocosError} `invalid-manifest` that names every wrong field, `not-found` or `io` for the
 * computation file itself.
 */
export async function readPlan(origin: Origin): Promise<ComputationPlan> {
  return origin.kind === "cvms" ? origin.plan : await readPlanFile(origin.path);
}

/** What is done with the computation. */
export interface Options {
  /** Only what the Go programs know goes into the manifest. */
  readonly compat: boolean;
  /** File the canonical manifest is written to, for the parties. */
  readonly manifestOut: string | undefined;
}

/** A parsed command line. */
export type Invocation =
  | { readonly command: "help"; readonly text: string }
  | { readonly command: "version" }
  | ({ readonly command: "print"; readonly origin: Origin } & Options)
  | (
    & { readonly command: "serve"; readonly settings: ServerSettings; readonly origin: Origin }
    & Options
  );

const COMMON = {
  "manifest-out": {
    takes: "value",
    help: "write the canonical manifest there, for the parties to read and approve",
  },
  "print-manifest": { takes: "nothing", help: "print the canonical manifest and end" },
  compat: {
    takes: "nothing",
    help: "a manifest of what the Go programs know, for an agent with --compat",
  },
  plain: { takes: "nothing", help: "lines for people instead of JSON lines" },
  host: { takes: "value", help: "address to listen on, before the variable" },
  port: { takes: "value", help: "port to listen on, before the variable" },
  help: { takes: "nothing", help: "print this" },
  h: { takes: "nothing", help: "the same" },
} as const satisfies FlagSpecs;

const FILE_FLAGS = {
  file: { takes: "value", help: "computation to hold (JSON)" },
  ...COMMON,
  version: { takes: "nothing", help: "print the version" },
} as const satisfies FlagSpecs;

const ALL_CVMS_FLAGS = { ...CVMS_FLAGS, ...COMMON } as const satisfies FlagSpecs;

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
${flagHelp(ALL_CVMS_FLAGS)}

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
  const flags = attempt((): Partial<Flags<typeof ALL_CVMS_FLAGS & typeof FILE_FLAGS>> =>
    cvms ? parseFlags(argv.slice(1), ALL_CVMS_FLAGS) : parseFlags(argv, FILE_FLAGS)
  );
  if (flags?.help !== undefined || flags?.h !== undefined) return { command: "help", text: HELP };
  if (flags?.version !== undefined) return { command: "version" };
  const settings = attempt(() => readServer(cvms ? "" : "COMPUTATIONS_", flags ?? {}, env));
  const compat = flags?.compat !== undefined;
  const origin = flags === undefined
    ? undefined
    : cvms
    ? cvmsOrigin(flags, compat, mistakes)
    : fileOrigin(flags, mistakes);
  const out = flags?.["manifest-out"];
  const manifestOut = out === undefined ? undefined : attempt(() => path(out));
  if (compat && (manifestOut ?? flags?.["print-manifest"]) !== undefined) {
    mistakes.push(
      "A compat manifest has no canonical form: leave -compat or the manifest's output",
    );
  }
  if (mistakes.length > 0 || settings === undefined || origin === undefined) {
    throw new CocosError("invalid-argument", mistakes.join("\n"), {
      hint: cvms
        ? `The flags of cvms are:\n${flagHelp(ALL_CVMS_FLAGS)}`
        : "`cocos-computations --help` lists flags and variables.",
    });
  }
  const options = { origin, compat, manifestOut };
  return flags?.["print-manifest"] === undefined
    ? { command: "serve", settings, ...options }
    : { command: "print", ...options };
}

function fileOrigin({ file }: { file?: string }, mistakes: string[]): Origin | undefined {
  if (file === undefined || file === "") {
    mistakes.push("A computation is required: --file <computation.json>");
    return undefined;
  }
  return attempt(mistakes, () => ({ kind: "file", path: path(file) }));
}

function cvmsOrigin(
  flags: Flags<typeof CVMS_FLAGS>,
  compat: boolean,
  mistakes: string[],
): Origin | undefined {
  const plan = cvmsPlan(flags, compat, mistakes);
  return plan === undefined ? undefined : { kind: "cvms", plan };
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
