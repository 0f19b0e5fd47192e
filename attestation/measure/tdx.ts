// What a TDX guest's MRTD and RTMRs should be, computed from the firmware and the kernel (TDX module
// base architecture specification §12.2; TDVF design guide §8). The files are the user's own.
import { sha384 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import { extend, zeroRegister } from "../banks.ts";
import { toHex } from "../verdict.ts";
import { MAX_PAGES, PAGE_BYTES } from "./launch.ts";
import { parseFirmware, type TdxSection, tdxSections } from "./ovmf.ts";

/** Section attributes. */
const MEASURED = 1;
const ADDED_LATER = 2;

/** TDH.MR.EXTEND takes this much at once. */
const CHUNK_BYTES = 256;

/**
 * Order of page additions and content measurements, which the hypervisor chooses: `page` adds and
 * measures each page in turn, `section` adds all pages of a section and then measures them.
 */
export type TdxOrder = "page" | "section";

/**
 * MRTD of a firmware, lower-case hex.
 *
 * @throws {CocosError} `invalid-argument` when the firmware has no TDX metadata; `too-large`.
 */
export function measureMrtd(firmware: Uint8Array, order: TdxOrder = "page"): string {
  const hash = sha384.create();
  let pages = 0;
  for (const section of tdxSections(parseFirmware(firmware))) {
    if (section.attributes & ADDED_LATER) continue;
    const count = Number(section.memoryBytes / BigInt(PAGE_BYTES));
    pages += count;
    if (pages > MAX_PAGES) {
      throw new CocosError("too-large", `Cannot measure more than ${MAX_PAGES} pages`);
    }
    const content = contentOf(firmware, section);
    for (let page = 0; page < count; page++) {
      hash.update(block("MEM.PAGE.ADD", section.gpa + BigInt(page * PAGE_BYTES)));
      if (order === "page" && content !== undefined) extendPage(hash, section, content, page);
    }
    if (order === "section" && content !== undefined) {
      for (let page = 0; page < count; page++) extendPage(hash, section, content, page);
    }
  }
  return toHex(hash.digest());
}

/** Content of a section that is measured with its content, padded with zeros. */
function contentOf(firmware: Uint8Array, section: TdxSection): Uint8Array | undefined {
  if (!(section.attributes & MEASURED)) return undefined;
  const content = new Uint8Array(Number(section.memoryBytes));
  content.set(firmware.subarray(section.dataOffset, section.dataOffset + section.rawBytes));
  return content;
}

function extendPage(
  hash: ReturnType<typeof sha384.create>,
  section: TdxSection,
  content: Uint8Array,
  page: number,
): void {
  for (let at = page * PAGE_BYTES; at < (page + 1) * PAGE_BYTES; at += CHUNK_BYTES) {
    hash.update(block("MR.EXTEND", section.gpa + BigInt(at)));
    hash.update(content.subarray(at, at + CHUNK_BYTES));
  }
}

/** 128 bytes: the operation's name, and the guest address at 16. */
function block(name: string, gpa: bigint): Uint8Array {
  const bytes = new Uint8Array(128);
  bytes.set(new TextEncoder().encode(name));
  new DataView(bytes.buffer).setBigUint64(16, gpa, true);
  return bytes;
}

/** Digests (SHA-384) of what OVMF and the kernel's EFI stub measure when QEMU gives the kernel. */
export interface TdxBootDigests {
  /** Authenticode digest of the kernel as the firmware gets it. */
  readonly kernel: Uint8Array;
  /** Of the load options. */
  readonly options: Uint8Array;
  readonly initrd: Uint8Array | undefined;
}

/**
 * RTMR 1 and 2 of a kernel that OVMF starts directly, lower-case hex. RTMR 0 holds what the hypervisor
 * chooses at run time (memory map, ACPI tables, boot variables): it can be judged by its log only.
 */
export function tdxBootRtmrs({ kernel, options, initrd }: TdxBootDigests): {
  readonly rtmr1: string;
  readonly rtmr2: string;
} {
  const text = (value: string) => sha384(new TextEncoder().encode(value));
  const rtmr1 = replayed([
    kernel,
    text("Calling EFI Application from Boot Option"),
    text("Exit Boot Services Invocation"),
    text("Exit Boot Services Returned with Success"),
  ]);
  return { rtmr1, rtmr2: replayed([options, ...(initrd === undefined ? [] : [initrd])]) };
}

function replayed(digests: readonly Uint8Array[]): string {
  return toHex(
    digests.reduce((value, digest) => extend("sha384", value, digest), zeroRegister("sha384")),
  );
}
