// Writes firmware files, IGVM files and small EFI kernels for tests.
import { crc32, guidBytes } from "../measure/mod.ts";
import { join } from "./der.ts";
import { u16le, u32le } from "./eventlog.ts";

/** Eight bytes, little-endian. */
export function u64le(value: bigint): Uint8Array {
  return join(u32le(Number(value & 0xffffffffn)), u32le(Number(value >> 32n)));
}

/** GUIDs of firmware tables. */
export const FIRMWARE_GUID = {
  footer: "96b582de-1fb2-45f7-baea-a366c55a082d",
  resetBlock: "00f771de-1a7e-4fcb-890e-68c77e2fb44e",
  sevMetadata: "dc886566-984a-4798-a75e-5585a7bf67cc",
  hashTable: "7255371f-3a3b-4b04-927b-1da6efa8d454",
  svsmInfo: "a789a612-0597-4c4b-a49f-cbb1fe9d1ddd",
  tdxMetadata: "e47a6535-984a-4798-865e-4685a7bf8ec2",
} as const;

/** Entries of the table of GUIDs, first one first. */
export type Entries = readonly (readonly [guid: string, data: Uint8Array])[];

/** A firmware of `bytes` bytes: a pattern, metadata at 0x100 from the start, the table at the end. */
export function firmwareFile(
  bytes: number,
  entries: Entries,
  metadata = new Uint8Array(),
): Uint8Array<ArrayBuffer> {
  const file = Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + (at >> 8)) & 0xff);
  file.set(metadata, 0x100);
  const table = join(
    ...entries.map(([guid, data]) => join(data, u16le(data.length + 18), guidBytes(guid))),
  );
  const footer = join(u16le(table.length + 18), guidBytes(FIRMWARE_GUID.footer));
  file.set(table, bytes - 32 - 18 - table.length);
  file.set(footer, bytes - 32 - 18);
  return file;
}

/** SEV metadata of sections: address, size, type. */
export function sevMetadata(
  sections: readonly (readonly [number, number, number])[],
): Uint8Array<ArrayBuffer> {
  return join(
    new TextEncoder().encode("ASEV"),
    u32le(16 + 12 * sections.length),
    u32le(1),
    u32le(sections.length),
    ...sections.map(([gpa, size, type]) => join(u32le(gpa), u32le(size), u32le(type))),
  );
}

/** TDX metadata of sections: data offset, data size, address, memory size, type, attributes. */
export function tdxMetadata(
  sections: readonly (readonly [number, number, bigint, bigint, number, number])[],
): Uint8Array<ArrayBuffer> {
  return join(
    new TextEncoder().encode("TDVF"),
    u32le(16 + 32 * sections.length),
    u32le(1),
    u32le(sections.length),
    ...sections.map(([offset, raw, gpa, size, type, attributes]) =>
      join(u32le(offset), u32le(raw), u64le(gpa), u64le(size), u32le(type), u32le(attributes))
    ),
  );
}

/** One variable header of an IGVM file: type, body. */
export type IgvmHeader = readonly [type: number, body: Uint8Array];

/** An IGVM file of format 1: headers, then `data` at the offset that `headers` is told. */
export function igvmFile(
  headers: (dataOffset: number) => readonly IgvmHeader[],
  data: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const build = (offset: number) =>
    join(
      ...headers(offset).map(([type, body]) =>
        join(u32le(type), u32le(body.length), body, new Uint8Array((8 - body.length % 8) % 8))
      ),
    );
  const size = build(0).length;
  const offset = 0x18 + size;
  const variable = build(offset);
  const total = offset + data.length;
  const fixed = (crc: number) =>
    join(
      new TextEncoder().encode("IGVM"),
      u32le(1),
      u32le(0x18),
      u32le(size),
      u32le(total),
      u32le(crc),
    );
  return join(fixed(crc32(join(fixed(0), variable))), variable, data);
}

/** Body of a platform header. */
export function igvmPlatform(mask: number, platform: number): Uint8Array {
  return join(u32le(mask), Uint8Array.of(0, platform), u16le(1), u64le(0n));
}

/** Body of a page directive. */
export function igvmPage(
  gpa: bigint,
  mask: number,
  offset: number,
  flags = 0,
  type = 0,
): Uint8Array {
  return join(u64le(gpa), u32le(mask), u32le(offset), u32le(flags), u16le(type), u16le(0));
}

/** Body of a CPU state directive. */
export function igvmCpu(gpa: bigint, mask: number, offset: number): Uint8Array {
  return join(u64le(gpa), u32le(mask), u32le(offset), u16le(0), u16le(0));
}

/** A small Linux-like EFI kernel: boot protocol 2.15, PE32+ with two sections, optional certificates. */
export function efiKernel(certificates = 0): Uint8Array<ArrayBuffer> {
  const file = Uint8Array.from(
    { length: 0x3000 + certificates },
    (_, at) => (at * 11 + (at >> 7)) & 0xff,
  );
  const put = (at: number, bytes: Uint8Array) => file.set(bytes, at);
  put(0, new TextEncoder().encode("MZ"));
  put(0x3c, u32le(0x40));
  const optional = join(
    u16le(0x20b),
    new Uint8Array(58),
    u32le(0x400),
    u32le(0xabcdef01),
    new Uint8Array(40),
    u32le(6),
    new Uint8Array(32),
    u32le(certificates === 0 ? 0 : 0x3000),
    u32le(certificates),
    new Uint8Array(8),
  );
  put(
    0x40,
    join(
      new TextEncoder().encode("PE\0\0"),
      u16le(0x8664),
      u16le(3),
      new Uint8Array(12),
      u16le(optional.length),
      u16le(0x206),
    ),
  );
  put(0x58, optional);
  const section = (name: string, start: number, bytes: number) =>
    join(
      new TextEncoder().encode(name.padEnd(8, "\0")),
      u32le(bytes),
      u32le(start),
      u32le(bytes),
      u32le(start),
      new Uint8Array(16),
    );
  put(
    0x58 + optional.length,
    join(section(".data", 0x2000, 0x1000), section(".text", 0x400, 0x1c00), section(".bss", 0, 0)),
  );
  put(0x202, new TextEncoder().encode("HdrS"));
  put(0x206, u16le(0x20f));
  put(0x210, Uint8Array.of(0, 1));
  put(0x22c, u32le(0x7fffffff));
  put(0x236, u16le(0x3f));
  return file;
}
