// From a pinned root to the key that signs reports: which certificates are used, their form, their
// signatures, their time and their revocation. All certificates come from untrusted places.
import { CocosError } from "../../base/mod.ts";
import { ANY, type Appraisal, equalBytes, NOT_SET, toHex } from "../verdict.ts";
import {
  attribute,
  type Certificate,
  isIssuedBy,
  Oid,
  parseCertificate,
  parseCrl,
  type RevocationList,
  sha,
  verifySignature,
} from "../x509/mod.ts";
import {
  checkAuthority,
  checkLeaf,
  intermediateName,
  type LeafExtensions,
} from "./certificates.ts";
import type { SnpPolicy } from "./policy.ts";
import type { SnpReport } from "./report.ts";
import { builtInIntermediate, builtInRoot } from "./roots.ts";
import type { CertificateTable } from "./table.ts";
import type { ProductLine } from "./tcb.ts";
import { lineOfCpu } from "./tcb.ts";

/** What a verifier has besides the evidence, all DER, none of it trusted. */
export interface SnpCollateral {
  /** VCEK or VLEK, when the evidence carries none. */
  readonly leaf?: Uint8Array | undefined;
  /** ASK or ASVK; the built-in one when absent. */
  readonly intermediate?: Uint8Array | undefined;
  /** ARK; the built-in one when absent. Its key must be pinned by the policy. */
  readonly root?: Uint8Array | undefined;
  /** Revocation lists: the root's, and the intermediate's where there is one. */
  readonly crls?: readonly Uint8Array[] | undefined;
}

/** Ids decided here. */
export const CHAIN_CHECKS = [
  "snp.signer",
  "snp.leaf",
  "snp.product",
  "snp.intermediate",
  "snp.root",
  "snp.chain",
  "snp.validity",
  "snp.revocation",
] as const;

/** A leaf of the right form; trusted only when the checks hold. */
export interface Leaf {
  readonly certificate: Certificate;
  readonly extensions: LeafExtensions;
  readonly line: ProductLine;
}

/** Decides the chain checks; without a usable leaf there is no result. */
export async function appraiseChain(
  appraisal: Appraisal<(typeof CHAIN_CHECKS)[number]>,
  report: SnpReport,
  table: CertificateTable | undefined,
  policy: SnpPolicy,
  now: number,
  collateral: SnpCollateral,
): Promise<Leaf | undefined> {
  const kind = report.signingKey;
  appraisal.oneOf("snp.signer", policy.signers, kind, {
    remedy: "Name vlek in the policy's signers only if you trust the cloud provider's key as well.",
  });
  const found = await appraisal.attempt(
    "snp.leaf",
    `a ${kind.toUpperCase()} certificate of AMD's form`,
    () => {
      if (kind === "none") throw refuse("the report says it is not signed");
      const der = collateral.leaf ?? table?.[kind];
      if (der === undefined || der.length === 0) {
        throw refuse(
          `no ${kind.toUpperCase()} certificate at hand`,
          "Give it as collateral: fetch it for this chip and TCB, or take it from the host.",
        );
      }
      const certificate = parseCertificate(der, `the ${kind.toUpperCase()}`);
      return { certificate, extensions: checkLeaf(certificate, kind) };
    },
    { remedy: "Fetch the certificate of this chip and TCB from AMD, or the VLEK from the host." },
  );
  if (found === undefined) return undefined;
  const { certificate, extensions } = found;
  const line = checkProduct(appraisal, report, extensions, policy);

  const intermediate = await appraisal.attempt(
    "snp.intermediate",
    `a certificate of ${intermediateName(line, kind)}`,
    () => {
      const der = collateral.intermediate ?? table?.ask;
      const parsed = der === undefined
        ? builtInIntermediate(line, kind)
        : parseCertificate(der, "the ASK");
      checkAuthority(parsed, intermediateName(line, kind), line);
      return parsed;
    },
    { remedy: "Leave the intermediate out: AMD's own is built in." },
  );
  const root = await appraisal.attempt(
    "snp.root",
    policy.roots === undefined || policy.roots.length === 0
      ? NOT_SET
      : `a root whose key has one of the SHA-384 digests ${policy.roots.join(", ")}`,
    async () => {
      const der = collateral.root ?? table?.ark;
      const parsed = der === undefined ? builtInRoot(line) : parseCertificate(der, "the ARK");
      checkAuthority(parsed, `ARK-${line}`, line);
      const digest = toHex(await sha(384, parsed.key.spki));
      if (!(policy.roots ?? []).includes(digest)) throw refuse(`its key has digest ${digest}`);
      return parsed;
    },
    { remedy: "Only the vendor's own root is pinned by default: the certificates are not AMD's." },
  );
  if (intermediate === undefined || root === undefined) return { certificate, extensions, line };
  const chain = [root, intermediate, certificate] as const;
  await appraisal.attempt("snp.chain", "each certificate signed by the one above it", async () => {
    for (
      const [subject, issuer, name] of [
        [root, root, "the ARK is not signed by itself"],
        [intermediate, root, "the ARK did not sign the intermediate"],
        [certificate, intermediate, "the intermediate did not sign the leaf"],
      ] as const
    ) {
      if (!await isIssuedBy(subject, issuer)) throw refuse(name);
    }
  }, { remedy: "These certificates do not belong together: fetch the chain anew." });
  checkValidity(appraisal, chain, now);
  await checkRevocation(appraisal, chain, policy, now, collateral.crls ?? []);
  return { certificate, extensions, line };
}

/** The CPU a report names, the leaf's product and the policy must agree. */
function checkProduct(
  appraisal: Appraisal<(typeof CHAIN_CHECKS)[number]>,
  report: SnpReport,
  leaf: LeafExtensions,
  policy: SnpPolicy,
): ProductLine {
  const { cpuid } = report;
  const named = cpuid === undefined ? leaf.line : lineOfCpu(cpuid);
  const hex = (value: number) => value.toString(16);
  const stepping = policy.steppings === ANY ||
    (cpuid !== undefined && (policy.steppings?.includes(cpuid.stepping) ?? false));
  const steppings = policy.steppings === ANY ? "" : `, stepping ${policy.steppings?.join(" or ")}`;
  appraisal.check(
    "snp.product",
    named === leaf.line && (policy.products ?? []).includes(leaf.line) && stepping,
    (policy.products ?? []).length === 0 ? NOT_SET : policy.products.join(" or ") + steppings,
    `certificate ${leaf.productName}, report ` +
      (cpuid === undefined
        ? "without CPU"
        : `family ${hex(cpuid.family)}h model ${hex(cpuid.model)}h stepping ${
          hex(cpuid.stepping)
        }h (${named ?? "unknown"})`),
    { remedy: "Name the product line you mean in the policy." },
  );
  return leaf.line;
}

function checkValidity(
  appraisal: Appraisal<(typeof CHAIN_CHECKS)[number]>,
  chain: readonly Certificate[],
  now: number,
): void {
  const outside = chain.find((each) => !(each.notBefore <= now && now <= each.notAfter));
  const iso = (ms: number) => new Date(ms).toISOString();
  const text = (each: Certificate) =>
    `${attribute(each.subject, Oid.COMMON_NAME)} from ${iso(each.notBefore)} to ${
      iso(each.notAfter)
    }`;
  appraisal.check(
    "snp.validity",
    outside === undefined,
    `all certificates valid at ${Number.isFinite(now) ? iso(now) : now}`,
    outside === undefined ? "valid" : text(outside),
    { remedy: "Check the clock; fetch the leaf certificate anew." },
  );
}

async function checkRevocation(
  appraisal: Appraisal<(typeof CHAIN_CHECKS)[number]>,
  [root, intermediate, leaf]: readonly [Certificate, Certificate, Certificate],
  policy: SnpPolicy,
  now: number,
  crls: readonly Uint8Array[],
): Promise<void> {
  const expected = policy.revocation === ANY
    ? "not on a list, where there is one"
    : policy.revocation === "required"
    ? "a current list of the root, without this chain's certificates"
    : NOT_SET;
  await appraisal.attempt("snp.revocation", expected, async () => {
    if (policy.revocation === undefined) throw refuse("the policy does not say");
    let ofRoot = false;
    let problem: string | undefined;
    for (const der of crls) {
      const list = parseCrl(der);
      for (const [issuer, subject] of [[root, intermediate], [intermediate, leaf]] as const) {
        if (!equalBytes(list.issuer.raw, issuer.subject.raw)) continue;
        const fault = await crlFault(list, issuer, now);
        if (fault !== undefined) {
          problem = fault;
          continue;
        }
        if (list.revoked.has(subject.serial)) {
          throw refuse(
            `certificate ${
              attribute(subject.subject, Oid.COMMON_NAME)
            }, serial ${subject.serial}, is revoked`,
          );
        }
        if (issuer === root) ofRoot = true;
      }
    }
    if (policy.revocation === ANY) return;
    if (problem !== undefined) throw refuse(problem);
    if (!ofRoot) throw refuse("no revocation list of the root at hand");
  }, { remedy: "Give the current list as collateral; the root certificate names its address." });
}

async function crlFault(
  list: RevocationList,
  issuer: Certificate,
  now: number,
): Promise<string | undefined> {
  if (list.algorithm !== "rsa-pss-sha384") return `the list is signed with ${list.algorithm}`;
  if (!(list.thisUpdate <= now && now <= list.nextUpdate)) {
    return `the list holds from ${new Date(list.thisUpdate).toISOString()} to ${
      new Date(list.nextUpdate).toISOString()
    }`;
  }
  const good = await verifySignature(issuer.key, list.algorithm, list.signature, list.tbs);
  return good ? undefined : "the list is not signed by its issuer";
}

function refuse(reason: string, hint?: string): CocosError {
  return new CocosError("untrusted", reason, hint === undefined ? {} : { hint });
}
