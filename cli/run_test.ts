// Every command against peers on real sockets: what a person sees, what a program sees, what went
// over the wire.
import assert from "node:assert/strict";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { Exit, sha3_256, zipDirectory, zipEntries } from "../base/mod.ts";
import { generateKeys, readPublicKey, readPublicKeyPem, ROLES, verifyRole } from "../proto/mod.ts";
import { cocos, fakeAgent, fakeManager, inFolder } from "./_fakes.ts";

const MIB = 1024 * 1024;
const pair = await generateKeys("ed25519");
const publicKey = readPublicKey(readPublicKeyPem(pair.publicPem));

async function bytesOf(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(ReadableStream.from(parts)).arrayBuffer());
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A small sound archive. */
async function archive(names: readonly string[] = ["results.txt"]): Promise<Uint8Array> {
  const entries = names.map((name) => ({
    path: "",
    name,
    mode: 0o100644,
    mtime: new Date("2024-01-01T00:00:00Z"),
  }));
  return await bytesOf(zipEntries(entries, async function* () {
    yield new TextEncoder().encode("42\n");
  }));
}

async function withKey(work: (dir: string, key: string) => Promise<void>): Promise<void> {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/private.pem`, pair.privatePem);
    await work(dir, `${dir}/private.pem`);
  });
}

Deno.test("cocos keys makes a pair, the private key for its owner only", async () => {
  await inFolder(async (dir) => {
    for (const kind of ["ed25519", "ecdsa"]) {
      const { exit, out, err } = await cocos(["keys", "-k", kind, "--dir", dir, "--force"]);
      assert.equal(err, `Successfully generated public/private key pair of type: ${kind}\n`);
      assert.deepEqual([exit, out], [Exit.OK, ""]);
      assert.equal((await Deno.stat(`${dir}/private.pem`)).mode! & 0o777, 0o600);
      assert.ok((await Deno.readTextFile(`${dir}/public.pem`)).startsWith("-----BEGIN PUBLIC KEY"));
    }
    assert.deepEqual((await Array.fromAsync(Deno.readDir(dir))).length, 2);
  });
});

Deno.test("cocos keys refuses to replace a key unless it is forced", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/private.pem`, "mine");
    const { exit, err } = await cocos(["keys", "-k", "ed25519", "--dir", dir]);
    assert.equal(
      err,
      `Error generating keys: Cannot write "${dir}/private.pem" as something of that name exists\n` +
        "hint: Give another name, or replace it with --force.\n",
    );
    assert.equal(exit, Exit.FAILURE);
    assert.equal(await Deno.readTextFile(`${dir}/private.pem`), "mine");
    await Deno.remove(`${dir}/private.pem`);
    await Deno.writeTextFile(`${dir}/public.pem`, "mine");
    assert.equal((await cocos(["keys", "-k", "ed25519", "--dir", dir])).exit, Exit.FAILURE);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name), [
      "public.pem",
    ]);
  });
});

Deno.test("cocos algo sends requirements before the program, in chunks of 1 MiB", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent();
    const program = crypto.getRandomValues(new Uint8Array(65536));
    const large = new Uint8Array(2 * MIB + 5).map((_, i) => program[i % 65536]! ^ (i >> 16));
    await Deno.writeFile(`${dir}/lin_reg.py`, large);
    await Deno.writeTextFile(`${dir}/requirements.txt`, "pandas==2.2.3\n");
    const { exit, out, err } = await cocos([
      "--compat",
      "algo",
      `${dir}/lin_reg.py`,
      key,
      "-a",
      "python",
      "-r",
      `${dir}/requirements.txt`,
      "--args",
      "--epochs",
      "--args",
      "3 4",
    ], { env: { AGENT_GRPC_URL: agent.url } });
    assert.equal(
      err,
      "Connected to agent  without TLS\n" +
        `Uploading algorithm file: ${dir}/lin_reg.py\n` +
        "Uploading algorithm: 2097171 bytes\n" +
        "Successfully uploaded algorithm!\n",
    );
    assert.deepEqual([exit, out], [Exit.OK, ""]);
    const [upload] = agent.uploads;
    assert.ok(upload !== undefined);
    assert.equal(upload.method, "/agent.AgentService/Algo");
    assert.deepEqual(upload.messages, [
      { field: "requirements", length: 14 },
      { field: "algorithm", length: MIB },
      { field: "algorithm", length: MIB },
      { field: "algorithm", length: 5 },
    ]);
    assert.deepEqual(joined(upload.bytes.slice(1)), large);
    const { signature, ...metadata } = upload.metadata;
    const algoArgs = metadata.algo_args ?? [];
    assert.equal(algoArgs.join(", "), "--epochs, 3 4");
    assert.deepEqual(metadata, {
      "user-id": ["algorithm-provider"],
      algo_type: ["python"],
      // Node's HTTP/2 joins repeated headers for a server; that they travel apart is shown below.
      algo_args: algoArgs,
      python_runtime: ["python3"],
    });
    assert.ok(verifyRole(ROLES.algorithm, signature?.[0] ?? "", publicKey));
  });
});

Deno.test("cocos algo sends each argument as a header of its own", async () => {
  await withKey(async (_dir, key) => {
    const sent: string[] = [];
    const server = http2.createServer();
    const sessions = new Set<http2.ServerHttp2Session>();
    server.on("session", (session) => sessions.add(session));
    server.on("stream", (stream, headers, _flags, raw: readonly string[]) => {
      stream.resume();
      for (let i = 0; i < raw.length; i += 2) {
        if (raw[i] === "algo_args") sent.push(raw[i + 1] as string);
      }
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, {
        waitForTrailers: true,
      });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      // A HealthCheckResponse of SERVING; an AlgoResponse is empty.
      const message = headers[":path"] === "/grpc.health.v1.Health/Check" ? [8, 1] : [];
      stream.end(Uint8Array.of(0, 0, 0, 0, message.length, ...message));
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    server.listen(0, "127.0.0.1", resolve);
    await promise;
    const { port } = server.address() as AddressInfo;
    try {
      const { exit, err } = await cocos(
        ["--compat", "algo", key, key, "--args", "--epochs", "--args", "3, 4"],
        {
          env: { AGENT_GRPC_URL: `127.0.0.1:${port}` },
        },
      );
      assert.equal(exit, Exit.OK, err);
      assert.deepEqual(sent, ["--epochs", "3, 4"]);
    } finally {
      for (const session of sessions) session.destroy();
      await new Promise((done) => server.close(done));
    }
  });
});

Deno.test("cocos algo always sends type and runtime, for the Go agent needs them", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent();
    await Deno.writeTextFile(`${dir}/addition`, "#!/bin/sh\n");
    const { exit } = await cocos(["--compat", "algo", `${dir}/addition`, key], {
      env: { AGENT_GRPC_URL: agent.url },
    });
    assert.equal(exit, Exit.OK);
    const { signature: _, ...metadata } = agent.uploads[0]!.metadata;
    assert.deepEqual(metadata, {
      "user-id": ["algorithm-provider"],
      algo_type: ["bin"],
      python_runtime: ["python3"],
    });
  });
});

Deno.test("cocos algo --wheelhouse sends requirements.txt and the wheels as one archive", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent();
    await Deno.mkdir(`${dir}/wheels`);
    for (const name of ["requirements.txt", "b-1-py3-none-any.whl", "a-2-py3-none-any.whl", "x"]) {
      await Deno.writeTextFile(`${dir}/wheels/${name}`, name);
    }
    await Deno.writeTextFile(`${dir}/algo.py`, "print(1)\n");
    const { exit } = await cocos(
      ["--compat", "algo", `${dir}/algo.py`, key, "-a", "python", "--wheelhouse", `${dir}/wheels`],
      { env: { AGENT_GRPC_URL: agent.url } },
    );
    assert.equal(exit, Exit.OK);
    const { messages, bytes } = agent.uploads[0]!;
    assert.deepEqual(messages.map(({ field }) => field), ["requirements", "algorithm"]);
    await Deno.writeFile(`${dir}/sent.zip`, bytes[0]!);
    const { checkArchive } = await import("./archive.ts");
    assert.deepEqual((await checkArchive(`${dir}/sent.zip`)).map(({ name }) => name), [
      "requirements.txt",
      "a-2-py3-none-any.whl",
      "b-1-py3-none-any.whl",
    ]);
  });
});

Deno.test("cocos data repeats the file's name on every chunk", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent();
    await Deno.writeFile(`${dir}/iris.csv`, new Uint8Array(MIB + 1));
    const { exit, err } = await cocos(["--compat", "data", `${dir}/iris.csv`, key], {
      env: { AGENT_GRPC_URL: agent.url },
    });
    assert.equal(
      err,
      "Connected to agent  without TLS\n" +
        `Uploading dataset: ${dir}/iris.csv\n` +
        "Uploading data: 1048577 bytes\n" +
        "Successfully uploaded dataset!\n",
    );
    assert.equal(exit, Exit.OK);
    const [upload] = agent.uploads;
    assert.deepEqual(upload?.messages, [
      { field: "dataset", length: MIB, filename: "iris.csv" },
      { field: "dataset", length: 1, filename: "iris.csv" },
    ]);
    assert.deepEqual(upload?.metadata.decompress, ["false"]);
    assert.ok(verifyRole(ROLES.data, upload?.metadata.signature?.[0] ?? "", publicKey));
  });
});

Deno.test("cocos data sends the archive that cocos checksum covers for a directory", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent();
    await Deno.mkdir(`${dir}/patients/sub`, { recursive: true });
    await Deno.writeTextFile(`${dir}/patients/a.txt`, "hello\n");
    await Deno.writeTextFile(`${dir}/patients/sub/b.csv`, "x,y\n1,2\n");
    const { err } = await cocos(["--compat", "data", `${dir}/patients/`, key, "-d"], {
      env: { AGENT_GRPC_URL: agent.url },
    });
    assert.match(err, /^Detected directory, zipping dataset\.\.\.$/m);
    const [upload] = agent.uploads;
    assert.deepEqual(upload?.metadata.decompress, ["true"]);
    assert.equal(upload?.messages[0]?.filename, "patients");
    const sent = joined(upload?.bytes ?? []);
    assert.deepEqual(sent, await bytesOf(zipDirectory(`${dir}/patients`)));
    const { out } = await cocos(["checksum", `${dir}/patients`]);
    assert.equal(out, `Hash of file: ${sha3_256(sent).toHex()}\n`);
  });
});

Deno.test("cocos result saves the archive, readable by its owner only", async () => {
  await withKey(async (dir, key) => {
    const zip = await archive();
    await using agent = await fakeAgent({ result: [zip.subarray(0, 50), zip.subarray(50)] });
    const { exit, out, err } = await cocos(["--compat", "result", key, `${dir}/results.zip`], {
      env: { AGENT_GRPC_URL: agent.url },
    });
    assert.equal(
      err,
      "Connected to agent  without TLS\n" +
        "Retrieving computation result file\n" +
        `Downloading result: ${zip.length} bytes\n` +
        `Computation result retrieved and saved successfully as ${dir}/results.zip!\n`,
    );
    assert.deepEqual([exit, out], [Exit.OK, ""]);
    assert.deepEqual(await Deno.readFile(`${dir}/results.zip`), zip);
    assert.equal((await Deno.stat(`${dir}/results.zip`)).mode! & 0o777, 0o600);
    const signature = agent.uploads[0]?.metadata.signature?.[0] ?? "";
    assert.ok(verifyRole(ROLES.consumer, signature, publicKey));
    assert.deepEqual(await filesIn(dir), ["private.pem", "results.zip"]);
  });
});

Deno.test("cocos result takes the empty archive of a run without results", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent({ result: [await archive([])] });
    const { exit } = await cocos(["--compat", "result", key, `${dir}/r.zip`], {
      env: { AGENT_GRPC_URL: agent.url },
    });
    assert.equal(exit, Exit.OK);
    assert.equal((await Deno.stat(`${dir}/r.zip`)).size, 22);
  });
});

Deno.test("cocos result --extract unpacks into a new directory and keeps no archive", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent({ result: [await archive(["a/b/c.txt", "d.txt"])] });
    const { exit, out, err } = await cocos([
      "--compat",
      "--json",
      "result",
      key,
      "-x",
      `${dir}/out/`,
    ], {
      env: { AGENT_GRPC_URL: agent.url },
    });
    assert.deepEqual([exit, err], [Exit.OK, ""]);
    assert.deepEqual(JSON.parse(out), {
      bytes: (await archive(["a/b/c.txt", "d.txt"])).length,
      files: [{ name: "a/b/c.txt", size: 3 }, { name: "d.txt", size: 3 }],
      extracted: `${dir}/out`,
    });
    assert.equal(await Deno.readTextFile(`${dir}/out/a/b/c.txt`), "42\n");
    assert.deepEqual(await filesIn(dir), ["out", "private.pem"]);
  });
});

Deno.test("cocos create-vm shows id and port, and sends the files' contents", async () => {
  await inFolder(async (dir) => {
    await using manager = await fakeManager();
    for (const name of ["ca", "key", "crt"]) {
      await Deno.writeTextFile(`${dir}/${name}`, `-----BEGIN ${name}`);
    }
    const { exit, out, err } = await cocos([
      "create-vm",
      "--log-level",
      "debug",
      "--server-url",
      "localhost:7001",
      "--ttl",
      "1h30m",
      "--ca-url",
      "ca.example:9010",
      "--server-ca",
      `${dir}/ca`,
      "--client-key",
      `${dir}/key`,
      "--client-crt",
      `${dir}/crt`,
    ], { env: { MANAGER_GRPC_URL: manager.url } });
    assert.equal(
      err,
      "Connected to manager using  without TLS\n" +
        "Creating a new virtual machine\n" +
        "Virtual machine created successfully with id e71cdcf5-21c0-4e1d-9471-ac6b4389d5f3 and " +
        "port 6100\n",
    );
    assert.deepEqual([exit, out], [Exit.OK, ""]);
    const bytes = (name: string) => [...new TextEncoder().encode(`-----BEGIN ${name}`)];
    const plain = (value: unknown) => value instanceof Uint8Array ? [...value] : value;
    const seen = manager.requests.map((request) =>
      Object.fromEntries(Object.entries(request).map(([key, value]) => [key, plain(value)]))
    );
    assert.deepEqual(seen, [{
      agentLogLevel: "debug",
      agentCvmServerCaCert: bytes("ca"),
      agentCvmClientKey: bytes("key"),
      agentCvmClientCert: bytes("crt"),
      agentCvmServerUrl: "localhost:7001",
      agentCvmCaUrl: "ca.example:9010",
      ttl: "1h30m",
      agentCertsToken: "",
    }]);
  });
});

Deno.test("cocos remove-vm sends the id", async () => {
  await using manager = await fakeManager();
  const { exit, err } = await cocos(["remove-vm", "7"], {
    env: { MANAGER_GRPC_URL: manager.url },
  });
  assert.equal(
    err,
    "Connected to manager using  without TLS\n" +
      "Removing virtual machine\n" +
      "Virtual machine removed successfully\n",
  );
  assert.equal(exit, Exit.OK);
  assert.deepEqual(manager.requests, [{ cvmId: "7" }]);
});

Deno.test("cocos on a terminal shows marks, a bar and colours; NO_COLOR leaves them plain", async () => {
  await using manager = await fakeManager();
  const env = { MANAGER_GRPC_URL: manager.url };
  assert.equal(
    (await cocos(["remove-vm", "7"], { env, terminal: true })).err,
    "🔗 Connected to manager using  without TLS\n" +
      "🔗 Removing virtual machine\n" +
      "✅ Virtual machine removed successfully\n",
  );
  assert.match(
    (await cocos(["remove-vm", "7"], { env, terminal: true, color: true })).err,
    // deno-lint-ignore no-control-regex
    /\x1b\[32m✅ Virtual machine removed successfully\x1b\[0m\n$/,
  );
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent({ result: [await archive()] });
    const { err } = await cocos(["--compat", "result", key, `${dir}/r.zip`], {
      env: { AGENT_GRPC_URL: agent.url },
      terminal: true,
    });
    const bar = (full: number) => "█".repeat(full) + "░".repeat(26 - full);
    assert.equal(
      err,
      "🔗 Connected to agent  without TLS\n" +
        "⏳ Retrieving computation result file\n" +
        `\r📥 Downloading result [${bar(0)}] [0%]\r📥 Downloading result [${bar(26)}] [100%]\n` +
        `Computation result retrieved and saved successfully as ${dir}/r.zip! ✔ \n`,
    );
  });
});

Deno.test("cocos --json prints one object for every command, and nothing for people", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent({ result: [await archive()] });
    await using manager = await fakeManager();
    const env = { AGENT_GRPC_URL: agent.url, MANAGER_GRPC_URL: manager.url };
    await Deno.writeTextFile(`${dir}/f`, "hello\n");
    await Deno.mkdir(`${dir}/k`);
    const file = `${dir}/f`;
    const digest = "b314e28493eae9dab57ac4f0c6d887bddbbeb810e900d818395ace558e96516d";
    for (
      const [argv, object] of [
        [["keys", "-k", "ed25519", "--dir", `${dir}/k`], {
          kind: "ed25519",
          private: `${dir}/k/private.pem`,
          public: `${dir}/k/public.pem`,
        }],
        [["--compat", "algo", file, key], { uploaded: file, type: "bin", bytes: 6 }],
        [["--compat", "data", file, key], { uploaded: file, filename: "f", bytes: 6 }],
        [["--compat", "result", key, `${dir}/r.zip`], {
          bytes: (await archive()).length,
          files: [{ name: "results.txt", size: 3 }],
          saved: `${dir}/r.zip`,
        }],
        [["create-vm", "--server-url", "localhost:7001"], {
          id: "e71cdcf5-21c0-4e1d-9471-ac6b4389d5f3",
          port: 6100,
        }],
        [["remove-vm", "7"], { removed: "7" }],
        [["checksum", file], {
          path: file,
          sha3_256: digest,
          base64: Uint8Array.fromHex(digest).toBase64(),
        }],
        [["version"], { version: "0.1.0" }],
      ] as const
    ) {
      const { exit, out, err } = await cocos([...argv, "--json"], { env });
      assert.deepEqual([exit, err, JSON.parse(out)], [Exit.OK, "", object], argv[0]);
      assert.equal(out.split("\n").length, 2);
    }
  });
});

Deno.test("cocos --version, version and --help answer on stdout", async () => {
  for (const argv of [["--version"], ["-V"], ["version"]]) {
    assert.deepEqual(await cocos(argv), { exit: Exit.OK, out: "0.1.0\n", err: "" });
  }
  for (const argv of [["--help"], [], ["--compat", "algo", "--help"]]) {
    const { exit, out, err } = await cocos(argv);
    assert.deepEqual([exit, err], [Exit.OK, ""]);
    assert.match(out, /^Usage: cocos /);
  }
});

async function filesIn(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
}
