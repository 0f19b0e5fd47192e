// A manager for the crash tests: makes one VM and is killed at a step, as by kill -9.
import { configOf, pretendMachine, request } from "./_testbed.ts";
import { Fleet } from "./fleet.ts";

const [dir, range, at] = Deno.args as [string, string, string];
const config = configOf({
  MANAGER_QEMU_BIN_PATH: `${dir}/qemu`,
  MANAGER_QEMU_DISK_IMG_KERNEL_FILE: `${dir}/bzImage`,
  MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: `${dir}/rootfs.cpio.gz`,
  MANAGER_QEMU_OVMF_CODE_FILE: `${dir}/CODE.fd`,
  MANAGER_QEMU_OVMF_VARS_FILE: `${dir}/VARS.fd`,
  MANAGER_QEMU_HOST_FWD_RANGE: range,
  MANAGER_STATE_DIR: `${dir}/state`,
}, { ...pretendMachine(), isFile: () => true });

/** No handler, no `finally`, no flush runs after this. */
function die(): void {
  new Deno.Command("kill", { args: ["-9", String(Deno.pid)] }).outputSync();
}

const fleet = await Fleet.open({
  config,
  accel: () => Promise.resolve("tcg"),
  step: (step) => {
    if (step === at) die();
  },
});
const { id } = await fleet.create(request());
const { pid } = JSON.parse(await Deno.readTextFile(`${dir}/state/vms/${id}/vm.json`));
console.log(JSON.stringify({ id, pid }));
die();
