// Whole appraisals: the policy chooses the verifier, all sections must hold, one nonce per session.
import assert from "node:assert/strict";
import {
  appraise,
  appraiseBundle,
  type Bundle,
  type Collateral,
  type Evidence,
  evidenceOfAzure,
  formatBundle,
  parseBundle,
  parsePolicy,
  type Policy,
  type Session,
  verdictEat,
  verdictText,
} from "./mod.ts";
import { machine, NOW, TCB } from "./forge/snp.ts";
import { fakeTdx } from "./forge/tdx.ts";
import { INSECURE_SIMULATED_ROOT, issueSimulated, simulatedPolicy } from "./simulated/mod.ts";
import { parseReport, snpPolicy, TCB_ZERO } from "./snp/mod.ts";
import { tdxPolicy } from "./tdx/mod.ts";
import { bitsToFlip, flipped, ownText, ownVector } from "./testdata/vectors.ts";
import { azureTokenPolicy } from "./token/mod.ts";
import { akReportData, encodeAttestation, type TpmEvidence } from "./tpm/mod.ts";
import { decodeAttestation } from "./tpm/mod.ts";
import { equalBytes, toHex, type Verdict } from "./verdict.ts";
import { decodeBase64url } from "./x509/mod.ts";

const AA = new Uint8Array(64).fill(0xaa);
const made = await machine();
const td = await fakeTdx();

/** One good appraisal a technology: policy, evidence, session and collateral. */
interface Scene {
  readonly policy: Policy;
  readonly evidence: Evidence;
  readonly session: Session;
  readonly collateral?: Collateral;
}

const all = (byte: number) => [byte.toString(16).repeat(48)];
const snpScene: Scene = {
  policy: {
    name: "snp",
    snp: snpPolicy({
      products: ["Milan"],
      roots: [made.rootKey],
      measurement: all(0xbb),
      tcb: { reported: TCB },
    }),
  },
  evidence: { snp: await made.report() },
  session: { now: NOW, reportData: AA },
  collateral: {
    snp: {
      leaf: made.leaf,
      intermediate: made.intermediate,
      root: made.root,
      crls: [await made.crl()],
    },
  },
};
const tdxScene: Scene = {
  policy: {
    name: "tdx",
    tdx: tdxPolicy({
      roots: [td.rootKey],
      mrTd: all(0xd0),
      rtmr0: all(0xe0),
      rtmr1: all(0xe1),
      rtmr2: all(0xe2),
      rtmr3: all(0xe3),
    }),
  },
  evidence: { tdx: td.quote },
  session: { now: NOW, reportData: AA },
  collateral: { tdx: td.collateral },
};
const simulatedScene: Scene = {
  policy: {
    name: "simulated",
    simulated: simulatedPolicy({
      insecure: true,
      roots: [INSECURE_SIMULATED_ROOT],
      measurement: all(0xbb),
    }),
  },
  evidence: {
    simulated: issueSimulated({
      measurement: new Uint8Array(48).fill(0xbb),
      reportData: AA,
      hostData: new Uint8Array(32),
    }),
  },
  session: { now: NOW, reportData: AA },
};

/** A quote of a software TPM over registers 0, 1, 2, 7, 10, 16 with the nonce 00…2A. */
const swtpm: TpmEvidence = {
  ak: { area: ownVector("tpm/swtpm-rsa-ak.tpm2b_public").subarray(2) },
  quotes: [{
    quote: ownVector("tpm/swtpm-rsa-quote.msg"),
    signature: ownVector("tpm/swtpm-rsa-quote.sig"),
    values: new Map([[
      "sha256",
      new Map([0, 1, 2, 7, 10, 16].map((index, at) => [
        index,
        ownVector("tpm/swtpm-rsa-quote.pcrs").subarray(32 * at, 32 * at + 32),
      ])),
    ]]),
  }],
};
const teeNonce = new Uint8Array(64).fill(0x77);
const swtpmNonce = (() => {
  const quote = ownVector("tpm/swtpm-rsa-quote.msg");
  const signer = new DataView(quote.buffer).getUint16(6);
  const at = 8 + signer;
  return quote.slice(at + 2, at + 2 + new DataView(quote.buffer).getUint16(at));
})();
const area = "area" in swtpm.ak ? swtpm.ak.area : new Uint8Array();
const snpTpmScene: Scene = {
  policy: {
    ...snpScene.policy,
    tpm: {
      binding: "report-data",
      nonce: "session",
      banks: ["sha256"],
      registers: [0, 1, 2, 7, 10, 16],
      pcrs: "any",
      counters: "any",
      revocation: "required",
      userData: "any",
    },
  },
  evidence: { snp: await made.report({ 0x50: akReportData(teeNonce, area) }), tpm: swtpm },
  session: { now: NOW, nonce: swtpmNonce, teeNonce },
  ...(snpScene.collateral === undefined ? {} : { collateral: snpScene.collateral }),
};

const SCENES: Record<string, Scene> = {
  snp: snpScene,
  tdx: tdxScene,
  simulated: simulatedScene,
  "snp+tpm": snpTpmScene,
};

function run(scene: Scene, changes: Partial<Scene> = {}): Promise<Verdict> {
  const { policy, evidence, session, collateral } = { ...scene, ...changes };
  return appraise(policy, evidence, session, collateral);
}

function failures(verdict: Verdict): string[] {
  return verdict.checks.filter((each) => !each.ok).map((each) => each.id);
}

for (const [name, scene] of Object.entries(SCENES)) {
  Deno.test(`appraise() accepts right evidence of ${name}`, async () => {
    assert.deepEqual(failures(await run(scene)), []);
  });

  Deno.test(`A-3 appraise() refuses evidence of any other kind under the policy of ${name}`, async () => {
    const others = Object.entries(SCENES).filter(([each]) => each !== name);
    for (const [, other] of others) {
      const verdict = await run(scene, { evidence: other.evidence });
      assert.deepEqual(failures(verdict), ["evidence.kinds"]);
    }
    for (const evidence of [{}, { ...scene.evidence, azureToken: "a.b.c" }]) {
      assert.deepEqual(failures(await run(scene, { evidence })), ["evidence.kinds"]);
    }
    // The bytes of another technology under the right name.
    const [[kind]] = Object.entries(scene.evidence) as [[keyof Evidence, unknown]];
    for (const [, other] of others) {
      const [bytes] = Object.values(other.evidence);
      if (equalBytes(bytes, scene.evidence[kind] as Uint8Array)) continue;
      assert.equal(
        (await run(scene, { evidence: { ...scene.evidence, [kind]: bytes } })).ok,
        false,
      );
    }
  });
}

/** What can be wrong with the value evidence is bound to. */
const DEFECTS: Record<string, (right: Uint8Array) => Uint8Array | undefined> = {
  "not given": () => undefined,
  "empty": () => new Uint8Array(),
  "one byte shorter": (right) => right.subarray(1),
  "one byte longer": (right) => Uint8Array.from([...right, 0]),
  "half, padded with zeros": (right) => {
    const padded = new Uint8Array(right.length);
    padded.set(right.subarray(0, right.length / 2));
    return padded;
  },
  "zeros": (right) => new Uint8Array(right.length),
  "another nonce": (right) => right.map((byte) => byte ^ 0x55),
  "one bit off": (right) => flipped(right, 8 * right.length - 1),
};
const BOUND: Record<string, readonly [Scene, "reportData" | "nonce" | "teeNonce"]> = {
  "SNP REPORT_DATA": [snpScene, "reportData"],
  "TDX REPORTDATA": [tdxScene, "reportData"],
  "simulated report data": [simulatedScene, "reportData"],
  "TPM nonce beside SNP": [snpTpmScene, "nonce"],
  "TEE nonce of the TPM's key": [snpTpmScene, "teeNonce"],
};

for (const [name, [scene, field]] of Object.entries(BOUND)) {
  Deno.test(`A-1 appraise() refuses each of ${Object.keys(DEFECTS).length} defects of: ${name}`, async () => {
    for (const [defect, change] of Object.entries(DEFECTS)) {
      const session = { ...scene.session, [field]: change(scene.session[field] as Uint8Array) };
      assert.equal((await run(scene, { session })).ok, false, defect);
    }
  });
}

Deno.test("A-1 appraise() has no platform whose policy checks no binding by default", () => {
  assert.equal(snpScene.policy.snp?.reportData, "session");
  assert.equal(tdxScene.policy.tdx?.reportData, "session");
  assert.equal(simulatedScene.policy.simulated?.reportData, "session");
  const token = azureTokenPolicy({ issuer: "https://x", keys: "any", measurement: "any" });
  assert.equal(token.nonce, "session");
  const { tpm } = parsePolicy(
    '{"cocosPolicy": 1, "tpm": {"binding": "any", "registers": [0], "pcrs": "any"}}',
  );
  assert.equal(tpm?.nonce, "session");
});

Deno.test("A-3 appraise() judges no policy of two machines, which no file can say but a program can", async () => {
  const both: Scene = {
    policy: { ...snpScene.policy, ...tdxScene.policy },
    evidence: { ...snpScene.evidence, tdx: tdxScene.evidence.tdx?.slice(1) ?? new Uint8Array() },
    session: snpScene.session,
    collateral: { ...snpScene.collateral, ...tdxScene.collateral },
  };
  const verdict = await run(both);
  assert.deepEqual(failures(verdict), ["evidence.kinds"]);
  assert.match(verdict.checks[0]?.actual ?? "", /one machine is not snp and tdx/);
});

Deno.test("A-8 appraise() binds the TPM's key only by a hardware report whose verdict is good", async () => {
  const debug = {
    ...snpTpmScene.evidence,
    snp: await made.report({ 0x0a: 2 | 8, 0x50: akReportData(teeNonce, area) }),
  };
  assert.deepEqual(failures(await run(snpTpmScene, { evidence: debug })), [
    "snp.guest.debug",
    "tpm.ak.binding",
  ]);
});

Deno.test("appraise() does not look at logs the policy has no section for, and says so", async () => {
  const verdict = await run(snpScene, {
    evidence: { ...snpScene.evidence, ima: AA, eventLog: AA },
  });
  assert.equal(verdict.ok, true);
  assert.equal(verdict.checks[0]?.actual, "snp (not looked at: eventLog, ima)");
});

Deno.test("appraise() refuses a policy without section and one with a section missing its evidence", async () => {
  assert.deepEqual(failures(await run(snpScene, { policy: { name: "none" } })), ["evidence.kinds"]);
  assert.deepEqual(failures(await run(snpScene, { policy: snpTpmScene.policy })), [
    "evidence.kinds",
  ]);
});

/** Azure's evidence of a real SNP VM with vTPM. */
function azure(): Scene {
  const json = JSON.parse(ownText("azure/snp-evidence-v1.json"));
  const hclReport = decodeBase64url(json.hcl_report.replace(/=+$/, ""));
  const hex = (text: string) =>
    Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const leaf = decodeBase64url(
    json.vcek.replace(/=+$/, "").replaceAll("+", "-").replaceAll("/", "_"),
  );
  const report = parseReport(hclReport.subarray(0x20, 0x20 + 1184));
  return {
    policy: {
      name: "azure",
      snp: snpPolicy({
        products: ["Milan"],
        measurement: [toHex(report.measurement)],
        revocation: "any",
        vmpl: [0],
        guest: { smt: "any" },
        firmware: { provisional: "any" },
        tcb: { reported: TCB_ZERO },
      }),
      tpm: {
        binding: "hcl",
        nonce: "session",
        banks: ["sha256"],
        registers: Array.from({ length: 24 }, (_, index) => index),
        pcrs: "any",
        counters: "any",
        revocation: "required",
        userData: "any",
      },
    },
    evidence: {
      snp: report.raw,
      hclReport,
      tpm: evidenceOfAzure([{
        quote: hex(json.tpm_quote.message),
        signature: { rsassaSha256: hex(json.tpm_quote.signature) },
        values: new Map([[
          "sha256",
          new Map(json.tpm_quote.pcrs.map((value: string, at: number) => [at, hex(value)])),
        ]]),
      }], hclReport),
    },
    session: { now: Date.UTC(2025, 5, 1), nonce: new TextEncoder().encode("challenge") },
    collateral: { snp: { leaf } },
  };
}

Deno.test("appraise() accepts Azure's real SNP evidence: report, HCL runtime data, vTPM quote", async () => {
  const scene = azure();
  assert.deepEqual(failures(await run(scene)), []);
  const stale = await run(scene, {
    session: { ...scene.session, nonce: new TextEncoder().encode("challengE") },
  });
  assert.deepEqual(failures(stale), ["tpm.quote.nonce"]);
  const { hclReport = new Uint8Array() } = scene.evidence;
  const at = hclReport.indexOf(0x7b, 0x4d4) + 400;
  const changed = await run(scene, {
    evidence: { ...scene.evidence, hclReport: flipped(hclReport, 8 * at) },
  });
  assert.ok(failures(changed).includes("snp.report-data"));
  assert.ok(failures(changed).includes("tpm.ak.binding"));
});

Deno.test("parseBundle() and formatBundle() are inverse, and a bundle is appraised offline", async () => {
  for (const scene of [snpScene, tdxScene, simulatedScene]) {
    const bundle: Bundle = {
      policy: scene.policy,
      evidence: scene.evidence as Bundle["evidence"],
      session: scene.session as Bundle["session"],
      collateral: scene.collateral ?? {},
    };
    const text = formatBundle(bundle);
    const read = parseBundle(text);
    assert.equal(formatBundle(read), text);
    assert.deepEqual(failures(await appraiseBundle(read)), []);
    const later = parseBundle(text.replace('"now": "2026', '"now": "2036'));
    assert.equal((await appraiseBundle(later)).ok, scene === simulatedScene);
  }
});

Deno.test("appraiseBundle() takes the TPM's evidence as the seed era's container", async () => {
  const file = decodeAttestation(ownVector("tpm/gce-cos85-nonce9009.attestation.pb"));
  const policy = parsePolicy(
    '{"cocosPolicy": 1, "tpm": {"binding": "any", "registers": [0, 7], "pcrs": "any"}, "eventLog": {"kind": "tcg", "registers": [0, 7]}}',
  );
  const nonce = Uint8Array.of(0x90, 0x09);
  const text = formatBundle({
    policy,
    evidence: { eventLog: file.eventLog },
    attestation: file,
    session: { now: NOW, nonce },
    collateral: {},
  });
  const verdict = await appraiseBundle(parseBundle(text));
  assert.ok(verdict.checks.length > 10);
  assert.ok(!failures(verdict).includes("evidence.kinds"));
  assert.ok(!failures(verdict).includes("tpm.quote.nonce"));
  assert.deepEqual(
    encodeAttestation(parseBundle(text).attestation ?? file),
    encodeAttestation(file),
  );
});

Deno.test("A-11 parseBundle() refuses malformed bundles with the line", () => {
  const text = formatBundle({
    policy: snpScene.policy,
    evidence: snpScene.evidence as Bundle["evidence"],
    session: snpScene.session as Bundle["session"],
    collateral: snpScene.collateral ?? {},
  });
  for (
    const [wrong, message] of [
      ["", /empty/],
      [text.replace('"cocosBundle": 1', '"cocosBundle": 2'), /cocosBundle must be 1/],
      [text.replace('"evidence"', '"evidences"'), /evidence is missing/],
      [text.replace('"now": "', '"now": "x'), /now must be a time/],
      [text.replace('"snp": "', '"sev": "'), /evidence.sev is not a known name/],
      [text.replace('"reportData": "', '"reportData": "%'), /reportData must be/],
      [
        text.replace('"session": {', '"session": {"credential": {},'),
        /credential is not a known name/,
      ],
    ] as const
  ) assert.throws(() => parseBundle(wrong), message);
});

Deno.test("verdictText() and verdictEat() show the same verdict; hostile text is made harmless", async () => {
  const good = await run(snpScene);
  assert.match(verdictText(good), /trusted: all \d+ checks hold\n$/);
  const bad = await run(snpScene, { session: { now: NOW } });
  const text = verdictText(bad, { all: false });
  assert.match(
    text,
    /^FAIL snp.report-data\n +expected: .*\n +found: {4}aa.*\n +remedy: {3}.*\nNOT trusted: 1 of \d+ checks failed\n$/,
  );
  const eat = verdictEat(bad, { now: NOW, nonce: AA });
  assert.equal(decodeBase64url(eat["eat_nonce"] as string).length, 64);
  for (const wrong of [7, 65]) {
    assert.equal(
      verdictEat(bad, { now: NOW, nonce: new Uint8Array(wrong) })["eat_nonce"],
      undefined,
    );
  }
  assert.equal(eat.iat, NOW / 1000);
  const { evidence } = eat.submods as { evidence: Record<string, unknown> };
  assert.equal(evidence["ear.status"], 96);
  assert.equal(evidence["ear.veraison.annotated-evidence"], undefined);
  const hostile = verdictText({
    ok: false,
    technology: "x",
    claims: {},
    checks: [{
      id: "x",
      ok: false,
      expected: "y",
      actual: "\x1b[2J\u202eevil\n" + "z".repeat(500),
    }],
  });
  assert.match(hostile, /found: {4}\ufffd\[2J\ufffdevil\ufffdz+…\n/);
  assert.equal(
    verdictText({ ok: false, technology: "x", claims: {}, checks: [] }),
    "NOT trusted: no check was made\n",
  );
  assert.match(verdictText(await run(simulatedScene)), /INSECURE/);
});

Deno.test("A-14 appraise() refuses every flipped bit of extended evidence without an exception", async () => {
  const { snp = new Uint8Array() } = snpScene.evidence;
  for (const bit of bitsToFlip(snp.length, 150)) {
    const verdict = await run(snpScene, { evidence: { snp: flipped(snp, bit) } });
    assert.equal(verdict.ok, false, `bit ${bit}`);
  }
});
