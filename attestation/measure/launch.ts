// The SNP launch digest: one SHA-384 chained over every page the hypervisor gives to the firmware
// (AMD 56860 §8.17, SNP_LAUNCH_UPDATE). The files are the user's own; sizes in them are still bounded.
import { sha384 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import { toHex } from "../verdict.ts";

/** What is measured at once. */
export const PAGE_BYTES = 4096;

/** 1 GiB of pages: more than any firmware, and a few seconds of hashing. */
export const MAX_PAGES = 262_144;

/** Page types, with their number in PAGE_INFO. */
export const PAGE_TYPES = {
  normal: 1,
  vmsa: 2,
  zero: 3,
  unmeasured: 4,
  secrets: 5,
  cpuid: 6,
} as const;

/** A page type; only `normal` and `vmsa` pages are measured with their content. */
export type PageType = keyof typeof PAGE_TYPES;

/** Where KVM says a VMSA lies: its guest address is not known to the firmware. */
export const KVM_VMSA_GPA = 0xffff_ffff_f000n;

/** A run of pages of one kind, for people who compare. */
export interface LaunchRegion {
  /** What it is, in words. */
  readonly name: string;
  readonly type: PageType;
  readonly gpa: bigint;
  readonly pages: number;
}

interface Page {
  readonly type: PageType;
  readonly gpa: bigint;
  readonly content: Uint8Array | undefined;
}

/** Collects pages in launch order, then makes the digest. */
export class Launch {
  readonly #pages: Page[] = [];
  readonly #regions: LaunchRegion[] = [];

  /** Runs of pages so far. */
  get regions(): readonly LaunchRegion[] {
    return this.#regions;
  }

  /** Pages with content, each measured with its address; `bytes` must be whole pages. */
  content(name: string, type: "normal" | "vmsa", gpa: bigint, bytes: Uint8Array): void {
    if (bytes.length % PAGE_BYTES !== 0) throw uneven(name, bytes.length);
    this.#add(name, type, gpa, bytes.length / PAGE_BYTES, bytes);
  }

  /** Pages that are measured by type and address alone. */
  blank(
    name: string,
    type: Exclude<PageType, "normal" | "vmsa">,
    gpa: bigint,
    bytes: number,
  ): void {
    if (bytes % PAGE_BYTES !== 0) throw uneven(name, bytes);
    this.#add(name, type, gpa, bytes / PAGE_BYTES, undefined);
  }

  #add(
    name: string,
    type: PageType,
    gpa: bigint,
    count: number,
    bytes: Uint8Array | undefined,
  ): void {
    if (this.#pages.length + count > MAX_PAGES) {
      throw new CocosError("too-large", `Cannot measure more than ${MAX_PAGES} pages`);
    }
    for (let at = 0; at < count; at++) {
      this.#pages.push({
        type,
        gpa: gpa + BigInt(at * PAGE_BYTES),
        content: bytes?.subarray(at * PAGE_BYTES, (at + 1) * PAGE_BYTES),
      });
    }
    const last = this.#regions.at(-1);
    const follows = last !== undefined && last.name === name && last.type === type &&
      last.gpa + BigInt(last.pages * PAGE_BYTES) === gpa;
    if (follows) this.#regions[this.#regions.length - 1] = { ...last, pages: last.pages + count };
    else this.#regions.push({ name, type, gpa, pages: count });
  }

  /**
   * The digest, 48 bytes.
   *
   * @param start Digest to go on from, such as of a firmware alone; zeros by default.
   */
  async digest(start: Uint8Array = new Uint8Array(48)): Promise<Uint8Array> {
    let digest = start;
    for (let from = 0; from < this.#pages.length; from += BATCH) {
      const batch = this.#pages.slice(from, from + BATCH);
      const contents = await Promise.all(batch.map(({ content }) => contentDigest(content)));
      for (const [at, { type, gpa }] of batch.entries()) {
        digest = nextDigest(digest, type, gpa, contents[at] as Uint8Array);
      }
    }
    return digest;
  }
}

/** One link of the chain: SHA-384 of PAGE_INFO (AMD 56860, table 67). */
export function nextDigest(
  digest: Uint8Array,
  type: PageType,
  gpa: bigint,
  content: Uint8Array,
): Uint8Array {
  const info = new Uint8Array(0x70);
  const view = new DataView(info.buffer);
  info.set(digest);
  info.set(content, 0x30);
  view.setUint16(0x60, info.length, true);
  info[0x62] = PAGE_TYPES[type];
  view.setBigUint64(0x68, gpa, true);
  return sha384(info);
}

/** Contents hash side by side (WebCrypto), the chain cannot. */
const BATCH = 256;

const NOTHING = new Uint8Array(48);
const ZERO_PAGE_DIGEST = sha384(new Uint8Array(PAGE_BYTES));

async function contentDigest(content: Uint8Array | undefined): Promise<Uint8Array> {
  if (content === undefined) return NOTHING;
  if (content.every((byte) => byte === 0)) return ZERO_PAGE_DIGEST;
  return new Uint8Array(await crypto.subtle.digest("SHA-384", content as BufferSource));
}

/** Region as a line of text. */
export function regionText({ name, type, gpa, pages }: LaunchRegion): string {
  return `${gpa.toString(16).padStart(12, "0")} ${type} ${pages} ${
    pages === 1 ? "page" : "pages"
  } ${name}`;
}

/** A computed measurement. */
export interface Measurement {
  /** Lower-case hex. */
  readonly digest: string;
  /** What was measured, in order. */
  readonly regions: readonly LaunchRegion[];
  /** What a person should know; each is a reason for the hardware to differ. */
  readonly warnings: readonly string[];
}

/** The measurement of a launch. */
export async function measurementOf(
  launch: Launch,
  warnings: readonly string[] = [],
  start?: Uint8Array,
): Promise<Measurement> {
  const digest = toHex(await launch.digest(start));
  return Object.freeze({ digest, regions: launch.regions, warnings });
}

function uneven(name: string, bytes: number): CocosError {
  return new CocosError(
    "invalid-argument",
    `Cannot measure ${name}: ${bytes} bytes are no whole pages`,
  );
}
