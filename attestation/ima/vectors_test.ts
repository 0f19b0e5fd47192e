// IMA lists of real machines: parsed, rehashed, replayed to the values their source gives.
import assert from "node:assert/strict";
import { ownVector, vector } from "../testdata/vectors.ts";
import { toHex } from "../verdict.ts";
import type { Bank } from "../banks.ts";
import {
  allowListOf,
  coverageOf,
  ImaParser,
  ImaReplay,
  parseImaList,
  parseImaSignature,
  refusedFiles,
} from "./mod.ts";

/** File → entries, violations, PCR 10 by bank (README of the vectors). */
const LISTS:
  readonly (readonly [string, number | undefined, number, Partial<Record<Bank, string>>])[] = [
    ["ima.bin", 446, 0, {
      sha1: "d3a3689b986b31283f022ba100e25b2a3270c0da",
      sha256: "2b053a7a06a3dc701f610394cb6bd38f5feb2ab3eaf2e08c5420c3e0fb8e5ec7",
    }],
    ["ima.ascii", 446, 0, {
      sha1: "d3a3689b986b31283f022ba100e25b2a3270c0da",
      sha256: "2b053a7a06a3dc701f610394cb6bd38f5feb2ab3eaf2e08c5420c3e0fb8e5ec7",
    }],
    ["ima_256.ascii", 439, 0, {
      sha1: "5a799cd0c19371de10ef028b8af0709eac3abb2b",
      sha256: "652dc8dd783923b9807055773f9647c60b7963a0dff44c57c9eb4c893c074ace",
    }],
    ["ima-sig.bin", undefined, 0, {
      sha1: "7027eda039fc5bd0cae3698a416b095c8c92f337",
      sha256: "a7e679eb591decf3aa5c14ee322554417b4ecea780d87afd41aaa27fb8ca23ba",
    }],
    ["ima_with_000000.bin", 2127, 256, {
      sha256: "c7021e286ff291fc28affca8b97a7d0e06ea8ec192646c5f42d463f6ce394e9e",
    }],
  ];

for (const [file, count, violations, values] of LISTS) {
  Deno.test(`parseImaList() of ${file} replays to its machine's PCR 10`, () => {
    const bytes = vector(`ima/${file}`);
    if (!bytes) return;
    const entries = parseImaList(bytes);
    if (count !== undefined) assert.equal(entries.length, count);
    assert.equal(entries.filter((entry) => entry.violation).length, violations);
    const replay = new ImaReplay(Object.keys(values) as Bank[]);
    for (const entry of entries) assert.ok(replay.add(entry), `entry ${entry.index}`);
    for (const [bank, value] of Object.entries(values)) {
      assert.equal(toHex(replay.value(bank as Bank) ?? new Uint8Array()), value);
    }
    assert.deepEqual(refusedFiles(entries, allowListOf(entries), { violations: true }), []);
  });

  Deno.test(`ImaParser reads ${file} cut anywhere as it reads it whole`, () => {
    const bytes = vector(`ima/${file}`);
    if (!bytes) return;
    const parser = new ImaParser(file.endsWith("ascii") ? "ascii" : "binary");
    const entries = [];
    for (let at = 0, size = 1; at < bytes.length; at += size, size = (size * 7 + 3) % 4099) {
      entries.push(...parser.push(bytes.subarray(at, at + size)));
    }
    parser.end();
    assert.equal(parser.offset, bytes.length);
    assert.deepEqual(entries.slice(-3), parseImaList(bytes).slice(-3));
  });
}

Deno.test("parseImaSignature() reads the signatures of a list of template ima-sig", () => {
  const bytes = vector("ima/ima-sig.bin");
  if (!bytes) return;
  const signed = parseImaList(bytes).filter((entry) => (entry.signature?.length ?? 0) > 0);
  assert.ok(signed.length > 0);
  for (const { signature } of signed) {
    const parsed = parseImaSignature(signature as Uint8Array);
    assert.equal(parsed.over, "file");
    assert.ok(parsed.signature.length >= 64);
  }
});

for (const name of ["keylime-ima-log-sha1", "keylime-ima-log-sha256"]) {
  Deno.test(`parseImaList() of ${name}: every template hash is of its data`, () => {
    const entries = parseImaList(ownVector(`ima/${name}`));
    assert.equal(entries.length, 2);
    assert.equal(entries[1]?.path, "/data");
    const replay = new ImaReplay(["sha1"]);
    for (const entry of entries) assert.ok(replay.add(entry));
    const value = replay.value("sha1") as Uint8Array;
    assert.equal(coverageOf(entries, "sha1", value).covered, 2);
  });
}
