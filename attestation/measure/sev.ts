// The launch digest of a guest from its files: OVMF, kernel, initrd, command line, CPUs; equal to what
// sev-snp-measure computes. The files are the user's own.
import { sha256 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import { KVM_VMSA_GPA, Launch, type Measurement, measurementOf, PAGE_BYTES } from "./launch.ts";
import { type Firmware, guidBytes, parseFirmware, type SevSection } from "./ovmf.ts";
import { BSP_EIP, firmwareVmsa, svsmVmsa, type Vmm } from "./vmsa.ts";

/** Ways to launch. */
export const SEV_MODES = ["snp", "snp:svsm", "seves", "sev"] as const;

/** A way to launch; only the `snp` ones give a measurement that reports carry. */
export type SevMode = (typeof SEV_MODES)[number];

/** QEMU's -smp is below this. */
export const MAX_CPUS = 4096;

/** What a kernel boot adds; absent initrd and command line count as empty. */
export interface KernelFiles {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  /** Without the NUL that is measured behind it. */
  readonly append?: string | undefined;
}

/** What is launched. */
export interface SevLaunch {
  readonly mode: SevMode;
  readonly firmware: Uint8Array;
  readonly cpus: number;
  /** CPUID(1).EAX of the CPU model. */
  readonly signature: number;
  /** SEV_FEATURES; 1 is SNP alone. */
  readonly features: number;
  readonly vmm: Vmm;
  readonly boot?: KernelFiles | undefined;
  /** `snp`: goes on from this digest of the firmware instead of reading its pages. */
  readonly firmwareDigest?: Uint8Array | undefined;
  /** `snp:svsm`: the SVSM, and the size of the variable store between it and the firmware. */
  readonly svsm?: { readonly bytes: Uint8Array; readonly variableBytes: number } | undefined;
}

const FOUR_GIB = 0x1_0000_0000;

/**
 * Computes the launch digest: SHA-384 for the SNP modes, SHA-256 for the older ones.
 *
 * @throws {CocosError} `invalid-argument` for a firmware that cannot be launched so: no reset block, a
 * kernel without a place for its hashes, CPUs out of range.
 */
export async function measureSev(launch: SevLaunch): Promise<Measurement> {
  if (!Number.isInteger(launch.cpus) || launch.cpus < 1 || launch.cpus > MAX_CPUS) {
    throw invalid(`${launch.cpus} CPUs, 1 to ${MAX_CPUS} are possible`);
  }
  switch (launch.mode) {
    case "snp":
      return await measureSnp(launch);
    case "snp:svsm":
      return await measureSvsm(launch);
    default:
      return measureOld(launch);
  }
}

/** Launch digest of the firmware's pages alone, which can stand in for the file. */
export async function firmwareDigest(bytes: Uint8Array): Promise<Uint8Array> {
  const launch = new Launch();
  launch.content("firmware", "normal", BigInt(FOUR_GIB - bytes.length), bytes);
  return await launch.digest();
}

/** The launch up to the CPUs. */
export function launchOf(firmware: Firmware, order: SevLaunch): Launch {
  const launch = new Launch();
  const gpa = BigInt(FOUR_GIB - firmware.bytes.length);
  if (order.firmwareDigest === undefined) launch.content("firmware", "normal", gpa, firmware.bytes);
  else if (order.firmwareDigest.length !== 48) throw invalid("a firmware digest has 48 bytes");
  addSections(launch, firmware, order.vmm, order.boot);
  return launch;
}

async function measureSnp(order: SevLaunch): Promise<Measurement> {
  const firmware = parseFirmware(order.firmware);
  const launch = launchOf(firmware, order);
  for (const [name, page] of cpuPages(firmware, order)) {
    launch.content(name, "vmsa", KVM_VMSA_GPA, page);
  }
  const warnings = order.boot !== undefined || firmware.hashTableGpa === 0 ? [] : [
    "No kernel is given: the firmware boots from a disk, which is not in this measurement.",
  ];
  return await measurementOf(launch, warnings, order.firmwareDigest);
}

function addSections(
  launch: Launch,
  firmware: Firmware,
  vmm: Vmm,
  boot: KernelFiles | undefined,
): void {
  const late: SevSection[] = [];
  for (const section of firmware.sevSections) {
    if (section.kind === "cpuid" && vmm === "ec2") late.push(section);
    else addSection(launch, section, firmware, vmm, boot);
  }
  for (const section of late) launch.blank("CPUID page", "cpuid", section.gpa, PAGE_BYTES);
  if (boot !== undefined && !firmware.sevSections.some(({ kind }) => kind === "kernel-hashes")) {
    throw new CocosError(
      "invalid-argument",
      "Cannot measure a kernel: this firmware has no place for its hashes",
      { hint: "Use an OVMF built for AMD SEV (OvmfPkg/AmdSev), or launch without -kernel." },
    );
  }
}

function addSection(
  launch: Launch,
  { kind, gpa, bytes }: SevSection,
  firmware: Firmware,
  vmm: Vmm,
  boot: KernelFiles | undefined,
): void {
  switch (kind) {
    case "sec-mem":
      launch.blank("firmware memory", vmm === "gce" ? "unmeasured" : "zero", gpa, bytes);
      break;
    case "secrets":
      launch.blank("secrets page", "secrets", gpa, PAGE_BYTES);
      break;
    case "cpuid":
      launch.blank("CPUID page", "cpuid", gpa, PAGE_BYTES);
      break;
    case "svsm-caa":
      launch.blank("SVSM calling area", "zero", gpa, bytes);
      break;
    case "kernel-hashes":
      if (boot === undefined) launch.blank("kernel hashes (no kernel)", "zero", gpa, bytes);
      else if (bytes !== PAGE_BYTES) throw invalid("the place of kernel hashes is not one page");
      else launch.content("kernel hashes", "normal", gpa, hashesPage(firmware.hashTableGpa, boot));
      break;
  }
}

/** Pages of all CPUs; those after the first are alike. */
function* cpuPages(
  firmware: Firmware,
  { cpus, signature, features, vmm }: Pick<SevLaunch, "cpus" | "signature" | "features" | "vmm">,
): Generator<readonly [string, Uint8Array]> {
  const { resetEip } = firmware;
  if (resetEip === undefined) throw invalid("the firmware has no SEV-ES reset block");
  if (resetEip === 0 && cpus > 1) throw invalid("the firmware names no start for other CPUs");
  yield ["CPU 0", firmwareVmsa({ vmm, eip: BSP_EIP, signature, features })];
  const other = firmwareVmsa({ vmm, eip: resetEip, signature, features });
  for (let cpu = 1; cpu < cpus; cpu++) yield [`CPU ${cpu}`, other];
}

async function measureSvsm(order: SevLaunch): Promise<Measurement> {
  if (order.svsm === undefined) throw invalid("this mode needs an SVSM");
  if (order.vmm !== "qemu") throw invalid("an SVSM is started by QEMU only");
  const firmware = parseFirmware(order.firmware);
  const svsm = parseFirmware(order.svsm.bytes);
  const end = FOUR_GIB - firmware.bytes.length - order.svsm.variableBytes;
  const start = end - svsm.bytes.length;
  if (svsm.svsmEntry === undefined || start < 0) throw invalid("this SVSM has no entry");
  const launch = new Launch();
  launch.content("firmware", "normal", BigInt(FOUR_GIB - firmware.bytes.length), firmware.bytes);
  launch.content("SVSM", "normal", BigInt(start), svsm.bytes);
  addSections(launch, svsm, "qemu", undefined);
  const page = svsmVmsa(svsm.svsmEntry + start, order.signature);
  for (let cpu = 0; cpu < order.cpus; cpu++) {
    launch.content(`CPU ${cpu}`, "vmsa", KVM_VMSA_GPA, page);
  }
  return await measurementOf(launch);
}

/** SEV and SEV-ES: one SHA-256 over firmware, hashes table and CPU states. */
function measureOld(order: SevLaunch): Measurement {
  const firmware = parseFirmware(order.firmware);
  const hash = sha256.create().update(firmware.bytes);
  if (order.boot !== undefined) {
    if (firmware.hashTableGpa === 0) throw invalid("this firmware takes no kernel hashes");
    hash.update(hashesTable(order.boot));
  }
  if (order.mode === "seves") {
    for (const [, page] of cpuPages(firmware, { ...order, features: 0 })) hash.update(page);
  }
  const warnings = ["SEV and SEV-ES have no attestation report: this digest is the launch's only."];
  return Object.freeze({ digest: toHex(hash.digest()), regions: [], warnings });
}

const TABLE_GUID = "9438d606-4f22-4cc9-b479-a793d411fd21";
const CMDLINE_GUID = "97d02dd8-bd20-4c94-aa78-e7714d36ab2a";
const INITRD_GUID = "44baf731-3a2f-4bd7-9af1-41e29169781d";
const KERNEL_GUID = "4de79437-abd2-427f-b835-d5b172d2045b";
/** GUID, u16 length, SHA-256. */
const HASH_ENTRY_BYTES = 50;

/** The table QEMU writes for the firmware to compare with, padded to 16 bytes. */
function hashesTable({ kernel, initrd, append }: KernelFiles): Uint8Array {
  const entries = [
    [CMDLINE_GUID, sha256(new TextEncoder().encode(`${append ?? ""}\0`))],
    [INITRD_GUID, sha256(initrd ?? new Uint8Array())],
    [KERNEL_GUID, sha256(kernel)],
  ] as const;
  const length = 18 + entries.length * HASH_ENTRY_BYTES;
  const table = new Uint8Array(Math.ceil(length / 16) * 16);
  const view = new DataView(table.buffer);
  table.set(guidBytes(TABLE_GUID));
  view.setUint16(16, length, true);
  for (const [index, [guid, digest]] of entries.entries()) {
    const at = 18 + index * HASH_ENTRY_BYTES;
    table.set(guidBytes(guid), at);
    view.setUint16(at + 16, HASH_ENTRY_BYTES, true);
    table.set(digest, at + 18);
  }
  return table;
}

function hashesPage(tableGpa: number, boot: KernelFiles): Uint8Array {
  const table = hashesTable(boot);
  const at = tableGpa % PAGE_BYTES;
  if (tableGpa === 0 || at + table.length > PAGE_BYTES) {
    throw invalid("the firmware's table of kernel hashes does not fit its page");
  }
  const page = new Uint8Array(PAGE_BYTES);
  page.set(table, at);
  return page;
}

function invalid(why: string): CocosError {
  return new CocosError("invalid-argument", `Cannot measure this launch: ${why}`);
}
