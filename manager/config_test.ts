import assert from "node:assert/strict";
import { configOf, pretendMachine } from "./_testbed.ts";
import { defaultStateDir, parseSettingsFile } from "./machine.ts";
import { absolute, settings } from "./settings.ts";

/** Names of the seed's table, docs of the manager; each must be a setting. */
const SEED = `COCOS_JAEGER_URL COCOS_JAEGER_TRACE_RATIO MANAGER_INSTANCE_ID
MANAGER_ATTESTATION_POLICY_BINARY MANAGER_IGVMMEASURE_BINARY MANAGER_PCR_VALUES
MANAGER_GRPC_CLIENT_CERT MANAGER_GRPC_CLIENT_KEY MANAGER_GRPC_SERVER_CA_CERTS MANAGER_GRPC_URL
MANAGER_GRPC_TIMEOUT MANAGER_EOS_VERSION MANAGER_QEMU_MEMORY_SIZE MANAGER_QEMU_MEMORY_SLOTS
MANAGER_QEMU_MAX_MEMORY MANAGER_QEMU_OVMF_CODE_IF MANAGER_QEMU_OVMF_CODE_FORMAT
MANAGER_QEMU_OVMF_CODE_UNIT MANAGER_QEMU_OVMF_CODE_FILE MANAGER_QEMU_OVMF_VERSION
MANAGER_QEMU_OVMF_CODE_READONLY MANAGER_QEMU_OVMF_VARS_IF MANAGER_QEMU_OVMF_VARS_FORMAT
MANAGER_QEMU_OVMF_VARS_UNIT MANAGER_QEMU_OVMF_VARS_FILE MANAGER_QEMU_NETDEV_ID
MANAGER_QEMU_HOST_FWD_AGENT MANAGER_QEMU_GUEST_FWD_AGENT MANAGER_QEMU_VIRTIO_NET_PCI_DISABLE_LEGACY
MANAGER_QEMU_VIRTIO_NET_PCI_IOMMU_PLATFORM MANAGER_QEMU_VIRTIO_NET_PCI_ADDR
MANAGER_QEMU_VIRTIO_NET_PCI_ROMFILE MANAGER_QEMU_DISK_IMG_KERNEL_FILE
MANAGER_QEMU_DISK_IMG_ROOTFS_FILE MANAGER_QEMU_SEV_SNP_ID MANAGER_QEMU_SEV_SNP_CBITPOS
MANAGER_QEMU_SEV_SNP_REDUCED_PHYS_BITS MANAGER_QEMU_ENABLE_HOST_DATA MANAGER_QEMU_HOST_DATA
MANAGER_QEMU_TDX_ID MANAGER_QEMU_QUOTE_GENERATION_PORT MANAGER_QEMU_OVMF_FILE MANAGER_QEMU_IGVM_ID
MANAGER_QEMU_IGVM_FILE MANAGER_QEMU_BIN_PATH MANAGER_QEMU_USE_SUDO MANAGER_QEMU_ENABLE_SEV_SNP
MANAGER_QEMU_ENABLE_TDX MANAGER_QEMU_ENABLE_KVM MANAGER_QEMU_MACHINE MANAGER_QEMU_CPU
MANAGER_QEMU_SMP_COUNT MANAGER_QEMU_SMP_MAXCPUS MANAGER_QEMU_MEM_ID MANAGER_QEMU_NO_GRAPHIC
MANAGER_QEMU_MONITOR MANAGER_QEMU_HOST_FWD_RANGE MANAGER_QEMU_CERTS_MOUNT MANAGER_QEMU_ENV_MOUNT`
  .split(/\s+/);

Deno.test("settings() has every variable of the seed's table", () => {
  const fields = settings(pretendMachine());
  for (const name of SEED) assert.ok(name in fields, name);
});

Deno.test("docs/manager.md lists every setting and nothing else", async () => {
  const page = await Deno.readTextFile(new URL("../docs/manager.md", import.meta.url));
  const named = new Set(page.match(/\b(?:MANAGER|COCOS)_[A-Z0-9_]+\b/g));
  named.delete("MANAGER_QEMU_SEV_SNP_CBIT_POS");
  assert.deepEqual([...named].sort(), Object.keys(settings(pretendMachine())).sort());
});

Deno.test("readManagerConfig() of nothing is the seed's defaults", () => {
  const config = configOf();
  assert.deepEqual(config.listen, { host: "127.0.0.1", port: 7002 });
  assert.deepEqual(config.management.endpoint, { host: "localhost", port: 7001 });
  assert.deepEqual(config.ports, { first: 6100, last: 6200 });
  assert.equal(config.maxVms, 10);
  assert.equal(config.kvm, undefined);
  assert.equal(config.tee, "none");
  assert.equal(config.template.qemu, "/usr/bin/qemu-system-x86_64");
  assert.deepEqual(config.warnings, []);
});

Deno.test("readManagerConfig() names every mistake at once, also those between two settings", () => {
  const wrong = {
    MANAGER_GRPC_PORT: "70000",
    MANAGER_QEMU_MEMORY_SIZE: "2 GB",
    MANAGER_QEMU_HOST_FWD_RANGE: "6200-6100",
    MANAGER_QEMU_SMP_COUNT: "65",
    MANAGER_QEMU_CPU: "EPYC -kernel x",
    MANAGER_QEMU_NETDEV_ID: "a,b",
    MANAGER_QEMU_ENABLE_HOST_DATA: "true",
    MANAGER_QEMU_ENABLE_SEV_SNP: "true",
    MANAGER_QEMU_ENABLE_TDX: "true",
    MANAGER_GRPC_SERVER_CERT: "/home/build/hal/bzImage",
    MANAGER_QEMU_BIN_PATH: "qemu-of-nobody",
    MANAGER_QEMU_DISK_IMG_KERNEL_FILE: "/nowhere/bzImage",
    MANAGER_QEMU_OVMF_CODE_FILE: "/nowhere/CODE.fd",
    MANAGER_STATE_DIR: `/${"x".repeat(100)}`,
    MANAGER_STOP_GRACE: "1m",
    MANAGER_LOG_LEVEL: "loud",
    MANAGER_QEMU_SEV_SNP_CBITPOS: "51",
    MANAGER_QEMU_SEV_SNP_CBIT_POS: "47",
  };
  assert.throws(() => configOf(wrong), (error: Error) => {
    for (const name of Object.keys(wrong)) {
      if (name === "MANAGER_QEMU_ENABLE_HOST_DATA") {
        assert.match(error.message, /MANAGER_QEMU_HOST_DATA: is required/);
      } else assert.match(error.message, new RegExp(`\\b${name}\\b`), error.message);
    }
    assert.match(error.message, /exec: "qemu-of-nobody": executable file not found in \$PATH/);
    assert.match(error.message, /open \/nowhere\/bzImage: no such file/);
    return true;
  });
});

Deno.test("OVMF: the _4M pair where the seed's files are absent, never half a pair, none on request", () => {
  const four = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
  const only = (...files: string[]) => {
    const machine = pretendMachine();
    return {
      ...machine,
      isFile: (path: string) =>
        (machine.isFile(path) && !path.startsWith("/usr/share/OVMF")) || files.includes(path),
    };
  };
  const { firmware } = configOf({}, only(...four)).template;
  assert.deepEqual([firmware?.code.file, firmware?.vars.file], four);
  assert.throws(
    () => configOf({}, only(four[0] as string)),
    /install the package ovmf or set both/,
  );
  assert.throws(
    () => configOf({ MANAGER_QEMU_OVMF_CODE_FILE: "/a.fd" }, only("/a.fd", ...four)),
    /OVMF_VARS_FILE/,
  );
  assert.equal(
    configOf({ MANAGER_QEMU_OVMF_CODE_FILE: "none" }, only()).template.firmware,
    undefined,
  );
});

Deno.test("Images: img/ of the working directory goes before build/hal of the repository", () => {
  assert.equal(configOf().template.kernel, "/home/build/hal/bzImage");
  assert.equal(
    configOf({}, pretendMachine(["/work/img/bzImage"])).template.kernel,
    "/work/img/bzImage",
  );
  assert.equal(
    configOf({ MANAGER_QEMU_DISK_IMG_KERNEL_FILE: "my/../k" }, pretendMachine(["/work/k"])).template
      .kernel,
    "/work/k",
  );
});

Deno.test("SEV-SNP and TDX: unset is what the host offers, false is plain, true and absent a refusal", () => {
  const snp = pretendMachine(["/root/coconut-qemu.igvm"], "snp");
  assert.equal(configOf({}, snp).tee, "snp");
  assert.equal(configOf({ MANAGER_QEMU_ENABLE_SEV_SNP: "false" }, snp).tee, "none");
  assert.throws(() => configOf({}, pretendMachine([], "snp")), /MANAGER_QEMU_IGVM_FILE: open/);
  const tdx = pretendMachine(["/usr/share/ovmf/OVMF.fd"], "tdx");
  assert.equal(
    configOf({ MANAGER_QEMU_ENABLE_SEV_SNP: "false", MANAGER_QEMU_ENABLE_TDX: "true" }, tdx).tee,
    "tdx",
  );
  assert.throws(
    () => configOf({ MANAGER_QEMU_ENABLE_TDX: "true" }, snp),
    /this host offers no TDX/,
  );
});

Deno.test("N-1 the front door is loopback by default; other addresses need mutual TLS or a loud word", () => {
  const files = pretendMachine(["/c", "/k", "/ca"]);
  assert.throws(() => configOf({ MANAGER_GRPC_HOST: "0.0.0.0" }), /MANAGER_GRPC_HOST: anyone/);
  const tls = {
    MANAGER_GRPC_HOST: "0.0.0.0",
    MANAGER_GRPC_SERVER_CERT: "/c",
    MANAGER_GRPC_SERVER_KEY: "/k",
  };
  assert.throws(() => configOf(tls, files), /MANAGER_GRPC_HOST: anyone/);
  assert.equal(
    configOf({ ...tls, MANAGER_GRPC_CLIENT_CA_CERTS: "/ca" }, files).tls?.clientCaFile,
    "/ca",
  );
  assert.equal(
    configOf({ MANAGER_GRPC_HOST: "0.0.0.0", MANAGER_GRPC_INSECURE_REMOTE: "true" }).listen.host,
    "0.0.0.0",
  );
});

Deno.test("USE_SUDO is nothing new for root and a refusal for others", () => {
  const user = { ...pretendMachine(), root: false };
  assert.throws(() => configOf({ MANAGER_QEMU_USE_SUDO: "true" }, user), /MANAGER_QEMU_USE_SUDO/);
  configOf({ MANAGER_QEMU_USE_SUDO: "true" });
});

Deno.test("What has no effect, and what is mistyped, is said", () => {
  const { warnings } = configOf({ MANAGER_QEMU_HOST_FWD_AGENT: "7021", MANAGER_QEMU_MEMORY: "4G" });
  assert.deepEqual(warnings, [
    "MANAGER_QEMU_HOST_FWD_AGENT has no effect: each VM gets a port of MANAGER_QEMU_HOST_FWD_RANGE",
    "MANAGER_QEMU_MEMORY is not a setting of the manager",
  ]);
});

Deno.test("parseSettingsFile() reads KEY=value lines and names every wrong one", () => {
  const text = `# comment\n\nMANAGER_MAX_VMS=3\r\nexport A='x y'\nB="a # b"\nC=\n`;
  assert.deepEqual([...parseSettingsFile(text, "f")], [["MANAGER_MAX_VMS", "3"], ["A", "x y"], [
    "B",
    "a # b",
  ], ["C", ""]]);
  assert.throws(() => parseSettingsFile("A=1\nnonsense\nA=2\n", "f.env"), {
    message: "Cannot read settings:\n  f.env:2: must be KEY=value\n  f.env:3: A is set twice",
  });
});

Deno.test("defaultStateDir() and absolute()", () => {
  const get = (values: Record<string, string>) => (name: string) => values[name];
  assert.equal(defaultStateDir(true, get({})), "/var/lib/cocos/manager");
  assert.equal(defaultStateDir(false, get({ HOME: "/h" })), "/h/.local/state/cocos/manager");
  assert.equal(
    defaultStateDir(false, get({ HOME: "/h", XDG_STATE_HOME: "/x" })),
    "/x/cocos/manager",
  );
  assert.equal(absolute("/a/b", "../c/./d"), "/a/c/d");
  assert.equal(absolute("/a", "/../../b"), "/b");
});

Deno.test("readManagerConfig() warns where no SEV-SNP policy can be made, and takes the operator's product line first", () => {
  const machine = { ...pretendMachine(["/root/coconut-qemu.igvm"], "snp") };
  const warns = ({ warnings }: ReturnType<typeof configOf>) =>
    warnings.some((each) => each.includes("MANAGER_SNP_PRODUCT_LINE"));
  assert.equal(warns(configOf({}, machine)), true);
  assert.equal(warns(configOf()), false, "a plain host needs none");
  const known = { ...machine, productLine: "Genoa" as const };
  assert.equal(warns(configOf({}, known)), false);
  assert.equal(configOf({}, known).productLine, "Genoa");
  const told = configOf({ MANAGER_SNP_PRODUCT_LINE: "Turin" }, known);
  assert.deepEqual([told.productLine, warns(told)], ["Turin", false]);
  assert.throws(() => configOf({ MANAGER_SNP_PRODUCT_LINE: "Naples" }, known), /Milan/);
});
