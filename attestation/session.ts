// Values a person gives with a request, against a policy that might not look at them. They are always
// compared: a nonce that was given and ignored is the mistake an attacker waits for (threat A-1).
import { CocosError } from "../base/mod.ts";
import type { Policy } from "./policy/mod.ts";
import type { Session } from "./appraise.ts";
import { SESSION } from "./rules.ts";
import { ANY, toHex } from "./verdict.ts";

/** The values of a session that were given, not derived. */
export type GivenValues = Pick<Session, "reportData" | "hostData" | "nonce" | "userData">;

/**
 * A policy under which every given value counts: where it took any, it now takes the session's.
 *
 * @throws {CocosError} `invalid-argument` for a value that contradicts one the policy names itself.
 */
export function boundPolicy(policy: Policy, given: GivenValues): Policy {
  const { snp, tdx, simulated, tpm, azureToken } = policy;
  const reportData = <T extends { readonly reportData: string }>(section: T): T => ({
    ...section,
    reportData: word("report data", section.reportData, given.reportData),
  });
  const hostData = <T extends { readonly hostData: string }>(section: T): T => ({
    ...section,
    hostData: word("host data", section.hostData, given.hostData),
  });
  return {
    ...policy,
    ...(snp === undefined ? {} : { snp: reportData(hostData(snp)) }),
    ...(tdx === undefined ? {} : { tdx: reportData(tdx) }),
    ...(simulated === undefined ? {} : { simulated: reportData(hostData(simulated)) }),
    ...(tpm === undefined ? {} : {
      tpm: {
        ...tpm,
        ...(given.nonce === undefined ? {} : { nonce: SESSION }),
        ...(given.userData === undefined ? {} : { userData: SESSION }),
      },
    }),
    ...(azureToken === undefined
      ? {}
      : { azureToken: { ...azureToken, nonce: word("nonce", azureToken.nonce, given.nonce) } }),
  };
}

function word(name: string, fixed: string, bytes: Uint8Array | undefined): string {
  if (bytes === undefined || fixed === SESSION) return fixed;
  const given = toHex(bytes);
  if (fixed === ANY) return SESSION;
  if (fixed === given) return fixed;
  throw new CocosError(
    "invalid-argument",
    `Cannot judge by both: the ${name} given is ${given}, the policy demands ${fixed}`,
    { hint: "Leave it out, or let the policy say session." },
  );
}
