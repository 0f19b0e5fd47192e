// Every value of every section, weakened one at a time: lint must name it. The values come from the
// sections' own forms, so a new one can't be forgotten here (issue: "lint names every hole").
import assert from "node:assert/strict";
import { flatten } from "./explain.ts";
import { formatPolicy, lintPolicy, parsePolicy, type Policy, policyJson } from "./mod.ts";

const H = (bytes: number) => "ab".repeat(bytes);
const SNP = {
  products: ["Milan"],
  steppings: [1],
  measurement: H(48),
  hostData: H(32),
  familyId: H(16),
  imageId: H(16),
  reportId: H(32),
  chipId: H(64),
  idBlock: { idKeys: [H(48)] },
  authorKey: "off",
  minimumGuestSvn: 1,
  guest: {
    minimumAbi: "1.55",
    singleSocket: "on",
    aes256Xts: "on",
    raplOff: "on",
    ciphertextHiding: "on",
    pageSwapOff: "on",
  },
  platform: {
    smt: "off",
    tsme: "on",
    ecc: "on",
    raplOff: "on",
    ciphertextHiding: "on",
    aliasCheck: "on",
  },
  firmware: { minimumVersion: "1.55", minimumBuild: 1 },
  tcb: {
    reported: { bootloader: 1, tee: 1, snp: 8, microcode: 115 },
    grace: {
      reported: { bootloader: 1, tee: 1, snp: 7, microcode: 1 },
      until: "2026-12-31T00:00:00Z",
    },
  },
  mitigations: { launch: "b", current: "b" },
};
const TDX = {
  mrTd: H(48),
  rtmr0: H(48),
  rtmr1: H(48),
  rtmr2: H(48),
  rtmr3: H(48),
  mrSeam: H(48),
  tdAttributes: H(8),
  xfam: H(8),
  minimumTeeTcbSvn: H(16),
  minimumQeSvn: 1,
  minimumPceSvn: 1,
  tcb: {
    minimumEvaluation: 17,
    grace: { statuses: ["OutOfDate"], until: "2026-12-31T00:00:00Z" },
  },
};
const TPM = {
  binding: "svsm",
  registers: [0, 1, 2, 3, 4, 5, 7, 8, 9, 10],
  userData: "session",
  pcrs: {
    sha256: Object.fromEntries([0, 1, 2, 3, 4, 5, 7, 8, 9, 10].map((index) => [index, H(32)])),
  },
  counters: { resetCount: 3, restartCount: 1 },
};
const REST = {
  tpm: TPM,
  eventLog: { kind: "tcg", registers: [0, 1, 2, 3, 4, 5, 7, 8, 9], secureBoot: "on" },
  ima: { allowed: { files: { "/bin/sh": [`sha256:${H(32)}`] } } },
  azureToken: {
    issuer: "https://maa.example",
    keys: H(32),
    measurement: H(48),
    policyHash: "A".repeat(43),
    hostData: H(32),
    secureBoot: "on",
    minimumGuestSvn: 1,
    minimumBootloader: 1,
    minimumTee: 1,
    minimumSnp: 1,
    minimumMicrocode: 1,
  },
  gcpEndorsement: { roots: [H(48)], minimumSvn: 1, firmware: H(48), vcpus: [2] },
};

/** Policies in which nothing is left open that can be closed. */
const STRICT: readonly Policy[] = [{ snp: SNP, ...REST }, { tdx: TDX, ...REST }]
  .map((sections) => parsePolicy(JSON.stringify({ cocosPolicy: 1, ...sections })));

/** What may stand in place of a strict value; what a section does not take is left out. */
const WEAKER: readonly unknown[] = [
  "any",
  0,
  "0.0",
  "on",
  "off",
  "allow",
  "ignore",
  "legacy-padded",
  "report-data",
  H(8),
  H(32),
  H(64),
  ["sha1"],
  ["sha1", "sha256"],
  ["Revoked"],
  ["vlek"],
  ["INTEL-SA-00001"],
];

/** Values that are in the list above and no weaker: another expectation, or a stricter one. */
const NO_WEAKER: readonly RegExp[] = [
  /"(name|kind|issuer)"/,
  // A measurement, an id, a key, a mask: another value is another expectation.
  /(measurement|mrTd|rtmr\d|mrSeam|mrSignerSeam|mrConfigId|mrOwner|mrOwnerConfig|mrServiceTd)"/,
  /(hostData|familyId|imageId|reportId|reportIdMa|chipId|idKeys|authorKeys|keys|policyHash)"/,
  /(tdAttributes|xfam|minimumTeeTcbSvn|qeVendor|steppings|vmpl|launch|current|firmware)" (?!"any")/,
  /"tpm\.(pcrs|counters).*" (?!"any")/,
  /"(snp|tdx)\.tcb\.grace/, // the grace itself is what is named
  /"snp\.tcb\.\w+\.(fmc|bootloader|tee)"/, // real firmware has zeros there
  /"ima\.allowed\./,
  /(audience|skewSeconds)" (?!"any")/,
  // Flags whose other word demands more, or only something else.
  /(singleSocket|aes256Xts|raplOff|ciphertextHiding|pageSwapOff|ecc|aliasCheck|tsme)" "o/,
  /(authorKey|secureBoot|platform\.smt|platform\.tio)" "o/,
];

function withValue(policy: Policy, path: string, value: unknown): Policy | undefined {
  const json = policyJson(policy);
  const names = path.split(".");
  const last = names.pop() as string;
  let at = json as Record<string, unknown>;
  for (const name of names) at = at[name] as Record<string, unknown>;
  at[last] = value;
  try {
    return parsePolicy(JSON.stringify(json));
  } catch {
    return undefined; // no value of this field
  }
}

Deno.test("A-11 lintPolicy() names each value of each section that was made weaker", () => {
  let weakened = 0;
  for (const strict of STRICT) {
    const before = formatPolicy(strict);
    for (const [path, text] of flatten(policyJson(strict))) {
      for (const value of WEAKER) {
        const said = `"${path}" ${JSON.stringify(value)}`;
        if (path === "cocosPolicy" || JSON.stringify(value) === text) continue;
        if (value !== "any" && NO_WEAKER.some((each) => each.test(said))) continue;
        const policy = withValue(strict, path, value);
        if (policy === undefined || formatPolicy(policy) === before) continue;
        const named = lintPolicy(policy).map((each) => each.path);
        const root = path.split(".").slice(0, -1).join(".");
        assert.ok(
          path === "name" || named.includes(path) || named.includes(root),
          `${said} is not named by lint`,
        );
        weakened++;
      }
    }
  }
  assert.ok(weakened > 120, `${weakened} values`);
});

Deno.test("lintPolicy() finds no hole in strict policies, and a word for each grace", () => {
  for (const strict of STRICT) {
    const found = lintPolicy(strict);
    assert.deepEqual(found.filter(({ weight }) => weight === "hole"), []);
    assert.ok(found.some(({ path }) => path.endsWith("tcb.grace")));
  }
});

Deno.test("A-8 lintPolicy() says what a TPM's key is bound to where there is no hardware report", () => {
  const alone = (binding: string, more = {}) =>
    lintPolicy(parsePolicy(JSON.stringify({ cocosPolicy: 1, tpm: { ...TPM, binding, ...more } })))
      .find(({ path }) => path === "tpm.binding");
  for (const binding of ["report-data", "svsm", "hcl"]) {
    assert.equal(alone(binding)?.weight, "hole");
  }
  assert.equal(alone("pinned", { keys: [H(32)] })?.weight, "weakness");
});
