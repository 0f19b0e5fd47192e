import assert from "node:assert/strict";
import fc from "fast-check";
import { HEADER_BYTES, readHeader } from "./header.ts";

const text = (value: string) => new TextEncoder().encode(value);

function elf(change: Record<number, number> = {}): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes[16] = 3;
  bytes[18] = 62;
  for (const [at, value] of Object.entries(change)) bytes[Number(at)] = value;
  return bytes;
}

Deno.test("readHeader() takes x86-64 executables and scripts", () => {
  assert.deepEqual(readHeader(elf()), { kind: "elf" });
  assert.deepEqual(readHeader(elf({ 16: 2 })), { kind: "elf" });
  assert.deepEqual(readHeader(text("#!/bin/sh\necho")), { kind: "script", interpreter: "/bin/sh" });
  assert.deepEqual(readHeader(text("#! /usr/bin/env python3")), {
    kind: "script",
    interpreter: "/usr/bin/env",
  });
});

Deno.test("readHeader() says why another file can't run", () => {
  const cases: [Uint8Array, RegExp][] = [
    [elf({ 18: 183 }), /for 64-bit ARM/],
    [elf({ 4: 1, 18: 3 }), /for 32-bit x86/],
    [elf({ 18: 9 }), /machine 9/],
    [elf({ 16: 1 }), /not an executable/],
    [elf().subarray(0, 20), /cut short/],
    [text("print(1)"), /neither/],
    [text("#!python3\n"), /no absolute path/],
    [text("#!\n/bin/sh"), /no absolute path/],
    [new Uint8Array(), /is empty/],
    [new Uint8Array([0, 0x61, 0x73, 0x6d, 1]), /type wasm/],
  ];
  for (const [bytes, pattern] of cases) {
    const header = readHeader(bytes);
    assert.ok(
      header.kind === "not-runnable" && pattern.test(header.reason),
      JSON.stringify(header),
    );
  }
});

Deno.test("readHeader() ends for any bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: HEADER_BYTES }), (bytes) => {
    readHeader(bytes);
    readHeader(new Uint8Array([0x7f, 0x45, 0x4c, 0x46, ...bytes]));
    readHeader(new Uint8Array([0x23, 0x21, ...bytes]));
  }));
});
