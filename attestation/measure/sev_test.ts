// Launch digests of a forged firmware, equal to the peer's; firmware that lies about itself; what an
// explanation of a difference finds.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { u32le } from "../forge/eventlog.ts";
import {
  efiKernel,
  type Entries,
  FIRMWARE_GUID as GUID,
  firmwareFile,
  sevMetadata,
} from "../forge/firmware.ts";
import {
  CPU_SIGNATURES,
  cpuSignature,
  explainSev,
  firmwareDigest,
  guidBytes,
  Launch,
  measureSev,
  mixedGuid,
  parseFirmware,
  type SevLaunch,
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
  assert.throws(() => huge.blank("memory", "zero", 0n, 4097), /no whole pages/);
  assert.throws(() => huge.content("memory", "normal", 0n, new Uint8Array(4097)), /no whole pages/);
  assert.throws(
    () => parseFirmware(new Uint8Array(64 * 1024 * 1024 + 1)),
    /a firmware of 67108865/,
  );
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
