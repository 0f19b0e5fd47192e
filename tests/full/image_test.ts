// The full image in a real VM: an algorithm in a container, and one that needs numpy, pandas and
// scikit-learn, one after the other on one agent. `deno task test:full`; the image must be built.
import assert from "node:assert/strict";
import { Management } from "../_agent.ts";
import { freePort, House } from "../_house.ts";
import { digest, type Party, party } from "../_parties.ts";

/** Longest boot, and longest run, on a busy machine without KVM. */
const LIMIT_MS = 900_000;
/** Unpacked to memory the image takes a gigabyte. */
const MEMORY = "6144M";

/** An image of busybox and a script, as `docker save` writes it, made without an engine. */
const PACK = `
cd "$1"
mkdir -p root/bin
cp "$(command -v busybox)" root/bin/busybox
ln -s busybox root/bin/sh
mv run root/algorithm
tar --sort=name --owner=0 --group=0 --format=ustar -C root -cf layer.tar .
sum() { sha256sum "$1" | cut -d" " -f1; }
printf '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/algorithm"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \\
  "$(sum layer.tar)" >config
id=$(sum config)
mv config "$id.json"
printf '[{"Config":"%s.json","RepoTags":["example:1"],"Layers":["layer.tar"]}]' "$id" >manifest.json
tar --format=ustar -cf image.tar manifest.json "$id.json" layer.tar
`;

/** What the container tells of its world. */
const CONTAINED = `#!/bin/sh
busybox cat datasets/numbers.csv | busybox awk -F, '{ sum += $1 } END { print sum }' >results/sum
busybox cp /proc/self/status results/status
busybox cat /proc/self/uid_map >results/uid_map
busybox cat /proc/net/dev >results/net
busybox ls -A /sys /run/cocos /cocos/work /var/lib/docker >results/seen 2>&1
busybox touch /x /cocos/x /cocos/datasets/x 2>results/refused
echo "$@" >results/arguments
exit 0
`;

const LEARNED = `
import numpy, pandas, sklearn
from sklearn.linear_model import LinearRegression
table = pandas.read_csv("datasets/numbers.csv", header=None)
x = numpy.arange(len(table)).reshape(-1, 1)
model = LinearRegression().fit(x, table[0])
open("results/slope", "w").write(f"{model.coef_[0]:.3f}")
try:
  open("/run/cocos/engine.sock")
  open("results/engine", "w").write("seen")
except OSError:
  pass
`;

Deno.test("full image S-15: a container and scikit-learn run in the VM, one after the other", async () => {
  const kernel = House.path("build/hal-full/bzImage");
  try {
    await Deno.stat(kernel);
  } catch {
    return console.log("skipped: there is no full image (deno task hal --profile full)");
  }
  await using house = await House.open("full");
  await using management = await Management.start();
  const owner = await party(house, "owner", "ed25519");
  const managerPort = freePort();
  const manager = house.start("cocos-manager", ["--guest-compat", "--remove-vms-on-exit"], {
    MANAGER_GRPC_HOST: "127.0.0.1",
    MANAGER_GRPC_PORT: String(managerPort),
    MANAGER_HTTP_PORT: "0",
    MANAGER_STATE_DIR: house.path("manager"),
    MANAGER_QEMU_DISK_IMG_KERNEL_FILE: kernel,
    MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: House.path("build/hal-full/rootfs.cpio.gz"),
    MANAGER_QEMU_MEMORY_SIZE: MEMORY,
    MANAGER_QEMU_MAX_MEMORY: "8G",
    MANAGER_QEMU_SMP_COUNT: "2",
    MANAGER_QEMU_SMP_MAXCPUS: "2",
    MANAGER_QEMU_OVMF_CODE_FILE: "none",
  });
  await manager.until((line) => line.includes("gRPC server listening"), "listening", LIMIT_MS);
  await manager.until((line) => line.includes("VMs use"), "its accelerator", LIMIT_MS);
  const { code, stdout, stderr } = await house.run(
    "cocos",
    ["create-vm", "--json", "--server-url", `localhost:${management.port}`],
    { MANAGER_GRPC_URL: `127.0.0.1:${managerPort}` },
  );
  assert.equal(code, 0, stderr);
  const { port } = JSON.parse(stdout) as { port: string };
  const cocos = async (...args: string[]) => {
    const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
      AGENT_GRPC_URL: `127.0.0.1:${port}`,
    });
    assert.equal(code, 0, `cocos ${args.join(" ")}\n${stderr}\n${management.said.join("\n")}`);
  };
  const numbers = await house.write("numbers.csv", "1\n3\n5\n7\n");
  const failed = management.until("event Failed/Failed", 1, 3 * LIMIT_MS);
  failed.catch(() => {});
  let runs = 0;
  /** One computation from its manifest to the folder of its results. */
  const compute = async (name: string, algorithm: string, ...flags: string[]) => {
    runs++;
    management.give(await manifestOf(name, owner, algorithm, numbers));
    await management.until(`runRes ${name} `, 1, LIMIT_MS);
    await cocos("algo", algorithm, owner.privateFile, ...flags);
    await cocos("data", numbers, owner.privateFile);
    await Promise.race([
      management.until("event ConsumingResults/Ready", runs, LIMIT_MS),
      failed.then((line) => Promise.reject(new Error(`${line}:\n${management.said.join("\n")}`))),
    ]);
    await cocos("result", owner.privateFile, `${name}.zip`, "--extract", house.path(name));
    const files = [...Deno.readDirSync(house.path(name))].map((entry) => entry.name).sort();
    return Object.fromEntries(
      files.map((file) => [file, Deno.readTextFileSync(`${house.path(name)}/${file}`)]),
    );
  };
  await management.until("event Idle/IdleState", 1, LIMIT_MS);

  await house.write("pack/run", CONTAINED, 0o755);
  const packed = await house.runAt("sh", ["-euc", PACK, "sh", house.path("pack")]);
  assert.equal(packed.code, 0, packed.stderr);
  const image = house.path("pack/image.tar");
  const contained = await compute(
    "contained",
    image,
    "-a",
    "docker",
    "--args",
    "one",
    "--args",
    "2 3",
  );
  assert.equal(contained["sum"], "16\n");
  assert.equal(contained["arguments"], "one 2 3\n");
  assert.match(contained["status"] ?? "", /^CapBnd:\s0+$/m);
  assert.match(contained["status"] ?? "", /^NoNewPrivs:\s1$/m);
  assert.match(contained["status"] ?? "", /^Seccomp:\s2$/m);
  assert.match(contained["uid_map"] ?? "", /^\s+0\s+100000\s+1000\n\s+1000\s+1001\s+1\n$/);
  assert.doesNotMatch(contained["net"] ?? "", /eth0/);
  assert.match(contained["seen"] ?? "", /run\/cocos: No such file/);
  assert.match(contained["refused"] ?? "", /(.*Read-only file system\n){3}/);

  management.stop("contained");
  await management.until("stopped contained", 1, LIMIT_MS);
  const script = await house.write("learn.py", LEARNED);
  const learned = await compute("learned", script, "-a", "python");
  assert.deepEqual(learned, { slope: "2.000" });
});

async function manifestOf(id: string, owner: Party, algorithm: string, dataset: string) {
  const userKey = Uint8Array.fromBase64(
    (await Deno.readTextFile(owner.publicFile)).split("\n")
      .filter((line) => !line.startsWith("-")).join(""),
  );
  const hash = async (path: string) => Uint8Array.fromHex(digest(await Deno.readFile(path)));
  return {
    id,
    algorithm: { hash: await hash(algorithm), userKey },
    datasets: [{ hash: await hash(dataset), userKey, filename: "numbers.csv" }],
    resultConsumers: [{ userKey }],
  };
}
