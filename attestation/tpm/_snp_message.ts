// sevsnp.Attestation to and from what the hardware gives: the 1,184 report bytes and certificates.
// The fields come from the peer; the report's own signature decides over the rebuilt bytes.
import { CocosError } from "../../base/mod.ts";
import type { Message } from "./_proto.ts";

const REPORT_BYTES = 0x4a0;
const SIGNATURE = 0x2a0;

/** Where each field stands in the report (AMD 56860); numbers are little-endian. */
const LAYOUT:
  readonly (readonly [name: string, offset: number, length: number, number: boolean])[] = [
    ["version", 0x00, 4, true],
    ["guest_svn", 0x04, 4, true],
    ["policy", 0x08, 8, true],
    ["family_id", 0x10, 16, false],
    ["image_id", 0x20, 16, false],
    ["vmpl", 0x30, 4, true],
    ["signature_algo", 0x34, 4, true],
    ["current_tcb", 0x38, 8, true],
    ["platform_info", 0x40, 8, true],
    ["signer_info", 0x48, 4, true],
    ["report_data", 0x50, 64, false],
    ["measurement", 0x90, 48, false],
    ["host_data", 0xc0, 32, false],
    ["id_key_digest", 0xe0, 48, false],
    ["author_key_digest", 0x110, 48, false],
    ["report_id", 0x140, 32, false],
    ["report_id_ma", 0x160, 32, false],
    ["reported_tcb", 0x180, 8, true],
    ["chip_id", 0x1a0, 64, false],
    ["committed_tcb", 0x1e0, 8, true],
    ["current_build", 0x1e8, 1, true],
    ["current_minor", 0x1e9, 1, true],
    ["current_major", 0x1ea, 1, true],
    ["committed_build", 0x1ec, 1, true],
    ["committed_minor", 0x1ed, 1, true],
    ["committed_major", 0x1ee, 1, true],
    ["launch_tcb", 0x1f0, 8, true],
    ["launch_mit_vector", 0x1f8, 8, true],
    ["current_mit_vector", 0x200, 8, true],
    ["signature", SIGNATURE, REPORT_BYTES - SIGNATURE, false],
  ];

/** Family, model and stepping bytes, which the message packs as CPUID(1).EAX. */
const FMS = 0x188;

const PRODUCTS = ["unknown", "Milan", "Genoa", "Turin"] as const;

/** An SNP report with the certificates that came with it (DER; absent ones are missing). */
export interface SnpEvidence {
  /** 1,184 bytes, rebuilt from the fields. */
  readonly report: Uint8Array;
  readonly vcek?: Uint8Array;
  readonly vlek?: Uint8Array;
  readonly ask?: Uint8Array;
  readonly ark?: Uint8Array;
  /** Endorsement of the firmware that a host may add. */
  readonly firmware?: Uint8Array;
  /** By GUID; the host's words. */
  readonly extras: ReadonlyMap<string, Uint8Array>;
  /** The guest library's word about the CPU; signed by nothing. */
  readonly product?: { readonly name: string; readonly stepping: number | undefined };
}

const CERTIFICATES = [
  ["vcek", "vcek_cert"],
  ["vlek", "vlek_cert"],
  ["ask", "ask_cert"],
  ["ark", "ark_cert"],
  ["firmware", "firmware_cert"],
] as const;

/** @throws {CocosError} `invalid-argument` for a field that does not fit its place in the report. */
export function snpFromMessage(message: Message): SnpEvidence {
  const fields = message["report"] as Message | undefined;
  if (fields === undefined) throw invalid("it has no report");
  const report = new Uint8Array(REPORT_BYTES);
  for (const [name, offset, length, number] of LAYOUT) {
    const value = fields[name];
    if (number) put(report, name, offset, length, (value ?? 0) as number | bigint);
    else {
      const bytes = (value ?? new Uint8Array()) as Uint8Array;
      if (bytes.length !== length) {
        throw invalid(`${name} has ${bytes.length} bytes, not ${length}`);
      }
      report.set(bytes, offset);
    }
  }
  report.set(unpackFms((fields["cpuid1eax_fms"] ?? 0) as number), FMS);
  const chain = (message["certificate_chain"] ?? {}) as Message;
  const product = message["product"] as Message | undefined;
  return Object.freeze({
    report,
    ...Object.fromEntries(
      CERTIFICATES.filter(([, field]) => chain[field] !== undefined).map((
        [name, field],
      ) => [name, chain[field] as Uint8Array]),
    ),
    extras: (chain["extras"] ?? new Map()) as ReadonlyMap<string, Uint8Array>,
    ...(product === undefined ? {} : { product: productOf(product) }),
  });
}

/** The message of a report and its certificates. */
export function snpToMessage(evidence: SnpEvidence): Message {
  if (evidence.report.length !== REPORT_BYTES) {
    throw invalid(`the report has ${evidence.report.length} bytes`);
  }
  const view = new DataView(evidence.report.buffer, evidence.report.byteOffset, REPORT_BYTES);
  const report: Record<string, number | bigint | Uint8Array> = {};
  for (const [name, offset, length, number] of LAYOUT) {
    if (!number) report[name] = evidence.report.subarray(offset, offset + length);
    else if (length === 8) report[name] = view.getBigUint64(offset, true);
    else report[name] = length === 4 ? view.getUint32(offset, true) : view.getUint8(offset);
  }
  report["cpuid1eax_fms"] = packFms(evidence.report.subarray(FMS, FMS + 3));
  const { product } = evidence;
  return {
    report,
    certificate_chain: {
      ...Object.fromEntries(
        CERTIFICATES.flatMap(([name, field]) => {
          const certificate = evidence[name];
          return certificate === undefined ? [] : [[field, certificate]];
        }),
      ),
      extras: evidence.extras,
    },
    ...(product === undefined ? {} : {
      product: {
        name: Math.max(0, PRODUCTS.indexOf(product.name as "Milan")),
        ...(product.stepping === undefined
          ? {}
          : { machine_stepping: { value: product.stepping } }),
      },
    }),
  };
}

function productOf(message: Message): { name: string; stepping: number | undefined } {
  const wrapped = message["machine_stepping"] as Message | undefined;
  const stepping = wrapped === undefined
    ? message["stepping"] as number | undefined
    : (wrapped["value"] ?? 0) as number;
  const name = PRODUCTS[(message["name"] ?? 0) as number];
  if (name === undefined) throw invalid(`product ${message["name"]} is not known`);
  return Object.freeze({ name, stepping });
}

/** CPUID(1).EAX of three bytes: family, model, stepping. */
function packFms(bytes: Uint8Array): number {
  const [family = 0, model = 0, stepping = 0] = bytes;
  const base = Math.min(family, 15);
  return ((family - base) << 20) | ((model >> 4) << 16) | (base << 8) | ((model & 15) << 4) |
    (stepping & 15);
}

function unpackFms(eax: number): readonly [number, number, number] {
  const family = ((eax >>> 8) & 15) + ((eax >>> 20) & 0xff);
  const model = (((eax >>> 16) & 15) << 4) | ((eax >>> 4) & 15);
  const bytes = [family, model, eax & 15] as const;
  if (family > 0xff || packFms(Uint8Array.from(bytes)) !== eax) {
    throw invalid("cpuid1eax_fms is no family, model and stepping");
  }
  return bytes;
}

function put(
  report: Uint8Array,
  name: string,
  offset: number,
  length: number,
  value: number | bigint,
): void {
  let rest = BigInt(value);
  for (let i = 0; i < length; i++, rest >>= 8n) report[offset + i] = Number(rest & 0xffn);
  if (rest !== 0n) throw invalid(`${name} does not fit ${length} bytes`);
}

function invalid(why: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read SNP evidence: ${why}`);
}
