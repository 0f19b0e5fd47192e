// Forged IGVM files: what is measured, what KVM would measure otherwise, and files that lie.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { u32le } from "../forge/eventlog.ts";
import { igvmCpu, igvmFile, type IgvmHeader, igvmPage, igvmPlatform } from "../forge/firmware.ts";
import { bitsToFlip, flipped, ownVector } from "../testdata/vectors.ts";
import { crc32, explainIgvm, KVM_VMSA_GPA, Launch, measureIgvm, parseIgvm } from "./mod.ts";

const PAGE = Uint8Array.from({ length: 4096 }, (_, at) => at & 0xff);
const VMSA = new Uint8Array(4096);
new DataView(VMSA.buffer).setBigUint64(0x158, 0x31n, true);

/** Headers of an honest file: a page with data, an empty one, a secrets page, parameters, a CPU. */
function headers(offset: number): IgvmHeader[] {
  return [
    [0x001, igvmPlatform(1, 2)],
    [0x302, igvmPage(0x1000n, 1, offset)],
    [0x302, igvmPage(0x2000n, 1, 0)],
    [0x302, igvmPage(0x3000n, 1, 0, 0, 1)],
    [0x302, igvmPage(0x4000n, 1, 0, 0, 2)],
    [0x302, igvmPage(0x5000n, 1, 0, 2)],
    [0x302, igvmPage(0x6000n, 2, offset)],
    [0x304, igvmCpu(KVM_VMSA_GPA, 1, offset + 4096)],
  ];
}

const DATA = Uint8Array.of(...PAGE, ...VMSA);
const IGVM = igvmFile(headers, DATA);

Deno.test("measureIgvm() takes the pages of its platform in the order of the file", async () => {
  const measured = await measureIgvm(IGVM, { kvm: true });
  const launch = new Launch();
  launch.content("memory", "normal", 0x1000n, PAGE);
  launch.content("empty memory", "normal", 0x2000n, new Uint8Array(4096));
  launch.blank("secrets page", "secrets", 0x3000n, 4096);
  launch.blank("CPUID page", "cpuid", 0x4000n, 4096);
  launch.blank("memory", "unmeasured", 0x5000n, 4096);
  launch.content("CPU 0", "vmsa", KVM_VMSA_GPA, VMSA);
  const want = [...await launch.digest()].map((byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
  assert.equal(measured.digest, want);
  assert.deepEqual(measured.regions, launch.regions);
  assert.deepEqual(measured.warnings, []);
});

Deno.test("measureIgvm() with `kvm` refuses what KVM launches otherwise", async () => {
  const edit = (change: (list: IgvmHeader[], offset: number) => IgvmHeader[]) =>
    igvmFile((offset) => change(headers(offset), offset), DATA);
  const cpuAt = (gpa: bigint) =>
    edit((list, offset) => [...list.slice(0, -1), [0x304, igvmCpu(gpa, 1, offset + 4096)]]);
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [edit((list) => list.slice(0, -1)), /holds 0 CPU states/],
    [edit((list) => [...list, list.at(-1)!]), /holds 2 CPU states/],
    [cpuAt(0x7000n), /its CPU state is at 7000/],
    [
      edit((list, offset) => [...list.slice(0, -1), [0x304, igvmCpu(KVM_VMSA_GPA, 1, offset)]]),
      /CR0 of its CPU state/,
    ],
    [
      edit((list, offset) => [...list, [0x302, igvmPage(0x9000n, 1, offset)]]),
      /1 pages follow its CPU state/,
    ],
    [
      edit((
        list,
      ) => [...list, [0x303, Uint8Array.of(0, 0x90, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)]]),
      /1 pages follow/,
    ],
  ];
  for (const [file, why] of cases) {
    await assert.rejects(measureIgvm(file, { kvm: true }), why);
    assert.match((await measureIgvm(file)).warnings.join(), why);
  }
});

Deno.test("measureIgvm() refuses an ID block that is for another digest", async () => {
  const signed = ownVector("measure/synthetic-sorted-signed.igvm");
  assert.equal(parseIgvm(signed).idBlocks.length, 1);
  await assert.rejects(measureIgvm(signed, { nativeZero: true }), (error) => {
    assert.ok(error instanceof CocosError);
    assert.equal(error.code, "digest-mismatch");
    return true;
  });
  await assert.rejects(measureIgvm(IGVM, { platform: "sev" }), /it is not for sev/);
});

Deno.test("measureIgvm() of SEV and SEV-ES hashes contents alone", async () => {
  const old = (platform: number) =>
    igvmFile((offset) => [[0x001, igvmPlatform(1, platform)], ...headers(offset).slice(1)], DATA);
  const digest = async (...parts: Uint8Array[]) => {
    const bytes = Uint8Array.from(parts.flatMap((part) => [...part]));
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  };
  const empty = new Uint8Array(4096);
  assert.equal((await measureIgvm(old(4), { platform: "sev" })).digest, await digest(PAGE, empty));
  assert.equal(
    (await measureIgvm(old(5), { platform: "sev-es" })).digest,
    await digest(PAGE, empty, VMSA),
  );
});

Deno.test("A-14 parseIgvm() rejects files that lie about themselves", () => {
  const bad = (list: (offset: number) => readonly IgvmHeader[]) => igvmFile(list, DATA);
  const put = (at: number, bytes: Uint8Array) => {
    const copy = IGVM.slice();
    copy.set(bytes, at);
    return copy;
  };
  const platform: IgvmHeader = [0x001, igvmPlatform(1, 2)];
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [put(0, Uint8Array.of(0)), /start with IGVM/],
    [put(4, u32le(3)), /format version 3/],
    [put(8, u32le(0x20)), /headers start elsewhere/],
    [put(12, u32le(0x7fffffff)), /bytes are due/],
    [put(16, u32le(5)), /should have 5 bytes/],
    [put(20, u32le(5)), /checksum of the headers is wrong/],
    [put(0x18 + 8, Uint8Array.of(2)), /checksum of the headers is wrong/],
    [bad(() => []), /supports no platform/],
    [bad(() => [[0x001, igvmPlatform(1, 6)]]), /platform type is not known/],
    [bad(() => [[0x001, igvmPlatform(3, 2)]]), /a platform mask is one bit/],
    [bad(() => [platform, [0x999, new Uint8Array(8)]]), /header type 0x999 is not known/],
    [bad(() => [platform, [0x302, igvmPage(0x1001n, 1, 0)]]), /not of a page/],
    [bad(() => [platform, [0x302, igvmPage(0x1000n, 1, 0xfffffff0)]]), /outside of the file/],
    [bad(() => [platform, [0x302, igvmPage(0x1000n, 1, 0, 8)]]), /page flags 0x8/],
    [bad(() => [platform, [0x302, igvmPage(0x1000n, 1, 0, 0, 4)]]), /page type is not known/],
    [bad(() => [platform, [0x302, new Uint8Array(23)]]), /bytes are due/],
    [bad(() => [platform, [0x302, new Uint8Array(33)]]), /trailing bytes/],
    [
      bad((offset) => [platform, [0x302, igvmPage(0x200000n, 1, offset, 1)]]),
      /outside of the file/,
    ],
    [IGVM.subarray(0, 0x20), /bytes are due|should have/],
  ];
  for (const [file, why] of cases) {
    assert.throws(() => parseIgvm(file), (error) => {
      assert.ok(error instanceof CocosError);
      assert.match(error.message, why);
      return true;
    }, String(why));
  }
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
});

Deno.test("A-14 every flipped bit of an IGVM file is refused, or measured as another guest", async () => {
  const honest = (await measureIgvm(IGVM)).digest;
  for (const bit of bitsToFlip(IGVM.length, 1500)) {
    const digest = await measureIgvm(flipped(IGVM, bit)).then((m) => m.digest, (error) => {
      assert.ok(error instanceof CocosError, String(error));
      return undefined;
    });
    assert.notEqual(digest, honest, `bit ${bit}`);
  }
});

Deno.test("explainIgvm() names the way empty pages were given", async () => {
  const native = (await measureIgvm(IGVM, { nativeZero: true })).digest;
  assert.deepEqual((await explainIgvm(native, IGVM)).found, [
    "empty pages were given as zero pages",
  ]);
  assert.equal((await explainIgvm("0".repeat(96), IGVM)).found, undefined);
  assert.equal((await explainIgvm((await measureIgvm(IGVM)).digest, IGVM)).equal, true);
});
