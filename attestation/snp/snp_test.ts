// Parts of the SNP room by themselves: TCB layouts, products, the certificate table.
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  cpuidEax,
  decodeTcb,
  encodeTable,
  encodeTcb,
  lineOfCpu,
  lineOfName,
  parseTable,
  PRODUCT_LINES,
  splitExtended,
  TABLE_GUIDS,
  tcbAtLeast,
  tcbOf,
  tcbOfInteger,
  tcbText,
} from "./mod.ts";

Deno.test("decodeTcb() knows Turin's own layout", () => {
  const bytes = Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 9);
  assert.deepEqual(decodeTcb(bytes, "Turin"), {
    fmc: 1,
    bootloader: 2,
    tee: 3,
    snp: 4,
    microcode: 9,
  });
  assert.throws(() => decodeTcb(bytes, "Milan"), /byte 2 is reserved on Milan/);
  const milan = Uint8Array.of(3, 0, 0, 0, 0, 0, 8, 0x73);
  assert.equal(tcbText(decodeTcb(milan, "Milan")), "bootloader 3, tee 0, snp 8, microcode 115");
  assert.throws(() => decodeTcb(milan, "Turin"), /byte 6 is reserved on Turin/);
  assert.throws(() => decodeTcb(milan.subarray(1), "Milan"));
});

const byte = fc.nat(255);
const tcbs = fc.record({ fmc: byte, bootloader: byte, tee: byte, snp: byte, microcode: byte });

Deno.test("encodeTcb() and decodeTcb() are inverse on every line", () => {
  fc.assert(fc.property(fc.constantFrom(...PRODUCT_LINES), tcbs, (line, given) => {
    const tcb = { ...given, fmc: line === "Turin" ? given.fmc : 0 };
    assert.deepEqual({ ...decodeTcb(encodeTcb(tcb, line), line) }, tcb);
    const value = new DataView(encodeTcb(tcb, line).buffer).getBigUint64(0, true);
    assert.deepEqual({ ...tcbOfInteger(value, line) }, tcb);
  }));
});

Deno.test("A-4 tcbAtLeast() compares part by part, never as one integer", () => {
  fc.assert(fc.property(tcbs, tcbs, (tcb, minimum) => {
    const parts = Object.keys(tcb) as (keyof typeof tcb)[];
    assert.equal(tcbAtLeast(tcb, minimum), parts.every((part) => tcb[part] >= minimum[part]));
  }));
  assert.equal(tcbAtLeast(tcbOf({ microcode: 255 }), tcbOf({ snp: 1 })), false);
});

Deno.test("lineOfCpu(), lineOfName() and cpuidEax() name the lines and refuse others", () => {
  assert.deepEqual(
    [[0x19, 1], [0x19, 0x11], [0x19, 0xa0], [0x19, 0xaf], [0x1a, 2], [0x1a, 0x11]].map((
      [family = 0, model = 0],
    ) => lineOfCpu({ family, model })),
    ["Milan", "Genoa", "Genoa", "Genoa", "Turin", "Turin"],
  );
  assert.equal(lineOfCpu({ family: 0x17, model: 0x31 }), undefined);
  assert.equal(lineOfCpu({ family: 0x19, model: 0xb0 }), undefined);
  assert.deepEqual(["Milan-B0", "Genoa-B1", "Turin", "Milan"].map(lineOfName), [
    "Milan",
    "Genoa",
    "Turin",
    "Milan",
  ]);
  assert.deepEqual(
    ["Rome", "milan", "Milan-", "Milan-B00", "", "Milan B0"].map(lineOfName),
    Array(6).fill(undefined),
  );
  assert.equal(cpuidEax({ family: 0x19, model: 0x01, stepping: 1 }), 0xa00f11);
  assert.equal(cpuidEax({ family: 0x19, model: 0x11, stepping: 0 }), 0xa10f10);
  assert.equal(cpuidEax({ family: 0x1a, model: 0x02, stepping: 0 }), 0xb00f20);
});

Deno.test("encodeTable() and parseTable() are inverse", () => {
  const guid = fc.constantFrom(...Object.values(TABLE_GUIDS));
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(guid, fc.uint8Array({ maxLength: 40 })), { selector: ([id]) => id }),
      (entries) => {
        assert.deepEqual(
          [...parseTable(encodeTable(new Map(entries))).entries],
          entries.map(([id, data]) => [id, data]),
        );
      },
    ),
  );
});

Deno.test("A-14 parseTable() refuses ranges outside of the data, no end, doubled and too many entries", () => {
  const table = encodeTable(new Map([[TABLE_GUIDS.vcek, new Uint8Array(8).fill(1)]]));
  const patched = (at: number, value: number) => {
    const copy = table.slice();
    new DataView(copy.buffer).setUint32(at, value, true);
    return copy;
  };
  for (
    const [wrong, message] of [
      [patched(16, 0), /outside/],
      [patched(16, 47), /outside/],
      [patched(16, 0xffffffff), /outside/],
      [patched(20, 9), /outside/],
      [patched(20, 0xffffffff), /outside/],
      [patched(40, 1), /end mark has a range/],
      [table.subarray(0, 24), /16 bytes are due/],
      [table.subarray(0, 30), /16 bytes are due/],
      [new Uint8Array(), /16 bytes are due/],
      [new Uint8Array(300_000), /larger than 256 KiB/],
    ] as const
  ) assert.throws(() => parseTable(wrong), message);
  const doubled = Uint8Array.from([...table.subarray(0, 24), ...table]);
  assert.throws(() => parseTable(doubled), /twice/);
  const many = new Uint8Array(24 * 40);
  for (let at = 0; at < 39; at++) many[24 * at] = at + 1;
  assert.throws(() => parseTable(many), /more than 32 entries/);
  assert.equal(splitExtended(new Uint8Array(1184)).table, undefined);
});
