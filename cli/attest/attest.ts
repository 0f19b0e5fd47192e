// Runs one command about evidence. Each loads its own code, so that the others start quickly.
import type { Exit } from "../../base/mod.ts";
import type { Context } from "../context.ts";
import type { AttestInvocation } from "./invocation.ts";

/** Runs it; without a result all went well. */
export async function attest(
  invocation: AttestInvocation,
  context: Context,
  compat: boolean,
): Promise<Exit | void> {
  switch (invocation.command) {
    case "attestation get":
      return await (await import("./get.ts")).get(invocation, context);
    case "attestation validate":
      return await (await import("./validate.ts")).validate(invocation, context);
    case "verify":
      return await (await import("./validate.ts")).verify(invocation, context);
    case "policy measurement":
    case "policy hostdata":
      return await (await import("./policy_edit.ts")).setValue(invocation, context);
    case "policy extend":
      return await (await import("./policy_edit.ts")).extend(invocation, context, compat);
    case "policy lint":
      return await (await import("./policies.ts")).lint(invocation, context);
    case "policy explain":
      return await (await import("./policies.ts")).explain(invocation, context);
    case "policy diff":
      return await (await import("./policies.ts")).diff(invocation, context);
    case "policy import":
      return await (await import("./policies.ts")).importPolicy(invocation, context);
    case "policy generate":
      return await (await import("./policies.ts")).generate(invocation, context);
    case "policy gcp":
      return await (await import("./clouds.ts")).gcp(invocation, context);
    case "policy download":
      return await (await import("./clouds.ts")).firmware(invocation, context);
    case "policy azure":
      return await (await import("./clouds.ts")).azure(invocation, context);
    case "igvmmeasure":
      return await (await import("./measure.ts")).igvm(invocation, context);
    case "sevsnpmeasure":
      return await (await import("./measure.ts")).sevSnp(invocation, context);
    case "ca-bundle":
      return await (await import("./ca_bundle.ts")).caBundle(invocation, context);
    case "ima-measurements":
      return await (await import("./ima_measurements.ts")).imaMeasurements(invocation, context);
  }
}

/** Commands that talk to the agent. */
export function talksToAgent(invocation: AttestInvocation): boolean {
  return invocation.command === "attestation get" ||
    invocation.command === "ima-measurements" && invocation.pcr10 === undefined;
}

/** What an error line of each command begins with. */
export const ATTEST_PREFIX: Partial<Record<AttestInvocation["command"], string>> = {
  "attestation get": "Failed to get attestation due to error: ",
  "attestation validate": "attestation validation and verification failed with error: ",
  "policy measurement": "Error could not change measurement data: ",
  "policy hostdata": "Error could not change host data: ",
  "policy extend": "Error could not extend PCR16: ",
  "ca-bundle": "Error fetching certificates: ",
  "igvmmeasure": "Error measuring: ",
  "sevsnpmeasure": "Error measuring: ",
  "ima-measurements": "Error retrieving Linux IMA measurements file: ",
};
