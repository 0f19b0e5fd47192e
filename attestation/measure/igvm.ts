// IGVM files (Independent Guest Virtual Machine format): headers, checksum, directives. The file is
// the user's own or a distributor's; every offset and length in it is checked.
import { Reader } from "../reader.ts";
import { PAGE_BYTES } from "./launch.ts";

/** Firmware with a kernel and an initrd inside stays below. */
export const MAX_IGVM_BYTES = 1024 * 1024 * 1024;
/** One header of 2 MiB pages or a few thousand of 4 KiB ones for each 2 MiB. */
const MAX_HEADERS = 1_000_000;

/** Platform types of a SUPPORTED_PLATFORM header. */
export const IGVM_PLATFORMS = ["native", "vsm", "snp", "tdx", "sev", "sev-es"] as const;

/** A platform. */
export type IgvmPlatform = (typeof IGVM_PLATFORMS)[number];

/** A platform the file is for, and the bit that directives name it by. */
export interface IgvmPlatformHeader {
  readonly platform: IgvmPlatform;
  readonly mask: number;
  readonly sharedBoundary: bigint;
}

/** Kinds of page data. */
export const IGVM_PAGES = ["normal", "secrets", "cpuid", "cpuid-xf"] as const;

/** A directive that adds to the guest's memory. Other directives are not measured. */
export type IgvmDirective =
  | {
    readonly kind: "page";
    readonly mask: number;
    readonly gpa: bigint;
    readonly page: (typeof IGVM_PAGES)[number];
    readonly unmeasured: boolean;
    readonly shared: boolean;
    /** 4,096 bytes, or 2 MiB. */
    readonly bytes: number;
    /** Padded with zeros to the size; absent when the file gives none. */
    readonly data: Uint8Array | undefined;
  }
  | { readonly kind: "parameter"; readonly mask: number; readonly gpa: bigint }
  | {
    readonly kind: "cpu";
    readonly mask: number;
    readonly gpa: bigint;
    readonly cpu: number;
    readonly data: Uint8Array;
  };

/** An SNP ID block in a file. */
export interface IgvmIdBlock {
  readonly mask: number;
  readonly authorKeyEnabled: boolean;
  readonly launchDigest: Uint8Array;
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly version: number;
  readonly svn: number;
  /** Signature of the block, and the key in AMD's form, as they stand. */
  readonly signature: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly authorSignature: Uint8Array;
  readonly authorKey: Uint8Array;
}

/** A parsed file. */
export interface Igvm {
  readonly format: 1 | 2;
  readonly platforms: readonly IgvmPlatformHeader[];
  /** Guest policies by mask. */
  readonly policies: readonly { readonly mask: number; readonly policy: bigint }[];
  readonly directives: readonly IgvmDirective[];
  readonly idBlocks: readonly IgvmIdBlock[];
}

/** Header types that are read and not measured. */
const UNMEASURED = new Set([
  0x102, // relocatable region
  0x103, // page table relocation
  0x301, // parameter area
  ...[
    0x305,
    0x306,
    0x307,
    0x308,
    0x309,
    0x30a,
    0x30c,
    0x30d,
    0x30e,
    0x30f,
    0x310,
    0x311,
    0x312,
    0x313,
  ],
]);

const LARGE_PAGE = 2 * 1024 * 1024;

/**
 * Parses a file.
 *
 * @throws {CocosError} `invalid-argument` with the offset for a wrong magic, version, checksum, unknown
 * header, offset outside of the file or odd size.
 */
export function parseIgvm(bytes: Uint8Array): Igvm {
  const reader = new Reader(bytes, "an IGVM file");
  if (bytes.length > MAX_IGVM_BYTES) throw reader.fault(`${bytes.length} bytes are too many`);
  if (reader.u32be() !== 0x4947564d) throw reader.fault("it does not start with IGVM", 0);
  const format = reader.u32le();
  if (format !== 1 && format !== 2) throw reader.fault(`format version ${format}`, 4);
  const start = reader.u32le();
  const size = reader.u32le();
  const total = reader.u32le();
  const checksum = reader.u32le();
  if (start !== (format === 1 ? 0x18 : 0x20)) throw reader.fault("headers start elsewhere", 8);
  if (total !== bytes.length) throw reader.fault(`the file should have ${total} bytes`, 16);
  if (format === 2) {
    if (reader.u32le() !== 0) throw reader.fault("it is not for x86-64", 0x18);
    if (reader.u32le() !== PAGE_BYTES) throw reader.fault("its pages are not 4 KiB", 0x1c);
  }
  const headers = reader.part(size, "the headers of an IGVM file");
  const summed = bytes.slice(0, start + size);
  summed.fill(0, 0x14, 0x18);
  if (crc32(summed) !== checksum) throw reader.fault("the checksum of the headers is wrong", 0x14);
  return readHeaders(headers, bytes);
}

interface Building {
  readonly platforms: IgvmPlatformHeader[];
  readonly policies: { mask: number; policy: bigint }[];
  readonly directives: IgvmDirective[];
  readonly idBlocks: IgvmIdBlock[];
}

function readHeaders(reader: Reader, file: Uint8Array): Igvm {
  const into: Building = { platforms: [], policies: [], directives: [], idBlocks: [] };
  for (let count = 0; !reader.done; count++) {
    if (count >= MAX_HEADERS) throw reader.fault(`more than ${MAX_HEADERS} headers`);
    const at = reader.offset;
    const type = reader.u32le();
    const body = reader.part(reader.u32le());
    readHeader(type, body, file, into, at);
    reader.bytes(Math.min(reader.left, (8 - (reader.offset - at) % 8) % 8));
  }
  if (into.platforms.length === 0) throw reader.fault("it supports no platform");
  const format = new DataView(file.buffer, file.byteOffset).getUint32(4, true) as 1 | 2;
  return Object.freeze({ format, ...into });
}

function readHeader(
  type: number,
  body: Reader,
  file: Uint8Array,
  into: Building,
  at: number,
): void {
  switch (type) {
    case 0x001:
      into.platforms.push(readPlatform(body, at));
      break;
    case 0x101: {
      const policy = body.u64le();
      into.policies.push({ mask: body.u32le(), policy });
      body.zeros(4, "a reserved field");
      break;
    }
    case 0x302:
      into.directives.push(readPage(body, file, at));
      break;
    case 0x303: {
      const gpa = body.u64le();
      const mask = body.u32le();
      body.u32le(); // index of the parameter area
      into.directives.push({ kind: "parameter", mask, gpa: pageAligned(body, gpa, at) });
      break;
    }
    case 0x304:
      into.directives.push(readCpu(body, file, at));
      break;
    case 0x30b:
      into.idBlocks.push(readIdBlock(body));
      break;
    default:
      if (!UNMEASURED.has(type)) {
        throw body.fault(`header type 0x${type.toString(16)} is not known`, at);
      }
      return;
  }
  body.end();
}

function readPlatform(body: Reader, at: number): IgvmPlatformHeader {
  const mask = body.u32le();
  body.u8(); // highest VTL
  const platform = IGVM_PLATFORMS[body.u8()];
  body.u16le(); // platform version
  const sharedBoundary = body.u64le();
  if (platform === undefined) throw body.fault("platform type is not known", at + 13);
  if (mask === 0 || (mask & (mask - 1)) !== 0) {
    throw body.fault("a platform mask is one bit", at + 8);
  }
  return Object.freeze({ platform, mask, sharedBoundary });
}

function readPage(body: Reader, file: Uint8Array, at: number): IgvmDirective {
  const gpa = pageAligned(body, body.u64le(), at);
  const mask = body.u32le();
  const offset = body.u32le();
  const flags = body.u32le();
  const page = IGVM_PAGES[body.u16le()];
  body.zeros(2, "a reserved field");
  if (page === undefined) throw body.fault("page type is not known", at + 28);
  if (flags > 7) throw body.fault(`page flags 0x${flags.toString(16)} are not known`, at + 24);
  const bytes = flags & 1 ? LARGE_PAGE : PAGE_BYTES;
  return Object.freeze({
    kind: "page",
    mask,
    gpa,
    page,
    unmeasured: (flags & 2) !== 0,
    shared: (flags & 4) !== 0,
    bytes,
    data: offset === 0 ? undefined : fileData(body, file, offset, bytes, at),
  });
}

function readCpu(body: Reader, file: Uint8Array, at: number): IgvmDirective {
  const gpa = pageAligned(body, body.u64le(), at);
  const mask = body.u32le();
  const offset = body.u32le();
  const cpu = body.u16le();
  body.zeros(2, "a reserved field");
  body.rest();
  const data = fileData(body, file, offset, PAGE_BYTES, at);
  return Object.freeze({ kind: "cpu", mask, gpa, cpu, data });
}

function readIdBlock(body: Reader): IgvmIdBlock {
  const mask = body.u32le();
  const author = body.u8();
  if (author > 1) throw body.fault("author key flag is neither 0 nor 1");
  body.zeros(3, "a reserved field");
  const launchDigest = body.bytes(48);
  const familyId = body.bytes(16);
  const imageId = body.bytes(16);
  const version = body.u32le();
  const svn = body.u32le();
  body.bytes(8); // algorithms of the two keys
  return Object.freeze({
    mask,
    authorKeyEnabled: author === 1,
    launchDigest,
    familyId,
    imageId,
    version,
    svn,
    signature: body.bytes(144),
    publicKey: body.bytes(152),
    authorSignature: body.bytes(144),
    authorKey: body.bytes(152),
  });
}

function fileData(
  body: Reader,
  file: Uint8Array,
  offset: number,
  bytes: number,
  at: number,
): Uint8Array {
  if (offset + bytes > file.length) throw body.fault("its data lies outside of the file", at);
  return file.subarray(offset, offset + bytes);
}

function pageAligned(body: Reader, gpa: bigint, at: number): bigint {
  if (gpa % BigInt(PAGE_BYTES) !== 0n) throw body.fault("its address is not of a page", at);
  return gpa;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

/** CRC-32 of IEEE 802.3. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
