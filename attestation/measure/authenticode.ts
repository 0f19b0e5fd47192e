// The digest by which UEFI measures and verifies a program (Microsoft "Windows Authenticode Portable
// Executable Signature Format", PFP §10.4.2). The program is the user's own file or a distributor's.
import { type Bank, BANKS } from "../banks.ts";
import { CocosError } from "../../base/mod.ts";
import { Reader } from "../reader.ts";

/** A kernel with an initrd inside. */
export const MAX_PROGRAM_BYTES = 1024 * 1024 * 1024;
const MAX_SECTIONS = 96;

/** Data directory of the certificates. */
const CERTIFICATE_DIRECTORY = 4;

interface Layout {
  /** Offsets of what is left out of the headers: the checksum, and the certificates' directory. */
  readonly checksum: number;
  readonly directory: number | undefined;
  readonly headerBytes: number;
  readonly certificateBytes: number;
  readonly sections: readonly { readonly start: number; readonly bytes: number }[];
}

/**
 * The Authenticode digest of a program.
 *
 * @throws {CocosError} `invalid-argument` for what is no PE program, or has parts outside of itself.
 */
export function authenticodeDigest(program: Uint8Array, bank: Bank): Uint8Array {
  const { checksum, directory, headerBytes, certificateBytes, sections } = layoutOf(program);
  const parts: Uint8Array[] = [program.subarray(0, checksum)];
  if (directory === undefined) parts.push(program.subarray(checksum + 4, headerBytes));
  else {
    parts.push(program.subarray(checksum + 4, directory));
    parts.push(program.subarray(directory + 8, headerBytes));
  }
  let sum = headerBytes;
  for (const { start, bytes } of sections) {
    parts.push(program.subarray(start, start + bytes));
    sum += bytes;
  }
  // What lies behind the sections, up to the certificates, counts as well.
  if (program.length > sum + certificateBytes) {
    parts.push(program.subarray(sum, program.length - certificateBytes));
  }
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return BANKS[bank].hash(whole);
}

function layoutOf(program: Uint8Array): Layout {
  const file = new Reader(program, "an EFI program");
  if (program.length > MAX_PROGRAM_BYTES) throw file.fault(`${program.length} bytes are too many`);
  if (file.u16be() !== 0x4d5a) throw file.fault("it does not start with MZ", 0);
  file.bytes(0x3a);
  const pe = file.u32le();
  if (pe < 0x40 || pe > program.length) throw file.fault("its PE header lies outside", 0x3c);
  const reader = new Reader(program.subarray(pe), "an EFI program", { base: pe });
  if (reader.u32be() !== 0x50450000) throw reader.fault("its PE signature is missing", pe);
  reader.u16le(); // machine
  const count = reader.u16le();
  if (count > MAX_SECTIONS) throw reader.fault(`${count} sections`, pe + 6);
  reader.bytes(12);
  const optionalBytes = reader.u16le();
  reader.u16le(); // characteristics
  const optional = reader.offset;
  const header = reader.part(optionalBytes);
  const magic = header.u16le();
  if (magic !== 0x10b && magic !== 0x20b) {
    throw header.fault("optional header is not known", optional);
  }
  header.bytes(58);
  const headerBytes = header.u32le();
  const checksum = header.offset;
  header.bytes(magic === 0x20b ? 44 : 28);
  const directories = header.u32le();
  let directory: number | undefined;
  let certificateBytes = 0;
  if (directories > CERTIFICATE_DIRECTORY) {
    header.bytes(8 * CERTIFICATE_DIRECTORY);
    directory = header.offset;
    const start = header.u32le();
    certificateBytes = header.u32le();
    if (certificateBytes > 0 && start + certificateBytes !== program.length) {
      throw header.fault("its certificates are not at its end", directory);
    }
  }
  const sections: { start: number; bytes: number }[] = [];
  for (let i = 0; i < count; i++) {
    const at = reader.offset;
    reader.bytes(16);
    const bytes = reader.u32le();
    const start = reader.u32le();
    reader.bytes(16);
    if (bytes === 0) continue;
    if (start + bytes > program.length) throw reader.fault("a section lies outside", at);
    sections.push({ start, bytes });
  }
  if (headerBytes < reader.offset || headerBytes > program.length) {
    throw reader.fault("its headers have a wrong size", checksum - 4);
  }
  if (sections.reduce((sum, { bytes }) => sum + bytes, headerBytes) > program.length) {
    throw new CocosError("invalid-argument", "Cannot measure an EFI program: its sections overlap");
  }
  sections.sort((left, right) => left.start - right.start);
  return { checksum, directory, headerBytes, certificateBytes, sections };
}
