// How QEMU changes a Linux kernel before firmware measures it (hw/i386/x86.c of QEMU 7.2 to 10, boot
// protocol in Documentation/arch/x86/boot.rst), and what PCR 4 and 9 then hold. Under SEV with kernel
// hashes nothing is changed. The files are the user's own.
import { CocosError } from "../../base/mod.ts";
import { type Bank, BANKS, extend, zeroRegister } from "../banks.ts";
import { toHex } from "../verdict.ts";
import { authenticodeDigest } from "./authenticode.ts";
import { tdxBootRtmrs } from "./tdx.ts";

/** Offsets in the setup header. */
const Header = {
  magic: 0x202,
  version: 0x206,
  loader: 0x210,
  flags: 0x211,
  initrdAddress: 0x218,
  initrdBytes: 0x21c,
  heapEnd: 0x224,
  commandLine: 0x228,
  initrdMost: 0x22c,
  extendedFlags: 0x236,
} as const;

const HDRS = 0x53726448;
/** QEMU's number of a boot loader, version 0. */
const LOADER = 0xb0;
const CAN_USE_HEAP = 0x80;
const ABOVE_4G = 2;
const REAL_MODE = 0x10000;
const COMMAND_LINE = 0x20000;
/** What a PC keeps below the end of low memory for ACPI tables. */
const ACPI_BYTES = 0x28000;

/** A machine as QEMU lays out its memory. */
export interface QemuMachine {
  /** Memory of the guest, bytes. */
  readonly memoryBytes: number;
  readonly machine: "q35" | "pc";
}

/** End of memory below 4 GiB (hw/i386/pc_q35.c, pc_piix.c). */
function lowMemory({ memoryBytes, machine }: QemuMachine): number {
  const [limit, low] = machine === "q35" ? [0xb0000000, 0x80000000] : [0xe0000000, 0xc0000000];
  return memoryBytes >= limit ? low : Math.min(memoryBytes, limit);
}

/**
 * The kernel as QEMU's `-kernel` hands it to the firmware of a guest without SEV.
 *
 * @throws {CocosError} `invalid-argument` for what is no Linux kernel of boot protocol 2.12 or later, or
 * does not fit the memory.
 */
export function patchedByQemu(
  kernel: Uint8Array,
  initrdBytes: number | undefined,
  machine: QemuMachine,
): Uint8Array {
  const patched = kernel.slice();
  const view = new DataView(patched.buffer);
  if (patched.length < 0x1000 || view.getUint32(Header.magic, true) !== HDRS) {
    throw invalid("it is no Linux kernel");
  }
  const version = view.getUint16(Header.version, true);
  if (version < 0x20c) {
    throw invalid(`boot protocol ${(version >> 8)}.${version & 0xff} is too old`);
  }
  view.setUint8(Header.loader, LOADER);
  view.setUint8(Header.flags, view.getUint8(Header.flags) | CAN_USE_HEAP);
  view.setUint16(Header.heapEnd, COMMAND_LINE - REAL_MODE - 0x200, true);
  view.setUint32(Header.commandLine, COMMAND_LINE, true);
  if (initrdBytes === undefined) return patched;
  const anywhere = (view.getUint16(Header.extendedFlags, true) & ABOVE_4G) !== 0;
  const most = Math.min(
    anywhere ? 0xffffffff : view.getUint32(Header.initrdMost, true),
    lowMemory(machine) - ACPI_BYTES - 1,
  );
  if (initrdBytes >= most) throw invalid("the initrd does not fit the memory");
  const address = Math.floor((most - initrdBytes) / 0x1000) * 0x1000;
  view.setUint32(Header.initrdAddress, address, true);
  view.setUint32(Header.initrdBytes, initrdBytes, true);
  return patched;
}

/** A kernel that OVMF starts from QEMU's `-kernel`, `-initrd`, `-append`. */
export interface OvmfBoot {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly append: string;
  /** Absent for a guest under SEV with kernel hashes, whose kernel QEMU leaves as it is. */
  readonly machine?: QemuMachine | undefined;
}

/** The load options OVMF gives a kernel: with an initrd it names it behind the command line. */
export function ovmfOptions({ append, initrd }: Pick<OvmfBoot, "append" | "initrd">): string {
  return initrd === undefined ? append : `${append}${append === "" ? "" : " "}initrd=initrd`;
}

/**
 * PCR 4 of that boot, lower-case hex: the kernel, OVMF's boot action, the separator.
 *
 * @throws {CocosError} `invalid-argument` for a kernel that is no EFI program.
 */
export function measurePcr4(boot: OvmfBoot, bank: Bank = "sha256"): string {
  const { hash } = BANKS[bank];
  const action = hash(new TextEncoder().encode("Calling EFI Application from Boot Option"));
  return replayed(bank, [
    authenticodeDigest(kernelOf(boot), bank),
    action,
    hash(new Uint8Array(4)),
  ]);
}

/** PCR 9 of that boot, lower-case hex: what the kernel's EFI stub measures, load options and initrd. */
export function measurePcr9(
  boot: Pick<OvmfBoot, "append" | "initrd">,
  bank: Bank = "sha256",
): string {
  const { hash } = BANKS[bank];
  const digests = [hash(loadOptions(ovmfOptions(boot)))];
  if (boot.initrd !== undefined) digests.push(hash(boot.initrd));
  return replayed(bank, digests);
}

/** The kernel as the firmware gets it. */
function kernelOf({ kernel, initrd, machine }: OvmfBoot): Uint8Array {
  return machine === undefined ? kernel : patchedByQemu(kernel, initrd?.length, machine);
}

function replayed(bank: Bank, digests: readonly Uint8Array[]): string {
  return toHex(
    digests.reduce((value, digest) => extend(bank, value, digest), zeroRegister(bank)),
  );
}

/**
 * RTMR 1 and 2 of that boot in a TDX guest, lower-case hex.
 *
 * @throws {CocosError} `invalid-argument` for a kernel that is no EFI program.
 */
export function measureTdxBoot(boot: OvmfBoot): { readonly rtmr1: string; readonly rtmr2: string } {
  const { hash } = BANKS.sha384;
  return tdxBootRtmrs({
    kernel: authenticodeDigest(kernelOf(boot), "sha384"),
    options: hash(loadOptions(ovmfOptions(boot))),
    initrd: boot.initrd === undefined ? undefined : hash(boot.initrd),
  });
}

/** Load options as EFI programs get them: UTF-16, with a NUL. */
export function loadOptions(append: string): Uint8Array {
  const bytes = new Uint8Array(2 * (append.length + 1));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < append.length; i++) view.setUint16(2 * i, append.charCodeAt(i), true);
  return bytes;
}

function invalid(why: string): CocosError {
  return new CocosError("invalid-argument", `Cannot load this kernel: ${why}`);
}
