// Addresses of Intel's service for a real quote, and its answers as collateral.
import assert from "node:assert/strict";
import { fakeTdx, NOW } from "../forge/tdx.ts";
import { ownVector } from "../testdata/vectors.ts";
import { appraiseTdx, collateralOf, tdxNeeds, tdxPolicy } from "./mod.ts";

Deno.test("tdxNeeds() names platform, statements and lists of a real quote", () => {
  const needs = tdxNeeds(ownVector("tdx/v4-b0c06f-quote.bin"));
  assert.deepEqual([needs.fmspc, needs.ca], ["b0c06f000000", "platform"]);
  assert.equal(
    needs.tcbInfo,
    "https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=b0c06f000000",
  );
  assert.match(needs.pckCrl, /\/sgx\/certification\/v4\/pckcrl\?ca=platform&encoding=der$/);
  assert.equal(needs.rootCrl, "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der");
});

Deno.test("collateralOf() keeps the signed texts of the service's answers byte for byte", async () => {
  const { quote, collateral, rootKey } = await fakeTdx();
  const answers = {
    tcbInfo: {
      body: `{"tcbInfo":${collateral.tcbInfo},"signature":"${collateral.tcbInfoSignature}"}`,
      chain: encodeURIComponent(collateral.tcbInfoChain),
    },
    qeIdentity: {
      body:
        `{"enclaveIdentity":${collateral.qeIdentity},"signature":"${collateral.qeIdentitySignature}"}`,
      chain: encodeURIComponent(collateral.qeIdentityChain),
    },
    rootCrl: collateral.rootCrl,
    pckCrl: collateral.pckCrl,
  };
  const made = collateralOf(answers);
  assert.deepEqual(made, collateral);
  const policy = tdxPolicy({
    roots: [rootKey],
    mrTd: "any",
    rtmr0: "any",
    rtmr1: "any",
    rtmr2: "any",
    rtmr3: "any",
    reportData: "any",
  });
  assert.equal((await appraiseTdx(quote, policy, { now: NOW, collateral: made })).ok, true);
  for (
    const wrong of [
      { ...answers, tcbInfo: { ...answers.tcbInfo, chain: "%zz" } },
      { ...answers, tcbInfo: { ...answers.tcbInfo, body: "<html>" } },
      { ...answers, qeIdentity: answers.tcbInfo },
      { ...answers, rootCrl: new TextEncoder().encode("<html>") },
    ]
  ) assert.throws(() => collateralOf(wrong), /Cannot read/);
});
