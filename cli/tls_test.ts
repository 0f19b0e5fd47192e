// Connections with TLS and mutual TLS: what is printed, and that nothing is sent to a server that is
// not the wanted one.
import assert from "node:assert/strict";
import { makeCertificate } from "../channel/mod.ts";
import { Exit } from "../base/mod.ts";
import { generateKeys } from "../proto/mod.ts";
import { cocos, fakeAgent, inFolder } from "./_fakes.ts";

const ca = await makeCertificate({ commonName: "authority" });
const other = await makeCertificate({ commonName: "other authority" });
const own = await makeCertificate({ commonName: "agent", names: ["127.0.0.1"], issuer: ca });
const client = await makeCertificate({ commonName: "party", issuer: ca });
const pair = await generateKeys("ed25519");

async function withFiles(work: (dir: string) => Promise<void>): Promise<void> {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/k.pem`, pair.privatePem);
    await Deno.writeTextFile(`${dir}/ca.pem`, ca.cert);
    await Deno.writeTextFile(`${dir}/other.pem`, other.cert);
    await Deno.writeTextFile(`${dir}/client.pem`, client.cert);
    await Deno.writeTextFile(`${dir}/client.key`, client.key);
    await work(dir);
  });
}

Deno.test("cocos says with which protection it is connected", async () => {
  await withFiles(async (dir) => {
    const tls = { AGENT_GRPC_SERVER_CA_CERTS: `${dir}/ca.pem` };
    const mtls = {
      ...tls,
      AGENT_GRPC_CLIENT_CERT: `${dir}/client.pem`,
      AGENT_GRPC_CLIENT_KEY: `${dir}/client.key`,
    };
    for (
      const [server, env, words] of [
        [own, tls, "with TLS"],
        [{ ...own, clientCa: ca.cert }, mtls, "with mTLS"],
      ] as const
    ) {
      await using agent = await fakeAgent({}, server);
      const { exit, err } = await cocos(["--compat", "algo", `${dir}/k.pem`, `${dir}/k.pem`], {
        env: { ...env, AGENT_GRPC_URL: agent.url },
      });
      assert.equal(exit, Exit.OK, err);
      assert.ok(err.startsWith(`Connected to agent  ${words}\n`), err);
      assert.equal(agent.uploads.length, 1);
    }
  });
});

Deno.test("A-17 cocos sends nothing to a server it can't verify, or that wants a certificate", async () => {
  await withFiles(async (dir) => {
    const cases = [
      [own, { AGENT_GRPC_SERVER_CA_CERTS: `${dir}/other.pem` }],
      [own, {}],
      [undefined, { AGENT_GRPC_SERVER_CA_CERTS: `${dir}/ca.pem` }],
      [{ ...own, clientCa: ca.cert }, { AGENT_GRPC_SERVER_CA_CERTS: `${dir}/ca.pem` }],
    ] as const;
    for (const [server, env] of cases) {
      await using agent = await fakeAgent({}, server);
      const { exit, err } = await cocos(["--compat", "algo", `${dir}/k.pem`, `${dir}/k.pem`], {
        env: { ...env, AGENT_GRPC_URL: agent.url, AGENT_GRPC_TIMEOUT: "5s" },
      });
      assert.equal(exit, Exit.FAILURE, err);
      assert.match(err, /^hint: Nothing answered at /m);
      assert.equal(/AGENT_GRPC_SERVER_CA_CERTS\.$/m.test(err), Object.keys(env).length > 0);
      assert.deepEqual(agent.uploads, []);
    }
  });
});
