// Simulated evidence is taken by the one policy that names it, and by nothing else.
import assert from "node:assert/strict";
import { appraiseSnp, snpPolicy, TCB_ZERO } from "../snp/mod.ts";
import { appraiseTdx, tdxPolicy } from "../tdx/mod.ts";
import { assertHelpful } from "../forge/verdicts.ts";
import { verdictOf } from "../verdict.ts";
import {
  appraiseSimulated,
  explainSimulated,
  INSECURE_SIMULATED_ROOT,
  INSECURE_SIMULATED_SECRET,
  issueSimulated,
  looksSimulated,
  parseSimulated,
  SIMULATED_CHECKS,
  type SimulatedContext,
  type SimulatedPolicy,
  simulatedPolicy,
} from "./mod.ts";

const reportData = new Uint8Array(64).fill(0xaa);
const evidence = issueSimulated({
  measurement: new Uint8Array(48).fill(0xbb),
  reportData,
  hostData: new Uint8Array(32),
});
const policy = simulatedPolicy({
  insecure: true,
  roots: [INSECURE_SIMULATED_ROOT],
  measurement: ["bb".repeat(48)],
});
const other = issueSimulated(
  { measurement: new Uint8Array(48).fill(0xbb), reportData, hostData: new Uint8Array(32) },
  new Uint8Array(32).fill(1),
);

function changed(at: number): Uint8Array {
  const copy = evidence.slice();
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
}

interface Case {
  readonly bytes?: Uint8Array;
  readonly policy?: unknown;
  readonly context?: SimulatedContext;
}

const CASES: Record<(typeof SIMULATED_CHECKS)[number], Case[]> = {
  "simulated.format": [{ bytes: changed(0) }, { bytes: evidence.subarray(1) }, {
    bytes: new Uint8Array(),
  }, {
    bytes: Uint8Array.from([...evidence, 0]),
  }],
  "simulated.root": [
    { bytes: other },
    { policy: { roots: [] } },
    { policy: { roots: undefined } },
    { policy: { insecure: false } },
    { policy: { insecure: "true" } },
  ],
  "simulated.signature": [{ bytes: changed(evidence.length - 1) }],
  "simulated.report-data": [
    { context: {} },
    { context: { reportData: new Uint8Array(64) } },
    { context: { reportData: reportData.subarray(1) } },
    { context: { reportData: new Uint8Array() } },
    { policy: { reportData: undefined } },
  ],
  "simulated.measurement": [
    { policy: { measurement: [] } },
    { policy: { measurement: undefined } },
    {
      policy: { measurement: ["00".repeat(48)] },
    },
  ],
  "simulated.host-data": [{ policy: { hostData: "session" } }, {
    policy: { hostData: "11".repeat(32) },
  }],
};

for (const [id, cases] of Object.entries(CASES)) {
  Deno.test(`A-1 A-18 appraiseSimulated() ${id} refuses each of its ${cases.length} attacks`, async () => {
    for (const each of cases) {
      const verdict = await appraiseSimulated(
        each.bytes ?? evidence,
        { ...policy, ...each.policy as SimulatedPolicy },
        each.context ?? { reportData },
      );
      const failed = verdict.checks.filter((check) => !check.ok).map((check) => check.id);
      assertHelpful(verdict);
      assert.equal(verdict.ok, false);
      if (id === "simulated.format") assert.equal(failed[0], id);
      else {
        assert.deepEqual(failed, [id]);
        assert.equal(
          verdictOf("simulated", verdict.checks.filter((check) => check.id !== id), {}).ok,
          true,
        );
      }
    }
  });
}

Deno.test("appraiseSimulated() accepts evidence under the development policy that names its root", async () => {
  const verdict = await appraiseSimulated(evidence, policy, { reportData });
  assert.equal(verdict.ok, true);
  assert.equal(verdict.claims.insecure, true);
  assert.deepEqual(explainSimulated(policy).map(({ id }) => id), [...SIMULATED_CHECKS]);
});

Deno.test("A-18 A-3 no other verifier takes simulated evidence, and none is taken for simulated", async () => {
  const snp = snpPolicy({
    products: ["Milan"],
    measurement: "any",
    reportData: "any",
    tcb: { reported: TCB_ZERO },
  });
  assert.equal((await appraiseSnp(evidence, snp, { now: 0 })).ok, false);
  const tdx = tdxPolicy({
    mrTd: "any",
    rtmr0: "any",
    rtmr1: "any",
    rtmr2: "any",
    rtmr3: "any",
    reportData: "any",
  });
  assert.equal((await appraiseTdx(evidence, tdx, { now: 0 })).ok, false);
  assert.equal(looksSimulated(evidence), true);
  assert.equal(looksSimulated(new Uint8Array(1184)), false);
});

Deno.test("A-14 appraiseSimulated() refuses every flipped bit", async () => {
  for (let bit = 0; bit < evidence.length * 8; bit += 13) {
    const copy = evidence.slice();
    copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
    const open = { ...policy, measurement: "any", reportData: "any" } as const;
    assert.equal((await appraiseSimulated(copy, open, {})).ok, false, `bit ${bit}`);
  }
});

Deno.test("issueSimulated() refuses fields of another length", () => {
  const claims = parseSimulated(evidence);
  assert.throws(
    () => issueSimulated({ ...claims, hostData: new Uint8Array(31) }),
    /hostData must have 32 bytes/,
  );
  assert.deepEqual(issueSimulated(claims, INSECURE_SIMULATED_SECRET), evidence);
});
