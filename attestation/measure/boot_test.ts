// A machine that booted for these tests (OVMF, kernel, initrd, swtpm): what its TPM held, what its logs
// say, and what its files give.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { BANKS, type BankValues, extend, isBank, zeroRegister } from "../banks.ts";
import { appraiseEventLog, parseEventLog } from "../eventlog/mod.ts";
import { efiKernel } from "../forge/firmware.ts";
import { u16le, u32le } from "../forge/eventlog.ts";
import { fromHex } from "../forge/tpm.ts";
import { appraiseIma } from "../ima/mod.ts";
import { bitsToFlip, flipped, ownText, vector } from "../testdata/vectors.ts";
import { toHex } from "../verdict.ts";
import { decodeBase64 } from "../x509/mod.ts";
import {
  authenticodeDigest,
  explainOvmfBoot,
  loadOptions,
  measurePcr4,
  measurePcr9,
  measureTdxBoot,
  type OvmfBoot,
  ovmfOptions,
  patchedByQemu,
  tdxBootRtmrs,
} from "./mod.ts";

const BOOT: {
  append: string;
  initrdSha256: string;
  pcrs: Record<string, Record<string, string>>;
  eventLog: string;
  ima: string;
} = JSON.parse(ownText("measure/ovmf-direct-boot.json"));

const REGISTERS: BankValues = new Map(
  Object.entries(BOOT.pcrs).map(([bank, values]) => {
    assert.ok(isBank(bank));
    return [bank, new Map(Object.entries(values).map(([i, hex]) => [Number(i), fromHex(hex)]))];
  }),
);

Deno.test("the event log of a direct boot replays to PCR 0 to 9 of its TPM in every bank", async () => {
  for (const bank of ["sha256", "sha384"] as const) {
    const { verdict, facts } = await appraiseEventLog(
      decodeBase64(BOOT.eventLog),
      { kind: "tcg", banks: [bank], registers: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], secureBoot: "off" },
      REGISTERS,
    );
    assert.deepEqual(verdict.checks.filter(({ ok }) => !ok), []);
    assert.equal(facts?.programs.length, 1, "the kernel is the only program");
  }
});

Deno.test("A-10 the IMA list of a direct boot leads to its PCR 10 and names its boot PCRs", async () => {
  const policy = {
    banks: ["sha256"],
    extend: "own",
    tail: "refuse",
    violations: "refuse",
    algorithms: ["sha256"],
    bootAggregate: "required",
    allowed: "any",
  } as const;
  const list = decodeBase64(BOOT.ima);
  const { verdict, entries } = await appraiseIma(list, policy, { registers: REGISTERS });
  assert.deepEqual(verdict.checks.filter(({ ok }) => !ok), []);
  assert.deepEqual(entries.map(({ path }) => path), ["boot_aggregate", "/init", "/bin/busybox"]);
  const sha256 = new Map(REGISTERS.get("sha256"));
  sha256.set(9, new Uint8Array(32));
  const other = await appraiseIma(list, policy, { registers: new Map([["sha256", sha256]]) });
  assert.deepEqual(other.verdict.checks.filter(({ ok }) => !ok).map(({ id }) => id), [
    "ima.boot-aggregate",
  ]);
});

Deno.test("measurePcr9() gives the options a kernel measured, and the PCR of options and initrd", () => {
  const log = parseEventLog(decodeBase64(BOOT.eventLog), "tcg");
  const [options, initrd] = log.events.filter(({ register }) => register === 9);
  const given = loadOptions(`${BOOT.append} initrd=initrd`);
  assert.deepEqual(options?.digests.get("sha256"), BANKS.sha256.hash(given));
  assert.equal(toHex(initrd?.digests.get("sha256") ?? new Uint8Array()), BOOT.initrdSha256);
  const values = [BANKS.sha256.hash(given), fromHex(BOOT.initrdSha256)];
  const pcr9 = values.reduce((v, d) => extend("sha256", v, d), zeroRegister("sha256"));
  assert.equal(toHex(pcr9), BOOT.pcrs["sha256"]?.["9"]);
  assert.equal(ovmfOptions({ append: "", initrd: new Uint8Array(1) }), "initrd=initrd");
  assert.equal(ovmfOptions({ append: "ro", initrd: undefined }), "ro");
});

Deno.test("measurePcr4() has the kernel, the action and the separator in the order OVMF measures", () => {
  const log = parseEventLog(decodeBase64(BOOT.eventLog), "tcg");
  const events = log.events.filter(({ register }) => register === 4);
  const kernel = events[0]?.digests.get("sha256") as Uint8Array;
  const text = (value: string) => BANKS.sha256.hash(new TextEncoder().encode(value));
  const digests = [
    kernel,
    text("Calling EFI Application from Boot Option"),
    BANKS.sha256.hash(new Uint8Array(4)),
  ];
  assert.deepEqual(events.map(({ digests }) => digests.get("sha256")), digests);
  const pcr4 = digests.reduce((v, d) => extend("sha256", v, d), zeroRegister("sha256"));
  assert.equal(toHex(pcr4), BOOT.pcrs["sha256"]?.["4"]);
  const own = efiKernel();
  const forged = [authenticodeDigest(own, "sha256"), ...digests.slice(1)];
  const want = forged.reduce((v, d) => extend("sha256", v, d), zeroRegister("sha256"));
  assert.equal(measurePcr4({ kernel: own, append: "" }), toHex(want));
});

Deno.test("tdxBootRtmrs() gives RTMR 1 and 2 of a TDX guest that OVMF booted directly", () => {
  const bytes = vector("eventlog/CCEL_data_ovmf.ccel");
  if (bytes === undefined) return;
  const expected: Record<string, string[]> = JSON.parse(ownText("eventlog/expected-rtmrs.json"));
  const { events } = parseEventLog(bytes, "ccel");
  const digest = (at: (register: number, type: number) => boolean, nth = 0) =>
    events.filter((e) => at(e.register, e.type))[nth]?.digests.get("sha384") as Uint8Array;
  const { rtmr1, rtmr2 } = tdxBootRtmrs({
    kernel: digest((register, type) => register === 1 && type === 0x80000003),
    options: digest((register) => register === 2),
    initrd: digest((register) => register === 2, 1),
  });
  assert.deepEqual([rtmr1, rtmr2], expected["CCEL_data_ovmf.ccel"]?.slice(1, 3));
  const kernel = efiKernel();
  const own = measureTdxBoot({ kernel, append: "ro" });
  const hash = BANKS.sha384.hash;
  assert.deepEqual(
    own,
    tdxBootRtmrs({
      kernel: authenticodeDigest(kernel, "sha384"),
      options: hash(loadOptions("ro")),
      initrd: undefined,
    }),
  );
});

Deno.test("authenticodeDigest() equals pesign's, with and without certificates at the end", () => {
  const want = "511bc14cc1b6dffb7ce8fbe4fd5359fc8fce79f0071759be5a7881b4d664c3c9";
  assert.equal(toHex(authenticodeDigest(efiKernel(), "sha256")), want);
  assert.equal(toHex(authenticodeDigest(efiKernel(0x108), "sha256")), want);
});

Deno.test("authenticodeDigest() sees every bit but the checksum and the certificates' place", () => {
  const kernel = efiKernel();
  const honest = toHex(authenticodeDigest(kernel, "sha256"));
  const free = [[0x58 + 64, 4], [0x58 + 144, 8]] as const;
  for (const bit of bitsToFlip(kernel.length, 3000)) {
    const at = bit >> 3;
    if (free.some(([start, length]) => at >= start && at < start + length)) continue;
    try {
      assert.notEqual(toHex(authenticodeDigest(flipped(kernel, bit), "sha256")), honest, `${bit}`);
    } catch (error) {
      if (!(error instanceof CocosError)) throw error;
    }
  }
});

Deno.test("A-14 authenticodeDigest() rejects what lies outside of the program", () => {
  const kernel = efiKernel();
  const put = (at: number, bytes: Uint8Array) => {
    const copy = kernel.slice();
    copy.set(bytes, at);
    return copy;
  };
  const table = 0x58 + 160;
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [put(0, Uint8Array.of(0)), /start with MZ/],
    [put(0x3c, u32le(0xffffff00)), /PE header lies outside/],
    [put(0x40, Uint8Array.of(0)), /PE signature/],
    [put(0x46, u16le(97)), /97 sections/],
    [put(0x58, u16le(0x107)), /optional header is not known/],
    [put(0x58 + 60, u32le(0x7fffffff)), /headers have a wrong size/],
    [put(0x58 + 144, join32(0x100, 8)), /certificates are not at its end/],
    [put(table + 16, u32le(0x7fffffff)), /a section lies outside/],
    [put(table + 40 + 16, u32le(0x2c00)), /sections overlap/],
    [kernel.subarray(0, 0x50), /bytes are due/],
  ];
  for (const [program, why] of cases) {
    assert.throws(() => authenticodeDigest(program, "sha256"), (error) => {
      assert.ok(error instanceof CocosError);
      assert.match(error.message, why);
      return true;
    }, String(why));
  }
});

function join32(left: number, right: number): Uint8Array {
  return Uint8Array.of(...u32le(left), ...u32le(right));
}

Deno.test("patchedByQemu() writes loader, heap, command line and initrd, and refuses other files", () => {
  const machine = { memoryBytes: 512 * 2 ** 20, machine: "q35" } as const;
  const patched = patchedByQemu(efiKernel(), 5000, machine);
  const view = new DataView(patched.buffer);
  assert.deepEqual(
    [0x210, 0x211].map((at) => view.getUint8(at)),
    [0xb0, 0x81],
  );
  assert.deepEqual(
    [0x218, 0x21c, 0x228].map((at) => view.getUint32(at, true)),
    [0x1ffd6000, 5000, 0x20000],
  );
  assert.throws(() => patchedByQemu(new Uint8Array(0x2000), 1, machine), /no Linux kernel/);
  const old = efiKernel();
  old.set(u16le(0x20b), 0x206);
  assert.throws(() => patchedByQemu(old, 1, machine), /boot protocol 2.11 is too old/);
  assert.throws(() => patchedByQemu(efiKernel(), 2 ** 30, machine), /does not fit/);
});

Deno.test("explainOvmfBoot() names what is different about a boot", () => {
  const initrd = new Uint8Array(5000).fill(7);
  const machine = { memoryBytes: 512 * 2 ** 20, machine: "q35" } as const;
  const boot: OvmfBoot = { kernel: efiKernel(), initrd, append: "console=ttyS0 ro", machine };
  const reported = (change: Partial<OvmfBoot>) => {
    const other = { ...boot, ...change };
    return explainOvmfBoot({ pcr4: measurePcr4(other), pcr9: measurePcr9(other) }, boot);
  };
  const same = reported({});
  assert.deepEqual([same.pcr4.equal, same.pcr9.equal], [true, true]);
  assert.deepEqual(reported({ append: "console=ttyS0 ro\n" }).pcr9.found, [
    "the command line has a line break at its end",
  ]);
  assert.deepEqual(reported({ machine: undefined }).pcr4.found, [
    "the kernel was not changed by the hypervisor",
  ]);
  assert.deepEqual(
    reported({ machine: { memoryBytes: 1024 * 2 ** 20, machine: "q35" } }).pcr4
      .found,
    ["the machine is a q35 with 1024 MiB"],
  );
  assert.equal(reported({ append: "single" }).pcr9.found, undefined);
  assert.throws(() => explainOvmfBoot({ pcr4: "00", pcr9: "00" }, boot), CocosError);
});
