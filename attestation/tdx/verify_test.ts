// One attack for each check of the TDX verdict, with correctly signed quotes of a fake platform: the
// check must be the one that refuses. Taking any id off the list makes a test here fail.
import assert from "node:assert/strict";
import fc from "fast-check";
import { ecPair, extension, rsaPair } from "../forge/pki.ts";
import {
  type FakeTdx,
  fakeTdx,
  intelName,
  NOW,
  type PlatformOptions,
  sgxExtension,
  type Statement,
} from "../forge/tdx.ts";
import { assertHelpful } from "../forge/verdicts.ts";
import { type Verdict, verdictOf } from "../verdict.ts";
import { Oid } from "../x509/mod.ts";
import {
  appraiseTdx,
  converge,
  explainTdx,
  parseTdxQuote,
  TCB_STATUSES,
  TDX_CHECKS,
  type TdxContext,
  type TdxPolicy,
  tdxPolicy,
} from "./mod.ts";

type CheckId = (typeof TDX_CHECKS)[number];
const AA = new Uint8Array(64).fill(0xaa);
const DAY = 86_400_000;

interface Case {
  readonly platform?: PlatformOptions;
  readonly policy?: (policy: TdxPolicy) => unknown;
  readonly context?: (context: TdxContext) => unknown;
  readonly after?: (quote: Uint8Array) => Uint8Array;
  /** Must be the first to fail, where the checks behind it can't run; else the only one. */
  readonly first?: true;
}

const right = fakeTdx();

async function appraise(each: Case): Promise<Verdict> {
  const made: FakeTdx = await (each.platform === undefined ? right : fakeTdx(each.platform));
  const hex = (byte: number) => [byte.toString(16).repeat(48)];
  const strict = tdxPolicy({
    roots: [(await right).rootKey],
    mrTd: hex(0xd0),
    rtmr0: hex(0xe0),
    rtmr1: hex(0xe1),
    rtmr2: hex(0xe2),
    rtmr3: hex(0xe3),
  });
  const policy = { ...strict, ...each.policy?.(strict) as object };
  const context: TdxContext = { now: NOW, reportData: AA, collateral: made.collateral };
  const used = { ...context, ...each.context?.(context) as object };
  return await appraiseTdx(each.after?.(made.quote) ?? made.quote, policy, used);
}

const tcb = (changes: object) => (p: TdxPolicy) => ({ tcb: { ...p.tcb, ...changes } });
const collateral = (changes: object) => (c: TdxContext) => ({
  collateral: { ...c.collateral, ...changes },
});
const at = (quote: Uint8Array, offset: number, value: number) => {
  const copy = quote.slice();
  copy[offset] = value;
  return copy;
};
const LATER = new Date(NOW + DAY / 2).toISOString().replace(".000", "");

/** For each check, the attacks it alone must stop. */
const CASES: Record<CheckId, Record<string, Case>> = {
  "tdx.format": {
    "A-7 version 6": { after: (q) => at(q, 0, 6), first: true },
    "A-3 an SGX quote": { after: (q) => at(q, 0, 3), first: true },
    "A-3 TEE type SGX": { after: (q) => at(q, 4, 0), first: true },
    "A-7 another key type": { after: (q) => at(q, 2, 3), first: true },
    "A-7 nested certification data": { platform: { innerType: 6 }, first: true },
    "A-7 certification data without QE report": { platform: { outerType: 5 }, first: true },
    "A-7 v5 with the body of an enclave": {
      platform: { version: 5 },
      after: (q) => at(q, 48, 1),
      first: true,
    },
    "A-7 v5 body of another size": {
      platform: { version: 5 },
      after: (q) => at(q, 50, 0x88),
      first: true,
    },
    "A-14 cut": { after: (q) => q.subarray(0, 700), first: true },
    "A-14 empty": { after: () => new Uint8Array(), first: true },
    "A-14 oversized": { after: () => new Uint8Array(70_000), first: true },
  },
  "tdx.certificates": {
    "A-6 PCK of another name": {
      platform: { pck: { subject: intelName("Intel SGX PCK") } },
      first: true,
    },
    "A-6 PCK that is an authority": {
      platform: {
        pck: {
          extensions: [extension(Oid.BASIC_CONSTRAINTS, Uint8Array.of(0x30, 3, 1, 1, 0xff), true)],
        },
      },
      first: true,
    },
    "A-6 PCK without platform data": {
      platform: {
        pck: { extensions: [extension(Oid.KEY_USAGE, Uint8Array.of(3, 2, 6, 0xc0), true)] },
      },
      first: true,
    },
    "A-6 unknown critical extension": {
      platform: {
        pck: {
          extensions: [
            extension(Oid.KEY_USAGE, Uint8Array.of(3, 2, 6, 0xc0), true),
            sgxExtension(Array(16).fill(5), new Uint8Array(6).fill(0xf1)),
            extension("1.2.3", AA, true),
          ],
        },
      },
      first: true,
    },
    "A-6 intermediate without right to sign": {
      platform: {
        intermediate: {
          extensions: [extension(Oid.KEY_USAGE, Uint8Array.of(3, 2, 6, 0xc0), true)],
        },
      },
      first: true,
    },
    "A-6 signed with RSA": {
      platform: { pck: { signer: rsaPair("ark"), algorithm: "rsa-sha256" } },
      first: true,
    },
  },
  "tdx.root": {
    "A-6 Intel's root is not this one": {
      policy: () => ({
        roots:
          tdxPolicy({ mrTd: "any", rtmr0: "any", rtmr1: "any", rtmr2: "any", rtmr3: "any" }).roots,
      }),
    },
    "A-11 no root named": { policy: () => ({ roots: [] }) },
  },
  "tdx.chain": {
    "A-6 PCK signed by another key": { platform: { pck: { signer: lazy() } } },
    "A-6 intermediate signed by another key": { platform: { intermediate: { signer: lazy() } } },
  },
  "tdx.validity": {
    "A-6 PCK expired": { platform: { pck: { notAfter: NOW - 1000 } } },
    "A-6 intermediate not yet valid": { platform: { intermediate: { notBefore: NOW + 1000 } } },
  },
  "tdx.qe-signature": { "A-7 QE report not signed by the PCK": { platform: { otherPck: true } } },
  "tdx.qe-binding": {
    "A-7 attestation key not named by the QE": { platform: { qe: { 0x140: new Uint8Array(32) } } },
    "A-7 second half not zero": { platform: { qe: { 0x17f: 1 } } },
  },
  "tdx.signature": {
    "A-7 quote signed by another key": { platform: { otherKey: true } },
    "A-7 user data changed": { after: (q) => at(q, 30, 9) },
  },
  "tdx.collateral.tcb-info": {
    "A-7 no collateral": { context: () => ({ collateral: undefined }), first: true },
    "A-7 another signature": {
      context: collateral({ tcbInfoSignature: "00".repeat(64) }),
      first: true,
    },
    "A-7 SGX statement": { platform: { tcbInfo: (info) => (info.id = "SGX") }, first: true },
    "A-7 version 2": { platform: { tcbInfo: (info) => (info.version = 2) }, first: true },
    "A-7 duplicate name": {
      context: (c) =>
        collateral({ tcbInfo: c.collateral?.tcbInfo.replace("{", '{"id":"TDX",') })(c),
      first: true,
    },
    "A-7 unknown status": {
      platform: { tcbInfo: (info) => (info.tcbLevels[0].tcbStatus = "Fine") },
      first: true,
    },
    "A-6 signing certificate of another name": {
      platform: { signing: { subject: intelName("Intel SGX Signing") } },
      first: true,
    },
    "A-6 signing certificate by another key": {
      platform: { signing: { signer: lazy() } },
      first: true,
    },
  },
  "tdx.collateral.qe-identity": {
    "A-7 missing": { context: collateral({ qeIdentity: "" }), first: true },
    "A-7 that of the SGX quoting enclave": {
      platform: { qeIdentity: (identity) => (identity.id = "QE") },
      first: true,
    },
    "A-7 another signature": {
      context: collateral({ qeIdentitySignature: "11".repeat(64) }),
      first: true,
    },
  },
  "tdx.collateral.time": {
    "A-13 TCB info expired": {
      platform: { tcbInfo: (info) => (info.nextUpdate = info.issueDate) },
    },
    "A-13 TCB info from the future": { platform: { tcbInfo: (info) => (info.issueDate = LATER) } },
    "A-13 QE identity expired": {
      platform: { qeIdentity: (identity) => (identity.nextUpdate = identity.issueDate) },
    },
    "A-13 signing certificate expired": { platform: { signing: { notAfter: NOW - 1000 } } },
  },
  "tdx.collateral.evaluation": {
    "A-13 replayed TCB info": {
      platform: { tcbInfo: (info) => (info.tcbEvaluationDataNumber = 19) },
      policy: tcb({ minimumEvaluation: 20 }),
    },
    "A-13 replayed QE identity": {
      platform: { qeIdentity: (identity) => (identity.tcbEvaluationDataNumber = 19) },
      policy: tcb({ minimumEvaluation: 20 }),
    },
    "A-11 absent": { policy: tcb({ minimumEvaluation: undefined }) },
  },
  "tdx.revocation.root": {
    "A-6 intermediate revoked": { platform: { rootCrl: { serials: [2] } } },
    "A-6 TCB signing certificate revoked": { platform: { rootCrl: { serials: [4] } } },
    "A-6 list stale": { platform: { rootCrl: { nextUpdate: NOW - 1 } } },
    "A-6 list of another issuer": {
      platform: { rootCrl: { issuer: intelName("Intel SGX PCK Platform CA") } },
    },
    "A-6 list by another key": { platform: { rootCrl: { signer: lazy() } } },
    "A-6 no list": { context: collateral({ rootCrl: new Uint8Array() }) },
  },
  "tdx.revocation.pck": {
    "A-6 PCK revoked": { platform: { pckCrl: { serials: [3] } } },
    "A-6 list stale": { platform: { pckCrl: { nextUpdate: NOW - 1 } } },
    "A-6 list of the other CA": {
      platform: { pckCrl: { issuer: intelName("Intel SGX PCK Processor CA") } },
    },
    "A-6 no list": { context: collateral({ pckCrl: new Uint8Array() }) },
  },
  "tdx.platform": {
    "A-7 TCB info of another FMSPC": {
      platform: { tcbInfo: (info) => (info.fmspc = "F2".repeat(6)) },
    },
    "A-7 TCB info of another PCE": { platform: { tcbInfo: (info) => (info.pceId = "0001") } },
  },
  "tdx.qe-identity": {
    "A-7 another signer": { platform: { qe: { 0x80: 0 } } },
    "A-7 another product": { platform: { qe: { 0x100: 1 } } },
    "A-7 debug enclave": { platform: { qe: { 0x30: 0x13 } } },
    "A-7 MISCSELECT": { platform: { qe: { 0x10: 1 } } },
  },
  "tdx.module": {
    "A-7 module Intel does not name": { platform: { body: { 1: 2 } }, first: true },
    "A-7 module signed by another": {
      platform: { body: { 0x40: 1 } },
      policy: () => ({ mrSignerSeam: "any" }),
      first: true,
    },
    "A-7 module with debug attribute": { platform: { body: { 0x70: 1 } }, first: true },
  },
  "tdx.tcb.qe-level": { "A-7 QE older than every level": { platform: { qe: { 0x102: 0 } } } },
  "tdx.tcb.module-level": { "A-7 module older than every level": { platform: { body: { 0: 1 } } } },
  "tdx.tcb.platform-level": {
    "A-7 platform older than every level": { platform: { components: Array(16).fill(1) } },
    "A-7 no level at all": { platform: { tcbInfo: (info) => (info.tcbLevels = []) } },
    "A-7 TDX component below": { platform: { body: { 2: 4 } } },
  },
  "tdx.tcb.status": {
    "A-7 platform out of date": {
      platform: { components: [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 4] },
      policy: tcb({ advisories: "any" }),
    },
    "A-7 platform out of date under a current module": {
      platform: { tcbInfo: (info) => (info.tcbLevels[0].tcbStatus = "OutOfDate") },
    },
    "A-7 module out of date": { platform: { body: { 0: 3 } }, policy: tcb({ advisories: "any" }) },
    "A-7 QE out of date": { platform: { qe: { 0x102: 3 } }, policy: tcb({ advisories: "any" }) },
    "A-7 revoked": { platform: { tcbInfo: (info) => (info.tcbLevels[0].tcbStatus = "Revoked") } },
    "A-7 configuration needed": {
      platform: { tcbInfo: (info) => (info.tcbLevels[0].tcbStatus = "ConfigurationNeeded") },
    },
    "A-13 grace is over": {
      platform: { tcbInfo: (info) => (info.tcbLevels[0].tcbStatus = "SWHardeningNeeded") },
      policy: tcb({ grace: { statuses: ["SWHardeningNeeded"], until: NOW - 1 } }),
    },
    "A-11 no status named": { policy: tcb({ statuses: [] }) },
  },
  "tdx.tcb.advisories": {
    "A-7 open advisory": {
      platform: {
        tcbInfo: (info) => (info.tcbLevels[0].advisoryIDs = ["INTEL-SA-1", "INTEL-SA-2"]),
      },
      policy: tcb({ advisories: ["INTEL-SA-1"] }),
    },
    "A-11 absent": { policy: tcb({ advisories: undefined }) },
  },
  "tdx.report-data": {
    "A-1 another nonce": { context: () => ({ reportData: new Uint8Array(64) }) },
    "A-1 empty": { context: () => ({ reportData: new Uint8Array() }) },
    "A-1 shorter": { context: () => ({ reportData: AA.subarray(0, 32) }) },
    "A-1 zero-padded": { platform: { body: { 0x228: new Uint8Array(32) } } },
    "A-1 not known to the verifier": { context: () => ({ reportData: undefined }) },
    "A-1 not in the policy": { policy: () => ({ reportData: undefined }) },
  },
  "tdx.mrtd": {
    "another image": { platform: { body: { 0x88: 0 } } },
    "A-11 empty": { policy: () => ({ mrTd: [] }) },
  },
  "tdx.rtmr0": {
    "another RTMR0": { platform: { body: { 0x148: 0 } } },
    "A-11 absent": { policy: () => ({ rtmr0: undefined }) },
  },
  "tdx.rtmr1": { "another RTMR1": { platform: { body: { 0x178: 0 } } } },
  "tdx.rtmr2": { "another RTMR2": { platform: { body: { 0x1a8: 0 } } } },
  "tdx.rtmr3": { "another RTMR3": { platform: { body: { 0x1d8: 0 } } } },
  "tdx.qe-vendor": { "another vendor": { platform: { header: { 12: 0 } } } },
  "tdx.mrseam": { "A-7 another module": { policy: () => ({ mrSeam: ["11".repeat(48)] }) } },
  "tdx.mrsignerseam": {
    "A-7 another signer": { policy: () => ({ mrSignerSeam: ["11".repeat(48)] }) },
  },
  "tdx.mrconfigid": { "A-5 another configuration": { platform: { body: { 0xb8: 1 } } } },
  "tdx.mrowner": { "A-5 an owner": { platform: { body: { 0xe8: 1 } } } },
  "tdx.mrownerconfig": { "A-5 an owner's configuration": { platform: { body: { 0x118: 1 } } } },
  "tdx.mrservicetd": {
    "A-5 a service TD": { platform: { version: 5, td15: true, body: { 0x258: 1 } } },
  },
  "tdx.debug": { "A-7 debug": { platform: { body: { 0x78: 1 } } } },
  "tdx.attributes.known": {
    "A-5 an attribute without a name": { platform: { body: { 0x79: 1 } } },
  },
  "tdx.attributes": {
    "A-5 other attributes": { policy: () => ({ tdAttributes: ["00".repeat(8)] }) },
  },
  "tdx.xfam.valid": {
    "A-5 a feature that does not exist": { platform: { body: { 0x83: 1 } } },
    "A-5 without x87": { platform: { body: { 0x80: 0xe6 } } },
  },
  "tdx.xfam": { "A-5 other features": { policy: () => ({ xfam: ["03" + "00".repeat(7)] }) } },
  "tdx.tee-tcb-svn": {
    "A-4 one byte below": { policy: () => ({ minimumTeeTcbSvn: "050106" + "00".repeat(13) }) },
    "A-11 unreadable": { policy: () => ({ minimumTeeTcbSvn: "NaN" }) },
  },
  "tdx.qe-svn": { "A-4 below": { policy: () => ({ minimumQeSvn: 5 }) } },
  "tdx.pce-svn": { "A-4 below": { policy: () => ({ minimumPceSvn: 12 }) } },
};

/** A key nobody trusts, made when it is first used. */
function lazy(): Awaited<ReturnType<typeof ecPair>> {
  const made = ecPair("P-256");
  return {
    spki: new Uint8Array(),
    sign: async (algorithm, data) => await (await made).sign(algorithm, data),
    signRaw: async (hash, data) => await (await made).signRaw(hash, data),
  };
}

for (const [id, cases] of Object.entries(CASES)) {
  Deno.test(`A-7 appraiseTdx() ${id} refuses: ${Object.keys(cases).join("; ")}`, async () => {
    for (const [name, each] of Object.entries(cases)) {
      const verdict = await appraise(each);
      const failed = verdict.checks.filter((check) => !check.ok).map((check) => check.id);
      assertHelpful(verdict);
      assert.equal(verdict.ok, false, name);
      if (each.first) assert.equal(failed[0], id, name);
      else {
        assert.deepEqual(failed, [id], name);
        const without = verdict.checks.filter((check) => check.id !== id);
        assert.equal(verdictOf("tdx", without, {}).ok, true, name);
      }
    }
  });
}

Deno.test("appraiseTdx() accepts fake quotes of each version under a policy that names their root", async () => {
  for (const platform of [{}, { version: 5 }, { version: 5, td15: true }] as const) {
    const verdict = await appraise({ platform });
    assert.deepEqual(verdict.checks.filter((each) => !each.ok), []);
    assert.deepEqual(verdict.checks.map((each) => each.id), [...TDX_CHECKS]);
  }
});

Deno.test("A-7 appraiseTdx() checks enclave and module also where the policy takes quotes without collateral", async () => {
  const without = async (platform: Case["platform"]) => {
    const context = () => ({ collateral: undefined });
    const verdict = await appraise({
      ...(platform === undefined ? {} : { platform }),
      context,
      policy: tcb({ collateral: "any" }),
    });
    return verdict.checks.filter(({ ok }) => !ok).map(({ id }) => id);
  };
  assert.deepEqual(await without(undefined), []);
  for (const qe of [{ 0x80: 0 }, { 0x100: 1 }, { 0x30: 0x13 }, { 0x10: 1 }]) {
    assert.deepEqual(await without({ qe }), ["tdx.qe-identity"], JSON.stringify(qe));
  }
  assert.deepEqual(await without({ body: { 0x70: 1 } }), ["tdx.module"]);
});

Deno.test("appraiseTdx() judges module 1.0 by tdxModule and all TDX components", async () => {
  const verdict = await appraise({ platform: { body: { 1: 0 } } });
  assert.equal(verdict.ok, true);
  const old = await appraise({ platform: { body: { 0: 4, 1: 0 } } });
  assert.deepEqual(old.checks.filter((each) => !each.ok).map((each) => each.id), [
    "tdx.tcb.platform-level",
  ]);
});

Deno.test("A-7 appraiseTdx() keeps every advisory of platform, module and QE", async () => {
  const verdict = await appraise({
    platform: { body: { 0: 3 }, qe: { 0x102: 2 }, components: Array(16).fill(3) },
  });
  assert.deepEqual(verdict.claims.advisories, [
    "INTEL-SA-MODULE",
    "INTEL-SA-PLATFORM",
    "INTEL-SA-QE",
  ]);
  assert.equal(verdict.claims.tcbStatus, "OutOfDate");
});

Deno.test("A-13 appraiseTdx() takes statements from their first to their last second, whatever the skew", async () => {
  for (
    const [skew, ok] of [[0, true], [300_000, true], [-300_000, true], [DAY, true], [-DAY, true], [
      DAY + 1000,
      false,
    ], [-DAY - 1000, false]] as const
  ) {
    const verdict = await appraise({ context: () => ({ now: NOW + skew }) });
    assert.equal(verdict.ok, ok, `${skew} ms`);
  }
});

Deno.test("A-13 appraiseTdx() accepts a named status until the end of its grace", async () => {
  const hardening = (info: Statement) => (info.tcbLevels[0].tcbStatus = "SWHardeningNeeded");
  const verdict = await appraise({
    platform: { tcbInfo: hardening },
    policy: tcb({ grace: { statuses: ["SWHardeningNeeded"], until: NOW } }),
  });
  assert.equal(verdict.ok, true);
});

Deno.test("A-11 explainTdx() names every check of the verdict, in order; an empty policy refuses", async () => {
  const policy = tdxPolicy({ mrTd: "any", rtmr0: "any", rtmr1: "any", rtmr2: "any", rtmr3: "any" });
  assert.deepEqual(explainTdx(policy).map(({ id }) => id), [...TDX_CHECKS]);
  const { quote, collateral } = await right;
  const verdict = await appraiseTdx(quote, {} as TdxPolicy, {
    now: NOW,
    collateral,
    reportData: AA,
  });
  assert.equal(verdict.ok, false);
  const rules = verdict.checks.filter((each) => each.ok && each.id.startsWith("tdx.m"));
  assert.deepEqual(rules.map((each) => each.id), ["tdx.module"]);
});

Deno.test("A-18 appraiseTdx() refuses a fake platform under Intel's root", async () => {
  const { quote, collateral } = await right;
  const policy = tdxPolicy({
    mrTd: "any",
    rtmr0: "any",
    rtmr1: "any",
    rtmr2: "any",
    rtmr3: "any",
    reportData: "any",
  });
  const verdict = await appraiseTdx(quote, policy, { now: NOW, collateral });
  assert.deepEqual(verdict.checks.filter((each) => !each.ok).map((each) => each.id), ["tdx.root"]);
});

Deno.test("converge() is never better than any of its parts, whatever their order", () => {
  const status = fc.constantFrom(...TCB_STATUSES);
  const rank = (word: (typeof TCB_STATUSES)[number]) => TCB_STATUSES.indexOf(word);
  fc.assert(fc.property(fc.array(status, { minLength: 1, maxLength: 3 }), (parts) => {
    const whole = converge(parts);
    assert.ok(parts.every((each) => rank(whole) <= rank(each)));
    assert.equal(whole, converge(parts.toReversed()));
  }));
  assert.equal(converge([]), "Revoked");
  assert.equal(converge(["OutOfDate", "ConfigurationNeeded"]), "OutOfDateConfigurationNeeded");
  assert.equal(
    converge(["SWHardeningNeeded", "ConfigurationNeeded"]),
    "ConfigurationAndSWHardeningNeeded",
  );
});

Deno.test("A-14 parseTdxQuote() gives a value or a typed error for any bytes", async () => {
  const { quote } = await right;
  const change = fc.tuple(fc.nat(quote.length - 1), fc.nat(255));
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.nat(quote.length),
      (changes, length) => {
        const copy = quote.slice();
        for (const [offset, value] of changes) copy[offset] = value;
        for (const bytes of [copy, copy.subarray(0, length)]) {
          try {
            parseTdxQuote(bytes);
          } catch (error) {
            assert.equal((error as Error).name, "CocosError");
          }
        }
      },
    ),
    { numRuns: 500 },
  );
});
