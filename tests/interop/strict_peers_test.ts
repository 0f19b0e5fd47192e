// The strict mode with other implementations: vectors made by Python's json and hashlib and by OpenSSL,
// the page that shows them, and a party in Go that was written from the page alone.
import assert from "node:assert/strict";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  agreementDigest,
  cvms,
  digestOfCanonical,
  type Headers,
  KEY_KINDS,
  type KeyKind,
  readPrivateKey,
  readPublicKey,
  readPublicKeyPem,
  receiveRequest,
  REQUEST_KEY,
  SIGNATURE_KEY,
  signRequest,
} from "../../proto/mod.ts";
import { Management, startStrictAgent } from "../_agent.ts";
import { freePort, House } from "../_house.ts";
import { digest, party } from "../_parties.ts";
import { buildGo } from "./_go.ts";

type Manifest = MessageInitShape<typeof cvms.ComputationRunReqSchema>;

interface Vectors {
  readonly manifests: readonly { readonly canonical: string; readonly digest: string }[];
  readonly requests: readonly {
    readonly kind: KeyKind;
    readonly canonical: string;
    readonly [REQUEST_KEY]: string;
    readonly [SIGNATURE_KEY]: string;
  }[];
}

async function file(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, import.meta.url));
}

const vectors: Vectors = JSON.parse(await file("testdata/strict.json"));
const keys: { kind: KeyKind; private: string; public: string }[] = JSON.parse(
  await file("testdata/keys.json"),
);

Deno.test("strict: digests of manifests are those of Python, escapes and all", () => {
  assert.equal(vectors.manifests.length, 2);
  for (const { canonical, digest } of vectors.manifests) {
    assert.equal(digestOfCanonical(new TextEncoder().encode(canonical)).toHex(), digest);
    // And the text is what we make of the same manifest.
    const value = JSON.parse(canonical);
    const message = create(cvms.ComputationRunReqSchema, {
      ...value,
      algorithm: {
        ...value.algorithm,
        hash: Uint8Array.fromHex(value.algorithm.hash),
        userKey: Uint8Array.fromBase64(value.algorithm.userKey),
        requirementsHash: Uint8Array.fromHex(value.algorithm.requirementsHash),
        size: BigInt(value.algorithm.size),
      },
      datasets: value.datasets.map((each: Record<string, string>) => ({
        ...each,
        hash: Uint8Array.fromHex(each.hash as string),
        userKey: Uint8Array.fromBase64(each.userKey as string),
        size: BigInt(each.size as string),
      })),
      resultConsumers: value.resultConsumers.map(({ userKey }: { userKey: string }) => ({
        userKey: Uint8Array.fromBase64(userKey),
      })),
      limits: Object.fromEntries(
        Object.entries(value.limits).map(([name, limit]) => [name, BigInt(limit as number)]),
      ),
    } as Manifest);
    assert.equal(agreementDigest(message).toHex(), digest);
  }
});

Deno.test("strict: requests signed by OpenSSL are ours, for every kind of key", () => {
  assert.deepEqual(vectors.requests.map(({ kind }) => kind).sort(), [...KEY_KINDS].sort());
  for (const vector of vectors.requests) {
    const pair = keys.find(({ kind }) => kind === vector.kind) ?? assert.fail();
    const headers: Headers = { get: (key) => [vector[key as typeof REQUEST_KEY]] };
    const { request, isSignedBy } = receiveRequest(headers);
    for (const { kind, public: pem } of keys) {
      assert.equal(isSignedBy(readPublicKey(readPublicKeyPem(pem))), kind === vector.kind);
    }
    const ours = signRequest(request, readPrivateKey(pair.private));
    assert.equal(ours[REQUEST_KEY], vector[REQUEST_KEY]);
    assert.equal(atob(vector[REQUEST_KEY]), vector.canonical);
    // ECDSA draws a random number; the other two have one signature per text.
    if (vector.kind !== "ecdsa") assert.equal(ours[SIGNATURE_KEY], vector[SIGNATURE_KEY]);
  }
});

Deno.test("strict: docs/protocol.md shows these vectors", async () => {
  const page = await file("../../docs/protocol.md");
  const [first] = vectors.manifests;
  const ed25519 = vectors.requests.find(({ kind }) => kind === "ed25519");
  const shown = [first?.canonical, first?.digest, ed25519?.canonical, ed25519?.[SIGNATURE_KEY]];
  for (const text of shown) assert.ok(text !== undefined && page.includes(text), text);
});

const PROGRAM = '#!/bin/sh\ncat datasets/* >results/all\necho "$1" >results/arg\n';
const ID = "0f8fad5b-d9cb-469f-a165-70867728950e";

Deno.test("strict: Go parties written from the page take our agent through computations, plain and pinned (M-7, M-9)", async () => {
  const go = await buildGo("gopeer", ".");
  if ("missing" in go) return console.log(`skipped: Go peer: ${go.missing}`);
  await using house = await House.open("strict-peers");
  await house.write("algo.sh", PROGRAM);
  const content = new Uint8Array((1 << 20) + 9).fill(0x42);
  await house.write("set.bin", content);
  await using management = await Management.start();
  const port = freePort();
  startStrictAgent(house, management.port, port);
  await management.until("event Idle");

  for (const [round, kind] of KEY_KINDS.entries()) {
    const owner = await party(house, `owner-${kind}`, kind);
    const other = await party(house, `other-${kind}`, "ecdsa");
    const spki = async (path: string) =>
      new Uint8Array(readPublicKeyPem(await Deno.readTextFile(path)));
    const channel = round === 0 ? "insecure" : "tls";
    const manifest: Manifest = {
      id: ID,
      name: `with ${kind}`,
      algorithm: {
        hash: Uint8Array.fromHex(digest(PROGRAM)),
        userKey: await spki(owner.publicFile),
        type: "bin",
        args: ["--über"],
        size: BigInt(new TextEncoder().encode(PROGRAM).length),
      },
      datasets: [{
        hash: Uint8Array.fromHex(digest(content)),
        userKey: await spki(other.publicFile),
        filename: "set.bin",
        size: BigInt(content.length),
      }],
      resultConsumers: [{ userKey: await spki(owner.publicFile) }],
      agentConfig: { port: String(port) },
      channel,
    };
    management.give(manifest);
    const accepted = await management.until(`runRes ${ID} `, round + 1);
    const doorKey = accepted.replace(`runRes ${ID} `, "");
    assert.match(doorKey, channel === "tls" ? /^[0-9a-f]{64}$/ : /^$/);
    const agreed = agreementDigest(create(cvms.ComputationRunReqSchema, manifest)).toHex();
    const call = async (command: string, ...args: string[]) => {
      const { stdout } = await house.runAt(go.path, [
        ...[command, "-addr", `127.0.0.1:${port}`, "-digest", agreed],
        ...(channel === "tls" ? ["-pin", doorKey] : []),
        ...args,
      ]);
      return JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "null");
    };
    const algorithm = ["-private", owner.privateFile, "-file", "algo.sh"];
    const refused = async (text: RegExp, ...args: Parameters<typeof call>) =>
      assert.match((await call(...args)).message, text);
    await refused(/manifest has the digest/, "strict-algo", ...algorithm, "-digest", "00");
    if (channel === "tls") {
      await refused(/another key than/, "strict-algo", ...algorithm, "-pin", "11".repeat(32));
    }
    await refused(
      /another party/,
      "strict-algo",
      "-private",
      other.privateFile,
      "-file",
      "algo.sh",
    );
    await refused(/exactly one cocos-request/, "algo", ...algorithm);
    assert.equal((await call("strict-algo", ...algorithm)).ok, true);
    await management.until("event ReceivingData/InProgress", round + 1);
    const data = ["-file", "set.bin", "-filename", "set.bin"];
    const sent = await call("strict-data", "-private", other.privateFile, ...data);
    assert.equal(sent.ok, true);
    await management.until("event ConsumingResults/Ready", round + 1);
    const out = house.path(`results-${kind}.zip`);
    const got = await call("strict-result", "-private", owner.privateFile, "-out", out);
    assert.deepEqual([got.ok, got.announced], [true, true]);
    await management.until("event Complete/Completed", round + 1);
    const archive = await Deno.readFile(out);
    assert.equal(archive.length, got.size);
    assert.ok(new TextDecoder("latin1").decode(archive).includes("BBBB"));
    management.stop(ID);
    await management.until(`stopped ${ID}`, round + 1);
  }
});
