// The WebAssembly filter of the examples by its command line: on this host's sandbox, and in the real
// VM, whose control groups are version 2.
import assert from "node:assert/strict";
import { Management, startAgent } from "../_agent.ts";
import { freePort, House } from "../_house.ts";
import { digest, type Party, party } from "../_parties.ts";

/** Longest boot of a VM without KVM on a busy machine. */
const BOOT_MS = 600_000;

/** The filter compiled; undefined, and said why, where that can't be done. */
async function compiled(house: House): Promise<string | undefined> {
  const into = house.path("outliers.wasm");
  const { code, stderr } = await house.runAt("sh", [
    "-c",
    'exec clang --target=wasm32-wasi -O2 -o "$1" "$2"',
    ...["sh", into, House.path("examples/outliers.c")],
  ], { PATH: "/usr/local/bin:/usr/bin:/bin" });
  if (code === 0) return into;
  console.log(`skipped: no C compiler for WASI here (${stderr.trim().split("\n")[0]})`);
  return undefined;
}

/** Gives the agent a manifest for the filter and both tables. */
async function give(management: Management, program: string, owner: Party): Promise<void> {
  const userKey = Uint8Array.fromBase64(
    (await Deno.readTextFile(owner.publicFile)).split("\n")
      .filter((line) => !line.startsWith("-")).join(""),
  );
  const hash = async (path: string) => Uint8Array.fromHex(digest(await Deno.readFile(path)));
  management.give({
    id: "outliers",
    algorithm: { hash: await hash(program), userKey },
    datasets: await Promise.all(["a", "b"].map(async (name) => ({
      hash: await hash(House.path(`examples/hospitals/hospital-${name}.csv`)),
      userKey,
      filename: `hospital-${name}.csv`,
    }))),
    resultConsumers: [{ userKey }],
  });
}

/** Uploads all three files, waits for the result and checks it. */
async function compute(
  house: House,
  management: Management,
  program: string,
  owner: Party,
  agent: string,
): Promise<void> {
  const cocos = async (...args: string[]) => {
    const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
      AGENT_GRPC_URL: agent,
    });
    assert.equal(code, 0, `cocos ${args.join(" ")}\n${stderr}\n${management.said.join("\n")}`);
  };
  const bounds = ["mean_radius", "10", "20"].flatMap((word) => ["--args", word]);
  await cocos("algo", program, owner.privateFile, "-a", "wasm", ...bounds);
  for (const name of ["a", "b"]) {
    await cocos("data", House.path(`examples/hospitals/hospital-${name}.csv`), owner.privateFile);
  }
  await management.until("event ConsumingResults/Ready", 1, BOOT_MS);
  await cocos("result", owner.privateFile, "out.zip", "--extract", "out");
  const rows = (text: string) => text.trim().split("\n");
  const tables = await Promise.all(
    ["a", "b"].map(async (name) =>
      rows(await Deno.readTextFile(House.path(`examples/hospitals/hospital-${name}.csv`)))
    ),
  );
  const within = (row: string) =>
    Number(row.split(",")[0]) >= 10 && Number(row.split(",")[0]) <= 20;
  const all = tables.flatMap((table) => table.slice(1));
  const expected = all.filter(within);
  assert.ok(expected.length > 100 && expected.length < all.length);
  const read = (name: string) => Deno.readTextFile(house.path(`out/${name}`));
  assert.equal(await read("counts.txt"), `${expected.length} of ${all.length} rows\n`);
  assert.deepEqual(rows(await read("kept.csv")), [tables[0]?.[0], ...expected]);
}

Deno.test("e2e: a WebAssembly filter compiled from C, by its command line", async () => {
  await using house = await House.open("wasm");
  const program = await compiled(house);
  if (program === undefined) return;
  const owner = await party(house, "owner", "ed25519");
  await using management = await Management.start();
  await give(management, program, owner);
  const port = freePort();
  const agent = startAgent(house, management.port, port);
  await agent.until((line) => line.includes("gRPC server listening"), "its door");
  await compute(house, management, program, owner, `127.0.0.1:${port}`);
  await agent.stop();
});

Deno.test("e2e: a WebAssembly filter in the real VM", async () => {
  await using house = await House.open("wasm");
  const program = await compiled(house);
  if (program === undefined) return;
  const owner = await party(house, "owner", "ed25519");
  await using management = await Management.start();
  await give(management, program, owner);
  const managerPort = freePort();
  const manager = house.start("cocos-manager", ["--guest-compat", "--remove-vms-on-exit"], {
    MANAGER_GRPC_HOST: "127.0.0.1",
    MANAGER_GRPC_PORT: String(managerPort),
    MANAGER_HTTP_PORT: "0",
    MANAGER_STATE_DIR: house.path("manager"),
    MANAGER_QEMU_DISK_IMG_KERNEL_FILE: House.path("build/hal/bzImage"),
    MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: House.path("build/hal/rootfs.cpio.gz"),
    MANAGER_QEMU_SMP_COUNT: "2",
    MANAGER_QEMU_OVMF_CODE_FILE: "none",
  });
  await manager.until((line) => line.includes("gRPC server listening"), "listening");
  const env = { MANAGER_GRPC_URL: `127.0.0.1:${managerPort}` };
  const made = await house.run("cocos", [
    ...["create-vm", "--json", "--server-url", `localhost:${management.port}`],
  ], env);
  assert.equal(made.code, 0, made.stderr);
  const { port } = JSON.parse(made.stdout) as { port: string };
  await management.until("event ReceivingAlgorithm/InProgress", 1, BOOT_MS);
  await compute(house, management, program, owner, `127.0.0.1:${port}`);
  await manager.stop();
});
