// The guest that proves KVM works: a static program of 576 bytes as /init, which prints a line on
// the serial console and powers off. Its machine code is written here, so no compiler is needed.

/** The line a working guest prints on its first serial port. */
export const PROBE_MARKER = "cocos-probe: a kernel ran to user space";

/** Size of the program; the rest after code and text is zero. */
const PROBE_BYTES = 576;
const BASE = 0x400000;
const ELF_HEADER = 64;
const PROGRAM_HEADER = 56;
const CODE = ELF_HEADER + PROGRAM_HEADER;

/** Little-endian bytes of a 32-bit number. */
function le32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff];
}

// Linux x86-64 system call numbers (arch/x86/entry/syscalls/syscall_64.tbl).
const SYS_WRITE = 1;
const SYS_PAUSE = 34;
const SYS_REBOOT = 169;
// reboot(2): the two magic numbers and LINUX_REBOOT_CMD_POWER_OFF.
const MAGIC_1 = 0xfee1dead;
const MAGIC_2 = 672274793;
const POWER_OFF = 0x4321fedc;

/** mov eax|edi|esi|edx, imm32 */
const eax = (value: number) => [0xb8, ...le32(value)];
const edi = (value: number) => [0xbf, ...le32(value)];
const esi = (value: number) => [0xbe, ...le32(value)];
const edx = (value: number) => [0xba, ...le32(value)];
const syscall = [0x0f, 0x05];

/** The ELF file (System V ABI, AMD64): one header, one loadable segment, code, text. */
export function probeProgram(marker: string = PROBE_MARKER): Uint8Array<ArrayBuffer> {
  const line = new TextEncoder().encode(`\n${marker}\n`);
  // The text follows the code; the length of the code does not depend on where that is.
  const code = (text: number) => [
    // write(1, text, length): the kernel opens /dev/console for the first program
    ...[...eax(SYS_WRITE), ...edi(1), ...esi(text), ...edx(line.length), ...syscall],
    // reboot(magic1, magic2, power off)
    ...[...eax(SYS_REBOOT), ...edi(MAGIC_1), ...esi(MAGIC_2), ...edx(POWER_OFF), ...syscall],
    // a machine without power control: wait, the prober's time limit ends it
    ...[...eax(SYS_PAUSE), ...syscall, 0xeb, 0xf7],
  ];
  const textAt = CODE + code(0).length;
  if (textAt + line.length > PROBE_BYTES) throw new RangeError("Cannot fit the marker");
  const bytes = new Uint8Array(PROBE_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // 64 bit, little endian, version 1
  view.setUint16(16, 2, true); // executable
  view.setUint16(18, 62, true); // x86-64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(BASE + CODE), true); // entry point
  view.setBigUint64(32, BigInt(ELF_HEADER), true); // program headers
  view.setUint16(52, ELF_HEADER, true);
  view.setUint16(54, PROGRAM_HEADER, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // PT_LOAD
  view.setUint32(68, 5, true); // read, execute
  view.setBigUint64(80, BigInt(BASE), true);
  view.setBigUint64(88, BigInt(BASE), true);
  view.setBigUint64(96, BigInt(PROBE_BYTES), true);
  view.setBigUint64(104, BigInt(PROBE_BYTES), true);
  view.setBigUint64(112, 0x1000n, true);
  bytes.set(code(BASE + textAt), CODE);
  bytes.set(line, textAt);
  return bytes;
}
