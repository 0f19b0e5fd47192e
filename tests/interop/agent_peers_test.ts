// The agent process with peers in Go over grpc-go: a Go management server gives it manifests and
// stops it, a Go party uploads and fetches, both over plain, TLS and mTLS, with every kind of key.
import assert from "node:assert/strict";
import { makeCertificate } from "../../channel/mod.ts";
import { KEY_KINDS } from "../../proto/mod.ts";
import { startAgent } from "../_agent.ts";
import { freePort, House, listens } from "../_house.ts";
import { digest, party, pki } from "../_parties.ts";
import { buildGo } from "./_go.ts";

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

/** Starts the Go management server with flags; gives it and its port. */
async function cvms(house: House, go: string, flags: readonly string[]) {
  const server = house.startAt("cvms", go, ["cvms", "-timeout", "5m", ...flags]);
  const { listening } = JSON.parse(
    await server.until((line) => line.includes("listening"), "its address"),
  );
  const said = (what: Record<string, string>, name: string) =>
    server.until((line) => {
      const message = JSON.parse(line);
      return Object.entries(what).every(([key, value]) => message[key] === value);
    }, name);
  return { server, said, port: Number(listening.split(":")[1]) };
}

const PROGRAM = '#!/bin/sh\ncat datasets/* >results/all\necho "$1" >results/arg\n';

Deno.test("a Go management server and Go parties take our agent through a computation: plain, TLS, mTLS, all keys", async () => {
  const go = await gopeer();
  if (go === undefined) return;
  await using house = await House.open("agent-peers");
  const files = await pki(house);
  await house.write("algo.sh", PROGRAM);
  const content = new Uint8Array((1 << 20) + 9).fill(0x42);
  await house.write("set.bin", content);
  // The way to the management server; the front door is plain, as the test server's manifest asks.
  const cases: [string, string[], Record<string, string>][] = [
    ["without TLS", [], {}],
    ["with TLS", ["-cert", files.server.cert, "-key", files.server.key], {
      AGENT_CVM_GRPC_SERVER_CA_CERTS: files.ca,
    }],
    ["with mTLS", ["-cert", files.server.cert, "-key", files.server.key, "-ca", files.ca], {
      AGENT_CVM_GRPC_SERVER_CA_CERTS: files.ca,
      AGENT_CVM_GRPC_CLIENT_CERT: files.client.cert,
      AGENT_CVM_GRPC_CLIENT_KEY: files.client.key,
    }],
  ];
  for (const [i, [security, flags, env]] of cases.entries()) {
    const kind = KEY_KINDS[i] as (typeof KEY_KINDS)[number];
    const owner = await party(house, `owner-${kind}`, kind);
    const other = await party(house, `other-${kind}`, "ecdsa");
    const port = freePort();
    const { server, said, port: managementPort } = await cvms(house, go, [
      "-addr",
      "127.0.0.1:0",
      "-id",
      "go",
      "-algorithm",
      `${digest(PROGRAM)}:${owner.publicFile}`,
      // Two rows: one with a name, one without, as the seed's test server has them.
      "-dataset",
      `${digest(content)}:${owner.publicFile}:set.bin`,
      "-dataset",
      `${digest(PROGRAM)}:${owner.publicFile}`,
      "-consumer",
      owner.publicFile,
      "-port",
      String(port),
      ...flags,
    ]);
    const agent = startAgent(house, managementPort, port, env);
    await said({ message: "log", 1: "TEE device not found", 3: "INFO" }, security);
    await said({ message: "report" }, "the report");
    await said({ message: "runRes", 1: "go", 2: "" }, "the manifest's acceptance");
    await said({ message: "event", event: "ReceivingAlgorithm", status: "InProgress" }, "event");
    const addr = `127.0.0.1:${port}`;
    const ask = async (...args: string[]) => {
      const { stdout } = await house.runAt(go, [
        args[0] as string,
        "-addr",
        addr,
        ...args.slice(1),
      ]);
      return answer(stdout);
    };
    const mine = ["-private", owner.privateFile];
    assert.deepEqual(await ask("health", "-role", "agent"), { health: "SERVING" });
    assert.deepEqual(await ask("algo", "-private", other.privateFile, "-file", "algo.sh"), {
      code: 16,
      message: "signature verification failed",
    });
    assert.deepEqual(await ask("data", ...mine, "-file", "set.bin", "-filename", "set.bin"), {
      code: 2,
      message: "agent not expecting this operation in the current state",
    });
    assert.deepEqual(await ask("algo", ...mine, "-file", "set.bin"), {
      code: 2,
      message: "malformed data, hash does not match manifest",
    });
    assert.deepEqual(await ask("result", ...mine, "-out", "none.zip"), {
      code: 2,
      message: "computation results are not yet ready",
    });
    assert.deepEqual(await ask("algo", ...mine, "-file", "algo.sh", "-arg", "a b", "-arg", "c"), {
      ok: true,
      sent: 1,
      answer: 0,
    });
    assert.deepEqual(await ask("data", ...mine, "-file", "set.bin", "-filename", "other"), {
      code: 2,
      message: "malformed data, filename does not match manifest",
    });
    await server.say("state");
    await said({ message: "stateRes", 1: "q", 2: "ReceivingData" }, "its state");
    assert.deepEqual(await ask("data", ...mine, "-file", "set.bin", "-filename", "set.bin"), {
      ok: true,
      sent: 2,
      answer: 0,
    });
    assert.deepEqual(await ask("data", ...mine, "-file", "algo.sh", "-filename", "any.name"), {
      ok: true,
      sent: 1,
      answer: 0,
    });
    await said({ message: "event", event: "ConsumingResults", status: "Ready" }, "results");
    const result = await ask("result", ...mine, "-out", house.path("result.zip"));
    assert.equal(result.ok, true, JSON.stringify(result));
    const size = Number((result.size as string[])[0]);
    const pieces = result.pieces as number[];
    assert.equal(pieces.reduce((sum, length) => sum + length, 0), size);
    assert.deepEqual(pieces.slice(0, -1).filter((length) => length !== 1 << 20), []);
    const archive = new TextDecoder("latin1").decode(
      await Deno.readFile(house.path("result.zip")),
    );
    assert.ok(archive.includes("a b\n"), "the first argument came whole");
    await said({ message: "event", event: "Complete", status: "Completed" }, "the end");

    await server.say("stop");
    await said({ message: "stopRes", 1: "go", 2: "" }, "the stop's answer");
    assert.equal(await listens(port), false);
    await server.say("manifest");
    await server.until(
      (line) => server.lines.filter((each) => each === line && line.includes("runRes")).length > 1,
      "a second acceptance",
    );
    await agent.stop();
    await server.stop();
  }
});

Deno.test("a Go party meets TLS and mTLS at our front door (G-17)", async () => {
  const go = await gopeer();
  if (go === undefined) return;
  await using house = await House.open("agent-peers");
  const ca = await makeCertificate({ commonName: "authority" });
  const leaf = (name: string, issuer = ca) =>
    makeCertificate({ commonName: name, names: ["127.0.0.1"], issuer });
  const [door, person] = [await leaf("agent"), await leaf("party")];
  const stranger = await leaf("party", await makeCertificate({ commonName: "other" }));
  const caFile = await house.write("ca.pem", ca.cert);
  const owner = await party(house, "owner", "ed25519");
  await house.write("algo.sh", PROGRAM);
  for (const [name, { cert, key }] of Object.entries({ person, stranger })) {
    await house.write(`${name}.pem`, cert);
    await house.write(`${name}.key`, key);
  }
  for (const mutual of [false, true]) {
    const managementPort = freePort();
    const port = freePort();
    await house.write("door.pem", door.cert);
    await house.write("door.key", door.key);
    await house.write(
      "computation.json",
      JSON.stringify({
        id: "tls",
        algorithm: { file: "algo.sh", key: owner.publicFile },
        consumers: [owner.publicFile],
        agent: {
          port,
          cert_file: "door.pem",
          key_file: "door.key",
          ...(mutual ? { client_ca_file: "ca.pem" } : {}),
        },
      }),
    );
    const server = house.start("cocos-computations", ["--file", "computation.json", "--compat"], {
      COMPUTATIONS_HOST: "127.0.0.1",
      COMPUTATIONS_PORT: String(managementPort),
    });
    await server.until((line) => line.includes("listening"), "listening");
    const agent = startAgent(house, managementPort, port);
    await server.until((line) => line.includes("agent accepted the manifest"), "accepted");
    const health = async (...flags: string[]) => {
      const { stdout } = await house.runAt(go, [
        "health",
        "-role",
        "agent",
        "-timeout",
        "20s",
        "-addr",
        `127.0.0.1:${port}`,
        ...flags,
      ]);
      return answer(stdout);
    };
    const known = ["-ca", caFile, "-cert", "person.pem", "-key", "person.key"];
    assert.deepEqual(await health(...(mutual ? known : ["-ca", caFile])), { health: "SERVING" });
    assert.equal((await health()).code, 14, "plain at a door with TLS");
    if (mutual) {
      assert.equal((await health("-ca", caFile)).code, 14, "no client certificate");
      const unknown = ["-ca", caFile, "-cert", "stranger.pem", "-key", "stranger.key"];
      assert.equal((await health(...unknown)).code, 14, "another authority");
    }
    const upload = await house.runAt(go, [
      "algo",
      "-addr",
      `127.0.0.1:${port}`,
      "-private",
      owner.privateFile,
      "-file",
      "algo.sh",
      ...(mutual ? known : ["-ca", caFile]),
    ]);
    assert.deepEqual(answer(upload.stdout), { ok: true, sent: 1, answer: 0 });
    await agent.stop();
    await server.stop();
  }
});

Deno.test("G-7 a Go party that sends 256 MiB of what nobody wants hears why at once", async () => {
  const go = await gopeer();
  if (go === undefined) return;
  await using house = await House.open("agent-peers");
  const owner = await party(house, "owner", "ecdsa");
  const other = await party(house, "other", "ecdsa");
  const big = await house.write("big", "");
  await Deno.truncate(big, 256 << 20);
  const port = freePort();
  const { said, port: managementPort } = await cvms(house, go, [
    "-addr",
    "127.0.0.1:0",
    "-id",
    "go",
    "-algorithm",
    `${digest(PROGRAM)}:${owner.publicFile}`,
    "-dataset",
    `${digest("x")}:${owner.publicFile}`,
    "-consumer",
    owner.publicFile,
    "-port",
    String(port),
  ]);
  const agent = startAgent(house, managementPort, port);
  await said({ message: "runRes", 1: "go" }, "accepted");
  const ask = async (method: string, key: string) => {
    const { stdout } = await house.runAt(go, [
      method,
      "-addr",
      `127.0.0.1:${port}`,
      "-private",
      key,
      "-file",
      big,
      "-filename",
      "big",
      "-timeout",
      "30s",
    ]);
    return answer(stdout);
  };
  assert.deepEqual(await ask("algo", other.privateFile), {
    code: 16,
    message: "signature verification failed",
  });
  assert.deepEqual(await ask("data", owner.privateFile), {
    code: 2,
    message: "agent not expecting this operation in the current state",
  });
  await agent.stop();
});
