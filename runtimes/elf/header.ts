// What kind of program a file is, from its first bytes (System V ABI, "ELF header"; execve(2) for
// `#!`). The file comes from the algorithm's provider and is only looked at.

/** Bytes that are enough: the ELF header, or a `#!` line as long as Linux reads it. */
export const HEADER_BYTES = 256;

/** Length of the ELF header of a 64-bit file. */
const ELF_HEADER_BYTES = 64;
/** EM_X86_64. */
const X86_64 = 62;

const MACHINES: Readonly<Record<number, string>> = {
  3: "32-bit x86",
  40: "32-bit ARM",
  62: "x86-64",
  183: "64-bit ARM",
  243: "RISC-V",
};

/** What a file's beginning says. */
export type Header =
  | { readonly kind: "elf" }
  | { readonly kind: "script"; readonly interpreter: string }
  | { readonly kind: "not-runnable"; readonly reason: string };

/** Reads the first {@linkcode HEADER_BYTES} of a file, or all of it if it is shorter. */
export function readHeader(bytes: Uint8Array): Header {
  const starts = (...magic: number[]) => magic.every((byte, index) => bytes[index] === byte);
  if (starts(0x7f, 0x45, 0x4c, 0x46)) return readElf(bytes);
  if (starts(0x23, 0x21)) return readScript(bytes);
  if (starts(0x00, 0x61, 0x73, 0x6d)) return not("is a WebAssembly module: send it as type wasm");
  if (bytes.length === 0) return not("is empty");
  return not("is neither an ELF executable nor a script with a #! line");
}

function not(reason: string): Header {
  return { kind: "not-runnable", reason };
}

function readElf(bytes: Uint8Array): Header {
  if (bytes.length < ELF_HEADER_BYTES) return not("is an ELF file cut short");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const machine = view.getUint16(18, true);
  // EI_CLASS 2: 64-bit; EI_DATA 1: little-endian.
  if (bytes[4] !== 2 || bytes[5] !== 1 || machine !== X86_64) {
    const name = MACHINES[machine] ?? `machine ${machine}`;
    return not(`is an ELF file for ${name}, not for 64-bit x86-64`);
  }
  // ET_EXEC 2 and ET_DYN 3, which position-independent executables are too.
  const type = view.getUint16(16, true);
  if (type !== 2 && type !== 3) return not("is an ELF file, but not an executable one");
  return { kind: "elf" };
}

function readScript(bytes: Uint8Array): Header {
  const end = bytes.indexOf(10);
  const line = new TextDecoder().decode(bytes.subarray(2, end < 0 ? undefined : end)).trim();
  const interpreter = /^(\S+)/.exec(line)?.[1] ?? "";
  if (!interpreter.startsWith("/")) return not("is a script whose #! line names no absolute path");
  return { kind: "script", interpreter };
}
