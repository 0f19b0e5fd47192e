// Where AMD's key distribution service keeps what a report needs (AMD 57230 §4). Addresses only: who
// fetches and caches lives elsewhere, and what comes back is verified like anything else.
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import { parseReport, type SigningKey, type SnpReport } from "./report.ts";
import { decodeTcb, lineOfCpu, type ProductLine, type Tcb } from "./tcb.ts";

/** AMD's own service. */
export const AMD_KDS = "https://kdsintf.amd.com";

/** What must be asked for to verify a report. */
export interface SnpNeeds {
  readonly line: ProductLine;
  readonly kind: Exclude<SigningKey, "none">;
  /** Address of the VCEK in DER; absent for a VLEK, which only the cloud's host can give. */
  readonly leaf: string | undefined;
  /** Address of the PEM with intermediate and root. */
  readonly chain: string;
  /** Address of the root's revocation list in DER. */
  readonly crl: string;
}

/** Address of a VCEK: Turin's hardware id has 8 bytes, and its TCB an FMC part. */
export function vcekUrl(line: ProductLine, hwid: Uint8Array, tcb: Tcb, base = AMD_KDS): string {
  const due = line === "Turin" ? 8 : 64;
  if (hwid.length !== due) {
    throw new CocosError(
      "invalid-argument",
      `Cannot name a VCEK: a hardware id of ${line} has ${due} bytes, this has ${hwid.length}`,
    );
  }
  const parts = [
    ...(line === "Turin" ? [`fmcSPL=${tcb.fmc}`] : []),
    `blSPL=${tcb.bootloader}`,
    `teeSPL=${tcb.tee}`,
    `snpSPL=${tcb.snp}`,
    `ucodeSPL=${tcb.microcode}`,
  ];
  return `${base}/vcek/v1/${line}/${toHex(hwid)}?${parts.join("&")}`;
}

/** Addresses of a line's chain (PEM: intermediate, root) and of the root's revocation list (DER). */
export function lineUrls(
  line: ProductLine,
  kind: Exclude<SigningKey, "none">,
  base = AMD_KDS,
): { readonly chain: string; readonly crl: string } {
  return { chain: `${base}/${kind}/v1/${line}/cert_chain`, crl: `${base}/${kind}/v1/${line}/crl` };
}

/**
 * What to ask for to verify this report.
 *
 * @param line Needed for reports of version 2, which do not name their CPU.
 * @throws {CocosError} `invalid-argument`: malformed, unsigned, unknown CPU, masked chip id.
 */
export function snpNeeds(bytes: Uint8Array, line?: ProductLine, base = AMD_KDS): SnpNeeds {
  const report = parseReport(bytes);
  const { signingKey: kind, cpuid } = report;
  if (kind === "none") throw refuse("the report is not signed");
  const named = cpuid === undefined ? line : lineOfCpu(cpuid);
  if (named === undefined) throw refuse("its product line is not known", "Name the product line.");
  if (line !== undefined && line !== named) throw refuse(`the report is of ${named}, not ${line}`);
  return Object.freeze({
    line: named,
    kind,
    leaf: kind === "vlek" ? undefined : leafUrl(report, named, base),
    ...lineUrls(named, kind, base),
  });
}

function leafUrl(report: SnpReport, line: ProductLine, base: string): string {
  if (report.chipId.every((byte) => byte === 0)) throw refuse("its chip id is masked");
  const hwid = report.chipId.subarray(0, line === "Turin" ? 8 : 64);
  return vcekUrl(line, hwid, decodeTcb(report.reportedTcb, line, "REPORTED_TCB"), base);
}

function refuse(reason: string, hint?: string): CocosError {
  return new CocosError(
    "invalid-argument",
    `Cannot say which certificates a report needs: ${reason}`,
    hint === undefined ? {} : { hint },
  );
}
