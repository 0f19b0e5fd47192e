// What binds an attestation key: SVSM manifests and credentials, certificates, pins; each with the
// defects that must break it. Certificates and TPMs are forged here.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { u32le } from "../forge/eventlog.ts";
import { guidBytes } from "../measure/mod.ts";
import { eccArea, fakeTpm, fromHex, sized, u16be, u32be } from "../forge/tpm.ts";
import { bits, integer, join, oid, sequence, text, time, tlv } from "../forge/der.ts";
import { certificate, ecPair, extension, name, type Order, revocationList } from "../forge/pki.ts";
import { ownVector } from "../testdata/vectors.ts";
import { parseCertificate } from "../x509/mod.ts";
import {
  type AkBinding,
  checkAkCertificate,
  checkBinding,
  decodeAttestation,
  keyFingerprint,
  makeCredential,
  parsePublic,
  parsePublic2b,
  parseSvsmManifest,
  svsmEndorsementKey,
  svsmReportData,
  type TpmPublic,
  VTPM_SERVICE,
} from "./mod.ts";

/** An endorsement key by the TCG's template L-1: restricted, decrypts, AES-128-CFB, no scheme. */
function endorsementKey(attributes = 0x000300b2): TpmPublic {
  const modulus = parsePublic2b(ownVector("tpm/swtpm-rsa-ak.tpm2b_public")).raw.subarray(24);
  return parsePublic(join(
    u16be(1),
    u16be(0x0b),
    u32be(attributes),
    sized(new Uint8Array(32).fill(0x83)),
    u16be(6),
    u16be(128),
    u16be(0x43),
    u16be(0x10),
    u16be(2048),
    u32be(0),
    sized(modulus),
  ));
}

function manifest(services: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const head = 24 + 24 * services.length;
  let at = head;
  const entries = services.map(([guid, data]) => {
    const entry = join(guidBytes(guid), u32le(at), u32le(data.length));
    at += data.length;
    return entry;
  });
  const all = "63849ebb-3d92-4670-a1ff-58f9c94b87bb";
  return join(
    guidBytes(all),
    u32le(at),
    u32le(services.length),
    ...entries,
    ...services.map(([, data]) => data),
  );
}

const VARIABLES = "a4453a59-9e1b-4787-a033-1986d6adbe55";
const ek = endorsementKey();
const ak = parsePublic((await fakeTpm()).area);
const MANIFEST = manifest([[VARIABLES, Uint8Array.of(1)], [VTPM_SERVICE, ek.raw]]);
const NONCE = new Uint8Array(64).fill(5);
const challenge = await makeCredential(ek, ak);
const SVSM: Extract<AkBinding, { kind: "svsm" }> = {
  kind: "svsm",
  reportData: svsmReportData(NONCE, MANIFEST),
  vmpl: 0,
  nonce: NONCE,
  manifest: MANIFEST,
  single: false,
  challenge,
  answer: challenge.secret,
};

Deno.test("checkBinding() takes a key whose credential the SVSM's own TPM opened", async () => {
  assert.deepEqual(await checkBinding(SVSM, { key: ak.key, area: ak }), {
    attributesVouched: false,
  });
  const single = {
    ...SVSM,
    manifest: ek.raw,
    single: true,
    reportData: svsmReportData(NONCE, ek.raw),
  };
  await checkBinding(single, { key: ak.key, area: ak });
});

Deno.test("A-8 checkBinding() refuses every other SVSM evidence", async () => {
  const other = parsePublic((await fakeTpm()).area);
  const otherEk = endorsementKey(0x000300f2);
  const cases: readonly (readonly [Partial<typeof SVSM>, RegExp, TpmPublic?])[] = [
    [{ vmpl: 2 }, /VMPL 2/],
    [{ nonce: new Uint8Array(64) }, /digest of the nonce and the SVSM's manifest/],
    [{ nonce: NONCE.subarray(1) }, /a nonce of 63 bytes/],
    [{ manifest: manifest([[VTPM_SERVICE, otherEk.raw]]) }, /digest of the nonce/],
    [{ challenge: { ...challenge, endorsementKey: otherEk.name } }, /another endorsement key/],
    [{}, /another attestation key/, other],
    [{ answer: new Uint8Array(32) }, /did not open the credential/],
    [{ answer: new Uint8Array() }, /did not open the credential/],
    [{
      manifest: manifest([[VARIABLES, ek.raw]]),
      reportData: svsmReportData(NONCE, manifest([[VARIABLES, ek.raw]])),
    }, /no vTPM service/],
  ];
  for (const [change, why, key = ak] of cases) {
    await assert.rejects(checkBinding({ ...SVSM, ...change }, { key: key.key, area: key }), why);
  }
  await assert.rejects(checkBinding(SVSM, { key: ak.key, area: undefined }), /no public area/);
});

Deno.test("A-14 parseSvsmManifest() rejects tables that lie", () => {
  assert.equal(parseSvsmManifest(MANIFEST).length, 2);
  const put = (at: number, bytes: Uint8Array) => {
    const copy = MANIFEST.slice();
    copy.set(bytes, at);
    return copy;
  };
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [put(0, Uint8Array.of(0)), /not the table of all services/],
    [put(16, u32le(3)), /length of the table/],
    [put(20, u32le(33)), /33 services/],
    [put(40, u32le(0)), /outside of the table/],
    [put(40, u32le(0xfffffff0)), /outside of the table/],
    [put(44, u32le(0xfffffff0)), /outside of the table/],
    [manifest([[VTPM_SERVICE, ek.raw], [VTPM_SERVICE, ek.raw]]), /twice/],
    [new Uint8Array(65537), /too many/],
    [MANIFEST.subarray(0, 20), /length of the table/],
  ];
  for (const [bytes, why] of cases) assert.throws(() => parseSvsmManifest(bytes), why);
  assert.throws(() => svsmEndorsementKey(MANIFEST, true), CocosError);
});

Deno.test("A-8 makeCredential() challenges only restricted decryption keys", async () => {
  for (const attributes of [0x000200b2, 0x000100b2, 0x000700b2, 0x000300b0]) {
    await assert.rejects(makeCredential(endorsementKey(attributes), ak), CocosError);
  }
  await assert.rejects(makeCredential(ak, ak), /not a restricted decryption key/);
  const decrypts = parsePublic(eccArea(ak.key.kind === "ec" ? ak.key.point : NONCE, 0x000300b2));
  await assert.rejects(makeCredential(decrypts, ak), /not RSA/);
  const again = await makeCredential(ek, ak);
  assert.notDeepEqual(again.secret, challenge.secret);
  assert.equal(again.credentialBlob.length, 2 + 2 + 32 + 34);
  assert.equal(again.encryptedSecret.length, 2 + 256);
});

// --- certificates

const NOW = Date.UTC(2026, 5, 1);
const DAY = 86_400_000;
const rootPair = await ecPair("P-256");
const middlePair = await ecPair("P-256");
const ROOT = name([["2.5.4.3", "AK root"]]);
const MIDDLE = name([["2.5.4.3", "AK signer"]]);

function signs(usage: number): Uint8Array {
  return extension("2.5.29.15", Uint8Array.of(3, 2, 1, usage), true);
}

function authority(pathLength?: number): Uint8Array[] {
  const limit = pathLength === undefined ? [] : [Uint8Array.of(2, 1, pathLength)];
  return [extension("2.5.29.19", sequence(Uint8Array.of(1, 1, 0xff), ...limit), true), signs(0x06)];
}

async function make(order: Partial<Order> & Pick<Order, "subject" | "spki">): Promise<Uint8Array> {
  return await certificate({
    issuer: ROOT,
    signer: rootPair,
    algorithm: "ecdsa-sha256",
    notBefore: NOW - DAY,
    notAfter: NOW + DAY,
    ...order,
  });
}

const root = await make({ subject: ROOT, spki: rootPair.spki, extensions: authority() });
const middle = await make({
  subject: MIDDLE,
  spki: middlePair.spki,
  extensions: authority(),
  serial: 2,
});

async function leafOf(order: Partial<Order> = {}): Promise<Uint8Array> {
  const subject = name([["2.5.4.3", "AK"]]);
  const from = { issuer: MIDDLE, signer: middlePair, spki: ak.key.spki, serial: 3 };
  return await make({ subject, ...from, extensions: [signs(0x80)], ...order });
}

/** A certificate of X.509 version 1, which has no extensions to say what its key is for. */
async function firstVersion(): Promise<Uint8Array> {
  const algorithm = sequence(oid("1.2.840.10045.4.3.2"));
  const validity = sequence(time(NOW - DAY), time(NOW + DAY));
  const tbs = sequence(integer(9), algorithm, MIDDLE, validity, name([]), ak.key.spki);
  return sequence(tbs, algorithm, bits(await middlePair.sign("ecdsa-sha256", tbs)));
}

const leaf = await leafOf();
const CHAIN = {
  certificate: leaf,
  intermediates: [middle],
  roots: [root],
  now: NOW,
  crls: "any",
} as const;

Deno.test("checkAkCertificate() takes a chain to a pinned root", async () => {
  assert.equal(await checkAkCertificate(CHAIN, ak.key), undefined);
  const direct = await leafOf({ issuer: ROOT, signer: rootPair });
  await checkAkCertificate({ ...CHAIN, certificate: direct, intermediates: [] }, ak.key);
  await checkBinding({ kind: "certificate", ...CHAIN }, { key: ak.key, area: ak });
});

Deno.test("A-6 A-8 checkAkCertificate() refuses chains with one defect", async () => {
  const evil = await ecPair("P-256");
  const fakeRoot = await make({
    subject: ROOT,
    spki: evil.spki,
    signer: evil,
    extensions: authority(),
  });
  const viaFake = await leafOf({ issuer: ROOT, signer: evil });
  const plain = await make({ subject: MIDDLE, spki: middlePair.spki, extensions: [signs(0x06)] });
  const noSign = await make({
    subject: MIDDLE,
    spki: middlePair.spki,
    extensions: [authority()[0]!, signs(0x80)],
  });
  const short = await make({ subject: ROOT, spki: rootPair.spki, extensions: authority(0) });
  const odd = extension("1.2.3.4", Uint8Array.of(5, 0), true);
  const cases: readonly (readonly [Partial<Parameters<typeof checkAkCertificate>[0]>, RegExp])[] = [
    [{ roots: [] }, /no given certificate issued/],
    [{ roots: [fakeRoot] }, /no given certificate issued/],
    [
      { certificate: viaFake, intermediates: [fakeRoot] },
      /no given certificate issued|does not end/,
    ],
    [{ intermediates: [] }, /no given certificate issued/],
    [{ intermediates: [plain] }, /no given certificate issued/],
    [{ intermediates: [noSign] }, /must not sign certificates/],
    [{ intermediates: new Array(5).fill(middle) }, /too long/],
    [{ roots: [short] }, /longer than an issuer allows/],
    [{ now: NOW - 2 * DAY }, /not yet valid/],
    [{ now: NOW + 2 * DAY }, /expired/],
    [{ certificate: await leafOf({ notAfter: NOW - 1000 }) }, /expired/],
    [{ certificate: await leafOf({ spki: evil.spki }) }, /another key/],
    [{ certificate: await leafOf({ extensions: authority() }) }, /a CA's certificate/],
    [{ certificate: await leafOf({ extensions: [signs(0x20)] }) }, /must not sign$/],
    [
      { certificate: await leafOf({ extensions: [signs(0x80), odd] }) },
      /critical extension 1.2.3.4/,
    ],
    [{ certificate: await leafOf({ signer: rootPair }) }, /no given certificate issued/],
    [{ certificate: await firstVersion() }, /not of version 3/],
    [{ certificate: leaf.subarray(1) }, /Cannot read an AK certificate/],
  ];
  for (const [change, why] of cases) {
    await assert.rejects(checkAkCertificate({ ...CHAIN, ...change }, ak.key), (error) => {
      assert.ok(error instanceof CocosError);
      assert.match(error.message, why);
      return true;
    }, String(why));
  }
});

Deno.test("A-6 checkAkCertificate() needs a valid list of every issuer when revocation counts", async () => {
  const list = (
    issuer: Uint8Array,
    signer: typeof rootPair,
    serials: number[] = [],
    next = NOW + DAY,
  ) =>
    revocationList({
      issuer,
      signer,
      algorithm: "ecdsa-sha256",
      thisUpdate: NOW - DAY,
      nextUpdate: next,
      serials,
    });
  const ofRoot = await list(ROOT, rootPair);
  const ofMiddle = await list(MIDDLE, middlePair);
  const check = (...crls: Uint8Array[]) => checkAkCertificate({ ...CHAIN, crls }, ak.key);
  await check(ofRoot, ofMiddle);
  await assert.rejects(check(), /no valid revocation list/);
  await assert.rejects(check(ofRoot), /no valid revocation list/);
  await assert.rejects(check(ofMiddle), /no valid revocation list/);
  await assert.rejects(check(await list(MIDDLE, rootPair), ofMiddle), /no valid revocation list/);
  const mute = [authority()[0] as Uint8Array, signs(0x04)];
  const silent = await make({ subject: ROOT, spki: rootPair.spki, extensions: mute });
  await assert.rejects(
    checkAkCertificate({ ...CHAIN, roots: [silent], crls: [ofRoot, ofMiddle] }, ak.key),
    /no valid revocation list/,
  );
  await assert.rejects(check(ofRoot, await list(MIDDLE, middlePair, [3])), /is revoked/);
  await assert.rejects(check(await list(ROOT, rootPair, [2]), ofMiddle), /is revoked/);
  await assert.rejects(check(ofRoot, await list(MIDDLE, rootPair)), /no valid revocation list/);
  await assert.rejects(
    check(ofRoot, await list(MIDDLE, middlePair, [], NOW - 1)),
    /no valid revocation list/,
  );
});

Deno.test("checkAkCertificate() reads what Google's certificates say about the instance", async () => {
  const number = (hex: string) => tlv(2, fromHex(hex));
  const instance = extension(
    "1.3.6.1.4.1.11129.2.1.21",
    sequence(
      text("us-central1-a"),
      number("1b5a475c69"),
      text("project"),
      number("5e53e3fbbf8306c5"),
      text("vm"),
    ),
  );
  const named = await leafOf({ extensions: [signs(0x80), instance] });
  assert.deepEqual(await checkAkCertificate({ ...CHAIN, certificate: named }, ak.key), {
    zone: "us-central1-a",
    projectNumber: 0x1b5a475c69n,
    projectId: "project",
    instanceId: 0x5e53e3fbbf8306c5n,
    instanceName: "vm",
  });
});

Deno.test("Google's real AK certificate is for the key of its evidence, and needs its own chain", async () => {
  const { akCertificate, akPublic } = decodeAttestation(
    ownVector("tpm/gce-cos85-nonce9009.attestation.pb"),
  );
  const { key } = parsePublic(akPublic);
  assert.deepEqual(parseCertificate(akCertificate).key.spki, key.spki);
  const input = { ...CHAIN, certificate: akCertificate, now: Date.UTC(2022, 1, 1) };
  await assert.rejects(checkAkCertificate(input, key), /no given certificate issued/);
});

Deno.test("A-8 checkBinding() takes a pinned key and no other", async () => {
  const pinned = { kind: "pinned", keys: [keyFingerprint(ak.key)] } as const;
  assert.equal((await checkBinding(pinned, { key: ak.key, area: ak })).attributesVouched, true);
  for (const keys of [[], ["00".repeat(32)], [keyFingerprint(ek.key)]]) {
    await assert.rejects(
      checkBinding({ kind: "pinned", keys }, { key: ak.key, area: ak }),
      CocosError,
    );
  }
});
