// One defect at a time: evidence of a fake TPM, honest but for one thing, and the check that sees it.
import assert from "node:assert/strict";
import type { Bank, BankValues } from "../banks.ts";
import { sequence } from "../forge/der.ts";
import { AK_ATTRIBUTES, fakeTpm, type QuoteOrder } from "../forge/tpm.ts";
import { firstFailure, toHex, type Verdict } from "../verdict.ts";
import {
  AK_BINDINGS,
  akReportData,
  appraiseTpm,
  explainTpm,
  KeyAttribute,
  keyFingerprint,
  parsePublic,
  type QuotedRegisters,
  TPM_CHECKS,
  type TpmCheck,
  type TpmContext,
  type TpmEvidence,
  type TpmPolicy,
} from "./mod.ts";

const NONCE = new Uint8Array(32).fill(0x42);
const TEE_NONCE = new Uint8Array(64).fill(0x17);
const PCR0 = new Uint8Array(32).fill(0xa0);
const PCR7 = new Uint8Array(32).fill(0xa7);
const VALUES: BankValues = new Map([["sha256", new Map([[0, PCR0], [7, PCR7]])]]);

const POLICY = {
  binding: "report-data",
  nonce: "session",
  banks: ["sha256"],
  registers: [0, 7],
  pcrs: { sha256: { 7: [toHex(PCR7)] } },
  counters: { resetCount: 7, restartCount: 0 },
} as const satisfies TpmPolicy;

interface Case {
  readonly evidence: TpmEvidence;
  readonly policy: TpmPolicy;
  readonly context: TpmContext;
}

const tpm = await fakeTpm();
const other = await fakeTpm();

async function quoted(order: Partial<QuoteOrder> = {}, by = tpm): Promise<QuotedRegisters> {
  const { values = VALUES } = order;
  return { ...await by.quote({ nonce: NONCE, ...order, values }), values };
}

const honest: Case = {
  evidence: { ak: { area: tpm.area }, quotes: [await quoted()] },
  policy: POLICY,
  context: {
    nonce: NONCE,
    binding: {
      kind: "report-data",
      reportData: akReportData(TEE_NONCE, tpm.area),
      teeNonce: TEE_NONCE,
    },
  },
};

async function withQuotes(...quotes: Promise<QuotedRegisters>[]): Promise<Case> {
  return { ...honest, evidence: { ...honest.evidence, quotes: await Promise.all(quotes) } };
}

async function withValues(values: BankValues): Promise<Case> {
  return await withQuotes(quoted().then((each) => ({ ...each, values })));
}

/** A TPM of other attributes, honestly bound. */
async function withAttributes(attributes: number): Promise<Case> {
  const odd = await fakeTpm(attributes);
  const reportData = akReportData(TEE_NONCE, odd.area);
  const binding = { kind: "report-data", reportData, teeNonce: TEE_NONCE } as const;
  const evidence = { ak: { area: odd.area }, quotes: [await quoted({}, odd)] };
  return { ...honest, evidence, context: { ...honest.context, binding } };
}

function withPolicy(change: { [name in keyof TpmPolicy]?: TpmPolicy[name] | undefined }): Case {
  const kept = Object.entries({ ...POLICY, ...change }).filter(([, value]) => value !== undefined);
  return { ...honest, policy: Object.fromEntries(kept) };
}

function pcrs(values: Partial<Record<Bank, Record<number, readonly string[]>>>): Case {
  return withPolicy({ pcrs: values });
}

const DEFECTS: readonly (readonly [string, readonly TpmCheck[], Case])[] = [
  ["key is no TPM key", ["tpm.ak.format"], {
    ...honest,
    evidence: { ...honest.evidence, ak: { area: tpm.area.subarray(1) } },
  }],
  ["key is of endless DER", ["tpm.ak.format"], {
    ...honest,
    evidence: { ...honest.evidence, ak: { spki: sequence(new Uint8Array(2100)) } },
  }],
  [
    "key is unrestricted",
    ["tpm.ak.attributes"],
    await withAttributes(AK_ATTRIBUTES & ~KeyAttribute.restricted),
  ],
  [
    "key was imported",
    ["tpm.ak.attributes"],
    await withAttributes(AK_ATTRIBUTES & ~KeyAttribute.sensitiveDataOrigin),
  ],
  [
    "key may be duplicated",
    ["tpm.ak.attributes"],
    await withAttributes(AK_ATTRIBUTES & ~KeyAttribute.fixedTPM),
  ],
  [
    "key's parent may be duplicated",
    ["tpm.ak.attributes"],
    await withAttributes(AK_ATTRIBUTES & ~KeyAttribute.fixedParent),
  ],
  [
    "key does not sign",
    ["tpm.ak.attributes"],
    await withAttributes(AK_ATTRIBUTES & ~KeyAttribute.sign),
  ],
  [
    "key also decrypts",
    ["tpm.ak.attributes"],
    await withAttributes(AK_ATTRIBUTES | KeyAttribute.decrypt),
  ],
  ["no way to bind the key is named", ["tpm.ak.binding"], withPolicy({ binding: undefined })],
  [
    "key is bound another way than the policy's",
    ["tpm.ak.binding"],
    withPolicy({ binding: "pinned" }),
  ],
  ["the session has no report", ["tpm.ak.binding"], { ...honest, context: { nonce: NONCE } }],
  ["report names another key", ["tpm.ak.binding"], {
    ...honest,
    context: {
      ...honest.context,
      binding: {
        kind: "report-data",
        reportData: akReportData(TEE_NONCE, other.area),
        teeNonce: TEE_NONCE,
      },
    },
  }],
  ["report is of another session", ["tpm.ak.binding"], {
    ...honest,
    context: {
      ...honest.context,
      binding: {
        kind: "report-data",
        reportData: akReportData(TEE_NONCE, tpm.area),
        teeNonce: new Uint8Array(64),
      },
    },
  }],
  ["boundary of nonce and key moved", ["tpm.ak.binding"], {
    ...honest,
    context: {
      ...honest.context,
      binding: {
        kind: "report-data",
        reportData: akReportData(TEE_NONCE, tpm.area),
        teeNonce: TEE_NONCE.subarray(0, 63),
      },
    },
  }],
  ["there is no quote", ["tpm.quote.format"], await withQuotes()],
  [
    "there are too many quotes",
    ["tpm.quote.format"],
    await withQuotes(...Array.from({ length: 17 }, () => quoted())),
  ],
  ["magic is not the TPM's", ["tpm.quote.format"], await withQuotes(quoted({ magic: 0xff544348 }))],
  [
    "it is no quote but a certification",
    ["tpm.quote.format"],
    await withQuotes(quoted({ type: 0x8017 })),
  ],
  ["it has a tail", ["tpm.quote.format"], await withQuotes(quoted({ tail: Uint8Array.of(0) }))],
  [
    "nothing is selected",
    ["tpm.quote.format"],
    await withQuotes(quoted({ selections: [["sha256", []]] })),
  ],
  [
    "a bank is selected twice",
    ["tpm.quote.format"],
    await withQuotes(quoted({ selections: [["sha256", [0]], ["sha256", [7]]] })),
  ],
  ["safe flag is no flag", ["tpm.quote.format"], await withQuotes(quoted({ safe: 2 }))],
  ["signed by another key", ["tpm.quote.signature"], await withQuotes(quoted({}, other))],
  [
    "the second quote is by another key",
    ["tpm.quote.signature"],
    await withQuotes(quoted(), quoted({}, other)),
  ],
  [
    "nonce of another session",
    ["tpm.quote.nonce"],
    await withQuotes(quoted({ nonce: NONCE.toReversed().fill(1) })),
  ],
  ["nonce is empty", ["tpm.quote.nonce"], await withQuotes(quoted({ nonce: new Uint8Array() }))],
  ["nonce is cut", ["tpm.quote.nonce"], await withQuotes(quoted({ nonce: NONCE.subarray(1) }))],
  [
    "nonce is padded",
    ["tpm.quote.nonce"],
    await withQuotes(quoted({ nonce: Uint8Array.of(...NONCE, 0) })),
  ],
  [
    "the second quote is older",
    ["tpm.quote.nonce"],
    await withQuotes(quoted(), quoted({ nonce: new Uint8Array(32) })),
  ],
  ["session and quote have no nonce", ["tpm.quote.nonce"], {
    ...await withQuotes(quoted({ nonce: new Uint8Array() })),
    context: { ...honest.context, nonce: new Uint8Array() },
  }],
  [
    "the policy says nothing about the nonce",
    ["tpm.quote.nonce"],
    withPolicy({ nonce: undefined }),
  ],
  [
    "reset between two quotes",
    ["tpm.quote.clock"],
    await withQuotes(quoted(), quoted({ resetCount: 8 })),
  ],
  [
    "resumed between two quotes",
    ["tpm.quote.clock"],
    await withQuotes(quoted(), quoted({ restartCount: 1 })),
  ],
  ["the clock goes back", ["tpm.quote.clock"], await withQuotes(quoted(), quoted({ clock: 999n }))],
  ["the machine was reset since", ["tpm.counters"], await withQuotes(quoted({ resetCount: 8 }))],
  [
    "the machine was resumed since",
    ["tpm.counters"],
    await withQuotes(quoted({ restartCount: 1 })),
  ],
  ["the policy says nothing about counters", ["tpm.counters"], withPolicy({ counters: undefined })],
  ["the digest is of other values", [
    "tpm.pcrs.digest",
    "tpm.pcrs.bank",
    "tpm.pcrs.selection",
    "tpm.pcrs.values",
  ], await withQuotes(quoted({ digest: new Uint8Array(32) }))],
  ["a selected value is missing", [
    "tpm.pcrs.digest",
    "tpm.pcrs.bank",
    "tpm.pcrs.selection",
    "tpm.pcrs.values",
  ], await withValues(new Map([["sha256", new Map([[7, PCR7]])]]))],
  ["a value was not quoted", [
    "tpm.pcrs.digest",
    "tpm.pcrs.bank",
    "tpm.pcrs.selection",
    "tpm.pcrs.values",
  ], await withValues(new Map([["sha256", new Map([[0, PCR0], [7, PCR7], [8, PCR7]])]]))],
  ["a whole bank was not quoted", [
    "tpm.pcrs.digest",
    "tpm.pcrs.bank",
    "tpm.pcrs.selection",
    "tpm.pcrs.values",
  ], await withValues(new Map([...VALUES, ["sha512", new Map([[0, new Uint8Array(64)]])]]))],
  [
    "a value is of another register",
    ["tpm.pcrs.digest", "tpm.pcrs.bank", "tpm.pcrs.selection", "tpm.pcrs.values"],
    await withValues(new Map([["sha256", new Map([[0, PCR0], [8, PCR7]])]])),
  ],
  ["two values are swapped", [
    "tpm.pcrs.digest",
    "tpm.pcrs.bank",
    "tpm.pcrs.selection",
    "tpm.pcrs.values",
  ], await withValues(new Map([["sha256", new Map([[0, PCR7], [7, PCR0]])]]))],
  [
    "two lengths are shifted",
    ["tpm.pcrs.digest", "tpm.pcrs.bank", "tpm.pcrs.selection", "tpm.pcrs.values"],
    await withValues(
      new Map([["sha256", new Map([[0, Uint8Array.of(...PCR0, 0xa7)], [7, PCR7.subarray(1)]])]]),
    ),
  ],
  [
    "two quotes differ about a register",
    ["tpm.pcrs.digest", "tpm.pcrs.bank", "tpm.pcrs.selection", "tpm.pcrs.values"],
    await withQuotes(
      quoted(),
      quoted({ values: new Map([["sha256", new Map([[0, PCR7], [7, PCR7]])]]) }),
    ),
  ],
  ["no bank is named", ["tpm.pcrs.bank", "tpm.pcrs.selection"], withPolicy({ banks: undefined })],
  ["only SHA-1 is named", ["tpm.pcrs.bank", "tpm.pcrs.selection"], withPolicy({ banks: ["sha1"] })],
  [
    "another bank is named",
    ["tpm.pcrs.bank", "tpm.pcrs.selection"],
    withPolicy({ banks: ["sha384"] }),
  ],
  ["no register is named", ["tpm.pcrs.selection"], withPolicy({ registers: undefined })],
  ["the list of registers is empty", ["tpm.pcrs.selection"], withPolicy({ registers: [] })],
  ["a named register is not quoted", ["tpm.pcrs.selection"], withPolicy({ registers: [0, 7, 8] })],
  ["no value is named", ["tpm.pcrs.values"], withPolicy({ pcrs: undefined })],
  ["the map of values is empty", ["tpm.pcrs.values"], pcrs({})],
  ["the map of a bank is empty", ["tpm.pcrs.values"], pcrs({ sha256: {} })],
  ["the list of accepted values is empty", ["tpm.pcrs.values"], pcrs({ sha256: { 7: [] } })],
  ["a value is another", ["tpm.pcrs.values"], pcrs({ sha256: { 0: [toHex(PCR7)] } })],
  ["a value is a prefix", ["tpm.pcrs.values"], pcrs({ sha256: { 7: [toHex(PCR7).slice(0, 62)] } })],
  [
    "a named bank is not quoted",
    ["tpm.pcrs.values"],
    pcrs({ sha256: { 7: [toHex(PCR7)] }, sha384: { 7: ["00".repeat(48)] } }),
  ],
  ["values only of SHA-1", ["tpm.pcrs.values"], pcrs({ sha1: { 7: ["00".repeat(20)] } })],
];

function failed(verdict: Verdict): string[] {
  return verdict.checks.filter(({ ok }) => !ok).map(({ id }) => id);
}

Deno.test("appraiseTpm() accepts honest evidence of a bound key", async () => {
  const { verdict, registers } = await appraiseTpm(honest.evidence, honest.policy, honest.context);
  assert.deepEqual(failed(verdict), []);
  assert.equal(verdict.ok, true);
  assert.deepEqual(registers.get("sha256")?.get(7), PCR7);
  assert.equal(verdict.claims["attestationKey"], keyFingerprint(parsePublic(tpm.area).key));
});

for (const [name, ids, { evidence, policy, context }] of DEFECTS) {
  Deno.test(`A-8 appraiseTpm() refuses: ${name}`, async () => {
    const { verdict, registers } = await appraiseTpm(evidence, policy, context);
    const reached = verdict.checks.filter(({ ok, actual }) => !ok && actual !== "(not reached)");
    assert.deepEqual(reached.map(({ id }) => id), ids);
    assert.equal(verdict.ok, false);
    assert.equal(registers.size, 0);
    assert.ok(firstFailure(verdict)?.remedy);
    if (name.includes("endless")) assert.match(firstFailure(verdict)?.actual ?? "", /too long/);
  });
}

Deno.test("every check of TPM_CHECKS alone refuses some evidence", () => {
  const alone = new Set(DEFECTS.map(([, ids]) => ids[0]));
  assert.deepEqual(TPM_CHECKS.filter((id) => !alone.has(id)), []);
});

Deno.test("explainTpm() names each check, and what is not set", () => {
  const explained = explainTpm({});
  assert.deepEqual(explained.map(({ id }) => id), [...TPM_CHECKS]);
  assert.equal(explained.filter(({ expected }) => expected.startsWith("(not set")).length, 6);
  assert.equal(
    explainTpm(POLICY).find(({ id }) => id === "tpm.counters")?.expected,
    "reset 7, restart 0",
  );
  assert.ok(AK_BINDINGS.includes("svsm"));
});
