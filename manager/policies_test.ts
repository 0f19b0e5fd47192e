// When there is no policy: files that changed since the launch or while it happened, a record that was
// lost, a host or a file nothing can be said of.
import assert from "node:assert/strict";
import { connect, ManagerService, serve } from "../proto/mod.ts";
import { vector, vectorJson } from "./_evidence.ts";
import { IGVM, withManager } from "./_policybed.ts";
import { request } from "./_testbed.ts";
import { Fleet } from "./fleet.ts";
import { managerService } from "./service.ts";

for (
  const [tee, name, what] of [
    ["snp", "guest.igvm", "the IGVM file"],
    ["snp", "bzImage", "the kernel"],
    ["snp", "rootfs.cpio.gz", "the initial root"],
    ["snp", "pcrs.json", "the file of PCR values"],
    ["tdx", "OVMF.fd", "the firmware"],
    ["tdx", "bzImage", "the kernel"],
  ] as const
) {
  Deno.test(`N-15 AttestationPolicy (${tee}) is refused while ${what} is another than at launch`, async () => {
    const pcrs = JSON.stringify(vectorJson("policy/pcr_values.json"));
    await withManager(tee, { pcrs }, async ({ bed, client, create, policy }) => {
      const id = await create();
      const before = await policy(id);
      const path = `${bed.dir}/${name}`;
      const bytes = await Deno.readFile(path);
      await Deno.writeFile(
        path,
        bytes.map((each, at) => at === bytes.length - 1 ? each ^ 1 : each),
      );
      await assert.rejects(client.attestationPolicy({ id }), {
        status: 2,
        message:
          `error while creating attestation policy : ${what} has changed since the VM was launched`,
      });
      await Deno.remove(path);
      await assert.rejects(client.attestationPolicy({ id }), (error: Error) => {
        assert.match(error.message, new RegExp(`: ${what} can't be read: no such file$`));
        assert.ok(!error.message.includes(bed.dir), "R7: a path of the host goes out");
        return true;
      });
      await Deno.writeFile(path, bytes);
      assert.equal(await policy(id), before);
    });
  });
}

Deno.test("N-15 Fleet.create() ends a VM whose firmware was changed while it was launched", async () => {
  await withManager("snp", {}, async ({ bed, stop }) => {
    const { config } = bed;
    await stop();
    await using other = await Fleet.open({
      config,
      accel: () => Promise.resolve("kvm"),
      step: (step) => {
        if (step === "spawn") Deno.writeFileSync(`${bed.dir}/guest.igvm`, IGVM.map(() => 0));
      },
    });
    await assert.rejects(other.create(request()), {
      code: "wrong-state",
      message: "the IGVM file was changed while the VM was launched",
    });
    assert.deepEqual(await bed.left(), []);
  });
});

Deno.test("AttestationPolicy of a VM of an earlier manager is the same; without its record it is refused", async () => {
  await withManager("snp", {}, async ({ bed, stop, create, policy }) => {
    const id = await create();
    const before = await policy(id);
    await stop();
    for (const lost of [false, true]) {
      if (lost) await Deno.remove(`${bed.config.stateDir}/vms/${id}/vm.json`);
      // The new manager's settings are others: they say nothing of VMs that run already.
      const config = { ...bed.config, productLine: "Genoa" as const, pcrValues: undefined };
      const next = await Fleet.open({ config, accel: () => Promise.resolve("kvm") });
      await using _next = next;
      await using server = await serve({
        host: "127.0.0.1",
        port: 0,
        services: [managerService(next, config)],
        healthName: "manager",
      });
      await using client = connect(ManagerService, {
        target: { host: "127.0.0.1", port: server.port },
        security: { kind: "none" },
      });
      const asked = client.attestationPolicy({ id });
      if (!lost) assert.equal(new TextDecoder().decode((await asked).info), before);
      else {
        await assert.rejects(asked, {
          status: 2,
          message: /policy : what the VM was launched from is not known$/,
        });
        await next.removeEvery();
      }
    }
  });
});

Deno.test("AttestationPolicy says why there is none: an unknown product line, a file KVM launches otherwise, no IGVM file", async () => {
  for (
    const [guest, why] of [
      [{ productLine: undefined }, /the host's AMD product line is not known$/],
      [
        { igvm: vector("measure/synthetic-vmsa-not-last.igvm") },
        /Cannot launch this IGVM file under KVM/,
      ],
      [{ igvm: new Uint8Array(100) }, /an IGVM file/],
      [{ pcrs: "{}" }, /PCR values/],
    ] as const
  ) {
    await withManager("snp", guest, async ({ client, create }) => {
      await assert.rejects(client.attestationPolicy({ id: await create() }), (error: Error) => {
        assert.match(error.message, /^error while creating attestation policy : /);
        assert.match(error.message, why);
        return true;
      });
    });
  }
});
