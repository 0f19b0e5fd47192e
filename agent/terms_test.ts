// The strict manifest: what must be in it, field by field.
import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { CocosError, type ErrorCode } from "../base/mod.ts";
import { agreementDigest, canonicalManifest, cvms } from "../proto/mod.ts";
import { readManifest } from "./manifest.ts";
import { bytes, digest, manifestBytes, party, type Run } from "./_parties.ts";
import { ID, strictRun } from "./_strict.ts";

const [owner, other] = await Promise.all([party(), party("ecdsa")]);
const algorithm = bytes("#!/bin/sh\n");
const datasets = [{ data: bytes("a"), filename: "a.csv" }, { data: bytes("b"), owner: other }];

/** A good manifest with a change. */
function changed(change: (run: Run) => void): Run {
  const run = strictRun(owner, algorithm, datasets);
  change(run);
  return run;
}

const set = (part: "algorithm" | "limits" | "agentConfig", values: Record<string, unknown>) => {
  return (run: Run) => void (run[part] = { ...run[part] as object, ...values } as never);
};
const dataset = (index: number, values: Record<string, unknown>) => (run: Run) =>
  void Object.assign(run.datasets?.[index] as object, values);

/** What breaks a strict manifest, and the refusal's beginning. */
const TABLE: [string, (run: Run) => void, RegExp, ErrorCode?][] = [
  ["an id that is no UUID", (run) => run.id = "1", /id must be a UUID/],
  ["an upper-case id", (run) => run.id = ID.toUpperCase(), /id must be a UUID/],
  ["a climbing id", (run) => run.id = "../../etc/passwd", /id must be a UUID/],
  ["an id with a newline", (run) => run.id = `${ID}\n`, /id must be a UUID/],
  ["no type", set("algorithm", { type: "" }), /algorithm.type must be one of bin, python/],
  ["another type", set("algorithm", { type: "BIN" }), /algorithm.type must be one of/],
  ["no size", set("algorithm", { size: 0n }), /algorithm.size must be above 0/],
  ["a size past 2^53", set("algorithm", { size: 2n ** 60n }), /algorithm.size must be below 2\^53/],
  ["NUL in an argument", set("algorithm", { args: ["a\0"] }), /algorithm.args are too many/],
  ["a long argument", set("algorithm", { args: ["x".repeat(131_072)] }), /algorithm.args/],
  ["4,097 arguments", set("algorithm", { args: Array(4_097).fill("x") }), /algorithm.args/],
  ["a runtime of a binary", set("algorithm", { runtime: "python3" }), /runtime must be empty/],
  [
    "an interpreter by path",
    set("algorithm", { type: "python", runtime: "/tmp/python" }),
    /algorithm.runtime must be python3 or pyodide/,
  ],
  [
    "requirements of a binary",
    set("algorithm", { requirementsHash: digest(bytes("r")) }),
    /requirements_hash must be empty/,
  ],
  [
    "half a requirements digest",
    set("algorithm", { type: "python", requirementsHash: new Uint8Array(16) }),
    /requirements_hash must be a SHA3-256/,
  ],
  ["a dataset without name", dataset(0, { filename: "" }), /datasets\[0\].filename must be/],
  ["a dataset that climbs", dataset(0, { filename: "../algo" }), /datasets\[0\].filename must be/],
  ["a name not in NFC", dataset(0, { filename: "u\u0308.csv" }), /datasets\[0\].filename must be/],
  ["a look-alike name", dataset(0, { filename: "а.csv" }), /datasets\[0\].filename must be/],
  ["a name of 256 bytes", dataset(0, { filename: "a".repeat(256) }), /datasets\[0\].filename/],
  ["case twins", dataset(1, { filename: "A.CSV" }), /datasets\[1\].filename must differ/],
  ["a dataset without size", dataset(1, { size: 0n }), /datasets\[1\].size must be above 0/],
  [
    "the same consumer twice",
    (run) => run.resultConsumers = [{ userKey: owner.spki }, { userKey: owner.spki }],
    /result_consumers\[1\].userKey must differ/,
  ],
  ["no consumer", (run) => run.resultConsumers = [], /result_consumers must be/],
  ["no channel", (run) => run.channel = "", /channel must be there/],
  ["another channel", (run) => run.channel = "TLS", /channel must be one of/],
  ["an attested channel", (run) => run.channel = "attested", /can't offer/, "not-supported"],
  ["attested TLS", set("agentConfig", { attestedTls: true }), /can't offer/, "not-supported"],
  ["an unknown reader", (run) => run.logReaders = ["everybody"], /log_readers\[0\] must be one of/],
  ["a reader twice", (run) => run.logReaders = ["server", "server"], /log_readers must not/],
  ["egress of a binary", (run) => run.egress = ["pypi.org:443"], /egress must be empty/],
  ["a URL as egress", python((run) => run.egress = ["https://pypi.org"]), /egress\[0\] must be/],
  ["an egress twice", python((run) => run.egress = ["a.b:1", "a.b:1"]), /egress must not/],
  [
    "17 egress entries",
    python((run) => run.egress = Array.from({ length: 17 }, (_, i) => `a.b:${i + 1}`)),
    /egress must be at most 16/,
  ],
  ["a second too many", set("limits", { wallSeconds: 20n * 86_400n + 1n }), /limits.wall_seconds/],
  ["no memory to speak of", set("limits", { memoryBytes: 1n }), /limits.memory_bytes must be 0 or/],
  ["2^64 bytes", set("limits", { diskBytes: 2n ** 64n - 1n }), /limits.disk_bytes must be 0 or/],
  ["three processes", set("limits", { processes: 3n }), /limits.processes must be 0 or 4 to/],
  ["too much log", set("limits", { logBytes: 2n ** 50n }), /limits.log_bytes must be 0 or/],
];

/** A change of a manifest that has requirements. */
function python(change: (run: Run) => void): (run: Run) => void {
  return (run) => {
    set("algorithm", { type: "python", requirementsHash: digest(bytes("r")) })(run);
    change(run);
  };
}

Deno.test("M-5 M-6 a strict manifest is refused by the field that breaks it", () => {
  for (const [what, change, text, code = "invalid-manifest"] of TABLE) {
    assert.throws(() => readManifest(manifestBytes(changed(change)), "strict"), (error) => {
      assert.ok(error instanceof CocosError, what);
      assert.equal(error.code, code, `${what}: ${error.message}`);
      assert.match(error.message, text, what);
      return true;
    });
  }
});

Deno.test("M-6 R1 a strict manifest with a field nobody knows is refused, wherever it is", () => {
  const whole = create(cvms.ComputationRunReqSchema, strictRun(owner, algorithm, datasets));
  const unknown = [{ no: 999, wireType: 0, data: new Uint8Array([1]) }];
  const parts = [
    whole,
    whole.algorithm,
    whole.datasets[1],
    whole.resultConsumers[0],
    whole.agentConfig,
    whole.limits = create(cvms.LimitsSchema, {}),
  ];
  for (const part of parts as { $unknown?: typeof unknown }[]) {
    part.$unknown = unknown;
    const made = toBinary(cvms.ComputationRunReqSchema, whole, { writeUnknownFields: true });
    assert.throws(() => readManifest(made, "strict"), /a field nobody here knows: number 999/);
    readManifest(made, "compat");
    delete part.$unknown;
  }
  readManifest(toBinary(cvms.ComputationRunReqSchema, whole), "strict");
});

Deno.test("M-6 a strict manifest that no party could read in one message is refused", () => {
  const args = Array(40).fill("x".repeat(100_000));
  const more = Array(2).fill("x".repeat(98_000));
  const read = (values: string[]) =>
    readManifest(manifestBytes(changed(set("algorithm", { args: values }))), "strict");
  assert.ok((read(args).agreement?.canonical.length ?? 0) > 4_000_000);
  assert.throws(() => read([...args, ...more]), /in its canonical form has \d+ bytes, must have/);
});

Deno.test("M-4 in strict one digest may be two datasets under two names", () => {
  const twice = [{ data: bytes("a"), filename: "x" }, { data: bytes("a"), filename: "y" }];
  const manifest = readManifest(manifestBytes(strictRun(owner, algorithm, twice)), "strict");
  assert.deepEqual(manifest.datasets.map(({ filename }) => filename), ["x", "y"]);
});

Deno.test("R3 a strict manifest gives every term of the run, and the digest the parties compare", () => {
  const run = changed(python((each) => {
    set("algorithm", { args: ["--n", "3"], runtime: "pyodide" })(each);
    set("limits", { wallSeconds: 60n, processes: 8n, diskBytes: 1_000n })(each);
    dataset(0, { decompress: true })(each);
    each.logReaders = ["consumers", "server"];
    each.egress = ["pypi.org:443"];
    each.channel = "tls";
  }));
  const manifest = readManifest(manifestBytes(run), "strict");
  assert.deepEqual(manifest.algorithm.header, {
    kind: "python",
    args: ["--n", "3"],
    pythonRuntime: "pyodide",
  });
  assert.equal(manifest.algorithm.size, algorithm.length);
  assert.equal(manifest.algorithm.requirements, digest(bytes("r")).toHex());
  assert.deepEqual(manifest.limits, {
    runner: { wallSeconds: 60, processes: 8, resultsBytes: 1_000 },
    diskBytes: 1_000,
  });
  assert.deepEqual(manifest.datasets.map(({ decompress, size }) => [decompress, size]), [
    [true, 1],
    [false, 1],
  ]);
  assert.deepEqual([manifest.logReaders, manifest.egress, manifest.door.channel], [
    ["consumers", "server"],
    ["pypi.org:443"],
    "tls",
  ]);
  assert.equal(manifest.parties.length, 2);
  const message = create(cvms.ComputationRunReqSchema, run);
  const { canonical, digest: agreed } = manifest.agreement ?? assert.fail();
  assert.equal(new TextDecoder().decode(canonical), canonicalManifest(message));
  assert.equal(agreed, agreementDigest(message).toHex());
});

Deno.test("a compat manifest keeps the seed's rules; ours hold where their fields are used", () => {
  const seed = readManifest(
    manifestBytes({ ...strictRun(owner, algorithm, datasets), id: "1", channel: "" }),
    "compat",
  );
  const { agreement, door, algorithm: { header, size } } = seed;
  assert.deepEqual([agreement, door.channel, header, size], [
    undefined,
    undefined,
    undefined,
    algorithm.length,
  ]);
  assert.throws(
    () => readManifest(manifestBytes(changed(set("limits", { processes: 1n }))), "compat"),
    /limits.processes/,
  );
});
