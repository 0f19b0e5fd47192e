// What makes an attestation key trustworthy. A key that comes inside the evidence proves nothing; it
// must be named by a verified TEE report, by a certificate, or by the policy (threat A-8).
import { CocosError } from "../../base/mod.ts";
import { ANY, equalBytes, toHex } from "../verdict.ts";
import type { SubjectKey } from "../x509/mod.ts";
import { sha256 } from "@noble/hashes/sha2.js";
import { type AkCertificateInput, checkAkCertificate, type GceInstance } from "./certificate.ts";
import { type CredentialChallenge, isActivated } from "./credential.ts";
import { type HclReport, parseHclReport } from "./hcl.ts";
import type { TpmPublic } from "./public.ts";
import { akReportData, svsmEndorsementKey, svsmReportData } from "./svsm.ts";

/** Ways a policy may name. `any` trusts the key inside the evidence: only for looking at quotes. */
export const AK_BINDINGS = ["report-data", "svsm", "hcl", "certificate", "pinned", ANY] as const;

/** One way. */
export type AkBindingKind = (typeof AK_BINDINGS)[number];

/**
 * What a session knows about the key. Every `reportData` must come from a hardware report whose own
 * verdict was good.
 */
export type AkBinding =
  | {
    /** The seed's way: REPORT_DATA = SHA3-512(teeNonce ‖ TPMT_PUBLIC), by the guest OS. */
    readonly kind: "report-data";
    readonly reportData: Uint8Array;
    /** The 64 bytes the verifier asked with. */
    readonly teeNonce: Uint8Array;
  }
  | {
    /** The SVSM names its endorsement key at VMPL 0, and the TPM opened a credential for the AK. */
    readonly kind: "svsm";
    readonly reportData: Uint8Array;
    readonly vmpl: number;
    /** The 64 bytes the verifier asked with. */
    readonly nonce: Uint8Array;
    readonly manifest: Uint8Array;
    /** Whether `manifest` is of the vTPM service alone. */
    readonly single: boolean;
    readonly challenge: CredentialChallenge;
    /** What TPM2_ActivateCredential gave. */
    readonly answer: Uint8Array;
  }
  | {
    /** Azure's paravisor. */
    readonly kind: "hcl";
    readonly hclReport: Uint8Array;
    readonly reportData: Uint8Array;
    /** Where the report was asked for: the paravisor is at VMPL 0, its guest below (0 for TDX). */
    readonly vmpl: number;
    /** Expected `user-data`, 64 bytes; `any` accepts every value. */
    readonly userData: Uint8Array | typeof ANY;
  }
  | ({ /** A certificate for the key. */ readonly kind: "certificate" } & AkCertificateInput)
  | {
    /** The policy knows the key. */
    readonly kind: "pinned";
    /** SHA-256 of SubjectPublicKeyInfo, lower-case hex. */
    readonly keys: readonly string[];
  };

/** The key as the evidence gives it: its public area, or only the key. */
export interface AkGiven {
  readonly key: SubjectKey;
  /** Absent when only a key is known (Azure): then the attributes must be vouched for. */
  readonly area: TpmPublic | undefined;
}

/** What a binding that holds adds. */
export interface AkBound {
  /** Whether whoever vouches for the key also says that it only signs what the TPM made. */
  readonly attributesVouched: boolean;
  readonly hcl?: HclReport;
  readonly instance?: GceInstance;
}

/** SHA-256 of the key's SubjectPublicKeyInfo, the form in which keys are pinned. */
export function keyFingerprint(key: SubjectKey): string {
  return toHex(sha256(key.spki));
}

/** The key an HCL report names; evidence of Azure has no public area of its own. */
export function hclKey(hclReport: Uint8Array): SubjectKey {
  return parseHclReport(hclReport).ak;
}

/**
 * Checks that `ak` is the key the binding names.
 *
 * @throws {CocosError} `untrusted` with the step that does not hold; `invalid-argument` for bytes
 * that can't be read.
 */
export async function checkBinding(binding: AkBinding, ak: AkGiven): Promise<AkBound> {
  switch (binding.kind) {
    case "report-data": {
      const expected = akReportData(binding.teeNonce, area(ak).raw);
      if (!equalBytes(expected, binding.reportData)) {
        throw untrusted("REPORT_DATA is not the digest of the TEE nonce and this key");
      }
      return { attributesVouched: false };
    }
    case "svsm":
      checkSvsm(binding, area(ak));
      return { attributesVouched: false };
    case "hcl": {
      const hcl = parseHclReport(binding.hclReport);
      if (binding.vmpl !== 0) {
        throw untrusted(`the report is of VMPL ${binding.vmpl}, a paravisor is at 0`);
      }
      if (!equalBytes(hcl.reportData, binding.reportData)) {
        throw untrusted("REPORT_DATA is not the digest of the HCL runtime data");
      }
      if (!equalBytes(hcl.ak.spki, ak.key.spki)) throw untrusted("HCLAkPub is another key");
      if (binding.userData !== ANY && !equalBytes(hcl.userData, binding.userData)) {
        throw untrusted(`user-data is ${toHex(hcl.userData)}`);
      }
      return { attributesVouched: true, hcl };
    }
    case "certificate": {
      const instance = await checkAkCertificate(binding, ak.key);
      return { attributesVouched: false, ...(instance === undefined ? {} : { instance }) };
    }
    case "pinned":
      if (!binding.keys.includes(keyFingerprint(ak.key))) {
        throw untrusted(`${keyFingerprint(ak.key)} is not a pinned key`);
      }
      return { attributesVouched: true };
  }
}

function checkSvsm(binding: Extract<AkBinding, { kind: "svsm" }>, ak: TpmPublic): void {
  if (binding.vmpl !== 0) throw untrusted(`the report is of VMPL ${binding.vmpl}, an SVSM is at 0`);
  if (!equalBytes(svsmReportData(binding.nonce, binding.manifest), binding.reportData)) {
    throw untrusted("REPORT_DATA is not the digest of the nonce and the SVSM's manifest");
  }
  const { name } = svsmEndorsementKey(binding.manifest, binding.single);
  if (!equalBytes(binding.challenge.endorsementKey, name)) {
    throw untrusted("the credential was made for another endorsement key");
  }
  if (!equalBytes(binding.challenge.attestationKey, ak.name)) {
    throw untrusted("the credential was made for another attestation key");
  }
  if (!isActivated(binding.challenge, binding.answer)) {
    throw untrusted("the TPM did not open the credential");
  }
}

function area(ak: AkGiven): TpmPublic {
  if (ak.area !== undefined) return ak.area;
  throw untrusted("the evidence has no public area of the key");
}

function untrusted(why: string): CocosError {
  return new CocosError("untrusted", `Cannot trust the attestation key: ${why}`);
}
