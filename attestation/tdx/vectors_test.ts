// Real quotes of real platforms: what must hold and what must not (shared vectors, folders tdx, azure).
import assert from "node:assert/strict";
import { bitsToFlip, flipped, ownText, ownVector, vector } from "../testdata/vectors.ts";
import { firstFailure, toHex, type Verdict } from "../verdict.ts";
import {
  decodePem,
  isIssuedBy,
  parseCertificate,
  parseCrl,
  sha,
  verifySignature,
} from "../x509/mod.ts";
import {
  appraiseTdx,
  INTEL_ROOT_KEY,
  parseQeIdentity,
  parseTcbInfo,
  parseTdReport,
  parseTdxQuote,
  splitSigned,
  type TdxCollateral,
  type TdxPolicy,
  tdxPolicy,
} from "./mod.ts";

/** A policy that names what the quote says; without collateral unless changed. */
function policyFor(quote: Uint8Array, changes: Partial<TdxPolicy> = {}): TdxPolicy {
  const { body } = parseTdxQuote(quote);
  return {
    ...tdxPolicy({
      mrTd: [toHex(body.mrTd)],
      rtmr0: [toHex(body.rtmrs[0])],
      rtmr1: [toHex(body.rtmrs[1])],
      rtmr2: [toHex(body.rtmrs[2])],
      rtmr3: [toHex(body.rtmrs[3])],
      reportData: toHex(body.reportData),
      mrConfigId: [toHex(body.mrConfigId)],
      mrOwner: [toHex(body.mrOwner)],
      mrOwnerConfig: [toHex(body.mrOwnerConfig)],
      tcb: { collateral: "any" },
    }),
    ...changes,
  };
}

function failures(verdict: Verdict): string[] {
  return verdict.checks.filter((each) => !each.ok).map((each) => each.id);
}

/** The sample collateral's names, as ours. */
function collateral(): TdxCollateral {
  const json = JSON.parse(ownText("tdx/v4-b0c06f-collateral.json")) as Record<string, string>;
  const hex = (text: string) =>
    Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  return {
    tcbInfo: json.tcb_info as string,
    tcbInfoSignature: json.tcb_info_signature as string,
    tcbInfoChain: json.tcb_info_issuer_chain as string,
    qeIdentity: json.qe_identity as string,
    qeIdentitySignature: json.qe_identity_signature as string,
    qeIdentityChain: json.qe_identity_issuer_chain as string,
    rootCrl: hex(json.root_ca_crl as string),
    pckCrl: hex(json.pck_crl as string),
  };
}

const NOW = Date.UTC(2025, 6, 1);
const b0c06f = ownVector("tdx/v4-b0c06f-quote.bin");
const strict = (): TdxPolicy => policyFor(b0c06f, { tcb: tdxPolicy(policyFor(b0c06f)).tcb });
const full = (): TdxPolicy => ({
  ...strict(),
  tcb: { collateral: "required", statuses: ["UpToDate"], advisories: [], minimumEvaluation: 17 },
});

Deno.test("appraiseTdx() finds the b0c06f platform UpToDate with no advisories, offline", async () => {
  const verdict = await appraiseTdx(b0c06f, full(), { now: NOW, collateral: collateral() });
  assert.deepEqual(failures(verdict), []);
  assert.equal(verdict.claims.tcbStatus, "UpToDate");
  assert.deepEqual(verdict.claims.advisories, []);
  assert.equal(verdict.claims.fmspc, "b0c06f000000");
});

Deno.test("A-7 A-13 appraiseTdx() refuses expired, foreign and missing collateral", async () => {
  const late = await appraiseTdx(b0c06f, full(), {
    now: Date.UTC(2025, 7, 1),
    collateral: collateral(),
  });
  assert.deepEqual(failures(late), ["tdx.collateral.time", "tdx.revocation.pck"]);
  const none = await appraiseTdx(b0c06f, full(), { now: NOW });
  assert.equal(none.ok, false);
  assert.equal(firstFailure(none)?.id, "tdx.collateral.tcb-info");
  const spr = ownVector("tdx/v4-spr-e4-quote.bin");
  const other = await appraiseTdx(spr, { ...policyFor(spr), tcb: full().tcb }, {
    now: NOW,
    collateral: collateral(),
  });
  assert.ok(failures(other).includes("tdx.platform"));
  const replayed = { ...full(), tcb: { ...full().tcb, minimumEvaluation: 18 } };
  const old = await appraiseTdx(b0c06f, replayed, { now: NOW, collateral: collateral() });
  assert.deepEqual(failures(old), ["tdx.collateral.evaluation"]);
});

Deno.test("A-7 appraiseTdx() refuses statements with one changed character", async () => {
  const good = collateral();
  for (
    const [name, id] of [["tcbInfo", "tdx.collateral.tcb-info"], [
      "qeIdentity",
      "tdx.collateral.qe-identity",
    ]] as const
  ) {
    const changed = { ...good, [name]: good[name].replace("UpToDate", "UpToDatE") };
    const spaced = { ...good, [name]: good[name].replace(":", ": ") };
    for (const each of [changed, spaced]) {
      const verdict = await appraiseTdx(b0c06f, full(), { now: NOW, collateral: each });
      assert.equal(firstFailure(verdict)?.id, id);
    }
  }
});

for (
  const [name, file, version] of [
    ["v4-spr-e4 (with padding)", "tdx/v4-spr-e4-quote.bin", 4],
    ["v5 TDX 1.5", "tdx/v5-td15-quote.bin", 5],
    ["cos113 (8,000 bytes)", "tdx/cos113-quote.bin", 4],
    ["Azure", "azure/tdx-td-quote.bin", 4],
  ] as const
) {
  Deno.test(`appraiseTdx() accepts quote ${name}`, async () => {
    const quote = vector(file);
    if (!quote) return;
    const verdict = await appraiseTdx(quote, policyFor(quote), { now: Date.UTC(2026, 1, 15) });
    assert.deepEqual(failures(verdict), []);
    assert.equal(verdict.claims.version, version);
    const late = await appraiseTdx(quote, policyFor(quote), { now: Date.UTC(2034, 0, 1) });
    assert.deepEqual(failures(late), ["tdx.validity"]);
  });
}

Deno.test("A-7 appraiseTdx() refuses the debug TD by default", async () => {
  const quote = ownVector("tdx/v4-debug-quote.bin");
  const verdict = await appraiseTdx(quote, policyFor(quote), { now: Date.UTC(2026, 1, 15) });
  assert.deepEqual(failures(verdict), ["tdx.debug"]);
  const named = await appraiseTdx(quote, policyFor(quote, { debug: "on" }), {
    now: Date.UTC(2026, 1, 15),
  });
  assert.equal(named.ok, true);
});

Deno.test("A-3 A-7 parseTdxQuote() refuses an SGX quote", async () => {
  const quote = ownVector("tdx/v3-sgx-not-tdx-quote.bin");
  assert.throws(() => parseTdxQuote(quote), /SGX quote/);
  const disguised = quote.slice();
  disguised[0] = 4;
  assert.throws(() => parseTdxQuote(disguised), /TEE type 0x0 is not TDX/);
  const verdict = await appraiseTdx(quote, policyFor(b0c06f), { now: NOW });
  assert.equal(firstFailure(verdict)?.id, "tdx.format");
});

Deno.test("parseTdxQuote() counts the bytes behind a quote", () => {
  const quote = ownVector("tdx/v4-spr-e4-quote.bin");
  assert.equal(parseTdxQuote(quote).padding, 39);
  assert.equal(parseTdxQuote(b0c06f).padding, 70);
});

Deno.test("parseTcbInfo() and parseQeIdentity() read Intel's samples; lists verify in their time", async () => {
  const info = splitSigned(ownText("tdx/fmspc-50806f-tcbinfo.json"), "tcbInfo");
  assert.deepEqual(parseTcbInfo(info.json).levels.map((each) => each.status).slice(0, 2), [
    "UpToDate",
    "OutOfDate",
  ]);
  const identity = splitSigned(ownText("tdx/qe-identity.json"), "enclaveIdentity");
  assert.equal(parseQeIdentity(identity.json).isvProdId, 2);
  const td15 = parseTcbInfo(splitSigned(ownText("tdx/td15-tcbinfo.json"), "tcbInfo").json);
  assert.deepEqual(td15.modules.map((each) => each.id), ["TDX_03", "TDX_01"]);
  const [der] = decodePem(ownText("tdx/intel-sgx-root-ca.pem"), "CERTIFICATE");
  assert.ok(der);
  const root = parseCertificate(der);
  assert.equal(toHex(await sha(384, root.key.spki)), INTEL_ROOT_KEY);
  assert.equal(await isIssuedBy(root, root), true);
  const list = parseCrl(ownVector("tdx/root-ca.crl"));
  assert.equal(await verifySignature(root.key, list.algorithm, list.signature, list.tbs), true);
  assert.equal(new Date(list.thisUpdate).toISOString().slice(0, 10), "2023-04-03");
  assert.equal(new Date(list.nextUpdate).toISOString().slice(0, 10), "2024-04-02");
  const spr = parseTdxQuote(ownVector("tdx/v4-spr-e4-quote.bin"));
  const ca = parseCertificate(spr.certificates[1] as Uint8Array);
  const pck = parseCrl(ownVector("tdx/pck.crl"));
  assert.equal(await verifySignature(ca.key, pck.algorithm, pck.signature, pck.tbs), true);
});

Deno.test("parseTdReport() reads a TDREPORT; the Azure one binds the quote's REPORTDATA", () => {
  assert.equal(parseTdReport(ownVector("tdx/tdreport.bin")).reportData.length, 64);
  assert.throws(() => parseTdReport(new Uint8Array(1023)));
  const hcl = vector("azure/tdx-hcl-report.bin");
  const quote = vector("azure/tdx-td-quote.bin");
  if (!hcl || !quote) return;
  const report = parseTdReport(hcl.subarray(0x20, 0x20 + 1024));
  assert.equal(report.teeType, 0x81);
  const { body } = parseTdxQuote(quote);
  assert.deepEqual(report.reportData, body.reportData);
  assert.deepEqual(report.mrTd, body.mrTd);
  assert.deepEqual(report.rtmrs, [...body.rtmrs]);
});

Deno.test("A-7 A-14 appraiseTdx() refuses every flipped bit of the signed parts of a quote", async () => {
  const quote = ownVector("tdx/v5-td15-quote.bin");
  const parsed = parseTdxQuote(quote);
  const open: TdxPolicy = {
    ...policyFor(quote),
    qeVendor: "any",
    mrTd: "any",
    rtmr0: "any",
    rtmr1: "any",
    rtmr2: "any",
    rtmr3: "any",
    reportData: "any",
    mrSignerSeam: "any",
    mrConfigId: "any",
    mrOwner: "any",
    mrOwnerConfig: "any",
    mrServiceTd: "any",
    debug: "any",
  };
  const context = { now: Date.UTC(2026, 1, 15) };
  assert.equal((await appraiseTdx(quote, open, context)).ok, true);
  const cryptographic = new Set([
    "tdx.format",
    "tdx.signature",
    "tdx.qe-binding",
    "tdx.qe-signature",
    "tdx.chain",
  ]);
  // Signed body, signature, key, QE report, QE signature and QE authentication data.
  const end = parsed.signed.length + 4 + 128 + 6 + 384 + 64 + 2 + parsed.qeAuth.length;
  for (const bit of bitsToFlip(end, 800)) {
    const verdict = await appraiseTdx(flipped(quote, bit), open, context);
    assert.ok(failures(verdict).some((id) => cryptographic.has(id)), `bit ${bit}`);
    assert.equal(verdict.ok, false, `bit ${bit}`);
  }
  // Flips in the certificate chain are refused, or change no claim (white space of the PEM).
  const claims = JSON.stringify((await appraiseTdx(quote, open, context)).claims);
  for (const bit of bitsToFlip(quote.length, 1500).filter((each) => each >= 8 * end)) {
    const verdict = await appraiseTdx(flipped(quote, bit), open, context);
    assert.ok(!verdict.ok || JSON.stringify(verdict.claims) === claims, `bit ${bit}`);
  }
});
