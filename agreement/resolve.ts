// From a plan to the manifest on the wire: files hashed, keys read, everything checked at start and
// all mistakes named together. Then the manifest never changes.
import { create, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { CocosError, hex, messageOf, sha3_256 } from "../base/mod.ts";
import {
  agreementDigest,
  canonicalManifest,
  type Channel,
  cvms,
  readPublicKeyPem,
} from "../proto/mod.ts";
import { assetOf, requirementsOf } from "./asset.ts";
import { kindOf } from "./kind.ts";
import { beyondCompat, checkRules } from "./rules.ts";
import { type ComputationPlan, IN_CVM } from "./plan.ts";

/** A computation that is ready to be given to agents. */
export interface Computation {
  readonly id: string;
  readonly name: string;
  /** Serialized `cvms.ComputationRunReq`. */
  readonly manifest: Uint8Array;
  /** SHA3-256 of those bytes, hexadecimal. */
  readonly digest: string;
  /** What the parties approve; a compat manifest has no such form. */
  readonly agreement: {
    /** Canonical text (docs/protocol.md). */
    readonly text: string;
    /** Its digest, hexadecimal. */
    readonly digest: string;
    readonly channel: Channel;
  } | undefined;
  readonly datasets: readonly { readonly filename: string; readonly hash: string }[];
  readonly algorithm: { readonly hash: string };
  readonly consumers: number;
}

type Message = MessageInitShape<typeof cvms.ComputationRunReqSchema>;

/** Longest PEM text sent as agent configuration. */
const MAX_PEM_CHARACTERS = 256 * 1024;

/**
 * Reads all files of a plan and makes the manifest.
 *
 * @param compat only fields of the Go programs: what the strict mode adds is refused, not dropped
 * @throws {CocosError} `invalid-manifest` that lists every missing file, bad key and wrong digest.
 */
export async function resolve(
  plan: ComputationPlan,
  { compat = false }: { readonly compat?: boolean } = {},
): Promise<Computation> {
  const mistakes: string[] = compat ? beyondCompat(plan) : [];
  const attempt = async <T>(at: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      mistakes.push(`${at}: ${explain(error)}`);
      return undefined;
    }
  };
  const keys = new Map<string, Promise<Uint8Array>>();
  const key = async (at: string, path: string) => {
    const known = keys.get(path) ?? readKey(path);
    keys.set(path, known);
    return await attempt(at, () => known) ?? new Uint8Array();
  };

  const { algorithm: program } = plan;
  const asset = await attempt("algorithm", () => assetOf(program));
  const { file } = program;
  const type = compat || program.type !== undefined || file === undefined || asset === undefined
    ? program.type
    : await attempt("algorithm.type", () => kindOf(file));
  const requirements = await attempt(
    "algorithm.requirements",
    () => requirementsOf(program.requirements),
  );
  const algorithm = {
    hash: asset?.hash ?? new Uint8Array(),
    userKey: await key("algorithm.key", program.key),
    ...(compat ? {} : {
      type: type ?? "",
      args: [...program.args],
      runtime: program.runtime,
      requirementsHash: requirements ?? new Uint8Array(),
      size: BigInt(asset?.size ?? 0),
    }),
  };
  const datasets = [];
  for (const [i, dataset] of plan.datasets.entries()) {
    const at = `datasets[${i}]`;
    const found = await attempt(at, () => assetOf(dataset));
    datasets.push({
      hash: found?.hash ?? new Uint8Array(),
      userKey: await key(`${at}.key`, dataset.key),
      filename: dataset.filename,
      ...(compat ? {} : {
        size: BigInt(found?.size ?? 0),
        decompress: dataset.decompress ?? found?.isDirectory ?? false,
      }),
    });
  }
  const consumers = [];
  for (const [i, path] of plan.consumers.entries()) {
    consumers.push({ userKey: await key(`consumers[${i}]`, path) });
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
  const { name, description, channel } = plan;
  const body: Message = {
    name,
    description,
    datasets,
    algorithm,
    resultConsumers: consumers,
    agentConfig,
    ...(compat ? {} : {
      limits: Object.fromEntries(
        Object.entries(plan.limits).map(([name, value]) => [name, BigInt(value)]),
      ),
      logReaders: [...plan.logReaders],
      egress: [...plan.egress],
      channel,
    }),
  };
  mistakes.push(...checkRules(plan, body, compat));
  if (mistakes.length > 0) {
    throw new CocosError(
      "invalid-manifest",
      `Cannot make the manifest: ${mistakes.length} mistake(s):\n  ${mistakes.join("\n  ")}`,
      { hint: "Correct the files named above and start again." },
    );
  }
  const message = create(cvms.ComputationRunReqSchema, { id: "", ...body });
  message.id = plan.id ?? (compat ? compatId(message) : strictId(message));
  const manifest = toBinary(cvms.ComputationRunReqSchema, message);
  return {
    id: message.id,
    name,
    manifest,
    digest: hex(sha3_256(manifest)),
    agreement: compat ? undefined : {
      text: canonicalManifest(message),
      digest: hex(agreementDigest(message)),
      channel,
    },
    algorithm: { hash: hex(algorithm.hash) },
    datasets: datasets.map(({ filename, hash }) => ({ filename, hash: hex(hash) })),
    consumers: consumers.length,
  };
}

function compatId(message: cvms.ComputationRunReq): string {
  const bytes = toBinary(cvms.ComputationRunReqSchema, message);
  return `c-${hex(sha3_256(bytes)).slice(0, 16)}`;
}

/** A UUID of the content, the same at each start: version 8 of RFC 9562 §5.8. */
function strictId(message: cvms.ComputationRunReq): string {
  const bytes = agreementDigest(message).slice(0, 16);
  bytes[6] = (bytes[6] as number) & 0x0f | 0x80;
  bytes[8] = (bytes[8] as number) & 0x3f | 0x80;
  return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
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

function explain(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return `no such file (${messageOf(error)})`;
  return messageOf(error);
}
