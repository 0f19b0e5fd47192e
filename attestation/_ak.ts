// Puts together what the policy's way of binding a TPM's attestation key needs. Hardware values come
// only from a report whose verdict was good; without one there is no binding, and the check fails.
import type { Collateral, Evidence, Session, VerifiedHardware } from "./appraise.ts";
import type { TpmSection } from "./policy/mod.ts";
import type { AkBinding } from "./tpm/mod.ts";
import { toHex } from "./verdict.ts";
import { parseCertificate, sha } from "./x509/mod.ts";

/** The binding the policy names, or `undefined` when something it needs is missing. */
export async function akBinding(
  policy: TpmSection,
  evidence: Evidence,
  session: Session,
  collateral: Collateral,
  hardware: VerifiedHardware | undefined,
): Promise<AkBinding | undefined> {
  const { teeNonce, credential } = session;
  switch (policy.binding) {
    case "report-data":
      if (hardware === undefined || teeNonce === undefined) return undefined;
      return { kind: "report-data", reportData: hardware.reportData, teeNonce };
    case "svsm":
      if (
        hardware === undefined || teeNonce === undefined || credential === undefined ||
        evidence.svsmManifest === undefined
      ) return undefined;
      return {
        kind: "svsm",
        reportData: hardware.reportData,
        vmpl: hardware.vmpl,
        nonce: teeNonce,
        manifest: evidence.svsmManifest,
        single: evidence.svsmSingle ?? false,
        ...credential,
      };
    case "hcl":
      if (hardware === undefined || evidence.hclReport === undefined) return undefined;
      if (policy.userData !== "any" && session.userData === undefined) return undefined;
      return {
        kind: "hcl",
        hclReport: evidence.hclReport,
        reportData: hardware.reportData,
        vmpl: hardware.vmpl,
        userData: policy.userData === "any" || session.userData === undefined
          ? "any"
          : session.userData,
      };
    case "certificate": {
      if (evidence.akCertificate === undefined) return undefined;
      const { trusted, others } = await sortByRoot(
        collateral.akCertificates ?? [],
        policy.roots ?? [],
      );
      return {
        kind: "certificate",
        certificate: evidence.akCertificate,
        intermediates: others,
        roots: trusted,
        now: session.now,
        crls: policy.revocation === "any" ? "any" : collateral.akCrls ?? [],
      };
    }
    case "pinned":
      return { kind: "pinned", keys: policy.keys ?? [] };
    default:
      return undefined;
  }
}

/** Certificates whose key the policy pins, and the rest; what can't be read is left out. */
async function sortByRoot(
  certificates: readonly Uint8Array[],
  pinned: readonly string[],
): Promise<{ trusted: Uint8Array[]; others: Uint8Array[] }> {
  const trusted: Uint8Array[] = [];
  const others: Uint8Array[] = [];
  for (const der of certificates.slice(0, 16)) {
    try {
      const { key } = parseCertificate(der);
      (pinned.includes(toHex(await sha(384, key.spki))) ? trusted : others).push(der);
    } catch {
      continue; // no certificate: it can't be part of a chain
    }
  }
  return { trusted, others };
}
