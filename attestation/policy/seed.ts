// The JSON policies of the Go programs (go-sev-guest's check.Config beside pcr_values), read and
// written without loss: their 64-bit TCB exceeds what a JavaScript number holds. The file is not trusted.
import { CocosError } from "../../base/mod.ts";
import { Fields, type Json, type JsonScalar, parseJson } from "../json.ts";
import { encodeBase64 } from "../x509/mod.ts";

const WHAT = "a seed-era policy";
const U64 = (1n << 64n) - 1n;

/** PCR values by bank, as the file has them: index text → lower-case hex. */
export type SeedPcrs = {
  readonly [bank in "sha1" | "sha256" | "sha384"]?: Readonly<Record<string, string>>;
};

/** Member `policy`; a member that is not in the file is `undefined`. */
export interface SeedSnp {
  readonly minimumGuestSvn?: bigint;
  readonly policy?: bigint;
  readonly familyId?: Uint8Array;
  readonly imageId?: Uint8Array;
  readonly vmpl?: bigint;
  readonly minimumTcb?: bigint;
  readonly minimumLaunchTcb?: bigint;
  readonly platformInfo?: bigint;
  readonly requireAuthorKey?: boolean;
  readonly reportData?: Uint8Array;
  readonly measurement?: Uint8Array;
  readonly hostData?: Uint8Array;
  readonly reportId?: Uint8Array;
  readonly reportIdMa?: Uint8Array;
  readonly chipId?: Uint8Array;
  readonly minimumBuild?: bigint;
  readonly minimumVersion?: string;
  readonly permitProvisionalFirmware?: boolean;
  readonly requireIdBlock?: boolean;
  readonly trustedAuthorKeys?: readonly Uint8Array[];
  readonly trustedAuthorKeyHashes?: readonly Uint8Array[];
  readonly trustedIdKeys?: readonly Uint8Array[];
  readonly trustedIdKeyHashes?: readonly Uint8Array[];
  readonly product?: SeedProduct;
}

/** Member `policy.product`. */
export interface SeedProduct {
  /** 0 unknown, 1 Milan, 2 Genoa, 3 Turin. */
  readonly name?: bigint;
  readonly stepping?: bigint;
  readonly machineStepping?: bigint;
}

/** Member `root_of_trust`. */
export interface SeedRoots {
  readonly product?: string;
  readonly productLine?: string;
  readonly cabundlePaths?: readonly string[];
  readonly cabundles?: readonly string[];
  readonly checkCrl?: boolean;
  readonly disallowNetwork?: boolean;
}

/** A whole file. */
export interface SeedPolicy {
  readonly pcrValues: SeedPcrs;
  readonly policy: SeedSnp;
  readonly rootOfTrust: SeedRoots;
  /** Members the Go programs would drop silently. */
  readonly unknown: readonly string[];
}

type Kind = "u64" | "bytes" | "bytesList" | "boolean" | "text" | "textList" | "product";

const POLICY_KINDS: { readonly [name in keyof Required<SeedSnp>]: Kind } = {
  minimumGuestSvn: "u64",
  policy: "u64",
  familyId: "bytes",
  imageId: "bytes",
  vmpl: "u64",
  minimumTcb: "u64",
  minimumLaunchTcb: "u64",
  platformInfo: "u64",
  requireAuthorKey: "boolean",
  reportData: "bytes",
  measurement: "bytes",
  hostData: "bytes",
  reportId: "bytes",
  reportIdMa: "bytes",
  chipId: "bytes",
  minimumBuild: "u64",
  minimumVersion: "text",
  permitProvisionalFirmware: "boolean",
  requireIdBlock: "boolean",
  trustedAuthorKeys: "bytesList",
  trustedAuthorKeyHashes: "bytesList",
  trustedIdKeys: "bytesList",
  trustedIdKeyHashes: "bytesList",
  product: "product",
};
const ROOT_KINDS: { readonly [name in keyof Required<SeedRoots>]: Kind } = {
  product: "text",
  productLine: "text",
  cabundlePaths: "textList",
  cabundles: "textList",
  checkCrl: "boolean",
  disallowNetwork: "boolean",
};
const PRODUCT_NAMES = [
  "SEV_PRODUCT_UNKNOWN",
  "SEV_PRODUCT_MILAN",
  "SEV_PRODUCT_GENOA",
  "SEV_PRODUCT_TURIN",
];

/** `minimum_tcb` of `minimumTcb`. */
export function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** `minimumTcb` of `minimum_tcb`; other names stay. */
export function camel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/**
 * Reads a file; both ways of writing names are taken, as the Go programs do.
 *
 * @throws {CocosError} `invalid-argument` with the line.
 */
export function parseSeedPolicy(text: string): SeedPolicy {
  const json = parseJson(text, WHAT);
  if (json.kind !== "object") throw fault(json, "the text", "must be an object");
  let policy: SeedSnp = {};
  let rootOfTrust: SeedRoots = {};
  let pcrValues: SeedPcrs = {};
  const unknown: string[] = [];
  const seen = new Set<string>();
  for (const [name, value] of json.members) {
    const key = camel(name);
    if (seen.has(key)) throw fault(value, name, "stands twice");
    seen.add(key);
    if (key === "policy") policy = section<SeedSnp>(value, name, POLICY_KINDS, unknown);
    else if (key === "rootOfTrust") {
      rootOfTrust = section<SeedRoots>(value, name, ROOT_KINDS, unknown);
    } else if (key === "pcrValues") pcrValues = parsePcrs(value, name);
    else unknown.push(name);
  }
  return Object.freeze({ policy, rootOfTrust, pcrValues, unknown: Object.freeze(unknown) });
}

function section<T>(
  json: Json,
  path: string,
  kinds: Readonly<Record<string, Kind>>,
  unknown: string[],
): T {
  if (json.kind !== "object") throw fault(json, path, "must be an object");
  const result: Record<string, unknown> = {};
  for (const [name, value] of json.members) {
    const key = camel(name);
    const kind = Object.hasOwn(kinds, key) ? kinds[key] : undefined;
    if (kind === undefined) unknown.push(`${path}.${name}`);
    else if (key in result) throw fault(value, `${path}.${name}`, "stands twice");
    else if (value.kind !== "null") result[key] = READERS[kind](value, `${path}.${name}`);
  }
  return Object.freeze(result) as T;
}

const READERS: Readonly<Record<Kind, (json: Json, path: string) => unknown>> = {
  u64: readInteger,
  bytes: readBytes,
  bytesList: (json, path) => items(json, path).map((each) => readBytes(each, path)),
  boolean: (json, path) => {
    if (json.kind !== "boolean") throw fault(json, path, "must be true or false");
    return json.value;
  },
  text: readText,
  textList: (json, path) => items(json, path).map((each) => readText(each, path)),
  product: (json, path) => {
    if (json.kind !== "object") throw fault(json, path, "must be an object");
    const result: Record<string, bigint> = {};
    for (const [name, value] of json.members) {
      const key = camel(name);
      const named = key === "name" && value.kind === "string"
        ? PRODUCT_NAMES.indexOf(value.value as string)
        : -1;
      if (!["name", "stepping", "machineStepping"].includes(key)) {
        throw fault(value, `${path}.${name}`, "is not a known name");
      }
      result[key] = named >= 0 ? BigInt(named) : readInteger(value, `${path}.${name}`);
    }
    return Object.freeze(result);
  },
};

/** A number, its text, or the `{"value": n}` some Go programs write for wrapped numbers. */
function readInteger(json: Json, path: string): bigint {
  if (json.kind === "object") {
    const fields = new Fields(json, WHAT, path);
    const inner = fields.required("value", fields.get("value"));
    fields.end();
    return readInteger(inner, `${path}.value`);
  }
  const text = json.kind === "integer" || json.kind === "string"
    ? String((json as JsonScalar).value)
    : "";
  const value = /^\d{1,20}$/.test(text) ? BigInt(text) : -1n;
  if (value < 0n || value > U64) throw fault(json, path, "must be an integer of 64 bits");
  return value;
}

function readText(json: Json, path: string): string {
  if (json.kind !== "string") throw fault(json, path, "must be text");
  return json.value as string;
}

/** Base64 in either alphabet, with or without padding, as protojson reads it. */
function readBytes(json: Json, path: string): Uint8Array {
  const text = readText(json, path).replaceAll("-", "+").replaceAll("_", "/").replace(/=+$/, "");
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch (cause) {
    throw new CocosError("invalid-argument", fault(json, path, "must be base64").message, {
      cause,
    });
  }
}

function items(json: Json, path: string): readonly Json[] {
  if (json.kind !== "array") throw fault(json, path, "must be a list");
  return json.items;
}

const PCR_BYTES = { sha1: 20, sha256: 32, sha384: 48 } as const;

function parsePcrs(json: Json, path: string): SeedPcrs {
  const banks = new Fields(json, WHAT, path);
  const result: Record<string, Record<string, string>> = {};
  for (const [bank, bytes] of Object.entries(PCR_BYTES)) {
    const values = banks.get(bank);
    if (values === undefined || values.kind === "null") continue;
    if (values.kind !== "object") throw fault(values, `${path}.${bank}`, "must be an object");
    const read: Record<string, string> = {};
    for (const [index, value] of values.members) {
      const text = readText(value, `${path}.${bank}.${index}`).toLowerCase();
      if (!/^(?:\d|1\d|2[0-3])$/.test(index)) {
        throw fault(value, `${path}.${bank}.${index}`, "is no register");
      }
      if (!/^[0-9a-f]*$/.test(text) || text.length !== 2 * bytes) {
        throw fault(value, `${path}.${bank}.${index}`, `must be hex of ${bytes} bytes`);
      }
      read[index] = text;
    }
    result[bank] = read;
  }
  banks.end();
  return Object.freeze(result);
}

/**
 * Reads a file of the kind MANAGER_PCR_VALUES names: an object whose one member is `pcr_values`.
 *
 * @throws {CocosError} `invalid-argument` with the line.
 */
export function parsePcrValues(text: string): SeedPcrs {
  const json = parseJson(text, "PCR values");
  const fields = new Fields(json, "PCR values");
  const values = fields.required("pcr_values", fields.get("pcr_values"));
  fields.end();
  return parsePcrs(values, "pcr_values");
}

/** Text as the Go programs write it: two spaces, sorted names, 64-bit integers as bare numbers. */
export function formatSeedPolicy(seed: SeedPolicy): string {
  return `${
    write({ pcr_values: seed.pcrValues, policy: seed.policy, root_of_trust: seed.rootOfTrust }, "")
  }\n`;
}

function write(value: unknown, indent: string): string {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return JSON.stringify(encodeBase64(value));
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = `${indent}  `;
  const [open, close, rows] = Array.isArray(value)
    ? ["[", "]", value.map((each) => write(each, inner))]
    : [
      "{",
      "}",
      Object.entries(value)
        .map(([name, each]) => [snake(name), each] as const)
        .sort(([a], [b]) => a < b ? -1 : 1)
        .map(([name, each]) => `${JSON.stringify(name)}: ${write(each, inner)}`),
    ];
  return rows.length === 0
    ? open + close
    : `${open}\n${inner}${rows.join(`,\n${inner}`)}\n${indent}${close}`;
}

/**
 * Sets `policy.measurement` or `policy.host_data` in a file's text and touches nothing else.
 *
 * @throws {CocosError} `invalid-argument` when the text is no such policy or the value has not its
 * length (48 or 32 bytes).
 */
export function editSeedPolicy(
  text: string,
  name: "measurement" | "hostData",
  value: Uint8Array,
): string {
  const due = name === "measurement" ? 48 : 32;
  if (value.length !== due) {
    throw new CocosError(
      "invalid-argument",
      `Cannot set ${snake(name)}: ${due} bytes are due, there are ${value.length}`,
    );
  }
  parseSeedPolicy(text);
  const json = parseJson(text, WHAT);
  const policy = json.kind === "object" ? json.members.get("policy") : undefined;
  const written = JSON.stringify(encodeBase64(value));
  if (policy === undefined) {
    const rest = text.slice(json.start + 1).trimStart();
    const comma = rest.startsWith("}") ? "" : ",";
    return `${text.slice(0, json.start + 1)}\n  "policy": {"${
      snake(name)
    }": ${written}}${comma}\n  ${rest}`;
  }
  if (policy.kind !== "object") throw fault(policy, "policy", "must be an object");
  const old = policy.members.get(snake(name)) ?? policy.members.get(name);
  if (old !== undefined) return text.slice(0, old.start) + written + text.slice(old.end);
  const comma = policy.members.size === 0 ? "" : ",";
  const at = policy.start + 1;
  return `${text.slice(0, at)}\n    "${snake(name)}": ${written}${comma}${text.slice(at)}`;
}

function fault(json: Json, path: string, reason: string): CocosError {
  return new CocosError(
    "invalid-argument",
    `Cannot read ${WHAT}: line ${json.line}: ${path} ${reason}`,
  );
}
