import assert from "node:assert/strict";
import { makeCertificate } from "../channel/mod.ts";
import { checkCas, checkPair, readPemFile } from "./certificates.ts";
import { type AgentConfig, readCommand } from "./config.ts";
import { doorPort, doorTls } from "./door.ts";
import { management } from "./management.ts";

const ca = await makeCertificate({ commonName: "authority of the test" });
const leaf = await makeCertificate({ commonName: "leaf", names: ["localhost"], issuer: ca });
const other = await makeCertificate({ commonName: "other", names: ["localhost"], issuer: ca });

function config(argv: string[] = [], env: Record<string, string> = {}): AgentConfig {
  const command = readCommand(argv, (name) => env[name]);
  return (command as { config: AgentConfig }).config;
}

async function inFolder(use: (dir: string) => void): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const refused = (work: () => unknown, rule: RegExp, code = "invalid-config") =>
  assert.throws(work, (error: Error & { code?: string }) => {
    assert.equal(error.code, code);
    assert.match(error.message, rule);
    return true;
  });

Deno.test("H-3 checkPair() refuses what is no certificate, no key, another's key or a CA", () => {
  checkPair(leaf.cert, leaf.key, "cert");
  checkPair(leaf.cert + ca.cert, leaf.key, "cert");
  const bad: [string, string, RegExp][] = [
    ["", leaf.key, /no certificate/],
    ["not PEM", leaf.key, /text that is no certificate/],
    [leaf.cert + "garbage", leaf.key, /text that is no certificate/],
    [leaf.cert.replace(/^(.{80})./s, "$1*"), leaf.key, /text that is no certificate/],
    ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", leaf.key, /can't be read/],
    [leaf.cert.repeat(17), leaf.key, /at most 16/],
    [leaf.cert.repeat(200), leaf.key, /at most 65536 bytes/],
    [leaf.cert, "", /bad key/],
    [leaf.cert, leaf.cert, /bad key/],
    [leaf.cert, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", /bad key/],
    [leaf.cert, other.key, /do not belong together/],
    [ca.cert, ca.key, /no CA's certificate/],
  ];
  for (const [cert, key, rule] of bad) refused(() => checkPair(cert, key, "cert"), rule);
  checkCas(ca.cert, "ca");
  refused(() => checkCas("", "ca"), /no certificate/);
});

Deno.test("H-2 readPemFile() stays in its folder, follows no link and takes no large file", async () => {
  await inFolder((dir) => {
    Deno.mkdirSync(`${dir}/certs`);
    Deno.writeTextFileSync(`${dir}/secret`, "secret");
    Deno.writeTextFileSync(`${dir}/certs/cert.pem`, leaf.cert);
    Deno.writeTextFileSync(`${dir}/certs/big.pem`, "x".repeat(70_000));
    Deno.symlinkSync(`${dir}/secret`, `${dir}/certs/link.pem`);
    const certs = `${dir}/certs`;
    assert.equal(readPemFile(`${certs}/cert.pem`, certs), leaf.cert);
    assert.equal(readPemFile("/etc/certs/cert.pem", certs), leaf.cert);
    for (const name of ["link.pem", "big.pem", "absent.pem"]) {
      refused(() => readPemFile(`${certs}/${name}`, certs), /Cannot read/);
    }
    for (
      const path of [`${dir}/secret`, `${certs}/../secret`, "/etc/passwd", "cert.pem", `${certs}/`]
    ) {
      refused(() => readPemFile(path, certs), /must lie in/);
    }
  });
});

const door = {
  port: "",
  certFile: "",
  keyFile: "",
  clientCaFile: "",
  serverCaFile: "",
  attestedTls: false,
};

Deno.test("H-3 doorTls() never falls to a weaker mode than the manifest asks for", () => {
  assert.equal(doorTls(config(), door), undefined);
  const files = { certFile: leaf.cert, keyFile: leaf.key };
  assert.deepEqual(doorTls(config(), { ...door, ...files }), { cert: leaf.cert, key: leaf.key });
  assert.equal(doorTls(config(), { ...door, ...files, clientCaFile: ca.cert })?.clientCa, ca.cert);
  const invalid = "invalid-manifest";
  refused(
    () => doorTls(config(), { ...door, attestedTls: true }),
    /TEE device not found/,
    "not-supported",
  );
  refused(
    () => doorTls(config(), { ...door, certFile: leaf.cert }),
    /must be given together/,
    invalid,
  );
  refused(
    () => doorTls(config(), { ...door, clientCaFile: ca.cert }),
    /must be given together/,
    invalid,
  );
  refused(
    () => doorTls(config(), { ...door, ...files, keyFile: other.key }),
    /belong together/,
    invalid,
  );
  refused(
    () => doorTls(config(), { ...door, ...files, clientCaFile: "no\nca" }),
    /client_ca_file/,
    invalid,
  );
  refused(
    () => doorTls(config(), { ...door, certFile: "/c", keyFile: "/k" }),
    /must be PEM text/,
    invalid,
  );
  const certs = config(["--certs", "/nowhere"]);
  refused(
    () => doorTls(certs, { ...door, certFile: "/etc/shadow", keyFile: "/k" }),
    /must lie in/,
    invalid,
  );
});

Deno.test("doorPort(): AGENT_GRPC_PORT wins; else the manifest's port must be the granted one", () => {
  assert.equal(doorPort(config(), door), 7002);
  assert.equal(doorPort(config(), { ...door, port: "7002" }), 7002);
  for (const port of ["7003", "0", "x", "07002", " 7002"]) {
    refused(() => doorPort(config(), { ...door, port }), /must be 7002/, "invalid-manifest");
  }
  const set = config([], { AGENT_GRPC_PORT: "7100" });
  assert.equal(doorPort(set, { ...door, port: "9" }), 7100);
});

Deno.test("H-3 management() refuses bad certificates of the host instead of going without", async () => {
  await inFolder((dir) => {
    const write = (name: string, text: string) => {
      Deno.writeTextFileSync(`${dir}/${name}`, text);
      return `${dir}/${name}`;
    };
    const env = {
      AGENT_CVM_GRPC_CLIENT_CERT: write("cert", leaf.cert),
      AGENT_CVM_GRPC_CLIENT_KEY: write("key", leaf.key),
      AGENT_CVM_GRPC_SERVER_CA_CERTS: write("ca", ca.cert),
    };
    assert.equal(management(config()).text, "without TLS");
    assert.equal(management(config([], env)).text, "with mTLS");
    const { AGENT_CVM_GRPC_SERVER_CA_CERTS } = env;
    assert.equal(management(config([], { AGENT_CVM_GRPC_SERVER_CA_CERTS })).text, "with TLS");
    const bad = (change: Record<string, string>, rule: RegExp) =>
      refused(() => management(config([], { ...env, ...change })), rule);
    bad({ AGENT_CVM_GRPC_CLIENT_KEY: write("key2", other.key) }, /belong together/);
    bad({ AGENT_CVM_GRPC_SERVER_CA_CERTS: write("empty", "") }, /no certificate/);
    bad({ AGENT_CVM_GRPC_SERVER_CA_CERTS: `${dir}/absent` }, /no such file/);
  });
});
