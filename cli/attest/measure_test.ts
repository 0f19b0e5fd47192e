// `cocos igvmmeasure` and `sevsnpmeasure`: the values of igvmmeasure on its vectors, and AMD's flags
// turned into the launch they mean.
import assert from "node:assert/strict";
import { cpuSignature, firmwareDigest, measureSev } from "../../attestation/mod.ts";
import { cocos, inFolder } from "../_fakes.ts";

const VECTORS = new URL("../../attestation/testdata/measure/", import.meta.url);
const path = (name: string) => new URL(name, VECTORS).pathname;
const FIRMWARE = path("ovmf_AmdSev_suffix.bin");

interface Case {
  readonly file: string;
  readonly snp: string;
  readonly snp_native_zero: string;
}

Deno.test("cocos igvmmeasure prints what igvmmeasure gives, in lower case", async () => {
  const { cases } = JSON.parse(await Deno.readTextFile(path("igvm-digests.json")));
  for (const { file, snp, snp_native_zero } of cases as Case[]) {
    if (file.includes(" ")) continue; // packed; the measurement's own tests unpack it
    for (const verb of ["igvmmeasure", "measure-igvm"]) {
      assert.deepEqual((await cocos([verb, path(file)])).out, `${snp}\n`);
    }
    if (file.includes("signed")) continue; // its ID block is for the digest above
    const zero = await cocos(["igvmmeasure", path(file), "--native-zero"]);
    assert.equal(zero.out, `${snp_native_zero}\n`);
  }
  const last = path("synthetic-vmsa-not-last.igvm");
  assert.match((await cocos(["igvmmeasure", last])).err, /^note: Under KVM: /);
  const kvm = await cocos(["igvmmeasure", last, "--check-kvm"]);
  assert.deepEqual([kvm.exit, kvm.out], [1, ""]);
  assert.match(kvm.err, /^Error measuring: Cannot launch this IGVM file under KVM/);
  assert.equal((await cocos(["igvmmeasure", FIRMWARE])).exit, 2);
  assert.equal((await cocos(["igvmmeasure", path("none")])).exit, 3);
});

Deno.test("cocos igvmmeasure --explain says whether the files give a reported measurement", async () => {
  const file = path("synthetic-sorted.igvm");
  const own = (await cocos(["igvmmeasure", file])).out.trim();
  const zero = (await cocos(["igvmmeasure", file, "--native-zero"])).out.trim();
  const of = async (reported: string, exit: number) => {
    const outcome = await cocos(["igvmmeasure", file, "--explain", reported]);
    assert.equal(outcome.exit, exit);
    return outcome.out;
  };
  assert.match(await of(own, 0), /The files give the reported measurement\.\n$/);
  assert.match(await of(zero, 5), /empty pages were given as zero pages/);
  assert.match(await of("00".repeat(48), 5), /No usual mistake gives/);
});

Deno.test("cocos sevsnpmeasure turns the flags of AMD's tool into a launch", async () => {
  await inFolder(async (dir) => {
    const firmware = await Deno.readFile(FIRMWARE);
    const kernel = new TextEncoder().encode("kernel");
    const initrd = new TextEncoder().encode("initrd");
    await Deno.writeFile(`${dir}/k`, kernel);
    await Deno.writeFile(`${dir}/i`, initrd);
    const signature = cpuSignature(23, 1, 2);
    const base = { mode: "snp", firmware, cpus: 4, signature, features: 1, vmm: "qemu" } as const;
    const boot = { kernel, initrd, append: "console=ttyS0" };
    const common = ["--mode", "snp", "--vcpus", "4", "--ovmf", FIRMWARE];
    const files = ["--kernel", `${dir}/k`, "--initrd", `${dir}/i`, "--append", "console=ttyS0"];
    const cases: [string[], Parameters<typeof measureSev>[0]][] = [
      [[...common, "--vcpu-type", "EPYC-v4"], base],
      [[...common, "--vcpu-type", "epyc-v4"], base],
      [[...common, "--vcpu-sig", "0x800f12"], base],
      [[...common, "--vcpu-family", "23", "--vcpu-model", "1", "--vcpu-stepping", "2"], base],
      [[...common, "--vcpu-type", "EPYC", "--guest-features", "0x21"], { ...base, features: 0x21 }],
      [[...common, "--vcpu-type", "EPYC", "--vmm-type", "ec2"], { ...base, vmm: "ec2" }],
      [[...common, "--vcpu-type", "EPYC", ...files], { ...base, boot }],
      [["--mode", "seves", "--vcpus", "4", "--ovmf", FIRMWARE, "--vcpu-type", "EPYC"], {
        ...base,
        mode: "seves",
      }],
      [["--mode", "sev", "--ovmf", FIRMWARE], { ...base, mode: "sev", cpus: 1 }],
    ];
    const seen = new Set<string>();
    for (const [argv, launch] of cases) {
      const { exit, out, err } = await cocos(["sevsnpmeasure", ...argv]);
      assert.equal(exit, 0, `${argv.join(" ")}: ${err}`);
      assert.equal(out, `${(await measureSev(launch)).digest}\n`, argv.join(" "));
      seen.add(out);
    }
    assert.equal(seen.size, 6);
    const hash = await cocos(["sevsnpmeasure", "--mode", "snp:ovmf-hash", "--ovmf", FIRMWARE]);
    assert.equal(hash.out, `${(await firmwareDigest(firmware)).toHex()}\n`);
    const stood = await cocos(["sevsnpmeasure", ...common, "--vcpu-type", "EPYC"]
      .concat("--snp-ovmf-hash", hash.out.trim(), "--output-format", "base64"));
    const digest = (await measureSev(base)).digest;
    assert.equal(stood.out, `${Uint8Array.fromHex(digest).toBase64()}\n`);
  });
});

Deno.test("cocos sevsnpmeasure names what is missing or unknown", async () => {
  const cases: [string[], RegExp][] = [
    [[], /required option '--mode <mode>' not specified/],
    [["--mode", "x"], /mode must be snp, snp:svsm, seves, sev or snp:ovmf-hash/],
    [["--mode", "snp"], /"ovmf" not set/],
    [["--mode", "snp", "--ovmf", FIRMWARE], /"vcpus" not set/],
    [["--mode", "snp", "--ovmf", FIRMWARE, "--vcpus", "1"], /"vcpu-type" not set/],
    [["--mode", "snp", "--ovmf", FIRMWARE, "--vcpus", "1", "--vcpu-type", "Z80"], /is not known/],
    [["--mode", "snp", "--ovmf", FIRMWARE, "--vcpus", "0", "--vcpu-type", "EPYC"], /0 CPUs/],
    [["--mode", "snp", "--ovmf", FIRMWARE, "--vcpus", "1", "--append", "x"], /"kernel" not set/],
    [
      ["--mode", "snp", "--ovmf", FIRMWARE, "--vcpus", "1", "--vmm-type", "xen"],
      /QEMU, ec2 or gce/,
    ],
    [["--mode", "snp:svsm", "--ovmf", FIRMWARE, "--vcpus", "1", "--vcpu-type", "EPYC"], /"svsm"/],
  ];
  for (const [argv, text] of cases) {
    const { exit, err, out } = await cocos(["sevsnpmeasure", ...argv]);
    assert.equal(exit, 2, err);
    assert.match(err, text);
    assert.equal(out, "");
  }
});
