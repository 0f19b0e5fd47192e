// Real evidence of clouds through the flags of `attestation validate`: Azure's SNP VM whose vTPM key the
// HCL report names, and Google's vTPM with a pinned key.
import assert from "node:assert/strict";
import {
  decodeAttestation,
  decodeBase64url,
  encodeAttestation,
  keyFingerprint,
  parseKeySet,
  parsePublic,
  parseReport,
} from "../../attestation/mod.ts";
import { cocos, inFolder } from "../_fakes.ts";

const VECTORS = new URL("../../attestation/testdata/", import.meta.url);
const hex = (text: string) => Uint8Array.fromHex(text);
const empty = new Uint8Array();
const THEN = Date.UTC(2025, 5, 1);

async function judged(dir: string, argv: readonly string[]) {
  const flags = ["--offline", "--format", "binarypb", ...argv];
  const outcome = await cocos(["attestation", "validate", `${dir}/a.bin`, ...flags], {
    env: { HOME: dir },
    now: THEN,
  });
  const failed = [...outcome.out.matchAll(/^FAIL (\S+)$/gm)].map(([, id]) => id as string);
  return { ...outcome, failed };
}

Deno.test("A-8 cocos attestation validate --cloud azure trusts the vTPM's key by the HCL report only", async () => {
  const json = JSON.parse(Deno.readTextFileSync(new URL("azure/snp-evidence-v1.json", VECTORS)));
  const hcl = decodeBase64url(json.hcl_report.replace(/=+$/, ""));
  const vcek = decodeBase64url(
    json.vcek.replace(/=+$/, "").replaceAll("+", "-").replaceAll("/", "_"),
  );
  const report = hcl.slice(0x20, 0x20 + 1184);
  const signature = hex(json.tpm_quote.signature);
  const container = encodeAttestation({
    akPublic: empty,
    quotes: [{
      quote: hex(json.tpm_quote.message),
      signature: Uint8Array.from([
        ...[0, 0x14, 0, 0x0b, signature.length >> 8, signature.length & 255],
        ...signature,
      ]),
      bank: "sha256",
      pcrs: new Map(json.tpm_quote.pcrs.map((value: string, at: number) => [at, hex(value)])),
    }],
    eventLog: empty,
    canonicalEventLog: empty,
    akCertificate: empty,
    intermediates: [],
    snp: { report, vcek, extras: new Map() },
  });
  const { measurement, policy, familyId, imageId, hostData } = parseReport(report);
  await inFolder(async (dir) => {
    await Deno.writeFile(`${dir}/a.bin`, container);
    await Deno.writeFile(`${dir}/hcl.bin`, hcl);
    const flags = [
      ...["--mode", "snp-vtpm", "--cloud", "azure", "--product", "Milan", "--pcrs", "any"],
      ...["--measurement", measurement.toHex(), "--family_id", familyId.toHex()],
      ...["--image_id", imageId.toHex(), "--host_data", hostData.toHex()],
      ...["--guest_policy", `0x${policy.raw.toString(16)}`, "--report_id_ma", "any"],
    ];
    const nonce = ["--nonce", new TextEncoder().encode("challenge").toHex()];
    const with_ = ["--hcl_report", `${dir}/hcl.bin`];
    const good = await judged(dir, [...flags, ...nonce, ...with_, "--bundle", `${dir}/b.json`]);
    assert.equal(good.exit, 0, good.out + good.err);
    assert.match(good.out, /\nok {3}tpm\.ak\.binding/);
    const again = await cocos(["verify", "--offline", `${dir}/b.json`]);
    assert.equal(again.out, good.out);
    assert.match((await judged(dir, [...flags, ...nonce])).err, /"hcl_report" not set/);
    assert.match((await judged(dir, [...flags, ...with_])).err, /"nonce" not set/);
    const other = ["--nonce", "00".repeat(9)];
    assert.deepEqual((await judged(dir, [...flags, ...with_, ...other])).failed, [
      "tpm.quote.nonce",
    ]);
    await Deno.writeFile(`${dir}/hcl.bin`, hcl.with(0x600, (hcl[0x600] as number) ^ 1));
    const changed = await judged(dir, [...flags, ...nonce, ...with_]);
    assert.equal(changed.exit, 5);
    assert.ok(changed.failed.includes("tpm.ak.binding"), changed.failed.join());
  });
});

Deno.test("A-8 cocos attestation validate --mode vtpm judges Google's vTPM by the pinned key only", async () => {
  const bytes = Deno.readFileSync(new URL("tpm/gce-cos85-nonce9009.attestation.pb", VECTORS));
  const { akPublic } = decodeAttestation(bytes);
  const { key } = parsePublic(akPublic);
  await inFolder(async (dir) => {
    await Deno.writeFile(`${dir}/a.bin`, bytes);
    const flags = ["--mode", "vtpm", "--pcrs", "any", "--nonce", "9009"];
    const good = await judged(dir, [...flags, "--ak", keyFingerprint(key)]);
    assert.equal(good.exit, 0, good.out + good.err);
    assert.deepEqual(
      (await judged(dir, [...flags, "--ak", "00".repeat(32)])).failed.slice(0, 1),
      ["tpm.ak.binding"],
    );
    const stale = await judged(dir, [...flags, "--ak", keyFingerprint(key), "--nonce", "9008"]);
    assert.deepEqual(stale.failed, ["tpm.quote.nonce"]);
  });
});

Deno.test("cocos judges an Azure token by keys of the person's, never by what the token names", async () => {
  const pair = await crypto.subtle.generateKey(
    {
      name: "RSASSA-PKCS1-v1_5",
      modulusLength: 2048,
      publicExponent: Uint8Array.of(1, 0, 1),
      hash: "SHA-256",
    },
    true,
    ["sign", "verify"],
  );
  const { n, e } = await crypto.subtle.exportKey("jwk", pair.publicKey);
  const keySet = JSON.stringify({ keys: [{ kty: "RSA", kid: "k1", n, e }] });
  const [key] = await parseKeySet(keySet);
  const part = (value: unknown) =>
    new TextEncoder().encode(JSON.stringify(value))
      .toBase64({ alphabet: "base64url", omitPadding: true });
  const seconds = THEN / 1000;
  const tee = {
    "x-ms-attestation-type": "sevsnpvm",
    "x-ms-compliance-status": "azure-compliant-cvm",
    "x-ms-sevsnpvm-familyId": "01".repeat(16),
    "x-ms-sevsnpvm-imageId": "02".repeat(16),
    "x-ms-sevsnpvm-launchmeasurement": "03".repeat(48),
    "x-ms-sevsnpvm-idkeydigest": "04".repeat(48),
    "x-ms-sevsnpvm-reportid": "05".repeat(32),
    "x-ms-sevsnpvm-hostdata": "00".repeat(32),
    "x-ms-sevsnpvm-is-debuggable": false,
    "x-ms-sevsnpvm-migration-allowed": false,
    "x-ms-sevsnpvm-guestsvn": 7,
    "x-ms-sevsnpvm-bootloader-svn": 3,
    "x-ms-sevsnpvm-tee-svn": 0,
    "x-ms-sevsnpvm-snpfw-svn": 8,
    "x-ms-sevsnpvm-microcode-svn": 115,
  };
  const payload = {
    iss: "https://maa.example",
    iat: seconds,
    nbf: seconds,
    exp: seconds + 3600,
    "x-ms-isolation-tee": tee,
    "x-ms-runtime": { "client-payload": { nonce: btoa("nonce123") } },
  };
  const signed = `${part({ alg: "RS256", kid: "k1" })}.${part(payload)}`;
  const signature = await crypto.subtle.sign(
    "RSASSA-PKCS1-v1_5",
    pair.privateKey,
    new TextEncoder().encode(signed),
  );
  const token = `${signed}.${
    new Uint8Array(signature).toBase64({ alphabet: "base64url", omitPadding: true })
  }`;
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/a.bin`, token);
    await Deno.writeTextFile(`${dir}/keys.json`, keySet);
    const policy = {
      cocosPolicy: 1,
      azureToken: {
        issuer: "https://maa.example",
        keys: [key?.thumbprint],
        measurement: "03".repeat(48),
      },
    };
    await Deno.writeTextFile(`${dir}/p.json`, JSON.stringify(policy));
    const flags = ["--config", `${dir}/p.json`, "--keys", `${dir}/keys.json`];
    const nonce = ["--nonce", new TextEncoder().encode("nonce123").toHex()];
    const good = await judged(dir, [...flags, ...nonce]);
    assert.equal(good.exit, 0, good.out + good.err);
    assert.deepEqual((await judged(dir, [...flags, "--nonce", "00"])).failed, ["token.nonce"]);
    const make = ["policy", "azure", `${dir}/a.bin`, "Milan", "--keys", `${dir}/keys.json`];
    const made = await cocos([...make, "-o", `${dir}/seed.json`], { now: THEN });
    assert.equal(made.exit, 0, made.err);
    assert.doesNotMatch(made.err, /weakness/);
    await Deno.writeTextFile(`${dir}/keys.json`, '{"keys":[]}');
    assert.ok((await judged(dir, [...flags, ...nonce])).failed.includes("token.key"));
  });
});
