// From settings to the template of all VMs: which firmware, which technology, which command line.
import type { Source, Values } from "../base/mod.ts";
import type { Machine, settings, Tee } from "./settings.ts";
import type { VmTemplate } from "./spec.ts";

/** What the VMs will use: what the host offers, unless it was turned off. */
export function teeOf(snp: boolean | undefined, tdx: boolean | undefined, machine: Machine): Tee {
  if (machine.tee === "snp" && snp !== false) return "snp";
  if (machine.tee === "tdx" && tdx !== false) return "tdx";
  return "none";
}

/**
 * Code and variables of the firmware. The seed's files are taken where they exist; where both are
 * only defaults and one is absent, the `_4M` pair that newer distributions ship. The word `none`
 * for the code means no OVMF: QEMU's own BIOS, a few seconds faster and not measured.
 */
export function firmware(
  code: string | undefined,
  vars: string | undefined,
  source: Source,
  machine: Machine,
): { code: string; vars: string } | undefined {
  if (source("MANAGER_QEMU_OVMF_CODE_FILE") === "none") return undefined;
  if (code === undefined || vars === undefined) return undefined;
  const chosen = source("MANAGER_QEMU_OVMF_CODE_FILE") ?? source("MANAGER_QEMU_OVMF_VARS_FILE");
  const pairs = [{ code, vars }];
  if (chosen === undefined) {
    pairs.push({ code: code.replace(/\.fd$/, "_4M.fd"), vars: vars.replace(/\.fd$/, "_4M.fd") });
  }
  const pair = pairs.find((each) => machine.isFile(each.code) && machine.isFile(each.vars));
  if (pair === undefined) {
    const missing = [code, vars].filter((each) => !machine.isFile(each));
    throw new RangeError(
      `MANAGER_QEMU_OVMF_CODE_FILE, MANAGER_QEMU_OVMF_VARS_FILE: open ${missing.join(", ")}: ` +
        "no such file; install the package ovmf or set both",
    );
  }
  return pair;
}

/** The kernel command line every Cocos guest starts with. */
export const CMDLINE = "quiet console=null";

/** What every VM of this host is made of. */
export function templateOf(
  v: Values<ReturnType<typeof settings>>,
  source: Source,
  machine: Machine,
): VmTemplate {
  const tee = teeOf(v.MANAGER_QEMU_ENABLE_SEV_SNP, v.MANAGER_QEMU_ENABLE_TDX, machine);
  const pair = tee === "none"
    ? firmware(v.MANAGER_QEMU_OVMF_CODE_FILE, v.MANAGER_QEMU_OVMF_VARS_FILE, source, machine)
    : undefined;
  return {
    qemu: v.MANAGER_QEMU_BIN_PATH,
    machine: v.MANAGER_QEMU_MACHINE,
    cpu: v.MANAGER_QEMU_CPU,
    smp: { count: v.MANAGER_QEMU_SMP_COUNT, max: v.MANAGER_QEMU_SMP_MAXCPUS },
    memory: {
      size: v.MANAGER_QEMU_MEMORY_SIZE,
      slots: v.MANAGER_QEMU_MEMORY_SLOTS,
      max: v.MANAGER_QEMU_MAX_MEMORY,
    },
    firmware: pair === undefined ? undefined : {
      code: {
        interface: v.MANAGER_QEMU_OVMF_CODE_IF,
        format: v.MANAGER_QEMU_OVMF_CODE_FORMAT,
        unit: v.MANAGER_QEMU_OVMF_CODE_UNIT,
        file: pair.code,
        readonly: v.MANAGER_QEMU_OVMF_CODE_READONLY,
      },
      vars: {
        interface: v.MANAGER_QEMU_OVMF_VARS_IF,
        format: v.MANAGER_QEMU_OVMF_VARS_FORMAT,
        unit: v.MANAGER_QEMU_OVMF_VARS_UNIT,
        file: pair.vars,
      },
    },
    net: {
      id: v.MANAGER_QEMU_NETDEV_ID,
      address: v.MANAGER_QEMU_HOST_FWD_ADDR,
      guestPort: v.MANAGER_QEMU_GUEST_FWD_AGENT,
      disableLegacy: v.MANAGER_QEMU_VIRTIO_NET_PCI_DISABLE_LEGACY,
      iommuPlatform: v.MANAGER_QEMU_VIRTIO_NET_PCI_IOMMU_PLATFORM,
      pciAddress: v.MANAGER_QEMU_VIRTIO_NET_PCI_ADDR,
      romFile: v.MANAGER_QEMU_VIRTIO_NET_PCI_ROMFILE ?? "",
    },
    tee: teeDevice(v, tee),
    kernel: v.MANAGER_QEMU_DISK_IMG_KERNEL_FILE,
    initrd: v.MANAGER_QEMU_DISK_IMG_ROOTFS_FILE,
    cmdline: [CMDLINE, v.MANAGER_QEMU_KERNEL_CMDLINE].filter((each) => each !== "").join(" "),
    noGraphic: v.MANAGER_QEMU_NO_GRAPHIC,
    monitor: v.MANAGER_QEMU_MONITOR,
  };
}

function teeDevice(v: Values<ReturnType<typeof settings>>, tee: Tee): VmTemplate["tee"] {
  switch (tee) {
    case "none":
      return undefined;
    case "snp":
      return {
        kind: "snp",
        id: v.MANAGER_QEMU_SEV_SNP_ID,
        cBitPosition: v.MANAGER_QEMU_SEV_SNP_CBITPOS,
        reducedPhysBits: v.MANAGER_QEMU_SEV_SNP_REDUCED_PHYS_BITS,
        memoryId: v.MANAGER_QEMU_MEM_ID,
        igvmId: v.MANAGER_QEMU_IGVM_ID,
        igvmFile: v.MANAGER_QEMU_IGVM_FILE,
        hostData: v.MANAGER_QEMU_ENABLE_HOST_DATA ? v.MANAGER_QEMU_HOST_DATA : undefined,
      };
    case "tdx":
      return {
        kind: "tdx",
        id: v.MANAGER_QEMU_TDX_ID,
        memoryId: v.MANAGER_QEMU_MEM_ID,
        quotePort: v.MANAGER_QEMU_QUOTE_GENERATION_PORT,
        ovmfFile: v.MANAGER_QEMU_OVMF_FILE,
      };
  }
}
