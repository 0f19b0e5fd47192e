// Launch digest of an IGVM file, equal to igvmmeasure's; with KVM's own rules made strict, since KVM
// measures the first CPU's state last whatever the file says.
import { sha256 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import { type Igvm, type IgvmDirective, parseIgvm } from "./igvm.ts";
import { KVM_VMSA_GPA, Launch, type Measurement, measurementOf, PAGE_BYTES } from "./launch.ts";

/** How a file is measured. */
export interface IgvmOptions {
  /** The hypervisor gives normal pages without data as zero pages of their own type. */
  readonly nativeZero?: boolean;
  /** Refuse files that KVM launches with another digest. */
  readonly kvm?: boolean;
  /** Default `snp`. */
  readonly platform?: "snp" | "sev" | "sev-es";
}

/** CR0 of a CPU state page, and what KVM turns it into: ET, and maybe PE and NE. */
const CR0_OFFSET = 0x158;
const KVM_CR0 = [0x31n, 0x30n];

/**
 * Measures a file.
 *
 * @throws {CocosError} `invalid-argument` for a file without that platform; `digest-mismatch` when an ID
 * block in it is for another digest; `not-supported` with `kvm` when KVM would launch it otherwise.
 */
export async function measureIgvm(
  file: Uint8Array,
  options: IgvmOptions = {},
): Promise<Measurement> {
  const igvm = parseIgvm(file);
  const platform = options.platform ?? "snp";
  const header = igvm.platforms.find((each) => each.platform === platform);
  if (header === undefined) {
    throw new CocosError(
      "invalid-argument",
      `Cannot measure this IGVM file: it is not for ${platform}`,
    );
  }
  const directives = igvm.directives.filter(({ mask }) => (mask & header.mask) !== 0);
  const faults = kvmFaults(directives);
  if (options.kvm === true && faults.length > 0) {
    throw new CocosError(
      "not-supported",
      `Cannot launch this IGVM file under KVM: ${faults.join("; ")}`,
      {
        hint: "Build it with pages sorted by address, so that the CPU state comes last.",
      },
    );
  }
  const warnings = options.kvm === true ? [] : faults.map((fault) => `Under KVM: ${fault}`);
  if (platform !== "snp") return measureOld(directives, platform, warnings);
  const launch = new Launch();
  for (const directive of directives) add(launch, directive, options.nativeZero ?? false);
  const measurement = await measurementOf(launch, warnings);
  checkIdBlocks(igvm, header.mask, measurement.digest);
  return measurement;
}

function add(launch: Launch, directive: IgvmDirective, nativeZero: boolean): void {
  const { gpa } = directive;
  switch (directive.kind) {
    case "parameter":
      launch.blank("parameters", "unmeasured", gpa, PAGE_BYTES);
      break;
    case "cpu":
      launch.content(`CPU ${directive.cpu}`, "vmsa", gpa, directive.data);
      break;
    case "page":
      addPage(launch, directive, nativeZero);
      break;
  }
}

function addPage(
  launch: Launch,
  { page, unmeasured, data, gpa, bytes }: Extract<IgvmDirective, { kind: "page" }>,
  nativeZero: boolean,
): void {
  if (page === "secrets") launch.blank("secrets page", "secrets", gpa, bytes);
  else if (page !== "normal") launch.blank("CPUID page", "cpuid", gpa, bytes);
  else if (unmeasured) launch.blank("memory", "unmeasured", gpa, bytes);
  else if (data !== undefined) launch.content("memory", "normal", gpa, data);
  else if (nativeZero) launch.blank("empty memory", "zero", gpa, bytes);
  else launch.content("empty memory", "normal", gpa, new Uint8Array(bytes));
}

/** Why KVM's digest would be another one: it launches one CPU, itself, after all pages. */
function kvmFaults(directives: readonly IgvmDirective[]): string[] {
  const faults: string[] = [];
  const cpus = directives.filter((each) => each.kind === "cpu");
  const [cpu] = cpus;
  if (cpu === undefined || cpus.length !== 1) {
    return [`it holds ${cpus.length} CPU states, KVM takes one`];
  }
  if (cpu.gpa !== KVM_VMSA_GPA) faults.push(`its CPU state is at ${cpu.gpa.toString(16)}`);
  const cr0 = new DataView(cpu.data.buffer, cpu.data.byteOffset).getBigUint64(CR0_OFFSET, true);
  if (!KVM_CR0.includes(cr0)) faults.push(`CR0 of its CPU state is ${cr0.toString(16)}`);
  const after = directives.slice(directives.indexOf(cpu) + 1);
  const measured = after.filter((each) => each.kind === "parameter" || each.kind === "page");
  if (measured.length > 0) {
    faults.push(`${measured.length} pages follow its CPU state, which KVM measures last`);
  }
  return faults;
}

function checkIdBlocks(igvm: Igvm, mask: number, digest: string): void {
  for (const block of igvm.idBlocks) {
    if ((block.mask & mask) === 0 || toHex(block.launchDigest) === digest) continue;
    throw new CocosError(
      "digest-mismatch",
      `Cannot accept this IGVM file: its ID block is for ${
        toHex(block.launchDigest)
      }, it measures ${digest}`,
    );
  }
}

/** SEV and SEV-ES: one SHA-256 over page contents, for SEV-ES CPU states as well. */
function measureOld(
  directives: readonly IgvmDirective[],
  platform: "sev" | "sev-es",
  warnings: readonly string[],
): Measurement {
  const hash = sha256.create();
  for (const directive of directives) {
    if (directive.kind === "cpu" && platform === "sev-es") hash.update(directive.data);
    if (directive.kind !== "page" || directive.page !== "normal" || directive.unmeasured) continue;
    hash.update(directive.data ?? new Uint8Array(directive.bytes));
  }
  return Object.freeze({ digest: toHex(hash.digest()), regions: [], warnings });
}
