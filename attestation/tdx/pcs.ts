// Where Intel's provisioning certification service keeps what a quote needs (Intel PCS API v4), and how
// its answers become collateral. Addresses and texts only: fetching and caching lives elsewhere.
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import { attribute, crlAddress, Oid, only, parseCertificate, Tag } from "../x509/mod.ts";
import { splitSigned, type TdxCollateral } from "./collateral.ts";
import { INTEL_NAMES, pckExtensions } from "./pck.ts";
import { parseTdxQuote } from "./quote.ts";

/** Intel's own service. */
export const INTEL_PCS = "https://api.trustedservices.intel.com";

/** What must be asked for to verify a quote. */
export interface TdxNeeds {
  /** Lower-case hex. */
  readonly fmspc: string;
  readonly ca: "platform" | "processor";
  /** Answer with header {@linkcode PCS_HEADERS}.tcbInfo. */
  readonly tcbInfo: string;
  /** Answer with header {@linkcode PCS_HEADERS}.qeIdentity. */
  readonly qeIdentity: string;
  /** DER. */
  readonly pckCrl: string;
  /** DER; the address stands in the root certificate. */
  readonly rootCrl: string;
}

/** Headers with the URL-encoded PEM chain of the signer. */
export const PCS_HEADERS = {
  tcbInfo: "TCB-Info-Issuer-Chain",
  qeIdentity: "SGX-Enclave-Identity-Issuer-Chain",
} as const;

/** Where the root's list is when the root certificate does not say. */
export const INTEL_ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/**
 * What to ask for to verify this quote.
 *
 * @throws {CocosError} `invalid-argument` for a malformed quote.
 */
export function tdxNeeds(quote: Uint8Array, base = INTEL_PCS): TdxNeeds {
  const [pck, ca, root] = parseTdxQuote(quote).certificates.map((der) => parseCertificate(der));
  if (pck === undefined || ca === undefined || root === undefined) {
    throw new CocosError("invalid-argument", "Cannot say what a quote needs: no certificates");
  }
  const fmspc = toHex(pckExtensions(pck).fmspc);
  const name = attribute(ca.subject, Oid.COMMON_NAME);
  const kind = name === INTEL_NAMES.processor ? "processor" : "platform";
  const v4 = `${base}/tdx/certification/v4`;
  return Object.freeze({
    fmspc,
    ca: kind,
    tcbInfo: `${v4}/tcb?fmspc=${fmspc}`,
    qeIdentity: `${v4}/qe/identity`,
    pckCrl: `${base}/sgx/certification/v4/pckcrl?ca=${kind}&encoding=der`,
    rootCrl: crlAddress(root) ?? INTEL_ROOT_CRL,
  });
}

/** One answer of the service: its text, and the value of its chain header. */
export interface PcsAnswer {
  readonly body: string;
  readonly chain: string;
}

/**
 * Collateral of the service's answers; nothing of it is verified here.
 *
 * @throws {CocosError} `invalid-argument` for answers that have not the form.
 */
export function collateralOf(answers: {
  readonly tcbInfo: PcsAnswer;
  readonly qeIdentity: PcsAnswer;
  readonly rootCrl: Uint8Array;
  readonly pckCrl: Uint8Array;
}): TdxCollateral {
  const tcbInfo = splitSigned(answers.tcbInfo.body, "tcbInfo");
  const qeIdentity = splitSigned(answers.qeIdentity.body, "enclaveIdentity");
  only(answers.rootCrl, Tag.SEQUENCE, "the root's revocation list");
  only(answers.pckCrl, Tag.SEQUENCE, "the PCK revocation list");
  return Object.freeze({
    tcbInfo: tcbInfo.json,
    tcbInfoSignature: tcbInfo.signature,
    tcbInfoChain: chainText(answers.tcbInfo.chain),
    qeIdentity: qeIdentity.json,
    qeIdentitySignature: qeIdentity.signature,
    qeIdentityChain: chainText(answers.qeIdentity.chain),
    rootCrl: answers.rootCrl,
    pckCrl: answers.pckCrl,
  });
}

function chainText(header: string): string {
  try {
    return decodeURIComponent(header);
  } catch (cause) {
    throw new CocosError("invalid-argument", "Cannot read a chain header: it is not URL-encoded", {
      cause,
    });
  }
}
