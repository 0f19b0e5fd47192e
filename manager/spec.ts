// A VM as data: everything QEMU is told, checked and frozen before an argument is made of it.
import { CocosError } from "../base/mod.ts";
import type { Size } from "./settings.ts";

/** One flash drive of the firmware. */
export interface Flash {
  readonly interface: string;
  readonly format: string;
  readonly unit: number;
  readonly file: string;
}

/** What a VM of this host is made of; the same for all, taken from the configuration. */
export interface VmTemplate {
  /** Absolute path of QEMU. */
  readonly qemu: string;
  /** Model with options, empty for QEMU's default. */
  readonly machine: string;
  readonly cpu: string;
  readonly smp: { readonly count: number; readonly max: number };
  readonly memory: { readonly size: Size; readonly slots: number; readonly max: Size };
  /** OVMF of a plain VM; `undefined` is QEMU's own BIOS. `vars.file` is copied for each VM. */
  readonly firmware: {
    readonly code: Flash & { readonly readonly: "on" | "off" };
    readonly vars: Flash;
  } | undefined;
  readonly net: {
    readonly id: string;
    /** Host address of the forwarded port, empty for every interface. */
    readonly address: string;
    readonly guestPort: number;
    readonly disableLegacy: "on" | "off";
    readonly iommuPlatform: "true" | "false";
    readonly pciAddress: string;
    readonly romFile: string;
  };
  readonly tee: Snp | Tdx | undefined;
  readonly kernel: string;
  readonly initrd: string;
  /** Kernel command line, without quotes. */
  readonly cmdline: string;
  readonly noGraphic: boolean;
  readonly monitor: string;
}

/** SEV-SNP through an IGVM file. */
export interface Snp {
  readonly kind: "snp";
  readonly id: string;
  readonly cBitPosition: number;
  readonly reducedPhysBits: number;
  readonly memoryId: string;
  readonly igvmId: string;
  readonly igvmFile: string;
  /** 32 bytes in base64. */
  readonly hostData: string | undefined;
}

/** Intel TDX. */
export interface Tdx {
  readonly kind: "tdx";
  readonly id: string;
  readonly memoryId: string;
  /** Port of the quote generation service on vsock CID 2. */
  readonly quotePort: number;
  readonly ovmfFile: string;
}

/** What differs from VM to VM. */
export interface VmInstance {
  /** UUIDv4. */
  readonly id: string;
  /** Host port that reaches the agent. */
  readonly port: number;
  readonly accel: "kvm" | "tcg";
  /** Absolute path of the private control socket. */
  readonly qmpSocket: string;
  readonly certsDir: string;
  readonly envDir: string;
  /** Own copy of the firmware's variables; unused without OVMF. */
  readonly varsFile: string;
  /** End of the VM's life in seconds since 1970; carried in its name, so that it survives us. */
  readonly until: number | undefined;
}

/** A VM, whole. */
export interface VmSpec extends VmTemplate, VmInstance {}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** True for a UUIDv4 in lower case, the only form of an id we make. */
export function isVmId(text: string): boolean {
  return UUID.test(text);
}

/**
 * Joins template and instance, checks what would become an argument, freezes the whole.
 *
 * @throws {CocosError} `invalid-argument` naming the part.
 */
export function vmSpec(template: VmTemplate, instance: VmInstance): VmSpec {
  const refuse = (part: string, rule: string, value: unknown): never => {
    throw new CocosError(
      "invalid-argument",
      `Cannot describe a VM as ${part} must be ${rule}: current value is ${JSON.stringify(value)}`,
    );
  };
  const spec: VmSpec = { ...template, ...instance };
  if (!isVmId(spec.id)) refuse("its id", "a UUIDv4", spec.id);
  if (!Number.isInteger(spec.port) || spec.port < 1 || spec.port > 65535) {
    refuse("its port", "from 1 to 65535", spec.port);
  }
  for (
    const [part, path] of Object.entries({
      "the path of QEMU": spec.qemu,
      "the kernel's path": spec.kernel,
      "the initrd's path": spec.initrd,
      "the QMP socket's path": spec.qmpSocket,
      "the certificates folder": spec.certsDir,
      "the environment folder": spec.envDir,
      "the firmware's path": spec.firmware?.code.file ?? "/",
      "the variables' path": spec.varsFile,
      "the IGVM file": spec.tee?.kind === "snp" ? spec.tee.igvmFile : "/",
      "the OVMF file": spec.tee?.kind === "tdx" ? spec.tee.ovmfFile : "/",
    })
  ) {
    // deno-lint-ignore no-control-regex
    if (!path.startsWith("/") || /[\x00-\x1f\x7f]/.test(path)) {
      refuse(part, "an absolute path without control characters", path);
    }
  }
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f]/.test(spec.cmdline)) {
    refuse("the kernel command line", "one line", spec.cmdline);
  }
  return freeze(spec);
}

function freeze<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  for (const each of Object.values(value)) freeze(each);
  return Object.freeze(value);
}

/** Name QEMU answers `query-name` with: port and end of life, for a manager that lost its record. */
export function vmName(spec: Pick<VmSpec, "port" | "until">): string {
  return `cocos-${spec.port}${spec.until === undefined ? "" : `-until-${spec.until}`}`;
}

/** Reads {@linkcode vmName} back; `undefined` for any other name. */
export function parseVmName(name: string): { port: number; until: number | undefined } | undefined {
  const parts = /^cocos-(\d{1,5})(?:-until-(\d{1,12}))?$/.exec(name);
  if (parts === null) return undefined;
  return { port: Number(parts[1]), until: parts[2] === undefined ? undefined : Number(parts[2]) };
}
