import assert from "node:assert/strict";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { hex } from "../base/mod.ts";
import { agreementDigest, canonicalManifest, digestOfCanonical } from "./agreement.ts";
import { type ComputationRunReq, ComputationRunReqSchema } from "./gen/cvms_pb.ts";

/** A manifest with every field set. */
function full(): ComputationRunReq {
  return create(ComputationRunReqSchema, {
    id: "c-1",
    name: "n",
    description: "d",
    algorithm: {
      hash: new Uint8Array(32).fill(1),
      userKey: new Uint8Array([2]),
      type: "python",
      args: ["a", "b"],
      runtime: "python3",
      requirementsHash: new Uint8Array(32).fill(3),
      size: 4n,
    },
    datasets: [{
      hash: new Uint8Array(32).fill(5),
      userKey: new Uint8Array([6]),
      filename: "x.csv",
      size: 7n,
      decompress: true,
    }],
    resultConsumers: [{ userKey: new Uint8Array([8]) }],
    agentConfig: {
      port: "7002",
      certFile: "c",
      keyFile: "k",
      clientCaFile: "i",
      serverCaFile: "j",
      logLevel: "debug",
      attestedTls: true,
    },
    limits: {
      wallSeconds: 9n,
      memoryBytes: 10n,
      processes: 11n,
      diskBytes: 12n,
      logBytes: 13n,
    },
    logReaders: ["consumers"],
    egress: ["index:443"],
    channel: "tls",
  });
}

const ONES = "01".repeat(32);
const TEXT = `{"agentConfig":{"attestedTls":true,"port":"7002"},"algorithm":{"args":["a","b"],` +
  `"hash":"${ONES}","requirementsHash":"${"03".repeat(32)}","runtime":"python3","size":4,` +
  `"type":"python","userKey":"Ag=="},"channel":"tls","datasets":[{"decompress":true,` +
  `"filename":"x.csv","hash":"${"05".repeat(32)}","size":7,"userKey":"Bg=="}],"description":"d",` +
  `"egress":["index:443"],"id":"c-1","limits":{"diskBytes":12,"logBytes":13,"memoryBytes":10,` +
  `"processes":11,"wallSeconds":9},"logReaders":["consumers"],"name":"n",` +
  `"resultConsumers":[{"userKey":"CA=="}],"version":1}`;

Deno.test("canonicalManifest() is the text of docs/protocol.md", () => {
  assert.equal(canonicalManifest(full()), TEXT);
  const digest = agreementDigest(full());
  assert.equal(hex(digest), hex(digestOfCanonical(new TextEncoder().encode(TEXT))));
  assert.equal(
    hex(digest),
    "fa2bb615ada8c9a79c9fde7675e21742d05f7a780d080f05c6fd74fbb288aff3",
  );
});

Deno.test("M-11 agreementDigest() changes with every field that changes a run", () => {
  const changes: ((manifest: ComputationRunReq) => void)[] = [
    (m) => m.id = "c-2",
    (m) => m.name = "o",
    (m) => m.description = "e",
    (m) => (m.algorithm as { hash: Uint8Array }).hash = new Uint8Array(32),
    (m) => (m.algorithm as { userKey: Uint8Array }).userKey = new Uint8Array(),
    (m) => (m.algorithm as { type: string }).type = "bin",
    (m) => (m.algorithm as { args: string[] }).args = ["ab"],
    (m) => (m.algorithm as { args: string[] }).args = ["b", "a"],
    (m) => (m.algorithm as { runtime: string }).runtime = "",
    (m) => (m.algorithm as { requirementsHash: Uint8Array }).requirementsHash = new Uint8Array(),
    (m) => (m.algorithm as { size: bigint }).size = 5n,
    (m) => m.datasets = [],
    (m) => m.datasets.push(m.datasets[0] as never),
    (m) => (m.datasets[0] as { hash: Uint8Array }).hash = new Uint8Array(32),
    (m) => (m.datasets[0] as { userKey: Uint8Array }).userKey = new Uint8Array(),
    (m) => (m.datasets[0] as { filename: string }).filename = "y.csv",
    (m) => (m.datasets[0] as { size: bigint }).size = 8n,
    (m) => (m.datasets[0] as { decompress: boolean }).decompress = false,
    (m) => m.resultConsumers = [],
    (m) => (m.resultConsumers[0] as { userKey: Uint8Array }).userKey = new Uint8Array(),
    (m) => (m.agentConfig as { port: string }).port = "7003",
    (m) => (m.agentConfig as { attestedTls: boolean }).attestedTls = false,
    (m) => (m.limits as { wallSeconds: bigint }).wallSeconds = 0n,
    (m) => (m.limits as { memoryBytes: bigint }).memoryBytes = 0n,
    (m) => (m.limits as { processes: bigint }).processes = 0n,
    (m) => (m.limits as { diskBytes: bigint }).diskBytes = 0n,
    (m) => (m.limits as { logBytes: bigint }).logBytes = 0n,
    (m) => m.logReaders = [],
    (m) => m.egress = [],
    (m) => m.channel = "insecure",
  ];
  const digests = changes.map((change) => {
    const manifest = full();
    change(manifest);
    return hex(agreementDigest(manifest));
  });
  assert.equal(new Set([hex(agreementDigest(full())), ...digests]).size, changes.length + 1);
});

Deno.test("agreementDigest() leaves out what only identifies the front door", () => {
  const manifest = full();
  Object.assign(manifest.agentConfig as object, {
    certFile: "",
    keyFile: "",
    clientCaFile: "",
    serverCaFile: "",
    logLevel: "",
  });
  assert.deepEqual(agreementDigest(manifest), agreementDigest(full()));
});

Deno.test("M-6 canonicalManifest() refuses fields nobody knows and numbers nobody can write", () => {
  const unknown = new Uint8Array([...toBinary(ComputationRunReqSchema, full()), 0xc2, 0x3e, 0]);
  assert.throws(() => canonicalManifest(fromBinary(ComputationRunReqSchema, unknown)), {
    code: "invalid-manifest",
    message: "manifest has a field nobody here knows: number 1000",
  });
  const large = full();
  (large.algorithm as { size: bigint }).size = 2n ** 60n;
  assert.throws(() => canonicalManifest(large), { code: "invalid-manifest" });
});
