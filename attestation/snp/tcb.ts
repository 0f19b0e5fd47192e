// Products and their TCB versions: eight bytes whose layout is the product's (AMD 57230). Compared
// component by component; as one integer a high microcode would hide an old firmware (threat A-4).
import { CocosError } from "../../base/mod.ts";

/** The product lines AMD signs for; Bergamo and Siena are of the Genoa line. */
export const PRODUCT_LINES = ["Milan", "Genoa", "Turin"] as const;

/** A product line. */
export type ProductLine = (typeof PRODUCT_LINES)[number];

/** Security version numbers of the parts of a platform, each 0 to 255. */
export interface Tcb {
  /** Turin only; 0 elsewhere. */
  readonly fmc: number;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

/** Names of the parts, in the order they are shown. */
export const TCB_PARTS = ["fmc", "bootloader", "tee", "snp", "microcode"] as const;

/** Byte of each part; every other byte is reserved. */
const LAYOUTS: Record<ProductLine, Partial<Record<(typeof TCB_PARTS)[number], number>>> = {
  Milan: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Genoa: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Turin: { fmc: 0, bootloader: 1, tee: 2, snp: 3, microcode: 7 },
};

/** A TCB in which every part is 0: any platform is at least that. */
export const TCB_ZERO: Tcb = Object.freeze({ fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 0 });

/**
 * Decodes TCB_VERSION.
 *
 * @throws {CocosError} `invalid-argument` when a reserved byte is not zero.
 */
export function decodeTcb(bytes: Uint8Array, line: ProductLine, what = "a TCB version"): Tcb {
  const layout = LAYOUTS[line];
  const used = Object.values(layout);
  bytes.forEach((byte, at) => {
    if (byte !== 0 && !used.includes(at)) {
      throw new CocosError(
        "invalid-argument",
        `Cannot read ${what}: byte ${at} is reserved on ${line} and is 0x${byte.toString(16)}`,
      );
    }
  });
  if (bytes.length !== 8) {
    throw new CocosError("invalid-argument", `Cannot read ${what}: 8 bytes are due`);
  }
  const part = (name: (typeof TCB_PARTS)[number]) => {
    const at = layout[name];
    return at === undefined ? 0 : bytes[at] as number;
  };
  return Object.freeze({
    fmc: part("fmc"),
    bootloader: part("bootloader"),
    tee: part("tee"),
    snp: part("snp"),
    microcode: part("microcode"),
  });
}

/** The eight bytes of a TCB. */
export function encodeTcb(tcb: Tcb, line: ProductLine): Uint8Array {
  const bytes = new Uint8Array(8);
  for (const name of TCB_PARTS) {
    const at = LAYOUTS[line][name];
    if (at !== undefined) bytes[at] = tcb[name];
  }
  return bytes;
}

/** TCB of the 64-bit integer the Go programs write (byte 0 is the lowest). */
export function tcbOfInteger(value: bigint, line: ProductLine): Tcb {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return decodeTcb(bytes, line);
}

/** Whether every part of `tcb` is at least that of `minimum`. */
export function tcbAtLeast(tcb: Tcb, minimum: Tcb): boolean {
  return TCB_PARTS.every((name) => tcb[name] >= minimum[name]);
}

/** Readable text such as `bootloader 4, tee 0, snp 28, microcode 222`. */
export function tcbText(tcb: Tcb): string {
  return TCB_PARTS
    .filter((name) => name !== "fmc" || tcb.fmc !== 0)
    .map((name) => `${name} ${tcb[name]}`)
    .join(", ");
}

/** Line of a CPUID family and model; `undefined` for one that is not known (a refusal upstairs). */
export function lineOfCpu(cpu: { family: number; model: number }): ProductLine | undefined {
  const { family, model } = cpu;
  if (family === 0x19 && model === 0x01) return "Milan";
  if (family === 0x19 && (model === 0x11 || (model >= 0xa0 && model <= 0xaf))) return "Genoa";
  if (family === 0x1a && (model === 0x02 || model === 0x11)) return "Turin";
  return undefined;
}

/** Line of a certificate's product name (`Milan-B0`, `Turin`). */
export function lineOfName(name: string): ProductLine | undefined {
  const [, word] = /^([A-Za-z]+)(?:-[A-Z][0-9A-F])?$/.exec(name) ?? [];
  return PRODUCT_LINES.find((line) => line === word);
}

/** CPUID(1).EAX of a family, model and stepping (AMD APM vol. 3, E.3.2). */
export function cpuidEax(cpu: { family: number; model: number; stepping: number }): number {
  const base = Math.min(cpu.family, 0x0f);
  const extended = cpu.family - base;
  return (extended << 20 | cpu.model >> 4 << 16 | base << 8 | (cpu.model & 0x0f) << 4 |
    cpu.stepping) >>> 0;
}
