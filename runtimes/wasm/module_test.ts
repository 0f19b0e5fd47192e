import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { SIGNATURES } from "./abi.ts";
import { encodeModule, HEADER, type ModuleSpec, number, section } from "./_encode.ts";
import { checkModule } from "./module.ts";

const check = (bytes: Uint8Array) =>
  checkModule({ read: (offset, length) => bytes.subarray(offset, offset + length) });

/** The message a module is refused with. */
function refused(module: ModuleSpec | readonly number[]): string {
  const bytes = Array.isArray(module) ? new Uint8Array(module) : encodeModule(module as ModuleSpec);
  try {
    check(bytes);
  } catch (error) {
    assert.ok(error instanceof CocosError && error.code === "invalid-argument", String(error));
    return error.message;
  }
  return "accepted";
}

Deno.test("checkModule() accepts a command with every function of preview 1", () => {
  const bytes = encodeModule({ imports: Object.keys(SIGNATURES) });
  assert.ok(WebAssembly.validate(bytes), "the encoder of these tests makes valid modules");
  check(bytes);
});

Deno.test("checkModule() S-13 names imports that are unknown or of another type", () => {
  assert.equal(
    refused({
      imports: [
        "fd_read",
        ["env.memory_grow", "i:i"],
        ["wasi_snapshot_preview1.sock_open", "iii:i"],
        ["wasi_snapshot_preview1.fd_write", "iIii:i"],
        ["wasi_unstable.fd_read", "iiii:i"],
        ["wasi_snapshot_preview1.toString", ":"],
        ["wasi_snapshot_preview1.__proto__", ":"],
      ],
    }),
    "The algorithm imports what no algorithm is given: env.memory_grow, " +
      "wasi_snapshot_preview1.sock_open, wasi_snapshot_preview1.fd_write with another type, " +
      "wasi_unstable.fd_read, wasi_snapshot_preview1.toString, wasi_snapshot_preview1.__proto__",
  );
  const many = Array.from({ length: 20 }, (_, i) => [`e.f${i}`, ":"] as const);
  assert.match(refused({ imports: many }), /e\.f7 and 12 more$/);
});

Deno.test("checkModule() S-13 tells no control characters and no endless names", () => {
  const message = refused({ imports: [[`e.\x1b[31m\n${"x".repeat(1000)}`, ":"]] });
  assert.match(message, /: e\.\?\[31m\?x{50,56}$/);
});

Deno.test("checkModule() refuses libraries, components and what is no module", () => {
  assert.match(refused({ exports: ["memory"] }), /exports no function _start/);
  assert.match(refused({ exports: ["_start"] }), /doesn't export its memory/);
  assert.match(refused([...HEADER]), /exports no function _start/);
  assert.match(refused([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]), /is a WebAssembly component/);
  assert.match(refused([]), /isn't a WebAssembly module/);
  assert.match(refused([...new TextEncoder().encode("#!/bin/sh\n")]), /isn't a WebAssembly module/);
});

Deno.test("checkModule() reads types of references, groups and all kinds of imports", () => {
  // (rec (struct (field i8) (field (ref null 0))) (sub (array (ref func)))), then the function type.
  const types = [
    2,
    0x4e,
    2,
    0x5f,
    2,
    0x78,
    0,
    0x63,
    0,
    0,
    0x50,
    0,
    0x5e,
    0x64,
    0x70,
    0,
    0x60,
    0,
    0,
  ];
  const name = [1, 0x65, 1, 0x66];
  const imports = [
    ...[5, ...name, 1, 0x70, 0, 1, ...name, 2, 0, 1, ...name, 3, 0x7f, 0],
    ...[...name, 4, 0, 2, ...name, 0, 2],
  ];
  assert.equal(
    refused([...HEADER, ...section(1, types), ...section(2, imports)]),
    "The algorithm imports what no algorithm is given: e.f, e.f, e.f, e.f, e.f",
  );
});

Deno.test("checkModule() S-13 refuses malformed modules with a typed error", () => {
  const good = [...encodeModule({ imports: Object.keys(SIGNATURES) })];
  let refusals = 0;
  // Cut at every place, and every byte changed to a few hostile ones.
  for (let at = 0; at < good.length; at++) {
    if (refused(good.slice(0, at)) !== "accepted") refusals++;
    for (const byte of [0x00, 0x7f, 0x80, 0xff]) {
      const changed = [...good];
      changed[at] = byte;
      if (refused(changed) !== "accepted") refusals++;
    }
  }
  assert.ok(refusals > good.length, `${refusals} of ${good.length * 5}`);
  for (
    const [bytes, message] of [
      [section(1, [0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), /a number is too long/],
      [section(1, [0xff, 0xff, 0xff, 0xff, 0x0f]), /ends too early/],
      [[1, ...number(0xffff_ffff)], /over 4194304 bytes/],
      [[...section(1, [0]), ...section(1, [0])], /comes twice/],
      [section(1, [1, 0x61]), /a type is unknown/],
      [section(2, [1, 0, 0, 9]), /unknown kind/],
      [Array.from({ length: 5000 }, () => section(0, [0])).flat(), /over 4096 sections/],
    ] as const
  ) {
    assert.match(refused([...HEADER, ...bytes]), message);
  }
});
