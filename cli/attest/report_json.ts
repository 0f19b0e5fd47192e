// The JSON form of an SNP report: go-sev-guest's Attestation message as Go's encoding/json writes it
// (byte fields in base64, zero values left out). The text is not trusted; the report's signature is
// over the bytes that are rebuilt here.
import { CocosError } from "../../base/mod.ts";
import {
  cpuidEax,
  decodeBase64,
  encodeBase64,
  encodeTable,
  Fields,
  parseJson,
  parseReport,
  REPORT_BYTES,
  splitExtended,
  TABLE_GUIDS,
} from "../../attestation/mod.ts";

/** Field, offset, length, and whether it is a number (little-endian); AMD 56860, table 23. */
const LAYOUT: readonly (readonly [string, number, number, "number" | "bytes"])[] = [
  ["version", 0x00, 4, "number"],
  ["guest_svn", 0x04, 4, "number"],
  ["policy", 0x08, 8, "number"],
  ["family_id", 0x10, 16, "bytes"],
  ["image_id", 0x20, 16, "bytes"],
  ["vmpl", 0x30, 4, "number"],
  ["signature_algo", 0x34, 4, "number"],
  ["current_tcb", 0x38, 8, "number"],
  ["platform_info", 0x40, 8, "number"],
  ["signer_info", 0x48, 4, "number"],
  ["report_data", 0x50, 64, "bytes"],
  ["measurement", 0x90, 48, "bytes"],
  ["host_data", 0xc0, 32, "bytes"],
  ["id_key_digest", 0xe0, 48, "bytes"],
  ["author_key_digest", 0x110, 48, "bytes"],
  ["report_id", 0x140, 32, "bytes"],
  ["report_id_ma", 0x160, 32, "bytes"],
  ["reported_tcb", 0x180, 8, "number"],
  ["chip_id", 0x1a0, 64, "bytes"],
  ["committed_tcb", 0x1e0, 8, "number"],
  ["current_build", 0x1e8, 1, "number"],
  ["current_minor", 0x1e9, 1, "number"],
  ["current_major", 0x1ea, 1, "number"],
  ["committed_build", 0x1ec, 1, "number"],
  ["committed_minor", 0x1ed, 1, "number"],
  ["committed_major", 0x1ee, 1, "number"],
  ["launch_tcb", 0x1f0, 8, "number"],
  ["launch_mit_vector", 0x1f8, 8, "number"],
  ["current_mit_vector", 0x200, 8, "number"],
  ["signature", 0x2a0, REPORT_BYTES - 0x2a0, "bytes"],
];
const CERTIFICATES = { vcek: "vcek_cert", vlek: "vlek_cert", ask: "ask_cert", ark: "ark_cert" };
/** Family, model and stepping bytes, which the message packs as CPUID(1).EAX. */
const CPU = 0x188;
const WHAT = "an SNP report in JSON";

/** Text of a report and its certificates. @throws {CocosError} for bytes that are no report. */
export function reportToJson(evidence: Uint8Array): string {
  const { report, table } = splitExtended(evidence);
  const { cpuid } = parseReport(report);
  const rows: string[] = LAYOUT.flatMap(([name, offset, length, kind]) => {
    const bytes = report.subarray(offset, offset + length);
    if (kind === "bytes") return [`"${name}": "${encodeBase64(bytes)}"`];
    const value = bytes.reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n);
    return value === 0n ? [] : [`"${name}": ${value}`];
  });
  if (cpuid !== undefined) rows.push(`"cpuid1eax_fms": ${cpuidEax(cpuid)}`);
  const chain = Object.entries(CERTIFICATES).flatMap(([name, field]) => {
    const der = table?.[name as keyof typeof CERTIFICATES];
    return der === undefined ? [] : [`"${field}": "${encodeBase64(der)}"`];
  });
  const object = (lines: readonly string[]) =>
    lines.length === 0 ? "{}" : `{\n    ${lines.join(",\n    ")}\n  }`;
  return `{\n  "report": ${object(rows)},\n  "certificate_chain": ${object(chain)}\n}\n`;
}

/**
 * Bytes of a report and, when it has certificates, their table.
 *
 * @throws {CocosError} `invalid-argument` with the line.
 */
export function reportFromJson(text: string): Uint8Array {
  const top = new Fields(parseJson(text, WHAT), WHAT);
  const fields = top.required("report", top.object("report"));
  const bytes = new Uint8Array(REPORT_BYTES);
  for (const [name, offset, length, kind] of LAYOUT) {
    if (kind === "number") put(bytes, offset, length, integer(fields, name), name);
    else {
      const value = base64(fields, name) ?? new Uint8Array(length);
      if (value.length !== length) throw fields.fault(name, `must have ${length} bytes`);
      bytes.set(value, offset);
    }
  }
  const eax = Number(integer(fields, "cpuid1eax_fms"));
  bytes.set([
    ((eax >>> 8) & 15) + ((eax >>> 20) & 0xff),
    (((eax >>> 16) & 15) << 4) | ((eax >>> 4) & 15),
    eax & 15,
  ], CPU);
  fields.end();
  const chain = top.object("certificate_chain");
  const entries = new Map<string, Uint8Array>();
  if (chain !== undefined) {
    for (const [name, field] of Object.entries(CERTIFICATES)) {
      const der = base64(chain, field);
      if (der !== undefined && der.length > 0) {
        entries.set(TABLE_GUIDS[name as keyof typeof CERTIFICATES], der);
      }
    }
  }
  if (entries.size === 0) return bytes;
  const table = encodeTable(entries);
  const whole = new Uint8Array(REPORT_BYTES + table.length);
  whole.set(bytes);
  whole.set(table, REPORT_BYTES);
  return whole;
}

function integer(fields: Fields, name: string): bigint {
  const json = fields.get(name);
  if (json === undefined) return 0n;
  const text = json.kind === "integer" || json.kind === "string" ? String(json.value) : "";
  if (!/^\d{1,20}$/.test(text)) throw fields.fault(name, "must be a whole number");
  return BigInt(text);
}

function base64(fields: Fields, name: string): Uint8Array | undefined {
  const text = fields.string(name);
  if (text === undefined) return undefined;
  try {
    return decodeBase64(text);
  } catch (cause) {
    throw new CocosError("invalid-argument", fields.fault(name, "must be base64").message, {
      cause,
    });
  }
}

function put(bytes: Uint8Array, at: number, length: number, value: bigint, name: string): void {
  let rest = value;
  for (let i = 0; i < length; i++, rest >>= 8n) bytes[at + i] = Number(rest & 0xffn);
  if (rest !== 0n) {
    throw new CocosError("invalid-argument", `Cannot read ${WHAT}: ${name} is too large`);
  }
}
