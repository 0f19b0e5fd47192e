// The register state a virtual CPU starts with, as a page (AMD APM volume 2, table B-4), for the
// hypervisors whose start state is known. Nothing from outside is read here.
import { CocosError } from "../../base/mod.ts";
import { PAGE_BYTES } from "./launch.ts";

/** Hypervisors; they start CPUs a little differently. */
export const VMMS = ["qemu", "ec2", "gce"] as const;

/** A hypervisor. */
export type Vmm = (typeof VMMS)[number];

/** CPUID(1).EAX of QEMU's EPYC models; it is in RDX when a CPU starts. */
export const CPU_SIGNATURES: Readonly<Record<string, number>> = Object.freeze({
  "EPYC": 0x800f12,
  "EPYC-v1": 0x800f12,
  "EPYC-v2": 0x800f12,
  "EPYC-v3": 0x800f12,
  "EPYC-v4": 0x800f12,
  "EPYC-IBPB": 0x800f12,
  "EPYC-Rome": 0x830f10,
  "EPYC-Rome-v1": 0x830f10,
  "EPYC-Rome-v2": 0x830f10,
  "EPYC-Rome-v3": 0x830f10,
  "EPYC-Milan": 0xa00f11,
  "EPYC-Milan-v1": 0xa00f11,
  "EPYC-Milan-v2": 0xa00f11,
  "EPYC-Genoa": 0xa10f10,
  "EPYC-Genoa-v1": 0xa10f10,
  "EPYC-Turin": 0xb00f00,
});

/** CPUID(1).EAX of family, model and stepping (AMD 25481). */
export function cpuSignature(family: number, model: number, stepping: number): number {
  const fits = (value: number, most: number) =>
    Number.isInteger(value) && value >= 0 && value <= most;
  if (!fits(family, 0x10e) || !fits(model, 0xff) || !fits(stepping, 15)) {
    throw new CocosError("invalid-argument", "Cannot make a CPU signature: a part is out of range");
  }
  const base = Math.min(family, 15);
  return (family - base) * 2 ** 20 + (model >> 4) * 2 ** 16 + (base << 8) + ((model & 15) << 4) +
    stepping;
}

/** Where the first CPU starts. */
export const BSP_EIP = 0xfffffff0;

/** What differs between start states. */
export interface CpuStart {
  readonly vmm: Vmm;
  /** Start address: {@linkcode BSP_EIP}, or what the firmware says for the others. */
  readonly eip: number;
  readonly signature: number;
  /** SEV_FEATURES: bit 0 SNP, bit 5 debug swap, … */
  readonly features: number;
}

/** Segments: name → place in the page. */
const SEGMENTS = { es: 0x00, cs: 0x10, ss: 0x20, ds: 0x30, fs: 0x40, gs: 0x50 } as const;
const TABLES = { gdtr: [0x60, 0], ldtr: [0x70, 0x82], idtr: [0x80, 0] } as const;
const TASK = 0x90;

const PAT = 0x0007_0406_0007_0406n;
/** Google's hypervisor writes another PAT. */
const PAT_GCE = 0x0007_0106n;

class Page {
  readonly bytes = new Uint8Array(PAGE_BYTES);
  readonly #view = new DataView(this.bytes.buffer);

  segment(at: number, selector: number, attributes: number, limit: number, base: number): void {
    this.#view.setUint16(at, selector, true);
    this.#view.setUint16(at + 2, attributes, true);
    this.#view.setUint32(at + 4, limit, true);
    this.#view.setBigUint64(at + 8, BigInt(base), true);
  }

  u64(at: number, value: number | bigint): void {
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  u32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  u16(at: number, value: number): void {
    this.#view.setUint16(at, value, true);
  }
}

/** State of a CPU that starts in real mode, as firmware expects it. */
export function firmwareVmsa({ vmm, eip, signature, features }: CpuStart): Uint8Array {
  const page = new Page();
  const amazon = vmm === "ec2";
  const code = amazon && eip === BSP_EIP ? 0x9a : 0x9b;
  const base = Math.floor(eip / 0x10000) * 0x10000;
  for (const [name, at] of Object.entries(SEGMENTS)) {
    if (name === "cs") page.segment(at, 0xf000, code, 0xffff, base);
    else page.segment(at, 0, name === "ss" && amazon ? 0x92 : 0x93, 0xffff, 0);
  }
  common(page, amazon ? 0x83 : 0x8b, features);
  page.u64(0x158, 0x10); // CR0: ET
  page.u64(0x178, eip % 0x10000);
  page.u64(0x268, vmm === "gce" ? PAT_GCE : PAT);
  page.u64(0x310, vmm === "qemu" ? signature : 0x600); // RDX
  if (vmm === "qemu") {
    page.u32(0x408, 0x1f80); // MXCSR
    page.u16(0x410, 0x37f); // x87 FCW
  }
  return page.bytes;
}

/** State of a CPU that starts in an SVSM under QEMU: flat 32-bit protected mode. */
export function svsmVmsa(eip: number, signature: number): Uint8Array {
  const page = new Page();
  for (const [name, at] of Object.entries(SEGMENTS)) {
    if (name === "gs") page.segment(at, 0, 0x93, 0xffff, 0);
    else if (name === "cs") page.segment(at, 8, 0xc9b, 0xffffffff, 0);
    else page.segment(at, 16, 0xc93, 0xffffffff, 0);
  }
  common(page, 0x8b, 1);
  page.u64(0x158, 0x11); // CR0: PE, ET
  page.u64(0x178, eip);
  page.u64(0x268, PAT);
  page.u64(0x310, signature); // RDX
  page.u32(0x408, 0x1f80); // MXCSR; the x87 control word stays zero here
  return page.bytes;
}

function common(page: Page, task: number, features: number): void {
  for (const [at, attributes] of Object.values(TABLES)) page.segment(at, 0, attributes, 0xffff, 0);
  page.segment(TASK, 0, task, 0xffff, 0);
  page.u64(0xd0, 0x1000); // EFER: SVME, which KVM sets
  page.u64(0x148, 0x40); // CR4: MCE, which KVM sets
  page.u64(0x160, 0x400); // DR7
  page.u64(0x168, 0xffff0ff0); // DR6
  page.u64(0x170, 2); // RFLAGS
  page.u64(0x3b0, features);
  page.u64(0x3e8, 1); // XCR0: x87
}
