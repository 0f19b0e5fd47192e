// What a policy will do, before there is evidence: every check by name with its expectation, and the
// difference of two policies value by value. Pure reading; nothing here decides trust.
import { explainEventLog } from "../eventlog/mod.ts";
import { explainIma } from "../ima/mod.ts";
import type { Explained } from "../rules.ts";
import { explainSimulated } from "../simulated/mod.ts";
import { explainSnp } from "../snp/mod.ts";
import { explainTdx } from "../tdx/mod.ts";
import { explainAzureToken, explainGcpEndorsement } from "../token/mod.ts";
import { explainTpm } from "../tpm/mod.ts";
import { ANY } from "../verdict.ts";
import { type Policy, policyJson } from "./document.ts";

/** Every check that will run under a policy, in order. */
export function explainPolicy(policy: Policy): Explained[] {
  return [
    {
      id: "evidence.kinds",
      expected: "evidence for each section of the policy, and for nothing else",
    },
    ...(policy.snp === undefined ? [] : explainSnp(policy.snp)),
    ...(policy.tdx === undefined ? [] : explainTdx(policy.tdx)),
    ...(policy.tpm === undefined ? [] : explainTpm(policy.tpm)),
    ...(policy.eventLog === undefined ? [] : explainEventLog(policy.eventLog)),
    ...(policy.ima === undefined ? [] : explainIma(policy.ima)),
    ...(policy.azureToken === undefined ? [] : explainAzureToken(policy.azureToken)),
    ...(policy.gcpEndorsement === undefined ? [] : explainGcpEndorsement(policy.gcpEndorsement)),
    ...(policy.simulated === undefined ? [] : explainSimulated(policy.simulated)),
  ];
}

/** One line per check, for people. */
export function explainText(policy: Policy): string {
  const lines = explainPolicy(policy).map(({ id, expected }) => `${id}: ${expected}`);
  return `${lines.join("\n")}\n`;
}

/** One value that differs between two policies. */
export interface Difference {
  /** Dotted path, such as `snp.tcb.reported.snp`. */
  readonly path: string;
  /** JSON text; absent when the value is not there. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  /** Whether the second policy no longer looks at this value, or begins to. */
  readonly direction: "looser" | "stricter" | "other";
}

/** Values that differ, in the order of the first policy, then those only the second has. */
export function diffPolicies(before: Policy, after: Policy): Difference[] {
  const left = flatten(policyJson(before));
  const right = flatten(policyJson(after));
  const paths = [...new Set([...left.keys(), ...right.keys()])];
  return paths.flatMap((path): Difference[] => {
    const [from, to] = [left.get(path), right.get(path)];
    if (from === to) return [];
    return [{ path, before: from, after: to, direction: direction(from, to) }];
  });
}

function direction(from: string | undefined, to: string | undefined): Difference["direction"] {
  const any = JSON.stringify(ANY);
  if (to === any) return "looser";
  if (from === any) return "stricter";
  return "other";
}

/** Leaves of a plain value by path; lists are leaves. */
export function flatten(
  value: unknown,
  path = "",
  found = new Map<string, string>(),
): Map<string, string> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const [name, each] of Object.entries(value)) {
      flatten(each, path === "" ? name : `${path}.${name}`, found);
    }
  } else found.set(path, JSON.stringify(value));
  return found;
}
