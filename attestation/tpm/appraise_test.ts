// TPM evidence: real quotes, each accepted and refused as its source says.
import assert from "node:assert/strict";
import type { Bank, BankValues } from "../banks.ts";
import { fromHex } from "../forge/tpm.ts";
import { bitsToFlip, flipped, ownText, ownVector, vector } from "../testdata/vectors.ts";
import type { Verdict } from "../verdict.ts";
import { decodeBase64, decodeBase64url, only, parseKey, Tag } from "../x509/mod.ts";
import {
  appraiseTpm,
  decodeAttestation,
  evidenceOf,
  hclKey,
  keyFingerprint,
  parseHclReport,
  parsePublic2b,
  type TpmContext,
  type TpmEvidence,
  type TpmPolicy,
} from "./mod.ts";

const OPEN: TpmPolicy = {
  binding: "any",
  nonce: "session",
  banks: ["sha256", "sha384"],
  registers: [0],
  pcrs: "any",
  counters: "any",
};

function failed(verdict: Verdict): string[] {
  return verdict.checks.filter(({ ok }) => !ok).map(({ id }) => id);
}

async function failures(
  evidence: TpmEvidence,
  policy: TpmPolicy,
  context: TpmContext,
): Promise<string[]> {
  return failed((await appraiseTpm(evidence, policy, context)).verdict);
}

/** Concatenated values, 32 or 48 bytes each. */
function split(bytes: Uint8Array, size: number, indices: readonly number[]) {
  return new Map(indices.map((index, at) => [index, bytes.subarray(at * size, (at + 1) * size)]));
}

function sha256Values(values: readonly string[]): BankValues {
  return new Map([["sha256", new Map(values.map((value, index) => [index, fromHex(value)]))]]);
}

const GCE = decodeAttestation(ownVector("tpm/gce-cos85-nonce9009.attestation.pb"));
const GCE_CONTEXT = { nonce: fromHex("9009") };

Deno.test("A-1 appraiseTpm() accepts Google's evidence with its nonce and no other", async () => {
  const evidence = evidenceOf(GCE);
  const { verdict, registers } = await appraiseTpm(evidence, OPEN, GCE_CONTEXT);
  assert.deepEqual(failed(verdict), []);
  assert.deepEqual([...registers.keys()], ["sha1", "sha256", "sha384"]);
  assert.equal(registers.get("sha384")?.size, 24);
  for (const nonce of [undefined, "", "90", "9008", "900900"]) {
    const other = await appraiseTpm(evidence, OPEN, {
      nonce: nonce === undefined ? undefined : fromHex(nonce),
    });
    assert.deepEqual(failed(other.verdict), ["tpm.quote.nonce"], `nonce ${nonce}`);
    assert.equal(other.registers.size, 0, "no register of a bad verdict is handed on");
  }
});

Deno.test("A-8 appraiseTpm() never lets the SHA-1 bank count", async () => {
  const evidence = evidenceOf(GCE);
  const sha1 = { ...evidence, quotes: evidence.quotes.slice(0, 1) };
  const want = ["tpm.pcrs.bank", "tpm.pcrs.selection"];
  assert.deepEqual(await failures(sha1, { ...OPEN, banks: ["sha1", "sha256"] }, GCE_CONTEXT), want);
  const seed = decodeAttestation(ownVector("tpm/cocos-vtpm-quote.attestation.pb"));
  const context = { nonce: fromHex("ea03ef139abac44b48fdfe2e8a2e7a7f") };
  assert.deepEqual(await failures(evidenceOf(seed), OPEN, context), want);
});

Deno.test("appraiseTpm() accepts quotes of swtpm: RSA with one bank, ECC with two", async () => {
  const read = (name: string) => ownVector(`tpm/swtpm-${name}`);
  const registers = [0, 1, 2, 7, 10, 16];
  const rsa: TpmEvidence = {
    ak: { area: parsePublic2b(read("rsa-ak.tpm2b_public")).raw },
    quotes: [{
      quote: read("rsa-quote.msg"),
      signature: read("rsa-quote.sig"),
      values: new Map([["sha256", split(read("rsa-quote.pcrs"), 32, registers)]]),
    }],
  };
  const nonce = fromHex("2a".padStart(64, "0"));
  assert.deepEqual(await failures(rsa, { ...OPEN, registers }, { nonce }), []);
  assert.deepEqual(await failures(rsa, { ...OPEN, registers: [0, 3] }, { nonce }), [
    "tpm.pcrs.selection",
  ]);
  const pcrs = read("ecc-quote.pcrs");
  const values = new Map<Bank, Map<number, Uint8Array>>([
    ["sha256", split(pcrs, 32, [0, 16])],
    ["sha384", split(pcrs.subarray(64), 48, [0, 16])],
  ]);
  const ecc: TpmEvidence = {
    ak: { area: parsePublic2b(read("ecc-ak.tpm2b_public")).raw },
    quotes: [{ quote: read("ecc-quote.msg"), signature: read("ecc-quote.sig"), values }],
  };
  const two = { ...OPEN, registers: [0, 16] };
  assert.deepEqual(await failures(ecc, two, { nonce: fromHex("0102") }), []);
  const swapped: BankValues = new Map([...values].reverse());
  const same = { ...ecc, quotes: [{ ...ecc.quotes[0]!, values: swapped }] };
  assert.deepEqual(
    await failures(same, two, { nonce: fromHex("0102") }),
    [],
    "map order is nothing",
  );
});

Deno.test("A-8 appraiseTpm() refuses every flipped bit of a quote of swtpm", async () => {
  const quote = ownVector("tpm/swtpm-ecc-quote.msg");
  const area = parsePublic2b(ownVector("tpm/swtpm-ecc-ak.tpm2b_public")).raw;
  const signature = ownVector("tpm/swtpm-ecc-quote.sig");
  const policy = { ...OPEN, nonce: "any" } as const;
  for (const bit of bitsToFlip(quote.length, 1000)) {
    const evidence = {
      ak: { area },
      quotes: [{ quote: flipped(quote, bit), signature, values: new Map() }],
    };
    const ids = await failures(evidence, policy, {});
    assert.ok(
      ids.includes("tpm.quote.signature") || ids.includes("tpm.quote.format"),
      `bit ${bit}`,
    );
  }
});

Deno.test("appraiseTpm() accepts Cosmian's ECC quote, but only for looking at it", async () => {
  const area = vector("tpm/cosmian-ecc-ak.pub");
  const quote = area && vector("tpm/cosmian-ecc-quote.msg");
  const signature = quote && vector("tpm/cosmian-ecc-quote.sig");
  if (!area || !quote || !signature) return;
  const pcr10 = fromHex("cf0beec1cee65650df8e89ff535a901e8c8f6180");
  const values: BankValues = new Map([["sha1", new Map([[10, pcr10]])]]);
  const policy = { ...OPEN, counters: { resetCount: 25, restartCount: 0 } };
  const evidence = { ak: { area }, quotes: [{ quote, signature, values }] };
  const { verdict } = await appraiseTpm(evidence, policy, { nonce: new Uint8Array() });
  assert.deepEqual(
    failed(verdict),
    ["tpm.quote.nonce", "tpm.pcrs.bank", "tpm.pcrs.selection"],
    "an empty nonce binds no session (A-1), and SHA-1 never counts",
  );
});

Deno.test("appraiseTpm() accepts Azure's trusted launch once its key is pinned", async () => {
  const json = JSON.parse(ownText("tpm/azure-trusted-launch-evidence.json"));
  const spki = decodeBase64(json.ak_public);
  const evidence: TpmEvidence = {
    ak: { spki },
    quotes: [{
      quote: decodeBase64(json.tpm_quote.message),
      signature: decodeBase64(json.tpm_quote.signature),
      values: sha256Values(json.tpm_quote.pcrs),
    }],
  };
  const key = parseKey(only(spki, Tag.SEQUENCE, "a key"), "a key");
  const policy = { ...OPEN, binding: "pinned", nonce: "any" } as const;
  const binding = { kind: "pinned", keys: [keyFingerprint(key)] } as const;
  assert.deepEqual(await failures(evidence, policy, { binding }), []);
  assert.deepEqual(
    await failures(evidence, policy, { binding: { kind: "pinned", keys: ["00".repeat(32)] } }),
    ["tpm.ak.attributes", "tpm.ak.binding"],
  );
  assert.deepEqual(await failures(evidence, { ...policy, binding: "any" }, {}), [
    "tpm.ak.attributes",
  ]);
});

/** HCL report, quote and the REPORT_DATA of the hardware report in it. */
function azure(version: string): { hcl: Uint8Array; evidence: TpmEvidence } {
  const json = JSON.parse(ownText(`azure/${version}.json`));
  if (version === "snp-evidence-v0") {
    const hcl = Uint8Array.from(json.report);
    const bare = Uint8Array.from(json.quote.signature);
    const values: BankValues = new Map([[
      "sha256",
      new Map(json.quote.pcrs.map((value: number[], at: number) => [at, Uint8Array.from(value)])),
    ]]);
    const quote = Uint8Array.from(json.quote.message);
    const quotes = [{ quote, signature: { rsassaSha256: bare }, values }];
    return { hcl, evidence: { ak: { key: hclKey(hcl) }, quotes } };
  }
  const hcl = decodeBase64url(json.hcl_report.replace(/=+$/, ""));
  const quotes = [{
    quote: fromHex(json.tpm_quote.message),
    signature: { rsassaSha256: fromHex(json.tpm_quote.signature) },
    values: sha256Values(json.tpm_quote.pcrs),
  }];
  return { hcl, evidence: { ak: { key: hclKey(hcl) }, quotes } };
}

const AZURE = [
  ["snp-evidence-v0", 0x50, "snp"],
  ["snp-evidence-v1", 0x50, "snp"],
  ["tdx-evidence-v1", 0x80, "tdx"],
] as const;

for (const [name, offset, kind] of AZURE) {
  Deno.test(`A-8 appraiseTpm() ties the key of ${name} to the hardware report`, async () => {
    const { hcl, evidence } = azure(name);
    const report = parseHclReport(hcl);
    assert.equal(report.kind, kind);
    const reportData = report.hardwareReport.subarray(offset, offset + 64);
    const policy = { ...OPEN, binding: "hcl" } as const;
    const nonce = new TextEncoder().encode("challenge");
    const userData = new Uint8Array(64);
    const binding = { kind: "hcl", hclReport: hcl, reportData, vmpl: 0, userData } as const;
    const good = await appraiseTpm(evidence, policy, { nonce, binding });
    if (name !== "tdx-evidence-v1") assert.deepEqual(failed(good.verdict), []);
    else assert.ok(!failed(good.verdict).includes("tpm.ak.binding"));
    const lines = [
      { ...binding, reportData: flipped(reportData, 77) },
      { ...binding, userData: flipped(userData, 0) },
      { ...binding, vmpl: 2 },
      { ...binding, hclReport: flipped(hcl, 8 * (hcl.indexOf(0x7b, 0x4d4) + 400)) },
    ];
    for (const wrong of lines) {
      const ids = await failures(evidence, policy, { nonce, binding: wrong });
      assert.ok(ids.includes("tpm.ak.binding"), ids.join());
    }
    const strange = { ...evidence, ak: { area: GCE.akPublic } };
    const ids = await failures(strange, policy, { nonce, binding });
    assert.ok(ids.includes("tpm.ak.binding"), "the evidence's own key is another one");
    const stale = await failures(evidence, policy, { nonce: nonce.subarray(1), binding });
    assert.ok(stale.includes("tpm.quote.nonce"));
  });
}

Deno.test("the DCAP quote of Azure's TDX evidence carries the HCL report data", () => {
  const { hcl } = azure("tdx-evidence-v1");
  const quote = ownVector("azure/tdx-td-quote.bin");
  assert.deepEqual(new Uint8Array(quote.subarray(0x238, 0x278)), parseHclReport(hcl).reportData);
});
