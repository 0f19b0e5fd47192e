// Policies of the Go programs: nothing is lost on the way in, and what they leave open is said.
import assert from "node:assert/strict";
import { ecPair } from "../forge/pki.ts";
import { machine, NOW } from "../forge/snp.ts";
import { fakeTdx } from "../forge/tdx.ts";
import {
  amdKeyDigest,
  appraiseSnp,
  encodeAmdKey,
  readTrustedKey,
  tcbOf,
  verifyIdBlock,
} from "../snp/mod.ts";
import { appraiseTdx } from "../tdx/mod.ts";
import { ownText, ownVector } from "../testdata/vectors.ts";
import { toHex } from "../verdict.ts";
import { encodeBase64, only, parseKey, Tag } from "../x509/mod.ts";
import {
  decodeCbor,
  editSeedPolicy,
  formatPolicy,
  formatSeedPolicy,
  formatSeedTdxPolicy,
  generateSnp,
  generateTdx,
  importPcrValues,
  importSeedPolicy,
  importSeedTdxPolicy,
  parseCorim,
  parsePcrValues,
  parsePolicy,
  parseSeedPolicy,
  parseSeedTdxPolicy,
} from "./mod.ts";

const SNP = ownText("policy/attestation_policy.json");
const TDX = ownText("policy/attestation_policy_tdx.json");

Deno.test("parseSeedPolicy() keeps minimum_tcb, which no JavaScript number holds", () => {
  const seed = parseSeedPolicy(SNP);
  assert.equal(seed.policy.minimumTcb, 15352208179752599555n);
  assert.equal(seed.policy.vmpl, 2n);
  assert.deepEqual(seed.unknown, []);
  assert.notEqual(BigInt(Number(seed.policy.minimumTcb)), seed.policy.minimumTcb);
});

Deno.test("formatSeedPolicy() writes the very text of cocos back", () => {
  assert.equal(formatSeedPolicy(parseSeedPolicy(SNP)).trim(), SNP.trim());
});

Deno.test("parseSeedPolicy() takes camel case, numbers as text, names of enums and wrapped numbers", () => {
  const seed = parseSeedPolicy(`{
    "policy": {
      "minimumTcb": "15352208179752599555",
      "vmpl": {"value": 2},
      "product": {"name": "SEV_PRODUCT_GENOA"},
      "measurement": "-_-_"
    },
    "rootOfTrust": {"productLine": "Genoa", "checkCrl": true},
    "other": 1
  }`);
  assert.equal(seed.policy.minimumTcb, 15352208179752599555n);
  assert.equal(seed.policy.vmpl, 2n);
  assert.equal(seed.policy.product?.name, 2n);
  assert.equal(toHex(seed.policy.measurement ?? new Uint8Array()), "fbffbf");
  assert.deepEqual(seed.unknown, ["other"]);
});

Deno.test("A-11 parseSeedPolicy() refuses doubled names in either form, wrong kinds and numbers too large", () => {
  for (
    const [text, message] of [
      ['{"policy": {"minimum_tcb": 1, "minimumTcb": 2}}', /stands twice/],
      ['{"policy": {"vmpl": 1, "vmpl": 2}}', /stands twice/],
      ['{"root_of_trust": {}, "rootOfTrust": {}}', /stands twice/],
      ['{"policy": {"minimum_tcb": 18446744073709551616}}', /64 bits/],
      ['{"policy": {"minimum_tcb": -1}}', /64 bits/],
      ['{"policy": {"minimum_tcb": 1.5}}', /64 bits/],
      ['{"policy": {"measurement": "%"}}', /base64/],
      ['{"policy": {"check": 1}, "pcr_values": {"sha256": {"24": "00"}}}', /is no register/],
      ['{"pcr_values": {"sha256": {"0": "00"}}}', /hex of 32 bytes/],
      ['{"pcr_values": {"md5": {}}}', /not a known name/],
      ["", /empty/],
      ["[]", /object/],
    ] as const
  ) assert.throws(() => parseSeedPolicy(text), message);
});

Deno.test("importSeedPolicy() takes the policy of cocos over: TCB by parts, PCRs, and its weak points", async () => {
  const { policy, findings } = await importSeedPolicy(SNP);
  assert.deepEqual(
    policy.snp?.tcb.reported,
    tcbOf({ bootloader: 3, tee: 0, snp: 14, microcode: 213 }),
  );
  assert.deepEqual(policy.snp?.tcb.launch, policy.snp?.tcb.reported);
  assert.deepEqual(policy.snp?.vmpl, [2]);
  assert.equal(policy.snp?.firmware.minimumVersion, "1.55");
  assert.deepEqual(policy.snp?.guest.debug, "off");
  assert.deepEqual(policy.tpm?.registers, [0, 1, 2, 3, 4, 5, 6, 7, 9]);
  assert.deepEqual(parsePolicy(formatPolicy(policy)), policy);
  const said = findings.map(({ path }) => path);
  for (
    const path of [
      "policy.report_data",
      "policy.report_id",
      "snp.firmware.provisional",
      "pcr_values.8",
    ]
  ) {
    assert.ok(said.includes(path), path);
  }
});

Deno.test("importSeedPolicy() says that an empty policy would have accepted everything", async () => {
  const { policy, findings } = await importSeedPolicy(
    '{"root_of_trust": {"product_line": "Milan"}}',
  );
  const said = findings.map(({ path }) => path);
  for (
    const path of [
      "policy.measurement",
      "policy.policy",
      "policy.minimum_tcb",
      "policy.vmpl",
      "pcr_values",
    ]
  ) {
    assert.ok(said.includes(path), path);
  }
  assert.ok(findings.some(({ weight, path }) => weight === "hole" && path === "snp.measurement"));
  assert.equal(policy.tpm, undefined);
  await assert.rejects(importSeedPolicy("{}"), /product line/);
  await assert.rejects(
    importSeedPolicy('{"root_of_trust": {"product_line": "Rome"}}'),
    /product line/,
  );
  await assert.rejects(
    importSeedPolicy(
      '{"policy": {"measurement": "AAAA"}, "root_of_trust": {"product_line": "Milan"}}',
    ),
    /has 3 bytes, 48 are due/,
  );
  await assert.rejects(
    importSeedPolicy(
      '{"policy": {"minimum_tcb": 65536}, "root_of_trust": {"product_line": "Milan"}}',
    ),
    /reserved on Milan/,
  );
});

Deno.test("importSeedPolicy() turns trusted keys into the digests a report carries", async () => {
  const pair = await ecPair("P-384");
  const key = parseKey(only(pair.spki, Tag.SEQUENCE, "a key"), "a key");
  const digest = await amdKeyDigest(key);
  const text = JSON.stringify({
    policy: { policy: 196608, require_id_block: true, trusted_id_keys: [encodeBase64(pair.spki)] },
    root_of_trust: { product_line: "Milan" },
  });
  const { policy } = await importSeedPolicy(text);
  assert.deepEqual(policy.snp?.idBlock, { idKeys: [digest], authorKeys: [] });
  assert.deepEqual(readTrustedKey(encodeAmdKey(key)), key);
  await assert.rejects(
    importSeedPolicy(text.replace(/"trusted_id_keys":\[.*?\]/, '"minimum_build":1')),
    /names no key/,
  );
});

Deno.test("editSeedPolicy() sets one value and touches nothing else", () => {
  const value = new Uint8Array(48).fill(7);
  const edited = editSeedPolicy(SNP, "measurement", value);
  const old = /"measurement": "([^"]*)"/.exec(SNP)?.[1] ?? "";
  assert.equal(edited, SNP.replace(old, encodeBase64(value)));
  for (const text of ["{}", '{"policy": {}}', '{"policy": {"vmpl": 1}, "mine": [1, 2]}']) {
    const seed = parseSeedPolicy(editSeedPolicy(text, "hostData", value.subarray(0, 32)));
    assert.deepEqual(seed.policy.hostData, value.slice(0, 32));
    assert.equal(seed.policy.vmpl, text.includes("vmpl") ? 1n : undefined);
  }
  assert.throws(() => editSeedPolicy(SNP, "measurement", value.subarray(1)), /48 bytes are due/);
});

Deno.test("importPcrValues() takes a MANAGER_PCR_VALUES file and says when it is empty or SHA-1 only", () => {
  const text = ownText("policy/pcr_values.json");
  assert.equal(Object.keys(parsePcrValues(text).sha256 ?? {}).length, 9);
  assert.deepEqual(importPcrValues(text).tpm?.banks, ["sha256", "sha384"]);
  const empty = importPcrValues('{"pcr_values": {}}');
  assert.equal(empty.tpm, undefined);
  assert.match(empty.findings[0]?.message ?? "", /accept any state/);
  const sha1 = importPcrValues(`{"pcr_values": {"sha1": {"0": "${"00".repeat(20)}"}}}`);
  assert.match(sha1.findings[0]?.message ?? "", /SHA-1 proves nothing/);
  assert.throws(() => parsePcrValues("{}"), /pcr_values is missing/);
});

Deno.test("parseSeedTdxPolicy() and formatSeedTdxPolicy() are inverse; unknown names are refused", () => {
  const seed = parseSeedTdxPolicy(TDX);
  assert.deepEqual(JSON.parse(formatSeedTdxPolicy(seed)), JSON.parse(TDX));
  assert.equal(seed.rtmrs?.length, 4);
  assert.throws(
    () => parseSeedTdxPolicy('{"policy": {"other": {}}}'),
    /policy.other is not a known name/,
  );
  assert.throws(
    () => parseSeedTdxPolicy('{"policy": {"tdQuoteBodyPolicy": {"mrTd": "AA=="}}}'),
    /48 bytes/,
  );
});

Deno.test("importSeedTdxPolicy() takes the TDX policy of cocos over and says what it left open", () => {
  const { policy, findings } = importSeedTdxPolicy(TDX);
  assert.equal(policy.tdx?.tcb.collateral, "required");
  assert.equal(policy.tdx?.reportData, "session");
  assert.deepEqual(policy.tdx?.tdAttributes, ["0000001000000000"]);
  assert.deepEqual(parsePolicy(formatPolicy(policy)), policy);
  assert.ok(findings.some(({ path }) => path === "mrOwner"));
  const open = importSeedTdxPolicy("{}");
  assert.ok(
    open.findings.some(({ path, weight }) => path === "tdx.tcb.collateral" && weight === "hole"),
  );
});

Deno.test("generateSnp() makes a policy its machine satisfies, and another image does not", async () => {
  const made = await machine();
  const report = await made.report();
  const collateral = {
    leaf: made.leaf,
    intermediate: made.intermediate,
    root: made.root,
    crls: [await made.crl()],
  };
  const policy = await generateSnp(report, { now: NOW, collateral }, { roots: [made.rootKey] });
  const context = { now: NOW, collateral, reportData: new Uint8Array(64).fill(0xaa) };
  assert.deepEqual(
    (await appraiseSnp(report, policy, context)).checks.filter((each) => !each.ok),
    [],
  );
  assert.deepEqual(parsePolicy(formatPolicy({ name: "made", snp: policy })).snp, policy);
  const other = await made.report({ 0x90: 1 });
  assert.equal((await appraiseSnp(other, policy, context)).ok, false);
  await assert.rejects(generateSnp(report, { now: NOW, collateral }), /snp.root/);
});

Deno.test("generateTdx() makes a policy its TD satisfies, and another image does not", async () => {
  const made = await fakeTdx();
  const policy = await generateTdx(made.quote, { now: NOW, collateral: made.collateral }, {
    roots: [made.rootKey],
  });
  const context = {
    now: NOW,
    collateral: made.collateral,
    reportData: new Uint8Array(64).fill(0xaa),
  };
  assert.deepEqual(
    (await appraiseTdx(made.quote, policy, context)).checks.filter((each) => !each.ok),
    [],
  );
  const other = await fakeTdx({ body: { 0x88: 0 } });
  assert.equal((await appraiseTdx(other.quote, policy, context)).ok, false);
  await assert.rejects(
    generateTdx(made.quote, { now: NOW, collateral: made.collateral }),
    /tdx.root/,
  );
});

Deno.test("verifyIdBlock() takes a block signed by its ID key and author key only", async () => {
  const id = await ecPair("P-384");
  const author = await ecPair("P-384");
  const keyOf = (spki: Uint8Array) => parseKey(only(spki, Tag.SEQUENCE, "a key"), "a key");
  const block = new Uint8Array(0x60).fill(0x11, 0, 0x50);
  block[0x50] = 1;
  const auth = new Uint8Array(0x1000);
  const sign = async (pair: typeof id, data: Uint8Array, at: number) => {
    const raw = await pair.signRaw("SHA-384", data);
    auth.set(raw.subarray(0, 48).toReversed(), at);
    auth.set(raw.subarray(48).toReversed(), at + 72);
  };
  auth[0] = 1;
  auth[4] = 1;
  const idKey = encodeAmdKey(keyOf(id.spki));
  auth.set(idKey, 0x240);
  auth.set(encodeAmdKey(keyOf(author.spki)), 0x880);
  await sign(id, block, 0x40);
  await sign(author, idKey, 0x680);
  const verified = await verifyIdBlock(block, auth);
  assert.equal(verified.idKeyDigest, await amdKeyDigest(keyOf(id.spki)));
  assert.equal(verified.authorKeyDigest, await amdKeyDigest(keyOf(author.spki)));
  for (const at of [0x41, 0x250, 0x681, 0x890]) {
    const changed = auth.slice();
    changed[at] = (changed[at] as number) ^ 1;
    await assert.rejects(verifyIdBlock(block, changed));
  }
  const other = block.slice();
  other[0] = 0;
  await assert.rejects(verifyIdBlock(other, auth), /did not sign/);
  await assert.rejects(verifyIdBlock(block, auth.subarray(1)));
});

Deno.test("parseCorim() reads the unsigned example: its tags and digests", () => {
  const corim = parseCorim(ownVector("policy/unsigned-example-corim.cbor"));
  assert.equal(corim.id, "test corim id");
  assert.deepEqual(corim.digests.map(({ algorithm }) => algorithm), [1, 1, 1]);
  assert.equal(
    corim.digests[0]?.digest,
    "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7",
  );
});

Deno.test("A-12 decodeCbor() refuses trailing bytes, long forms, indefinite lengths, doubled keys, depth bombs, NaN", () => {
  const refused: Record<string, number[]> = {
    "nothing": [],
    "trailing byte": [0x01, 0x00],
    "long form of 1": [0x18, 0x01],
    "long form of 255": [0x19, 0x00, 0xff],
    "long length": [0x58, 0x01, 0x00],
    "indefinite bytes": [0x5f, 0x41, 0x00, 0xff],
    "indefinite list": [0x9f, 0xff],
    "indefinite map": [0xbf, 0xff],
    "doubled key": [0xa2, 0x01, 0x01, 0x01, 0x02],
    "length past the end": [0x5b, 0, 0, 0, 1, 0, 0, 0, 0],
    "list longer than the text": [0x9a, 0xff, 0xff, 0xff, 0xff],
    "wrong UTF-8": [0x61, 0xff],
    "NaN": [0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
    "half float": [0xf9, 0x3c, 0x00],
    "reserved": [0xfc],
    "depth bomb": Array<number>(5000).fill(0x81),
  };
  for (const [name, bytes] of Object.entries(refused)) {
    assert.throws(() => decodeCbor(Uint8Array.from(bytes)), /Cannot read CBOR/, name);
  }
  assert.throws(
    () => decodeCbor(Uint8Array.of(0xa2, 0x02, 0x00, 0x01, 0x00), { sorted: true }),
    /not sorted/,
  );
  assert.deepEqual(decodeCbor(Uint8Array.of(0x82, 0x20, 0xf5)), [-1, true]);
});
