// The probe's initial root: a console to print on, and the program.
import { cpio } from "./_cpio.ts";
import { probeProgram } from "./_probe.ts";

/** All bytes of the probe's archive (uncompressed, about 1.5 KB). */
export async function probeInitrd(): Promise<Uint8Array<ArrayBuffer>> {
  const parts = await Array.fromAsync(cpio([
    { kind: "directory", path: "dev", mode: 0o755 },
    { kind: "device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
    { kind: "file", path: "init", mode: 0o755, content: probeProgram() },
  ]));
  return new Uint8Array(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}
