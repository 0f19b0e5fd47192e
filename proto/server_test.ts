import assert from "node:assert/strict";
import { CocosError, Status } from "../base/mod.ts";
import { makeCertificate } from "../channel/mod.ts";
import {
  AgentService,
  checkHealth,
  type ClientSecurity,
  connect,
  CvmsService,
  implement,
  ManagerService,
  serve,
  type ServeOptions,
} from "./mod.ts";

const HOST = "127.0.0.1";
const NONE: ClientSecurity = { kind: "none" };

/** A manager that echoes, or fails as `id` says. */
const echo = implement(ManagerService, {
  createVm: (request) => Promise.resolve({ cvmId: request.agentCvmServerUrl, forwardedPort: "1" }),
  removeVm: (request) => {
    if (request.cvmId === "typed") {
      throw new CocosError("not-found", "entity not found", { status: Status.UNKNOWN });
    }
    if (request.cvmId === "surrogate") throw new CocosError("io", "bad \ud800 text % ü");
    throw new Error("a secret path");
  },
  cVMInfo: (request) => Promise.resolve({ id: request.id }),
  attestationPolicy: () => Promise.resolve({}),
});

function start(options: Partial<ServeOptions> = {}) {
  return serve({ host: HOST, port: 0, services: [echo], healthName: "manager", ...options });
}

Deno.test("serve() answers a unary call", async () => {
  await using server = await start();
  await using client = connect(ManagerService, {
    target: { host: HOST, port: server.port },
    security: NONE,
  });
  const answer = await client.createVm({ agentCvmServerUrl: "10.0.2.2:7001" });
  assert.equal(answer.cvmId, "10.0.2.2:7001");
});

Deno.test("serve() sends a CocosError's text and status, and no detail of other errors", async () => {
  await using server = await start();
  await using client = connect(ManagerService, {
    target: { host: HOST, port: server.port },
    security: NONE,
  });
  await assert.rejects(client.removeVm({ cvmId: "typed" }), {
    code: "remote",
    status: Status.UNKNOWN,
    message: "entity not found",
  });
  await assert.rejects(client.removeVm({ cvmId: "other" }), {
    code: "internal",
    message: "internal error",
  });
  await assert.rejects(client.removeVm({ cvmId: "surrogate" }), {
    message: "bad \ufffd text % ü",
  });
});

Deno.test("serve() answers health for its own name only (G-16)", async () => {
  await using server = await start();
  const check = (service: string) =>
    checkHealth({
      target: { host: HOST, port: server.port },
      security: NONE,
      service,
      timeoutMs: 60_000,
    });
  assert.equal(await check("manager"), true);
  assert.equal(await check(""), true);
  assert.equal(await check("agent"), false);
});

Deno.test("serve() refuses a port that is in use with a typed error", async () => {
  await using server = await start();
  await assert.rejects(start({ port: server.port }), { code: "unavailable" });
});

Deno.test("close() ends open calls after the grace and frees the port", async () => {
  const held = Promise.withResolvers<void>();
  const server = await start({
    services: [implement(CvmsService, {
      process: async function* (_requests, call) {
        held.resolve();
        await new Promise((resolve) => call.signal.addEventListener("abort", resolve));
        yield* [];
      },
    })],
  });
  await using client = connect(CvmsService, {
    target: { host: HOST, port: server.port },
    security: NONE,
  });
  const messages = client.process((async function* () {})());
  const ended = assert.rejects(messages[Symbol.asyncIterator]().next(), { name: "CocosError" });
  await held.promise;
  await server.close(10);
  await ended;
  await using again = await start({ port: server.port });
  assert.equal(again.port, server.port);
});

Deno.test("TLS and mTLS work, and only with the right certificates (G-17)", async () => {
  const ca = await makeCertificate({ commonName: "authority" });
  const other = await makeCertificate({ commonName: "other" });
  const own = await makeCertificate({ commonName: "server", names: [HOST], issuer: ca });
  const wrong = await makeCertificate({ commonName: "server", names: ["10.9.9.9"], issuer: ca });
  const party = await makeCertificate({ commonName: "party", issuer: ca });
  const stranger = await makeCertificate({ commonName: "party", issuer: other });
  const old = await makeCertificate({
    commonName: "party",
    issuer: ca,
    notBefore: new Date("2020-01-01"),
    notAfter: new Date("2021-01-01"),
  });
  const client = (certificate: typeof party): ClientSecurity => ({
    kind: "tls",
    ca: ca.cert,
    clientCert: certificate.cert,
    clientKey: certificate.key,
  });
  const cases: [string, ServeOptions["tls"], ClientSecurity, boolean][] = [
    ["TLS", own, { kind: "tls", ca: ca.cert }, true],
    ["a server of another authority", own, { kind: "tls", ca: other.cert }, false],
    ["a server of another name", wrong, { kind: "tls", ca: ca.cert }, false],
    ["plain against TLS", own, NONE, false],
    ["TLS against plain", undefined, { kind: "tls", ca: ca.cert }, false],
    ["mTLS", { ...own, clientCa: ca.cert }, client(party), true],
    ["mTLS without a certificate", { ...own, clientCa: ca.cert }, {
      kind: "tls",
      ca: ca.cert,
    }, false],
    ["mTLS of another authority", { ...own, clientCa: ca.cert }, client(stranger), false],
    ["mTLS expired", { ...own, clientCa: ca.cert }, client(old), false],
  ];
  for (const [name, tls, security, works] of cases) {
    await using server = await start(tls === undefined ? {} : { tls });
    await using manager = connect(ManagerService, {
      target: { host: HOST, port: server.port },
      security,
    });
    const call = manager.cVMInfo({ id: "7" }, { timeoutMs: 60_000 });
    if (works) assert.equal((await call).id, "7", name);
    else await assert.rejects(call, { code: "unavailable" }, name);
  }
});

Deno.test("serve() refuses a certificate that doesn't fit its key", async () => {
  const one = await makeCertificate({ commonName: "one" });
  const two = await makeCertificate({ commonName: "two" });
  await assert.rejects(start({ tls: { cert: one.cert, key: two.key } }), {
    code: "invalid-config",
  });
  await assert.rejects(start({ tls: { cert: "no", key: "no" } }), { code: "invalid-config" });
});

/** An agent whose handlers record what reached them. */
function agent(
  record: {
    chunks: number;
    delivered: Promise<boolean>[];
    cancelled: PromiseWithResolvers<CocosError>;
    began: PromiseWithResolvers<void>;
  },
) {
  const refuse = () => Promise.reject(new CocosError("not-supported", "no"));
  return implement(AgentService, {
    algo: async (requests, call) => {
      if (call.metadata.get("signature").length !== 1) {
        throw new CocosError("unauthenticated", "signature verification failed");
      }
      try {
        for await (const request of requests) {
          record.chunks += request.algorithm.length;
          record.began.resolve();
        }
      } catch (error) {
        record.cancelled.resolve(error as CocosError);
        throw error;
      }
      return {};
    },
    data: refuse,
    result: async function* (_request, call) {
      record.delivered.push(call.delivered);
      call.sendHeaders({ "file-size": String(8 << 20) });
      for (let i = 0; i < 8; i++) yield { file: new Uint8Array(1 << 20) };
      await Promise.resolve();
    },
    attestation: async function* () {
      yield await refuse();
    },
    iMAMeasurements: async function* () {
      yield await refuse();
    },
    azureAttestationToken: refuse,
  });
}

function recordOf() {
  return {
    chunks: 0,
    delivered: [] as Promise<boolean>[],
    cancelled: Promise.withResolvers<CocosError>(),
    began: Promise.withResolvers<void>(),
  };
}

Deno.test("G-1 a handler refuses before the first payload byte is read", async () => {
  const record = recordOf();
  await using server = await start({ services: [agent(record)] });
  await using client = connect(AgentService, {
    target: { host: HOST, port: server.port },
    security: NONE,
  });
  let sent = 0;
  async function* endless() {
    for (let i = 0; i < 1_000; i++) {
      sent++;
      yield { algorithm: new Uint8Array(1 << 20) };
    }
  }
  await assert.rejects(client.algo(endless()), { code: "unauthenticated" });
  assert.equal(record.chunks, 0);
  assert.ok(sent < 100, `${sent} chunks were sent after the refusal`);
});

Deno.test("a client that breaks off is `cancelled` at the server, never an end", async () => {
  const record = recordOf();
  await using server = await start({ services: [agent(record)] });
  await using client = connect(AgentService, {
    target: { host: HOST, port: server.port },
    security: NONE,
  });
  const stop = new AbortController();
  const waiting = Promise.withResolvers<never>();
  async function* broken() {
    yield { algorithm: new Uint8Array(10) };
    await record.began.promise;
    stop.abort();
    await waiting.promise;
  }
  await assert.rejects(
    client.algo(broken(), { metadata: { signature: "x" }, signal: stop.signal }),
    { code: "cancelled" },
  );
  assert.equal((await record.cancelled.promise).code, "cancelled");
});

Deno.test("O-3 delivered tells a whole download from one that was cancelled", async () => {
  const record = recordOf();
  await using server = await start({ services: [agent(record)] });
  await using client = connect(AgentService, {
    target: { host: HOST, port: server.port },
    security: NONE,
  });
  const whole = client.result({});
  let bytes = 0;
  for await (const { file } of whole.messages) bytes += file.length;
  assert.equal(bytes, 8 << 20);
  assert.deepEqual((await whole.headers).get("file-size"), [String(8 << 20)]);
  assert.equal(await record.delivered[0], true);
  for await (const _ of client.result({}).messages) break;
  assert.equal(await record.delivered[1], false);
});

Deno.test("connect() sends no message above 4 MiB, which its server would refuse", async () => {
  const record = recordOf();
  await using server = await start({ services: [agent(record)] });
  await using client = connect(AgentService, {
    target: { host: HOST, port: server.port },
    security: NONE,
  });
  async function* large() {
    yield { algorithm: new Uint8Array((4 << 20) + 1) };
  }
  await assert.rejects(client.algo(large(), { metadata: { signature: "x" } }), {
    status: Status.RESOURCE_EXHAUSTED,
  });
  assert.equal(record.chunks, 0);
});
