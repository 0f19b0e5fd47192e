// Malformed evidence of every kind (threat A-14): each parser gives a value or a typed error, quickly
// and in little memory. `-- --mutations=100000 --fuzz=1000000` is the long hunt.
import assert from "node:assert/strict";
import { CocosError } from "../base/mod.ts";
import { fakeTdx } from "./forge/tdx.ts";
import { hunt, MAX_BYTES, MAX_MS, mutate, randomOf } from "./forge/hunt.ts";
import { targets } from "./forge/targets.ts";
import * as attestation from "./mod.ts";
import {
  decodeCbor,
  formatSeedPolicy,
  parseCertificate,
  parsePolicy,
  parseSeedPolicy,
  parseTable,
  parseTcbInfo,
  parseTdxQuote,
} from "./mod.ts";
import { asked, ownVector } from "./testdata/vectors.ts";

const MUTATIONS = asked("mutations", 2_000);
const FUZZ = asked("fuzz", 8_000);
const td = await fakeTdx();
const textOf = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);
const TARGETS = await targets();
const memory = () => {
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
};

for (const target of TARGETS) {
  Deno.test(`A-14 ${target.name}() gives a value or a typed error for ${MUTATIONS} mutations and ${FUZZ} inputs more, each below ${MAX_MS} ms`, () => {
    const { broken, ways, slowest, largest, executions } = hunt(target, {
      mutations: MUTATIONS,
      fuzz: FUZZ,
      memory,
    });
    for (const { input, why } of broken) {
      assert.fail(`${why}\n${input.subarray(0, 4096).toHex()}`);
    }
    assert.ok(ways > 1, "nothing was refused");
    if (FUZZ >= 100_000) {
      console.log(
        `${target.name}: ${executions} executions, ${ways} ways, slowest ${
          slowest.toFixed(2)
        } ms, ` +
          `largest ${(largest / 1024).toFixed(0)} KiB`,
      );
    }
  });
}

/** Readers of parts of what is hunted as a whole, or of what our own programs make. */
const NOT_HUNTED = [
  "parseAlgorithm",
  "parseExtensions",
  "parseKey",
  "parseName",
  "parseTemplateData",
  "parseKeySet", // asynchronous: hunted in token/azure_test.ts
  "decodeTcb", // eight bytes, all of them tried beside it
];

Deno.test("A-14 every parser of this folder is hunted", () => {
  const parsers = Object.keys(attestation).filter((name) =>
    /^(parse|decode|split|read)[A-Z]/.test(name)
  );
  const hunted = TARGETS.map(({ name }) => name.split(" ")[0]);
  assert.deepEqual(parsers.filter((name) => !hunted.includes(name)).sort(), NOT_HUNTED.toSorted());
});

function attempt(parse: (bytes: Uint8Array) => unknown, bytes: Uint8Array): number {
  const start = performance.now();
  try {
    parse(bytes);
  } catch (error) {
    assert.ok(error instanceof CocosError, String(error));
    assert.notEqual(error.code, "internal");
  }
  return performance.now() - start;
}

/** Inputs whose announced sizes are far beyond their own. */
const BOMBS: Record<string, readonly [(bytes: Uint8Array) => unknown, Uint8Array]> = {
  "CBOR list of 2^32 items": [decodeCbor, Uint8Array.of(0x9a, 0xff, 0xff, 0xff, 0xff)],
  "CBOR text of 2^62 bytes": [
    decodeCbor,
    Uint8Array.of(0x7b, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
  ],
  "CBOR nested 100,000 times": [decodeCbor, new Uint8Array(100_000).fill(0x81)],
  "DER of 16 MiB": [parseCertificate, Uint8Array.of(0x30, 0x83, 0xff, 0xff, 0xff)],
  "JSON nested 100,000 times": [
    (bytes) => parsePolicy(textOf(bytes)),
    new Uint8Array(100_000).fill(0x5b),
  ],
  "JSON of 900,000 quotes": [
    (bytes) => parseTcbInfo(textOf(bytes)),
    new Uint8Array(900_000).fill(0x22),
  ],
  "certificate table of 4 GiB": [
    parseTable,
    Uint8Array.from([
      ...new Uint8Array(16).fill(1),
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      ...new Uint8Array(24),
    ]),
  ],
  "quote with 4 GiB of signature data": [
    parseTdxQuote,
    (() => {
      const quote = td.quote.slice(0, 636);
      return quote.fill(0xff, 632);
    })(),
  ],
};

for (const [name, [parse, bytes]] of Object.entries(BOMBS)) {
  Deno.test(`A-14 a ${name} is refused below ${MAX_MS} ms and ${MAX_BYTES / 1024 / 1024} MiB`, () => {
    attempt(parse, bytes);
    const before = Deno.memoryUsage();
    const ms = Math.min(...[0, 1, 2].map(() => attempt(parse, bytes)));
    const after = Deno.memoryUsage();
    assert.throws(() => parse(bytes), CocosError);
    assert.ok(ms <= MAX_MS, `${ms} ms`);
    const grown = after.heapUsed + after.external - before.heapUsed - before.external;
    assert.ok(grown / 3 <= MAX_BYTES, `${grown} bytes`);
  });
}

Deno.test("formatSeedPolicy() and parsers stay inverse after mutations that are still accepted", () => {
  const random = randomOf(7);
  const seed = ownVector("policy/attestation_policy.json");
  let accepted = 0;
  for (let count = 0; count < 2000; count++) {
    let first;
    try {
      first = parseSeedPolicy(textOf(mutate(seed, random)));
    } catch {
      continue;
    }
    accepted++;
    const text = formatSeedPolicy(first);
    assert.equal(formatSeedPolicy(parseSeedPolicy(text)), text);
  }
  assert.ok(accepted > 0);
});
