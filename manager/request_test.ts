// A caller's fields: what is taken, and that nothing taken can leave its line in the guest's file.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { CocosError } from "../base/mod.ts";
import { emptyRequest, request } from "./_testbed.ts";
import { type CreateFields, environmentText, MAX_PEM_BYTES, readRequest } from "./request.ts";

const ID = "e71cdcf5-21c0-4e1d-9471-ac6b4389d5f3";
const bytes = (text: string) => new TextEncoder().encode(text);
const pem = (label: string, body = "AAAA") =>
  bytes(`-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`);
const read = (fields: Partial<CreateFields>) => request(fields);

Deno.test("environmentText() has the keys of wire.md §8.2, and paths only of what was given", () => {
  assert.equal(
    environmentText(ID, read({ agentLogLevel: "debug", agentCvmServerUrl: "cvms.example:7001" })),
    `AGENT_LOG_LEVEL=debug\nAGENT_CVM_GRPC_URL=cvms.example:7001\nAGENT_CVM_ID=${ID}\n` +
      "AGENT_CERTS_TOKEN=\nAGENT_CVM_CA_URL=\n",
  );
  const whole = environmentText(
    ID,
    read({
      agentCvmClientCert: pem("CERTIFICATE"),
      agentCvmClientKey: pem("PRIVATE KEY"),
      agentCvmServerCaCert: pem("CERTIFICATE"),
      agentCvmCaUrl: "https://ca.example:9010/certs",
      agentCertsToken: "ey.J-x_~+/==",
    }),
  );
  for (
    const line of [
      "AGENT_CVM_GRPC_CLIENT_CERT=/etc/certs/cert.pem",
      "AGENT_CVM_GRPC_CLIENT_KEY=/etc/certs/key.pem",
      "AGENT_CVM_GRPC_SERVER_CA_CERTS=/etc/certs/ca.pem",
      "AGENT_CVM_CA_URL=https://ca.example:9010/certs",
      "AGENT_CERTS_TOKEN=ey.J-x_~+/==",
      "AGENT_LOG_LEVEL=info",
      "AGENT_CVM_GRPC_URL=192.0.2.7:7001",
    ]
  ) assert.ok(whole.includes(`${line}\n`), line);
});

Deno.test("environmentText() rewrites every loopback server to the guest's gateway", () => {
  for (const host of ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"]) {
    const text = environmentText(ID, read({ agentCvmServerUrl: `${host}:7001` }));
    assert.match(text, /^AGENT_CVM_GRPC_URL=10\.0\.2\.2:7001$/m);
  }
});

const REFUSED: [keyof CreateFields, string | Uint8Array][] = [
  ["agentLogLevel", "loud"],
  ["agentCvmServerUrl", "http://a:1"],
  ["agentCvmServerUrl", "user@a:1"],
  ["agentCvmServerUrl", "a:1\nX=1"],
  ["agentCvmServerUrl", "a,b:1"],
  ["agentCvmServerUrl", "a:0"],
  ["agentCvmCaUrl", "ftp://a"],
  ["agentCvmCaUrl", "https://u:p@a/"],
  ["agentCvmCaUrl", "https://a/\n"],
  ["agentCvmCaUrl", "https://a/x?y=1"],
  ["agentCertsToken", "a b"],
  ["agentCertsToken", "a=b"],
  ["agentCertsToken", "a\u0000"],
  ["agentCertsToken", 'a"'],
  ["agentCertsToken", "a".repeat(8193)],
  ["agentCvmServerCaCert", bytes("not PEM")],
  ["agentCvmServerCaCert", pem("PRIVATE KEY")],
  ["agentCvmServerCaCert", pem("CERTIFICATE", "A")],
  [
    "agentCvmServerCaCert",
    bytes(new TextDecoder().decode(pem("CERTIFICATE")).repeat(MAX_PEM_BYTES / 32)),
  ],
  ["agentCvmServerCaCert", new Uint8Array(10 * 1024 * 1024)],
  ["agentCvmServerCaCert", bytes("-----BEGIN CERTIFICATE-----\nAAAA\n")],
  ["agentCvmServerCaCert", bytes("\u001b[2J" + new TextDecoder().decode(pem("CERTIFICATE")))],
];
for (const [field, value] of REFUSED) {
  const shown = typeof value === "string"
    ? JSON.stringify(value.slice(0, 20))
    : `${value.length} bytes`;
  Deno.test(`N-2 readRequest() refuses ${field} ${shown}, naming the field`, () => {
    assert.throws(() => read({ [field]: value }), (error: CocosError) => {
      assert.equal(error.code, "invalid-argument");
      const name = field.replaceAll(/[A-Z]/g, (each) => `_${each.toLowerCase()}`);
      assert.match(error.message, new RegExp(name));
      return true;
    });
  });
}

Deno.test("N-2 readRequest() wants client certificate and key together, an encrypted key not at all", () => {
  assert.throws(() => read({ agentCvmClientCert: pem("CERTIFICATE") }), /together/);
  assert.throws(
    () =>
      read({
        agentCvmClientCert: pem("CERTIFICATE"),
        agentCvmClientKey: pem("ENCRYPTED PRIVATE KEY"),
      }),
    /agent_cvm_client_key/,
  );
});

Deno.test("N-9 readRequest(): a TTL is checked before anything starts, with Go's text and status", () => {
  assert.equal(read({ ttl: "1h0m0s" }).ttlMs, 3_600_000);
  assert.equal(read({ ttl: "" }).ttlMs, undefined);
  for (const ttl of ["0", "0s", "-1s", "banana", "1000000000000h", "1", " 1s"]) {
    assert.throws(() => read({ ttl }), (error: CocosError) => {
      assert.match(error.message, /^time: invalid duration "/);
      assert.equal(error.status, 2);
      return true;
    });
  }
});

Deno.test("N-2 readRequest(): any text in any field is refused or comes back equal from the guest's file", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "\n",
      "\r",
      "\0",
      "=",
      ",",
      '"',
      "'",
      " ",
      "#",
      "localhost:7001",
      "https://a/b",
      "debug",
      "tok",
    ),
    fc.string({ unit: "grapheme", maxLength: 8 }),
  );
  const words = fc.array(piece, { maxLength: 4 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(
      words,
      words,
      words,
      words,
      (agentLogLevel, agentCvmServerUrl, agentCvmCaUrl, agentCertsToken) => {
        const fields = { agentLogLevel, agentCvmServerUrl, agentCvmCaUrl, agentCertsToken };
        for (const [field, value] of Object.entries(fields)) {
          let text: string;
          try {
            text = environmentText(
              ID,
              readRequest({ ...emptyRequest, [field]: value }, { host: "h.example", port: 1 }),
            );
          } catch (error) {
            assert.equal((error as CocosError).code, "invalid-argument");
            continue;
          }
          const lines = text.split("\n");
          assert.equal(lines.pop(), "");
          assert.equal(lines.length, 5);
          const found = Object.fromEntries(
            lines.map((
              each,
            ) => [each.slice(0, each.indexOf("=")), each.slice(each.indexOf("=") + 1)]),
          );
          if (field === "agentCertsToken") assert.equal(found["AGENT_CERTS_TOKEN"], value);
          if (field === "agentCvmCaUrl") assert.equal(found["AGENT_CVM_CA_URL"], value);
        }
      },
    ),
    { numRuns: 2000 },
  );
});
