// The report of Azure's paravisor (HCL) in NV index 0x01400001: a hardware report and the runtime
// data it names, which holds the vTPM's attestation key. Nothing holds before the hardware report is
// verified and its REPORT_DATA equals hclReportData() of these bytes.
import { sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import { Fields, type Json, parseJson, plain } from "../json.ts";
import { Reader } from "../reader.ts";
import { decodeBase64url, isRsaExponent, type SubjectKey } from "../x509/mod.ts";
import { rsaKey } from "./public.ts";

/** The NV index holds 2,600 bytes; v2 of the paravisor may grow. */
export const MAX_HCL_BYTES = 16 * 1024;

/** Area of the hardware report, before the runtime data. */
const HARDWARE_BYTES = 0x4a0;
const TDREPORT_BYTES = 1024;
/** Fixed fields of the runtime claims: five u32. */
const CLAIMS_HEAD = 20;

const HASHES = new Map<number, (bytes: Uint8Array) => Uint8Array>([
  [1, sha256],
  [2, sha384],
  [3, sha512],
]);

/** A parsed HCL report; byte fields are views into the input. */
export interface HclReport {
  /** Of the header: 1 or 2. */
  readonly version: number;
  readonly kind: "snp" | "tdx";
  /** SNP report (1,184 bytes) or TDREPORT (1,024 bytes). */
  readonly hardwareReport: Uint8Array;
  /** The runtime JSON, byte for byte. */
  readonly runtimeData: Uint8Array;
  /** H(runtimeData) followed by zeros: what REPORT_DATA must be. */
  readonly reportData: Uint8Array;
  /** `HCLAkPub`: signs the vTPM's quotes. */
  readonly ak: SubjectKey;
  /** The `user-data` the guest wrote before (up to 64 bytes). */
  readonly userData: Uint8Array;
  /** `vm-configuration`, as it stands. */
  readonly configuration: unknown;
}

/**
 * Parses an HCL report with its NV padding.
 *
 * @throws {CocosError} `invalid-argument` for wrong magic, sizes, types, hashes, JSON, a missing or
 * doubled `HCLAkPub`, or padding that is not zero.
 */
export function parseHclReport(bytes: Uint8Array): HclReport {
  const reader = new Reader(bytes, "an HCL report");
  if (bytes.length > MAX_HCL_BYTES) throw reader.fault(`${bytes.length} bytes are too many`);
  if (reader.u32be() !== 0x48434c41) throw reader.fault("it does not start with HCLA", 0);
  const version = reader.u32le();
  if (version !== 1 && version !== 2) throw reader.fault(`version ${version} is not known`, 4);
  const size = reader.u32le();
  const request = reader.u32le();
  if (request !== 2) throw reader.fault(`request type ${request}, 2 is due`, 0xc);
  reader.zeros(16, "status and reserved fields");
  const area = reader.bytes(HARDWARE_BYTES);
  const claims = reader.offset;
  const claimsSize = reader.u32le();
  if (reader.u32le() !== 1) throw reader.fault("version of the runtime data is not 1", claims + 4);
  const type = reader.u32le();
  if (type !== 2 && type !== 4) throw reader.fault(`report type ${type} is not known`, claims + 8);
  const hash = HASHES.get(reader.u32le());
  if (hash === undefined) throw reader.fault("hash type is not known", claims + 12);
  const length = reader.u32le();
  if (claimsSize !== CLAIMS_HEAD + length) throw reader.fault("sizes disagree", claims);
  const runtimeData = reader.bytes(length);
  if (size !== reader.offset) throw reader.fault("size of the header disagrees", 8);
  reader.zeros(reader.left, "padding");
  const kind = type === 2 ? "snp" : "tdx";
  if (kind === "tdx" && area.subarray(TDREPORT_BYTES).some((byte) => byte !== 0)) {
    throw reader.fault("bytes behind the TDREPORT must be zero", 0x20 + TDREPORT_BYTES);
  }
  const reportData = new Uint8Array(64);
  reportData.set(hash(runtimeData));
  return Object.freeze({
    version,
    kind,
    hardwareReport: kind === "tdx" ? area.subarray(0, TDREPORT_BYTES) : area,
    runtimeData,
    reportData,
    ...readRuntime(runtimeData),
  });
}

function readRuntime(bytes: Uint8Array): Pick<HclReport, "ak" | "userData" | "configuration"> {
  const what = "the HCL runtime data";
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CocosError("invalid-argument", `Cannot read ${what}: it is not UTF-8`, { cause });
  }
  const fields = new Fields(parseJson(text, what), what);
  const keys = fields.required("keys", fields.array("keys")).map((each) => new Fields(each, what));
  const named = keys.filter((each) => each.string("kid") === "HCLAkPub");
  const [first] = named;
  if (first === undefined || named.length !== 1) {
    throw fields.fault("keys", `must hold one HCLAkPub, holds ${named.length}`);
  }
  const configuration = fields.get("vm-configuration");
  return {
    ak: readKey(first),
    userData: fromHex(fields, fields.string("user-data") ?? ""),
    configuration: configuration === undefined ? null : plain(configuration),
  };
}

function readKey(jwk: Fields): SubjectKey {
  if (jwk.string("kty") !== "RSA") throw jwk.fault("kty", "must be RSA");
  // Older paravisors wrote "encrypt" for the same restricted signing key (Microsoft's sample claims).
  const operations = jwk.required("key_ops", jwk.array("key_ops"));
  const [use] = operations;
  if (operations.length !== 1 || !(isText(use, "sign") || isText(use, "encrypt"))) {
    throw jwk.fault("key_ops", "must be one use: an attestation key only signs");
  }
  const modulus = decodeBase64url(jwk.required("n", jwk.string("n")));
  const exponent = decodeBase64url(jwk.required("e", jwk.string("e")));
  if (modulus.length < 256 || modulus.length > 512 || !((modulus[0] ?? 0) & 0x80)) {
    throw jwk.fault("n", "must have 2048 to 4096 bits");
  }
  if (!isRsaExponent(exponent)) throw jwk.fault("e", "must be an odd number from 3 to 2^32");
  return rsaKey(modulus, exponent);
}

function isText(json: Json | undefined, text: string): boolean {
  return json?.kind === "string" && json.value === text;
}

function fromHex(fields: Fields, text: string): Uint8Array {
  if (text.length > 128 || text.length % 2 === 1 || !/^[0-9a-fA-F]*$/.test(text)) {
    throw fields.fault("user-data", "must be hex of at most 64 bytes");
  }
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}
