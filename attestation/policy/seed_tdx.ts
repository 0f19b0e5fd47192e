// The TDX policies of the Go programs (go-tdx-guest's checkconfig.Config in protojson), strictly:
// unknown names are errors there and here. The file is not trusted.
import { type Json, parseJson } from "../json.ts";
import { decodeBase64, encodeBase64 } from "../x509/mod.ts";
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import { camel } from "./seed.ts";

const WHAT = "a seed-era TDX policy";

/** A whole file; a member that is not in the file is `undefined`. Byte values are lower-case hex. */
export interface SeedTdxPolicy {
  readonly minimumQeSvn?: number;
  readonly minimumPceSvn?: number;
  readonly qeVendorId?: string;
  readonly minimumTeeTcbSvn?: string;
  readonly mrSeam?: string;
  readonly tdAttributes?: string;
  readonly xfam?: string;
  readonly mrTd?: string;
  readonly anyMrTd?: readonly string[];
  readonly mrConfigId?: string;
  readonly mrOwner?: string;
  readonly mrOwnerConfig?: string;
  readonly rtmrs?: readonly string[];
  readonly reportData?: string;
  readonly enableTdDebugCheck?: boolean;
  readonly cabundlePaths?: readonly string[];
  readonly cabundles?: readonly string[];
  readonly checkCrl?: boolean;
  readonly getCollateral?: boolean;
}

/** Member → its parent's path, and how many bytes it has (0 is any number: a list or another kind). */
const BYTES: Readonly<Record<string, number>> = {
  qeVendorId: 16,
  minimumTeeTcbSvn: 16,
  mrSeam: 48,
  tdAttributes: 8,
  xfam: 8,
  mrTd: 48,
  mrConfigId: 48,
  mrOwner: 48,
  mrOwnerConfig: 48,
  reportData: 64,
};
const HEADER = ["minimumQeSvn", "minimumPceSvn", "qeVendorId"];
const BODY = [
  "minimumTeeTcbSvn",
  "mrSeam",
  "tdAttributes",
  "xfam",
  "mrTd",
  "mrConfigId",
  "mrOwner",
  "mrOwnerConfig",
  "rtmrs",
  "reportData",
  "anyMrTd",
  "enableTdDebugCheck",
];
const ROOTS = ["cabundlePaths", "cabundles", "checkCrl", "getCollateral"];

/**
 * Reads a file.
 *
 * @throws {CocosError} `invalid-argument` with the line.
 */
export function parseSeedTdxPolicy(text: string): SeedTdxPolicy {
  const result: Record<string, unknown> = {};
  const read = (json: Json | undefined, path: string, names: readonly string[]) => {
    for (const [name, value] of members(json, path)) {
      if (!names.includes(name)) throw fault(value, `${path}.${name}`, "is not a known name");
      if (value.kind !== "null") result[name] = readValue(name, value, `${path}.${name}`);
    }
  };
  for (const [name, value] of members(parseJson(text, WHAT), "the text")) {
    if (name === "rootOfTrust") read(value, name, ROOTS);
    else if (name === "policy") {
      for (const [part, json] of members(value, name)) {
        if (part === "headerPolicy") read(json, part, HEADER);
        else if (part === "tdQuoteBodyPolicy") read(json, part, BODY);
        else throw fault(json, `policy.${part}`, "is not a known name");
      }
    } else throw fault(value, name, "is not a known name");
  }
  return Object.freeze(result) as SeedTdxPolicy;
}

/** Members by camel-case name, each at most once. */
function members(json: Json | undefined, path: string): ReadonlyMap<string, Json> {
  if (json === undefined) return new Map();
  if (json.kind !== "object") throw fault(json, path, "must be an object");
  const found = new Map<string, Json>();
  for (const [name, value] of json.members) {
    if (found.has(camel(name))) throw fault(value, `${path}.${name}`, "stands twice");
    found.set(camel(name), value);
  }
  return found;
}

function readValue(name: string, json: Json, path: string): unknown {
  const list = (each: (item: Json) => unknown) => {
    if (json.kind !== "array") throw fault(json, path, "must be a list");
    return Object.freeze(json.items.map(each));
  };
  switch (name) {
    case "rtmrs":
    case "anyMrTd":
      return list((item) => bytes(item, path, 48));
    case "cabundlePaths":
    case "cabundles":
      return list((item) => text(item, path));
    case "checkCrl":
    case "getCollateral":
    case "enableTdDebugCheck":
      if (json.kind !== "boolean") throw fault(json, path, "must be true or false");
      return json.value;
    case "minimumQeSvn":
    case "minimumPceSvn": {
      const value = json.kind === "integer" || json.kind === "string" ? String(json.value) : "";
      if (!/^\d{1,5}$/.test(value) || Number(value) > 65535) {
        throw fault(json, path, "must be 0 to 65535");
      }
      return Number(value);
    }
    default:
      return bytes(json, path, BYTES[name] ?? 0);
  }
}

function text(json: Json, path: string): string {
  if (json.kind !== "string") throw fault(json, path, "must be text");
  return json.value as string;
}

function bytes(json: Json, path: string, length: number): string {
  const value = toHex(decodeBase64(text(json, path)));
  if (value.length !== 2 * length) throw fault(json, path, `must be base64 of ${length} bytes`);
  return value;
}

/** Text as protojson writes it, two spaces. */
export function formatSeedTdxPolicy(seed: SeedTdxPolicy): string {
  const raw = (hex: string) =>
    encodeBase64(Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16)));
  const pick = (names: readonly string[]) =>
    Object.fromEntries(names.flatMap((name) => {
      const value = seed[name as keyof SeedTdxPolicy];
      if (value === undefined) return [];
      if (name === "rtmrs" || name === "anyMrTd") return [[name, (value as string[]).map(raw)]];
      return [[name, name in BYTES ? raw(value as string) : value]];
    }));
  const whole = {
    policy: { headerPolicy: pick(HEADER), tdQuoteBodyPolicy: pick(BODY) },
    rootOfTrust: pick(ROOTS),
  };
  return `${JSON.stringify(whole, null, 2)}\n`;
}

function fault(json: Json, path: string, reason: string): CocosError {
  return new CocosError(
    "invalid-argument",
    `Cannot read ${WHAT}: line ${json.line}: ${path} ${reason}`,
  );
}
