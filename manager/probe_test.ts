// The KVM probe: its decision with a pretended run, and the probe guest itself under emulation.
import assert from "node:assert/strict";
import { type Choice, chooseAccel, probeArgv, runProbe } from "./probe.ts";

const probe = { qemu: "/usr/bin/qemu-system-x86_64", cpu: "EPYC", machine: "q35", kernel: "/k" };

async function withChoice(
  test: (
    choose: (more?: Partial<Choice>) => Promise<"kvm" | "tcg">,
    runs: () => number,
  ) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "cocos-probe-test-" });
  let runs = 0;
  const base: Choice = {
    wanted: undefined,
    probe,
    initrd: "/probe.cpio",
    qemuVersion: "QEMU emulator version 7.2.0",
    bootId: "11111111-1111-1111-1111-111111111111",
    cacheFile: `${dir}/kvm.json`,
    run: () => Promise.resolve({ works: ++runs > 0, why: "" }),
  };
  try {
    await test((more = {}) => chooseAccel({ ...base, ...more }), () => runs);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
const broken = () => Promise.resolve({ works: false, why: "stalled" });

Deno.test("chooseAccel(): KVM where the probe runs, emulation where not, a refusal where demanded", async () => {
  await withChoice(async (choose, runs) => {
    assert.equal(await choose({ wanted: false }), "tcg");
    assert.equal(runs(), 0);
    assert.equal(await choose(), "kvm");
  });
  await withChoice(async (choose) => {
    assert.equal(await choose({ run: broken }), "tcg");
    await assert.rejects(choose({ run: broken, wanted: true }), {
      code: "invalid-config",
      message: "MANAGER_QEMU_ENABLE_KVM: is true and KVM does not work: stalled",
    });
    assert.equal(await choose({ initrd: undefined }), "tcg");
    await assert.rejects(choose({ initrd: undefined, wanted: true }), /there is no probe image/);
  });
});

Deno.test("chooseAccel() probes again after a boot, with another QEMU or CPU, or a damaged cache", async () => {
  await withChoice(async (choose, runs) => {
    await choose();
    await choose();
    assert.equal(runs(), 1);
    await choose({ bootId: "22222222-2222-2222-2222-222222222222" });
    await choose({ qemuVersion: "QEMU emulator version 8.0.0" });
    await choose({ probe: { ...probe, cpu: "host" } });
    assert.equal(runs(), 4);
    await choose({ bootId: undefined });
    await choose({ bootId: undefined });
    assert.equal(runs(), 6);
  });
  await withChoice(async (choose, runs) => {
    await choose();
    const dir = Deno.makeTempDirSync({ prefix: "cocos-probe-test-" });
    await Deno.writeTextFile(`${dir}/kvm.json`, "{");
    await choose({ cacheFile: `${dir}/kvm.json` });
    assert.equal(runs(), 2);
    await Deno.remove(dir, { recursive: true });
  });
});

Deno.test("probeArgv() boots the VMs' own kernel with the VMs' own CPU", () => {
  assert.equal(
    probeArgv({ ...probe, initrd: "/i" }).join(" "),
    "-enable-kvm -machine q35 -cpu EPYC -m 128 -nodefaults -no-reboot -display none -serial stdio " +
      "-kernel /k -initrd /i -append console=ttyS0 quiet panic=-1",
  );
});

/** QEMU and the built image, or the reason why this machine can't. */
async function reals(): Promise<{ kernel: string; initrd: string; qemu: string } | undefined> {
  const hal = new URL("../build/hal/", import.meta.url).pathname;
  const files = { kernel: `${hal}bzImage`, initrd: `${hal}probe.cpio`, qemu: probe.qemu };
  for (const file of Object.values(files)) {
    if (!(await Deno.stat(file).catch(() => undefined))?.isFile) {
      console.log(`skipped: ${file.split("/").at(-1)} is not there`);
      return undefined;
    }
  }
  return files;
}

Deno.test("runProbe() sees the marker of the real probe guest under emulation", async () => {
  const files = await reals();
  if (files === undefined) return;
  assert.deepEqual(await runProbe({ ...probe, ...files }, "tcg", 60_000), { works: true, why: "" });
});

Deno.test("N-10 runProbe() says why a QEMU that can't start a guest can't", async () => {
  const files = await reals();
  if (files === undefined) return;
  const bad = await runProbe({ ...probe, ...files, cpu: "no-such-model" }, "tcg", 10_000);
  assert.equal(bad.works, false);
  assert.match(bad.why, /no-such-model/);
  const stalled = await runProbe({ ...probe, ...files }, "tcg", 1);
  assert.deepEqual(stalled, { works: false, why: "the probe guest did not come up in 1 ms" });
});
