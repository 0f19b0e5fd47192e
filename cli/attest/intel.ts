// Collateral of TDX from Intel's provisioning certification service (PCS API v4): TCB info, identity
// of the quoting enclave, revocation lists. All of it is judged by attestation/, against the root key.
import {
  collateralOf,
  decodePem,
  MAX_CRL_BYTES,
  parseCertificate,
  parseCrl,
  parseQeIdentity,
  parseTcbInfo,
  PCS_HEADERS,
  splitSigned,
  type TdxCollateral,
  tdxNeeds,
} from "../../attestation/mod.ts";
import type { Source, Wanted } from "./collateral.ts";
import type { Servers } from "./servers.ts";

const DAY_MS = 24 * 3600_000;
const MAX_STATEMENT_BYTES = 512 * 1024;

/** Headers with the chains of the statements; values are URL-encoded PEM. */
const TCB_CHAIN = PCS_HEADERS.tcbInfo.toLowerCase();
const QE_CHAIN = PCS_HEADERS.qeIdentity.toLowerCase();

/** The earliest end of the certificates of a chain. */
function chainEnd(value: string | undefined): number {
  const ends = decodePem(decodeURIComponent(value ?? ""), "CERTIFICATE")
    .map((der) => parseCertificate(der).notAfter);
  if (ends.length === 0) throw new RangeError("its chain is empty");
  return Math.min(...ends);
}

function text(body: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
}

/** What is wanted for a quote's platform. The root's list comes from where the person says. */
function wantedFor(servers: Servers, quote: Uint8Array): {
  readonly tcb: Wanted;
  readonly qe: Wanted;
  readonly pckCrl: Wanted;
  readonly rootCrl: Wanted;
} {
  const needs = tdxNeeds(quote, servers.intel);
  const crl = (what: string, url: string): Wanted => ({
    what,
    url,
    most: MAX_CRL_BYTES,
    freshMs: DAY_MS,
    expires: (body) => parseCrl(body).nextUpdate,
  });
  return {
    tcb: {
      what: "Intel's TCB info",
      url: needs.tcbInfo,
      most: MAX_STATEMENT_BYTES,
      freshMs: DAY_MS,
      headers: [TCB_CHAIN],
      expires: (body, headers) =>
        Math.min(
          parseTcbInfo(splitSigned(text(body), "tcbInfo").json).nextUpdate,
          chainEnd(headers[TCB_CHAIN]),
        ),
    },
    qe: {
      what: "Intel's identity of the quoting enclave",
      url: needs.qeIdentity,
      most: MAX_STATEMENT_BYTES,
      freshMs: DAY_MS,
      headers: [QE_CHAIN],
      expires: (body, headers) =>
        Math.min(
          parseQeIdentity(splitSigned(text(body), "enclaveIdentity").json).nextUpdate,
          chainEnd(headers[QE_CHAIN]),
        ),
    },
    pckCrl: crl("the revocation list of PCK certificates", needs.pckCrl),
    rootCrl: crl("the revocation list of Intel's root", servers.intelRootCrl),
  };
}

/** Fetches all collateral of a quote. @throws {CocosError} when a part can't be had. */
export async function fetchTdx(
  source: Source,
  servers: Servers,
  quote: Uint8Array,
): Promise<TdxCollateral> {
  const wanted = wantedFor(servers, quote);
  const tcb = await source.get(wanted.tcb);
  const qe = await source.get(wanted.qe);
  return collateralOf({
    tcbInfo: { body: text(tcb.body), chain: tcb.headers[TCB_CHAIN] ?? "" },
    qeIdentity: { body: text(qe.body), chain: qe.headers[QE_CHAIN] ?? "" },
    pckCrl: (await source.get(wanted.pckCrl)).body,
    rootCrl: (await source.get(wanted.rootCrl)).body,
  });
}
