// Collateral of SEV-SNP from AMD's key distribution service (AMD 57230): the chip's certificate for
// its TCB, the chain, the revocation list. All of it is judged by attestation/, against pinned roots.
import { CocosError } from "../../base/mod.ts";
import {
  decodePem,
  decodeTcb,
  lineOfCpu,
  lineUrls,
  MAX_CERTIFICATE_BYTES,
  MAX_CRL_BYTES,
  parseCertificate,
  parseCrl,
  type ProductLine,
  type SnpReport,
  vcekUrl,
} from "../../attestation/mod.ts";
import type { Source, Wanted } from "./collateral.ts";

const DAY_MS = 24 * 3600_000;
const MAX_CHAIN_BYTES = 64 * 1024;

/** The product line of a report: its CPU's, or for reports before version 3 the one expected. */
export function lineOf(report: SnpReport, expected: readonly ProductLine[]): ProductLine {
  const line = report.cpuid === undefined ? expected[0] : lineOfCpu(report.cpuid);
  if (line === undefined) {
    throw new CocosError("invalid-argument", "Cannot tell the product line of this report", {
      hint: "Give --product.",
    });
  }
  return line;
}

/** The chip's certificate for the reported TCB. */
export function vcek(base: string, line: ProductLine, report: SnpReport): Wanted {
  if (report.chipId.every((byte) => byte === 0)) {
    throw new CocosError("unavailable", "Cannot fetch the VCEK: the report has no chip id", {
      hint: "Ask the host for the certificate and put it behind the report.",
    });
  }
  const hwid = report.chipId.subarray(0, line === "Turin" ? 8 : 64);
  const tcb = decodeTcb(report.reportedTcb, line, "REPORTED_TCB");
  return {
    what: "the chip's certificate (VCEK)",
    url: vcekUrl(line, hwid, tcb, base),
    most: MAX_CERTIFICATE_BYTES,
    freshMs: Infinity, // one chip and TCB has one certificate; AMD limits requests
    expires: (body) => parseCertificate(body).notAfter,
  };
}

/** The root's revocation list. */
export function revocations(base: string, line: ProductLine, kind: "vcek" | "vlek"): Wanted {
  return {
    what: "AMD's revocation list",
    url: lineUrls(line, kind, base).crl,
    most: MAX_CRL_BYTES,
    freshMs: DAY_MS,
    expires: (body) => parseCrl(body).nextUpdate,
  };
}

/** Intermediate and root as PEM. */
export function chain(base: string, line: ProductLine, kind: "vcek" | "vlek"): Wanted {
  return {
    what: "AMD's certificate chain",
    url: lineUrls(line, kind, base).chain,
    most: MAX_CHAIN_BYTES,
    freshMs: 30 * DAY_MS,
    expires: (body) => Math.min(...chainOf(body).map((each) => parseCertificate(each).notAfter)),
  };
}

/** DER of a chain's two certificates. @throws {CocosError} unless there are two. */
export function chainOf(body: Uint8Array): readonly [Uint8Array, Uint8Array] {
  const [intermediate, root, ...more] = decodePem(new TextDecoder().decode(body), "CERTIFICATE");
  if (intermediate === undefined || root === undefined || more.length > 0) {
    throw new CocosError("invalid-argument", "Cannot read a chain: two certificates are due");
  }
  return [intermediate, root];
}

/** Fetches what the evidence lacks; problems are said, and leave the check to fail. */
export async function fetchSnp(
  source: Source,
  base: string,
  report: SnpReport,
  line: ProductLine,
  needs: { readonly leaf: boolean; readonly crl: boolean },
): Promise<{ leaf?: Uint8Array; crls?: readonly Uint8Array[] }> {
  const kind = report.signingKey === "vlek" ? "vlek" : "vcek";
  if (needs.leaf && kind === "vlek") {
    throw new CocosError("unavailable", "Cannot fetch a VLEK: only the cloud's host has it");
  }
  return {
    ...(needs.leaf ? { leaf: (await source.get(vcek(base, line, report))).body } : {}),
    ...(needs.crl ? { crls: [(await source.get(revocations(base, line, kind))).body] } : {}),
  };
}
