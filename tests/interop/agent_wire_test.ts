// The agent process as a peer sees it that knows nothing of our code: raw HTTP/2 and hand-made
// messages at its front door, with the codes and texts of the Go agent (wire.md §2, §4.5, §4.7).
import assert from "node:assert/strict";
import { createPrivateKey, sign } from "node:crypto";
import { Buffer } from "node:buffer";
import { Management, startAgent, workArea } from "../_agent.ts";
import { entries, freePort, House } from "../_house.ts";
import { digest } from "../_parties.ts";
import { Client, field, flood, framed, mebibyte, type Reply } from "../_grpc.ts";

const ALGO = "/agent.AgentService/Algo";
const DATA = "/agent.AgentService/Data";
const RESULT = "/agent.AgentService/Result";
const MIB = 1 << 20;

interface KeyVector {
  readonly kind: string;
  readonly private: string;
  readonly public: string;
}

const keys: KeyVector[] = JSON.parse(
  await Deno.readTextFile(new URL("testdata/keys.json", import.meta.url)),
);
const [rsa, ecdsa, ed25519] = keys as [KeyVector, KeyVector, KeyVector];

/** The body of a PEM block. */
function spki(pem: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromBase64(pem.split("\n").filter((line) => !line.startsWith("-")).join(""));
}

/** Metadata of a role, signed by node:crypto. */
function signed(key: KeyVector, role: string): Record<string, string> {
  // RSA keys carry PKCS#1 under the label of PKCS#8, as the Go CLI writes them.
  const pem = key.kind === "rsa"
    ? key.private.replaceAll(" PRIVATE KEY", " RSA PRIVATE KEY")
    : key.private;
  const signature = sign(
    key.kind === "ed25519" ? null : "sha256",
    Buffer.from(role),
    createPrivateKey(pem),
  );
  return { "user-id": role, signature: signature.toString("base64") };
}

const asProvider = signed(rsa, "algorithm-provider");
const asOwner = signed(ecdsa, "data-provider");
const asConsumer = signed(ed25519, "consumer");

const program = Buffer.concat([
  // Two and a half MiB of result, so that its pieces show.
  Buffer.from("#!/bin/sh\nhead -c 2621440 /dev/zero >results/zeros\n"),
  Buffer.from("# padding\n".repeat(120_000)),
]);
const dataset = Buffer.from("x,y\n1,2\n");

/** An agent with one computation: algorithm of the RSA key, dataset of ECDSA, consumer of Ed25519. */
async function open(house: House) {
  const management = await Management.start();
  const port = freePort();
  const area = await workArea(house);
  const agent = startAgent(house, management.port, port, {}, ["--work", area]);
  const give = (id: string) =>
    management.give({
      id,
      algorithm: {
        hash: Uint8Array.fromHex(digest(program)),
        userKey: spki(rsa.public),
      },
      datasets: [{
        hash: Uint8Array.fromHex(digest(dataset)),
        userKey: spki(ecdsa.public),
        filename: "a.csv",
      }],
      resultConsumers: [{ userKey: spki(ed25519.public) }],
      agentConfig: { port: String(port) },
    });
  return { management, port, agent, area, give };
}

function assertReply(reply: Reply, status: number, text: string): void {
  // Success may carry the word OK; nobody reads it.
  assert.deepEqual([reply.status, status === 0 ? "" : reply.text], [status, text]);
}

const SIGNATURE = [16, "signature verification failed"] as const;
const METADATA = [
  16,
  "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata",
] as const;
const STATE = [2, "agent not expecting this operation in the current state"] as const;

Deno.test("wire.md §2, §4.5, §4.7 every refusal of the front door, then a whole computation (G-1, G-3, F-1, O-2, R4)", async () => {
  await using house = await House.open("agent-wire");
  const { management, port, agent, give } = await open(house);
  await using _management = management;
  give("1");
  await management.until("runRes 1 ");
  await agent.until((line) => line.includes("listening at"), "its door");
  using client = new Client(port);

  const health = await client.call("/grpc.health.v1.Health/Check", {}, [field(1, "agent")]);
  assertReply(health, 0, "");
  assert.equal(health.messages[0]?.toString("hex"), "0801");
  assert.equal(
    (await client.call("/grpc.health.v1.Health/Check", {}, [field(1, "manager")])).status,
    5,
  );
  // G-16: what isn't served says so, and reflection isn't.
  for (const path of ["/agent.AgentService/None", "/grpc.reflection.v1.ServerReflection/x"]) {
    assert.equal((await client.call(path, {}, [])).status, 12);
  }

  const algorithm = [field(1, program.subarray(0, MIB)), field(1, program.subarray(MIB))];
  const bytes = [Buffer.concat([field(1, dataset), field(2, "a.csv")])];
  // Each row: what is wrong, path, metadata, messages, and the answer.
  const rows: [
    string,
    string,
    Record<string, string | readonly string[]>,
    readonly Uint8Array[],
    readonly [number, string],
  ][] = [
    ["no metadata at all", ALGO, {}, algorithm, METADATA],
    ["no signature", DATA, { "user-id": "data-provider" }, bytes, METADATA],
    ["an empty signature", RESULT, { signature: "" }, [new Uint8Array()], SIGNATURE],
    ["not base64", ALGO, { signature: "%%%" }, algorithm, SIGNATURE],
    [
      "base64 without padding",
      ALGO,
      {
        signature: asProvider.signature?.replaceAll("=", "") ?? "",
      },
      algorithm,
      SIGNATURE,
    ],
    ["another party's key", ALGO, signed(ecdsa, "algorithm-provider"), algorithm, SIGNATURE],
    ["the right key for another role", ALGO, signed(rsa, "data-provider"), algorithm, SIGNATURE],
    ["the consumer uploads data", DATA, signed(ed25519, "data-provider"), bytes, SIGNATURE],
    ["the provider wants the result", RESULT, signed(rsa, "consumer"), [
      new Uint8Array(),
    ], SIGNATURE],
    ["a result before the run", RESULT, asConsumer, [new Uint8Array()], [
      2,
      "computation results are not yet ready",
    ]],
    ["data before the algorithm", DATA, asOwner, bytes, STATE],
    ["no message", ALGO, asProvider, [], [2, "algorithm binary is required"]],
    ["an empty message", ALGO, asProvider, [new Uint8Array()], [2, "algorithm binary is required"]],
    ["another algorithm", ALGO, asProvider, [field(1, "other")], [
      2,
      "malformed data, hash does not match manifest",
    ]],
    ["half of the algorithm", ALGO, asProvider, algorithm.slice(0, 1), [
      2,
      "malformed data, hash does not match manifest",
    ]],
  ];
  for (const [name, path, metadata, messages, [status, text]] of rows) {
    const reply = await client.call(path, metadata, messages);
    assert.deepEqual([reply.status, reply.text], [status, text], name);
  }
  // A repeated signature is two values, however HTTP/2 libraries join them.
  const twice = await client.call(ALGO, {
    "user-id": "algorithm-provider",
    signature: [asProvider.signature as string, asProvider.signature as string],
  }, algorithm);
  assertReply(twice, ...METADATA);

  const accepted = await client.call(ALGO, { ...asProvider, algo_type: "bin" }, algorithm);
  assertReply(accepted, 0, "");
  assert.deepEqual(accepted.messages.map((each) => each.length), [0]);
  await management.until("event ReceivingData/InProgress");

  const name = (text: string) => [Buffer.concat([field(1, dataset), field(2, text)])];
  const later: [
    string,
    string,
    Record<string, string>,
    readonly Uint8Array[],
    readonly [
      number,
      string,
    ],
  ][] = [
    ["a second algorithm", ALGO, asProvider, algorithm, STATE],
    ["no dataset", DATA, asOwner, [], [2, "dataset is required"]],
    ["a name alone", DATA, asOwner, [field(2, "a.csv")], [2, "dataset is required"]],
    ["undeclared data", DATA, asOwner, [field(1, "other")], [
      2,
      "dataset not declared in computation manifest",
    ]],
    ...["b.csv", "../a.csv", "/etc/passwd", "A.CSV", "a.csv/", "a.csv\0"].map((
      each,
    ): (typeof later)[number] => [`the name ${JSON.stringify(each)}`, DATA, asOwner, name(each), [
      2,
      "malformed data, filename does not match manifest",
    ]]),
  ];
  for (const [what, path, metadata, messages, [status, text]] of later) {
    const reply = await client.call(path, metadata, messages);
    if (what === "undeclared data" && reply.status === 7) continue;
    assert.deepEqual([reply.status, reply.text], [status, text], what);
  }
  assertReply(await client.call(DATA, asOwner, bytes), 0, "");
  await management.until("event ConsumingResults/Ready");

  const result = await client.call(RESULT, asConsumer, [new Uint8Array()]);
  assertReply(result, 0, "");
  // One stored entry of 2.5 MiB: the header announces the archive, the pieces have 1 MiB.
  const size = Number(result.headers["file-size"]);
  const pieces = result.messages.map((each) => each.length - 4);
  assert.deepEqual(
    pieces.slice(0, 2),
    [MIB, MIB].map((n) => n + field(1, Buffer.alloc(n)).length - n - 4),
  );
  const archive = Buffer.concat(result.messages.map((each) => each.subarray(4)));
  assert.equal(archive.length, size);
  assert.equal(archive.subarray(0, 4).toString("hex"), "504b0304");
  assert.equal(archive.readUInt16LE(8), 0, "entries are stored");
  assert.ok(archive.includes("zeros"));
  await management.until("event Complete/Completed");
  // O-6: afterwards there is nothing to fetch.
  assert.notEqual((await client.call(RESULT, asConsumer, [new Uint8Array()])).status, 0);
  client[Symbol.dispose]();
  const { code } = await agent.stop();
  assert.ok(code === 0 || code === 143, `exit code ${code}`);
});

Deno.test("G-12 (R2) malformed protobuf is refused, the agent goes on", async () => {
  await using house = await House.open("agent-wire");
  const { management, port, agent, give } = await open(house);
  await using _management = management;
  give("1");
  await management.until("runRes 1 ");
  using client = new Client(port);
  const bad: [string, string][] = [
    ["a cut length", "0aff"],
    ["a length beyond the end", "0a05ab"],
    ["a group that never ends", "0b"],
    ["field number 0", "0001"],
    ["a varint without end", "08" + "ff".repeat(11)],
    ["wire type 7", "0f"],
  ];
  for (const [name, hex] of bad) {
    const reply = await client.call(ALGO, asProvider, [Buffer.from(hex, "hex")]);
    assert.ok([2, 3, 13].includes(reply.status), `${name}: ${reply.status}`);
    assert.match(reply.text, /^Cannot read agent\.AlgoRequest/, name);
  }
  // proto3 ignores what it doesn't know: unknown fields, a known one in another wire type.
  const tolerated = await client.call(ALGO, asProvider, [
    Buffer.concat([Buffer.from("98060a", "hex"), field(1, "x")]),
  ]);
  assertReply(tolerated, 2, "malformed data, hash does not match manifest");
  const invalidName = await client.call(DATA, asOwner, [Buffer.from("1201ff", "hex")]);
  assert.notEqual(invalidName.status, 0);
  management.tell({ case: "agentStateReq", value: { id: "alive" } });
  assert.equal(await management.until("state alive"), "state alive ReceivingAlgorithm");
  client[Symbol.dispose]();
  await agent.stop();
});

Deno.test("G-15 a client that dies within an upload leaves the item expected and no file", async () => {
  await using house = await House.open("agent-wire");
  const { management, port, agent, area, give } = await open(house);
  await using _management = management;
  give("1");
  await management.until("runRes 1 ");
  const offsets = [1, 5, MIB - 1, MIB + 10, 2 * MIB];
  for (const offset of offsets) {
    using client = new Client(port);
    const stream = client.open(ALGO, asProvider);
    stream.on("error", () => {});
    const whole = Buffer.concat([
      framed(field(1, program.subarray(0, MIB))),
      framed(field(1, program.subarray(MIB))),
    ]);
    await new Promise((resolve) => stream.write(whole.subarray(0, offset), resolve));
    const closed = new Promise((resolve) => stream.once("close", resolve));
    stream.destroy();
    await closed;
  }
  await agent.until(
    () => agent.lines.filter((line) => line.includes("Method Algo took")).length >= offsets.length,
    "the end of each call",
  );
  const [job = "none"] = entries(area).filter((name) => name.startsWith("job-"));
  assert.deepEqual(entries(`${area}/${job}`), ["datasets"]);
  using client = new Client(port);
  assertReply(
    await client.call(ALGO, asProvider, [
      field(1, program.subarray(0, MIB)),
      field(1, program.subarray(MIB)),
    ]),
    0,
    "",
  );
  await management.until("event ReceivingData/InProgress");
  client[Symbol.dispose]();
  await agent.stop();
});

Deno.test("M-1 R6 a second manifest changes nothing, and gets no answer but a log line (wire.md §4.4)", async () => {
  await using house = await House.open("agent-wire");
  const { management, port, agent, give } = await open(house);
  await using _management = management;
  give("1");
  give("2");
  await management.until("runRes 1 ");
  await management.until("log WARN agent not expecting this operation in the current state");
  using client = new Client(port);
  const answer = await client.call(ALGO, { ...asProvider, algo_type: "bin" }, [
    field(1, program.subarray(0, MIB)),
    field(1, program.subarray(MIB)),
  ]);
  assertReply(answer, 0, "");
  give("3");
  await management.until("log WARN agent not expecting this operation in the current state", 2);
  management.tell({ case: "agentStateReq", value: { id: "s" } });
  assert.equal(await management.until("state s"), "state s ReceivingData");
  assert.deepEqual(management.said.filter((line) => line.startsWith("runRes")), ["runRes 1 "]);
  client[Symbol.dispose]();
  await agent.stop();
});

Deno.test("wire.md §4.4 a stream that is lost or told to end comes again, and nothing is lost", async () => {
  await using house = await House.open("agent-wire");
  const { management, agent, give } = await open(house);
  await using _management = management;
  assert.match(await management.until("log"), /^log INFO TEE device not found$/);
  await management.until("vTPMattestationReport");
  await management.until("event Idle/IdleState");
  management.tell({ case: "disconnectReq", value: { id: "1" } });
  await agent.until((line) => line.includes("Received disconnect request"), "the request's log");
  // It comes back after five seconds, and then takes a manifest as if nothing had been.
  await management.until("log INFO Received disconnect request");
  give("1");
  assert.equal(await management.until("runRes 1"), "runRes 1 ");
  await agent.stop();
});

Deno.test("M-5 (wire.md §4.4) a manifest with a bad key is refused by name, and nothing listens", async () => {
  await using house = await House.open("agent-wire");
  const { management, port, agent, give } = await open(house);
  await using _management = management;
  const hash = Uint8Array.fromHex(digest(program));
  management.give({
    id: "bad",
    algorithm: { hash, userKey: spki(rsa.public).slice(5) },
    resultConsumers: [{ userKey: spki(rsa.public) }],
  });
  assert.match(await management.until("runRes bad"), /algorithm\.userKey/);
  using client = new Client(port);
  await assert.rejects(client.call(ALGO, asProvider, []));
  give("good");
  assert.equal(await management.until("runRes good"), "runRes good ");
  client[Symbol.dispose]();
  await agent.stop();
});

Deno.test("G-1 G-7 a refusal comes before the payload: 256 MiB are never sent", async () => {
  await using house = await House.open("agent-wire");
  const { management, port, agent, give } = await open(house);
  await using _management = management;
  give("1");
  await management.until("runRes 1 ");
  for (
    const [metadata, [status, text]] of [
      [signed(ecdsa, "algorithm-provider"), SIGNATURE],
      [{}, METADATA],
    ] as const
  ) {
    using client = new Client(port);
    const { reply, sent } = await flood(client, ALGO, metadata, mebibyte(), 256);
    assertReply(reply, status, text);
    assert.ok(sent < 64, `${sent} MiB were taken after the refusal`);
  }
  await agent.stop();
});
