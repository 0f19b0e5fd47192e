// What a computation is made of, before any of its files is opened: parties' key files, assets by
// file or digest, settings of the agent. The launcher reads it to grant exactly these files.
import { CocosError, messageOf, optional, text } from "../base/mod.ts";
import type { Origin } from "./config.ts";

/** An algorithm or dataset: a file to be hashed, a digest, or both, which must then agree. */
export interface AssetPlan {
  readonly file?: string;
  /** SHA3-256, 64 hexadecimal digits. */
  readonly hash?: string;
  /** Public key file of its provider. */
  readonly key: string;
}

/** A dataset, with the name the agent gives it. */
export interface DatasetPlan extends AssetPlan {
  readonly filename: string;
}

/** What the agent is told about its front door (wire.md §1.2 `AgentConfig`). */
export interface AgentPlan {
  readonly port: string;
  /** Each a file here whose text is sent, or `cvm:<path>` for a path inside the CVM, or empty. */
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCaFile: string;
  readonly serverCaFile: string;
  readonly logLevel: string;
  readonly attestedTls: boolean;
}

/** A computation, unread. */
export interface ComputationPlan {
  /** Absent: made from the manifest's digest. */
  readonly id?: string;
  readonly name: string;
  readonly description: string;
  readonly algorithm: AssetPlan;
  readonly datasets: readonly DatasetPlan[];
  readonly consumers: readonly string[];
  readonly agent: AgentPlan;
}

/** Marks a path inside the CVM. */
export const IN_CVM = "cvm:";

/** Largest computation file; one of 1,000 datasets has about 200 KB. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Most datasets and consumers of one computation. */
export const MAX_PARTIES = 1_000;

/**
 * Reads the plan of an origin.
 *
 * @throws {CocosError} `invalid-manifest` that names every wrong field, `not-found` or `io` for the
 * computation file itself.
 */
export async function readPlan(origin: Origin): Promise<ComputationPlan> {
  return origin.kind === "cvms" ? cvmsPlan(origin) : parsePlan(
    await readFile(origin.path),
    origin.path.slice(0, origin.path.lastIndexOf("/") + 1),
  );
}

/** Files a plan will have opened. */
export function filesOf(plan: ComputationPlan): string[] {
  const { agent } = plan;
  const texts = [agent.certFile, agent.keyFile, agent.clientCaFile, agent.serverCaFile];
  return [
    ...new Set([
      ...[plan.algorithm, ...plan.datasets].flatMap(({ file, key }) =>
        file === undefined ? [key] : [file, key]
      ),
      ...plan.consumers,
      ...texts.filter((path) => path !== "" && !path.startsWith(IN_CVM)),
    ]),
  ];
}

/** The Go test server's computation: one key for everybody, fixed name and description (§7). */
function cvmsPlan(origin: Origin & { kind: "cvms" }): ComputationPlan {
  const { algorithm, publicKey: key, datasets, attestedTls, clientCaFile } = origin;
  return {
    id: "1",
    name: "sample computation",
    description: "sample descrption",
    algorithm: { file: algorithm, key },
    datasets: datasets.map((file) => ({ file, filename: baseName(file), key })),
    consumers: [key],
    agent: {
      port: "7002",
      certFile: "",
      keyFile: "",
      clientCaFile: clientCaFile === "" ? "" : IN_CVM + clientCaFile,
      serverCaFile: "",
      logLevel: "",
      attestedTls,
    },
  };
}

/** Last part of a path. */
export function baseName(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed.slice(trimmed.lastIndexOf("/") + 1);
}

async function readFile(path: string): Promise<string> {
  try {
    const { size } = await Deno.stat(path);
    if (size > MAX_FILE_BYTES) throw new RangeError(`it has ${size} bytes, at most 1 MiB is read`);
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw new CocosError(
      cause instanceof Deno.errors.NotFound ? "not-found" : "io",
      `Cannot read the computation ${JSON.stringify(path)}: ${messageOf(cause)}`,
      { cause },
    );
  }
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
  ]);
  const id = reader.text(top.id, "id", 128);
  const asset = (value: unknown, at: string, keys: readonly string[]) => {
    const fields = reader.object(value, at, ["file", "hash", "key", ...keys]);
    const hash = reader.text(fields.hash, `${at}.hash`, 64).toLowerCase();
    const file = reader.path(fields.file, `${at}.file`);
    if (hash !== "" && !/^[0-9a-f]{64}$/.test(hash)) {
      reader.mistake(`${at}.hash`, "must be a SHA3-256 digest of 64 hexadecimal digits");
    }
    if (hash === "" && file === "") reader.mistake(at, "needs a file or a hash");
    const plan: AssetPlan = {
      ...(file === "" ? {} : { file }),
      ...(hash === "" ? {} : { hash }),
      key: reader.required(reader.path(fields.key, `${at}.key`), `${at}.key`),
    };
    return { fields, plan };
  };
  const datasets = reader.list(top.datasets, "datasets").map((each, i): DatasetPlan => {
    const at = `datasets[${i}]`;
    const { fields, plan } = asset(each, at, ["filename"]);
    const given = reader.text(fields.filename, `${at}.filename`, 255);
    return { ...plan, filename: given || (plan.file === undefined ? "" : baseName(plan.file)) };
  });
  const consumers = reader.list(top.consumers, "consumers").map((each, i) =>
    reader.required(reader.path(each, `consumers[${i}]`), `consumers[${i}]`)
  );
  if (consumers.length === 0) reader.mistake("consumers", "needs at least one public key file");
  const agent = reader.object(top.agent ?? {}, "agent", [
    "port",
    "cert_file",
    "key_file",
    "client_ca_file",
    "server_ca_file",
    "log_level",
    "attested_tls",
  ]);
  const port = typeof agent.port === "number" ? String(agent.port) : agent.port;
  const attested = agent.attested_tls ?? false;
  if (typeof attested !== "boolean") reader.mistake("agent.attested_tls", "must be true or false");
  const plan: ComputationPlan = {
    ...(id === "" ? {} : { id }),
    name: reader.text(top.name, "name", 256),
    description: reader.text(top.description, "description", 4096),
    algorithm: asset(top.algorithm, "algorithm", []).plan,
    datasets,
    consumers,
    agent: {
      port: reader.text(port, "agent.port", 5) || "7002",
      certFile: reader.path(agent.cert_file, "agent.cert_file"),
      keyFile: reader.path(agent.key_file, "agent.key_file"),
      clientCaFile: reader.path(agent.client_ca_file, "agent.client_ca_file"),
      serverCaFile: reader.path(agent.server_ca_file, "agent.server_ca_file"),
      logLevel: reader.text(agent.log_level, "agent.log_level", 16),
      attestedTls: attested === true,
    },
  };
  if (!/^\d{1,5}$/.test(plan.agent.port) || +plan.agent.port < 1 || +plan.agent.port > 65535) {
    reader.mistake("agent.port", "must be a port from 1 to 65535");
  }
  reader.finish();
  return plan;
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

  list(value: unknown, at: string): unknown[] {
    if (value === undefined) return [];
    if (!Array.isArray(value) || value.length > MAX_PARTIES) {
      this.mistake(at, `must be a list of at most ${MAX_PARTIES}`);
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
