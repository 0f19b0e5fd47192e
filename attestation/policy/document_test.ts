// Policy files: what is refused at load and with which line, what is written back, what lint says.
import assert from "node:assert/strict";
import fc from "fast-check";
import { INSECURE_SIMULATED_ROOT, simulatedPolicy } from "../simulated/mod.ts";
import { PRODUCT_LINES, snpPolicy, TCB_ZERO, tcbOf } from "../snp/mod.ts";
import { TCB_STATUSES, tdxPolicy } from "../tdx/mod.ts";
import { azureTokenPolicy } from "../token/mod.ts";
import {
  checkedPolicy,
  diffPolicies,
  explainPolicy,
  explainText,
  formatPolicy,
  lintPolicy,
  parsePolicy,
  type Policy,
} from "./mod.ts";

const M = "ab".repeat(48);
const MINIMAL = `{
  "cocosPolicy": 1,
  "snp": {
    "products": ["Milan"],
    "measurement": "${M}",
    "tcb": { "reported": { "snp": 8, "microcode": 115 } }
  }
}`;

/** Wrong file → what the message must say. */
const REFUSED: Record<string, readonly [string, RegExp]> = {
  "empty file": ["", /line 1: the text is empty/],
  "only white space": ["\n\n", /line 3: the text is empty/],
  "empty object": ["{}", /cocosPolicy is missing/],
  "a list": ["[]", /must be an object/],
  "no section": ['{"cocosPolicy": 1}', /no section/],
  "another version": [MINIMAL.replace("1,", "2,"), /line 2: cocosPolicy must be 1/],
  "version as text": [MINIMAL.replace("1,", '"1",'), /line 2: cocosPolicy must be 1/],
  "unknown section": [MINIMAL.replace('"snp"', '"sev"'), /line 3: sev is not a known name/],
  "unknown key": [MINIMAL.replace('"products"', '"product"'), /line 3: snp.products is missing/],
  "one key too many": [
    MINIMAL.replace('"tcb"', '"vmlp": 0, "tcb"'),
    /line 6: snp.vmlp is not a known name/,
  ],
  "doubled key": [
    MINIMAL.replace('"tcb"', '"measurement": "any", "tcb"'),
    /line 6: "measurement" stands twice/,
  ],
  "doubled section": [
    MINIMAL.replace('"cocosPolicy": 1', '"snp": {}, "cocosPolicy": 1'),
    /line 3: "snp" stands twice/,
  ],
  "doubled key by escape": [
    MINIMAL.replace('"tcb"', '"me\\u0061surement": "any", "tcb"'),
    /stands twice/,
  ],
  "measurement empty": [
    MINIMAL.replace(M, ""),
    /line 5: snp.measurement must be hex of 48 bytes, has 0/,
  ],
  "measurement absent": [
    MINIMAL.replace(/"measurement".*\n/, ""),
    /line 3: snp.measurement is missing/,
  ],
  "measurement null": [MINIMAL.replace(`"${M}"`, "null"), /line 5: snp.measurement must be hex/],
  "measurement list empty": [
    MINIMAL.replace(`"${M}"`, "[]"),
    /line 5: snp.measurement must not be empty/,
  ],
  "measurement of 47 bytes": [MINIMAL.replace(M, M.slice(2)), /has 47/],
  "measurement of odd length": [MINIMAL.replace(M, M.slice(1)), /must be hex of 48 bytes/],
  "measurement no hex": [MINIMAL.replace(M, `zz${M.slice(2)}`), /must be hex of 48 bytes/],
  "measurement Any": [MINIMAL.replace(M, "Any"), /must be hex/],
  "NaN": [MINIMAL.replace("115", "NaN"), /line 6: a value is due/],
  "Infinity": [MINIMAL.replace("115", "1e999"), /line 6: a number is too large/],
  "a fraction": [
    MINIMAL.replace("115", "1.5"),
    /line 6: snp.tcb.reported.microcode must be a whole number from 0 to 255/,
  ],
  "a component above 255": [MINIMAL.replace("115", "256"), /must be a whole number from 0 to 255/],
  "negative": [MINIMAL.replace("115", "-1"), /must be a whole number/],
  "beyond 2^53": [MINIMAL.replace("115", "99999999999999999999"), /must be a whole number/],
  "unknown product": [
    MINIMAL.replace("Milan", "Rome"),
    /line 4: snp.products\[0\] must be one of Milan, Genoa, Turin/,
  ],
  "VMPL 4": [
    MINIMAL.replace('"tcb"', '"vmpl": 4, "tcb"'),
    /snp.vmpl must be a whole number from 0 to 3/,
  ],
  "a flag true": [
    MINIMAL.replace('"tcb"', '"guest": {"debug": true}, "tcb"'),
    /snp.guest.debug must be one of on, off, any/,
  ],
  "ABI version": [
    MINIMAL.replace('"tcb"', '"guest": {"minimumAbi": "1.256"}, "tcb"'),
    /minimumAbi must be a version/,
  ],
  "ID block without key": [MINIMAL.replace('"tcb"', '"idBlock": {}, "tcb"'), /must name a key/],
  "no TCB": [MINIMAL.replace(/,\n.*"tcb".*\n/, "\n"), /snp.tcb is missing/],
  "a date that does not exist": [
    MINIMAL.replace("115 }", '115 }, "grace": {"reported": {}, "until": "2026-13-01T00:00:00Z"}'),
    /must be a time/,
  ],
  "trailing text": [`${MINIMAL} {}`, /line 8: something follows/],
  "trailing comma": [MINIMAL.replace("115 }", "115 },"), /line 6: a name in quotes is due/],
  "a comment": [`// x\n${MINIMAL}`, /line 1: a value is due/],
  "single quotes": ["{'cocosPolicy': 1}", /a name in quotes/],
  "newline in a string": ['{"cocosPolicy\n": 1}', /not closed/],
  "a lone surrogate": ['{"cocosPolicy": 1, "name": "\\ud800"}', /wrong escape/],
  "depth bomb": ["[".repeat(100_000), /levels/],
  "two machines": [
    MINIMAL.replace(
      '"snp"',
      `"simulated": {"insecure": true, "roots": ["${
        "00".repeat(32)
      }"], "measurement": "any"}, "snp"`,
    ),
    /one machine is not snp and simulated/,
  ],
  "simulated without the word insecure": [
    `{"cocosPolicy": 1, "simulated": {"roots": ["${"00".repeat(32)}"], "measurement": "any"}}`,
    /simulated.insecure is missing/,
  ],
  "simulated with insecure false": [
    `{"cocosPolicy": 1, "simulated": {"insecure": false, "roots": ["${
      "00".repeat(32)
    }"], "measurement": "any"}}`,
    /simulated.insecure must be true/,
  ],
  "simulated without root": [
    '{"cocosPolicy": 1, "simulated": {"insecure": true, "roots": [], "measurement": "any"}}',
    /simulated.roots must not be empty/,
  ],
  "an endorsement alone": [
    `{"cocosPolicy": 1, "gcpEndorsement": {"roots": ["${"00".repeat(48)}"], "vcpus": "any"}}`,
    /needs a section snp or tdx/,
  ],
  "a token's issuer with path": [
    `{"cocosPolicy": 1, "azureToken": {"issuer": "https://x/y", "keys": "any", "measurement": "any"}}`,
    /an https address without path/,
  ],
  "TPM without registers": [
    '{"cocosPolicy": 1, "tpm": {"binding": "pinned", "registers": [], "pcrs": "any"}}',
    /tpm.registers must not be empty/,
  ],
  "TPM with empty PCR map": [
    '{"cocosPolicy": 1, "tpm": {"binding": "pinned", "registers": [0], "pcrs": {"sha256": {}}}}',
    /tpm.pcrs must name a register/,
  ],
  "TPM register 24": [
    `{"cocosPolicy": 1, "tpm": {"binding": "pinned", "registers": [0], "pcrs": {"sha256": {"24": "${
      "00".repeat(32)
    }"}}}}`,
    /registers are 0 to 23/,
  ],
};

for (const [name, [text, message]] of Object.entries(REFUSED)) {
  Deno.test(`A-11 parsePolicy() refuses: ${name}`, () => {
    assert.throws(() => parsePolicy(text), (error: Error & { code?: string }) => {
      assert.equal(error.code, "invalid-argument");
      assert.match(error.message, message);
      return true;
    });
  });
}

Deno.test("parsePolicy() fills in the strict defaults", () => {
  const { snp } = parsePolicy(MINIMAL);
  assert.deepEqual(
    snp,
    snpPolicy({
      products: ["Milan"],
      measurement: [M],
      tcb: { reported: tcbOf({ snp: 8, microcode: 115 }) },
    }),
  );
  assert.equal(snp?.reportData, "session");
  assert.equal(snp?.revocation, "required");
  assert.deepEqual(snp?.tcb.launch, snp?.tcb.reported);
});

const byte = fc.nat(255);
const hexOf = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes })
    .map((value) => [...value].map((each) => each.toString(16).padStart(2, "0")).join(""));
const anyOr = <T>(arbitrary: fc.Arbitrary<T>) => fc.oneof(fc.constant("any" as const), arbitrary);
const hexes = (bytes: number) => anyOr(fc.array(hexOf(bytes), { minLength: 1, maxLength: 3 }));
const flag = fc.constantFrom("on" as const, "off" as const, "any" as const);
const tcb = fc.record({ fmc: byte, bootloader: byte, tee: byte, snp: byte, microcode: byte });
const time = fc.nat(4_000_000).map((value) => value * 1_000_000);
const snp = fc.record({
  products: fc.subarray([...PRODUCT_LINES], { minLength: 1 }),
  measurement: hexes(48),
  chipId: hexes(64),
  vmpl: anyOr(fc.array(fc.nat(3), { minLength: 1, maxLength: 4 })),
  guest: fc.record({ debug: flag, smt: flag, singleSocket: flag }),
  platform: fc.record({ aliasCheck: flag }),
  idBlock: fc.oneof(
    fc.constantFrom("any" as const, "none" as const),
    fc.record({ idKeys: fc.array(hexOf(48), { minLength: 1 }), authorKeys: fc.array(hexOf(48)) }),
  ),
  tcb: fc.oneof(
    fc.record({ reported: tcb, current: tcb, committed: tcb, launch: tcb }),
    fc.record({ reported: tcb, grace: fc.record({ reported: tcb, until: time }) }),
  ),
  mitigations: fc.record({ launch: anyOr(hexOf(4)), current: anyOr(hexOf(8)) }),
}).map((given) => snpPolicy(structuredClone(given)));
const tdx = fc.record({
  mrTd: hexes(48),
  rtmr0: hexes(48),
  rtmr1: hexes(48),
  rtmr2: hexes(48),
  rtmr3: hexes(48),
  debug: flag,
  minimumTeeTcbSvn: anyOr(hexOf(16)),
  tcb: fc.record({
    statuses: fc.subarray([...TCB_STATUSES], { minLength: 1 }),
    minimumEvaluation: fc.nat(1000),
  }),
}).map((given) => tdxPolicy(structuredClone(given)));
const policies: fc.Arbitrary<Policy> = fc.oneof(
  snp.map((each) => ({ name: "a", snp: each })),
  tdx.map((each) => ({ name: "b", tdx: each })),
);

Deno.test("parsePolicy() counts the bank that the kind of log has", () => {
  const section = (eventLog: unknown) =>
    parsePolicy(JSON.stringify({
      cocosPolicy: 1,
      tpm: { binding: "any", registers: [0], pcrs: "any" },
      eventLog,
    })).eventLog?.banks;
  assert.deepEqual(section({ kind: "tcg", registers: [0] }), ["sha256"]);
  assert.deepEqual(section({ kind: "ccel", registers: [0] }), ["sha384"]);
  assert.deepEqual(section({ kind: "ccel", registers: [0], banks: ["sha256"] }), ["sha256"]);
});

Deno.test("formatPolicy() and parsePolicy() are inverse, whatever the policy", () => {
  fc.assert(fc.property(policies, (policy) => {
    assert.deepEqual(parsePolicy(formatPolicy(policy)), policy);
    assert.equal(formatPolicy(parsePolicy(formatPolicy(policy))), formatPolicy(policy));
  }));
});

Deno.test("A-14 parsePolicy() gives a value or a typed error for any change of a file", () => {
  const text = formatPolicy(parsePolicy(MINIMAL));
  fc.assert(
    fc.property(fc.nat(text.length), fc.nat(8), fc.string({ maxLength: 8 }), (at, cut, put) => {
      try {
        parsePolicy(text.slice(0, at) + put + text.slice(at + cut));
      } catch (error) {
        assert.equal((error as Error).name, "CocosError");
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("A-11 explainPolicy() shows every check of every section", () => {
  const policy = parsePolicy(MINIMAL);
  const ids = explainPolicy(policy).map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(ids.includes("snp.measurement") && ids.includes("evidence.kinds"));
  assert.match(explainText(policy), new RegExp(`snp.measurement: ${M}\n`));
  assert.ok(explainPolicy(policy).every(({ expected }) => expected !== ""));
});

Deno.test("lintPolicy() names the holes of an open policy, the worst first", () => {
  const open = snpPolicy({
    products: ["Milan"],
    roots: ["00".repeat(48)],
    measurement: "any",
    reportData: "any",
    reportIdMa: "any",
    vmpl: "any",
    revocation: "any",
    guest: { debug: "any", migration: "on" },
    tcb: { reported: TCB_ZERO },
  });
  const findings = lintPolicy({ name: "open", snp: open });
  const holes = findings.filter(({ weight }) => weight === "hole").map(({ path }) => path).sort();
  assert.deepEqual(holes, [
    "snp.guest.debug",
    "snp.guest.migration",
    "snp.measurement",
    "snp.reportData",
    "snp.roots",
  ]);
  assert.equal(findings[0]?.weight, "hole");
  const weak = findings.filter(({ weight }) => weight === "weakness").map(({ path }) => path);
  for (const path of ["snp.revocation", "snp.vmpl", "snp.tcb.reported", "snp.reportIdMa"]) {
    assert.ok(weak.includes(path));
  }
  const strict = lintPolicy(parsePolicy(MINIMAL)).filter(({ weight }) => weight === "hole");
  assert.deepEqual(strict, []);
});

Deno.test("lintPolicy() mentions every value that is any", () => {
  fc.assert(fc.property(policies, (policy) => {
    const found = lintPolicy(policy).map(({ path }) => path);
    const any = JSON.stringify(policy).match(/"any"/g)?.length ?? 0;
    assert.ok(found.length >= any);
  }));
});

Deno.test("A-18 lintPolicy() calls a simulated policy a hole", () => {
  const simulated = simulatedPolicy({
    insecure: true,
    roots: [INSECURE_SIMULATED_ROOT],
    measurement: ["00".repeat(48)],
  });
  const [finding] = lintPolicy({ name: "dev", simulated });
  assert.equal(finding?.weight, "hole");
  assert.match(finding?.message ?? "", /proves nothing: its key is public/);
  const azureToken = azureTokenPolicy({
    issuer: "https://maa.example",
    keys: "any",
    measurement: "any",
  });
  assert.equal(lintPolicy({ name: "token", azureToken })[0]?.path, "azureToken.measurement");
});

Deno.test("diffPolicies() names each value, and whether it became looser", () => {
  const before = parsePolicy(MINIMAL);
  const after = parsePolicy(MINIMAL.replace(`"${M}"`, '"any"').replace("115", "116"));
  assert.deepEqual(diffPolicies(before, before), []);
  const found = diffPolicies(before, after);
  assert.deepEqual(found.find(({ path }) => path === "snp.measurement"), {
    path: "snp.measurement",
    before: `["${M}"]`,
    after: '"any"',
    direction: "looser",
  });
  assert.equal(found.find(({ path }) => path === "snp.tcb.launch.microcode")?.after, "116");
  assert.equal(
    diffPolicies(after, before).find(({ path }) => path === "snp.measurement")?.direction,
    "stricter",
  );
});

Deno.test("checkedPolicy() refuses what no single section can see", () => {
  assert.throws(() => checkedPolicy({ name: "x" }), /no section/);
});
