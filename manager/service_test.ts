// The service as a client sees it, over real gRPC, with a pretended QEMU behind the fleet.
import assert from "node:assert/strict";
import { connect, ManagerService, type RpcClient, serve } from "../proto/mod.ts";
import { Testbed } from "./_testbed.ts";
import type { Config } from "./config.ts";
import { Fleet } from "./fleet.ts";
import { managerService } from "./service.ts";

async function withService(
  test: (client: RpcClient<typeof ManagerService>, bed: Testbed) => Promise<void>,
  change: (config: Config) => Config = (config) => config,
): Promise<void> {
  await using bed = await Testbed.make("normal", {
    MANAGER_MAX_VMS: "1",
    MANAGER_EOS_VERSION: "eos-1",
    MANAGER_QEMU_OVMF_VERSION: "2022.11",
  });
  const config = change(bed.config);
  await using fleet = await Fleet.open({ config, accel: () => Promise.resolve("tcg") });
  await using server = await serve({
    host: "127.0.0.1",
    port: 0,
    services: [managerService(fleet, config)],
    healthName: "manager",
  });
  await using client = connect(ManagerService, {
    target: { host: "127.0.0.1", port: server.port },
    security: { kind: "none" },
  });
  await test(client, bed);
  await fleet.removeEvery();
  assert.deepEqual(await bed.left(), []);
}

Deno.test("ManagerService: create, info, policy and remove answer as wire.md §8.1 says", async () => {
  await withService(async (client, bed) => {
    const { cvmId, forwardedPort } = await client.createVm({ agentCvmServerUrl: "localhost:7001" });
    assert.match(cvmId, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    assert.equal(forwardedPort, String(bed.config.ports.first));
    const info = await client.cVMInfo({ id: "any" });
    assert.deepEqual(
      [info.id, info.cpuNum, info.cpuType, info.ovmfVersion, info.eosVersion, info.kernelCmd],
      ["any", 4, "EPYC", "2022.11", "eos-1", ""],
    );
    const policy = await client.attestationPolicy({ id: cvmId });
    assert.deepEqual([policy.id, policy.info.length], [cvmId, 0]);
    await assert.rejects(client.createVm({}), {
      status: 8,
      message: "maximum number of VMs exceeded",
    });
    await client.removeVm({ cvmId });
    await assert.rejects(client.removeVm({ cvmId }), { status: 2, message: "entity not found" });
    await assert.rejects(client.attestationPolicy({ id: cvmId }), {
      status: 2,
      message: `computationId ${cvmId} not found`,
    });
  });
});

Deno.test("N-9 ManagerService: a bad TTL is refused with Go's text before anything is made", async () => {
  await withService(async (client, bed) => {
    await assert.rejects(client.createVm({ ttl: "banana" }), {
      status: 2,
      message: 'time: invalid duration "banana"',
    });
    assert.deepEqual(await bed.left(), []);
  });
});

Deno.test("R7 ManagerService: an error of the host goes out without the host's paths", async () => {
  await withService(async (client, bed) => {
    await Deno.remove(`${bed.config.stateDir}/vms`, { recursive: true });
    await assert.rejects(client.createVm({}), (error: Error) => {
      assert.ok(!error.message.includes(bed.dir), error.message);
      assert.match(error.message, /the VM could not be handled: .*<path>/);
      return true;
    });
    await Deno.mkdir(`${bed.config.stateDir}/vms`);
  });
});
