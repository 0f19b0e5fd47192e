// The manager's command line and control against the real QEMU, with the built kernel, emulated.
import assert from "node:assert/strict";
import { configOf, pretendMachine, request, until } from "./_testbed.ts";
import type { Config } from "./config.ts";
import { Fleet } from "./fleet.ts";

/** A configuration with real files beneath a folder whose name QEMU could misread. */
async function withReal(test: (config: Config) => Promise<void>): Promise<void> {
  const hal = new URL("../build/hal/", import.meta.url).pathname;
  const wanted = [
    "/usr/bin/qemu-system-x86_64",
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
    `${hal}bzImage`,
    `${hal}probe.cpio`,
  ];
  for (const file of wanted) {
    if (!(await Deno.stat(file).catch(() => undefined))?.isFile) {
      return console.log(`skipped: ${file.split("/").at(-1)} is not there`);
    }
  }
  const dir = await Deno.makeTempDir({ prefix: "cocos,id=x, real-" });
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const first = Math.min((listener.addr as Deno.NetAddr).port, 65_000) + 1;
  try {
    await test(configOf({
      MANAGER_QEMU_DISK_IMG_KERNEL_FILE: `${hal}bzImage`,
      MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: `${hal}probe.cpio`,
      MANAGER_QEMU_OVMF_CODE_FILE: "/usr/share/OVMF/OVMF_CODE_4M.fd",
      MANAGER_QEMU_OVMF_VARS_FILE: "/usr/share/OVMF/OVMF_VARS_4M.fd",
      MANAGER_QEMU_HOST_FWD_RANGE: `${first}-${first + 9}`,
      MANAGER_QEMU_SMP_COUNT: "1",
      MANAGER_QEMU_MEMORY_SIZE: "256M",
      MANAGER_STATE_DIR: `${dir}/s`,
      MANAGER_STOP_GRACE: "100ms",
    }, { ...pretendMachine(), isFile: (path) => wanted.includes(path) }));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const open = (config: Config) => Fleet.open({ config, accel: () => Promise.resolve("tcg") });

Deno.test("N-3 the real QEMU takes our command line, with commas in its paths; N-7 it is adopted", async () => {
  await withReal(async (config) => {
    const before = await open(config);
    const made = await before.create(request());
    const { command } = JSON.parse(
      await Deno.readTextFile(`${config.stateDir}/vms/${made.id}/vm.json`),
    );
    assert.ok(
      command.some((each: string) => each.includes(",,id=x,, real-")),
      "nothing was escaped",
    );
    await before[Symbol.asyncDispose]();
    await using after = await open(config);
    assert.deepEqual(after.list(), [made]);
    await after.remove(made.id);
    assert.deepEqual([...Deno.readDirSync(`${config.stateDir}/vms`)], []);
    assert.deepEqual([...Deno.readDirSync(`${config.stateDir}/qmp`)], []);
  });
});

Deno.test("N-6 a real guest that powers itself off is noticed and its place freed", async () => {
  await withReal(async (config) => {
    await using fleet = await open(config);
    const { id } = await fleet.create(request());
    await until(() => fleet.list().length === 0, 60_000);
    const [end] = JSON.parse(await Deno.readTextFile(`${config.stateDir}/exits.json`));
    assert.deepEqual([end.id, end.code], [id, 0]);
    assert.deepEqual([...Deno.readDirSync(`${config.stateDir}/vms`)], []);
  });
});

Deno.test("N-10 a CPU model the real QEMU doesn't know is an error with its words, and leaves nothing", async () => {
  await withReal(async (config) => {
    const template = { ...config.template, cpu: "no-such-model" };
    await using fleet = await open({ ...config, template });
    await assert.rejects(
      fleet.create(request()),
      /exit code 1: .*unable to find CPU model 'no-such-model'/,
    );
    assert.deepEqual([...Deno.readDirSync(`${config.stateDir}/vms`)], []);
  });
});
