// One connection, several services; a server known by its key alone.
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { CocosError } from "../base/mod.ts";
import { makeCertificate } from "../channel/mod.ts";
import {
  AgentService,
  type CallContext,
  connect,
  connectTo,
  implement,
  PartyService,
  serve,
} from "./mod.ts";

const host = "127.0.0.1";

/** Services that keep the contexts of their calls. */
function keeping(contexts: CallContext[]) {
  const keep = <T>(answer: T) => (_request: unknown, call: CallContext) => {
    contexts.push(call);
    return Promise.resolve(answer);
  };
  const stream = async function* () {};
  return [
    implement(AgentService, {
      algo: keep({}),
      data: keep({}),
      result: stream,
      attestation: stream,
      iMAMeasurements: stream,
      azureAttestationToken: keep({}),
    }),
    implement(PartyService, {
      manifest: keep({}),
      challenge: keep({}),
      held: keep({}),
      acknowledge: keep({}),
      output: keep({}),
    }),
  ];
}

Deno.test("G-2 connectTo() has one connection for its services, and no other client has the same", async () => {
  const contexts: CallContext[] = [];
  await using server = await serve({ host, port: 0, services: keeping(contexts) });
  const options = { target: { host, port: server.port }, security: { kind: "none" } } as const;
  {
    await using at = connectTo({ agent: AgentService, party: PartyService }, options);
    await at.party.challenge({});
    await at.agent.azureAttestationToken({});
    await at.party.manifest({});
  }
  await using other = connect(PartyService, options);
  await other.challenge({});
  const [first, second, third, last] = contexts.map(({ connection }) => connection);
  assert.ok(first !== undefined && first === second && first === third);
  assert.notEqual(first, last);
});

Deno.test("a pinned client is told the server's key before it sends, and refuses with its own error", async () => {
  const { cert, key } = await makeCertificate({ commonName: "agent" });
  const contexts: CallContext[] = [];
  await using server = await serve({
    host,
    port: 0,
    tls: { cert, key },
    services: keeping(contexts),
  });
  const spki = new X509Certificate(cert).publicKey.export({ format: "der", type: "spki" });
  const expected = createHash("sha256").update(spki).digest("hex");
  const told: string[] = [];
  const target = { host, port: server.port };
  {
    await using client = connect(PartyService, {
      target,
      security: { kind: "pinned", check: (each) => told.push(each) },
    });
    await client.manifest({});
    await client.challenge({});
  }
  assert.deepEqual(told, [expected]);
  await using strict = connect(PartyService, {
    target,
    security: {
      kind: "pinned",
      check: (each) => {
        throw new CocosError("untrusted", `the key is ${each}`);
      },
    },
  });
  await assert.rejects(strict.manifest({}), {
    code: "untrusted",
    message: `the key is ${expected}`,
  });
  assert.equal(contexts.length, 2);
});
