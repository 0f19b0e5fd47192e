// The manifest of a computation: from a management server's bytes to a frozen, typed value, or a
// refusal that names the field. The management server is not trusted (threats M-2 to M-6).
import { fromBinary } from "@bufbuild/protobuf";
import { asCocosError, CocosError, DIGEST_BYTES, hex, messageOf, sha3_256 } from "../base/mod.ts";
import { type Channel, cvms, type LogReader, type PublicKey, readPublicKey } from "../proto/mod.ts";
import type { Mode } from "./config.ts";
import { fold, ID_RULE, isComputationId, isLabel, LABEL_RULE } from "./labels.ts";
import {
  type Agreement,
  agreementOf,
  type AlgorithmHeader,
  bad,
  checkUuid,
  readAlgorithm,
  readChannel,
  readEgress,
  readLimits,
  readLogReaders,
  readSize,
  type RunLimits,
} from "./terms.ts";

/** Most datasets and most consumers of one computation. */
export const MAX_PARTIES = 1_000;

/** Longest name and description, in characters. */
const MAX_TEXT = 4_096;

/** A key with a text that is the same for the same key: its SubjectPublicKeyInfo in hexadecimal. */
export interface PartyKey {
  readonly id: string;
  readonly key: PublicKey;
}

/** One declared dataset. */
export interface DatasetItem {
  /** Place in the manifest, from 0. */
  readonly index: number;
  /** SHA3-256, lower-case hexadecimal. */
  readonly digest: string;
  readonly owner: PartyKey;
  /** Name the upload must have; empty: the uploaded name is neither compared nor used. */
  readonly filename: string;
  /** Name under `datasets/`, chosen by the agent (threats R4). */
  readonly storedName: string;
  /** Bytes of the upload; absent where the manifest declares none. */
  readonly size?: number;
  /** Whether the upload is an archive to unpack; absent in compat, where the uploader says it. */
  readonly decompress?: boolean;
}

/** The declared algorithm. */
export interface AlgorithmItem {
  /** SHA3-256, lower-case hexadecimal. */
  readonly digest: string;
  readonly owner: PartyKey;
  /** Bytes of the upload; absent where the manifest declares none. */
  readonly size?: number;
  /** How it is run; absent in compat, where the uploader says it. */
  readonly header?: AlgorithmHeader;
  /** SHA3-256 of the uploaded requirements, lower-case hexadecimal; absent: none are declared. */
  readonly requirements?: string;
}

/** What the manifest says about the front door; texts are not checked yet, `door.ts` does. */
export interface DoorRequest {
  readonly port: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCaFile: string;
  readonly serverCaFile: string;
  readonly attestedTls: boolean;
  /** Absent in compat, where the fields above say it. */
  readonly channel?: Channel;
}

/** A computation as agreed; immutable, progress is kept elsewhere (threats R3). */
export interface Manifest {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly algorithm: AlgorithmItem;
  readonly datasets: readonly DatasetItem[];
  readonly consumers: readonly PartyKey[];
  /** Every key of the manifest, once. */
  readonly parties: readonly PartyKey[];
  readonly door: DoorRequest;
  readonly limits: RunLimits;
  /** Who may see what the algorithm prints; empty: nobody (threats S-6). */
  readonly logReaders: readonly LogReader[];
  /** Package indexes, `host:port`, an installation of requirements may reach. */
  readonly egress: readonly string[];
  /** Absent in compat. */
  readonly agreement?: Agreement;
  /** Numbers of fields the agent does not know, as `datasets[0]:5`; noted, without effect. */
  readonly unknownFields: readonly string[];
}

/**
 * Reads a serialized `ComputationRunReq`. In strict, whatever changes a run must be in it, and nothing
 * that is not known.
 *
 * @throws {CocosError} `data-loss` for bytes that are no run request, `invalid-manifest` for one that
 * breaks a rule; the message names the field.
 */
export function readManifest(bytes: Uint8Array, mode: Mode): Manifest {
  const strict = mode === "strict";
  let message: cvms.ComputationRunReq;
  try {
    message = fromBinary(cvms.ComputationRunReqSchema, bytes);
  } catch (cause) {
    throw new CocosError("data-loss", "received manifest may be corrupted", { cause });
  }
  const unknownFields = new Set<string>();
  const note = (path: string, value: { $unknown?: { no: number }[] | undefined }) =>
    value.$unknown?.forEach(({ no }) => unknownFields.add(path === "" ? `${no}` : `${path}:${no}`));
  note("", message);

  if (strict) checkUuid(message.id);
  if (!isComputationId(message.id)) throw bad("id", `must be ${ID_RULE}`);
  for (const field of ["name", "description"] as const) {
    const value = message[field];
    // deno-lint-ignore no-control-regex
    if (value.length > MAX_TEXT || /[\x00-\x1f\x7f]/.test(value)) {
      throw bad(field, `must be one line of at most ${MAX_TEXT} characters`);
    }
  }

  if (message.algorithm === undefined) throw bad("algorithm", "must be declared");
  note("algorithm", message.algorithm);
  const keys = new Map<string, PartyKey>();
  const party = (path: string, spki: Uint8Array) => shared(keys, keyOf(path, spki));
  const { hash, userKey, requirementsHash } = message.algorithm;
  const algorithmSize = readSize("algorithm.size", message.algorithm.size, strict);
  const algorithm = Object.freeze({
    digest: digestOf("algorithm.hash", hash),
    owner: party("algorithm.userKey", userKey),
    ...(algorithmSize === undefined ? {} : { size: algorithmSize }),
    ...(strict ? { header: readAlgorithm(message.algorithm) } : {}),
    ...(requirementsHash.length === 0
      ? {}
      : { requirements: digestOf("algorithm.requirements_hash", requirementsHash) }),
  });
  if (strict && algorithm.requirements !== undefined && algorithm.header?.kind !== "python") {
    throw bad("algorithm.requirements_hash", "must be empty for algorithms that are not python");
  }
  if (strict && message.egress.length > 0 && algorithm.requirements === undefined) {
    throw bad("egress", "must be empty where there are no requirements to install");
  }

  if (message.datasets.length > MAX_PARTIES) {
    throw bad("datasets", `must be at most ${MAX_PARTIES}, are ${message.datasets.length}`);
  }
  const datasets = message.datasets.map((dataset, index): DatasetItem => {
    const path = `datasets[${index}]`;
    note(path, dataset);
    const { filename, decompress } = dataset;
    if ((strict || filename !== "") && !isLabel(filename)) {
      throw bad(`${path}.filename`, `must be ${LABEL_RULE}`);
    }
    const size = readSize(`${path}.size`, dataset.size, strict);
    return Object.freeze({
      index,
      digest: digestOf(`${path}.hash`, dataset.hash),
      owner: party(`${path}.userKey`, dataset.userKey),
      filename,
      storedName: filename === "" ? `dataset-${index}` : filename,
      ...(size === undefined ? {} : { size }),
      ...(strict ? { decompress } : {}),
    });
  });
  const taken = new Map<string, number>();
  for (const { index, storedName } of datasets) {
    const twin = taken.get(fold(storedName));
    if (twin !== undefined) {
      throw bad(
        `datasets[${index}].filename`,
        `must differ from datasets[${twin}]'s in more than case`,
      );
    }
    taken.set(fold(storedName), index);
  }

  const count = message.resultConsumers.length;
  if (count === 0 || count > MAX_PARTIES) {
    throw bad("result_consumers", `must be 1 to ${MAX_PARTIES}, are ${count}`);
  }
  const consumers = message.resultConsumers.map((consumer, index) => {
    note(`result_consumers[${index}]`, consumer);
    return party(`result_consumers[${index}].userKey`, consumer.userKey);
  });
  consumers.forEach((consumer, index) => {
    const first = consumers.findIndex(({ id }) => id === consumer.id);
    if (first !== index) {
      throw bad(
        `result_consumers[${index}].userKey`,
        `must differ from result_consumers[${first}]'s`,
      );
    }
  });

  const door = message.agentConfig;
  if (door !== undefined) note("agent_config", door);
  if (message.limits !== undefined) note("limits", message.limits);
  const attestedTls = door?.attestedTls ?? false;
  return Object.freeze({
    id: message.id,
    name: message.name,
    description: message.description,
    algorithm,
    datasets: Object.freeze(datasets),
    consumers: Object.freeze(consumers),
    door: Object.freeze({
      port: door?.port ?? "",
      certFile: door?.certFile ?? "",
      keyFile: door?.keyFile ?? "",
      clientCaFile: door?.clientCaFile ?? "",
      serverCaFile: door?.serverCaFile ?? "",
      attestedTls,
      ...(strict ? { channel: readChannel(message.channel, attestedTls) } : {}),
    }),
    parties: Object.freeze([...keys.values()]),
    limits: readLimits(message.limits),
    logReaders: readLogReaders(message.logReaders),
    egress: readEgress(message.egress),
    ...(strict ? { agreement: agreementOf(message) } : {}),
    unknownFields: Object.freeze([...unknownFields].slice(0, 32)),
  });
}

/**
 * SHA3-256 of the JSON form the Go programs extend into PCR 16 and print with `checksum -m`
 * (wire.md §4.8), lower-case hexadecimal.
 */
export function manifestDigest(manifest: Manifest): string {
  const bytes = (digest: string) => [...Uint8Array.fromHex(digest)];
  const key = ({ id }: PartyKey) => Uint8Array.fromHex(id).toBase64();
  const { id, name, description, datasets, algorithm, consumers } = manifest;
  const form = {
    ...(id === "" ? {} : { id }),
    ...(name === "" ? {} : { name }),
    ...(description === "" ? {} : { description }),
    ...(datasets.length === 0 ? {} : {
      datasets: datasets.map((each) => ({
        hash: bytes(each.digest),
        user_key: key(each.owner),
        ...(each.filename === "" ? {} : { filename: each.filename }),
      })),
    }),
    algorithm: { hash: bytes(algorithm.digest), user_key: key(algorithm.owner) },
    result_consumers: consumers.map((each) => ({ user_key: key(each) })),
  };
  // Go's encoding/json escapes these five so that JSON can stand in HTML.
  const text = JSON.stringify(form).replace(
    /[<>&\u2028\u2029]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return hex(sha3_256(new TextEncoder().encode(text)));
}

function digestOf(path: string, hash: Uint8Array): string {
  if (hash.length !== DIGEST_BYTES) {
    throw bad(path, `must be a SHA3-256 digest of ${DIGEST_BYTES} bytes, has ${hash.length}`);
  }
  if (hash.every((byte) => byte === 0)) throw bad(path, "must not be all zero");
  return hex(hash);
}

function keyOf(path: string, spki: Uint8Array): PartyKey {
  try {
    return Object.freeze({ id: hex(spki), key: readPublicKey(spki) });
  } catch (thrown) {
    throw bad(path, `is not acceptable: ${messageOf(thrown)}`, { cause: asCocosError(thrown) });
  }
}

/** One object per distinct key: a signature is then tried once per party, not once per dataset. */
function shared(keys: Map<string, PartyKey>, key: PartyKey): PartyKey {
  const known = keys.get(key.id);
  if (known !== undefined) return known;
  keys.set(key.id, key);
  return key;
}
