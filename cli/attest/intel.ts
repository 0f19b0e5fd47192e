// Collateral of TDX from Intel's provisioning certification service (PCS API v4): TCB info, identity
// of the quoting enclave, revocation lists. All of it is judged by attestation/, against the root key.
import { CocosError } from "../../base/mod.ts";
import {
  attribute,
  decodePem,
  Fields,
  INTEL_NAMES,
  MAX_CRL_BYTES,
  Oid,
  parseCertificate,
  parseCrl,
  parseJson,
  parseQeIdentity,
  parseTcbInfo,
  parseTdxQuote,
  pckExtensions,
  sliceOf,
  type TdxCollateral,
} from "../../attestation/mod.ts";
import type { Source, Wanted } from "./collateral.ts";
import type { Servers } from "./servers.ts";

const DAY_MS = 24 * 3600_000;
const MAX_STATEMENT_BYTES = 512 * 1024;

/** A statement of Intel: the exact text of the inner object, and its signature in hex. */
export interface SignedStatement {
  readonly text: string;
  readonly signature: string;
}

/**
 * Takes an answer apart without changing a byte of the signed part.
 *
 * @throws {CocosError} `invalid-argument` for another form.
 */
export function signedStatement(
  body: Uint8Array,
  name: "tcbInfo" | "enclaveIdentity",
): SignedStatement {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  const fields = new Fields(parseJson(text, "Intel's statement"), "Intel's statement");
  const inner = fields.required(name, fields.get(name));
  const signature = fields.required("signature", fields.string("signature"));
  fields.end();
  return { text: sliceOf(text, inner), signature };
}

/** Headers with the chains of the statements; values are URL-encoded PEM. */
const TCB_CHAIN = "tcb-info-issuer-chain";
const QE_CHAIN = "sgx-enclave-identity-issuer-chain";

/** The earliest end of the certificates of a chain. */
function chainEnd(value: string | undefined): number {
  const ends = decodePem(decodeURIComponent(value ?? ""), "CERTIFICATE")
    .map((der) => parseCertificate(der).notAfter);
  if (ends.length === 0) throw new RangeError("its chain is empty");
  return Math.min(...ends);
}

/** What is wanted for a quote's platform. */
export function wantedFor(servers: Servers, quote: Uint8Array): {
  readonly tcb: Wanted;
  readonly qe: Wanted;
  readonly pckCrl: Wanted;
  readonly rootCrl: Wanted;
} {
  const [leaf, intermediate] = parseTdxQuote(quote).certificates;
  if (leaf === undefined || intermediate === undefined) {
    throw new CocosError("invalid-argument", "Cannot fetch collateral: the quote has no PCK chain");
  }
  const { fmspc } = pckExtensions(parseCertificate(leaf));
  const issuer = attribute(parseCertificate(intermediate).subject, Oid.COMMON_NAME);
  const ca = issuer === INTEL_NAMES.processor ? "processor" : "platform";
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
      url: `${servers.intel}/tdx/certification/v4/tcb?fmspc=${fmspc.toHex()}`,
      most: MAX_STATEMENT_BYTES,
      freshMs: DAY_MS,
      headers: [TCB_CHAIN],
      expires: (body, headers) =>
        Math.min(
          parseTcbInfo(signedStatement(body, "tcbInfo").text).nextUpdate,
          chainEnd(headers[TCB_CHAIN]),
        ),
    },
    qe: {
      what: "Intel's identity of the quoting enclave",
      url: `${servers.intel}/tdx/certification/v4/qe/identity`,
      most: MAX_STATEMENT_BYTES,
      freshMs: DAY_MS,
      headers: [QE_CHAIN],
      expires: (body, headers) =>
        Math.min(
          parseQeIdentity(signedStatement(body, "enclaveIdentity").text).nextUpdate,
          chainEnd(headers[QE_CHAIN]),
        ),
    },
    pckCrl: crl(
      "the revocation list of PCK certificates",
      `${servers.intel}/sgx/certification/v4/pckcrl?ca=${ca}&encoding=der`,
    ),
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
  const { body: pckCrl } = await source.get(wanted.pckCrl);
  const { body: rootCrl } = await source.get(wanted.rootCrl);
  const info = signedStatement(tcb.body, "tcbInfo");
  const identity = signedStatement(qe.body, "enclaveIdentity");
  return {
    tcbInfo: info.text,
    tcbInfoSignature: info.signature,
    tcbInfoChain: decodeURIComponent(tcb.headers[TCB_CHAIN] ?? ""),
    qeIdentity: identity.text,
    qeIdentitySignature: identity.signature,
    qeIdentityChain: decodeURIComponent(qe.headers[QE_CHAIN] ?? ""),
    pckCrl,
    rootCrl,
  };
}
