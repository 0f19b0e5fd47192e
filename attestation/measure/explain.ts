// "Why is the measurement another one?" Tries the usual mistakes and names the one that gives the
// reported value: CPUs, CPU model, features, hypervisor, kernel, command line. Nothing is proven by it
// but that the named change gives that value.
import { sha384 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";
import { type IgvmOptions, measureIgvm } from "./igvm_measure.ts";
import { KVM_VMSA_GPA, nextDigest, regionText } from "./launch.ts";
import { measurePcr4, measurePcr9, type OvmfBoot, type QemuMachine } from "./linux.ts";
import { parseFirmware } from "./ovmf.ts";
import { type KernelFiles, launchOf, measureSev, type SevLaunch } from "./sev.ts";
import { measureMrtd } from "./tdx.ts";
import { BSP_EIP, CPU_SIGNATURES, firmwareVmsa, type Vmm, VMMS } from "./vmsa.ts";

/** The answer. */
export interface Explanation {
  readonly equal: boolean;
  /** What the files give, lower-case hex. */
  readonly computed: string;
  /** What was reported, lower-case hex. */
  readonly reported: string;
  /** What was different, when a change that gives the reported value was found. */
  readonly found: readonly string[] | undefined;
  /** What was measured, in order, and how many changes were tried. */
  readonly notes: readonly string[];
}

/** Most CPUs that are tried. */
const MOST_CPUS = 128;
/** Features that hypervisors set: SNP, with debug swap, with restricted injection, with both VMPL ones. */
const FEATURES = [0x1, 0x21, 0x9, 0x29, 0x11, 0x31] as const;

/** Explains an SNP report's measurement (48 bytes, hex) by the files of a launch. */
export async function explainSev(reported: string, order: SevLaunch): Promise<Explanation> {
  const wanted = normal(reported, 96);
  const { digest: computed, regions } = await measureSev(order);
  const notes = regions.map(regionText);
  if (computed === wanted) return answer(computed, wanted, [], notes);
  if (order.mode !== "snp") return answer(computed, wanted, undefined, notes);
  let tried = 0;
  const firmware = parseFirmware(order.firmware);
  for (const vmm of [order.vmm, ...VMMS.filter((each) => each !== order.vmm)]) {
    for (const [change, boot] of bootChanges(order.boot)) {
      let before: Uint8Array;
      try {
        before = await launchOf(firmware, { ...order, vmm, boot }).digest(order.firmwareDigest);
      } catch (error) {
        if (error instanceof CocosError) continue; // not a launch this firmware can do
        throw error;
      }
      const hit = tryCpus(before, wanted, order, vmm, firmware.resetEip ?? 0);
      tried += hit.tried;
      if (hit.changes === undefined) continue;
      const found = [
        ...(vmm === order.vmm ? [] : [`the hypervisor is ${vmm}, not ${order.vmm}`]),
        ...(change === undefined ? [] : [change]),
        ...hit.changes,
      ];
      return answer(computed, wanted, found, notes);
    }
  }
  return answer(computed, wanted, undefined, [...notes, `${tried} changes were tried`]);
}

function tryCpus(
  before: Uint8Array,
  wanted: string,
  order: SevLaunch,
  vmm: Vmm,
  resetEip: number,
): { readonly tried: number; readonly changes: string[] | undefined } {
  const signatures = new Set([order.signature, ...Object.values(CPU_SIGNATURES)]);
  const features = new Set([order.features, ...FEATURES]);
  let tried = 0;
  for (const signature of vmm === "qemu" ? signatures : [order.signature]) {
    for (const feature of features) {
      const page = (eip: number) =>
        sha384(firmwareVmsa({ vmm, eip, signature, features: feature }));
      const others = page(resetEip);
      let digest = nextDigest(before, "vmsa", KVM_VMSA_GPA, page(BSP_EIP));
      for (let cpus = 1; cpus <= MOST_CPUS; cpus++, tried++) {
        if (cpus > 1) digest = nextDigest(digest, "vmsa", KVM_VMSA_GPA, others);
        if (toHex(digest) !== wanted) continue;
        const changes: string[] = [];
        if (cpus !== order.cpus) changes.push(`${cpus} CPUs, not ${order.cpus}`);
        if (signature !== order.signature) {
          changes.push(`CPU ${modelsOf(signature)}, not ${modelsOf(order.signature)}`);
        }
        if (feature !== order.features) {
          changes.push(`features 0x${feature.toString(16)}, not 0x${order.features.toString(16)}`);
        }
        return { tried, changes };
      }
    }
  }
  return { tried, changes: undefined };
}

function modelsOf(signature: number): string {
  const models = Object.entries(CPU_SIGNATURES).filter(([, value]) => value === signature);
  const [first] = models;
  return `${first?.[0] ?? "model"} (0x${signature.toString(16)})`;
}

function* bootChanges(
  boot: KernelFiles | undefined,
): Generator<readonly [string | undefined, KernelFiles | undefined]> {
  yield [undefined, boot];
  if (boot === undefined) return;
  yield ["the kernel was not given to the hypervisor", undefined];
  if (boot.initrd !== undefined) yield ["there is no initrd", { ...boot, initrd: undefined }];
  for (const [change, append] of lineChanges(boot.append ?? "")) {
    yield [change, { ...boot, append }];
  }
}

/** Usual differences of command lines. */
function* lineChanges(line: string): Generator<readonly [string, string]> {
  const changes: readonly (readonly [string, string])[] = [
    ["the command line is empty", ""],
    ["the command line has a line break at its end", `${line}\n`],
    ["the command line has a blank at its end", `${line} `],
    ["the command line has no blanks around it", line.trim()],
    ["the command line has single blanks", line.trim().replace(/\s+/g, " ")],
    ["the command line names the initrd", `${line} initrd=initrd`],
    ["the command line does not name the initrd", line.replace(/ ?initrd=initrd$/, "")],
  ];
  for (const [change, changed] of changes) if (changed !== line) yield [change, changed];
}

/** Explains an SNP report's measurement by an IGVM file. */
export async function explainIgvm(
  reported: string,
  file: Uint8Array,
  options: IgvmOptions = {},
): Promise<Explanation> {
  const wanted = normal(reported, 96);
  const { digest: computed, regions, warnings } = await measureIgvm(file, options);
  const notes = [...regions.map(regionText), ...warnings];
  if (computed === wanted) return answer(computed, wanted, [], notes);
  const nativeZero = !(options.nativeZero ?? false);
  const other = await measureIgvm(file, { ...options, nativeZero }).catch(() => undefined);
  const found = other?.digest === wanted
    ? [
      nativeZero
        ? "empty pages were given as zero pages"
        : "empty pages were given as normal pages",
    ]
    : undefined;
  return answer(computed, wanted, found, notes);
}

/** Explains a TDX quote's MRTD by a firmware. */
export function explainMrtd(reported: string, firmware: Uint8Array): Explanation {
  const wanted = normal(reported, 96);
  const computed = measureMrtd(firmware, "page");
  if (computed === wanted) return answer(computed, wanted, [], []);
  const sections = measureMrtd(firmware, "section") === wanted;
  const found = ["the hypervisor adds all pages of a section before it measures them"];
  return answer(computed, wanted, sections ? found : undefined, []);
}

/** Explains quoted PCR 4 and 9 by the files of a boot; one answer for each register. */
export function explainOvmfBoot(
  reported: { readonly pcr4: string; readonly pcr9: string },
  boot: OvmfBoot,
): { readonly pcr4: Explanation; readonly pcr9: Explanation } {
  const judge = <B extends Pick<OvmfBoot, "append" | "initrd">>(
    register: "pcr4" | "pcr9",
    measure: (boot: B) => string,
    start: B,
    changes: Iterable<readonly [string, B]>,
  ) => {
    const wanted = normal(reported[register], 64);
    const computed = measure(start);
    if (computed === wanted) return answer(wanted, wanted, [], []);
    for (const [change, changed] of changes) {
      try {
        if (measure(changed) !== wanted) continue;
      } catch (error) {
        if (error instanceof CocosError) continue; // not a boot this machine can do
        throw error;
      }
      return answer(computed, wanted, [change], []);
    }
    return answer(computed, wanted, undefined, []);
  };
  return {
    pcr4: judge("pcr4", measurePcr4, boot, kernelChanges(boot)),
    pcr9: judge("pcr9", measurePcr9, boot, optionChanges(boot)),
  };
}

function* kernelChanges(boot: OvmfBoot): Generator<readonly [string, OvmfBoot]> {
  if (boot.machine !== undefined) {
    yield ["the kernel was not changed by the hypervisor", { ...boot, machine: undefined }];
  }
  if (boot.initrd !== undefined) yield ["there is no initrd", { ...boot, initrd: undefined }];
  const other: QemuMachine["machine"] = boot.machine?.machine === "q35" ? "pc" : "q35";
  for (const machine of [boot.machine?.machine ?? "q35", other] as const) {
    for (let mebibytes = 256; mebibytes <= 8192; mebibytes *= 2) {
      const memoryBytes = mebibytes * 2 ** 20;
      yield [`the machine is a ${machine} with ${mebibytes} MiB`, {
        ...boot,
        machine: { memoryBytes, machine },
      }];
    }
  }
}

function* optionChanges(boot: OvmfBoot): Generator<readonly [string, OvmfBoot]> {
  if (boot.initrd !== undefined) yield ["there is no initrd", { ...boot, initrd: undefined }];
  for (const [change, append] of lineChanges(boot.append)) yield [change, { ...boot, append }];
}

function answer(
  computed: string,
  reported: string,
  found: readonly string[] | undefined,
  notes: readonly string[],
): Explanation {
  return Object.freeze({ equal: computed === reported, computed, reported, found, notes });
}

function normal(hex: string, length: number): string {
  const lower = hex.toLowerCase();
  if (lower.length === length && /^[0-9a-f]+$/.test(lower)) return lower;
  throw new CocosError(
    "invalid-argument",
    `Cannot compare a measurement: ${length} hex digits are due`,
  );
}
