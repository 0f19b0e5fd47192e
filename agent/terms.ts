// The terms of a run that only our manifests carry: type and arguments of the algorithm, sizes,
// limits, who may see output, what an installation may reach. Their values must be right in both modes;
// the strict mode also wants them there (threats R3, M-5, M-6, M-11).
import { CocosError, hex } from "../base/mod.ts";
import {
  canonicalManifest,
  type Channel,
  CHANNELS,
  type cvms,
  digestOfCanonical,
  isEgress,
  type Kind,
  KINDS,
  LIMIT_RANGES,
  type Limits,
  LOG_READERS,
  type LogReader,
  MAX_ARGUMENT_BYTES,
  MAX_ARGUMENTS,
  MAX_EGRESS,
  MAX_MESSAGE_BYTES,
} from "../proto/mod.ts";

/** How an algorithm is run. */
export interface AlgorithmHeader {
  readonly kind: Kind;
  readonly args: readonly string[];
  /** For `python`: empty, `python3` or `pyodide`. */
  readonly pythonRuntime: string;
}

/** What a run may use; absent: the runner's default. */
export interface RunLimits {
  /** For the runner. */
  readonly runner: Partial<Limits>;
  /** Bytes that results, unpacked datasets and `/tmp` may each take. */
  readonly diskBytes?: number;
}

/** What the parties of a strict computation agreed on. */
export interface Agreement {
  /** RFC 8785 JSON in UTF-8. */
  readonly canonical: Uint8Array<ArrayBuffer>;
  /** Its digest, lower-case hexadecimal. */
  readonly digest: string;
}

/** Longest canonical form: a message to a party holds it and a few bytes of its own. */
const MAX_CANONICAL_BYTES = MAX_MESSAGE_BYTES - 64;

/** Interpreters an algorithm may name; the image fixes what they are (threats S-12). */
const PYTHON_RUNTIMES = ["", "python3", "pyodide"];

/** Ids of strict manifests (RFC 9562 §4, lower case). */
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const encoder = new TextEncoder();

/** Why an algorithm can't be run so, in words that follow the name of what says it. */
export function headerProblem(
  word: string,
  args: readonly string[],
  pythonRuntime: string,
): { readonly field: "type" | "args" | "runtime"; readonly rule: string } | undefined {
  if (!KINDS.some((kind) => kind === word)) {
    return {
      field: "type",
      rule: `must be one of ${KINDS.join(", ")}, is ${JSON.stringify(word.slice(0, 32))}`,
    };
  }
  if (word === "python" && !PYTHON_RUNTIMES.includes(pythonRuntime)) {
    return {
      field: "runtime",
      rule: "must be python3 or pyodide: the image fixes the interpreter",
    };
  }
  if (
    args.length > MAX_ARGUMENTS ||
    args.some((each) => each.includes("\0") || encoder.encode(each).length > MAX_ARGUMENT_BYTES)
  ) {
    return { field: "args", rule: "are too many or too long" };
  }
  return undefined;
}

/** A refusal of a manifest's field. */
export function bad(path: string, rule: string, more: { cause?: unknown; hint?: string } = {}) {
  return new CocosError("invalid-manifest", `manifest field ${path} ${rule}`, more);
}

/** Type, arguments and interpreter as a strict manifest gives them. */
export function readAlgorithm({ type, args, runtime }: cvms.Algorithm): AlgorithmHeader {
  const problem = headerProblem(type, args, runtime);
  if (problem !== undefined) throw bad(`algorithm.${problem.field}`, problem.rule);
  if (type !== "python" && runtime !== "") {
    throw bad("algorithm.runtime", "must be empty for algorithms that are not python");
  }
  return Object.freeze({
    kind: type as Kind,
    args: Object.freeze([...args]),
    pythonRuntime: runtime,
  });
}

/** A declared size in bytes; `undefined` where none is declared, which a strict manifest must. */
export function readSize(path: string, size: bigint, strict: boolean): number | undefined {
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw bad(path, "must be below 2^53");
  if (size > 0n) return Number(size);
  if (strict) throw bad(path, "must be above 0");
  return undefined;
}

/** Limits in the runner's words. */
export function readLimits(limits: cvms.Limits | undefined): RunLimits {
  const runner: { -readonly [K in keyof Limits]?: Limits[K] } = {};
  const take = (path: string, value: bigint | undefined, name: keyof Limits) => {
    if (value === undefined || value === 0n) return;
    const [least, most] = LIMIT_RANGES[name];
    const lowest = Math.ceil(least);
    if (value < BigInt(lowest) || value > BigInt(most)) {
      throw bad(`limits.${path}`, `must be 0 or ${lowest} to ${most}`);
    }
    runner[name] = Number(value);
  };
  take("wall_seconds", limits?.wallSeconds, "wallSeconds");
  take("memory_bytes", limits?.memoryBytes, "memoryBytes");
  take("processes", limits?.processes, "processes");
  take("disk_bytes", limits?.diskBytes, "resultsBytes");
  take("log_bytes", limits?.logBytes, "outputBytes");
  const { resultsBytes: diskBytes } = runner;
  return Object.freeze({
    runner: Object.freeze(runner),
    ...(diskBytes === undefined ? {} : { diskBytes }),
  });
}

/** Who may see what the algorithm prints; nobody by default (threats S-6). */
export function readLogReaders(words: readonly string[]): readonly LogReader[] {
  return distinct("log_readers", words, LOG_READERS.length).map((word, index) => {
    const reader = LOG_READERS.find((each) => each === word);
    if (reader === undefined) {
      throw bad(`log_readers[${index}]`, `must be one of ${LOG_READERS.join(", ")}`);
    }
    return reader;
  });
}

/** Package indexes the installation of requirements may reach. */
export function readEgress(entries: readonly string[]): readonly string[] {
  distinct("egress", entries, MAX_EGRESS).forEach((entry, index) => {
    if (!isEgress(entry)) throw bad(`egress[${index}]`, "must be host:port");
  });
  return Object.freeze([...entries]);
}

function distinct(path: string, values: readonly string[], most: number): readonly string[] {
  if (values.length > most) throw bad(path, `must be at most ${most}, are ${values.length}`);
  if (new Set(values).size !== values.length) throw bad(path, "must not name one twice");
  return values;
}

/**
 * How parties reach the agent.
 *
 * @throws {CocosError} `invalid-manifest`, or `not-supported` for the attested channel.
 */
export function readChannel(word: string, attestedTls: boolean): Channel {
  const channel = CHANNELS.find((each) => each === word);
  if (channel === undefined) {
    throw word === ""
      ? bad("channel", "must be there", {
        hint: "An older server made this manifest: start the agent with --compat to take it.",
      })
      : bad("channel", `must be one of ${CHANNELS.join(", ")}`);
  }
  if (channel === "attested" || attestedTls) {
    throw new CocosError(
      "not-supported",
      `manifest field ${
        channel === "attested" ? "channel" : "agent_config.attested_tls"
      } asks for an attested channel, which this agent can't offer yet`,
      { hint: 'Ask for "tls", or for "insecure" where the network is trusted.' },
    );
  }
  return channel;
}

/** Refuses an id that could be mistaken for another's. */
export function checkUuid(id: string): void {
  if (!UUID.test(id)) throw bad("id", "must be a UUID in lower case");
}

/** What the parties of a strict manifest agreed on. */
export function agreementOf(message: cvms.ComputationRunReq): Agreement {
  const canonical = new TextEncoder().encode(canonicalManifest(message));
  // Parties read it in one message, or not at all.
  if (canonical.length > MAX_CANONICAL_BYTES) {
    throw new CocosError(
      "invalid-manifest",
      `manifest in its canonical form has ${canonical.length} bytes, must have at most ` +
        `${MAX_CANONICAL_BYTES}`,
    );
  }
  return Object.freeze({ canonical, digest: hex(digestOfCanonical(canonical)) });
}
