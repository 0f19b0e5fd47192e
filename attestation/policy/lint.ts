// Names every hole of a policy: what it does not look at, and what that lets an attacker do. A finding
// is not an error; the person who wrote the policy may mean it.
import { INSECURE_SIMULATED_ROOT } from "../simulated/mod.ts";
import { ARK_KEYS, type SnpPolicy, TCB_PARTS, TCB_ZERO, tcbText } from "../snp/mod.ts";
import { INTEL_ROOT_KEY, type TdxPolicy } from "../tdx/mod.ts";
import { SESSION } from "../rules.ts";
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
  "azureToken.migration": ["hole", "a migration agent may read the guest's memory"],
  "azureToken.audience": ["weakness", "tokens made for somebody else pass"],
  "azureToken.policyHash": [
    "weakness",
    "whoever owns the attestation instance may change its policy",
  ],
  "simulated.measurement": ["hole", "any image passes"],
  "simulated.reportData": ["hole", "old evidence can be replayed"],
};

const ZERO = (value: unknown) => value === 0;
const IS = (word: string) => (value: unknown) => value === word;
const HAS = (...words: readonly string[]) => (value: unknown) =>
  Array.isArray(value) && value.some((each) => words.includes(each));
const FIXED = (value: unknown) => value !== ANY && value !== SESSION;
const WEAK_HASHES = ["md4", "md5", "sha1", "rmd128", "rmd160", "rmd256", "tgr128", "tgr160"];

/** Values other than `any` that leave something open: when, how bad, and what that means. */
const VALUE_MEANS: readonly (readonly [
  path: string,
  when: (value: unknown) => boolean,
  weight: Weight,
  message: string,
])[] = [
  ["snp.guest.debug", IS("on"), "hole", "the host may read the guest's memory"],
  ["snp.guest.migration", IS("on"), "hole", "a migration agent may read the guest's memory"],
  ["snp.guest.smt", IS("on"), "note", "the guest must allow SMT"],
  ["snp.guest.cxl", IS("on"), "note", "the guest must allow CXL memory"],
  ["snp.guest.minimumAbi", IS("0.0"), "note", "guest policies of any ABI pass"],
  ["snp.platform.smt", IS("on"), "note", "SMT must be on"],
  ["snp.platform.tio", IS("on"), "note", "trusted devices nobody judges must be possible"],
  ["snp.minimumGuestSvn", ZERO, "note", "images of any security version pass"],
  ["snp.firmware.minimumVersion", IS("0.0"), "note", "firmware of any version passes"],
  ["snp.firmware.minimumBuild", ZERO, "note", "firmware of any build passes"],
  ["snp.signers", HAS("vlek"), "note", "the cloud provider's key (VLEK) does not name a chip"],
  ["snp.reportData", FIXED, "weakness", "a fixed value: the evidence is not bound to a session"],
  ["tdx.debug", IS("on"), "hole", "the host may read the TD's memory"],
  ["tdx.reportData", FIXED, "weakness", "a fixed value: the evidence is not bound to a session"],
  ["tdx.minimumQeSvn", ZERO, "note", "quoting enclaves of any version pass that Intel rates well"],
  ["tdx.minimumPceSvn", ZERO, "note", "certification enclaves of any version pass likewise"],
  ["tdx.tcb.statuses", HAS("Revoked"), "hole", "revoked platforms pass"],
  ["tdx.tcb.grace.statuses", HAS("Revoked"), "hole", "revoked platforms pass for a time"],
  [
    "tdx.tcb.advisories",
    (value) => Array.isArray(value) && value.length > 0,
    "weakness",
    "known flaws are accepted",
  ],
  [
    "tdx.tcb.minimumEvaluation",
    ZERO,
    "note",
    "older statements of Intel can be replayed until they expire",
  ],
  ["tpm.banks", HAS("sha1"), "weakness", "SHA-1 never counts"],
  ["tpm.binding", IS("report-data"), "note", "the guest's own kernel names the TPM's key"],
  ["eventLog.banks", HAS("sha1"), "weakness", "SHA-1 never counts"],
  ["eventLog.secureBoot", IS("off"), "note", "only machines without Secure Boot pass"],
  ["ima.banks", HAS("sha1"), "weakness", "SHA-1 never counts"],
  ["ima.extend", IS("legacy-padded"), "weakness", "the register rests on SHA-1"],
  ["ima.tail", IS("ignore"), "weakness", "files measured after the quote are not looked at"],
  ["ima.violations", IS("allow"), "weakness", "files may change while they run"],
  ["ima.algorithms", HAS(...WEAK_HASHES), "weakness", "files may be named by weak digests"],
  ["ima.allowed.emptyFiles", IS("on"), "note", "files without content pass under any name"],
  ["azureToken.debug", IS("on"), "hole", "the host may read the guest's memory"],
  ["azureToken.migration", IS("on"), "hole", "a migration agent may read the guest's memory"],
  ["azureToken.secureBoot", IS("off"), "note", "only machines without Secure Boot pass"],
  ["azureToken.nonce", FIXED, "weakness", "a fixed value: the token is not bound to a session"],
  ["azureToken.minimumGuestSvn", ZERO, "note", "images of any security version pass"],
  ["azureToken.minimumBootloader", ZERO, "weakness", "firmware of any age passes"],
  ["azureToken.minimumTee", ZERO, "weakness", "firmware of any age passes"],
  ["azureToken.minimumSnp", ZERO, "weakness", "firmware of any age passes"],
  ["azureToken.minimumMicrocode", ZERO, "weakness", "microcode of any age passes"],
  ["gcpEndorsement.minimumSvn", ZERO, "weakness", "firmware of any age passes"],
  ["simulated.reportData", FIXED, "weakness", "a fixed value: it is not bound to a session"],
];

/** Findings, the worst first. */
export function lintPolicy(policy: Policy): Finding[] {
  const found: Finding[] = [];
  const values = flatten(policyJson(policy));
  for (const [path, value] of values) {
    if (value !== JSON.stringify(ANY)) continue;
    const [weight, message] = ANY_MEANS[path] ?? ["note", "is not looked at"];
    found.push({ weight, path, message });
  }
  for (const [path, when, weight, message] of VALUE_MEANS) {
    const value = values.get(path);
    if (value !== undefined && when(JSON.parse(value))) found.push({ weight, path, message });
  }
  if (policy.snp !== undefined) found.push(...lintSnp(policy.snp));
  if (policy.tdx !== undefined) found.push(...lintTdx(policy.tdx));
  if (policy.tpm !== undefined) found.push(...lintTpm(policy));
  const { eventLog, tpm } = policy;
  const silent = (tpm?.registers ?? [0, 1, 2]).filter((each) =>
    each < 10 && !(eventLog?.registers ?? []).includes(each)
  );
  if (eventLog !== undefined && silent.length > 0) {
    const message = `registers ${silent.join(", ")} are not replayed`;
    found.push({ weight: "note", path: "eventLog.registers", message });
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
  return found;
}

function lintTdx(policy: TdxPolicy): Finding[] {
  const found: Finding[] = [];
  const add = (weight: Weight, path: string, message: string) =>
    found.push({ weight, path: `tdx.${path}`, message });
  for (const root of policy.roots) {
    if (root !== INTEL_ROOT_KEY) add("hole", "roots", `${root} is not the root of Intel`);
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
  return found;
}

/** What a PC's firmware, boot loader and kernel are measured into. */
const BOOT_REGISTERS = [0, 1, 2, 3, 4, 5, 7, 8, 9];

function lintTpm({ tpm, snp, tdx, azureToken }: Policy): Finding[] {
  const found: Finding[] = [];
  const add = (weight: Weight, path: string, message: string) =>
    found.push({ weight, path: `tpm.${path}`, message });
  if (snp === undefined && tdx === undefined) {
    if (["report-data", "svsm", "hcl"].includes(tpm?.binding ?? "")) {
      add("hole", "binding", "the key is bound to a hardware report the policy does not ask for");
    } else if (azureToken === undefined) {
      add("weakness", "binding", "no hardware report: nothing says that memory is protected");
    }
  }
  const open = BOOT_REGISTERS.filter((index) => !(tpm?.registers ?? []).includes(index));
  if (open.length > 0) add("note", "registers", `${open.join(", ")} need not be quoted`);
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
