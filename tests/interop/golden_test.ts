// Golden bytes of the wire that don't need a process: messages written from the field numbers of the
// Cocos .proto files by an encoder of another language, key files and signatures made by OpenSSL.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import {
  type DescMessage,
  type DescService,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import * as proto from "../../proto/mod.ts";

interface Vector {
  readonly type: string;
  readonly json: JsonValue;
  readonly hex: readonly (readonly [string, string])[];
}

async function testdata<T>(name: string): Promise<T> {
  return JSON.parse(await Deno.readTextFile(new URL(`testdata/${name}`, import.meta.url)));
}

/** Every schema proto/ exports, by the protobuf type name. */
const SCHEMAS = new Map<string, DescMessage>();
const SERVICES = new Map<string, DescService>();
for (
  const each of [
    ...Object.values(proto),
    ...Object.values(proto.cvms),
    ...Object.values(proto.events),
  ] as { kind?: string; typeName?: string }[]
) {
  if (each.kind === "message") SCHEMAS.set(each.typeName as string, each as DescMessage);
  if (each.kind === "service") SERVICES.set(each.typeName as string, each as DescService);
}

function bytesOf(hex: Vector["hex"]): Uint8Array {
  return Uint8Array.fromHex(hex.map(([bytes]) => bytes.replaceAll(" ", "")).join(""));
}

const vectors = await testdata<Vector[]>("messages.json");

Deno.test("wire.md §1 every message of the Go peers has its golden bytes, both ways", () => {
  for (const { type, json, hex } of vectors) {
    const golden = bytesOf(hex);
    const schema = SCHEMAS.get(type);
    if (schema === undefined) {
      // The health service is private to proto/; exchange_test.ts sees its bytes on a connection.
      assert.match(type, /^grpc\.health\./);
      continue;
    }
    const message = fromJson(schema, json);
    assert.equal(toBinary(schema, message).toHex(), golden.toHex(), type);
    assert.deepEqual(toJson(schema, fromBinary(schema, golden)), toJson(schema, message), type);
  }
});

Deno.test("wire.md §1 no field of a message is without a golden vector", () => {
  const seen = new Map<string, Set<string>>();
  const visit = (schema: DescMessage, json: JsonValue) => {
    const fields = seen.get(schema.typeName) ?? new Set<string>();
    seen.set(schema.typeName, fields);
    for (const [name, value] of Object.entries(json as Record<string, JsonValue>)) {
      const field = schema.fields.find(({ jsonName }) => jsonName === name);
      assert.ok(field !== undefined, `${schema.typeName} has no ${name}`);
      fields.add(name);
      if (field.message === undefined || field.message.typeName.startsWith("google.")) continue;
      for (const each of Array.isArray(value) ? value : [value]) visit(field.message, each);
    }
  };
  for (const { type, json } of vectors) {
    const schema = SCHEMAS.get(type);
    if (schema !== undefined) visit(schema, json);
  }
  // What the Go peers know: their services' messages, reached by field numbers below 100.
  const theirs = new Map<string, DescMessage>();
  const reach = (schema: DescMessage) => {
    if (schema.typeName.startsWith("google.") || theirs.has(schema.typeName)) return;
    theirs.set(schema.typeName, schema);
    for (const field of schema.fields) {
      if (field.number < 100 && field.message !== undefined) reach(field.message);
    }
  };
  for (const { typeName, methods } of SERVICES.values()) {
    if (!/^(agent|cvms|manager)\./.test(typeName)) continue;
    methods.forEach(({ input, output }) => [input, output].forEach(reach));
  }
  reach(proto.events.EventsLogsSchema);
  const missing = [...theirs.values()].flatMap(({ typeName, fields }) =>
    fields.filter(({ jsonName, number }) => number < 100 && !seen.get(typeName)?.has(jsonName))
      .map(({ name }) => `${typeName}.${name}`)
  );
  // The agent never fills `details`, and no peer reads it.
  assert.deepEqual(missing.sort(), ["cvms.AgentEvent.details", "events.AgentEvent.details"]);
});

/** Path, request, response, kind: the tables of wire.md §1.1–1.3. */
const METHODS = [
  "/agent.AgentService/Algo agent.AlgoRequest agent.AlgoResponse client_streaming",
  "/agent.AgentService/Data agent.DataRequest agent.DataResponse client_streaming",
  "/agent.AgentService/Result agent.ResultRequest agent.ResultResponse server_streaming",
  "/agent.AgentService/Attestation agent.AttestationRequest agent.AttestationResponse server_streaming",
  "/agent.AgentService/IMAMeasurements agent.IMAMeasurementsRequest agent.IMAMeasurementsResponse server_streaming",
  "/agent.AgentService/AzureAttestationToken agent.AttestationTokenRequest agent.AttestationTokenResponse unary",
  "/cvms.Service/Process cvms.ClientStreamMessage cvms.ServerStreamMessage bidi_streaming",
  "/manager.ManagerService/CreateVm manager.CreateReq manager.CreateRes unary",
  "/manager.ManagerService/RemoveVm manager.RemoveReq google.protobuf.Empty unary",
  "/manager.ManagerService/CVMInfo manager.CVMInfoReq manager.CVMInfoRes unary",
  "/manager.ManagerService/AttestationPolicy manager.AttestationPolicyReq manager.AttestationPolicyRes unary",
];

Deno.test("wire.md §1 the methods of the Cocos services are exactly the Go peers'", () => {
  const ours = [...SERVICES.values()]
    .filter(({ typeName }) => /^(agent|cvms|manager)\./.test(typeName))
    .flatMap(({ methods }) =>
      methods.map((method) =>
        [proto.pathOf(method), method.input.typeName, method.output.typeName, method.methodKind]
          .join(" ")
      )
    );
  assert.deepEqual(ours.sort(), [...METHODS].sort());
});

interface KeyVector {
  readonly kind: proto.KeyKind;
  readonly private: string;
  readonly public: string;
  readonly signatures: Record<proto.Role, string>;
}

const keys = await testdata<KeyVector[]>("keys.json");

Deno.test("wire.md §2 signatures of OpenSSL are ours, for every kind of key and role", async (t) => {
  assert.deepEqual(keys.map(({ kind }) => kind).sort(), [...proto.KEY_KINDS].sort());
  for (const { kind, private: privatePem, public: publicPem, signatures } of keys) {
    await t.step(kind, () => {
      const key = proto.readPrivateKey(privatePem);
      const spki = proto.readPublicKeyPem(publicPem);
      const publicKey = proto.readPublicKey(spki);
      assert.equal(key.kind, kind);
      for (const [role, signature] of Object.entries(signatures) as [proto.Role, string][]) {
        assert.equal(proto.verifyRole(role, signature, publicKey), true, role);
        const ours = proto.signRole(role, key);
        assert.equal(proto.verifyRole(role, ours, publicKey), true, role);
        // ECDSA draws a random number; the other two have one signature per text.
        if (kind !== "ecdsa") assert.equal(ours, signature, role);
        for (const other of Object.values(proto.ROLES)) {
          assert.equal(proto.verifyRole(other, signature, publicKey), other === role, other);
        }
      }
    });
  }
});

Deno.test("wire.md §2.1 a made key pair has the Go CLI's labels and bodies", async (t) => {
  const labels: Record<proto.KeyKind, [string, RegExp]> = {
    // RSAPrivateKey ::= SEQUENCE { version 0, modulus, publicExponent 65537 … }: PKCS#1 although
    // the label says PKCS#8.
    rsa: ["PRIVATE KEY", /^3082....0201000282020100[0-9a-f]{1024}0203010001/],
    // ECPrivateKey ::= SEQUENCE { version 1, 32 bytes, [0] prime256v1 … }
    ecdsa: ["EC PRIVATE KEY", /^30770201010420[0-9a-f]{64}a00a06082a8648ce3d030107/],
    // PrivateKeyInfo ::= SEQUENCE { version 0, { 1.3.101.112 }, 32 bytes }
    ed25519: ["PRIVATE KEY", /^302e020100300506032b657004220420[0-9a-f]{64}$/],
  };
  for (const kind of proto.KEY_KINDS) {
    await t.step(kind, async () => {
      const { privatePem, publicPem } = await proto.generateKeys(kind);
      const [label, body] = labels[kind];
      const lines = privatePem.trimEnd().split("\n");
      assert.equal(lines[0], `-----BEGIN ${label}-----`);
      assert.equal(lines.at(-1), `-----END ${label}-----`);
      const der = Uint8Array.fromBase64(lines.slice(1, -1).join("")).toHex();
      assert.match(der, body);
      assert.match(publicPem, /^-----BEGIN PUBLIC KEY-----\n[\s\S]+-----END PUBLIC KEY-----\n$/);
    });
  }
});

Deno.test("wire.md §2.1 keys are read under the labels and from the bodies a Go CLI reads", () => {
  const kinds = [
    ["rsa", generateKeyPairSync("rsa", { modulusLength: 2048 }), "pkcs1"],
    ["rsa", generateKeyPairSync("rsa", { modulusLength: 3072 }), "pkcs1"],
    ["ecdsa", generateKeyPairSync("ec", { namedCurve: "P-256" }), "sec1"],
    ["ecdsa", generateKeyPairSync("ec", { namedCurve: "P-384" }), "sec1"],
    ["ed25519", generateKeyPairSync("ed25519"), "pkcs8"],
  ] as const;
  const labelled = (pem: string, label: string) =>
    pem.replaceAll(/(BEGIN|END) [A-Z ]+(?=-----)/g, `$1 ${label}`);
  for (const [kind, { privateKey, publicKey }, own] of kinds) {
    const pem = (type: string) =>
      String(privateKey.export({ type: type as "pkcs8", format: "pem" }));
    // `PRIVATE KEY`: PKCS#8 first, then PKCS#1; `EC PRIVATE KEY`: SEC 1.
    const read = [labelled(pem("pkcs8"), "PRIVATE KEY")];
    if (own === "pkcs1") read.push(labelled(pem("pkcs1"), "PRIVATE KEY"));
    if (own === "sec1") read.push(pem("sec1"));
    const spki = proto.readPublicKey(
      proto.readPublicKeyPem(String(publicKey.export({ type: "spki", format: "pem" }))),
    );
    for (const text of read) {
      const key = proto.readPrivateKey(text);
      assert.equal(key.kind, kind);
      const signature = proto.signRole(proto.ROLES.data, key);
      assert.equal(proto.verifyRole(proto.ROLES.data, signature, spki), true, kind);
    }
    for (const label of ["ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY", "PUBLIC KEY"]) {
      assert.throws(
        () => proto.readPrivateKey(labelled(pem("pkcs8"), label)),
        /^CocosError: error decoding key/,
      );
    }
  }
});
