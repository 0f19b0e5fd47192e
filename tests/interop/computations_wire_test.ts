// What `cocos-computations` gives an agent that knows nothing of our code (wire.md §4.4, §7): the
// manifest in pieces with an empty last one, the fields of the Go test server, its first lines.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Buffer } from "node:buffer";
import type { ClientHttp2Stream } from "node:http2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { cvms } from "../../proto/mod.ts";
import { freePort, House } from "../_house.ts";
import { Client, framed, Unframer } from "../_grpc.ts";

const ID = "7d444840-9dc0-81d1-b245-5ffdce74fad2";
const PROCESS = "/cvms.Service/Process";

const keys: { kind: string; public: string }[] = JSON.parse(
  await Deno.readTextFile(new URL("testdata/keys.json", import.meta.url)),
);

/** Messages of a stream as they come. */
async function* messagesOf(stream: ClientHttp2Stream): AsyncGenerator<Buffer> {
  const unframer = new Unframer();
  for await (const bytes of stream) yield* unframer.add(bytes as Buffer);
}

/** Takes `runReqChunks` messages to the last one; gives the pieces' lengths and the whole. */
async function takeManifest(stream: ClientHttp2Stream) {
  const pieces: { length: number; id: string; isLast: boolean }[] = [];
  const parts: Uint8Array[] = [];
  for await (const bytes of messagesOf(stream)) {
    const { message } = fromBinary(cvms.ServerStreamMessageSchema, bytes);
    assert.equal(message.case, "runReqChunks");
    const { data, id, isLast } = message.value as cvms.RunReqChunks;
    pieces.push({ length: data.length, id, isLast });
    parts.push(data);
    if (isLast) break;
  }
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return { pieces, whole };
}

const sha3 = (text: string | Uint8Array) => createHash("sha3-256").update(text).digest("hex");

/** The body of a PEM block. */
const spki = (pem: string) =>
  Uint8Array.fromBase64(pem.split("\n").filter((line) => !line.startsWith("-")).join("")).toHex();

Deno.test("cocos cvms -compat gives the Go test server's manifest at once: pieces, then an empty last one", async () => {
  await using house = await House.open("cvms-wire");
  const port = freePort();
  for (const { public: publicPem } of keys) {
    await house.write("public.pem", publicPem);
    await house.write("algo.py", "print(1)\n");
    await house.write("sets/a.csv", "x,y\n");
    const server = house.start("cocos", [
      "cvms",
      "-algo-path",
      "algo.py",
      "-public-key-path",
      "public.pem",
      "-attested-tls-bool",
      "false",
      "-data-paths",
      "sets/a.csv",
      "-client-ca-file",
      "/etc/certs/ca.pem",
      "-compat",
    ], { HOST: "127.0.0.1", PORT: String(port) });
    const first = JSON.parse(
      await server.until((line) => line.includes("listening"), "its first line"),
    );
    assert.equal(
      first.msg,
      `cvms_test_server service gRPC server listening at 127.0.0.1:${port} without TLS`,
    );
    assert.equal(first.level, "INFO");
    using client = new Client(port);
    const health = await client.call("/grpc.health.v1.Health/Check", {}, [
      new TextEncoder().encode("\x0a\x10cvms_test_server"),
    ]);
    assert.deepEqual([health.status, health.messages[0]?.toString("hex")], [0, "0801"]);

    const stream = client.open(PROCESS, {});
    const { pieces, whole } = await takeManifest(stream);
    stream.close();
    assert.deepEqual(pieces, [
      { length: whole.length, id: "1", isLast: false },
      { length: 0, id: "1", isLast: true },
    ]);
    const manifest = fromBinary(cvms.ComputationRunReqSchema, whole);
    assert.deepEqual(
      [manifest.id, manifest.name, manifest.description],
      ["1", "sample computation", "sample descrption"],
    );
    assert.equal(manifest.algorithm?.hash.toHex(), sha3("print(1)\n"));
    const key = spki(publicPem);
    assert.equal(manifest.algorithm?.userKey.toHex(), key);
    assert.deepEqual(
      manifest.datasets.map((each) => [each.hash.toHex(), each.userKey.toHex()]),
      [[sha3("x,y\n"), key]],
    );
    assert.deepEqual(manifest.resultConsumers.map((each) => each.userKey.toHex()), [key]);
    assert.equal(manifest.agentConfig?.port, "7002");
    assert.equal(manifest.agentConfig?.clientCaFile, "/etc/certs/ca.pem");
    assert.equal(manifest.agentConfig?.attestedTls, false);
    assert.deepEqual(toBinary(cvms.ComputationRunReqSchema, manifest), whole);
    assert.equal((await server.stop()).code, 0);
  }
});

Deno.test("cocos cvms says the Go test server's usage errors, all of them", async () => {
  await using house = await House.open("cvms-wire");
  const { code, stderr } = await house.run("cocos", ["cvms"]);
  assert.notEqual(code, 0);
  for (
    const text of [
      "Algorithm path is required",
      "Public key path is required",
      "Attested TLS flag is required and it must be a boolean value",
    ]
  ) assert.ok(stderr.includes(text), stderr);
});

Deno.test("a manifest above 1 MiB travels in pieces of 1 MiB", async () => {
  await using house = await House.open("cvms-wire");
  const port = freePort();
  await house.write("public.pem", keys[0]?.public ?? "");
  const digest = sha3("x");
  const certificates = `-----BEGIN CERTIFICATE-----\n${"QUJD\n".repeat(52_000)}` +
    "-----END CERTIFICATE-----\n";
  await house.write("ca.pem", certificates);
  await house.write(
    "computation.json",
    JSON.stringify({
      id: "big",
      algorithm: { hash: digest, key: "public.pem" },
      datasets: Array.from({ length: 1_000 }, (_, i) => ({
        hash: digest,
        key: "public.pem",
        filename: `${i}-`.padEnd(200, "n"),
      })),
      consumers: ["public.pem"],
      agent: { client_ca_file: "ca.pem", server_ca_file: "ca.pem" },
    }),
  );
  const server = house.start("cocos-computations", [
    "--file",
    "computation.json",
    "--compat",
  ], {
    COMPUTATIONS_HOST: "127.0.0.1",
    COMPUTATIONS_PORT: String(port),
  });
  await server.until((line) => line.includes("listening"), "its first line");
  using client = new Client(port);
  const stream = client.open(PROCESS, {});
  const { pieces, whole } = await takeManifest(stream);
  assert.deepEqual(pieces.map(({ length }) => length), [1 << 20, whole.length - (1 << 20), 0]);
  assert.deepEqual(new Set(pieces.map(({ id }) => id)), new Set(["big"]));
  assert.deepEqual(pieces.map(({ isLast }) => isLast), [false, false, true]);
  stream.close();
  assert.equal((await server.stop()).code, 0);
});

Deno.test("an agent's messages are printed, hostile ones too, and the server stays", async () => {
  await using house = await House.open("cvms-wire");
  const port = freePort();
  await house.write("public.pem", keys[2]?.public ?? "");
  await house.write("algo", "x");
  const server = house.start("cocos-computations", [
    "cvms",
    "-algo-path=algo",
    "-public-key-path=public.pem",
    "-attested-tls-bool=f",
    `-id=${ID}`,
  ], { HOST: "127.0.0.1", PORT: String(port) });
  await server.until((line) => line.includes("listening"), "its first line");
  const say = (
    message: NonNullable<Parameters<typeof create<typeof cvms.ClientStreamMessageSchema>>[1]>,
  ) =>
    framed(
      toBinary(cvms.ClientStreamMessageSchema, create(cvms.ClientStreamMessageSchema, message)),
    );
  using client = new Client(port);
  const stream = client.open(PROCESS, {});
  stream.on("error", () => {});
  stream.write(say({
    message: {
      case: "agentLog",
      value: { message: "\x1b[2J\nforged", level: "INFO", computationId: "1" },
    },
  }));
  stream.write(say({
    message: {
      case: "agentEvent",
      value: { eventType: "Running", status: "Starting", originator: "agent", computationId: "1" },
    },
  }));
  stream.write(say({ message: { case: "runRes", value: { computationId: ID } } }));
  const event = JSON.parse(
    await server.until((line) => line.includes('"agent event"'), "the event"),
  );
  assert.deepEqual([event.event, event.status], ["Running", "Starting"]);
  const log = await server.until((line) => line.includes("forged"), "the log");
  assert.ok(!log.includes("\x1b"), "S-5 no escape sequence reaches a terminal");
  // A message that is no protobuf ends this stream alone.
  stream.write(framed(Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff)));
  await server.until((line) => line.includes("agent disconnected"), "the end of the stream");
  using again = new Client(port);
  const second = again.open(PROCESS, {});
  // It has seen the manifest accepted: an agent that comes back is asked for its state first.
  for await (const bytes of messagesOf(second)) {
    const { message } = fromBinary(cvms.ServerStreamMessageSchema, bytes);
    assert.equal(message.case, "agentStateReq");
    break;
  }
  second.close();
});
