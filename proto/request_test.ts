import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey } from "node:crypto";
import fc from "fast-check";
import {
  generateKeys,
  KEY_KINDS,
  readPrivateKey,
  readPublicKey,
  readPublicKeyPem,
} from "./auth.ts";
import { receiveRequest, REQUEST_KEY, type SignedRequest, signRequest } from "./request.ts";
import type { Headers } from "./rpc.ts";

const REQUEST: SignedRequest = {
  method: "/agent.AgentService/Data",
  computation: "c-1",
  manifest: "11".repeat(32),
  item: "dataset:x.csv",
  payload: "22".repeat(32),
  size: 1234,
  challenge: "33".repeat(32),
  channel: "",
  lifetime: 60,
};

/** Metadata as an agent gets it. */
function headers(values: Record<string, string | string[]>): Headers {
  return { get: (key) => [values[key] ?? []].flat() };
}

/** The key of RFC 8032 §7.1, test 1. */
function testKey() {
  const seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
  const der = Buffer.from(`302e020100300506032b657004220420${seed}`, "hex");
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return { priv: { kind: "ed25519", key } as const, pub: readPublicKey(new Uint8Array(spki)) };
}

Deno.test("signRequest() makes the vector of docs/protocol.md", () => {
  const { priv, pub } = testKey();
  const made = signRequest(REQUEST, priv);
  assert.equal(
    atob(made[REQUEST_KEY] as string),
    `{"challenge":"${"33".repeat(32)}","channel":"","computation":"c-1","item":"dataset:x.csv",` +
      `"lifetime":60,"manifest":"${"11".repeat(32)}","method":"/agent.AgentService/Data",` +
      `"payload":"${"22".repeat(32)}","size":1234,"version":1}`,
  );
  assert.equal(
    made["signature"],
    "5r5ITBne2h/27SO4W7uSDZ6Cjx4nb4YPOrILCCHOolreqHt1VzDQAUR8ZKTxvo6vxqdGIdQf1+MM2ln9MlYODQ==",
  );
  assert.equal(receiveRequest(headers(made)).isSignedBy(pub), true);
});

Deno.test("receiveRequest() reads what signRequest() makes; only the signer's key fits", async () => {
  const pairs = await Promise.all(KEY_KINDS.map((kind) => generateKeys(kind)));
  const keys = pairs.map(({ publicPem }) => readPublicKey(readPublicKeyPem(publicPem)));
  for (const [i, { privatePem }] of pairs.entries()) {
    const got = receiveRequest(headers(signRequest(REQUEST, readPrivateKey(privatePem))));
    assert.deepEqual({ ...got.request }, REQUEST);
    assert.deepEqual(keys.map((key) => got.isSignedBy(key)), keys.map((_, j) => i === j));
  }
});

Deno.test("G-2 a signature fits no other method, computation, manifest, item, payload or challenge", () => {
  const { priv, pub } = testKey();
  const made = signRequest(REQUEST, priv);
  const others: Partial<SignedRequest>[] = [
    { method: "/agent.AgentService/Algo" },
    { computation: "c-2" },
    { manifest: "12".repeat(32) },
    { item: "dataset:y.csv" },
    { payload: "23".repeat(32) },
    { size: 1235 },
    { challenge: "34".repeat(32) },
    { channel: "00" },
    { lifetime: 61 },
  ];
  for (const other of others) {
    const forged = signRequest({ ...REQUEST, ...other }, priv)[REQUEST_KEY] as string;
    const got = receiveRequest(headers({ ...made, [REQUEST_KEY]: forged }));
    assert.equal(got.isSignedBy(pub), false, JSON.stringify(other));
  }
});

Deno.test("G-1 receiveRequest() refuses missing, repeated and misspelt structures", () => {
  const { priv } = testKey();
  const made = signRequest(REQUEST, priv);
  const signature = made["signature"] as string;
  const structure = made[REQUEST_KEY] as string;
  const respelt = (text: string) => ({ ...made, [REQUEST_KEY]: btoa(text) });
  const json = atob(structure);
  const cases: Record<string, string | string[]>[] = [
    {},
    { signature },
    { [REQUEST_KEY]: structure },
    { ...made, signature: [signature, signature] },
    { ...made, [REQUEST_KEY]: [structure, structure] },
    { ...made, signature: `${signature}!` },
    { ...made, [REQUEST_KEY]: `${structure}\n` },
    { ...made, [REQUEST_KEY]: "A".repeat(5_000) },
    respelt(""),
    respelt("null"),
    respelt("[]"),
    respelt(` ${json}`),
    respelt(json.replace('"version":1', '"version":2')),
    respelt(json.replace('"version":1', '"version":1,"x":1')),
    respelt(json.replace('"size":1234', '"size":1234.0')),
    respelt(json.replace('"size":1234', '"size":-1')),
    respelt(json.replace('"size":1234', '"size":12,"size":1234')),
    respelt(json.replace("33", "3G")),
    respelt(json.replace('"channel":"",', "")),
    respelt(json.replace("c-1", "\\u0063-1")),
  ];
  for (const each of cases) {
    assert.throws(() => receiveRequest(headers(each)), {
      name: "CocosError",
      code: "unauthenticated",
    }, JSON.stringify(each));
  }
});

Deno.test("receiveRequest() ends any metadata with a request or an unauthenticated error", () => {
  const text = fc.oneof(
    fc.string(),
    fc.base64String(),
    fc.json().map((json) => btoa(encodeURI(json))),
  );
  fc.assert(
    fc.property(text, text, (structure, signature) => {
      assert.throws(() => receiveRequest(headers({ [REQUEST_KEY]: structure, signature })), {
        code: "unauthenticated",
      });
    }),
    { numRuns: 2_000 },
  );
});
