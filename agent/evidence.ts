// AgentService's evidence calls on a machine without a TEE. The Go agent answers them with one fixed
// sample report, whatever the nonce; we refuse, because a report that is fresh for nobody teaches
// clients to accept what proves nothing (threats ).
import { CocosError } from "../base/mod.ts";
import type { AttestationRequest, AttestationTokenRequest } from "../proto/mod.ts";

/** Lengths of the nonces (wire.md §1.1). */
const TEE_NONCE_BYTES = 64;
const VTPM_NONCE_BYTES = 32;

/** Refuses an attestation: with the Go agent's texts for bad requests, else with the honest reason. */
export function attestationRefusal(request: AttestationRequest): CocosError {
  if (request.teeNonce.length > TEE_NONCE_BYTES) {
    return new CocosError(
      "invalid-argument",
      "malformed report data, expect less or equal to 64 bytes",
    );
  }
  if (request.vtpmNonce.length > VTPM_NONCE_BYTES) return longNonce();
  switch (request.type) {
    case 0:
    case 4:
      return new CocosError("not-supported", "failed to get raw quote : TEE device not found");
    case 1:
    case 2:
      return new CocosError("not-supported", "failed to get vTPM quote : TPM device not found");
    default:
      return new CocosError("invalid-argument", "invalid attestation type");
  }
}

/** Refuses a measurement list: there is no TPM to vouch for it. */
export function imaRefusal(): CocosError {
  return new CocosError(
    "not-supported",
    "error reading Linux IMA measurements file: open " +
      "/sys/kernel/security/integrity/ima/ascii_runtime_measurements: no such file or directory",
  );
}

/** Refuses an Azure token: this is no Azure machine. */
export function azureRefusal(request: AttestationTokenRequest): CocosError {
  if (request.tokenNonce.length > VTPM_NONCE_BYTES) return longNonce();
  return new CocosError(
    "not-supported",
    "attestation type does not exist or is not supported",
  );
}

function longNonce(): CocosError {
  return new CocosError(
    "invalid-argument",
    "malformed vTPM nonce, expect less or equal to 32 bytes",
  );
}
