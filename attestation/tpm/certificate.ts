// The certificate of an attestation key (Google's shielded VMs, vendors' TPMs): its chain to a root
// the policy pins, and what it says about the instance. Certificates come from the peer.
import { CocosError } from "../../base/mod.ts";
import {
  type Certificate,
  Der,
  integerOf,
  isIssuedBy,
  Oid,
  only,
  parseCertificate,
  parseCrl,
  type SubjectKey,
  Tag,
  textOf,
  verifySignature,
} from "../x509/mod.ts";
import { equalBytes } from "../verdict.ts";

/** A chain is leaf, one or two intermediates, root. */
const MAX_INTERMEDIATES = 4;

/** Extension with the instance's identity in Google's AK and EK certificates. */
const GCE_INSTANCE = "1.3.6.1.4.1.11129.2.1.21";

/** Extensions a critical flag is understood for. */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  Oid.BASIC_CONSTRAINTS,
  Oid.KEY_USAGE,
  "2.5.29.17", // subjectAltName: names the TPM's maker and model
  "2.5.29.37", // extKeyUsage
]);

const KEY_CERT_SIGN = 0x04;
const CRL_SIGN = 0x02;
const DIGITAL_SIGNATURE = 0x80;

/** Everything a chain is judged by; bytes are DER. */
export interface AkCertificateInput {
  readonly certificate: Uint8Array;
  readonly intermediates: readonly Uint8Array[];
  /** Trusted roots: a root counts when it is one of these, byte for byte. */
  readonly roots: readonly Uint8Array[];
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Revocation lists, one for each issuer; `any` says that revocation is not looked at. */
  readonly crls: readonly Uint8Array[] | "any";
}

/** What the certificate says about a Google instance. */
export interface GceInstance {
  readonly zone: string;
  readonly projectNumber: bigint;
  readonly projectId: string;
  readonly instanceId: bigint;
  readonly instanceName: string;
}

/**
 * Checks that `input.certificate` is for `key` and chains to a pinned root at `input.now`.
 *
 * @returns What the certificate says about a Google instance, if it does.
 * @throws {CocosError} `untrusted` with the link that does not hold; `invalid-argument` for bytes
 * that are no certificate.
 */
export async function checkAkCertificate(
  input: AkCertificateInput,
  key: SubjectKey,
): Promise<GceInstance | undefined> {
  if (input.intermediates.length > MAX_INTERMEDIATES) throw untrusted("the chain is too long");
  const leaf = parseCertificate(input.certificate, "an AK certificate");
  if (!equalBytes(leaf.key.spki, key.spki)) throw untrusted("it is for another key");
  if (leaf.ca) throw untrusted("it is a CA's certificate");
  if (leaf.keyUsage !== undefined && !(leaf.keyUsage & DIGITAL_SIGNATURE)) {
    throw untrusted("its key must not sign");
  }
  const roots = input.roots.map((der) => parseCertificate(der, "a root of AK certificates"));
  const middle = input.intermediates.map((der) => parseCertificate(der, "an AK intermediate"));
  let subject = leaf;
  checkOne(subject, input.now, false);
  for (let below = 0; below <= MAX_INTERMEDIATES; below++) {
    const root = await issuerOf(subject, roots);
    const issuer = root ?? await issuerOf(subject, middle);
    if (issuer === undefined) throw untrusted("no given certificate issued a link of the chain");
    checkOne(issuer, input.now, true);
    if (issuer.pathLength !== undefined && issuer.pathLength < below) {
      throw untrusted("the chain is longer than an issuer allows");
    }
    if (input.crls !== "any") await checkRevocation(subject, issuer, input.crls, input.now);
    if (root !== undefined) return readInstance(leaf);
    subject = issuer;
  }
  throw untrusted("the chain does not end in a pinned root");
}

async function issuerOf(
  subject: Certificate,
  candidates: readonly Certificate[],
): Promise<Certificate | undefined> {
  for (const each of candidates) if (each.ca && await isIssuedBy(subject, each)) return each;
  return undefined;
}

function checkOne(certificate: Certificate, now: number, issuer: boolean): void {
  if (certificate.version !== 3) throw untrusted("a certificate is not of version 3");
  if (now < certificate.notBefore || now > certificate.notAfter) {
    throw untrusted("a certificate is expired or not yet valid");
  }
  for (const [oid, { critical }] of certificate.extensions) {
    if (critical && !UNDERSTOOD.has(oid)) throw untrusted(`critical extension ${oid} is not known`);
  }
  if (issuer && !((certificate.keyUsage ?? 0) & KEY_CERT_SIGN)) {
    throw untrusted("an issuer's key must not sign certificates");
  }
}

async function checkRevocation(
  subject: Certificate,
  issuer: Certificate,
  crls: readonly Uint8Array[],
  now: number,
): Promise<void> {
  for (const der of crls) {
    const crl = parseCrl(der);
    if (!equalBytes(crl.issuer.raw, issuer.subject.raw)) continue;
    if (!await verifySignature(issuer.key, crl.algorithm, crl.signature, crl.tbs)) continue;
    if (!((issuer.keyUsage ?? 0) & CRL_SIGN)) continue;
    if (now < crl.thisUpdate || now > crl.nextUpdate) continue;
    if (crl.revoked.has(subject.serial)) throw untrusted("a certificate is revoked");
    return;
  }
  throw untrusted("there is no valid revocation list of an issuer");
}

/** Google's extension: SEQUENCE of zone, project number, project id, instance id, instance name, more. */
function readInstance(leaf: Certificate): GceInstance | undefined {
  const extension = leaf.extensions.get(GCE_INSTANCE);
  if (extension === undefined) return undefined;
  const what = "the instance of an AK certificate";
  const der = new Der(only(extension.value, Tag.SEQUENCE, what).content, what);
  const text = () => textOf(der.next(Tag.UTF8_STRING), what);
  const number = () => integerOf(der.next(Tag.INTEGER), what);
  const zone = text();
  const projectNumber = number();
  const projectId = text();
  const instanceId = number();
  return Object.freeze({ zone, projectNumber, projectId, instanceId, instanceName: text() });
}

function untrusted(why: string): CocosError {
  return new CocosError("untrusted", `Cannot trust the AK certificate: ${why}`);
}
