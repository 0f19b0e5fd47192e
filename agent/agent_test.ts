import assert from "node:assert/strict";
import { makeCertificate } from "../channel/mod.ts";
import { type ClientSecurity, ROLES } from "../proto/mod.ts";
import { finished, uploadOf } from "./_fakes.ts";
import { Scene } from "./_scene.ts";
import { bytes, type Party, party, runOf } from "./_parties.ts";

const algorithm = bytes("#!/bin/sh\necho hello\n".repeat(100));
const datasets = [bytes("a,b\n1,2\n"), bytes("c,d\n3,4\n".repeat(500))];

/** Uploads, waits, fetches: the whole way of one computation through the front door. */
async function wholeRun(scene: Scene, owner: Party, security: ClientSecurity): Promise<void> {
  const { server, agent } = scene;
  server.manifest(runOf(owner, algorithm, datasets.map((data) => ({ data }))));
  await server.until("runRes 1 ");
  await using client = agent.client(security);
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: {
      ...owner.sign(ROLES.algorithm),
      algo_type: "bin",
      algo_args: ["--x, y", "z, w", ""],
    },
  });
  for (const data of datasets) {
    await client.data(uploadOf(data, (dataset) => ({ dataset, filename: "any.csv" })), {
      metadata: owner.sign(ROLES.data),
    });
  }
  await server.until("event ConsumingResults/Ready");
  const { headers, messages } = client.result({}, { metadata: owner.sign(ROLES.consumer) });
  const [size] = (await headers).get("file-size");
  let received = 0;
  for await (const { file } of messages) received += file.length;
  assert.equal(String(received), size);
  assert.ok(received > 22);
  await server.until("event Complete/Completed");
}

const behaviour = async ({ dir }: { dir: string }) => {
  const names = [...Deno.readDirSync(`${dir}/datasets`)].map(({ name }) => name).sort();
  assert.deepEqual(names, ["dataset-0", "dataset-1"]);
  assert.equal((Deno.statSync(`${dir}/algo`).mode ?? 0) & 0o777, 0o750);
  await Deno.writeTextFile(`${dir}/results/out.txt`, "model");
  return finished("ok");
};

Deno.test("Agent: a whole computation, its messages in the order of the wire", async () => {
  await using scene = await Scene.start({ behaviour });
  await wholeRun(scene, await party(), { kind: "none" });
  const { received, messages } = scene.server;
  assert.deepEqual(received.filter((text) => !text.startsWith("log")), [
    "vTPMattestationReport",
    "event Idle/IdleState",
    "event ReceivingAlgorithm/InProgress",
    "runRes 1 ",
    "event ReceivingData/InProgress",
    "event Running/Starting",
    "event Running/InProgress",
    "event Running/Completed",
    "event ConsumingResults/Ready",
    "event Complete/Completed",
  ]);
  assert.equal(received[0], "log INFO TEE device not found");
  assert.ok(
    received.some((text) => /gRPC server listening at 127.0.0.1:\d+ without TLS$/.test(text)),
  );
  assert.ok(received.some((text) => /Method Algo took .* to complete without errors$/.test(text)));
  assert.ok(received.some((text) => /manifest digest [0-9a-f]{64}$/.test(text)));
  for (const { message } of messages) {
    if (message.case !== "agentEvent") continue;
    assert.equal(message.value.originator, "agent");
    const details = new TextDecoder().decode(message.value.details);
    const shown = message.value.eventType === "ReceivingAlgorithm";
    assert.equal(details, shown ? '{"mode":"compat","channel":"insecure"}' : "");
    assert.ok(message.value.timestamp);
    assert.equal(message.value.computationId, message.value.eventType === "Idle" ? "" : "1");
  }
  assert.deepEqual(
    scene.runner.jobs.map(({ kind, args, hasRequirements }) => ({ kind, args, hasRequirements })),
    [
      { kind: "bin", args: ["--x, y", "z, w", ""], hasRequirements: false },
    ],
  );
  // Each line of stdout is a protojson EventsLogs.
  for (const line of scene.agent.lines) {
    assert.ok(line.endsWith("\n"));
    assert.equal(typeof JSON.parse(line).agentLog.message, "string");
  }
});

Deno.test("Z-1 Agent: nothing of any party is left after Complete", async () => {
  await using scene = await Scene.start({ behaviour });
  await wholeRun(scene, await party(), { kind: "none" });
  assert.deepEqual(scene.files(), ["/journal.json"]);
});

for (const kind of ["rsa", "ecdsa", "ed25519"] as const) {
  Deno.test(`Agent: a whole computation with ${kind} keys`, async () => {
    await using scene = await Scene.start({ behaviour });
    await wholeRun(scene, await party(kind), { kind: "none" });
  });
}

const ca = await makeCertificate({ commonName: "authority of the test" });
const names = ["127.0.0.1", "localhost"];
const leaf = await makeCertificate({ commonName: "agent", names, issuer: ca });
const person = await makeCertificate({ commonName: "party", names, issuer: ca });

Deno.test("Agent: TLS at the front door, certificates from the manifest as PEM texts", async () => {
  await using scene = await Scene.start();
  const owner = await party();
  scene.server.manifest(runOf(owner, algorithm, [], {
    agentConfig: { certFile: leaf.cert, keyFile: leaf.key },
  }));
  await scene.server.until("runRes 1 ");
  await using client = scene.agent.client({ kind: "tls", ca: ca.cert });
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await scene.server.until("event ConsumingResults/Ready");
  assert.ok(
    scene.server.received.some((text) => text.endsWith("with TLS cert (inline) and key (inline)")),
  );
  await using plain = scene.agent.client();
  await assert.rejects(plain.azureAttestationToken({}, { timeoutMs: 3_000 }), {
    code: "unavailable",
  });
});

Deno.test("Agent: mTLS at the front door, certificates from files of the granted folder", async () => {
  const certs = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${certs}/cert.pem`, leaf.cert);
    await Deno.writeTextFile(`${certs}/key.pem`, leaf.key);
    await Deno.writeTextFile(`${certs}/ca.pem`, ca.cert);
    await using scene = await Scene.start({ argv: ["--certs", certs] });
    const owner = await party();
    scene.server.manifest(runOf(owner, algorithm, [], {
      agentConfig: {
        certFile: "/etc/certs/cert.pem",
        keyFile: `${certs}/key.pem`,
        clientCaFile: `${certs}/ca.pem`,
        serverCaFile: `${certs}/ca.pem`,
      },
    }));
    await scene.server.until("runRes 1 ");
    const security = { kind: "tls", ca: ca.cert } as const;
    await using stranger = scene.agent.client(security);
    await assert.rejects(stranger.azureAttestationToken({}, { timeoutMs: 3_000 }), {
      code: "unavailable",
    });
    await using client = scene.agent.client({
      ...security,
      clientCert: person.cert,
      clientKey: person.key,
    });
    await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
      metadata: owner.sign(ROLES.algorithm),
    });
    await scene.server.until("event ConsumingResults/Ready");
  } finally {
    await Deno.remove(certs, { recursive: true });
  }
});

Deno.test("Agent: TLS and mTLS to the management server, the certificate's serial reported", async () => {
  const certs = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${certs}/cert.pem`, person.cert);
    await Deno.writeTextFile(`${certs}/key.pem`, person.key);
    await Deno.writeTextFile(`${certs}/ca.pem`, ca.cert);
    await using scene = await Scene.start({
      serverTls: { ...leaf, clientCa: ca.cert },
      env: {
        AGENT_CVM_GRPC_CLIENT_CERT: `${certs}/cert.pem`,
        AGENT_CVM_GRPC_CLIENT_KEY: `${certs}/key.pem`,
        AGENT_CVM_GRPC_SERVER_CA_CERTS: `${certs}/ca.pem`,
      },
    });
    await scene.server.until("vTPMattestationReport");
    const report = scene.server.messages.find(({ message }) =>
      message.case === "vTPMattestationReport"
    )?.message;
    assert.ok(report?.case === "vTPMattestationReport");
    assert.match(report.value.certSerialNumber, /^\d{20,}$/);
    assert.equal(report.value.file.length, 0);
  } finally {
    await Deno.remove(certs, { recursive: true });
  }
});

Deno.test("M-10 Agent: stop works and a second computation on the same agent completes", async () => {
  await using scene = await Scene.start({ behaviour });
  const owner = await party();
  for (let round = 0; round < 3; round++) {
    await wholeRun(scene, owner, { kind: "none" });
    scene.server.stop("9");
    await scene.server.until("event Stopped/Stopped");
    assert.equal(await scene.server.until("stopRes"), "stopRes 9 ");
    scene.server.askState();
    assert.equal(await scene.server.until("stateRes"), "stateRes 7 ReceivingManifest");
    assert.deepEqual(scene.files(), ["/journal.json"]);
  }
});
