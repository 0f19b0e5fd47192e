// One attack for each check of the SNP verdict, with correctly signed reports of a fake machine: the
// check must be the one that refuses. Taking any id off the list makes a test here fail.
import assert from "node:assert/strict";
import { join, sequence, text } from "../forge/der.ts";
import { authorityExtensions, certificate, ecPair, extension, rsaPair } from "../forge/pki.ts";
import { amdName, type Machine, machine, type MachineOptions, NOW, TCB } from "../forge/snp.ts";
import { explainRules } from "../rules.ts";
import { assertHelpful } from "../forge/verdicts.ts";
import { type Verdict, verdictOf } from "../verdict.ts";
import { Oid, Tag } from "../x509/mod.ts";
import { SNP_RULES } from "./_rules.ts";
import {
  appraiseSnp,
  encodeTable,
  encodeTcb,
  explainSnp,
  NO_MIGRATION_AGENT,
  SNP_CHECKS,
  type SnpContext,
  type SnpPolicy,
  snpPolicy,
  TABLE_GUIDS,
  tcbOf,
} from "./mod.ts";

type CheckId = (typeof SNP_CHECKS)[number];
const DAY = 86_400_000;
const AA = new Uint8Array(64).fill(0xaa);

/** What a case changes in a world where everything is right. */
interface Case {
  readonly machine?: MachineOptions;
  /** Report bytes by offset. */
  readonly fields?: Readonly<Record<number, Uint8Array | number>>;
  readonly policy?: (policy: SnpPolicy) => unknown;
  readonly context?: (context: SnpContext, machine: Machine) => unknown;
  /** Changes the signed report. */
  readonly after?: (report: Uint8Array) => Uint8Array;
  /** True where the checks behind it can't run: then it must be the first to fail, else the only one. */
  readonly first?: true;
}

const right = machine();
const rightCrl = right.then((made) => made.crl());

async function appraise(each: Case): Promise<Verdict> {
  const made = await (each.machine === undefined ? right : machine(each.machine));
  const strict: SnpPolicy = snpPolicy({
    products: [made.line],
    signers: [made.kind],
    roots: [made.rootKey],
    measurement: ["bb".repeat(48)],
    hostData: "00".repeat(32),
    tcb: { reported: TCB },
  });
  const policy = { ...strict, ...each.policy?.(strict) as object };
  const context: SnpContext = {
    now: NOW,
    reportData: AA,
    collateral: {
      leaf: made.leaf,
      intermediate: made.intermediate,
      root: made.root,
      crls: [await (each.machine === undefined ? rightCrl : made.crl())],
    },
  };
  const used = { ...context, ...await each.context?.(context, made) as object };
  const report = await made.report(each.fields);
  return await appraiseSnp(each.after?.(report) ?? report, policy, used);
}

const otherLeaf = (changes: (c: SnpContext, m: Machine) => Promise<object>) => changes;
const collateral = (c: SnpContext, changes: object) => ({
  collateral: { ...c.collateral, ...changes },
});
const tcb = (parts: Partial<typeof TCB>) => encodeTcb({ ...TCB, ...parts }, "Milan");
const guest = (flags: object) => (p: SnpPolicy) => ({ guest: { ...p.guest, ...flags } });
const platform = (flags: object) => (p: SnpPolicy) => ({ platform: { ...p.platform, ...flags } });
const policyBits = (byte: number, bits: number) => ({ [byte]: bits });

/** For each check, the attacks it alone must stop. */
const CASES: Record<CheckId, Record<string, Case>> = {
  "snp.format": {
    "A-5 unknown version": { fields: { 0: 6 }, first: true },
    "A-5 version 1": { fields: { 0: 1 }, first: true },
    "A-5 reserved byte": { fields: { 0x208: 1 }, first: true },
    "A-5 reserved byte before CHIP_ID": { fields: { 0x18b: 1 }, first: true },
    "A-5 unknown policy bit": { fields: policyBits(11, 4), first: true },
    "A-5 policy bit 17 clear": { fields: policyBits(10, 0), first: true },
    "A-5 unknown signature algorithm": { fields: { 0x34: 2 }, first: true },
    "A-5 reserved signing key": { fields: { 0x48: 2 << 2 }, first: true },
    "A-5 VMPL 4": { fields: { 0x30: 4 }, first: true },
    "A-14 trailing bytes": { after: (r) => join(r, Uint8Array.of(0)), first: true },
    "A-14 cut": { after: (r) => r.subarray(0, 1183), first: true },
    "A-14 empty": { after: () => new Uint8Array(), first: true },
  },
  "snp.signer": {
    "A-6 VLEK where the policy says VCEK": {
      machine: { kind: "vlek" },
      policy: () => ({ signers: ["vcek"] }),
    },
    "A-11 no signer named": { policy: () => ({ signers: [] }) },
  },
  "snp.leaf": {
    "no leaf at hand": { context: (c) => collateral(c, { leaf: undefined }), first: true },
    "A-6 leaf is no certificate": { context: (c) => collateral(c, { leaf: AA }), first: true },
    "A-6 a leaf that is an authority": {
      machine: { extra: authorityExtensions() },
      first: true,
    },
    "A-6 unknown extension": { machine: { extra: [extension("1.2.3", AA)] }, first: true },
    "A-6 extension twice": {
      machine: { extra: [extension("1.3.6.1.4.1.3704.1.1", Uint8Array.of(2, 1, 0))] },
      first: true,
    },
    "A-6 chip id and provider id together": {
      machine: { extra: [extension("1.3.6.1.4.1.3704.1.5", text("x", Tag.IA5_STRING))] },
      first: true,
    },
    "A-6 PKCS 1 v1.5 instead of PSS": {
      machine: { leaf: { algorithm: "rsa-sha256" } },
      first: true,
    },
    "A-6 PSS with SHA-256": { machine: { leaf: { algorithm: "rsa-pss-sha256" } }, first: true },
    "A-6 PSS with SHA-1 defaults": {
      machine: {
        leaf: {
          identifier: sequence(
            Uint8Array.of(6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 10),
            sequence(),
          ),
        },
      },
      first: true,
    },
    "A-6 a VLEK's name on a VCEK": {
      machine: { leaf: { subject: amdName("SEV-VLEK") } },
      first: true,
    },
    "A-6 key on another curve": {
      context: otherLeaf(async (c) =>
        collateral(c, {
          leaf: (await machine({ leaf: { spki: (await ecPair("P-256")).spki } })).leaf,
        })
      ),
      first: true,
    },
    "A-6 oversized": {
      context: (c) => collateral(c, { leaf: new Uint8Array(20_000) }),
      first: true,
    },
    "A-5 unsigned report": {
      fields: { 0x48: 7 << 2 },
      policy: () => ({ signers: ["none"] }),
      first: true,
    },
    "A-6 issued under another line's name": {
      machine: { leaf: { issuer: amdName("SEV-Genoa") } },
      first: true,
    },
  },
  "snp.product": {
    "A-3 another product line": { policy: () => ({ products: ["Genoa", "Turin"] }) },
    "A-6 report and certificate disagree": { fields: { 0x188: Uint8Array.of(0x19, 0x11, 1) } },
    "unknown CPU": { fields: { 0x188: Uint8Array.of(0x1b, 0x01, 1) } },
    "another stepping": { policy: () => ({ steppings: [0] }) },
    "A-11 no product named": { policy: () => ({ products: [] }) },
  },
  "snp.intermediate": {
    "A-6 an intermediate without right to sign": {
      machine: {
        intermediate: {
          extensions: [extension(Oid.KEY_USAGE, Uint8Array.of(3, 2, 7, 0x80), true)],
        },
      },
      first: true,
    },
    "A-6 an intermediate of another name": {
      machine: { intermediate: { subject: amdName("SEV-Genoa") } },
      first: true,
    },
    "A-6 garbage": { context: (c) => collateral(c, { intermediate: AA }), first: true },
  },
  "snp.root": {
    "A-6 a self-signed root with the right name": {
      policy: (p) => ({ roots: snpPolicy({ ...p, roots: undefined as never }).roots ?? [] }),
      first: true,
    },
    "A-6 AMD's root over another's chain": {
      policy: () => ({
        roots: [
          "1249f67f15cf229a4069195e1a9ce537d1765ef706a1f4a123c36be9518786515d25ecc007f366b564d2b3f31c48082e",
        ],
      }),
      first: true,
    },
    "A-11 no root named": { policy: () => ({ roots: [] }), first: true },
  },
  "snp.chain": {
    "A-6 leaf signed by another key": { machine: { leaf: { signer: rsaPair("ark") } } },
    "A-6 intermediate signed by another key": {
      machine: { intermediate: { signer: rsaPair("asvk") } },
    },
    "A-6 root not signed by itself": { machine: { root: { signer: rsaPair("ask") } } },
  },
  "snp.validity": {
    "A-6 leaf expired": { machine: { leaf: { notAfter: NOW - 1000 } } },
    "A-6 leaf not yet valid": { machine: { leaf: { notBefore: NOW + 1000 } } },
    "A-6 intermediate expired": { machine: { intermediate: { notAfter: NOW - 1000 } } },
    "A-6 root not yet valid": { machine: { root: { notBefore: NOW + 1000 } } },
    "A-13 clock is not a number": {
      context: () => ({ now: NaN }),
      policy: () => ({ revocation: "any" }),
    },
  },
  "snp.revocation": {
    "A-6 no list": { context: (c) => collateral(c, { crls: [] }) },
    "A-6 intermediate revoked": {
      context: async (c, m) => collateral(c, { crls: [await m.crl([65537])] }),
    },
    "A-6 intermediate revoked, policy does not ask": {
      context: async (c, m) => collateral(c, { crls: [await m.crl([65537])] }),
      policy: () => ({ revocation: "any" }),
    },
    "A-6 leaf revoked by its intermediate": {
      context: async (c, m) => collateral(c, { crls: [await m.crl(), await m.leafCrl([7])] }),
    },
    "A-6 list stale": {
      context: async (c, m) => collateral(c, { crls: [await m.crl([], { nextUpdate: NOW - 1 })] }),
    },
    "A-13 list from the future": {
      context: async (c, m) =>
        collateral(c, {
          crls: [await m.crl([], { thisUpdate: NOW + DAY, nextUpdate: NOW + 2 * DAY })],
        }),
    },
    "A-6 list signed by another": {
      context: async (c, m) =>
        collateral(c, { crls: [await m.crl([], { signer: rsaPair("ask") })] }),
    },
    "A-6 list of another issuer": {
      context: async (c, m) =>
        collateral(c, { crls: [await m.crl([], { issuer: amdName("ARK-Genoa") })] }),
    },
    "A-6 list signed with another scheme": {
      context: async (c, m) =>
        collateral(c, { crls: [await m.crl([], { algorithm: "rsa-sha256" })] }),
    },
    "A-11 policy does not say": { policy: () => ({ revocation: undefined }) },
  },
  "snp.signature": {
    "A-4 report changed after signing": { after: (r) => (r[0x10] = 1, r) },
    "A-14 signature zero": { after: (r) => (r.fill(0, 0x2a0, 0x330), r) },
    "A-14 signature all ones": {
      after: (r) => (r.fill(0xff, 0x2a0, 0x2d0), r.fill(0xff, 0x2e8, 0x318), r),
    },
  },
  "snp.hardware-id": {
    "A-6 leaf of another chip": { fields: { 0x1a0: 1 } },
    "A-6 leaf for no chip": { machine: { hwid: new Uint8Array(64) } },
    "masked report that shows a chip id": { fields: { 0x48: 2 } },
    "VLEK report that shows a chip id": { machine: { kind: "vlek" }, fields: { 0x1a0: 1 } },
  },
  "snp.tcb.layout": {
    "A-5 reserved byte of a TCB": { fields: { 0x3a: 1 }, first: true },
    "A-5 reserved byte of LAUNCH_TCB": { fields: { 0x1f2: 1 }, first: true },
  },
  "snp.tcb.certified": {
    "A-4 report claims more than the certificate": {
      fields: Object.fromEntries(
        [0x38, 0x180, 0x1e0, 0x1f0].map((at) => [at, tcb({ microcode: 220 })]),
      ),
    },
    "A-4 report claims less than the certificate": {
      fields: { 0x180: tcb({ microcode: 218 }) },
      policy: (p) => ({ tcb: { ...p.tcb, reported: tcbOf({}) } }),
    },
  },
  "snp.report-data": {
    "A-1 another nonce": { context: () => ({ reportData: new Uint8Array(64).fill(0xab) }) },
    "A-1 empty": { context: () => ({ reportData: new Uint8Array() }) },
    "A-1 shorter": { context: () => ({ reportData: AA.subarray(0, 63) }) },
    "A-1 zero": { fields: { 0x50: new Uint8Array(64) } },
    "A-1 zero-padded": { fields: { 0x70: new Uint8Array(32) } },
    "A-1 not known to the verifier": { context: () => ({ reportData: undefined }) },
    "A-1 not in the policy": { policy: () => ({ reportData: undefined }) },
    "A-1 empty in the policy": { policy: () => ({ reportData: "" }) },
  },
  "snp.measurement": {
    "another image": { policy: () => ({ measurement: ["cc".repeat(48)] }) },
    "A-11 empty list": { policy: () => ({ measurement: [] }) },
    "A-11 absent": { policy: () => ({ measurement: undefined }) },
    "A-11 zeros are a value, not a wildcard": {
      policy: () => ({ measurement: ["00".repeat(48)] }),
    },
  },
  "snp.host-data": {
    "another manifest": { policy: () => ({ hostData: "11".repeat(32) }) },
    "manifest of the session unknown": { policy: () => ({ hostData: "session" }) },
  },
  "snp.family-id": { "another family": { policy: () => ({ familyId: ["11".repeat(16)] }) } },
  "snp.image-id": { "another image id": { policy: () => ({ imageId: ["11".repeat(16)] }) } },
  "snp.report-id": { "another boot": { policy: () => ({ reportId: ["11".repeat(32)] }) } },
  "snp.report-id-ma": {
    "A-5 a migration agent is bound": { fields: { 0x160: 0 } },
    "A-11 absent": { policy: () => ({ reportIdMa: undefined }) },
  },
  "snp.chip-id": { "another machine": { policy: () => ({ chipId: ["11".repeat(64)] }) } },
  "snp.vmpl": {
    "A-5 lower privilege": { fields: { 0x30: 2 } },
    "A-5 higher privilege than named": { policy: () => ({ vmpl: [2] }) },
    "A-11 absent": { policy: () => ({ vmpl: undefined }) },
  },
  "snp.guest-svn": { "A-5 below the minimum": { policy: () => ({ minimumGuestSvn: 1 }) } },
  "snp.guest.abi": {
    "A-5 ABI below": { policy: guest({ minimumAbi: "1.51" }) },
    "A-11 ABI unreadable": { policy: guest({ minimumAbi: "NaN" }) },
  },
  "snp.guest.debug": { "A-5 debug": { fields: policyBits(10, 2 | 8) } },
  "snp.guest.migration": { "A-5 migration": { fields: policyBits(10, 2 | 4) } },
  "snp.guest.smt": { "A-5 SMT": { fields: policyBits(10, 2 | 1) } },
  "snp.guest.cxl": { "A-5 CXL": { fields: policyBits(10, 2 | 0x20) } },
  "snp.guest.single-socket": { "A-5 several sockets": { policy: guest({ singleSocket: "on" }) } },
  "snp.guest.aes-256-xts": { "A-5 AES-128": { policy: guest({ aes256Xts: "on" }) } },
  "snp.guest.rapl-off": { "A-5 RAPL": { policy: guest({ raplOff: "on" }) } },
  "snp.guest.ciphertext-hiding": {
    "A-5 ciphertext visible": { policy: guest({ ciphertextHiding: "on" }) },
  },
  "snp.guest.page-swap-off": { "A-5 page swap": { policy: guest({ pageSwapOff: "on" }) } },
  "snp.platform.smt": { "A-5 SMT": { fields: { 0x40: 0x25 }, policy: platform({ smt: "off" }) } },
  "snp.platform.tsme": {
    "A-5 TSME": { fields: { 0x40: 0x26 }, policy: platform({ tsme: "off" }) },
  },
  "snp.platform.ecc": { "A-5 no ECC": { fields: { 0x40: 0 }, policy: platform({ ecc: "on" }) } },
  "snp.platform.rapl-off": { "A-5 RAPL": { policy: platform({ raplOff: "on" }) } },
  "snp.platform.ciphertext-hiding": {
    "A-5 visible": { policy: platform({ ciphertextHiding: "on" }) },
  },
  "snp.platform.alias-check": {
    "BadRAM": { fields: { 0x40: 4 }, policy: platform({ aliasCheck: "on" }) },
  },
  "snp.platform.tio": { "A-5 TIO": { fields: { 0x40: 0xa4 } } },
  "snp.platform.unknown": {
    "A-5 bit 6": { fields: { 0x40: 0x64 } },
    "A-5 bit 63": { fields: { 0x47: 0x80 } },
  },
  "snp.firmware.version": {
    "A-4 old ABI firmware": {
      policy: (p) => ({ firmware: { ...p.firmware, minimumVersion: "1.56" } }),
    },
    "A-11 unreadable": { policy: (p) => ({ firmware: { ...p.firmware, minimumVersion: "NaN" } }) },
  },
  "snp.firmware.build": {
    "A-4 old build": { policy: (p) => ({ firmware: { ...p.firmware, minimumBuild: 30 } }) },
  },
  "snp.firmware.committed": {
    "A-4 provisional TCB": {
      fields: { 0x1e0: tcb({ microcode: 218 }) },
      policy: (p) => ({ tcb: { ...p.tcb, committed: tcbOf({}) } }),
    },
    "A-4 provisional build": { fields: { 0x1ec: 28 } },
    "A-4 committed above current": {
      fields: { 0x1ec: 30 },
      policy: (p) => ({ firmware: { ...p.firmware, provisional: "any" } }),
    },
    "A-11 absent": { policy: (p) => ({ firmware: { ...p.firmware, provisional: undefined } }) },
  },
  "snp.tcb.order": {
    "A-4 launch TCB above the current": { fields: { 0x1f0: tcb({ snp: 25 }) } },
    "A-4 reported TCB above the current": {
      fields: { 0x38: tcb({ snp: 23 }), 0x1e0: tcb({ snp: 23 }), 0x1f0: tcb({ snp: 23 }) },
      policy: (p) => ({
        tcb: { ...p.tcb, current: tcbOf({}), committed: tcbOf({}), launch: tcbOf({}) },
      }),
    },
  },
  "snp.tcb.reported": {
    "A-4 below the minimum": {
      policy: (p) => ({ tcb: { ...p.tcb, reported: { ...TCB, snp: 25 } } }),
    },
    "A-4 a high microcode does not make up for old firmware": {
      policy: (p) => ({ tcb: { ...p.tcb, reported: { ...TCB, bootloader: 5, microcode: 1 } } }),
    },
    "A-13 grace is over": {
      policy: (p) => ({
        tcb: { ...p.tcb, reported: { ...TCB, snp: 25 }, grace: { reported: TCB, until: NOW - 1 } },
      }),
    },
    "A-11 absent": { policy: (p) => ({ tcb: { ...p.tcb, reported: undefined } }) },
  },
  "snp.tcb.current": {
    "A-4 below": { policy: (p) => ({ tcb: { ...p.tcb, current: { ...TCB, snp: 25 } } }) },
  },
  "snp.tcb.committed": {
    "A-4 below": { policy: (p) => ({ tcb: { ...p.tcb, committed: { ...TCB, snp: 25 } } }) },
  },
  "snp.tcb.launch": {
    "A-4 launched under an older TCB": { fields: { 0x1f0: tcb({ snp: 23 }) } },
  },
  "snp.mitigations.launch": {
    "mitigation missing at launch": {
      policy: () => ({ mitigations: { launch: "8", current: "any" } }),
    },
    "version 4 has none": {
      fields: { 0: 4 },
      policy: () => ({ mitigations: { launch: "0", current: "any" } }),
    },
  },
  "snp.mitigations.current": {
    "mitigation missing": {
      fields: { 0x1f8: 0xb, 0x200: 3 },
      policy: () => ({ mitigations: { launch: "b", current: "b" } }),
    },
    "A-11 unreadable": { policy: () => ({ mitigations: { launch: "any", current: "xyz" } }) },
  },
  "snp.id-block": {
    "launched under an unknown ID key": {
      fields: { 0xe0: 1 },
      policy: () => ({ idBlock: { idKeys: ["22".repeat(48)], authorKeys: [] } }),
    },
    "ID block where none is expected": { fields: { 0xe0: 1 }, policy: () => ({ idBlock: "none" }) },
    "author key named but not enabled": {
      fields: { 0x110: new Uint8Array(48).fill(0x22) },
      policy: () => ({ idBlock: { idKeys: [], authorKeys: ["22".repeat(48)] } }),
    },
    "A-11 no key named": { policy: () => ({ idBlock: { idKeys: [], authorKeys: [] } }) },
  },
  "snp.author-key": {
    "A-5 author key where none is allowed": {
      fields: { 0x48: 1 },
      policy: () => ({ authorKey: "off" }),
    },
    "A-5 author key missing": { policy: () => ({ authorKey: "on" }) },
  },
};

for (const [id, cases] of Object.entries(CASES)) {
  Deno.test(`A-4 A-5 A-6 appraiseSnp() ${id} refuses: ${Object.keys(cases).join("; ")}`, async () => {
    for (const [name, each] of Object.entries(cases)) {
      const verdict = await appraise(each);
      const failed = verdict.checks.filter((check) => !check.ok).map((check) => check.id);
      assertHelpful(verdict);
      if (each.first) assert.equal(failed[0], id, name);
      else assert.deepEqual(failed, [id], name);
      assert.equal(verdict.ok, false);
      if (!each.first) {
        const without = verdict.checks.filter((check) => check.id !== id);
        assert.equal(
          verdictOf("snp", without, {}).ok,
          true,
          `${name}: another check would also stop it`,
        );
      }
    }
  });
}

Deno.test("appraiseSnp() accepts fake machines of every line and key under a policy that names their root", async () => {
  for (const line of ["Milan", "Genoa", "Turin"] as const) {
    for (const kind of ["vcek", "vlek"] as const) {
      const verdict = await appraise({ machine: { line, kind } });
      assert.deepEqual(verdict.checks.filter((each) => !each.ok), []);
      assert.deepEqual(verdict.checks.map((each) => each.id), [...SNP_CHECKS]);
    }
  }
});

Deno.test("A-18 appraiseSnp() refuses a fake machine under the default roots", async () => {
  const made = await machine();
  const policy = snpPolicy({
    products: ["Milan"],
    measurement: "any",
    reportData: "any",
    tcb: { reported: TCB },
  });
  const { leaf, intermediate, root } = made;
  const crls = [await made.crl()];
  const verdict = await appraiseSnp(await made.report(), policy, {
    now: NOW,
    collateral: { leaf, intermediate, root, crls },
  });
  assert.deepEqual(verdict.checks.find((each) => !each.ok)?.id, "snp.root");
});

Deno.test("A-13 appraiseSnp() accepts a lower TCB until the end of its grace", async () => {
  const verdict = await appraise({
    policy: (p) => ({
      tcb: { ...p.tcb, reported: { ...TCB, snp: 25 }, grace: { reported: TCB, until: NOW } },
    }),
  });
  assert.equal(verdict.ok, true);
});

Deno.test("A-5 appraiseSnp() accepts what the policy names: ID block, migration agent, masked chip", async () => {
  for (
    const each of [
      {
        fields: { 0xe0: new Uint8Array(48).fill(0x22) },
        policy: () => ({ idBlock: { idKeys: ["22".repeat(48)], authorKeys: [] } }),
      },
      {
        fields: { 0x48: 1, 0x110: new Uint8Array(48).fill(0x22) },
        policy: () => ({ idBlock: { idKeys: [], authorKeys: ["22".repeat(48)] }, authorKey: "on" }),
      },
      { fields: { 0x48: 2, 0x1a0: new Uint8Array(64) } },
      {
        fields: { 0x160: new Uint8Array(32) },
        policy: () => ({ reportIdMa: [NO_MIGRATION_AGENT, "00".repeat(32)] }),
      },
    ] satisfies Case[]
  ) assert.equal((await appraise(each)).ok, true);
});

Deno.test("appraiseSnp() takes certificates from the table and prefers collateral", async () => {
  const made = await machine();
  const table = encodeTable(
    new Map([[TABLE_GUIDS.vcek, made.leaf], [TABLE_GUIDS.ask, made.intermediate], [
      TABLE_GUIDS.ark,
      made.root,
    ]]),
  );
  const verdict = await appraise({
    after: (report) => join(report, table),
    context: (c) => ({ collateral: { crls: c.collateral?.crls } }),
  });
  assert.equal(verdict.ok, true);
});

Deno.test("A-6 appraiseSnp() refuses a serial number game: certificate re-signed with a doubled extension", async () => {
  const made = await machine();
  const der = await certificate({
    subject: amdName("SEV-VCEK"),
    issuer: amdName("SEV-Milan"),
    spki: (await ecPair("P-384")).spki,
    signer: rsaPair("ask"),
    algorithm: "rsa-pss-sha384",
    notBefore: NOW - DAY,
    notAfter: NOW + DAY,
    extensions: [
      extension(Oid.KEY_USAGE, Uint8Array.of(3, 2, 7, 0x80)),
      extension(Oid.KEY_USAGE, Uint8Array.of(3, 2, 7, 0x80)),
    ],
  });
  const verdict = await appraise({ context: (c) => collateral(c, { leaf: der, root: made.root }) });
  assert.match(verdict.checks.find((each) => !each.ok)?.actual ?? "", /twice/);
});

Deno.test("A-11 explainSnp() names every check of the verdict, in order", async () => {
  const policy = snpPolicy({
    products: ["Milan"],
    measurement: ["bb".repeat(48)],
    tcb: { reported: TCB },
  });
  assert.deepEqual(explainSnp(policy).map(({ id }) => id), [...SNP_CHECKS]);
  assert.deepEqual(
    explainRules(SNP_RULES, {} as SnpPolicy).filter(({ expected }) =>
      !expected.startsWith("(not set")
    ).map(({ id }) => id),
    ["snp.tcb.order"],
  );
  await assert.doesNotReject(appraiseSnp(new Uint8Array(), {} as SnpPolicy, { now: 0 }));
});

Deno.test("R1 appraiseSnp() decides nothing for an empty policy but refuses with every rule", async () => {
  const made = await machine();
  const verdict = await appraiseSnp(await made.report(), {} as SnpPolicy, {
    now: NOW,
    collateral: { leaf: made.leaf, intermediate: made.intermediate, root: made.root },
  });
  const passed = verdict.checks.filter((each) => each.ok).map((each) => each.id);
  assert.deepEqual(passed, [
    "snp.format",
    "snp.leaf",
    "snp.intermediate",
    "snp.signature",
    "snp.hardware-id",
    "snp.tcb.layout",
    "snp.tcb.certified",
    "snp.tcb.order",
  ]);
});
