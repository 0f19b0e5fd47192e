// Addresses of AMD's service for real and made reports.
import assert from "node:assert/strict";
import { machine } from "../forge/snp.ts";
import { ownVector } from "../testdata/vectors.ts";
import { crlAddress } from "../x509/mod.ts";
import { builtInRoot, snpNeeds, tcbOf, vcekUrl } from "./mod.ts";

Deno.test("snpNeeds() names the VCEK, the chain and the list of a real report", () => {
  const needs = snpNeeds(ownVector("snp/milan-v2-vcek-report.bin"), "Milan");
  assert.match(
    needs.leaf ?? "",
    /^https:\/\/kdsintf\.amd\.com\/vcek\/v1\/Milan\/c38427a3[0-9a-f]{120}\?blSPL=3&teeSPL=0&snpSPL=8&ucodeSPL=115$/,
  );
  assert.equal(needs.crl, crlAddress(builtInRoot("Milan")));
  assert.throws(
    () => snpNeeds(ownVector("snp/milan-v2-vcek-report.bin")),
    /product line is not known/,
  );
});

Deno.test("snpNeeds() knows Turin's form, and that a VLEK comes from the host only", async () => {
  const turin = await (await machine({
    line: "Turin",
    tcb: tcbOf({ fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 5 }),
  })).report();
  assert.match(
    snpNeeds(turin).leaf ?? "",
    /\/Turin\/(c1){8}\?fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=5$/,
  );
  assert.throws(() => snpNeeds(turin, "Milan"), /of Turin, not Milan/);
  const vlek = snpNeeds(ownVector("snp/milan-v3-vlek-report.bin"));
  assert.equal(vlek.leaf, undefined);
  assert.match(vlek.chain, /\/vlek\/v1\/Milan\/cert_chain$/);
  const made = await machine();
  await assert.rejects(
    async () => snpNeeds(await made.report({ 0x48: 2, 0x1a0: new Uint8Array(64) })),
    /masked/,
  );
  await assert.rejects(async () => snpNeeds(await made.report({ 0x48: 28 })), /not signed/);
  assert.throws(() => vcekUrl("Turin", new Uint8Array(64), made.tcb), /8 bytes/);
});
