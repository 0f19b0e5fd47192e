// A computation file: JSON with the parties' files and what they agreed on. All its mistakes are named
// at once; nothing it names is opened here.
import { CocosError, messageOf, optional, text } from "../base/mod.ts";
import {
  type Channel,
  CHANNELS,
  isEgress,
  KINDS,
  LIMIT_RANGES,
  LOG_READERS,
  MAX_ARGUMENT_BYTES,
  MAX_ARGUMENTS,
  MAX_EGRESS,
} from "../proto/mod.ts";
import {
  type AgentPlan,
  type AlgorithmPlan,
  type AssetPlan,
  baseName,
  type ComputationPlan,
  type DatasetPlan,
  IN_CVM,
  type LimitsPlan,
  MAX_PARTIES,
  type RequirementsPlan,
} from "./plan.ts";

/** Largest computation file; one of 1,000 datasets has about 200 KB. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Each limit: its name in a file, its name in the manifest, and what a runner takes. */
export const LIMITS = [
  ["wall_seconds", "wallSeconds", LIMIT_RANGES.wallSeconds],
  ["memory_bytes", "memoryBytes", LIMIT_RANGES.memoryBytes],
  ["processes", "processes", LIMIT_RANGES.processes],
  ["disk_bytes", "diskBytes", LIMIT_RANGES.resultsBytes],
  ["log_bytes", "logBytes", LIMIT_RANGES.outputBytes],
] as const satisfies readonly (readonly [string, keyof LimitsPlan, readonly [number, number]])[];

/** Lowest and highest value of a limit; 0 on the wire is the runner's own. */
export function limitRange([least, most]: readonly [number, number]): readonly [number, number] {
  return [Math.max(1, Math.ceil(least)), most];
}

/**
 * Reads a computation file.
 *
 * @throws {CocosError} `invalid-manifest` that names every wrong field, `not-found` or `io` for the file
 * itself.
 */
export async function readPlanFile(path: string): Promise<ComputationPlan> {
  let json: string;
  try {
    const { size } = await Deno.stat(path);
    if (size > MAX_FILE_BYTES) throw new RangeError(`it has ${size} bytes, at most 1 MiB is read`);
    json = await Deno.readTextFile(path);
  } catch (cause) {
    throw new CocosError(
      cause instanceof Deno.errors.NotFound ? "not-found" : "io",
      `Cannot read the computation ${JSON.stringify(path)}: ${messageOf(cause)}`,
      { cause },
    );
  }
  return parsePlan(json, path.slice(0, path.lastIndexOf("/") + 1));
}

/**
 * Parses the text of a computation file; relative paths are taken from `base`.
 *
 * @throws {CocosError} `invalid-manifest` that names every wrong field.
 */
export function parsePlan(json: string, base: string): ComputationPlan {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new CocosError("invalid-manifest", `The computation is not JSON: ${messageOf(cause)}`, {
      cause,
    });
  }
  const reader = new Reader(base);
  const top = reader.object(value, "", [
    "id",
    "name",
    "description",
    "algorithm",
    "datasets",
    "consumers",
    "agent",
    "limits",
    "log_readers",
    "egress",
    "channel",
  ]);
  const id = reader.text(top.id, "id", 128);
  const datasets = reader.list(top.datasets, "datasets", MAX_PARTIES).map((each, i) =>
    readDataset(reader, each, `datasets[${i}]`)
  );
  const consumers = reader.list(top.consumers, "consumers", MAX_PARTIES).map((each, i) =>
    reader.required(reader.path(each, `consumers[${i}]`), `consumers[${i}]`)
  );
  if (consumers.length === 0) reader.mistake("consumers", "needs at least one public key file");
  const agent = readAgent(reader, top.agent);
  const channel: Channel = agent.attestedTls ? "attested" : "tls";
  const plan: ComputationPlan = {
    ...(id === "" ? {} : { id }),
    name: reader.text(top.name, "name", 256),
    description: reader.text(top.description, "description", 4096),
    algorithm: readAlgorithm(reader, top.algorithm),
    datasets,
    consumers,
    agent,
    limits: readLimits(reader, top.limits),
    logReaders: reader.words(top.log_readers, "log_readers", LOG_READERS),
    egress: reader.list(top.egress, "egress", MAX_EGRESS).map((each, i) => {
      const index = reader.text(each, `egress[${i}]`, 300);
      if (!isEgress(index)) {
        reader.mistake(`egress[${i}]`, "must be host:port, the name in lower case");
      }
      return index;
    }),
    channel: reader.word(top.channel, "channel", CHANNELS) ?? channel,
  };
  reader.finish();
  return plan;
}

function readAsset(reader: Reader, value: unknown, at: string, keys: readonly string[]) {
  const fields = reader.object(value, at, ["file", "hash", "size", "key", ...keys]);
  const hash = reader.digest(fields.hash, `${at}.hash`);
  const file = reader.path(fields.file, `${at}.file`);
  if (hash === "" && file === "") reader.mistake(at, "needs a file or a hash");
  const size = reader.whole(fields.size, `${at}.size`, 1, Number.MAX_SAFE_INTEGER);
  const plan: AssetPlan = {
    ...(file === "" ? {} : { file }),
    ...(hash === "" ? {} : { hash }),
    ...(size === undefined ? {} : { size }),
    key: reader.required(reader.path(fields.key, `${at}.key`), `${at}.key`),
  };
  return { fields, plan };
}

function readAlgorithm(reader: Reader, value: unknown): AlgorithmPlan {
  const { fields, plan } = readAsset(reader, value, "algorithm", [
    "type",
    "args",
    "runtime",
    "requirements",
  ]);
  const type = reader.word(fields.type, "algorithm.type", KINDS);
  const args = reader.list(fields.args, "algorithm.args", MAX_ARGUMENTS).map((each, i) => {
    if (typeof each === "string" && isArgument(each)) return each;
    reader.mistake(`algorithm.args[${i}]`, ARGUMENT_RULE);
    return "";
  });
  const requirements = readRequirements(reader, fields.requirements);
  return {
    ...plan,
    ...(type === undefined ? {} : { type }),
    args,
    runtime: reader.text(fields.runtime, "algorithm.runtime", 32),
    ...(requirements === undefined ? {} : { requirements }),
  };
}

/** What an argument must be. */
export const ARGUMENT_RULE = `must be text without NUL of at most ${MAX_ARGUMENT_BYTES} bytes`;

/** Whether a text can be an argument of a program. */
export function isArgument(text: string): boolean {
  return !text.includes("\0") && text.isWellFormed() &&
    new TextEncoder().encode(text).length <= MAX_ARGUMENT_BYTES;
}

/** A path, or an object with one of file, wheelhouse and hash. */
function readRequirements(reader: Reader, value: unknown): RequirementsPlan | undefined {
  const at = "algorithm.requirements";
  if (value === undefined) return undefined;
  if (typeof value === "string") return { file: reader.required(reader.path(value, at), at) };
  const fields = reader.object(value, at, ["file", "wheelhouse", "hash"]);
  const given = {
    file: reader.path(fields.file, `${at}.file`),
    wheelhouse: reader.path(fields.wheelhouse, `${at}.wheelhouse`),
    hash: reader.digest(fields.hash, `${at}.hash`),
  };
  if ((given.file === "") === (given.wheelhouse === "") && given.hash === "") {
    reader.mistake(at, "needs a file, a wheelhouse or a hash");
  }
  return Object.fromEntries(Object.entries(given).filter(([, text]) => text !== ""));
}

function readDataset(reader: Reader, value: unknown, at: string): DatasetPlan {
  const { fields, plan } = readAsset(reader, value, at, ["filename", "decompress"]);
  const given = reader.text(fields.filename, `${at}.filename`, 255);
  const decompress = reader.boolean(fields.decompress, `${at}.decompress`);
  return {
    ...plan,
    filename: given || (plan.file === undefined ? "" : baseName(plan.file)),
    ...(decompress === undefined ? {} : { decompress }),
  };
}

function readLimits(reader: Reader, value: unknown): LimitsPlan {
  const fields = reader.object(value ?? {}, "limits", LIMITS.map(([key]) => key));
  const limits = LIMITS.flatMap(([key, name, range]) => {
    const limit = reader.whole(fields[key], `limits.${key}`, ...limitRange(range));
    return limit === undefined ? [] : [[name, limit]];
  });
  return Object.fromEntries(limits);
}

function readAgent(reader: Reader, value: unknown): AgentPlan {
  const agent = reader.object(value ?? {}, "agent", [
    "port",
    "cert_file",
    "key_file",
    "client_ca_file",
    "server_ca_file",
    "log_level",
    "attested_tls",
  ]);
  const given = typeof agent.port === "number" ? String(agent.port) : agent.port;
  const port = reader.text(given, "agent.port", 5) || "7002";
  if (!/^\d{1,5}$/.test(port) || +port < 1 || +port > 65535) {
    reader.mistake("agent.port", "must be a port from 1 to 65535");
  }
  return {
    port,
    certFile: reader.path(agent.cert_file, "agent.cert_file"),
    keyFile: reader.path(agent.key_file, "agent.key_file"),
    clientCaFile: reader.path(agent.client_ca_file, "agent.client_ca_file"),
    serverCaFile: reader.path(agent.server_ca_file, "agent.server_ca_file"),
    logLevel: reader.text(agent.log_level, "agent.log_level", 16),
    attestedTls: reader.boolean(agent.attested_tls, "agent.attested_tls") ?? false,
  };
}

/** Collects the mistakes of a JSON value instead of stopping at the first. */
class Reader {
  readonly #base: string;
  readonly #mistakes: string[] = [];

  constructor(base: string) {
    this.#base = base;
  }

  mistake(at: string, rule: string): void {
    this.#mistakes.push(`${at}: ${rule}`);
  }

  object(value: unknown, at: string, known: readonly string[]): Record<string, unknown> {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      this.mistake(at || "computation", "must be an object");
      return {};
    }
    for (const key of Object.keys(value)) {
      if (!known.includes(key)) {
        this.mistake(
          at === "" ? key : `${at}.${key}`,
          `is not known; known are ${known.join(", ")}`,
        );
      }
    }
    return value as Record<string, unknown>;
  }

  list(value: unknown, at: string, most: number): unknown[] {
    if (value === undefined) return [];
    if (!Array.isArray(value) || value.length > most) {
      this.mistake(at, `must be a list of at most ${most}`);
      return [];
    }
    return value;
  }

  /** One line of text; absent is empty. */
  text(value: unknown, at: string, max: number): string {
    if (value === undefined) return "";
    try {
      if (typeof value !== "string") throw new TypeError("must be text");
      return optional(text("", max)).parse(value) ?? "";
    } catch (error) {
      this.mistake(at, messageOf(error));
      return "";
    }
  }

  /** A path, relative to the computation file; absent is empty. */
  path(value: unknown, at: string): string {
    const path = this.text(value, at, 4096);
    if (path.includes(",")) this.mistake(at, "must be a path without comma");
    return path === "" || path.startsWith("/") || path.startsWith(IN_CVM)
      ? path
      : `${this.#base}${path}`;
  }

  /** A digest in lower case; absent is empty. */
  digest(value: unknown, at: string): string {
    const hash = this.text(value, at, 64).toLowerCase();
    if (hash !== "" && !/^[0-9a-f]{64}$/.test(hash)) {
      this.mistake(at, "must be a SHA3-256 digest of 64 hexadecimal digits");
    }
    return hash;
  }

  boolean(value: unknown, at: string): boolean | undefined {
    if (value === undefined || typeof value === "boolean") return value;
    this.mistake(at, "must be true or false");
    return undefined;
  }

  whole(value: unknown, at: string, least: number, most: number): number | undefined {
    if (value === undefined) return undefined;
    if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) {
      return value as number;
    }
    this.mistake(at, `must be a whole number from ${least} to ${most}`);
    return undefined;
  }

  word<W extends string>(value: unknown, at: string, words: readonly W[]): W | undefined {
    if (value === undefined) return undefined;
    const word = words.find((each) => each === value);
    if (word === undefined) this.mistake(at, `must be one of ${words.join(", ")}`);
    return word;
  }

  /** Different words of a list. */
  words<W extends string>(value: unknown, at: string, words: readonly W[]): W[] {
    const found = this.list(value, at, words.length).map((each, i) =>
      this.word(each, `${at}[${i}]`, words)
    ).filter((word) => word !== undefined);
    if (new Set(found).size < found.length) this.mistake(at, "must not have a word twice");
    return found;
  }

  required(value: string, at: string): string {
    if (value === "") this.mistake(at, "is required");
    return value;
  }

  finish(): void {
    if (this.#mistakes.length === 0) return;
    throw new CocosError(
      "invalid-manifest",
      `The computation has ${this.#mistakes.length} mistake(s):\n  ${this.#mistakes.join("\n  ")}`,
      { hint: "docs/computations.md shows a whole computation file." },
    );
  }
}
