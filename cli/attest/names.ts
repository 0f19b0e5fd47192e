// Names of files the commands write when none is given (wire.md §6).
import type { AttestInvocation } from "./invocation.ts";

/** File an invocation writes. */
export function outputOf(
  { kind, text, jwt }: AttestInvocation & { command: "attestation get" },
): string {
  if (kind === "azure-token") return jwt ? "azure_attest_token.jwt" : "azure_attest_result.json";
  return text && kind !== "tdx" ? "attestation.json" : "attestation.bin";
}
