// The seed's test server as a computation: one key for everybody, a fixed name. Its flags are those of
// the Go program (wire.md §7), and ours for what the strict mode agrees on beyond them.
import {
  ARGUMENT_RULE,
  baseName,
  type ComputationPlan,
  IN_CVM,
  isArgument,
  limitRange,
  LIMITS,
  type LimitsPlan,
} from "../agreement/mod.ts";
import { boolean, integer, messageOf, text } from "../base/mod.ts";
import { CHANNELS, isEgress, KINDS, LOG_READERS, MAX_ARGUMENTS, MAX_EGRESS } from "../proto/mod.ts";
import { type Flags, type FlagSpecs, path } from "./flags.ts";

/** Flags of `cvms` beside those of every way to start. */
export const CVMS_FLAGS = {
  "algo-path": { takes: "value", help: "algorithm file; its digest goes into the manifest" },
  "public-key-path": { takes: "value", help: "public key (PEM) of every party" },
  "attested-tls-bool": {
    takes: "value",
    help: "whether the agent serves attested TLS: true or false",
  },
  "data-paths": {
    takes: "value",
    help: "dataset files or directories, separated by commas; directories are unpacked",
  },
  "client-ca-file": {
    takes: "value",
    help: "path in the CVM of the authority of client certificates",
  },
  "ca-url": { takes: "value", help: "accepted; the agent gets it from create-vm --ca-url" },
  "cvm-id": { takes: "value", help: "accepted; the agent gets it from the manager" },
  "cmv-id": { takes: "value", help: "the same, as the seed's walk spells it" },
  "algo-type": {
    takes: "value",
    help: `${KINDS.join(", ")}; absent, told from the file`,
  },
  "algo-args": { takes: "values", help: "argument of the algorithm; repeat for more" },
  "algo-runtime": { takes: "value", help: "for Python: python3 or pyodide" },
  "requirements": { takes: "value", help: "requirements.txt, or a zip of it with wheels" },
  "wheelhouse": { takes: "value", help: "directory with requirements.txt and *.whl" },
  "id": { takes: "value", help: "id of the computation (UUID); absent, made from its content" },
  "channel": {
    takes: "value",
    help: "tls or insecure; absent, what -attested-tls-bool and certificates say",
  },
  "log-readers": {
    takes: "value",
    help: `who may see the output, separated by commas: ${LOG_READERS.join(", ")}`,
  },
  "egress": { takes: "value", help: "package indexes, host:port, separated by commas" },
  "wall-seconds": { takes: "value", help: "limit of the run's time" },
  "memory-bytes": { takes: "value", help: "limit of its memory" },
  "processes": { takes: "value", help: "limit of its processes and threads" },
  "disk-bytes": { takes: "value", help: "limit of what it writes" },
  "log-bytes": { takes: "value", help: "limit of what is kept of its output" },
} as const satisfies FlagSpecs;

/**
 * The plan the flags describe; nothing when there are `mistakes`, which it adds to.
 *
 * @param compat the Go test server's own manifest: id `1`, and no field it does not have
 */
export function cvmsPlan(
  flags: Flags<typeof CVMS_FLAGS>,
  compat: boolean,
  mistakes: string[],
): ComputationPlan | undefined {
  const before = mistakes.length;
  const attempt = <T>(name: string, work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      mistakes.push(`-${name}: ${messageOf(error)}`);
      return undefined;
    }
  };
  const file = (name: "algo-path" | "public-key-path" | "requirements" | "wheelhouse") =>
    flags[name] === undefined ? undefined : attempt(name, () => path(flags[name] as string));
  const word = <W extends string>(name: "algo-type" | "channel", words: readonly W[]) =>
    attempt(name, () => wordOf(flags[name], words));
  if (!flags["algo-path"]) mistakes.push("Algorithm path is required");
  if (!flags["public-key-path"]) mistakes.push("Public key path is required");
  let attestedTls = false;
  try {
    attestedTls = boolean().parse(flags["attested-tls-bool"] ?? "");
  } catch {
    mistakes.push("Attested TLS flag is required and it must be a boolean value");
  }
  const key = file("public-key-path") ?? "";
  const algorithm = file("algo-path") ?? "";
  const datasets = attempt("data-paths", () => items(flags["data-paths"]).map(path)) ?? [];
  const clientCa = attempt("client-ca-file", () => text().parse(flags["client-ca-file"] ?? "-"));
  const requirements = file("requirements");
  const wheelhouse = file("wheelhouse");
  const type = word("algo-type", KINDS);
  const args = flags["algo-args"] ?? [];
  if (args.length > MAX_ARGUMENTS || !args.every(isArgument)) {
    mistakes.push(`-algo-args: each ${ARGUMENT_RULE}, at most ${MAX_ARGUMENTS} of them`);
  }
  const readers = attempt(
    "log-readers",
    () => items(flags["log-readers"]).map((each) => wordOf(each, LOG_READERS)),
  ) ?? [];
  const egress = items(flags.egress);
  if (egress.length > MAX_EGRESS || !egress.every(isEgress)) {
    mistakes.push(`-egress: must be at most ${MAX_EGRESS} of host:port, names in lower case`);
  }
  const channel = word("channel", CHANNELS);
  const limits = readLimits(flags, attempt);
  if (mistakes.length > before) return undefined;
  const id = flags.id ?? (compat ? "1" : undefined);
  const client = flags["client-ca-file"] ? clientCa as string : "";
  return {
    ...(id === undefined ? {} : { id }),
    name: "sample computation",
    description: "sample descrption",
    algorithm: {
      file: algorithm,
      key,
      ...(type === undefined ? {} : { type }),
      args,
      runtime: flags["algo-runtime"] ?? "",
      ...(requirements ?? wheelhouse) === undefined ? {} : {
        requirements: {
          ...(requirements === undefined ? {} : { file: requirements }),
          ...(wheelhouse === undefined ? {} : { wheelhouse }),
        },
      },
    },
    datasets: datasets.map((each) => ({ file: each, filename: baseName(each), key })),
    consumers: [key],
    agent: {
      port: "7002",
      certFile: "",
      keyFile: "",
      clientCaFile: client === "" ? "" : IN_CVM + client,
      serverCaFile: "",
      logLevel: "",
      attestedTls,
    },
    limits,
    logReaders: [...new Set(readers)].filter((each) => each !== undefined),
    egress,
    channel: channel ?? (attestedTls ? "attested" : client === "" ? "insecure" : "tls"),
  };
}

/** Items of a list with commas; empty ones are left out. */
function items(list = ""): string[] {
  return list.split(",").filter((each) => each !== "");
}

function wordOf<W extends string>(value: string | undefined, words: readonly W[]): W | undefined {
  if (value === undefined) return undefined;
  const found = words.find((each) => each === value);
  if (found === undefined) throw new RangeError(`must be one of ${words.join(", ")}`);
  return found;
}

function readLimits(
  flags: Flags<typeof CVMS_FLAGS>,
  attempt: (name: string, work: () => number) => number | undefined,
): LimitsPlan {
  const given = LIMITS.flatMap(([key, name, range]) => {
    const flag = key.replace("_", "-") as "wall-seconds" | "memory-bytes" | "processes";
    const value = flags[flag];
    if (value === undefined) return [];
    return [[name, attempt(flag, () => integer(...limitRange(range)).parse(value))]];
  });
  return Object.fromEntries(given);
}
