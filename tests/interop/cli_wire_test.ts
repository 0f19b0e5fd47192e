// What `cocos` puts on the wire, seen by a server that knows nothing of our code: paths, header
// lists, chunks and half-close as the Go CLI has them (wire.md §2, §3.2, §4.5, §6).
import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { Buffer } from "node:buffer";
import { House } from "../_house.ts";
import { type Answer, type Received, recordingServer, valuesOf } from "../_grpc.ts";

const HEALTH = "/grpc.health.v1.Health/Check";
const MIB = 1 << 20;

interface KeyVector {
  readonly kind: string;
  readonly private: string;
  readonly public: string;
}

const keys: KeyVector[] = JSON.parse(
  await Deno.readTextFile(new URL("testdata/keys.json", import.meta.url)),
);

/** Answers health as serving, and everything else as told. */
function answering(other: Answer = {}): (call: Received) => Answer {
  return ({ path }) => {
    if (path === HEALTH) return { messages: [Uint8Array.of(8, 1)] };
    return { messages: [new Uint8Array()], ...other };
  };
}

/** The bytes of one length-delimited field of a message that has only such fields. */
function field(message: Buffer, wanted: number): Buffer | undefined {
  for (let at = 0; at < message.length;) {
    const tag = message[at++] as number;
    assert.equal(tag & 7, 2, "only length-delimited fields are sent");
    let length = 0;
    for (let shift = 0;; shift += 7) {
      const byte = message[at++] as number;
      length |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    if (tag >> 3 === wanted) return message.subarray(at, at + length);
    at += length;
  }
  return undefined;
}

/** The signature header verified by node:crypto alone. */
function assertSigned(call: Received, role: string, key: KeyVector): void {
  assert.deepEqual(valuesOf(call.headers, "user-id"), [role]);
  const [signature, ...more] = valuesOf(call.headers, "signature");
  assert.equal(more.length, 0);
  assert.match(signature ?? "", /^[A-Za-z0-9+/]+={0,2}$/);
  assert.equal((signature ?? "").length % 4, 0);
  assert.ok(verify(
    key.kind === "ed25519" ? null : "sha256",
    Buffer.from(role),
    createPublicKey(key.public),
    Buffer.from(signature ?? "", "base64"),
  ));
}

/** Bytes that differ everywhere. */
function sample(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 2654435761) >>> 13;
  return bytes;
}

Deno.test("cocos algo sends requirements, then the program, in pieces of 1 MiB with the Go CLI's metadata", async () => {
  await using house = await House.open("cli-wire");
  await using server = await recordingServer(answering());
  const env = { AGENT_GRPC_URL: `127.0.0.1:${server.port}` };
  const program = sample(2 * MIB + 5);
  const requirements = sample(MIB + 1);
  await house.write("algo.py", program);
  await house.write("requirements.txt", requirements);
  for (const key of keys) {
    await house.write("private.pem", key.private);
    server.calls.length = 0;
    const { code, stderr } = await house.run("cocos", [
      "--compat",
      "algo",
      "algo.py",
      "private.pem",
      "-a",
      "python",
      "--python-runtime",
      "python3",
      "-r",
      "requirements.txt",
      "--args",
      "--epochs",
      "--args",
      "3 4",
    ], env);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^(🔗 )?Connected to agent {2}without TLS$/m);
    assert.match(stderr, /^Uploading algorithm file: algo\.py$/m);
    assert.match(stderr, /Successfully uploaded algorithm!/);
    const [health, algo, ...more] = server.calls;
    assert.equal(more.length, 0);
    assert.ok(health !== undefined && algo !== undefined);
    assert.equal(health.path, HEALTH);
    assert.deepEqual(health.messages.map((each) => each.toString("hex")), ["0a05" + "6167656e74"]);
    assert.equal(algo.path, "/agent.AgentService/Algo");
    assertSigned(algo, "algorithm-provider", key);
    assert.deepEqual(valuesOf(algo.headers, "algo_type"), ["python"]);
    assert.deepEqual(valuesOf(algo.headers, "algo_args"), ["--epochs", "3 4"]);
    assert.deepEqual(valuesOf(algo.headers, "python_runtime"), ["python3"]);
    assert.match(valuesOf(algo.headers, "content-type")[0] ?? "", /^application\/grpc/);
    assert.deepEqual(valuesOf(algo.headers, "te"), ["trailers"]);
    assert.deepEqual(valuesOf(algo.headers, "grpc-encoding").filter((v) => v !== "identity"), []);
    const parts = algo.messages.map((each) => [field(each, 2)?.length, field(each, 1)?.length]);
    assert.deepEqual(parts, [
      [MIB, undefined],
      [1, undefined],
      [undefined, MIB],
      [undefined, MIB],
      [undefined, 5],
    ]);
    const sent = Buffer.concat(algo.messages.map((each) => field(each, 1) ?? Buffer.alloc(0)));
    assert.ok(sent.equals(program));
    assert.ok(algo.ended);
  }
});

Deno.test("cocos algo always sends its three metadata keys", async () => {
  await using house = await House.open("cli-wire");
  await using server = await recordingServer(answering());
  await house.write("run.sh", "#!/bin/sh\n");
  await house.write("private.pem", keys[2]?.private ?? "");
  const { code } = await house.run("cocos", ["--compat", "algo", "run.sh", "private.pem"], {
    AGENT_GRPC_URL: `127.0.0.1:${server.port}`,
  });
  assert.equal(code, 0);
  const headers = server.calls[1]?.headers ?? [];
  assert.deepEqual(valuesOf(headers, "algo_type"), ["bin"]);
  assert.deepEqual(valuesOf(headers, "python_runtime"), ["python3"]);
  assert.deepEqual(valuesOf(headers, "algo_args"), []);
});

Deno.test("cocos data sends a file with its base name on every piece, and a directory as the golden zip", async () => {
  await using house = await House.open("cli-wire");
  await using server = await recordingServer(answering());
  const env = { AGENT_GRPC_URL: `127.0.0.1:${server.port}` };
  const key = keys[1] as KeyVector;
  await house.write("private.pem", key.private);
  await house.write("sets/a.csv", sample(MIB + 3));
  const upload = async (...args: string[]) => {
    server.calls.length = 0;
    const { code, stderr } = await house.run(
      "cocos",
      ["--compat", "data", ...args, "private.pem"],
      env,
    );
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Successfully uploaded dataset!/);
    const call = server.calls[1];
    assert.ok(call !== undefined);
    assert.equal(call.path, "/agent.AgentService/Data");
    assertSigned(call, "data-provider", key);
    return call;
  };
  const plain = await upload("sets/a.csv");
  assert.deepEqual(valuesOf(plain.headers, "decompress"), ["false"]);
  assert.deepEqual(
    plain.messages.map((each) => [field(each, 1)?.length, field(each, 2)?.toString()]),
    [[MIB, "a.csv"], [3, "a.csv"]],
  );

  // wire.md §5: two files, both 0644 and of 2024-01-01, whose archive's digest is known.
  const old = new Date("2024-01-01T00:00:00Z");
  for (const [name, text] of [["a.txt", "hello\n"], ["sub/b.csv", "x,y\n1,2\n"]] as const) {
    await Deno.utime(await house.write(`golden/${name}`, text), old, old);
  }
  const folder = await upload("golden", "-d");
  assert.deepEqual(valuesOf(folder.headers, "decompress"), ["true"]);
  assert.equal(field(folder.messages[0] as Buffer, 2)?.toString(), "golden");
  const zip = Buffer.concat(folder.messages.map((each) => field(each, 1) ?? Buffer.alloc(0)));
  // The specification says 286; its own digest is that of these 284 bytes.
  assert.equal(zip.length, 284);
  assert.equal(
    createHash("sha3-256").update(zip).digest("hex"),
    "0416df647a14cfbe7f39eae0961a3a46198dc74a738f42c56812537a53289f40",
  );
  const sum = await house.run("cocos", ["checksum", "golden", "-b"]);
  assert.match(sum.stdout + sum.stderr, /BBbfZHoUz75\/Oerglho6RhmNx0pzj0LFaBJTelMon0A=/);
});

Deno.test("O-8 cocos result keeps what file-size announces, and nothing of more or less", async () => {
  await using house = await House.open("cli-wire");
  const key = keys[0] as KeyVector;
  await house.write("private.pem", key.private);
  const empty = Buffer.from("504b0506" + "00".repeat(18), "hex");
  const file = Buffer.concat([Buffer.from([0x0a, empty.length]), empty]);
  const cases: [string, Answer, number][] = [
    ["whole", { headers: { "file-size": "22" }, messages: [file] }, 0],
    ["more than announced", { headers: { "file-size": "21" }, messages: [file] }, 1],
    ["less than announced", { headers: { "file-size": "23" }, messages: [file] }, 1],
    ["no announcement", { messages: [file] }, 1],
    ["not ready", {
      messages: [],
      status: 2,
      text: "computation results are not yet ready",
    }, 1],
  ];
  for (const [name, answer, exit] of cases) {
    await using server = await recordingServer(answering(answer));
    const out = `${name.replaceAll(" ", "-")}.zip`;
    const { code, stderr } = await house.run("cocos", ["--compat", "result", "private.pem", out], {
      AGENT_GRPC_URL: `127.0.0.1:${server.port}`,
    });
    if (exit === 0) assert.equal(code, 0, stderr);
    else assert.notEqual(code, 0, name);
    const call = server.calls[1];
    assert.equal(call?.path, "/agent.AgentService/Result");
    assertSigned(call as Received, "consumer", key);
    assert.deepEqual((call as Received).messages.map((each) => each.length), [0]);
    const kept = [...Deno.readDirSync(house.folder)].map((each) => each.name)
      .filter((each) => each.startsWith(out));
    assert.deepEqual(kept, exit === 0 ? [out] : [], name);
    if (name === "not ready") assert.match(stderr, /computation results are not yet ready/);
  }
});

Deno.test("cocos shows the texts of a Go agent's refusals as they are, and ends with an error", async () => {
  await using house = await House.open("cli-wire");
  await house.write("private.pem", keys[2]?.private ?? "");
  await house.write("a.csv", "x\n");
  const refusals: [number, string][] = [
    [16, "signature verification failed"],
    [2, "agent not expecting this operation in the current state"],
    [2, "all expected manifest Items have been received"],
    [2, "malformed data, hash does not match manifest"],
    [2, "dataset not declared in computation manifest"],
    [2, "malformed data, filename does not match manifest"],
  ];
  for (const [status, text] of refusals) {
    await using server = await recordingServer(answering({ messages: [], status, text }));
    const { code, stderr } = await house.run(
      "cocos",
      ["--compat", "data", "a.csv", "private.pem"],
      {
        AGENT_GRPC_URL: `127.0.0.1:${server.port}`,
      },
    );
    assert.notEqual(code, 0);
    assert.ok(stderr.includes(text), stderr);
    assert.match(stderr, /Failed to upload dataset due to error: /);
  }
});
