// What launchPolicy() says to the operator beside the policy, and what an IGVM file's own words change.
import assert from "node:assert/strict";
import { crc32, importSeedPolicy, measureTdxBoot, parseSeedPolicy } from "../attestation/mod.ts";
import { efiKernel, vector, vectorJson } from "./_evidence.ts";
import { type Guest, IGVM, withManager } from "./_policybed.ts";
import { parseLaunch, type TeeLaunch } from "./launch.ts";
import { launchPolicy } from "./policy.ts";

/** Policy and notes of a guest, and the launch in its record. */
async function made(tee: "snp" | "tdx", guest: Guest, change: Partial<TeeLaunch> = {}) {
  let result: Awaited<ReturnType<typeof launchPolicy>> | undefined;
  await withManager(tee, guest, async ({ bed, create }) => {
    const path = `${bed.config.stateDir}/vms/${await create()}/vm.json`;
    const launch = parseLaunch(JSON.parse(await Deno.readTextFile(path)).launch) as TeeLaunch;
    result = await launchPolicy({ ...launch, ...change });
  });
  assert.ok(result !== undefined);
  return result;
}

/** A copy of an IGVM file whose first header of a type is changed; the checksum is right again. */
function withHeader(
  file: Uint8Array,
  type: number,
  change: (body: DataView<ArrayBuffer>) => void,
): Uint8Array {
  const igvm = Uint8Array.from(file);
  const view = new DataView(igvm.buffer);
  const [start, size] = [view.getUint32(8, true), view.getUint32(12, true)];
  let at = start;
  while (view.getUint32(at, true) !== type) at += 8 + (view.getUint32(at + 4, true) + 7 & ~7);
  change(new DataView(igvm.buffer, at + 8));
  view.setUint32(0x14, 0, true);
  view.setUint32(0x14, crc32(igvm.subarray(0, start + size)), true);
  return igvm;
}

Deno.test("launchPolicy() takes family, image and version of an ID block, and no migration agent", async () => {
  const signed = vector("measure/synthetic-sorted-signed.igvm");
  const igvm = withHeader(signed, 0x30b, (body) => {
    body.setUint8(56, 0xfa);
    body.setUint8(72, 0x1a);
    body.setUint32(92, 7, true);
  });
  const { policy } = parseSeedPolicy((await made("snp", { igvm })).text);
  assert.deepEqual([policy.familyId?.[0], policy.imageId?.[0]], [0xfa, 0x1a]);
  assert.equal(policy.minimumGuestSvn, 7n);
  assert.deepEqual(policy.reportIdMa, new Uint8Array(32).fill(0xff));
  const plain = parseSeedPolicy((await made("snp", {})).text).policy;
  assert.deepEqual(plain.familyId, new Uint8Array(16));
  assert.equal(plain.minimumGuestSvn, undefined);
});

Deno.test("launchPolicy() says where MANAGER_PCR_VALUES and the files disagree, and where PCRs can't be computed", async () => {
  const pcrs = JSON.stringify(vectorJson("policy/pcr_values.json"));
  const { notes } = await made("snp", { pcrs });
  const disagree = notes.filter((each) => each.startsWith("MANAGER_PCR_VALUES says"));
  assert.deepEqual(disagree.map((each) => /(sha\d+:\d+)/.exec(each)?.[1]), [
    "sha256:4",
    "sha256:9",
    "sha384:4",
    "sha384:9",
  ]);
  const odd = await made("snp", { kernel: new Uint8Array(100) });
  assert.ok(odd.notes.some((each) => each.startsWith("PCR 4 and 9 are not computed: ")));
  const { findings } = await importSeedPolicy(odd.text);
  assert.ok(findings.some(({ path }) => path === "pcr_values"), "the verifier says so as well");
});

Deno.test("launchPolicy() of a TDX VM logs RTMR 1 and 2 of the kernel as QEMU hands it over", async () => {
  const { rtmr1, rtmr2 } = measureTdxBoot({
    kernel: efiKernel(1),
    initrd: new Uint8Array(1000).fill(1),
    append: "quiet console=null",
    machine: { memoryBytes: 2 ** 31, machine: "q35" },
  });
  const { notes } = await made("tdx", {});
  assert.match(notes.join(), new RegExp(`RTMR 1 is ${rtmr1}, RTMR 2 is ${rtmr2}$`));
  const more = await made("tdx", { variables: { MANAGER_QEMU_MEMORY_SIZE: "512M" } });
  assert.ok(!more.notes.join().includes(rtmr1), "QEMU writes the initial root's address into it");
  const odd = await made("tdx", { kernel: new Uint8Array(100) });
  assert.match(odd.notes.join(), /RTMR 1 and 2 are not computed: /);
});

Deno.test("N-8 launchPolicy() refuses a product line nobody makes", async () => {
  await assert.rejects(made("snp", {}, { productLine: "Naples" }), { code: "not-supported" });
});

Deno.test("launchPolicy() never allows what an IGVM file asks for beyond guest policy 196608", async () => {
  const igvm = withHeader(IGVM, 0x101, (body) => {
    assert.equal(body.getBigUint64(0, true), 196608n);
    body.setBigUint64(0, 196608n | 1n << 19n, true); // debugging
  });
  const { text, notes } = await made("snp", { igvm });
  assert.equal(parseSeedPolicy(text).policy.policy, 196608n);
  assert.ok(notes.some((each) => each.includes("guest policy 720896: such a guest is refused")));
});
