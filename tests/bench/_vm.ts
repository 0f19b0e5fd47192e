// Measurements with the real VM: QEMU under TCG and the image of build/hal.
import { Management } from "../_agent.ts";
import { freePort, House } from "../_house.ts";
import { timed } from "./_measure.ts";

/** Longest boot on a slow machine. */
const BOOT_MS = 300_000;

/** A manager with a private state folder. */
async function manager(house: House, firmware: "direct" | "ovmf") {
  const port = freePort();
  const program = house.start("cocos-manager", ["--remove-vms-on-exit"], {
    MANAGER_GRPC_HOST: "127.0.0.1",
    MANAGER_GRPC_PORT: String(port),
    MANAGER_HTTP_PORT: "0",
    MANAGER_STATE_DIR: house.path("manager"),
    MANAGER_QEMU_DISK_IMG_KERNEL_FILE: House.path("build/hal/bzImage"),
    MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: House.path("build/hal/rootfs.cpio.gz"),
    MANAGER_QEMU_ENABLE_KVM: "false",
    MANAGER_QEMU_SMP_COUNT: "2",
    MANAGER_QEMU_SMP_MAXCPUS: "2",
    ...(firmware === "direct" ? { MANAGER_QEMU_OVMF_CODE_FILE: "none" } : {}),
  });
  await program.until((line) => line.includes("gRPC server listening"), "listening");
  await program.until((line) => line.includes("VMs use"), "its accelerator");
  return { program, env: { MANAGER_GRPC_URL: `127.0.0.1:${port}` } };
}

/** Asks for a VM whose agent dials `port` of this machine. */
async function create(house: House, env: Record<string, string>, port: number): Promise<void> {
  const { code, stderr } = await house.run(
    "cocos",
    ["create-vm", "--server-url", `localhost:${port}`],
    env,
  );
  if (code !== 0) throw new Error(stderr);
}

/** Milliseconds of one `cocos create-vm`. */
export async function createVm(): Promise<number> {
  await using house = await House.open("bench");
  const { env } = await manager(house, "direct");
  return await timed(() => create(house, env, freePort()));
}

/** Seconds from the command to the agent's first word to the management server. */
export async function bootToReady(firmware: "direct" | "ovmf"): Promise<number> {
  await using house = await House.open("bench");
  await using management = await Management.start();
  const { env } = await manager(house, firmware);
  const ms = await timed(async () => {
    await create(house, env, management.port);
    await management.until("event Idle/IdleState", 1, BOOT_MS);
  });
  return ms / 1_000;
}
