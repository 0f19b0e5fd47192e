// The probe's program: its size, the fields the kernel's loader reads, and where its text is.
import assert from "node:assert/strict";
import { PROBE_MARKER, probeInitrd } from "./mod.ts";
import { probeProgram } from "./_probe.ts";

Deno.test("probeProgram() is a static x86-64 program of 576 bytes", () => {
  const bytes = probeProgram();
  const view = new DataView(bytes.buffer);
  assert.equal(bytes.length, 576);
  assert.deepEqual([...bytes.subarray(0, 6)], [0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  assert.equal(view.getUint16(16, true), 2);
  assert.equal(view.getUint16(18, true), 62);
  assert.equal(view.getBigUint64(24, true), 0x400078n);
  assert.equal(view.getUint32(64, true), 1);
  assert.equal(view.getBigUint64(104, true), 576n);
});

Deno.test("probeProgram() writes exactly the marker's line", () => {
  const bytes = probeProgram();
  const view = new DataView(bytes.buffer);
  // mov eax, 1; mov edi, 1; mov esi, text; mov edx, length; syscall
  assert.equal(bytes[120 + 10], 0xbe);
  const at = view.getUint32(120 + 11, true) - 0x400000;
  const length = view.getUint32(120 + 16, true);
  assert.equal(new TextDecoder().decode(bytes.subarray(at, at + length)), `\n${PROBE_MARKER}\n`);
});

Deno.test("probeProgram() refuses a marker that does not fit", () => {
  assert.throws(() => probeProgram("x".repeat(576)), RangeError);
});

Deno.test("probeInitrd() is the same 1,536 bytes each time", async () => {
  const initrd = await probeInitrd();
  assert.equal(initrd.length, 1536);
  assert.deepEqual(initrd, await probeInitrd());
});
