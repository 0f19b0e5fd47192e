// The manifest as a party reads it: from the canonical text to a frozen value, or a refusal. Whoever
// sent the text is not trusted: an unknown member could change the run behind a familiar face.
import { CocosError, messageOf } from "../base/mod.ts";
import {
  AGREEMENT_VERSION,
  type Canonical,
  canonicalJson,
  type Channel,
  CHANNELS,
  digestOfCanonical,
  type Kind,
  KINDS,
  LOG_READERS,
  type LogReader,
} from "../proto/mod.ts";
import { folderOf, isComputationFile } from "./plan_file.ts";

/** What is uploaded: its digest, its bytes, and whose it is. */
export interface AgreedItem {
  /** SHA3-256, lower-case hexadecimal. */
  readonly hash: string;
  /** Bytes. */
  readonly size: number;
  /** DER SubjectPublicKeyInfo, base64. */
  readonly userKey: string;
}

/** The algorithm of a manifest. */
export interface AgreedAlgorithm extends AgreedItem {
  readonly type: Kind;
  readonly args: readonly string[];
  readonly runtime: string;
  /** SHA3-256 of the requirements' upload, hexadecimal; empty when there are none. */
  readonly requirementsHash: string;
}

/** A dataset of a manifest. */
export interface AgreedDataset extends AgreedItem {
  readonly filename: string;
  readonly decompress: boolean;
}

/** The members of limits; 0 is the runner's own. */
export const LIMITS = ["wallSeconds", "memoryBytes", "processes", "diskBytes", "logBytes"] as const;

/** What the parties agree on (docs/protocol.md, "The manifest"). */
export interface Terms {
  readonly version: number;
  /** A UUID; it is safe as part of a file's name. */
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly algorithm: AgreedAlgorithm;
  readonly datasets: readonly AgreedDataset[];
  readonly resultConsumers: readonly { readonly userKey: string }[];
  readonly agentConfig: { readonly port: string; readonly attestedTls: boolean };
  readonly limits: { readonly [K in (typeof LIMITS)[number]]: number };
  readonly logReaders: readonly LogReader[];
  readonly egress: readonly string[];
  readonly channel: Channel;
}

/** A manifest with its canonical text and digest. */
export interface Agreement {
  readonly terms: Terms;
  readonly text: string;
  /** Lower-case hexadecimal. */
  readonly digest: string;
}

/** Largest text that is read; a manifest of 1,000 datasets has about 1 MB. */
export const MAX_AGREEMENT_BYTES = 4 * 1024 * 1024;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A rule: what a member must be, in words, and whether a value is it. */
interface Shape {
  readonly rule: string;
  readonly is: (value: unknown) => boolean;
}

const text: Shape = { rule: "text", is: (value) => typeof value === "string" };
const flag: Shape = { rule: "true or false", is: (value) => typeof value === "boolean" };
const whole: Shape = {
  rule: "a whole number",
  is: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
};
const matching = (pattern: RegExp, rule: string): Shape => ({
  rule,
  is: (value) => typeof value === "string" && pattern.test(value),
});
const hash = matching(/^[0-9a-f]{64}$/, "a digest of 64 hexadecimal digits");
const hashOrNone = matching(/^([0-9a-f]{64})?$/, "a digest or empty");
const key: Shape = { rule: "a public key in base64", is: isKeyText };
const one = (words: readonly string[]): Shape => ({
  rule: `one of ${words.join(", ")}`,
  is: (value) => words.includes(value as string),
});
const list = (each: Shape): Shape => ({
  rule: `a list, each ${each.rule}`,
  is: (value) => Array.isArray(value) && value.every(each.is),
});
const object = (shapes: Readonly<Record<string, Shape>>): Shape => ({
  rule: `an object of ${Object.keys(shapes).join(", ")}`,
  is: (value) => defect(value, shapes) === undefined,
});

const ITEM = { hash, size: whole, userKey: key };
const MEMBERS: { readonly [K in keyof Terms]: Shape } = {
  version: { rule: `${AGREEMENT_VERSION}`, is: (value) => value === AGREEMENT_VERSION },
  id: matching(UUID, "a UUID in lower case"),
  name: text,
  description: text,
  algorithm: object({
    ...ITEM,
    type: one(KINDS),
    args: list(text),
    runtime: text,
    requirementsHash: hashOrNone,
  }),
  datasets: list(object({ ...ITEM, filename: text, decompress: flag })),
  resultConsumers: list(object({ userKey: key })),
  agentConfig: object({ port: text, attestedTls: flag }),
  limits: object(Object.fromEntries(LIMITS.map((name) => [name, whole]))),
  logReaders: list(one(LOG_READERS)),
  egress: list(text),
  channel: one(CHANNELS),
};

/** Base64 in its one form: a key in two spellings would look like two parties. */
function isKeyText(value: unknown): boolean {
  if (typeof value !== "string" || value.length < 16) return false;
  try {
    return Uint8Array.fromBase64(value, { lastChunkHandling: "strict" }).toBase64() === value;
  } catch {
    return false;
  }
}

/** The first member that is missing, unknown or wrong; nothing when all are right. */
function defect(value: unknown, shapes: Readonly<Record<string, Shape>>): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return "it is not an object";
  }
  const members = value as Record<string, unknown>;
  const unknown = Object.keys(members).find((name) => !Object.hasOwn(shapes, name));
  if (unknown !== undefined) return `nobody here knows its member ${JSON.stringify(unknown)}`;
  for (const [name, { rule, is }] of Object.entries(shapes)) {
    if (!Object.hasOwn(members, name)) return `it has no ${name}`;
    if (!is(members[name])) return `its ${name} must be ${rule}`;
  }
  return undefined;
}

/**
 * Reads a canonical text as an agent sends it: exactly these bytes are what the digest covers.
 *
 * @throws {CocosError} `invalid-manifest`.
 */
export function readAgreement(bytes: Uint8Array): Agreement {
  let sent: string;
  try {
    sent = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw wrong("it is not UTF-8", cause);
  }
  const agreement = parseAgreement(sent);
  if (agreement.text !== sent) throw wrong("it is not in canonical form");
  return agreement;
}

/**
 * Reads a manifest from a file somebody may have laid out for reading: the canonical text is made of
 * it again.
 *
 * @throws {CocosError} `invalid-manifest`.
 */
export function parseAgreement(json: string): Agreement {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw wrong(`it is not JSON: ${messageOf(cause)}`, cause);
  }
  const problem = defect(value, MEMBERS);
  if (problem !== undefined) throw wrong(problem);
  const text = canonicalJson(value as Canonical);
  return Object.freeze({
    terms: deepFreeze(value as Terms),
    text,
    digest: digestOfCanonical(new TextEncoder().encode(text)).toHex(),
  });
}

/**
 * Reads the manifest of a file, or makes it of a computation file and the files that one names, as
 * `cocos-computations` does.
 */
export async function readAgreementFile(path: string): Promise<Agreement> {
  let content: string;
  try {
    const { size } = await Deno.stat(path);
    if (size > MAX_AGREEMENT_BYTES) throw new RangeError("it has more than 4 MiB");
    content = await Deno.readTextFile(path);
  } catch (cause) {
    throw new CocosError(
      cause instanceof Deno.errors.NotFound ? "not-found" : "io",
      `Cannot read the manifest ${JSON.stringify(path)}: ${messageOf(cause)}`,
      { cause },
    );
  }
  if (!isComputationFile(content)) return parseAgreement(content);
  const { parsePlan, resolve } = await import("../agreement/mod.ts");
  const { agreement } = await resolve(parsePlan(content, folderOf(path)));
  return parseAgreement(agreement?.text ?? "");
}

/** Members in which two manifests differ, as paths such as `datasets[1].hash`; the first `most`. */
export function differences(a: Terms, b: Terms, most = 10): string[] {
  const found: string[] = [];
  const compare = (left: unknown, right: unknown, at: string) => {
    if (found.length >= most || left === right) return;
    if (typeof left !== "object" || typeof right !== "object") {
      found.push(at);
      return;
    }
    const [one, other] = [left as Record<string, unknown>, right as Record<string, unknown>];
    for (const name of new Set([...Object.keys(one), ...Object.keys(other)])) {
      const path = Array.isArray(left) ? `${at}[${name}]` : at === "" ? name : `${at}.${name}`;
      compare(one[name], other[name], path);
    }
  };
  compare(a, b, "");
  return found;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    Object.values(value).forEach(deepFreeze);
    Object.freeze(value);
  }
  return value;
}

function wrong(why: string, cause?: unknown): CocosError {
  return new CocosError("invalid-manifest", `Cannot read the manifest: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint:
      "A manifest that cannot be read whole cannot be approved; it may come from a newer program.",
  });
}
