// The strict mode of the agent, over real connections: whole computations and every refusal.
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import tls from "node:tls";
import { makeCertificate } from "../channel/mod.ts";
import {
  AgentService,
  agreementDigest,
  type CallContext,
  connect,
  cvms,
  ManifestRequestSchema,
  ROLES,
} from "../proto/mod.ts";
import { create } from "@bufbuild/protobuf";
import { finished, uploadOf } from "./_fakes.ts";
import { bytes, party, type Run } from "./_parties.ts";
import { party as serviceOf } from "./party.ts";
import { Scene } from "./_scene.ts";
import { Caller, ID, refused, strictRun } from "./_strict.ts";

const algorithm = bytes("#!/bin/sh\necho hello\n");
const [owner, other] = await Promise.all([party(), party("ecdsa")]);
const A = bytes("of hospital a");
const B = bytes("of hospital b, longer");

/** A strict agent with its manifest accepted, and one connection to it. */
async function accepted(run: Run, more: Parameters<typeof Scene.start>[0] = {}) {
  const scene = await Scene.start({
    mode: "strict",
    behaviour: async ({ dir }) => {
      await Deno.writeTextFile(`${dir}/results/model`, "weights");
      return finished("ok");
    },
    ...more,
  });
  scene.server.manifest(run);
  assert.equal(await scene.server.until("runRes"), `runRes ${run.id} `);
  const caller = new Caller(scene.agent.config.grantedPort);
  return {
    scene,
    caller,
    server: scene.server,
    async [Symbol.asyncDispose]() {
      await caller[Symbol.asyncDispose]();
      await scene[Symbol.asyncDispose]();
    },
  };
}

const twoOwners = (more: Run = {}) =>
  strictRun(owner, algorithm, [
    { data: A, filename: "a.csv" },
    { data: B, filename: "b.csv", owner: other },
  ], { resultConsumers: [{ userKey: owner.spki }, { userKey: other.spki }], ...more });

Deno.test("O-3 a strict computation of two owners completes when both consumers have acknowledged", async () => {
  await using at = await accepted(twoOwners());
  const { caller, server } = at;
  await caller.algo(owner, algorithm);
  await caller.data(other, "b.csv", B);
  await caller.data(owner, "a.csv", A);
  await server.until("event ConsumingResults/Ready");
  const first = await caller.result(owner);
  const second = await caller.result(other);
  assert.deepEqual(first, second);
  server.askState("1");
  assert.equal(await server.until("stateRes"), "stateRes 1 ConsumingResults");
  await refused(caller.acknowledge(owner, bytes("not it")), "digest-mismatch", /does not match/);
  await caller.acknowledge(owner, first);
  await caller.acknowledge(owner, first);
  server.askState("2");
  assert.equal(await server.until("stateRes"), "stateRes 2 ConsumingResults");
  await caller.acknowledge(other, second);
  await server.until("event Complete/Completed");
  assert.deepEqual(at.scene.files(), ["/journal.json"]);
  await refused(caller.result(owner), "wrong-state", /purged/);
  // Its first answer may have been lost: the last consumer may say it again, and no other thing.
  await caller.acknowledge(other, second);
  await refused(caller.acknowledge(owner, bytes("not it")), "digest-mismatch", /does not match/);
  server.askState("3");
  assert.equal(await server.until("stateRes"), "stateRes 3 Complete");
});

Deno.test("R3 type, arguments and interpreter come from the manifest, whatever the uploader says", async () => {
  const run = twoOwners({ datasets: [] });
  Object.assign(run.algorithm as object, {
    type: "python",
    args: ["--n", "3"],
    runtime: "python3",
  });
  await using at = await accepted(run);
  const { caller } = at;
  for (
    const metadata of [
      { algo_type: "bin" },
      { algo_type: ["python", "python"] },
      { algo_args: "--n" },
      { algo_args: ["--n", "4"] },
      { python_runtime: "pyodide" },
    ]
  ) {
    const signed = await caller.sign(owner, "algo", "algorithm", algorithm);
    const call = caller.client.agent.algo(
      uploadOf(algorithm, (each) => ({ algorithm: each })),
      { metadata: { ...signed, ...metadata } },
    );
    await refused(call, "invalid-argument", /must be the manifest's$/);
  }
  await caller.algo(owner, algorithm);
  await at.server.until("event ConsumingResults/Ready");
  const [{ kind, args, pythonRuntime } = assert.fail()] = at.scene.runner.jobs;
  assert.deepEqual({ kind, args, pythonRuntime }, {
    kind: "python",
    args: ["--n", "3"],
    pythonRuntime: "python3",
  });
});

Deno.test("M-7 the agent shows its manifest, and gives no challenge for another digest or id", async () => {
  const run = twoOwners();
  await using at = await accepted(run);
  const { party: service } = at.caller.client;
  const digest = agreementDigest(create(cvms.ComputationRunReqSchema, run));
  assert.match(await at.caller.manifest(), new RegExp(`"id":"${ID}"`));
  const right = { computationId: ID, manifestDigest: new Uint8Array(digest) };
  assert.equal((await service.challenge(right)).challenge.length, 32);
  for (
    const wrong of [
      { ...right, computationId: "another" },
      { ...right, manifestDigest: new Uint8Array(digest).fill(1, 31) },
      { ...right, manifestDigest: new Uint8Array() },
    ]
  ) await refused(service.challenge(wrong), "untrusted", /another manifest than the one approved/);
});

Deno.test("a compat agent has no PartyService, a strict one takes no role signature", async () => {
  await using strict = await accepted(twoOwners());
  await using client = strict.scene.agent.client();
  const call = client.algo(uploadOf(algorithm, (each) => ({ algorithm: each })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await refused(call, "unauthenticated", /exactly one cocos-request/);
  await using compat = await accepted({ ...twoOwners(), id: ID }, { mode: "compat" });
  await refused(compat.caller.manifest(), "not-supported", /./);
});

Deno.test("M-9 G-18 a tls door has a key made inside, told to the server, whatever the server sent along", async () => {
  const { cert, key } = await makeCertificate({ commonName: "of the server" });
  const agentConfig = { certFile: cert, keyFile: key };
  await using at = await accepted(twoOwners({ channel: "tls", agentConfig }));
  const told = at.server.messages.flatMap(({ message }) =>
    message.case === "runRes" ? [message.value.doorKey] : []
  );
  const port = at.scene.agent.config.grantedPort;
  const seen: string[] = [];
  await using caller = new Caller(port, { kind: "pinned", check: (pin) => seen.push(pin) });
  await caller.algo(owner, algorithm);
  assert.deepEqual(seen, told);
  assert.match(seen[0] as string, /^[0-9a-f]{64}$/);
  const theirs = new X509Certificate(cert).publicKey.export({ format: "der", type: "spki" });
  assert.notEqual(seen[0], createHash("sha256").update(theirs).digest("hex"));
  const { received } = at.server;
  assert.ok(received.some((line) => line.includes(`with TLS and the key ${seen[0]}`)));
  assert.ok(
    received.some((line) => /^log WARN .*are not used: cert_file, key_file$/.test(line)),
  );
  // A second computation of the same agent has another key.
  at.server.stop(ID);
  await at.server.until("stopRes");
  at.server.manifest(twoOwners({ channel: "tls" }));
  await at.server.until("runRes");
  await using again = new Caller(port, { kind: "pinned", check: (pin) => seen.push(pin) });
  await again.manifest();
  assert.notEqual(seen.at(-1), seen[0]);
});

Deno.test("G-17 a tls door speaks TLS 1.3 and h2 only", async () => {
  await using at = await accepted(twoOwners({ channel: "tls" }));
  const port = at.scene.agent.config.grantedPort;
  const attempt = (options: tls.ConnectionOptions) =>
    new Promise<string>((resolve) => {
      const socket = tls.connect({
        host: "127.0.0.1",
        port,
        rejectUnauthorized: false,
        ...options,
      });
      socket.once("secureConnect", () => {
        resolve(`${socket.getProtocol()} ${socket.alpnProtocol}`);
        socket.destroy();
      });
      socket.once("error", () => resolve("refused"));
    });
  assert.equal(await attempt({ ALPNProtocols: ["h2"] }), "TLSv1.3 h2");
  assert.equal(await attempt({ ALPNProtocols: ["h2"], maxVersion: "TLSv1.2" }), "refused");
  assert.equal(await attempt({ ALPNProtocols: ["http/1.1"] }), "refused");
});

Deno.test("G-18 an insecure door is said in the log and in the event, and a channel must be named", async () => {
  await using at = await accepted(twoOwners());
  assert.ok(at.server.received.some((line) => /^log WARN insecure: .* no TLS/.test(line)));
  const details = at.server.messages.flatMap(({ message }) =>
    message.case === "agentEvent" && message.value.eventType === "ReceivingAlgorithm"
      ? [JSON.parse(new TextDecoder().decode(message.value.details))]
      : []
  );
  const { mode, channel, manifest } = details[0] ?? {};
  assert.deepEqual([mode, channel], ["strict", "insecure"]);
  assert.match(manifest, /^[0-9a-f]{64}$/);
  for (const [channel, text] of [["", "must be there"], ["attested", "can't offer"]] as const) {
    await using scene = await Scene.start({ mode: "strict" });
    scene.server.manifest(twoOwners({ channel }));
    await scene.server.until(channel === "" ? /hint: .* start the agent with --compat/ : /hint: /);
    assert.match(await scene.server.until("runRes"), new RegExp(text));
    const target = { host: "127.0.0.1", port: scene.agent.config.grantedPort };
    await using client = connect(AgentService, { target, security: { kind: "none" } });
    await refused(client.azureAttestationToken({}), "unavailable", /ECONNREFUSED/);
  }
});

Deno.test("M-11 a policy changed after approval gives another digest, and nobody's request comes in", async () => {
  const approved = agreementDigest(create(cvms.ComputationRunReqSchema, twoOwners()));
  const changes: Run[] = [
    { logReaders: ["server"] },
    { limits: { wallSeconds: 1n } },
    { limits: { memoryBytes: 1n << 30n } },
    { limits: { processes: 64n } },
    { limits: { diskBytes: 1n << 30n } },
    { limits: { logBytes: 1n } },
    { channel: "tls" },
    { resultConsumers: [{ userKey: owner.spki }] },
    { description: "the same, it says" },
  ];
  for (const change of changes) {
    await using scene = await Scene.start({ mode: "strict" });
    scene.server.manifest(twoOwners(change));
    assert.equal(await scene.server.until("runRes"), `runRes ${ID} `);
    const pinned = { kind: "pinned", check: () => {} } as const;
    const security = change.channel === "tls" ? pinned : { kind: "none" } as const;
    await using caller = new Caller(scene.agent.config.grantedPort, security);
    await refused(
      caller.client.party.challenge({
        computationId: ID,
        manifestDigest: new Uint8Array(approved),
      }),
      "untrusted",
      /another manifest than the one approved/,
    );
    // A challenge for the agent's manifest does not carry the approved one in either.
    await refused(
      caller.call(owner, "algo", "algorithm", algorithm, { manifest: approved.toHex() }),
      "unauthenticated",
      "signed request is for another manifest",
    );
  }
});

Deno.test("R5 a connection that doesn't take manifests gets four megabytes of them, and others their own", async () => {
  const run = twoOwners();
  Object.assign(run.algorithm as object, { args: Array(20).fill("x".repeat(100_000)) });
  await using at = await accepted(run);
  const service = serviceOf(at.scene.agent.agent);
  const { promise: delivered, resolve } = Promise.withResolvers<boolean>();
  const read = (connection: object) =>
    service.manifest(
      create(ManifestRequestSchema),
      { connection, delivered } as unknown as CallContext,
    );
  const [slow, honest] = [{}, {}];
  await read(slow);
  await read(slow);
  await assert.rejects(read(slow), { code: "exhausted" });
  await read(honest);
  resolve(true);
  await delivered;
  await read(slow);
  // Over a real connection there is room again as soon as an answer has left.
  for (let i = 0; i < 5; i++) await at.caller.manifest();
});
