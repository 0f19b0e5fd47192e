// Measuring forged firmware and IGVM files: equal to the peers' where they agree, and refused where a
// file lies about itself; and explanations of differences.
import assert from "node:assert/strict";
import fc from "fast-check";
import { CocosError } from "../../base/mod.ts";
import { u32le } from "../forge/eventlog.ts";
import {
  efiKernel,
  type Entries,
  FIRMWARE_GUID as GUID,
  firmwareFile,
  igvmCpu,
  igvmFile,
  type IgvmHeader,
  igvmPage,
  igvmPlatform,
  sevMetadata,
  tdxMetadata,
} from "../forge/firmware.ts";
import { bitsToFlip, flipped, ownVector, SLOW } from "../testdata/vectors.ts";
import {
  CPU_SIGNATURES,
  cpuSignature,
  crc32,
  explainIgvm,
  explainMrtd,
  explainSev,
  firmwareDigest,
  guidBytes,
  KVM_VMSA_GPA,
  Launch,
  measureIgvm,
  measureMrtd,
  measureSev,
  mixedGuid,
  parseFirmware,
  parseIgvm,
  type SevLaunch,
  tdxSections,
} from "./mod.ts";

const BYTES = 0x4000;
const SECTIONS = [
  [0x800000, 0x9000, 1],
  [0x80a000, 0x3000, 1],
  [0x80d000, 0x1000, 2],
  [0x80e000, 0x1000, 3],
  [0x80f000, 0x1000, 4],
  [0x810000, 0x1000, 16],
] as const;
const ENTRIES: Entries = [
  [GUID.resetBlock, u32le(0x0080b004)],
  [GUID.hashTable, Uint8Array.of(...u32le(0x810c00), ...u32le(0x400))],
  [GUID.sevMetadata, u32le(BYTES - 0x100)],
  [GUID.svsmInfo, u32le(0x1230)],
];
const FIRMWARE = firmwareFile(BYTES, ENTRIES, sevMetadata(SECTIONS));

const BOOT = {
  kernel: efiKernel(),
  initrd: new TextEncoder().encode("hello initrd"),
  append: "console=ttyS0 ro",
};

const LAUNCH: SevLaunch = {
  mode: "snp",
  firmware: FIRMWARE,
  cpus: 1,
  signature: CPU_SIGNATURES["EPYC-Milan"] as number,
  features: 0x21,
  vmm: "qemu",
  boot: BOOT,
};

/** Digests by PyPI sev-snp-measure 0.0.13 of these very bytes. */
const PEER: readonly (readonly [string, Partial<SevLaunch>, string])[] = [
  [
    "QEMU, 1 CPU",
    {},
    "0f10bf6548a45374d0563dd917c1a02a21b6ad59fa27377076bef397991629d78868a0ca8646b9ff84d830f8e8ef49bb",
  ],
  [
    "QEMU, 3 CPUs",
    { cpus: 3 },
    "5065a80cd4597a04ef61721e8d2092722c9a6b16ddf614196481a2b85b0b4d3f95974e38cfd8b63bc96110581f867370",
  ],
  [
    "EC2, 1 CPU",
    { vmm: "ec2" },
    "c3162bcab45ed2d4efea6f8036bd8ab0aa8d67ea6757b02e758eeba9f42b5aea8a98fe2b6963568ba04b49ce68e3ae64",
  ],
  [
    "EC2, 3 CPUs",
    { vmm: "ec2", cpus: 3 },
    "b05a5f8602f56874c63d0d57bbcfc49f40529621b627a08462705cb81edbf95fa1c7399bd4f107ba9b9028fc42472e80",
  ],
  [
    "GCE, 1 CPU",
    { vmm: "gce" },
    "0dc7314cbd64e932228d241d092b124ea3acb65ca038578acdf67302b681d46cc5ac9573def29f3146217d9c6001bc98",
  ],
  [
    "GCE, 3 CPUs",
    { vmm: "gce", cpus: 3 },
    "b69a2e297ebe4f8fc86859d87a3bf08db983e405c8783844cc5256bc3daefc58cb24aa30049b27962e9ab0322f8b95f3",
  ],
  [
    "an SVSM",
    {
      mode: "snp:svsm",
      cpus: 2,
      signature: 0x800f12,
      boot: undefined,
      svsm: { bytes: FIRMWARE, variableBytes: 131072 },
    },
    "cfd180268507f1a622008f0ca2ffd634e7118f9f5652e91c9c28dd19fcfb25ebda24f5abce6eb4a39e1198eb675e5413",
  ],
  [
    "SEV-ES",
    { mode: "seves", cpus: 2, signature: 0x800f12, boot: { kernel: BOOT.kernel } },
    "5d2153c1fe653d5a77ef59824697e03ea1cb9174ded46cdf68e7e8a41e197910",
  ],
  [
    "SEV",
    { mode: "sev", boot: { kernel: BOOT.kernel, append: "x" } },
    "2b5f56137e78c4fbb67b8ebaa6b47e515a35d9fb361470883d14579e91707810",
  ],
];

for (const [name, change, digest] of PEER) {
  Deno.test(`measureSev() equals sev-snp-measure on a forged firmware: ${name}`, async () => {
    assert.equal((await measureSev({ ...LAUNCH, ...change })).digest, digest);
  });
}

Deno.test("measureSev() goes on from a firmware digest as sev-snp-measure does", async () => {
  const start = await firmwareDigest(FIRMWARE);
  assert.equal(
    [...start].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    "e0505bc3c5d0687e61742aced2aa6e5584c130bee5dc8d4a94f279bc1bc14dad7179957c2d4658ecbf8ba9343f77b496",
  );
  const order = {
    ...LAUNCH,
    boot: undefined,
    cpus: 2,
    features: 1,
    signature: cpuSignature(25, 17, 0),
    firmwareDigest: start,
  };
  assert.equal(
    (await measureSev(order)).digest,
    "d7c8467494acbc54885c9829cafe3d5deab59e275671e8d2c99c9960d25e766931e8e301d5875bb713a359ae8884fc37",
  );
  assert.equal(
    (await measureSev({ ...order, firmwareDigest: undefined })).digest,
    (await measureSev(order)).digest,
  );
  await assert.rejects(measureSev({ ...order, firmwareDigest: start.subarray(1) }), CocosError);
});

Deno.test("measureSev() refuses launches that no hypervisor does", async () => {
  const without = (guid: string) =>
    firmwareFile(BYTES, ENTRIES.filter(([each]) => each !== guid), sevMetadata(SECTIONS));
  const sections = (list: Parameters<typeof sevMetadata>[0]) =>
    firmwareFile(BYTES, ENTRIES, sevMetadata(list));
  const cases: readonly (readonly [Partial<SevLaunch>, RegExp])[] = [
    [{ cpus: 0 }, /0 CPUs/],
    [{ cpus: 1.5 }, /1.5 CPUs/],
    [{ cpus: 4097 }, /4097 CPUs/],
    [{ firmware: without(GUID.resetBlock) }, /no SEV-ES reset block/],
    [{ firmware: without(GUID.sevMetadata) }, /no place for its hashes/],
    [{ firmware: without(GUID.hashTable) }, /does not fit its page/],
    [{ firmware: sections([...SECTIONS.slice(0, 5), [0x810000, 0x2000, 16]]) }, /not one page/],
    [{ firmware: sections([[0, 0x1001, 1]]) }, /an SEV section of 4097 bytes/],
    [{ firmware: sections([[0, 0x1000, 9]]) }, /section type 9 is not known/],
    [{ firmware: FIRMWARE.subarray(1) }, /no whole pages|lies outside|must start with ASEV/],
    [{ mode: "snp:svsm" }, /needs an SVSM/],
    [{ mode: "snp:svsm", svsm: { bytes: without(GUID.svsmInfo), variableBytes: 0 } }, /no entry/],
    [{ mode: "sev", firmware: without(GUID.hashTable) }, /takes no kernel hashes/],
  ];
  for (const [change, why] of cases) {
    await assert.rejects(measureSev({ ...LAUNCH, ...change }), (error) => {
      assert.ok(error instanceof CocosError);
      assert.match(error.message, why);
      return true;
    }, String(why));
  }
  const huge = new Launch();
  assert.throws(() => huge.blank("memory", "zero", 0n, 2 ** 40), CocosError);
});

Deno.test("parseFirmware() reads the table of GUIDs and refuses one that lies", () => {
  const parsed = parseFirmware(FIRMWARE);
  assert.equal(parsed.resetEip, 0x0080b004);
  assert.equal(parsed.sevSections.length, 6);
  assert.equal(parseFirmware(new Uint8Array(0x1000)).resetEip, undefined);
  const footer = BYTES - 50;
  const put = (at: number, bytes: Uint8Array) => {
    const copy = FIRMWARE.slice();
    copy.set(bytes, at);
    return copy;
  };
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [put(footer, Uint8Array.of(17, 0)), /wrong size/],
    [put(footer, Uint8Array.of(0xff, 0xff)), /wrong size/],
    [put(footer - 18, Uint8Array.of(17, 0)), /wrong size/],
    [put(footer - 18, Uint8Array.of(0xff, 0)), /wrong size/],
    [firmwareFile(BYTES, [...ENTRIES, ENTRIES[0]!], sevMetadata(SECTIONS)), /twice/],
    [firmwareFile(BYTES, [[GUID.sevMetadata, u32le(BYTES + 1)]]), /outside of the file/],
    [firmwareFile(BYTES, [[GUID.sevMetadata, u32le(0)]]), /outside of the file/],
    [firmwareFile(BYTES, [[GUID.sevMetadata, u32le(40)]]), /ASEV/],
    [firmwareFile(BYTES, [[GUID.resetBlock, Uint8Array.of(1)]]), /bytes are due/],
    [put(0x100 + 12, u32le(65)), /SEV metadata is cut/],
    [put(0x100 + 8, u32le(2)), /version 1/],
  ];
  for (const [bytes, why] of cases) assert.throws(() => parseFirmware(bytes), why, String(why));
  const guid = "96b582de-1fb2-45f7-baea-a366c55a082d";
  assert.equal(mixedGuid(guidBytes(guid)), guid);
});

Deno.test("explainSev() names what was launched otherwise", async () => {
  const explain = async (change: Partial<SevLaunch>) =>
    (await explainSev((await measureSev({ ...LAUNCH, ...change })).digest.toUpperCase(), LAUNCH))
      .found;
  assert.deepEqual(await explain({}), []);
  assert.deepEqual(await explain({ cpus: 4 }), ["4 CPUs, not 1"]);
  assert.deepEqual(await explain({ features: 1 }), ["features 0x1, not 0x21"]);
  assert.deepEqual(await explain({ signature: 0xa10f10, cpus: 2 }), [
    "2 CPUs, not 1",
    "CPU EPYC-Genoa (0xa10f10), not EPYC-Milan (0xa00f11)",
  ]);
  assert.deepEqual(await explain({ boot: undefined }), [
    "the kernel was not given to the hypervisor",
  ]);
  assert.deepEqual(await explain({ boot: { ...BOOT, append: "console=ttyS0 ro\n" } }), [
    "the command line has a line break at its end",
  ]);
  assert.deepEqual(await explain({ boot: { kernel: BOOT.kernel, append: BOOT.append }, cpus: 2 }), [
    "there is no initrd",
    "2 CPUs, not 1",
  ]);
  assert.deepEqual(await explain({ vmm: "gce" }), ["the hypervisor is gce, not qemu"]);
  assert.equal(await explain({ boot: { ...BOOT, append: "init=/bin/sh" } }), undefined);
  await assert.rejects(explainSev("00", LAUNCH), CocosError);
});

// --- IGVM

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

// --- TDX

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
  assert.throws(() => measureMrtd(FIRMWARE), /no TDX metadata/);
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
  const huge = lying([0, 0, 0n, 1n << 40n, 3, 0]);
  assert.throws(
    () => measureMrtd(huge),
    (error) => error instanceof CocosError && error.code === "too-large",
  );
});

Deno.test("A-14 parsers of measured files meet random damage with typed errors, fast", () => {
  let slowest = 0;
  const parsers = [
    [FIRMWARE, (bytes: Uint8Array) => parseFirmware(bytes)],
    [TDX, (bytes: Uint8Array) => tdxSections(parseFirmware(bytes))],
    [IGVM, (bytes: Uint8Array) => parseIgvm(bytes)],
  ] as const;
  fc.assert(
    fc.property(
      fc.constantFrom(...parsers),
      fc.array(fc.tuple(fc.nat(20_000), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      fc.boolean(),
      ([base, parse], edits, tail) => {
        const bytes = base.slice();
        // Metadata is at the front or at the back: damage there does the most.
        for (const [at, value] of edits) {
          const place = tail ? bytes.length - 1 - (at % 300) : at % 600;
          bytes[place] = value;
        }
        const start = performance.now();
        try {
          parse(bytes);
        } catch (error) {
          assert.ok(error instanceof CocosError, String(error));
        }
        slowest = Math.max(slowest, performance.now() - start);
      },
    ),
    { numRuns: SLOW ? 100_000 : 3000 },
  );
  assert.ok(slowest < 250, `${slowest} ms`);
});
