// From a plan to the manifest on the wire: files hashed, keys read, everything checked at start and
// all mistakes named together. Then the manifest never changes.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  CocosError,
  digestFile,
  digestOf,
  fromHex,
  hex,
  messageOf,
  sha3_256,
  zipDirectory,
} from "../base/mod.ts";
import { CHUNK_BYTES, cvms, readPublicKeyPem } from "../proto/mod.ts";
import { type AssetPlan, type ComputationPlan, IN_CVM } from "./plan.ts";

/** A computation that is ready to be given to agents. */
export interface Computation {
  readonly id: string;
  readonly name: string;
  /** Serialized `cvms.ComputationRunReq`. */
  readonly manifest: Uint8Array;
  /** SHA3-256 of those bytes, hexadecimal. */
  readonly digest: string;
  readonly datasets: readonly { readonly filename: string; readonly hash: string }[];
  readonly algorithm: { readonly hash: string };
  readonly consumers: number;
}

/** Longest PEM text sent as agent configuration. */
const MAX_PEM_CHARACTERS = 256 * 1024;

/**
 * Reads all files of a plan and makes the manifest.
 *
 * @throws {CocosError} `invalid-manifest` that lists every missing file, bad key and wrong digest.
 */
export async function resolve(plan: ComputationPlan): Promise<Computation> {
  const mistakes: string[] = [];
  const attempt = async <T>(at: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      mistakes.push(`${at}: ${explain(error)}`);
      return undefined;
    }
  };
  const keys = new Map<string, Promise<Uint8Array>>();
  const key = (path: string) => {
    const known = keys.get(path) ?? readKey(path);
    keys.set(path, known);
    return known;
  };
  const asset = async (at: string, given: AssetPlan) => ({
    hash: await attempt(at, () => digest(given)) ?? new Uint8Array(),
    userKey: await attempt(`${at}.key`, () => key(given.key)) ?? new Uint8Array(),
  });

  const algorithm = await asset("algorithm", plan.algorithm);
  const datasets = [];
  for (const [i, dataset] of plan.datasets.entries()) {
    const { filename } = dataset;
    const at = `datasets[${i}]`;
    const problem = nameProblem(filename, plan.datasets.slice(0, i).map((each) => each.filename));
    if (problem !== undefined) mistakes.push(`${at}.filename: ${problem}`);
    datasets.push({ ...await asset(at, dataset), filename });
  }
  const consumers = [];
  for (const [i, path] of plan.consumers.entries()) {
    const userKey = await attempt(`consumers[${i}]`, () => key(path));
    consumers.push({ userKey: userKey ?? new Uint8Array() });
  }
  const { agent } = plan;
  const pem = async (at: string, value: string) =>
    await attempt(`agent.${at}`, () => pemOrPath(value)) ?? "";
  const agentConfig = {
    port: agent.port,
    certFile: await pem("cert_file", agent.certFile),
    keyFile: await pem("key_file", agent.keyFile),
    clientCaFile: await pem("client_ca_file", agent.clientCaFile),
    serverCaFile: await pem("server_ca_file", agent.serverCaFile),
    logLevel: agent.logLevel,
    attestedTls: agent.attestedTls,
  };
  if (mistakes.length > 0) {
    throw new CocosError(
      "invalid-manifest",
      `Cannot make the manifest: ${mistakes.length} mistake(s):\n  ${mistakes.join("\n  ")}`,
      { hint: "Correct the files named above and start again." },
    );
  }
  const { name, description } = plan;
  const body = { name, description, datasets, algorithm, resultConsumers: consumers, agentConfig };
  const serialize = (id: string) =>
    toBinary(cvms.ComputationRunReqSchema, create(cvms.ComputationRunReqSchema, { id, ...body }));
  const id = plan.id ?? `c-${hex(sha3_256(serialize(""))).slice(0, 16)}`;
  const manifest = serialize(id);
  return {
    id,
    name,
    manifest,
    digest: hex(sha3_256(manifest)),
    algorithm: { hash: hex(algorithm.hash) },
    datasets: datasets.map(({ filename, hash }) => ({ filename, hash: hex(hash) })),
    consumers: consumers.length,
  };
}

/** The messages a manifest travels in: pieces of 1 MiB, then one empty with `is_last` (§4.4). */
export function* manifestChunks({ id, manifest }: Computation): Generator<cvms.RunReqChunks> {
  const chunk = (data: Uint8Array, isLast: boolean) =>
    create(cvms.RunReqChunksSchema, { id, data, isLast });
  for (let at = 0; at < manifest.length; at += CHUNK_BYTES) {
    yield chunk(manifest.subarray(at, at + CHUNK_BYTES), false);
  }
  yield chunk(new Uint8Array(), true);
}

async function digest({ file, hash }: AssetPlan): Promise<Uint8Array> {
  const given = hash === undefined ? undefined : fromHex(hash);
  if (file === undefined) return given ?? new Uint8Array();
  const info = await Deno.stat(file);
  const found = info.isDirectory ? await digestOf(zipDirectory(file)) : await digestFile(file);
  if (given !== undefined && hex(given) !== hex(found)) {
    throw new CocosError("digest-mismatch", `${file} has the digest ${hex(found)}, not ${hash}`);
  }
  return found;
}

async function readKey(path: string): Promise<Uint8Array> {
  const pem = await Deno.readTextFile(path);
  try {
    return readPublicKeyPem(pem);
  } catch (cause) {
    throw new CocosError("invalid-key", `${path}: ${messageOf(cause)}`, { cause });
  }
}

/** Text for a certificate field: PEM of a file here, or a path inside the CVM (§3.3). */
async function pemOrPath(value: string): Promise<string> {
  if (value === "") return "";
  if (value.startsWith(IN_CVM)) return value.slice(IN_CVM.length);
  const pem = await Deno.readTextFile(value);
  if (!pem.includes("-----BEGIN ") || pem.length > MAX_PEM_CHARACTERS) {
    throw new CocosError("invalid-manifest", `${value} is not a PEM file`);
  }
  return pem;
}

/** What is wrong with a dataset's name: it becomes a file name in the CVM (threats F-1). */
function nameProblem(name: string, before: readonly string[]): string | undefined {
  if (name === "") return undefined;
  if (name === "." || name === ".." || name.includes("/")) return "must be a plain file name";
  if (new TextEncoder().encode(name).length > 255) return "must have at most 255 bytes";
  if (before.includes(name)) {
    return `${JSON.stringify(name)} is the name of another dataset already: give each its own`;
  }
  return undefined;
}

function explain(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return `no such file (${messageOf(error)})`;
  return messageOf(error);
}
