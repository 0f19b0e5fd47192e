// Golden command lines in the order of wire.md §8.3, and the property that no value can leave its
// option (threats N-3).
import assert from "node:assert/strict";
import fc from "fast-check";
import { configOf, pretendMachine } from "./_testbed.ts";
import { commandOf, options, qemuArgv, shellText } from "./argv.ts";
import { parseVmName, type VmInstance, vmName, vmSpec } from "./spec.ts";

const ID = "e71cdcf5-21c0-4e1d-9471-ac6b4389d5f3";
const instance: VmInstance = {
  id: ID,
  port: 6100,
  accel: "kvm",
  qmpSocket: "/s/qmp/6100.sock",
  certsDir: `/s/vms/${ID}/certs`,
  envDir: `/s/vms/${ID}/env`,
  varsFile: `/s/vms/${ID}/OVMF_VARS.fd`,
  until: undefined,
};

const NET = [
  "-netdev",
  `user,id=vmnic-${ID},hostfwd=tcp:127.0.0.1:6100-:7002`,
  "-device",
  `virtio-net-pci,disable-legacy=on,iommu_platform=true,netdev=vmnic-${ID},addr=0x2,romfile=`,
];
const KERNEL = [
  "-kernel",
  "/home/build/hal/bzImage",
  "-append",
  "quiet console=null",
  "-initrd",
  "/home/build/hal/rootfs.cpio.gz",
  "-nographic",
  "-monitor",
  "pty",
];
const SHARES = [
  "-fsdev",
  `local,id=cert_fs,path=/s/vms/${ID}/certs,security_model=mapped,readonly=on`,
  "-device",
  "virtio-9p-pci,fsdev=cert_fs,mount_tag=certs_share",
  "-fsdev",
  `local,id=env_fs,path=/s/vms/${ID}/env,security_model=mapped,readonly=on`,
  "-device",
  "virtio-9p-pci,fsdev=env_fs,mount_tag=env_share",
];
const OURS = [
  "-name",
  "cocos-6100",
  "-uuid",
  ID,
  "-qmp",
  "unix:/s/qmp/6100.sock,server=on,wait=off",
];
const FLASH = [
  "-drive",
  "if=pflash,format=raw,unit=0,file=/usr/share/OVMF/OVMF_CODE.fd,readonly=on",
  "-drive",
  `if=pflash,format=raw,unit=1,file=/s/vms/${ID}/OVMF_VARS.fd`,
];
const SIZE = ["-smp", "4,maxcpus=64", "-m", "2048M,slots=5,maxmem=30G"];

Deno.test("qemuArgv() of the defaults on KVM is the Go manager's, with our additions at the end", () => {
  assert.deepEqual(qemuArgv(vmSpec(configOf().template, instance)), [
    "-enable-kvm",
    "-machine",
    "q35",
    "-cpu",
    "EPYC",
    ...SIZE,
    ...FLASH,
    ...NET,
    ...KERNEL,
    ...SHARES,
    ...OURS,
  ]);
});

Deno.test("qemuArgv() without KVM says so in the machine; empty machine and CPU are left out", () => {
  const tcg = { ...instance, accel: "tcg" as const };
  assert.deepEqual(qemuArgv(vmSpec(configOf().template, tcg)).slice(0, 4), [
    "-machine",
    "q35,accel=tcg",
    "-cpu",
    "EPYC",
  ]);
  const bare = configOf({ MANAGER_QEMU_MACHINE: "", MANAGER_QEMU_CPU: "" }).template;
  assert.deepEqual(qemuArgv(vmSpec(bare, tcg)).slice(0, 3), ["-machine", "accel=tcg", "-smp"]);
  assert.deepEqual(qemuArgv(vmSpec(bare, instance)).slice(0, 2), ["-enable-kvm", "-smp"]);
  const own = configOf({ MANAGER_QEMU_MACHINE: "q35,accel=tcg" }).template;
  assert.equal(qemuArgv(vmSpec(own, tcg))[1], "q35,accel=tcg");
});

Deno.test("qemuArgv() of a SEV-SNP VM (wire.md §8.3, rows 10-13)", () => {
  const machine = pretendMachine(["/root/coconut-qemu.igvm"], "snp");
  const host = `${"A".repeat(43)}=`;
  const { template } = configOf({
    MANAGER_QEMU_ENABLE_HOST_DATA: "true",
    MANAGER_QEMU_HOST_DATA: host,
    MANAGER_QEMU_SEV_SNP_CBIT_POS: "47",
  }, machine);
  assert.deepEqual(qemuArgv(vmSpec(template, instance)), [
    "-enable-kvm",
    "-machine",
    "q35",
    "-cpu",
    "EPYC",
    ...SIZE,
    ...NET,
    "-machine",
    `confidential-guest-support=sev0-${ID},memory-backend=ram1,igvm-cfg=igvm0`,
    "-object",
    "memory-backend-memfd,id=ram1,size=2048M,share=true,prealloc=false",
    "-object",
    `sev-snp-guest,id=sev0-${ID},cbitpos=47,reduced-phys-bits=1,host-data=${host}`,
    "-object",
    "igvm-cfg,id=igvm0,file=/root/coconut-qemu.igvm",
    ...KERNEL,
    ...SHARES,
    ...OURS,
  ]);
});

Deno.test("qemuArgv() of a TDX VM (wire.md §8.3, rows 14-17)", () => {
  const machine = pretendMachine(["/usr/share/ovmf/OVMF.fd"], "tdx");
  const { template } = configOf({ MANAGER_QEMU_CPU: "host" }, machine);
  assert.deepEqual(qemuArgv(vmSpec(template, instance)), [
    "-enable-kvm",
    "-machine",
    "q35",
    "-cpu",
    "host",
    ...SIZE,
    ...NET,
    "-object",
    `{"qom-type":"tdx-guest","id":"tdx0-${ID}","quote-generation-socket":{"type":"vsock","cid":"2","port":"4050"}}`,
    "-machine",
    `confidential-guest-support=tdx0-${ID},memory-backend=ram1,hpet=off`,
    "-object",
    "memory-backend-memfd,id=ram1,size=2048M,share=true,prealloc=false",
    "-bios",
    "/usr/share/ovmf/OVMF.fd",
    "-nodefaults",
    ...KERNEL,
    ...SHARES,
    ...OURS,
  ]);
});

Deno.test("qemuArgv() without OVMF has no flash drives; every interface leaves the address out", () => {
  const { template } = configOf({
    MANAGER_QEMU_OVMF_CODE_FILE: "none",
    MANAGER_QEMU_HOST_FWD_ADDR: "",
    MANAGER_QEMU_NO_GRAPHIC: "false",
    MANAGER_QEMU_KERNEL_CMDLINE: "debug cocos.mode=compat",
  });
  const emulated = qemuArgv(vmSpec(template, { ...instance, accel: "tcg" }));
  assert.equal(
    emulated[emulated.indexOf("-append") + 1],
    "quiet console=null debug cocos.mode=compat no_timer_check panic=1",
  );
  const argv = qemuArgv(vmSpec(template, instance));
  assert.ok(!argv.includes("-drive"));
  assert.ok(!argv.includes("-nographic"));
  assert.ok(argv.includes(`user,id=vmnic-${ID},hostfwd=tcp::6100-:7002`));
  assert.equal(argv[argv.indexOf("-append") + 1], "quiet console=null debug cocos.mode=compat");
});

/** QEMU's own reading of an option string: commas part, doubled commas are one, `=` binds. */
function parseOptions(text: string): [string, string][] {
  const pairs: [string, string][] = [];
  for (const part of text.replaceAll(",,", "\0").split(",")) {
    const [name, ...value] = part.replaceAll("\0", ",").split("=");
    pairs.push([name as string, value.join("=")]);
  }
  return pairs;
}

Deno.test("N-3 options(): any value comes back whole when QEMU's rules are applied", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(fc.constantFrom("id", "file", "path", "size"), fc.string({ unit: "grapheme" }))
          .filter(([, value]) => !value.includes("\0")),
        { minLength: 1, maxLength: 6 },
      ),
      (pairs) => {
        // A value that ends in a comma and is followed by another option is where escaping is hard.
        assert.deepEqual(parseOptions(options("", pairs)), pairs);
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("N-3 qemuArgv(): paths with commas, spaces and option text stay one value", () => {
  const nasty = fc.array(
    fc.constantFrom(
      ",",
      ",,",
      "id=",
      "file=",
      " ",
      "{",
      "}",
      '"',
      "-",
      "a",
      "é",
      "=on",
      "readonly=off",
    ),
    { minLength: 1, maxLength: 12 },
  ).map((parts) => `/x${parts.join("")}`);
  const base = configOf().template;
  const plain = qemuArgv(vmSpec(base, instance));
  fc.assert(
    fc.property(
      nasty,
      nasty,
      nasty,
      nasty,
      nasty,
      (code, certsDir, envDir, varsFile, qmpSocket) => {
        const firmware = base.firmware;
        assert.ok(firmware !== undefined);
        const template = {
          ...base,
          firmware: { ...firmware, code: { ...firmware.code, file: code } },
        };
        const argv = qemuArgv(
          vmSpec(template, { ...instance, certsDir, envDir, varsFile, qmpSocket }),
        );
        assert.equal(argv.length, plain.length);
        const structure = (each: string[]) =>
          each.map((text) =>
            text.startsWith("-")
              ? text
              : parseOptions(text).map(([name]) => name.replace(/^unix:.*/s, "unix")).join()
          );
        assert.deepEqual(structure(argv), structure(plain));
        const value = (option: string, name: string, nth = 0) =>
          argv.filter((_each, at) => argv[at - 1] === option)
            .map((text) => parseOptions(text).find(([each]) => each === name)?.[1])[nth];
        assert.equal(value("-drive", "file"), code);
        assert.equal(value("-drive", "file", 1), varsFile);
        assert.equal(value("-fsdev", "path"), certsDir);
        assert.equal(value("-fsdev", "path", 1), envDir);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("N-3 vmSpec() refuses what is no absolute path, no id, no port, no line", () => {
  const { template } = configOf();
  for (
    const wrong of [
      { id: "1" },
      { id: ID.toUpperCase() },
      { port: 0 },
      { port: 65536 },
      { certsDir: "certs" },
      { envDir: "-env" },
      { varsFile: "/a\nb" },
      { qmpSocket: "" },
    ]
  ) assert.throws(() => vmSpec(template, { ...instance, ...wrong }), { code: "invalid-argument" });
  assert.throws(() => vmSpec({ ...template, cmdline: "quiet\ninit=/bin/sh" }, instance), {
    code: "invalid-argument",
  });
  const spec = vmSpec(template, instance);
  assert.ok(
    Object.isFrozen(spec) && Object.isFrozen(spec.net) && Object.isFrozen(spec.firmware?.code),
  );
});

Deno.test("vmName() carries port and end of life; parseVmName() takes nothing else", () => {
  for (const each of [{ port: 6100, until: undefined }, { port: 1, until: 1732184000 }]) {
    assert.deepEqual(parseVmName(vmName(each)), each);
  }
  for (const other of ["", "guest", "cocos-", "cocos-6100-until-", "cocos-6100,x", "xcocos-6100"]) {
    assert.equal(parseVmName(other), undefined);
  }
});

Deno.test("shellText() quotes what a shell would read otherwise", () => {
  const command = commandOf(vmSpec(configOf().template, instance));
  assert.match(
    shellText(command),
    /^\/usr\/bin\/qemu-system-x86_64 -enable-kvm .* -append 'quiet console=null' /,
  );
  assert.equal(shellText(["a b", "it's", "", "x,y=z"]), `'a b' 'it'\\''s' '' x,y=z`);
});
