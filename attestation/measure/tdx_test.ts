// MRTD of forged and installed firmware, and TDX metadata that lies.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { u32le } from "../forge/eventlog.ts";
import { FIRMWARE_GUID as GUID, firmwareFile, tdxMetadata } from "../forge/firmware.ts";
import { explainMrtd, measureMrtd, parseFirmware, tdxSections } from "./mod.ts";

const BYTES = 0x4000;

const TDX = firmwareFile(
  BYTES,
  [[GUID.tdxMetadata, u32le(BYTES - 0x100)]],
  tdxMetadata([
    [0x1000, 0x3000, 0xffff1000n, 0x3000n, 0, 1],
    [0, 0x1000, 0xffff0000n, 0x1000n, 1, 0],
    [0, 0, 0x800000n, 0x2000n, 3, 0],
    [0, 0, 0x900000n, 0x2000n, 4, 2],
  ]),
);

Deno.test("measureMrtd() of Debian's OVMF equals an independent computation", () => {
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync("/usr/share/ovmf/OVMF.fd");
  } catch {
    console.log("skipped: OVMF.fd of Debian's package ovmf is not installed or not readable");
    return;
  }
  if (bytes.length !== 2097152) return;
  const known =
    "4c7206f0f483c524f12c366c711e9049030a8d47c471ee5aa9c4999a08de4057fb887fed0744d5631a212967fb231c47";
  const other =
    "acccbcc870a381adab0d3919d90a7f268ac3b0364771f202ed4bb4e892d045b33db3b32e6924cba830a724eed443f7e1";
  if (measureMrtd(bytes) !== known) {
    console.log("skipped: the installed OVMF is of another version");
  } else assert.equal(measureMrtd(bytes, "section"), other);
});

Deno.test("measureMrtd() hashes page additions and measured content, and no later page", async () => {
  const parts: Uint8Array[] = [];
  const block = (name: string, gpa: number) => {
    const bytes = new Uint8Array(128);
    bytes.set(new TextEncoder().encode(name));
    bytes.set(u32le(gpa), 16);
    return bytes;
  };
  for (let page = 0; page < 3; page++) {
    parts.push(block("MEM.PAGE.ADD", 0xffff1000 + page * 4096));
    for (let at = page * 4096; at < (page + 1) * 4096; at += 256) {
      parts.push(block("MR.EXTEND", 0xffff1000 + at), TDX.subarray(0x1000 + at, 0x1100 + at));
    }
  }
  for (const gpa of [0xffff0000, 0x800000, 0x801000]) parts.push(block("MEM.PAGE.ADD", gpa));
  const bytes = Uint8Array.from(parts.flatMap((part) => [...part]));
  const want = [...new Uint8Array(await crypto.subtle.digest("SHA-384", bytes))].map((byte) =>
    byte.toString(16).padStart(2, "0")
  ).join("");
  assert.equal(measureMrtd(TDX), want);
  assert.deepEqual(explainMrtd(measureMrtd(TDX, "section"), TDX).found?.length, 1);
  assert.equal(explainMrtd(want, TDX).equal, true);
  assert.equal(explainMrtd("0".repeat(96), TDX).found, undefined);
  assert.throws(() => measureMrtd(firmwareFile(BYTES, [])), /no TDX metadata/);
});

Deno.test("A-14 tdxSections() rejects sections that lie", () => {
  const lying = (section: Parameters<typeof tdxMetadata>[0][number]) =>
    firmwareFile(BYTES, [[GUID.tdxMetadata, u32le(BYTES - 0x100)]], tdxMetadata([section]));
  for (
    const [section, why] of [
      [[0x3000, 0x2000, 0n, 0x2000n, 0, 1], /outside of the file/],
      [[0, 0x2000, 0n, 0x1000n, 0, 1], /outside of the file/],
      [[0, 0, 1n, 0x1000n, 0, 1], /not of whole pages/],
      [[0, 0, 0n, 0x1001n, 0, 1], /not of whole pages/],
      [[0, 0, 0n, 0x1000n, 7, 1], /type 7 is not known/],
      [[0, 0, 0n, 0x1000n, 0, 4], /is not known/],
    ] as const
  ) {
    assert.throws(() => tdxSections(parseFirmware(lying(section))), why);
  }
  const put = (at: number, bytes: Uint8Array) => {
    const copy = TDX.slice();
    copy.set(bytes, 0x100 + at);
    return copy;
  };
  for (
    const [bytes, why] of [
      [put(0, u32le(0)), /must start with TDVF/],
      [put(4, u32le(16)), /TDX metadata is cut/],
      [put(8, u32le(2)), /of version 1/],
      [put(12, u32le(65)), /TDX metadata is cut/],
    ] as const
  ) {
    assert.throws(() => tdxSections(parseFirmware(bytes)), why);
  }
  const huge = lying([0, 0, 0n, 1n << 40n, 3, 0]);
  assert.throws(
    () => measureMrtd(huge),
    (error) => error instanceof CocosError && error.code === "too-large",
  );
});
