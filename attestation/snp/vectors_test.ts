// Real reports of real machines: what must hold and what must not (shared vectors, folders snp, ratls).
import assert from "node:assert/strict";
import { bitsToFlip, flipped, ownText, ownVector, vector } from "../testdata/vectors.ts";
import { firstFailure, toHex, type Verdict } from "../verdict.ts";
import { decodePem, isIssuedBy, Oid, parseCertificate, sha } from "../x509/mod.ts";
import {
  appraiseSnp,
  ARK_KEYS,
  builtInIntermediate,
  builtInRoot,
  checkLeaf,
  guestPolicy,
  parseReport,
  PRODUCT_LINES,
  REPORT_BYTES,
  SIGNED_BYTES,
  type SnpContext,
  type SnpPolicy,
  snpPolicy,
  splitExtended,
  TABLE_GUIDS,
  TCB_ZERO,
  tcbOf,
} from "./mod.ts";

const DAY = Date.UTC(2025, 5, 1);

/** A policy that names what the vectors of Milan are, and takes what it must from the report. */
function policyFor(report: Uint8Array, changes: Partial<SnpPolicy> = {}): SnpPolicy {
  const parsed = parseReport(report.subarray(0, REPORT_BYTES));
  return {
    ...snpPolicy({
      products: ["Milan"],
      measurement: [toHex(parsed.measurement)],
      reportData: toHex(parsed.reportData),
      revocation: "any",
      vmpl: [parsed.vmpl],
      guest: { smt: "any" },
      firmware: { provisional: "any" },
      tcb: { reported: TCB_ZERO },
    }),
    ...changes,
  };
}

function failures(verdict: Verdict): string[] {
  return verdict.checks.filter((each) => !each.ok).map((each) => each.id);
}

const v2 = ownVector("snp/milan-v2-vcek-report.bin");
const v2Context: SnpContext = {
  now: DAY,
  collateral: { leaf: ownVector("snp/milan-v2-vcek.der") },
};
const vlek = ownVector("snp/milan-v3-vlek-report.bin");
const vlekLeaf = ownVector("snp/milan-v3-vlek.der");

Deno.test("appraiseSnp() accepts the Milan v2 report until its VCEK ends", async () => {
  const verdict = await appraiseSnp(v2, policyFor(v2), v2Context);
  assert.deepEqual(failures(verdict), []);
  assert.equal(verdict.ok, true);
  assert.deepEqual(verdict.claims.reportedTcb, {
    fmc: 0,
    bootloader: 3,
    tee: 0,
    snp: 8,
    microcode: 0x73,
  });
  const report = parseReport(v2);
  assert.equal(report.policy.raw, 0x3001fn);
  assert.equal(report.vmpl, 0);
  for (const [now, ok] of [[Date.UTC(2030, 0, 1), true], [Date.UTC(2030, 1, 1), false]] as const) {
    assert.equal((await appraiseSnp(v2, policyFor(v2), { ...v2Context, now })).ok, ok);
  }
});

Deno.test("A-6 appraiseSnp() refuses the legacy VCEK: not signed by AMD, not this chip's", async () => {
  const collateral = { leaf: ownVector("snp/milan-vcek-invalid-legacy.der") };
  const verdict = await appraiseSnp(v2, policyFor(v2), { now: DAY, collateral });
  assert.deepEqual(failures(verdict), [
    "snp.chain",
    "snp.signature",
    "snp.hardware-id",
    "snp.tcb.certified",
  ]);
});

Deno.test("A-6 appraiseSnp() takes a VLEK report under the ASVK and in its year only", async () => {
  const policy = policyFor(vlek, { signers: ["vlek"] });
  const collateral = { leaf: vlekLeaf };
  const good = await appraiseSnp(vlek, policy, { now: DAY, collateral });
  assert.deepEqual(failures(good), []);
  const late = await appraiseSnp(vlek, policy, { now: Date.UTC(2025, 11, 11), collateral });
  assert.deepEqual(failures(late), ["snp.validity"]);
  const ask = builtInIntermediate("Milan", "vcek").raw;
  const wrong = await appraiseSnp(vlek, policy, {
    now: DAY,
    collateral: { ...collateral, intermediate: ask },
  });
  assert.equal(wrong.ok, false);
  assert.equal(firstFailure(wrong)?.id, "snp.intermediate");
  const byDefault = await appraiseSnp(vlek, policyFor(vlek), { now: DAY, collateral });
  assert.deepEqual(failures(byDefault), ["snp.signer"]);
});

Deno.test("A-5 appraiseSnp() refuses the debug guest of the GCE vector by default", async () => {
  const report = ownVector("snp/milan-v2-gce-report.bin");
  const context = { now: DAY, collateral: { leaf: ownVector("snp/milan-v2-gce-vcek.der") } };
  const verdict = await appraiseSnp(report, policyFor(report), context);
  assert.deepEqual(failures(verdict), ["snp.guest.debug"]);
  const policy = policyFor(report);
  const named = { ...policy, guest: { ...policy.guest, debug: "on" as const } };
  assert.equal((await appraiseSnp(report, named, context)).ok, true);
});

Deno.test("appraiseSnp() accepts the v5 report with mitigation vectors, alone and extended", async () => {
  const report = vector("snp/milan-v5-report.bin");
  const leaf = vector("snp/milan-v5-vcek.der");
  const extended = vector("snp/milan-v5-extended-report.bin");
  const ark = vector("snp/milan-v5-ark.der");
  if (!report || !leaf || !extended || !ark) return;
  const now = Date.UTC(2026, 5, 1);
  const mitigations = { launch: "0b", current: "000000000000000b" };
  const policy = policyFor(report, { mitigations });
  assert.deepEqual(failures(await appraiseSnp(report, policy, { now, collateral: { leaf } })), []);
  assert.deepEqual(failures(await appraiseSnp(extended, policy, { now })), []);
  const more = policyFor(report, { mitigations: { launch: "any", current: "1b" } });
  assert.deepEqual(failures(await appraiseSnp(extended, more, { now })), [
    "snp.mitigations.current",
  ]);
  assert.deepEqual(splitExtended(extended).table?.ark, ark);
  assert.equal(
    toHex(parseReport(report).measurement),
    "14195fde36852b69f2ac17166ebf3223351b1c34814f110339412652819073e061ed7c47e6e00d02a817aeb4992ce20d",
  );
});

Deno.test("appraiseSnp() says that the evidence of cocos carries no VCEK", async () => {
  const evidence = ownVector("snp/cocos-attestation-no-certs.bin");
  const verdict = await appraiseSnp(evidence, policyFor(evidence), { now: DAY });
  assert.equal(firstFailure(verdict)?.id, "snp.leaf");
  assert.match(firstFailure(verdict)?.actual ?? "", /no VCEK certificate/);
  const { table, report } = splitExtended(evidence);
  assert.equal(parseReport(report).vmpl, 2);
  assert.deepEqual([...table?.entries.keys() ?? []], [TABLE_GUIDS.platform]);
});

Deno.test("checkLeaf() reads the Turin VCEK: FMC, short hardware id, chain", async () => {
  const leaf = parseCertificate(ownVector("snp/turin-vcek.der"));
  const extensions = checkLeaf(leaf, "vcek");
  assert.equal(extensions.line, "Turin");
  assert.equal(toHex(extensions.hwid ?? new Uint8Array()), "1e550a8ee5cf9f4d");
  assert.deepEqual(extensions.tcb, tcbOf({ fmc: 0, snp: 0, microcode: 9 }));
  const [ask, ark] = decodePem(ownText("snp/turin-cert-chain.pem"), "CERTIFICATE")
    .map((der) => parseCertificate(der));
  assert.ok(ask && ark);
  assert.equal(await isIssuedBy(leaf, ask), true);
  assert.equal(await isIssuedBy(ask, ark), true);
  assert.equal(toHex(await sha(384, ark.key.spki)), ARK_KEYS.Turin);
});

Deno.test("builtInRoot() and builtInIntermediate() are self-consistent chains of the pinned keys", async () => {
  for (const line of PRODUCT_LINES) {
    const root = builtInRoot(line);
    assert.equal(toHex(await sha(384, root.key.spki)), ARK_KEYS[line]);
    assert.equal(
      root.subject.attributes.find((each) => each.oid === Oid.COMMON_NAME)?.text,
      `ARK-${line}`,
    );
    for (
      const certificate of [
        root,
        builtInIntermediate(line, "vcek"),
        builtInIntermediate(line, "vlek"),
      ]
    ) {
      assert.equal(await isIssuedBy(certificate, root), true);
    }
  }
});

Deno.test("A-5 A-14 appraiseSnp() refuses every flipped bit of the signed bytes and the signature", async () => {
  const policy = policyFor(v2, {
    measurement: "any",
    reportData: "any",
    vmpl: "any",
    reportIdMa: "any",
    guest: {
      ...policyFor(v2).guest,
      debug: "any",
      migration: "any",
      cxl: "any",
    },
    platform: { ...policyFor(v2).platform, tio: "any", unknown: "any" },
  });
  assert.equal((await appraiseSnp(v2, policy, v2Context)).ok, true);
  for (const bit of bitsToFlip(SIGNED_BYTES + 144, 700)) {
    const verdict = await appraiseSnp(flipped(v2, bit), policy, v2Context);
    assert.equal(verdict.ok, false, `bit ${bit}`);
    const failed = failures(verdict);
    assert.ok(failed.includes("snp.signature") || failed[0] === "snp.format", `bit ${bit}`);
  }
  // What stands behind the signature is reserved: refused, too.
  for (
    const bit of bitsToFlip(REPORT_BYTES, 900).filter((each) => each >= 8 * (SIGNED_BYTES + 144))
  ) {
    assert.equal((await appraiseSnp(flipped(v2, bit), policy, v2Context)).ok, false, `bit ${bit}`);
  }
});

Deno.test("appraiseSnp() accepts the report inside Cosmian's RA-TLS certificate", async () => {
  const pem = vector("ratls/cosmian-sev.ratls.pem");
  if (!pem) return;
  const [der] = decodePem(new TextDecoder().decode(pem), "CERTIFICATE");
  assert.ok(der);
  const certificate = parseCertificate(der);
  assert.equal(await isIssuedBy(certificate, certificate), true);
  const quote = certificate.extensions.get("1.2.840.113741.1337.7")?.value;
  assert.ok(quote);
  const report = quote.subarray(0, REPORT_BYTES);
  const parsed = parseReport(report);
  assert.equal(parsed.version, 5);
  assert.match(toHex(parsed.measurement), /^12068361/);
  assert.equal(certificate.key.kind, "ec");
  const point = certificate.key.kind === "ec" ? certificate.key.point : new Uint8Array();
  assert.equal(toHex(await sha(256, point)), toHex(parsed.reportData.subarray(0, 32)));
  // Bincode: u32 count, then {u32 length, GUID, DER}; the VCEK has its GUID of the certificate table.
  const list = new DataView(quote.slice(REPORT_BYTES).buffer);
  let at = 4;
  let leaf: Uint8Array | undefined;
  for (let left = list.getUint32(0, true); left > 0; left--) {
    const size = list.getUint32(at, true);
    const entry = quote.subarray(REPORT_BYTES + at + 4, REPORT_BYTES + at + 4 + size);
    at += 4 + size;
    const found = entry.findIndex((byte, index) => byte === 0x30 && entry[index + 1] === 0x82);
    const text = new TextDecoder("latin1").decode(entry);
    if (text.includes("SEV-VCEK")) leaf = entry.subarray(found);
  }
  assert.ok(leaf);
  const verdict = await appraiseSnp(report, policyFor(report), {
    now: Date.UTC(2026, 5, 1),
    collateral: { leaf },
  });
  assert.deepEqual(failures(verdict), []);
});

Deno.test("appraiseSnp() accepts the reports of Azure's HCL under the VCEKs beside them", async () => {
  const hcl = ownVector("azure/snp-hcl-report.bin").subarray(0x20, 0x20 + REPORT_BYTES);
  const chain = decodePem(ownText("azure/snp-vcek.pem"), "CERTIFICATE");
  const json = JSON.parse(ownText("azure/snp-evidence-v0.json"));
  const old = Uint8Array.from(json.report as number[]).subarray(0x20, 0x20 + REPORT_BYTES);
  const oldChain = decodePem(json.vcek, "CERTIFICATE");
  assert.equal(chain.length, 3);
  for (const [report, [leaf, intermediate, root]] of [[hcl, chain], [old, oldChain]] as const) {
    const collateral = { leaf, intermediate, root };
    const verdict = await appraiseSnp(report, policyFor(report), { now: DAY, collateral });
    assert.deepEqual(failures(verdict), []);
    assert.equal(parseReport(report).vmpl, 0);
  }
});

Deno.test("guestPolicy() names the bits of 3001F", () => {
  const policy = guestPolicy(0x3001fn);
  assert.deepEqual([policy.abiMajor, policy.abiMinor, policy.smt, policy.debug], [
    0,
    31,
    true,
    false,
  ]);
});
