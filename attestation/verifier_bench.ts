// Times of one appraisal, warm: an SNP report with its chain (≤ 7 ms) and a TDX quote with its
// collateral (≤ 60 ms). Run: deno bench --allow-read=attestation/testdata attestation/verifier_bench.ts
import { appraiseSnp, snpPolicy, TCB_ZERO } from "./snp/mod.ts";
import { appraiseTdx, type TdxCollateral, tdxPolicy } from "./tdx/mod.ts";
import { ownText, ownVector } from "./testdata/vectors.ts";

const report = ownVector("snp/milan-v2-vcek-report.bin");
const leaf = ownVector("snp/milan-v2-vcek.der");
const snp = snpPolicy({
  products: ["Milan"],
  measurement: "any",
  reportData: "any",
  revocation: "any",
  guest: { smt: "any" },
  firmware: { provisional: "any" },
  tcb: { reported: TCB_ZERO },
});
const snpContext = { now: Date.UTC(2025, 5, 1), collateral: { leaf } };

const quote = ownVector("tdx/v4-b0c06f-quote.bin");
const json = JSON.parse(ownText("tdx/v4-b0c06f-collateral.json"));
const hex = (text: string) =>
  Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const collateral: TdxCollateral = {
  tcbInfo: json.tcb_info,
  tcbInfoSignature: json.tcb_info_signature,
  tcbInfoChain: json.tcb_info_issuer_chain,
  qeIdentity: json.qe_identity,
  qeIdentitySignature: json.qe_identity_signature,
  qeIdentityChain: json.qe_identity_issuer_chain,
  rootCrl: hex(json.root_ca_crl),
  pckCrl: hex(json.pck_crl),
};
const tdx = tdxPolicy({
  mrTd: "any",
  rtmr0: "any",
  rtmr1: "any",
  rtmr2: "any",
  rtmr3: "any",
  reportData: "any",
  mrConfigId: "any",
  mrOwner: "any",
  mrOwnerConfig: "any",
});

Deno.bench("SNP report with chain", { warmup: 20, n: 100 }, async () => {
  const { ok } = await appraiseSnp(report, snp, snpContext);
  if (!ok) throw new Error("the report must be accepted");
});

Deno.bench("TDX quote with collateral", { warmup: 20, n: 100 }, async () => {
  const { ok } = await appraiseTdx(quote, tdx, { now: Date.UTC(2025, 6, 1), collateral });
  if (!ok) throw new Error("the quote must be accepted");
});
