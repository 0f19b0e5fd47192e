// Policies of confidential VMs over real gRPC, with a pretended QEMU: they are those of what was
// launched, the verifier takes that guest by them and refuses any other.
import assert from "node:assert/strict";
import {
  appraiseSnp,
  appraiseTdx,
  appraiseTpm,
  decodeBase64,
  formatSeedPolicy,
  formatSeedTdxPolicy,
  importSeedPolicy,
  importSeedTdxPolicy,
  lintPolicy,
  measureMrtd,
  measureSev,
  parseSeedPolicy,
  parseSeedTdxPolicy,
  type Policy,
  toHex,
  type Verdict,
} from "../attestation/mod.ts";
import { fromHex } from "../base/mod.ts";
import {
  efiKernel,
  snpReport,
  tdxFirmware,
  tdxQuote,
  tpmQuote,
  vector,
  vectorJson,
} from "./_evidence.ts";
import { type Guest, IGVM, policyOf, withManager } from "./_policybed.ts";

const HOST_DATA = new Uint8Array(32).fill(7).toBase64();
const GOLDEN: string = vectorJson("measure/igvm-digests.json").cases
  .find(({ file }: { file: string }) => file === "synthetic-sorted.igvm").snp;

function judged({ checks, ok }: Verdict, id: string): boolean {
  const check = checks.find((each) => each.id === id);
  assert.ok(check !== undefined, `${id} was not checked`);
  assert.ok(check.ok || !ok, "a failed check and a good verdict");
  return check.ok;
}

/** Whether the launch part of an SNP policy takes a guest with that measurement and host data. */
async function takesLaunch(
  { snp }: Policy,
  measurement: string,
  hostData: Uint8Array,
): Promise<Record<string, boolean>> {
  assert.ok(snp !== undefined);
  const verdict = await appraiseSnp(snpReport(fromHex(measurement), hostData), snp, {
    now: Date.UTC(2026, 5, 1),
    collateral: { leaf: vector("snp/milan-v2-vcek.der") },
  });
  return {
    measurement: judged(verdict, "snp.measurement"),
    hostData: judged(verdict, "snp.host-data"),
  };
}

/** Verdict on a TPM with these values of the SHA-256 bank. */
async function takesPcrs({ tpm }: Policy, pcrs: Record<string, string>): Promise<boolean> {
  assert.ok(tpm !== undefined);
  const nonce = new Uint8Array(32).fill(9);
  const { evidence, spki } = await tpmQuote(pcrs, nonce);
  const key = toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", spki)));
  const { verdict } = await appraiseTpm(evidence, { ...tpm, binding: "pinned" }, {
    nonce,
    binding: { kind: "pinned", keys: [key] },
  });
  return verdict.ok;
}

Deno.test("AttestationPolicy of an SNP VM: igvmmeasure's digest, read back without loss, and what it leaves open is named", async () => {
  const text = await policyOf("snp");
  const seed = parseSeedPolicy(text);
  assert.equal(toHex(seed.policy.measurement ?? new Uint8Array()), GOLDEN);
  assert.equal(seed.policy.policy, 196608n);
  assert.equal(seed.policy.vmpl, 2n);
  assert.equal(seed.policy.minimumLaunchTcb, undefined, "no manager knows it");
  assert.equal(seed.policy.minimumTcb, undefined);
  assert.deepEqual(seed.unknown, []);
  assert.equal(formatSeedPolicy(seed), text);
  const { policy, findings } = await importSeedPolicy(text);
  assert.deepEqual(policy.snp?.products, ["Milan"]);
  assert.deepEqual(policy.snp?.measurement, [GOLDEN]);
  assert.deepEqual(lintPolicy(policy).filter(({ weight }) => weight === "hole"), []);
  const said = findings.map(({ path }) => path);
  for (const path of ["policy.minimum_launch_tcb", "policy.minimum_tcb", "policy.chip_id"]) {
    assert.ok(said.includes(path), `${path} is open and nobody says it`);
  }
});

Deno.test("N-15 HOST_DATA of the policy is what stands on QEMU's command line, zeros where nothing stands there", async () => {
  const variables = {
    MANAGER_QEMU_ENABLE_HOST_DATA: "true",
    MANAGER_QEMU_HOST_DATA: HOST_DATA,
  };
  await withManager("snp", { variables }, async ({ bed, create, policy }) => {
    const id = await create();
    const { command } = JSON.parse(
      await Deno.readTextFile(`${bed.config.stateDir}/vms/${id}/vm.json`),
    );
    const option = command.find((each: string) => each.startsWith("sev-snp-guest,"));
    const given = /,host-data=([^,]*)$/.exec(option)?.[1];
    assert.equal(given, HOST_DATA);
    assert.equal(JSON.parse(await policy(id)).policy.host_data, given);
  });
  await withManager("snp", {}, async ({ bed, create, policy }) => {
    const id = await create();
    const record = await Deno.readTextFile(`${bed.config.stateDir}/vms/${id}/vm.json`);
    assert.ok(!record.includes("host-data"));
    assert.ok(
      decodeBase64(JSON.parse(await policy(id)).policy.host_data).every((each) => each === 0),
    );
  });
});

Deno.test("N-15 SNP: another firmware or host data gives another policy, and each refuses the other's guest", async () => {
  const good: Guest = {
    variables: { MANAGER_QEMU_ENABLE_HOST_DATA: "true", MANAGER_QEMU_HOST_DATA: HOST_DATA },
  };
  const evil = new Uint8Array(32).fill(8).toBase64();
  const changes: Record<"measurement" | "hostData", Guest> = {
    // One bit of a measured page: the last byte of the file.
    measurement: {
      ...good,
      igvm: IGVM.map((each, at) => at === IGVM.length - 1 ? each ^ 1 : each),
    },
    hostData: { variables: { ...good.variables, MANAGER_QEMU_HOST_DATA: evil } },
  };
  const launched = (text: string) => {
    const { policy } = parseSeedPolicy(text);
    return [
      toHex(policy.measurement ?? new Uint8Array()),
      policy.hostData ?? new Uint8Array(),
    ] as const;
  };
  const text = await policyOf("snp", good);
  const { policy } = await importSeedPolicy(text);
  assert.deepEqual(await takesLaunch(policy, ...launched(text)), {
    measurement: true,
    hostData: true,
  });
  for (const [what, guest] of Object.entries(changes)) {
    const other = await policyOf("snp", guest);
    assert.notEqual(other, text, what);
    const want = { measurement: true, hostData: true, [what]: false };
    assert.deepEqual(await takesLaunch(policy, ...launched(other)), want);
    assert.deepEqual(
      await takesLaunch((await importSeedPolicy(other)).policy, ...launched(text)),
      want,
    );
  }
});

Deno.test("N-15 SNP: another kernel, initial root or command line gives other PCRs, and each policy refuses the other's TPM", async () => {
  const pcrsOf = (text: string) => JSON.parse(text).pcr_values.sha256 as Record<string, string>;
  const text = await policyOf("snp");
  const { policy } = await importSeedPolicy(text);
  assert.deepEqual(Object.keys(pcrsOf(text)), ["4", "9"]);
  assert.equal(await takesPcrs(policy, pcrsOf(text)), true);
  const changes: Record<string, Guest> = {
    kernel: { kernel: efiKernel(2) },
    initrd: { initrd: new Uint8Array(1000).fill(2) },
    cmdline: { variables: { MANAGER_QEMU_KERNEL_CMDLINE: "init=/bin/sh" } },
  };
  for (const [what, guest] of Object.entries(changes)) {
    const other = await policyOf("snp", guest);
    assert.notEqual(other, text, what);
    assert.equal(await takesPcrs(policy, pcrsOf(other)), false, what);
    assert.equal(await takesPcrs((await importSeedPolicy(other)).policy, pcrsOf(text)), false);
  }
});

Deno.test("N-15 SNP: a policy with a launch digest of OVMF refuses another CPU count, firmware, kernel, initial root or command line", async () => {
  const text = await policyOf("snp");
  const bytes = vector("measure/ovmf_AmdSev_suffix.bin");
  const order = {
    mode: "snp",
    firmware: bytes,
    signature: 0x800f12,
    features: 1,
    vmm: "qemu",
  } as const;
  const boot = { kernel: efiKernel(1), initrd: new Uint8Array(10), append: "quiet" };
  const digests = await Promise.all([
    measureSev({ ...order, cpus: 4, boot }),
    measureSev({ ...order, cpus: 5, boot }),
    measureSev({ ...order, cpus: 4, boot: { ...boot, kernel: efiKernel(2) } }),
    measureSev({ ...order, cpus: 4, boot: { ...boot, initrd: new Uint8Array(11) } }),
    measureSev({ ...order, cpus: 4, boot: { ...boot, append: "quiet init=/bin/sh" } }),
    measureSev({ ...order, cpus: 4, boot, firmware: bytes.map((e, at) => at === 9 ? e ^ 1 : e) }),
  ]);
  const seed = parseSeedPolicy(text);
  const [good = "", ...others] = digests.map(({ digest }) => digest);
  const { policy } = await importSeedPolicy(
    formatSeedPolicy({ ...seed, policy: { ...seed.policy, measurement: fromHex(good) } }),
  );
  const zeros = new Uint8Array(32);
  assert.deepEqual(await takesLaunch(policy, good, zeros), { measurement: true, hostData: true });
  for (const other of others) {
    assert.equal((await takesLaunch(policy, other, zeros)).measurement, false);
  }
});

Deno.test("AttestationPolicy embeds MANAGER_PCR_VALUES; PCR 4 and 9 are added where the file is silent", async () => {
  const values = vectorJson("policy/pcr_values.json").pcr_values;
  const whole = JSON.parse(await policyOf("snp", { pcrs: JSON.stringify({ pcr_values: values }) }));
  assert.deepEqual(whole.pcr_values, values, "the operator's values stand");
  const { "4": _four, "9": _nine, ...rest } = values.sha384;
  const silent = JSON.stringify({ pcr_values: { sha384: rest } });
  const filled = JSON.parse(await policyOf("snp", { pcrs: silent })).pcr_values;
  assert.deepEqual(Object.keys(filled), ["sha384"]);
  assert.deepEqual({ ...filled.sha384, 4: undefined, 9: undefined }, {
    ...rest,
    4: undefined,
    9: undefined,
  });
  assert.match(filled.sha384[4], /^[0-9a-f]{96}$/);
  assert.match(filled.sha384[9], /^[0-9a-f]{96}$/);
});

Deno.test("N-15 TDX: the policy has the MRTD of the firmware, in go-tdx-guest's form, and refuses another firmware's TD", async () => {
  const text = await policyOf("tdx");
  const seed = parseSeedTdxPolicy(text);
  assert.equal(formatSeedTdxPolicy(seed), text);
  assert.equal(seed.mrTd, measureMrtd(tdxFirmware(1)));
  assert.equal(seed.rtmrs, undefined, "the form takes all four or none");
  assert.equal(seed.mrConfigId, "00".repeat(48));
  const other = await policyOf("tdx", { firmware: tdxFirmware(2) });
  assert.notEqual(other, text);
  const takes = async (policyText: string, mrTd: string) => {
    const { tdx } = importSeedTdxPolicy(policyText).policy;
    assert.ok(tdx !== undefined);
    const quote = tdxQuote(fromHex(mrTd));
    return judged(await appraiseTdx(quote, tdx, { now: Date.UTC(2024, 1, 1) }), "tdx.mrtd");
  };
  const otherMrTd = parseSeedTdxPolicy(other).mrTd ?? "";
  assert.equal(await takes(text, seed.mrTd ?? ""), true);
  assert.equal(await takes(text, otherMrTd), false);
  assert.equal(await takes(other, seed.mrTd ?? ""), false);
  assert.equal(await takes(other, otherMrTd), true);
});
