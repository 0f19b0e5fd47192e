// A peer in Go over grpc-go with the processes of the house: management channel, manager, our CLI
// against a Go front door; plain, TLS and mTLS. The agent's side is in agent_peers_test.ts.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { KEY_KINDS } from "../../proto/mod.ts";
import { freePort, House } from "../_house.ts";
import { buildGo } from "./_go.ts";
import { digest, party, pki } from "../_parties.ts";

/** The Go peer, or nothing after saying why. */
async function gopeer(): Promise<string | undefined> {
  const built = await buildGo("gopeer", ".");
  if ("path" in built) return built.path;
  console.log(`skipped: Go peer: ${built.missing}`);
  return undefined;
}

/** The last JSON line a program printed. */
function answer(stdout: string): Record<string, unknown> {
  return JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "null");
}

Deno.test("a Go agent takes its manifest from our computations over plain, TLS and mTLS", async () => {
  const go = await gopeer();
  if (go === undefined) return;
  await using house = await House.open("peers");
  const { publicFile } = await party(house, "one", "ecdsa");
  const files = await pki(house);
  await house.write("algo.py", "print(1)\n");
  const tls = {
    COMPUTATIONS_SERVER_CERT: files.server.cert,
    COMPUTATIONS_SERVER_KEY: files.server.key,
  };
  const client = ["-ca", files.ca, "-cert", files.client.cert, "-key", files.client.key];
  const stranger = ["-ca", files.ca, "-cert", files.stranger.cert, "-key", files.stranger.key];
  const cases: [string, Record<string, string>, string[], boolean][] = [
    ["without TLS", {}, [], true],
    ["with TLS", tls, ["-ca", files.ca], true],
    ["with TLS", tls, [], false],
    ["with mTLS", { ...tls, COMPUTATIONS_CLIENT_CA_CERTS: files.ca }, client, true],
    ["with mTLS", { ...tls, COMPUTATIONS_CLIENT_CA_CERTS: files.ca }, stranger, false],
  ];
  await house.write(
    "computation.json",
    JSON.stringify({
      id: "go-1",
      name: "from a file",
      algorithm: { file: "algo.py", key: publicFile },
      datasets: [{ hash: digest("x"), key: publicFile, filename: "x.csv" }],
      consumers: [publicFile],
    }),
  );
  for (const [security, env, flags, works] of cases) {
    const port = freePort();
    const server = house.start("cocos-computations", ["--file", "computation.json", "--compat"], {
      COMPUTATIONS_HOST: "127.0.0.1",
      COMPUTATIONS_PORT: String(port),
      ...env,
    });
    const first = await server.until((line) => line.includes("listening"), "its first line");
    assert.ok(first.includes(security), first);
    const addr = `127.0.0.1:${port}`;
    const { code, stdout } = await house.runAt(go, ["agent", "-addr", addr, ...flags]);
    if (works) {
      assert.equal(code, 0, stdout);
      const { pieces, ...rest } = answer(stdout);
      assert.deepEqual(rest, {
        id: "go-1",
        name: "from a file",
        datasets: 1,
        consumers: 1,
        algorithm: digest("print(1)\n"),
      });
      assert.deepEqual((pieces as number[]).map((length) => length > 0), [true, false]);
      await server.until((line) => line.includes("hello from Go"), "the agent's log");
      await server.until((line) => line.includes('"ReceivingAlgorithm"'), "the agent's event");
      const health = await house.runAt(go, [
        "health",
        "-addr",
        addr,
        "-role",
        "cvms_test_server",
        ...flags,
      ]);
      assert.deepEqual(answer(health.stdout), { health: "SERVING" });
      // The agent that comes back is asked for its state and not given the manifest again.
      const again = await house.runAt(go, ["agent", "-addr", addr, ...flags]);
      assert.deepEqual(answer(again.stdout), { asked: "state" });
    } else {
      assert.equal(code, 1, `${security}: ${stdout}`);
      assert.equal(answer(stdout).code, 14, stdout);
    }
    assert.equal((await server.stop()).code, 0);
  }
});

Deno.test("our CLI uploads to a Go front door and fetches from it: all keys, plain, TLS, mTLS", async () => {
  const go = await gopeer();
  if (go === undefined) return;
  await using house = await House.open("peers");
  const files = await pki(house);
  const program = new Uint8Array((2 << 20) + 7).fill(0x41);
  const result = Buffer.concat([
    Buffer.from("504b0506", "hex"),
    Buffer.alloc(18),
  ]);
  await house.write("algo.bin", program);
  await house.write("set.csv", "1,2\n");
  await house.write("served.zip", result);
  const certificates = ["-cert", files.server.cert, "-key", files.server.key];
  const ca = { AGENT_GRPC_SERVER_CA_CERTS: files.ca };
  const mutual = {
    ...ca,
    AGENT_GRPC_CLIENT_CERT: files.client.cert,
    AGENT_GRPC_CLIENT_KEY: files.client.key,
  };
  const cases: [string, string[], Record<string, string>][] = [
    ["without TLS", [], {}],
    ["with TLS", certificates, ca],
    ["with mTLS", [...certificates, "-ca", files.ca], mutual],
  ];
  for (const [i, [security, flags, env]] of cases.entries()) {
    const kind = KEY_KINDS[i] as (typeof KEY_KINDS)[number];
    const { privateFile, publicFile } = await party(house, `party-${kind}`, kind);
    const door = house.startAt("door", go, [
      "door",
      "-addr",
      "127.0.0.1:0",
      "-consumer",
      publicFile,
      "-out",
      house.path("served.zip"),
      ...flags,
    ]);
    const { listening } = JSON.parse(
      await door.until((line) => line.includes("listening"), "its address"),
    );
    const cli = { AGENT_GRPC_URL: listening, ...env };
    const run = async (...args: string[]) => {
      const { code, stderr } = await house.run("cocos", ["--compat", ...args], cli);
      assert.equal(code, 0, `${security} ${kind}: ${stderr}`);
      assert.ok(stderr.includes(`Connected to agent  ${security}`), stderr);
    };
    const said = async (method: string) =>
      JSON.parse(await door.until((line) => line.includes(`"method":"${method}"`), method));
    await run("algo", "algo.bin", privateFile, "--args", "-x", "--args", "y z");
    const { sha256, ...algo } = await said("Algo");
    assert.equal(sha256, createHash("sha256").update(program).digest("hex"));
    assert.deepEqual(algo, {
      method: "Algo",
      pieces: [1 << 20, 1 << 20, 7],
      filename: "",
      user: ["algorithm-provider"],
      type: ["bin"],
      args: ["-x", "y z"],
      runtime: ["python3"],
      decompress: null,
    });
    await run("data", "set.csv", privateFile);
    const data = await said("Data");
    assert.deepEqual([data.pieces, data.filename, data.decompress], [[4], "set.csv", ["false"]]);
    await run("result", privateFile, `${kind}.zip`);
    assert.deepEqual(Buffer.from(await Deno.readFile(house.path(`${kind}.zip`))), result);
    // A key the door doesn't know is refused with the Go agent's words.
    const other = await party(house, `other-${kind}`, kind === "rsa" ? "ecdsa" : kind);
    const refused = await house.run(
      "cocos",
      ["--compat", "data", "set.csv", other.privateFile],
      cli,
    );
    assert.equal(refused.code, 4, refused.stderr);
    assert.ok(refused.stderr.includes("signature verification failed"), refused.stderr);
    await door.stop();
  }
});

Deno.test("a Go client asks our manager: health, information, and the refusals of wire.md §8", async () => {
  const go = await gopeer();
  if (go === undefined) return;
  await using house = await House.open("peers");
  const files = await pki(house);
  // No VM is started here; the image is only looked at.
  await house.write("bzImage", "kernel");
  await house.write("rootfs.cpio.gz", "rootfs");
  const tls = {
    MANAGER_GRPC_SERVER_CERT: files.server.cert,
    MANAGER_GRPC_SERVER_KEY: files.server.key,
  };
  const client = ["-ca", files.ca, "-cert", files.client.cert, "-key", files.client.key];
  const cases: [string, Record<string, string>, string[]][] = [
    ["without TLS", {}, []],
    ["with TLS", tls, ["-ca", files.ca]],
    ["with mTLS", { ...tls, MANAGER_GRPC_CLIENT_CA_CERTS: files.ca }, client],
  ];
  for (const [security, env, flags] of cases) {
    const port = freePort();
    const manager = house.start("cocos-manager", [], {
      MANAGER_GRPC_HOST: "127.0.0.1",
      MANAGER_GRPC_PORT: String(port),
      MANAGER_GRPC_URL: `127.0.0.1:${freePort()}`,
      MANAGER_HTTP_PORT: "0",
      MANAGER_STATE_DIR: house.path(`state-${security.replace(" ", "-")}`),
      MANAGER_QEMU_DISK_IMG_KERNEL_FILE: house.path("bzImage"),
      MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: house.path("rootfs.cpio.gz"),
      MANAGER_QEMU_ENABLE_KVM: "false",
      MANAGER_QEMU_OVMF_VERSION: "edk2-test",
      MANAGER_QEMU_SMP_COUNT: "3",
      MANAGER_QEMU_CPU: "EPYC",
      MANAGER_EOS_VERSION: "eos-test",
      ...env,
    });
    const first = await manager.until(
      (line) => line.includes("gRPC server listening"),
      "listening",
    );
    assert.ok(first.includes(security), first);
    const ask = async (...args: string[]) => {
      const { stdout } = await house.runAt(go, [
        args[0] as string,
        "-addr",
        `127.0.0.1:${port}`,
        ...flags,
        ...args.slice(1),
      ]);
      return answer(stdout);
    };
    assert.deepEqual(await ask("health", "-role", "manager"), { health: "SERVING" });
    assert.deepEqual(await ask("info", "-id", "any"), {
      id: "any",
      ovmf: "edk2-test",
      cpus: 3,
      cpu: "EPYC",
      eos: "eos-test",
    });
    assert.deepEqual(await ask("remove", "-id", "none"), { code: 2, message: "entity not found" });
    assert.deepEqual(await ask("policy", "-id", "none"), {
      code: 2,
      message: "computationId none not found",
    });
    const ttl = await ask("create", "-url", "127.0.0.1:7001", "-ttl", "banana");
    assert.equal(ttl.code, 2);
    assert.match(String(ttl.message), /time: invalid duration "banana"/);
    assert.equal((await manager.stop()).code, 0);
  }
});
