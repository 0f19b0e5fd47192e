// Malformed evidence of every kind (threat A-14): each parser gives a value or a typed error, quickly
// and in little memory. Ordinary runs take a sample; `-- --slow` takes 100,000 mutations a parser.
import assert from "node:assert/strict";
import { CocosError } from "../base/mod.ts";
import { machine } from "./forge/snp.ts";
import { fakeTdx } from "./forge/tdx.ts";
import {
  decodeCbor,
  formatBundle,
  formatPolicy,
  formatSeedPolicy,
  parseBundle,
  parseCertificate,
  parseCorim,
  parseCrl,
  parseEndorsement,
  parseIdBlock,
  parseJson,
  parsePolicy,
  parseQeIdentity,
  parseReport,
  parseSeedPolicy,
  parseSeedTdxPolicy,
  parseSimulated,
  parseTable,
  parseTcbInfo,
  parseTdxQuote,
  parseToken,
  readClaims,
  readTrustedKey,
  splitExtended,
  splitSigned,
} from "./mod.ts";
import { INSECURE_SIMULATED_ROOT, issueSimulated, simulatedPolicy } from "./simulated/mod.ts";
import { encodeTable, TABLE_GUIDS } from "./snp/mod.ts";
import { madeClaims } from "./forge/token.ts";
import { mutations, ownVector } from "./testdata/vectors.ts";
import { base64url } from "./x509/mod.ts";

const MUTATIONS = mutations(400);
const MAX_MS = 50;
const MAX_BYTES = 16 * 1024 * 1024;

const made = await machine();
const td = await fakeTdx();
const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);
const simulated = issueSimulated({
  measurement: new Uint8Array(48),
  reportData: new Uint8Array(64),
  hostData: new Uint8Array(32),
});
const policy = simulatedPolicy({
  insecure: true,
  roots: [INSECURE_SIMULATED_ROOT],
  measurement: "any",
});
const maa = bytesOf(JSON.stringify({ ...madeClaims(), iss: "x", iat: 1, nbf: 1, exp: 2 }));
const header = base64url(bytesOf('{"alg":"RS256","kid":"k"}'));
const idBlock = new Uint8Array(0x60);
idBlock[0x50] = 1;

/** Each parser with right input to start from. */
const PARSERS: Record<string, readonly [Uint8Array, (bytes: Uint8Array) => unknown]> = {
  parseReport: [ownVector("snp/milan-v2-vcek-report.bin"), parseReport],
  splitExtended: [ownVector("snp/cocos-attestation-no-certs.bin"), splitExtended],
  parseTable: [
    encodeTable(new Map([[TABLE_GUIDS.vcek, made.leaf], [TABLE_GUIDS.ask, made.leaf]])),
    parseTable,
  ],
  parseCertificate: [made.leaf, parseCertificate],
  "parseCertificate of Intel": [
    parseTdxQuote(td.quote).certificates[0] as Uint8Array,
    parseCertificate,
  ],
  parseCrl: [ownVector("tdx/pck.crl"), parseCrl],
  parseIdBlock: [idBlock, parseIdBlock],
  readTrustedKey: [made.leaf, readTrustedKey],
  "parseTdxQuote v4": [ownVector("tdx/v4-b0c06f-quote.bin"), parseTdxQuote],
  "parseTdxQuote v5": [ownVector("tdx/v5-td15-quote.bin"), parseTdxQuote],
  parseTcbInfo: [bytesOf(td.collateral.tcbInfo), (bytes) => parseTcbInfo(textOf(bytes))],
  parseQeIdentity: [bytesOf(td.collateral.qeIdentity), (bytes) => parseQeIdentity(textOf(bytes))],
  splitSigned: [
    ownVector("tdx/qe-identity.json"),
    (bytes) => splitSigned(textOf(bytes), "enclaveIdentity"),
  ],
  parseSimulated: [simulated, parseSimulated],
  parseToken: [maa, (bytes) => parseToken(`${header}.${base64url(bytes)}.AAAA`)],
  readClaims: [maa, (bytes) => readClaims(parseJson(textOf(bytes), "claims"))],
  parseEndorsement: [Uint8Array.of(10, 4, 42, 2, 1, 1, 18, 1, 1), parseEndorsement],
  decodeCbor: [ownVector("policy/unsigned-example-corim.cbor"), (bytes) => decodeCbor(bytes)],
  parseCorim: [ownVector("policy/unsigned-example-corim.cbor"), parseCorim],
  parsePolicy: [
    bytesOf(formatPolicy({ name: "x", simulated: policy })),
    (bytes) => parsePolicy(textOf(bytes)),
  ],
  parseSeedPolicy: [
    ownVector("policy/attestation_policy.json"),
    (bytes) => parseSeedPolicy(textOf(bytes)),
  ],
  parseSeedTdxPolicy: [
    ownVector("policy/attestation_policy_tdx.json"),
    (bytes) => parseSeedTdxPolicy(textOf(bytes)),
  ],
  parseBundle: [
    bytesOf(formatBundle({
      policy: { name: "x", simulated: policy },
      evidence: { simulated },
      session: { now: 0, reportData: new Uint8Array(64) },
      collateral: {},
    })),
    (bytes) => parseBundle(textOf(bytes)),
  ],
};

/** Small generator with a seed, so that a failure can be seen again. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const EDGES = [0, 1, 0x7f, 0x80, 0xff, 0x30, 0x22, 0x2c, 0x7b, 0x5b, 0x5c, 0x39];

/** One to eight changes: bytes set, cut out, doubled, inserted, or the end cut off. */
function mutate(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  let result = bytes.slice();
  for (let left = 1 + random(8); left > 0 && result.length > 0; left--) {
    const at = random(result.length);
    const count = 1 + random(Math.min(16, result.length - at));
    switch (random(6)) {
      case 0:
        result[at] = random(256);
        break;
      case 1:
        result[at] = EDGES[random(EDGES.length)] as number;
        break;
      case 2:
        result = Uint8Array.from([...result.subarray(0, at), ...result.subarray(at + count)]);
        break;
      case 3:
        result = Uint8Array.from([...result.subarray(0, at + count), ...result.subarray(at)]);
        break;
      case 4:
        result.fill(random(2) * 255, at, at + count);
        break;
      default:
        if (random(8) === 0) result = result.slice(0, at);
        else result[at] = (result[at] as number) ^ (1 << random(8));
    }
  }
  return result;
}

function attempt(parse: (bytes: Uint8Array) => unknown, bytes: Uint8Array): number {
  const start = performance.now();
  try {
    parse(bytes);
  } catch (error) {
    assert.ok(
      error instanceof CocosError,
      `not a typed error: ${error instanceof Error ? error.stack : error}`,
    );
    assert.notEqual(error.code, "internal");
  }
  return performance.now() - start;
}

for (const [name, [seed, parse]] of Object.entries(PARSERS)) {
  Deno.test(`A-14 ${name}() gives a value or a typed error for ${MUTATIONS} mutations, each below ${MAX_MS} ms`, () => {
    attempt(parse, seed);
    const random = randomOf(0x5eed);
    for (let count = 0; count < MUTATIONS; count++) {
      const bytes = mutate(seed, random);
      // A pause of the collector is not the parser's: the slow ones are measured again.
      let ms = attempt(parse, bytes);
      for (let again = 0; ms > MAX_MS && again < 3; again++) ms = attempt(parse, bytes);
      assert.ok(ms <= MAX_MS, `mutation ${count} took ${ms} ms`);
    }
  });
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
