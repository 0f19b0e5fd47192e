// The canonical JSON of a computation manifest (wire.md §4.8): what `checksum -m` and PCR 16 cover.
// Go's encoding/json is the model: fixed key order, empty values left out, HTML characters escaped.
import { CocosError, DIGEST_BYTES } from "../base/mod.ts";

type Json = Record<string, unknown>;

/**
 * Canonical bytes of a manifest's JSON text. Keys the manifest does not have are left out, as the
 * Go programs do.
 *
 * @throws {CocosError} `invalid-manifest` that names the field.
 */
export function canonicalManifest(text: string): Uint8Array {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CocosError("invalid-manifest", "Cannot read the manifest: it is not JSON", { cause });
  }
  const top = object(value, "the manifest");
  const datasets = list(top.datasets, "datasets");
  const consumers = list(top.result_consumers, "result_consumers");
  const algorithm = object(top.algorithm ?? {}, "algorithm");
  const made = fields([
    ["id", optionalText(top.id, "id")],
    ["name", optionalText(top.name, "name")],
    ["description", optionalText(top.description, "description")],
    [
      "datasets",
      array(datasets.map((entry, i) => {
        const at = `datasets[${i}]`;
        const dataset = object(entry, at);
        return fields([
          ["hash", digest(dataset.hash, `${at}.hash`)],
          ["user_key", bytes(dataset.user_key, `${at}.user_key`)],
          ["filename", optionalText(dataset.filename, `${at}.filename`)],
        ]);
      })),
    ],
    [
      "algorithm",
      fields([
        ["hash", digest(algorithm.hash, "algorithm.hash")],
        ["user_key", bytes(algorithm.user_key, "algorithm.user_key")],
      ]),
    ],
    [
      "result_consumers",
      array(consumers.map((entry, i) => {
        const at = `result_consumers[${i}]`;
        return fields([["user_key", bytes(object(entry, at).user_key, `${at}.user_key`)]]);
      })),
    ],
  ]);
  return new TextEncoder().encode(made);
}

/** JSON object text of the fields that have a value, in order. */
function fields(entries: [string, string | undefined][]): string {
  const present = entries.filter(([, value]) => value !== undefined);
  return `{${present.map(([name, value]) => `"${name}":${value}`).join(",")}}`;
}

/** JSON list text; nothing for an empty list. */
function array(items: string[]): string | undefined {
  return items.length === 0 ? undefined : `[${items.join(",")}]`;
}

/** JSON string as Go writes it. */
function quoted(text: string): string {
  return JSON.stringify(text.toWellFormed()).replaceAll(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function optionalText(value: unknown, at: string): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string") throw wrong(at, "must be text");
  return quoted(value);
}

function bytes(value: unknown, at: string): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  try {
    if (typeof value !== "string") throw new TypeError();
    return quoted(Uint8Array.fromBase64(value).toBase64());
  } catch (cause) {
    throw wrong(at, "must be base64 text", cause);
  }
}

function digest(value: unknown, at: string): string {
  const numbers = value === undefined || value === null
    ? new Array<number>(DIGEST_BYTES).fill(0)
    : list(value, at);
  const isByte = (each: unknown) =>
    Number.isInteger(each) && (each as number) >= 0 && (each as number) <= 255;
  if (numbers.length !== DIGEST_BYTES || !numbers.every(isByte)) {
    throw wrong(at, `must be a list of ${DIGEST_BYTES} numbers from 0 to 255`);
  }
  return `[${numbers.join(",")}]`;
}

function object(value: unknown, at: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrong(at, "must be an object");
  }
  return value as Json;
}

function list(value: unknown, at: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrong(at, "must be a list");
  return value;
}

function wrong(at: string, rule: string, cause?: unknown): CocosError {
  return new CocosError("invalid-manifest", `Cannot read the manifest: ${at} ${rule}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: "A hash is a list of 32 numbers, a user_key base64 of the DER public key.",
  });
}
