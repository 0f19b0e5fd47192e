// Names every hole of a policy: what it does not look at, and what that lets an attacker do. A finding
// is not an error; the person who wrote the policy may mean it.
import { INSECURE_SIMULATED_ROOT } from "../simulated/mod.ts";
import { ARK_KEYS, type SnpPolicy, TCB_PARTS, TCB_ZERO, tcbText } from "../snp/mod.ts";
import { INTEL_ROOT_KEY, type TdxPolicy } from "../tdx/mod.ts";
import { ANY } from "../verdict.ts";
import { type Policy, policyJson } from "./document.ts";
import { flatten } from "./explain.ts";

/**
 * How bad: a `hole` lets somebody else's machine or code pass; a `weakness` lets an old or unusual
 * state pass; a `note` is a value nobody looks at.
 */
export type Weight = "hole" | "weakness" | "note";

/** One finding. */
export interface Finding {
  readonly weight: Weight;
  /** Dotted path of the value. */
  readonly path: string;
  readonly message: string;
}

/** What `any` means where it stands; a path that is not here gives a note. */
const ANY_MEANS: Readonly<Record<string, readonly [Weight, string]>> = {
  "snp.measurement": ["hole", "any code may run in the guest"],
  "snp.reportData": ["hole", "old evidence, or that of another machine, can be replayed"],
  "snp.hostData": ["weakness", "launch does not say which computation it is for"],
  "snp.reportIdMa": ["weakness", "a migration agent may move the guest"],
  "snp.vmpl": ["weakness", "any privilege level inside the guest may ask for evidence"],
  "snp.revocation": ["weakness", "a revoked intermediate key goes unnoticed"],
  "snp.guest.debug": ["hole", "the host may read the guest's memory"],
  "snp.guest.migration": ["hole", "a migration agent may read the guest's memory"],
  "snp.firmware.provisional": ["weakness", "the host can roll its firmware back"],
  "snp.platform.aliasCheck": ["weakness", "memory may be aliased (BadRAM)"],
  "snp.platform.unknown": ["weakness", "the platform may have features nobody judged"],
  "tdx.mrTd": ["hole", "any code may run in the TD"],
  "tdx.rtmr0": ["weakness", "firmware configuration is not looked at"],
  "tdx.rtmr1": ["hole", "any kernel may run in the TD"],
  "tdx.rtmr2": ["hole", "any initial file system and command line may be used"],
  "tdx.rtmr3": ["weakness", "what the system measured at run time is not looked at"],
  "tdx.reportData": ["hole", "old evidence, or that of another machine, can be replayed"],
  "tdx.debug": ["hole", "the host may read the TD's memory"],
  "tdx.qeVendor": ["weakness", "quotes of any vendor's enclave pass"],
  "tdx.mrSignerSeam": [
    "weakness",
    "a TDX module not signed by Intel passes where there is no collateral",
  ],
  "tdx.mrServiceTd": ["weakness", "a service TD may be bound to the TD"],
  "tdx.tcb.collateral": [
    "hole",
    "evidence passes without any word on the platform's age or revocation",
  ],
  "tdx.tcb.advisories": ["weakness", "open advisories are not looked at"],
  "tpm.binding": ["hole", "the key inside the evidence is trusted: anybody can make it"],
  "tpm.nonce": ["hole", "old quotes can be replayed"],
  "tpm.pcrs": ["hole", "any system may have booted"],
  "tpm.revocation": ["weakness", "a revoked certificate of an attestation key goes unnoticed"],
  "eventLog.secureBoot": [
    "note",
    "unsigned boot loaders pass where their measurement is not named",
  ],
  "ima.allowed": ["hole", "any file may be executed"],
  "ima.algorithms": ["weakness", "files may be named by weak digests"],
  "ima.bootAggregate": ["weakness", "the list need not be of the boot that was quoted"],
  "azureToken.keys": ["weakness", "every key the issuer publishes is trusted, also a stolen one"],
  "azureToken.nonce": ["hole", "old tokens can be replayed"],
  "azureToken.measurement": ["hole", "any code may run in the guest"],
  "azureToken.debug": ["hole", "the host may read the guest's memory"],
  "azureToken.audience": ["weakness", "tokens made for somebody else pass"],
  "azureToken.policyHash": [
    "weakness",
    "whoever owns the attestation instance may change its policy",
  ],
  "simulated.measurement": ["hole", "any image passes"],
  "simulated.reportData": ["hole", "old evidence can be replayed"],
};

/** Findings, the worst first. */
export function lintPolicy(policy: Policy): Finding[] {
  const found: Finding[] = [];
  for (const [path, value] of flatten(policyJson(policy))) {
    if (value !== JSON.stringify(ANY)) continue;
    const [weight, message] = ANY_MEANS[path] ?? ["note", "is not looked at"];
    found.push({ weight, path, message });
  }
  if (policy.snp !== undefined) found.push(...lintSnp(policy.snp));
  if (policy.tdx !== undefined) found.push(...lintTdx(policy.tdx));
  if (policy.tpm !== undefined) found.push(...lintTpm(policy));
  if (policy.ima?.violations === "allow") {
    found.push({
      weight: "weakness",
      path: "ima.violations",
      message: "files may change while they run",
    });
  }
  if (policy.simulated !== undefined) {
    const known = policy.simulated.roots.includes(INSECURE_SIMULATED_ROOT);
    found.push({
      weight: "hole",
      path: "simulated",
      message: `simulated evidence proves nothing${known ? ": its key is public" : ""}`,
    });
  }
  const order: readonly Weight[] = ["hole", "weakness", "note"];
  return found.sort((a, b) => order.indexOf(a.weight) - order.indexOf(b.weight));
}

function lintSnp(policy: SnpPolicy): Finding[] {
  const found: Finding[] = [];
  const add = (weight: Weight, path: string, message: string) =>
    found.push({ weight, path: `snp.${path}`, message });
  if (policy.guest.debug === "on") {
    add("hole", "guest.debug", "the host may read the guest's memory");
  }
  if (policy.guest.migration === "on") {
    add("hole", "guest.migration", "a migration agent may read the guest's memory");
  }
  const vendor = Object.values(ARK_KEYS);
  for (const root of policy.roots) {
    if (!vendor.includes(root)) add("hole", "roots", `${root} is not a root of AMD`);
  }
  if (policy.measurement !== ANY && policy.measurement.some((each) => /^0+$/.test(each))) {
    add("weakness", "measurement", "zeros are no measurement: no guest will pass");
  }
  for (const kind of ["reported", "current", "committed", "launch"] as const) {
    const tcb = policy.tcb[kind];
    if (TCB_PARTS.every((part) => tcb[part] === TCB_ZERO[part])) {
      add("weakness", `tcb.${kind}`, "zero: firmware of any age passes");
    } else if (tcb.snp === 0 || tcb.microcode === 0) {
      add("weakness", `tcb.${kind}`, `${tcbText(tcb)}: a zero part may be of any age`);
    }
  }
  if (policy.tcb.grace !== undefined) {
    add(
      "weakness",
      "tcb.grace",
      `older firmware passes until ${new Date(policy.tcb.grace.until).toISOString()}`,
    );
  }
  if (policy.signers.includes("vlek")) {
    add("note", "signers", "the cloud provider's key (VLEK) does not name a chip");
  }
  if (policy.reportData !== ANY && policy.reportData !== "session") {
    add("weakness", "reportData", "a fixed value: the evidence is not bound to a session");
  }
  return found;
}

function lintTdx(policy: TdxPolicy): Finding[] {
  const found: Finding[] = [];
  const add = (weight: Weight, path: string, message: string) =>
    found.push({ weight, path: `tdx.${path}`, message });
  if (policy.debug === "on") add("hole", "debug", "the host may read the TD's memory");
  for (const root of policy.roots) {
    if (root !== INTEL_ROOT_KEY) add("hole", "roots", `${root} is not the root of Intel`);
  }
  if (policy.tcb.statuses.includes("Revoked")) {
    add("hole", "tcb.statuses", "revoked platforms pass");
  }
  if (policy.tcb.statuses.some((each) => each !== "UpToDate")) {
    add("weakness", "tcb.statuses", `platforms that are ${policy.tcb.statuses.join(", ")} pass`);
  }
  if (policy.tcb.grace !== undefined) {
    add(
      "weakness",
      "tcb.grace",
      `worse platforms pass until ${new Date(policy.tcb.grace.until).toISOString()}`,
    );
  }
  if (policy.tcb.minimumEvaluation === 0) {
    add(
      "note",
      "tcb.minimumEvaluation",
      "older statements of Intel can be replayed until they expire",
    );
  }
  if (policy.reportData !== ANY && policy.reportData !== "session") {
    add("weakness", "reportData", "a fixed value: the evidence is not bound to a session");
  }
  return found;
}

function lintTpm({ tpm, snp, tdx }: Policy): Finding[] {
  const found: Finding[] = [];
  const add = (weight: Weight, path: string, message: string) =>
    found.push({ weight, path: `tpm.${path}`, message });
  if (tpm?.banks?.includes("sha1")) add("weakness", "banks", "SHA-1 never counts");
  if (tpm?.binding === "report-data" && snp === undefined && tdx === undefined) {
    add("hole", "binding", "the key is bound to a hardware report the policy does not ask for");
  }
  if (tpm?.pcrs !== ANY) {
    const registers = tpm?.registers ?? [];
    for (const values of Object.values(tpm?.pcrs ?? {})) {
      const missing = registers.filter((index) => values?.[index] === undefined);
      if (missing.length > 0) {
        add(
          "weakness",
          "pcrs",
          `registers ${missing.join(", ")} are quoted, but may have any value`,
        );
      }
    }
  }
  return found;
}
