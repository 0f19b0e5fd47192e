// The manager process as a Go CLI meets it: raw HTTP/2, hand-made bytes, the texts and codes of the Go
// manager (wire.md §1.3, §3.2, §8.1). No VM is started here.
import assert from "node:assert/strict";
import { freePort, House } from "../_house.ts";
import { Client, field } from "../_grpc.ts";

const SERVICE = "/manager.ManagerService";

Deno.test("wire.md §8.1 the manager's answers and refusals, byte for byte", async () => {
  await using house = await House.open("manager-wire");
  await house.write("bzImage", "kernel");
  await house.write("rootfs.cpio.gz", "rootfs");
  const port = freePort();
  // The only port a VM could get is taken, so that a creation ends before QEMU starts.
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const range = `${taken.addr.port}-${taken.addr.port}`;
  const manager = house.start("cocos-manager", [], {
    MANAGER_GRPC_HOST: "127.0.0.1",
    MANAGER_GRPC_PORT: String(port),
    MANAGER_GRPC_URL: `127.0.0.1:${freePort()}`,
    MANAGER_HTTP_PORT: "0",
    MANAGER_STATE_DIR: house.path("state"),
    MANAGER_QEMU_DISK_IMG_KERNEL_FILE: house.path("bzImage"),
    MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: house.path("rootfs.cpio.gz"),
    MANAGER_QEMU_ENABLE_KVM: "false",
    MANAGER_QEMU_HOST_FWD_RANGE: range,
    MANAGER_QEMU_OVMF_VERSION: "edk2-test",
    MANAGER_QEMU_SMP_COUNT: "3",
    MANAGER_QEMU_CPU: "EPYC",
    MANAGER_EOS_VERSION: "eos-test",
  });
  const first = await manager.until((line) => line.includes("gRPC server"), "listening");
  assert.ok(
    first.includes(`manager service gRPC server listening at 127.0.0.1:${port} without TLS`),
    first,
  );
  using client = new Client(port);
  const ask = (path: string, ...fields: Uint8Array[]) =>
    client.call(path, {}, [new Uint8Array(fields.flatMap((each) => [...each]))]);

  const health = await ask("/grpc.health.v1.Health/Check", field(1, "manager"));
  assert.deepEqual([health.status, health.messages[0]?.toString("hex")], [0, "0801"]);
  assert.equal((await ask("/grpc.health.v1.Health/Check", field(1, "agent"))).status, 5);

  // CVMInfoRes: id 1, ovmf_version 2, cpu_num 3 (varint), cpu_type 4, eos_version 6; no kernel_cmd.
  const info = await ask(`${SERVICE}/CVMInfo`, field(1, "any"));
  assert.equal(
    info.messages[0]?.toString("latin1"),
    "\x0a\x03any\x12\x09edk2-test\x18\x03\x22\x04EPYC\x32\x08eos-test",
  );

  // Method, fields of the request, and the Go manager's code and text.
  const refusals: [string, Uint8Array[], number, RegExp][] = [
    ["RemoveVm", [field(1, "none")], 2, /^entity not found$/],
    ["AttestationPolicy", [field(1, "none")], 2, /^computationId none not found$/],
    [
      "CreateVm",
      [field(5, "127.0.0.1:7001"), field(7, "banana")],
      2,
      /^time: invalid duration "banana"/,
    ],
    ["CreateVm", [field(5, "127.0.0.1:7001"), field(7, "0s")], 2, /^time: invalid duration "0s"/],
    ["CreateVm", [field(5, "a\nb")], 3, /agent_cvm_server_url/],
    ["CreateVm", [field(5, "127.0.0.1:7001"), field(1, "loud")], 3, /agent_log_level/],
    ["CreateVm", [field(5, "127.0.0.1:7001"), field(2, "no PEM")], 3, /agent_cvm_server_ca_cert/],
    ["CreateVm", [field(5, "127.0.0.1:7001"), field(8, "a b")], 3, /agent_certs_token/],
    [
      "CreateVm",
      [field(5, "127.0.0.1:7001")],
      8,
      new RegExp(
        `^failed to allocate free port on host : failed to find free port in range ${range}$`,
      ),
    ],
    ["None", [], 12, /./],
  ];
  for (const [method, fields, status, text] of refusals) {
    const reply = await ask(`${SERVICE}/${method}`, ...fields);
    assert.equal(reply.status, status, `${method}: ${reply.text}`);
    assert.match(reply.text, text, method);
  }
  // The manager's log has the Go manager's words.
  await manager.until(
    (line) => /Method RemoveVM for vm none took .* with error: /.test(line),
    "a line",
  );
  assert.equal((await manager.stop()).code, 0);
});
