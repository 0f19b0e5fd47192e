// Signed requests of the strict mode: what a party's signature covers, and how it travels. The
// network is not trusted, nor is another agent, another computation or another moment (threats G-2
// to G-4).
import { Buffer } from "node:buffer";
import { sign, verify } from "node:crypto";
import { CocosError, messageOf } from "../base/mod.ts";
import { digestName, type PrivateKey, type PublicKey, SIGNATURE_KEY } from "./auth.ts";
import { canonicalJson } from "./canonical.ts";
import type { Headers } from "./rpc.ts";

/** Version of the signed structure. */
export const REQUEST_VERSION = 1;

/** Domain tag: a signature of this structure is never one of a role word, nor the other way round. */
const DOMAIN = "cocos-request-v1\n";

/** Metadata key of the signed structure, base64 of its canonical text. */
export const REQUEST_KEY = "cocos-request";

/** Item of the algorithm's upload, of the result's download, and of what the algorithm printed. */
export const ALGORITHM_ITEM = "algorithm";
export const RESULT_ITEM = "result";

/** Metadata of an upload or a download that goes on: the byte it begins at, decimal. */
export const OFFSET_KEY = "cocos-offset";

/** Metadata: SHA3-256 of a result's archive, hexadecimal; in a header and in a download that goes on. */
export const DIGEST_KEY = "cocos-digest";
export const OUTPUT_ITEM = "output";

/** Item of a dataset: by its name, or by its place where the manifest gives it none. */
export function datasetItem(dataset: { filename: string; index: number }): string {
  return `dataset:${dataset.filename === "" ? `#${dataset.index}` : dataset.filename}`;
}

/** What a party signs. */
export interface SignedRequest {
  /** Full path of the method, `/agent.AgentService/Data`. */
  readonly method: string;
  /** Id of the computation. */
  readonly computation: string;
  /** Digest of the manifest the party approved, 64 hexadecimal digits. */
  readonly manifest: string;
  /** What the request is about: {@linkcode ALGORITHM_ITEM}, {@linkcode datasetItem} and the like. */
  readonly item: string;
  /** SHA3-256 of the payload in hexadecimal; empty when the request has none. */
  readonly payload: string;
  /** Bytes of the payload. */
  readonly size: number;
  /** The agent's challenge in hexadecimal. */
  readonly challenge: string;
  /** Binding value of the channel in hexadecimal; empty while there is no attested channel. */
  readonly channel: string;
  /**
   * Seconds the request holds, counted by the agent's monotonic clock from its challenge: the wall
   * clock of a guest is its host's (threats H-5).
   */
  readonly lifetime: number;
}

/** Longest structure we read, in characters of base64. */
const MAX_TEXT = 4_096;

const HEX = /^([0-9a-f]{2})*$/;

/** What each member must be. */
const RULES: { readonly [K in keyof SignedRequest]: (value: unknown) => boolean } = {
  method: (value) => typeof value === "string" && /^\/[A-Za-z0-9.]+\/[A-Za-z0-9]+$/.test(value),
  computation: (value) => typeof value === "string" && value.length <= 64,
  manifest: (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value),
  item: (value) => typeof value === "string" && value.length <= 512,
  payload: (value) => typeof value === "string" && /^([0-9a-f]{64})?$/.test(value),
  size: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  challenge: (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value),
  channel: (value) => typeof value === "string" && value.length <= 256 && HEX.test(value),
  lifetime: (value) => Number.isSafeInteger(value) && (value as number) > 0,
};

/** Metadata of a request signed by a party's key. */
export function signRequest(request: SignedRequest, key: PrivateKey): Record<string, string> {
  const text = canonicalJson({ version: REQUEST_VERSION, ...request });
  const signature = sign(digestName(key.kind), Buffer.from(DOMAIN + text), key.key);
  return {
    [REQUEST_KEY]: Buffer.from(text).toString("base64"),
    [SIGNATURE_KEY]: signature.toString("base64"),
  };
}

/** A request that was read, not yet verified. */
export interface ReceivedRequest {
  readonly request: SignedRequest;
  /** Whether the signature is this key's. */
  isSignedBy(key: PublicKey): boolean;
}

/**
 * Reads the metadata of a signed request: exactly one structure in canonical form, exactly one
 * signature.
 *
 * @throws {CocosError} `unauthenticated`.
 */
export function receiveRequest(metadata: Headers): ReceivedRequest {
  const [text] = only(metadata, REQUEST_KEY);
  const [signature] = only(metadata, SIGNATURE_KEY);
  const json = decode(text);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw defect("is not JSON", cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw defect("is not an object");
  }
  const { version, ...members } = value as Record<string, unknown>;
  if (version !== REQUEST_VERSION) throw defect(`has version ${String(version).slice(0, 16)}`);
  for (const [name, rule] of Object.entries(RULES)) {
    if (!rule(members[name])) throw defect(`has no acceptable ${name}`);
  }
  const request = members as unknown as SignedRequest;
  // Also refuses unknown members, members given twice, and any other spelling.
  const names = Object.keys(members);
  if (
    names.length !== Object.keys(RULES).length ||
    canonicalJson({ version: REQUEST_VERSION, ...request }) !== json
  ) throw defect("is not in canonical form");
  const raw = signatureBytes(signature);
  return {
    request: Object.freeze(request),
    isSignedBy({ kind, key }) {
      try {
        return verify(digestName(kind), Buffer.from(DOMAIN + json), key, raw);
      } catch {
        return false;
      }
    },
  };
}

function only(metadata: Headers, key: string): [string] {
  const values = metadata.get(key);
  const [value] = values;
  if (value === undefined || values.length > 1) {
    throw new CocosError(
      "unauthenticated",
      `request must carry exactly one ${key}, has ${values.length}`,
      { hint: "An older program was used; this agent takes signed requests only." },
    );
  }
  return [value];
}

/** Strict base64 (RFC 4648 §4) of UTF-8 text. */
function decode(text: string): string {
  if (text.length > MAX_TEXT || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    throw defect("is not base64 of an acceptable length");
  }
  try {
    const bytes = Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw defect(messageOf(cause), cause);
  }
}

function signatureBytes(text: string): Uint8Array {
  try {
    if (!/^[A-Za-z0-9+/]{1,2734}={0,2}$/.test(text)) throw new TypeError("not base64");
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch (cause) {
    throw new CocosError("unauthenticated", "signature is not base64", { cause });
  }
}

function defect(what: string, cause?: unknown): CocosError {
  return new CocosError(
    "unauthenticated",
    `signed request ${what}`,
    cause === undefined ? {} : { cause },
  );
}
