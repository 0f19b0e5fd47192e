import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { CocosError } from "../base/mod.ts";
import { bytes, digest, manifestBytes, party, type Run, runOf } from "./_parties.ts";
import { manifestDigest, readManifest } from "./manifest.ts";

/** Reads a manifest of the seed-era wire. */
const seedManifest = (bytes: Uint8Array) => readManifest(bytes, "compat");

const owner = await party();
const other = await party();
const algorithm = bytes("#!/bin/sh\n");
const datasets = [{ data: bytes("a") }, { data: bytes("b") }];
const good = (more: Run = {}): Run => runOf(owner, algorithm, datasets, more);

function refused(run: Run, field: string): void {
  assert.throws(
    () => seedManifest(manifestBytes(run)),
    (error) => {
      assert.ok(error instanceof CocosError);
      assert.equal(error.code, "invalid-manifest");
      assert.ok(error.message.includes(field), `${error.message} names ${field}`);
      return true;
    },
  );
}

type Bytes = Uint8Array<ArrayBuffer>;

const dataset = (change: { hash?: Bytes; userKey?: Bytes; filename?: string }) => ({
  hash: digest(bytes("x")),
  userKey: owner.spki,
  filename: "",
  ...change,
});

Deno.test("R3 seedManifest() gives a frozen value", () => {
  const manifest = seedManifest(
    manifestBytes(good({ agentConfig: { port: "7002", attestedTls: true } })),
  );
  assert.equal(manifest.id, "1");
  assert.equal(manifest.datasets.length, 2);
  assert.deepEqual(manifest.datasets.map((each) => each.storedName), ["dataset-0", "dataset-1"]);
  assert.equal(manifest.datasets[0]?.owner, manifest.datasets[1]?.owner);
  assert.equal(manifest.door.port, "7002");
  assert.equal(manifest.door.attestedTls, true);
  assert.deepEqual(manifest.logReaders, []);
  for (
    const part of [
      manifest,
      manifest.datasets,
      manifest.datasets[0],
      manifest.consumers,
      manifest.door,
      manifest.algorithm,
    ]
  ) {
    assert.ok(Object.isFrozen(part));
  }
});

Deno.test("M-2 seedManifest() refuses digests of another length, hex text and all zero", () => {
  for (const length of [0, 3, 31, 33, 64]) {
    const hash = new Uint8Array(length).fill(7);
    refused(good({ algorithm: { hash, userKey: owner.spki } }), "algorithm.hash");
    refused(good({ datasets: [dataset({}), dataset({ hash })] }), "datasets[1].hash");
  }
  refused(good({ algorithm: { hash: new Uint8Array(32), userKey: owner.spki } }), "algorithm.hash");
  refused(good({ datasets: [dataset({ hash: new Uint8Array(32) })] }), "datasets[0].hash");
  refused(
    good({ algorithm: { hash: bytes("ab".repeat(32)), userKey: owner.spki } }),
    "algorithm.hash",
  );
});

Deno.test("M-4 seedManifest() refuses duplicate names and consumers, takes the same digest twice", () => {
  seedManifest(manifestBytes(good({ datasets: [dataset({}), dataset({})] })));
  seedManifest(
    manifestBytes(good({ datasets: [dataset({ filename: "a" }), dataset({ filename: "b" })] })),
  );
  refused(
    good({ datasets: [dataset({ filename: "a" }), dataset({ filename: "a" })] }),
    "datasets[1].filename",
  );
  refused(
    good({ datasets: [dataset({}), dataset({ filename: "dataset-0" })] }),
    "datasets[1].filename",
  );
  const consumer = { userKey: owner.spki };
  refused(
    good({ resultConsumers: [consumer, { userKey: other.spki }, consumer] }),
    "result_consumers[2].userKey",
  );
});

Deno.test("M-5 seedManifest() refuses no algorithm, no consumer and every bad key; no datasets is fine", () => {
  assert.equal(seedManifest(manifestBytes(good({ datasets: [] }))).datasets.length, 0);
  const { algorithm: _, ...without } = good();
  refused(without, "algorithm");
  refused(good({ resultConsumers: [] }), "result_consumers");
  const spki = (pair: { publicKey: { export(o: { type: "spki"; format: "der" }): Uint8Array } }) =>
    new Uint8Array(pair.publicKey.export({ type: "spki", format: "der" }));
  const offCurve = new Uint8Array(spki(generateKeyPairSync("ec", { namedCurve: "P-256" })));
  offCurve[offCurve.length - 1] = (offCurve.at(-1) as number) ^ 1;
  const bad: Record<string, Uint8Array<ArrayBuffer>> = {
    empty: new Uint8Array(),
    pem: bytes("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
    x25519: spki(generateKeyPairSync("x25519")),
    short: spki(generateKeyPairSync("rsa", { modulusLength: 1024 })),
    offCurve,
    trailing: new Uint8Array([...owner.spki, 0]),
    junk: new Uint8Array(100).fill(48),
  };
  for (const userKey of Object.values(bad)) {
    refused(good({ algorithm: { hash: digest(algorithm), userKey } }), "algorithm.userKey");
    refused(good({ datasets: [dataset({ userKey })] }), "datasets[0].userKey");
    refused(
      good({ resultConsumers: [{ userKey: owner.spki }, { userKey }] }),
      "result_consumers[1].userKey",
    );
  }
});

Deno.test("M-6 seedManifest() refuses ids, names and counts outside their class", () => {
  for (const id of ["", "../x", "a/b", "a\nb", "a b", "x".repeat(65), "é", "a\0"]) {
    refused(good({ id }), "id");
  }
  for (const id of ["1", "a.b_c-D", "x".repeat(64)]) seedManifest(manifestBytes(good({ id })));
  const names = [
    "..",
    ".",
    "../algo",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "-rf",
    ".hidden",
    "a\nb",
    "é.csv",
    "а.csv",
    "x".repeat(256),
    "trailing.",
    "trailing ",
    " lead",
    "C:\\x",
    "a\u202eb",
    "a*b",
    "a;b",
  ];
  for (const filename of names) {
    refused(good({ datasets: [dataset({ filename })] }), "datasets[0].filename");
  }
  refused(
    good({ datasets: [dataset({ filename: "Data.csv" }), dataset({ filename: "data.CSV" })] }),
    "datasets[1].filename",
  );
  refused(good({ datasets: Array.from({ length: 1_001 }, () => dataset({})) }), "datasets");
  refused(good({ name: "a\nb" }), "name");
  refused(good({ description: "x".repeat(5_000) }), "description");
});

Deno.test("M-6 seedManifest(): a name that is taken has no slash, dot-dot, control or non-ASCII character", () => {
  fc.assert(fc.property(fc.string({ minLength: 1, maxLength: 20, unit: "binary" }), (filename) => {
    try {
      seedManifest(manifestBytes(good({ datasets: [dataset({ filename })] })));
    } catch {
      return;
    }
    assert.match(filename, /^[A-Za-z0-9_][A-Za-z0-9._+@=,() -]*$/);
  }));
});

Deno.test("G-12 seedManifest(): any bytes give a manifest or a typed error", () => {
  const base = manifestBytes(good());
  fc.assert(
    fc.property(fc.nat(base.length - 1), fc.nat(255), fc.nat(base.length), (at, value, cut) => {
      const mutated = base.slice(0, Math.max(cut, 1));
      mutated[at % mutated.length] = value;
      try {
        seedManifest(mutated);
      } catch (error) {
        assert.ok(error instanceof CocosError && /^(invalid-manifest|data-loss)$/.test(error.code));
      }
    }),
    { numRuns: 2_000 },
  );
  assert.throws(() => seedManifest(new Uint8Array([0xff, 0xff])), { code: "data-loss" });
});

Deno.test("seedManifest() notes fields it does not know", () => {
  // Algorithm.algo_type of later Cocos versions: field 4, length-delimited "bin".
  const run = manifestBytes(good());
  const extra = new Uint8Array([...run, 0x42, 0x00, 0x2a, 0x05, 0x22, 0x03, 0x62, 0x69, 0x6e]);
  assert.deepEqual(seedManifest(extra).unknownFields, ["8", "algorithm:4"]);
});

Deno.test("manifestDigest() is the digest of the Go programs' JSON form", () => {
  const manifest = seedManifest(manifestBytes(good({ name: "a <b> & c" })));
  const hash = (data: string) => [...digest(bytes(data))].join(",");
  const key = owner.spki.toBase64();
  const json = `{"id":"1","name":"a \\u003cb\\u003e \\u0026 c",` +
    `"datasets":[{"hash":[${hash("a")}],"user_key":"${key}"},{"hash":[${
      hash("b")
    }],"user_key":"${key}"}],` +
    `"algorithm":{"hash":[${hash("#!/bin/sh\n")}],"user_key":"${key}"},` +
    `"result_consumers":[{"user_key":"${key}"}]}`;
  assert.equal(manifestDigest(manifest), digest(bytes(json)).toHex());
});
