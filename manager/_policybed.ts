// What the tests of policies share: a manager on a pretended SEV-SNP or TDX host, with the files of one
// pretended guest, behind real gRPC.
import { connect, ManagerService, type RpcClient, serve } from "../proto/mod.ts";
import { efiKernel, tdxFirmware, vector } from "./_evidence.ts";
import { Testbed } from "./_testbed.ts";
import { Fleet } from "./fleet.ts";
import { managerService } from "./service.ts";

/** An IGVM file whose digest igvmmeasure has computed as well. */
export const IGVM: Uint8Array<ArrayBuffer> = vector("measure/synthetic-sorted.igvm");

/** A guest's files and settings; each test changes one of them. */
export interface Guest {
  igvm?: Uint8Array;
  firmware?: Uint8Array;
  kernel?: Uint8Array;
  initrd?: Uint8Array;
  pcrs?: string;
  variables?: Record<string, string>;
  productLine?: "Milan" | "Genoa" | undefined;
}

/** A manager on a pretended host, with the guest's files in place. */
export async function withManager(
  tee: "snp" | "tdx",
  guest: Guest,
  test: (m: {
    client: RpcClient<typeof ManagerService>;
    bed: Testbed;
    /** Ends the manager's part; its VMs run on. */
    stop: () => Promise<void>;
    create: () => Promise<string>;
    policy: (id: string) => Promise<string>;
  }) => Promise<void>,
): Promise<void> {
  await using bed = await Testbed.make("normal", {
    MANAGER_QEMU_IGVM_FILE: "guest.igvm",
    MANAGER_QEMU_OVMF_FILE: "OVMF.fd",
    ...(guest.pcrs === undefined ? {} : { MANAGER_PCR_VALUES: "pcrs.json" }),
    ...guest.variables,
  }, { tee, productLine: "productLine" in guest ? guest.productLine : "Milan" });
  const files = {
    "guest.igvm": guest.igvm ?? IGVM,
    "OVMF.fd": guest.firmware ?? tdxFirmware(1),
    "bzImage": guest.kernel ?? efiKernel(1),
    "rootfs.cpio.gz": guest.initrd ?? new Uint8Array(1000).fill(1),
    ...(guest.pcrs === undefined ? {} : { "pcrs.json": new TextEncoder().encode(guest.pcrs) }),
  };
  for (const [name, bytes] of Object.entries(files)) {
    await Deno.writeFile(`${bed.dir}/${name}`, bytes);
  }
  const fleet = await Fleet.open({ config: bed.config, accel: () => Promise.resolve("kvm") });
  let open = true;
  const stop = async () => {
    if (open) await fleet[Symbol.asyncDispose]();
    open = false;
  };
  await using _fleet = { [Symbol.asyncDispose]: stop };
  await using server = await serve({
    host: "127.0.0.1",
    port: 0,
    services: [managerService(fleet, bed.config)],
    healthName: "manager",
  });
  await using client = connect(ManagerService, {
    target: { host: "127.0.0.1", port: server.port },
    security: { kind: "none" },
  });
  await test({
    client,
    bed,
    stop,
    create: async () => (await client.createVm({})).cvmId,
    policy: async (id) => new TextDecoder().decode((await client.attestationPolicy({ id })).info),
  });
  if (open) await fleet.removeEvery();
}

/** The policy a manager gives for such a guest. */
export async function policyOf(tee: "snp" | "tdx", guest: Guest = {}): Promise<string> {
  let text = "";
  await withManager(tee, guest, async ({ create, policy }) => {
    text = await policy(await create());
  });
  return text;
}
