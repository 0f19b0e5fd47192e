import assert from "node:assert/strict";
import { configOf, pretendMachine } from "./_testbed.ts";
import { parseArguments } from "./arguments.ts";
import { rights } from "./rights.ts";

Deno.test("L-2 rights() names each file, port and socket, one flag a kind", () => {
  const config = configOf({ MANAGER_QEMU_HOST_FWD_RANGE: "6100-6101", MANAGER_STATE_DIR: "/s" });
  assert.deepEqual(rights(config, { config: "/etc/m.env" }, [6150]), [
    "--allow-read=/s,/usr/bin/qemu-system-x86_64,/home/build/hal/bzImage," +
    "/home/build/hal/rootfs.cpio.gz,/home/build/hal/measurements.json," +
    "/usr/share/OVMF/OVMF_CODE.fd,/usr/share/OVMF/OVMF_VARS.fd,/etc/m.env",
    "--allow-write=/s",
    "--allow-net=127.0.0.1:7002,127.0.0.1:7003,localhost:7001,127.0.0.1:6100,127.0.0.1:6101," +
    "unix:/s/qmp/6100.sock,unix:/s/qmp/6101.sock,unix:/s/qmp/6150.sock",
    "--allow-run=/usr/bin/qemu-system-x86_64",
  ]);
});

Deno.test("L-2 rights() refuses a path that would widen a list", () => {
  const machine = pretendMachine(["/a,/b"]);
  const config = configOf({ MANAGER_QEMU_BIN_PATH: "/a,/b" }, machine);
  assert.throws(() => rights(config), { code: "invalid-config" });
  assert.throws(() => rights(configOf(), { config: "/x\n--more" }), {
    code: "invalid-config",
  });
});

Deno.test("parseArguments() takes the flags, refuses everything else", () => {
  const none = {
    action: "run",
    config: undefined,
    dryRun: false,
    guestCompat: false,
    removeVmsOnExit: false,
  };
  assert.deepEqual(parseArguments([], "/w"), none);
  assert.deepEqual(parseArguments(["--config", "m.env", "--dry-run", "--guest-compat"], "/w"), {
    ...none,
    config: "/w/m.env",
    dryRun: true,
    guestCompat: true,
  });
  assert.equal(parseArguments(["--config=/m", "--remove-vms-on-exit"], "/w").config, "/m");
  assert.equal(parseArguments(["--version", "--help"], "/w").action, "help");
  for (const wrong of [["--config"], ["--config="], ["x"], ["--dry-run=1"], ["toString"]]) {
    assert.throws(() => parseArguments(wrong, "/w"), { code: "invalid-argument" });
  }
});
