// The same verdicts as go-sev-guest's and go-tdx-guest's own `check` programs, on real evidence and on
// reports of a fake machine whose chain both are told to trust. Where ours is stricter, the case says
// why. A run without Go, or without the right to start it, says so.
import assert from "node:assert/strict";
import { machine, NOW, TCB } from "./forge/snp.ts";
import {
  appraiseSnp,
  builtInIntermediate,
  builtInRoot,
  encodeTable,
  encodeTcb,
  type SnpPolicy,
  snpPolicy,
  TABLE_GUIDS,
  TCB_ZERO,
  tcbOf,
} from "./snp/mod.ts";
import { appraiseTdx, parseTdxQuote, tdxPolicy } from "./tdx/mod.ts";
import { ownVector } from "./testdata/vectors.ts";
import { decodeAttestation, encodeAttestation } from "./tpm/mod.ts";
import { toHex } from "./verdict.ts";
import { encodePem } from "./x509/mod.ts";

const MODULE = new URL("testdata/gopeer/", import.meta.url);

/** A folder that is removed at the end, or `undefined` after a `skipped:` line. */
async function workshop(tool: string): Promise<string | undefined> {
  const run = await Deno.permissions.query({ name: "run", command: "go" });
  const write = await Deno.permissions.query({ name: "write", path: "/tmp" });
  if (run.state !== "granted" || write.state !== "granted") {
    console.log("skipped: this run has no right to start go and to write files for it");
    return undefined;
  }
  const { text } = await check(tool, ["-help"]);
  if (!text.includes("-guest_policy") && !text.includes("-mr_td")) {
    console.log(
      `skipped: ${tool} can't be built here: ${text.trim().split("\n").at(-1)?.slice(0, 120)}`,
    );
    return undefined;
  }
  return await Deno.makeTempDir({ dir: "/tmp" });
}

async function check(
  tool: string,
  args: readonly string[],
): Promise<{ ok: boolean; text: string }> {
  try {
    const { success, stderr, stdout } = await new Deno.Command("go", {
      args: ["run", "-mod=readonly", `github.com/google/${tool}/tools/check`, ...args],
      cwd: MODULE,
    }).output();
    return {
      ok: success,
      text: new TextDecoder().decode(stderr) + new TextDecoder().decode(stdout),
    };
  } catch (error) {
    return { ok: false, text: String(error) };
  }
}

interface Case {
  readonly fields?: Readonly<Record<number, Uint8Array | number>>;
  readonly policy?: (policy: SnpPolicy) => Partial<SnpPolicy>;
  readonly flags?: readonly string[];
  /** Ours refuses what theirs takes, and why. */
  readonly stricter?: string;
}

const older = encodeTcb({ ...TCB, microcode: 218 }, "Milan");
const number = (tcb: typeof TCB) =>
  new DataView(encodeTcb(tcb, "Milan").buffer).getBigUint64(0, true).toString();
const higher = { ...TCB, snp: TCB.snp + 1 };
const guest = (flags: Partial<SnpPolicy["guest"]>) => (p: SnpPolicy) => ({
  guest: { ...p.guest, ...flags },
});

const CASES: Record<string, Case> = {
  "all right": {},
  "debug guest": { fields: { 0x0a: 2 | 8 } },
  "debug guest, named": {
    fields: { 0x0a: 2 | 8 },
    policy: guest({ debug: "on" }),
    flags: ["-guest_policy", "0xa0000"],
  },
  "migration agent allowed by the guest": { fields: { 0x0a: 2 | 4 } },
  "SMT": { fields: { 0x0a: 2 | 1 } },
  "SMT, named": {
    fields: { 0x0a: 2 | 1 },
    policy: guest({ smt: "any" }),
    flags: ["-guest_policy", "0x30000"],
  },
  "several sockets where one is due": {
    policy: guest({ singleSocket: "on" }),
    flags: ["-guest_policy", "0x120000"],
  },
  "one socket where one is due": {
    fields: { 0x0a: 2 | 0x10 },
    policy: guest({ singleSocket: "on" }),
    flags: ["-guest_policy", "0x120000"],
  },
  "another measurement": {
    policy: () => ({ measurement: ["cc".repeat(48)] }),
    flags: ["-measurement", "cc".repeat(48)],
  },
  "the measurement": { flags: ["-measurement", "bb".repeat(48)] },
  "another nonce": {
    policy: () => ({ reportData: "01".repeat(64) }),
    flags: ["-report_data", "01".repeat(64)],
  },
  "another host data": {
    policy: () => ({ hostData: "01".repeat(32) }),
    flags: ["-host_data", "01".repeat(32)],
  },
  "another family": {
    policy: () => ({ familyId: ["01".repeat(16)] }),
    flags: ["-family_id", "01".repeat(16)],
  },
  "another image": {
    policy: () => ({ imageId: ["01".repeat(16)] }),
    flags: ["-image_id", "01".repeat(16)],
  },
  "another report id": {
    policy: () => ({ reportId: ["01".repeat(32)] }),
    flags: ["-report_id", "01".repeat(32)],
  },
  "another migration agent": {
    fields: { 0x160: 0 },
    flags: ["-report_id_ma", "ff".repeat(32)],
  },
  "another chip": {
    policy: () => ({ chipId: ["01".repeat(64)] }),
    flags: ["-chip_id", "01".repeat(64)],
  },
  "VMPL 1 where 0 is due": { fields: { 0x30: 1 }, flags: ["-vmpl", "0"] },
  "TCB below the minimum": {
    policy: (p) => ({ tcb: { ...p.tcb, reported: higher } }),
    flags: ["-minimum_tcb", number(higher)],
  },
  "TCB at the minimum": { flags: ["-minimum_tcb", number(TCB)] },
  "launch TCB below the minimum": {
    fields: { 0x1f0: older },
    policy: (p) => ({ tcb: { ...p.tcb, launch: TCB } }),
    flags: ["-minimum_launch_tcb", number(TCB)],
  },
  "provisional TCB": { fields: { 0x1e0: older } },
  "provisional TCB, allowed": {
    fields: { 0x1e0: older },
    policy: (p) => ({ firmware: { ...p.firmware, provisional: "any" } }),
    flags: ["-provisional", "true"],
  },
  "old build": {
    policy: (p) => ({ firmware: { ...p.firmware, minimumBuild: 30 } }),
    flags: ["-min_build", "30"],
  },
  "old version": {
    policy: (p) => ({ firmware: { ...p.firmware, minimumVersion: "1.56" } }),
    flags: ["-min_version", "1.56"],
  },
  "ID block where one is due": {
    policy: () => ({ idBlock: { idKeys: ["22".repeat(48)], authorKeys: [] } }),
    flags: ["-require_idblock", "true", "-trusted_id_key_hashes", "22".repeat(48)],
  },
  "ID block of the key": {
    fields: { 0xe0: new Uint8Array(48).fill(0x22) },
    policy: () => ({ idBlock: { idKeys: ["22".repeat(48)], authorKeys: [] } }),
    flags: ["-require_idblock", "true", "-trusted_id_key_hashes", "22".repeat(48)],
  },
  "chip of another certificate": { fields: { 0x1a0: 1 } },
  "reported TCB of another certificate": { fields: { 0x180: older } },
  "reserved bytes": { fields: { 0x208: 1 } },
  "launch TCB above the current one": {
    fields: { 0x1f0: encodeTcb(higher, "Milan") },
    stricter: "they do not compare LAUNCH_TCB with CURRENT_TCB",
  },
  "VMPL 1, not named": { fields: { 0x30: 1 }, stricter: "they check VMPL only when asked" },
  "migration agent bound, not named": {
    fields: { 0x160: 0 },
    stricter: "they check REPORT_ID_MA only when asked",
  },
};

Deno.test("appraiseSnp() agrees with go-sev-guest's check on a fake machine, or is stricter for a reason", async () => {
  const folder = await workshop("go-sev-guest");
  if (folder === undefined) return;
  try {
    const made = await machine();
    const chain = encodePem(made.intermediate, "CERTIFICATE") + encodePem(made.root, "CERTIFICATE");
    await Deno.writeTextFile(`${folder}/chain.pem`, chain);
    const table = encodeTable(
      new Map([[TABLE_GUIDS.vcek, made.leaf], [TABLE_GUIDS.ask, made.intermediate], [
        TABLE_GUIDS.ark,
        made.root,
      ]]),
    );
    for (const [name, each] of Object.entries(CASES)) {
      const open = snpPolicy({
        products: ["Milan"],
        roots: [made.rootKey],
        revocation: "any",
        measurement: "any",
        reportData: "any",
        tcb: { reported: TCB_ZERO, launch: TCB_ZERO, current: TCB_ZERO, committed: TCB_ZERO },
      });
      const policy = { ...open, ...each.policy?.(open) };
      const report = await made.report({ 0: 3, ...each.fields });
      const file = `${folder}/report.bin`;
      await Deno.writeFile(file, Uint8Array.from([...report, ...table]));
      const theirs = await check("go-sev-guest", [
        "-in",
        file,
        "-network=false",
        "-product=Milan",
        "-product_key_path",
        `${folder}/chain.pem`,
        ...(each.flags?.includes("-guest_policy") ? [] : ["-guest_policy", "0x20000"]),
        ...each.flags ?? [],
      ]);
      const ours = await appraiseSnp(Uint8Array.from([...report, ...table]), policy, { now: NOW });
      const failed = ours.checks.filter((check) => !check.ok).map(({ id }) => id).join();
      if (each.stricter === undefined) {
        assert.equal(ours.ok, theirs.ok, `${name}: ours ${failed}; theirs ${theirs.text}`);
      } else assert.deepEqual([ours.ok, theirs.ok], [false, true], `${name}: ${theirs.text}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("appraiseSnp() agrees with go-sev-guest's check on real reports", async () => {
  const folder = await workshop("go-sev-guest");
  if (folder === undefined) return;
  try {
    for (
      const [report, leaf, guestPolicy, flags] of [
        ["milan-v2-vcek-report.bin", "milan-v2-vcek.der", "0x3001f", ["-provisional", "true"]],
        ["milan-v2-vcek-report.bin", "milan-v2-vcek.der", "0x3001f", []],
        ["milan-v2-vcek-report.bin", "milan-vcek-invalid-legacy.der", "0x3001f", [
          "-provisional",
          "true",
        ]],
        ["milan-v2-gce-report.bin", "milan-v2-gce-vcek.der", "0x30000", []],
        ["milan-v2-gce-report.bin", "milan-v2-gce-vcek.der", "0xb0000", []],
      ] as const
    ) {
      const table = new Map([
        [TABLE_GUIDS.vcek, ownVector(`snp/${leaf}`)],
        [TABLE_GUIDS.ask, builtInIntermediate("Milan", "vcek").raw],
        [TABLE_GUIDS.ark, builtInRoot("Milan").raw],
      ]);
      const evidence = Uint8Array.from([...ownVector(`snp/${report}`), ...encodeTable(table)]);
      await Deno.writeFile(`${folder}/report.bin`, evidence);
      const theirs = await check("go-sev-guest", [
        "-in",
        `${folder}/report.bin`,
        "-network=false",
        "-product=Milan",
        "-guest_policy",
        guestPolicy,
        ...flags,
      ]);
      const ours = await appraiseSnp(
        evidence,
        snpPolicy({
          products: ["Milan"],
          measurement: "any",
          reportData: "any",
          revocation: "any",
          guest: { smt: "any", debug: guestPolicy === "0xb0000" ? "any" : "off" },
          firmware: { provisional: flags.length > 0 ? "any" : "off" },
          tcb: { reported: tcbOf({}) },
        }),
        { now: Date.now() },
      );
      assert.equal(ours.ok, theirs.ok, `${report} ${leaf} ${guestPolicy}: ${theirs.text}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("appraiseTdx() agrees with go-tdx-guest's check on real quotes, or differs for a reason", async () => {
  const folder = await workshop("go-tdx-guest");
  if (folder === undefined) return;
  try {
    for (
      const [name, flags, difference] of [
        ["v4-spr-e4-quote.bin", [], undefined],
        ["v4-b0c06f-quote.bin", [], undefined],
        ["v4-b0c06f-quote.bin", ["-mr_td", "00".repeat(48)], undefined],
        ["v3-sgx-not-tdx-quote.bin", [], undefined],
        ["v4-debug-quote.bin", [], "they refuse debug only when asked"],
        ["v5-td15-quote.bin", [], "they read version 4 only"],
      ] as const
    ) {
      const quote = ownVector(`tdx/${name}`);
      await Deno.writeFile(`${folder}/quote.bin`, quote);
      const theirs = await check("go-tdx-guest", ["-in", `${folder}/quote.bin`, ...flags]);
      const open = tdxPolicy({
        mrTd: flags.length > 0 ? ["00".repeat(48)] : "any",
        rtmr0: "any",
        rtmr1: "any",
        rtmr2: "any",
        rtmr3: "any",
        reportData: "any",
        mrConfigId: "any",
        mrOwner: "any",
        mrOwnerConfig: "any",
        mrServiceTd: "any",
        tcb: { collateral: "any" },
      });
      const ours = await appraiseTdx(quote, open, { now: Date.now() });
      if (difference === undefined) assert.equal(ours.ok, theirs.ok, `${name}: ${theirs.text}`);
      else assert.notEqual(ours.ok, theirs.ok, `${name}: ${difference}`);
      if (name.startsWith("v4")) {
        assert.equal(toHex(parseTdxQuote(quote).qeVendor), "939a7233f79c4ca9940a0db3957f0607");
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("encodeAttestation() writes a TDX quote as go-tdx-guest reads it", async () => {
  const folder = await workshop("go-tdx-guest");
  if (folder === undefined) return;
  try {
    const none = decodeAttestation(new Uint8Array());
    const container = encodeAttestation({ ...none, tdx: ownVector("tdx/v4-b0c06f-quote.bin") });
    // The container's one field is tdx_attestation: a tag, a length of two bytes, the message.
    assert.deepEqual([container[0], (container[1] ?? 0) >> 7, (container[2] ?? 0) >> 7], [
      0x4a,
      1,
      0,
    ]);
    await Deno.writeFile(`${folder}/quote.pb`, container.subarray(3));
    const { ok, text } = await check("go-tdx-guest", [
      "-in",
      `${folder}/quote.pb`,
      "-inform",
      "proto",
    ]);
    assert.ok(ok, text);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
