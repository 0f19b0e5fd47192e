// The parsers of TPM structures and of the seed's evidence file against damage and lies.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { AK_ATTRIBUTES, fakeTpm, sized, u16be, u32be } from "../forge/tpm.ts";
import { join } from "../forge/der.ts";
import { bitsToFlip, flipped, ownVector } from "../testdata/vectors.ts";
import { toHex } from "../verdict.ts";
import {
  attestationKeyFaults,
  decodeAttestation,
  encodeAttestation,
  formatAttestationText,
  parseAttestationText,
  parseHclReport,
  parsePublic,
  parsePublic2b,
  parseQuote,
  parseTpmSignature,
  type TpmAttestation,
  verifyTpmSignature,
} from "./mod.ts";

const QUOTE = ownVector("tpm/swtpm-rsa-quote.msg");
const GCE = ownVector("tpm/gce-cos85-nonce9009.attestation.pb");

function rejects(cases: readonly (readonly [() => unknown, RegExp])[]): void {
  for (const [run, why] of cases) {
    assert.throws(run, (error) => {
      assert.ok(error instanceof CocosError, String(error));
      assert.match(error.message, why);
      return true;
    }, String(why));
  }
}

function put(bytes: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
}

Deno.test("parseQuote() reads a quote of swtpm", () => {
  const quote = parseQuote(QUOTE);
  assert.equal(toHex(quote.nonce), "2a".padStart(64, "0"));
  assert.deepEqual(quote.selections, [{ bank: "sha256", indices: [0, 1, 2, 7, 10, 16] }]);
  assert.deepEqual(quote.clock, { clock: 2188n, resetCount: 1, restartCount: 0, safe: true });
  assert.equal(quote.pcrDigest.length, 32);
});

Deno.test("A-8 A-14 parseQuote() rejects what no TPM writes", () => {
  const selections = 6 + 2 + 34 + 2 + 32 + 17 + 8;
  rejects([
    [() => parseQuote(put(QUOTE, 3, 0x48)), /at offset 0: magic is 0xff544348/],
    [() => parseQuote(put(QUOTE, 5, 0x17)), /at offset 4: type is 0x8017/],
    [() => parseQuote(put(QUOTE, 6, 0xff)), /bytes are due/],
    [() => parseQuote(put(QUOTE, selections - 9, 2)), /the safe flag is 2/],
    [() => parseQuote(put(QUOTE, selections, 0, 0, 0, 17)), /17 banks are selected/],
    [() => parseQuote(put(QUOTE, selections + 4, 0, 0x12)), /bank 0x12 is not known/],
    [() => parseQuote(put(QUOTE, selections + 6, 5)), /a selection of 5 bytes/],
    [() => parseQuote(put(QUOTE, selections + 7, 0, 0, 0)), /no register is selected/],
    [() => parseQuote(QUOTE.subarray(1)), /magic/],
    [() => parseQuote(QUOTE.subarray(0, -1)), /bytes are due/],
    [() => parseQuote(join(QUOTE, Uint8Array.of(0))), /1 trailing bytes/],
    [() => parseQuote(new Uint8Array(1025)), /at most 1024/],
  ]);
});

Deno.test("parsePublic() reads keys of swtpm and of Google, and gives their names", () => {
  for (const name of ["rsa", "ecc"]) {
    const key = parsePublic2b(ownVector(`tpm/swtpm-${name}-ak.tpm2b_public`));
    assert.deepEqual(attestationKeyFaults(key.attributes), []);
    assert.equal(key.name.length, 34);
    assert.equal(toHex(key.name.subarray(0, 2)), "000b");
  }
  const google = parsePublic(decodeAttestation(GCE).akPublic);
  assert.equal(google.attributes, 0x50072);
});

Deno.test("parsePublic() makes the same SubjectPublicKeyInfo as WebCrypto", async () => {
  const ecc = parsePublic2b(ownVector("tpm/swtpm-ecc-ak.tpm2b_public")).key;
  const rsa = parsePublic2b(ownVector("tpm/swtpm-rsa-ak.tpm2b_public")).key;
  const algorithms = [
    [ecc, { name: "ECDSA", namedCurve: "P-256" }],
    [rsa, { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }],
  ] as const;
  for (const [key, algorithm] of algorithms) {
    const imported = await crypto.subtle.importKey(
      "spki",
      key.spki as BufferSource,
      algorithm,
      true,
      [
        "verify",
      ],
    );
    const exported = new Uint8Array(await crypto.subtle.exportKey("spki", imported));
    assert.equal(toHex(exported), toHex(key.spki));
  }
});

Deno.test("A-8 A-14 parsePublic() rejects weak and malformed keys", async () => {
  const rsa = parsePublic2b(ownVector("tpm/swtpm-rsa-ak.tpm2b_public")).raw;
  const { area: ecc } = await fakeTpm();
  const rsaArea = (bits: number, exponent: number, modulus: Uint8Array) =>
    join(rsa.subarray(0, 16), u16be(bits), u32be(exponent), sized(modulus));
  const modulus = rsa.subarray(24);
  rejects([
    [() => parsePublic(put(rsa, 1, 8)), /neither an RSA nor an ECC key/],
    [() => parsePublic(put(rsa, 3, 0x99)), /name algorithm is not known/],
    [() => parsePublic(put(rsa, 15, 0x99)), /hash of the scheme is not known/],
    [() => parsePublic(rsaArea(1024, 0, modulus.subarray(0, 128))), /2048 to 4096 bits/],
    [() => parsePublic(rsaArea(2048, 0, modulus.subarray(1))), /2048 to 4096 bits/],
    [() => parsePublic(rsaArea(2048, 0, put(modulus, 0, 0x7f))), /2048 to 4096 bits/],
    [() => parsePublic(rsaArea(2048, 4, modulus)), /exponent must be odd/],
    [() => parsePublic(rsaArea(2048, 1, modulus)), /exponent must be odd/],
    [() => parsePublic(put(ecc, 17, 0x10)), /curve is not taken/],
    [() => parsePublic(put(ecc, 21, 33)), /a coordinate is too long/],
    [() => parsePublic(join(rsa, Uint8Array.of(1))), /trailing bytes/],
    [() => parsePublic2b(rsa), /bytes are due|trailing bytes/],
    [() => parsePublic(new Uint8Array(1025)), /1025 bytes are too many/],
  ]);
  assert.deepEqual(attestationKeyFaults(AK_ATTRIBUTES), []);
  assert.deepEqual(attestationKeyFaults(0).length, 5);
});

Deno.test("A-8 verifyTpmSignature() takes no SHA-1, no other scheme, no other length", async () => {
  const { key } = parsePublic2b(ownVector("tpm/swtpm-rsa-ak.tpm2b_public"));
  const signature = parseTpmSignature(ownVector("tpm/swtpm-rsa-quote.sig"));
  assert.equal(await verifyTpmSignature(key, signature, QUOTE), true);
  assert.equal(await verifyTpmSignature(key, signature, flipped(QUOTE, 9)), false);
  assert.equal(await verifyTpmSignature(key, { ...signature, scheme: "rsapss" }, QUOTE), false);
  assert.equal(await verifyTpmSignature(key, { ...signature, scheme: "ecdsa" }, QUOTE), false);
  const [value] = signature.values as [Uint8Array];
  assert.equal(
    await verifyTpmSignature(key, { ...signature, values: [value.subarray(1)] }, QUOTE),
    false,
  );
  assert.equal(await verifyTpmSignature(key, { ...signature, values: [] }, QUOTE), false);
  await assert.rejects(
    verifyTpmSignature(key, { ...signature, hash: "sha1" }, QUOTE),
    /over sha1: SHA-256, SHA-384 or SHA-512 is due/,
  );
  const ecc = parsePublic2b(ownVector("tpm/swtpm-ecc-ak.tpm2b_public")).key;
  assert.equal(await verifyTpmSignature(ecc, signature, QUOTE), false);
  const long = new Uint8Array(33).fill(1);
  const wide = { scheme: "ecdsa", hash: "sha256", values: [long, long] } as const;
  assert.equal(await verifyTpmSignature(ecc, wide, QUOTE), false);
  rejects([
    [() => parseTpmSignature(Uint8Array.of(0, 0x15, 0, 0xb, 0, 0)), /scheme 0x15 is not known/],
    [() => parseTpmSignature(Uint8Array.of(0, 0x14, 0, 0x12, 0, 0)), /hash 0x12 is not known/],
    [() => parseTpmSignature(Uint8Array.of(0, 0x14, 0, 0xb, 0, 1)), /bytes are due/],
    [() => parseTpmSignature(Uint8Array.of(0, 0x14, 0, 0xb, 0, 0, 1)), /trailing bytes/],
    [() => parseTpmSignature(new Uint8Array(1025)), /too many/],
  ]);
});

Deno.test("verifyTpmSignature() takes RSAPSS with either salt length of a TPM", async () => {
  const algorithm = {
    name: "RSA-PSS",
    modulusLength: 2048,
    publicExponent: Uint8Array.of(1, 0, 1),
    hash: "SHA-256",
  };
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const jwk = await crypto.subtle.exportKey("jwk", pair.publicKey);
  const bytes = (text = "") =>
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
  const key = { kind: "rsa", modulus: bytes(jwk.n), exponent: bytes(jwk.e), spki } as const;
  for (const [saltLength, ok] of [[32, true], [222, true], [20, false]] as const) {
    const value = await crypto.subtle.sign({ name: "RSA-PSS", saltLength }, pair.privateKey, QUOTE);
    const signature = {
      scheme: "rsapss",
      hash: "sha256",
      values: [new Uint8Array(value)],
    } as const;
    assert.equal(await verifyTpmSignature(key, signature, QUOTE), ok);
  }
});

Deno.test("encodeAttestation() and the text form give back what was decoded", () => {
  for (const file of ["gce-cos85-nonce9009", "cocos-vtpm-quote"]) {
    const bytes = ownVector(`tpm/${file}.attestation.pb`);
    const attestation = decodeAttestation(bytes);
    const encoded = encodeAttestation(attestation);
    assert.equal(
      encoded.length,
      bytes.length,
      "Go writes map entries in any order, but of this size",
    );
    const again = decodeAttestation(encoded);
    assert.deepEqual(sorted(again), sorted(attestation));
    const text = parseAttestationText(formatAttestationText(attestation));
    assert.deepEqual(sorted(text), sorted(attestation));
  }
});

/** Maps in one order, so that two of them compare. */
function sorted(attestation: TpmAttestation): unknown {
  const quotes = attestation.quotes.map((each) => ({
    ...each,
    pcrs: [...each.pcrs].sort(([a], [b]) => a - b),
  }));
  return { ...attestation, quotes };
}

Deno.test("an SNP report and its certificates survive as a message, byte for byte", () => {
  const base = decodeAttestation(GCE);
  for (const name of ["milan-v2-vcek-report.bin", "milan-v3-vlek-report.bin"]) {
    const report = ownVector(`snp/${name}`);
    const snp = {
      report,
      vcek: ownVector("snp/milan-v2-vcek.der"),
      extras: new Map([["63da758d-e664-4564-adc5-f4b93be8accd", Uint8Array.of(1, 2)]]),
      product: { name: "Milan", stepping: 1 },
    };
    const again = decodeAttestation(encodeAttestation({ ...base, snp }));
    assert.deepEqual(again.snp?.report, new Uint8Array(report));
    assert.deepEqual(again.snp?.vcek, snp.vcek);
    assert.deepEqual([...again.snp?.extras ?? []], [...snp.extras]);
    assert.deepEqual(again.snp?.product, snp.product);
    assert.deepEqual(parseAttestationText(formatAttestationText({ ...base, snp })).snp, again.snp);
  }
});

Deno.test("instance information survives both forms", () => {
  const instance = {
    zone: "z",
    projectId: 'p\n"q',
    projectNumber: 2n ** 64n - 1n,
    name: "ü",
    id: 7n,
  };
  const whole = { ...decodeAttestation(GCE), instance };
  assert.deepEqual(decodeAttestation(encodeAttestation(whole)).instance, instance);
  assert.deepEqual(parseAttestationText(formatAttestationText(whole)).instance, instance);
});

/** Evidence whose one quote has so many register values. */
function withPcrs(count: number): Uint8Array {
  const value = new Uint8Array(32);
  const pcrs = new Map(Array.from({ length: count }, (_, index) => [index, value]));
  const quote = { quote: value, signature: value, bank: "sha256", pcrs } as const;
  return encodeAttestation({ ...decodeAttestation(GCE), quotes: [quote] });
}

Deno.test("A-14 an SNP message that fits no report is refused", () => {
  const report = ownVector("snp/milan-v2-vcek-report.bin");
  const base = { ...decodeAttestation(GCE), quotes: [], eventLog: new Uint8Array() };
  const extras = new Map<string, Uint8Array>();
  assert.throws(
    () => encodeAttestation({ ...base, snp: { report: report.subarray(1), extras } }),
    CocosError,
  );
  const text = formatAttestationText({
    ...base,
    snp: { report, extras, product: { name: "Milan", stepping: 1 } },
  });
  const changed = (from: RegExp, to: string) => () => {
    const other = text.replace(from, to);
    assert.notEqual(other, text);
    return parseAttestationText(other);
  };
  rejects([
    [changed(/current_build: \d+/, "current_build: 256"), /current_build does not fit 1 bytes/],
    [changed(/name: SEV_PRODUCT_MILAN/, "name: 9"), /product 9 is not known/],
    [
      changed(/version: 2/, "version: 2 cpuid1eax_fms: 0x10000000"),
      /no family, model and stepping/,
    ],
    [
      changed(/version: 2/, "version: 2 cpuid1eax_fms: 0x00f00000"),
      /no family, model and stepping/,
    ],
    [changed(/family_id: "/, 'family_id: "x'), /family_id has 17 bytes/],
  ]);
});

Deno.test("A-14 decodeAttestation() rejects fields that are unknown, doubled or of a wrong form", () => {
  const field = (
    number: number,
    bytes: readonly number[],
  ) => [number * 8 + 2, bytes.length, ...bytes];
  const from = (...bytes: number[]) => () => decodeAttestation(Uint8Array.from(bytes));
  const quote = (pcrs: readonly number[]) => field(2, field(3, [8, 11, ...pcrs]));
  const value = (length: number) => [0x12, length, ...new Array(length).fill(7)];
  rejects([
    [from(...field(10, [])), /field 10 of attest.Attestation is not known/],
    [from(0), /field 0 of/],
    [from(...field(1, [1]), ...field(1, [1])), /ak_pub is given twice/],
    [from(8, 1), /ak_pub has a wrong wire type/],
    [from(0x0a, 5, 1), /bytes are due/],
    [from(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2), /more than/],
    [from(...new Array(11).fill(0xff)), /more than 64 bits/],
    [from(...field(4, field(1, [0xff]))), /not UTF-8/],
    [from(...field(2, field(3, []))), /hash 0 of a quote is not known/],
    [from(...field(2, field(3, [8, 5]))), /hash 5 of a quote is not known/],
    [from(...quote(field(2, [8, 0, ...value(31)]))), /register 0 of bank sha256 has 31 bytes/],
    [from(...quote(field(2, [8, 32, ...value(32)]))), /register 32 of bank sha256/],
    [
      from(...quote([...field(2, [8, 1, ...value(32)]), ...field(2, [8, 1, ...value(32)])])),
      /key 1 twice/,
    ],
    [from(...field(8, []), ...field(9, [])), /SNP and a TDX report/],
    [from(...field(8, [])), /it has no report/],
    [from(...field(8, field(1, []))), /family_id has 0 bytes/],
    [from(...field(2, field(3, [8, 0xff, 0xff, 0xff, 0xff, 0x1f]))), /more than 32 bits/],
    [from(...new Array(257).fill(field(7, [1])).flat()), /too many elements/],
    [() => decodeAttestation(withPcrs(257)), /too many entries/],
    [from(...new Array(17).fill(quote([])).flat()), /17 quotes are too many/],
    [() => decodeAttestation(new Uint8Array(4 * 1024 * 1024 + 1)), /Cannot read TPM evidence of/],
  ]);
});

Deno.test("A-14 parseAttestationText() reads Go's ways of writing and rejects others", () => {
  const text = `# a comment
    ak_pub: "\\x01\\002" 'a\\n"'   ; quotes { quote: "q", pcrs: < hash: SHA256 > } quotes: {
      raw_sig: "é" pcrs { hash: 12 } }, intermediate_certs: ["a", "b"] intermediate_certs: []
    instance_info: { project_number: 0x10 }`;
  const parsed = parseAttestationText(text);
  assert.deepEqual([...parsed.akPublic], [1, 2, 97, 10, 34]);
  assert.deepEqual(parsed.quotes.map(({ bank }) => bank), ["sha256", "sha384"]);
  assert.deepEqual([...parsed.quotes[1]?.signature ?? []], [0xc3, 0xa9]);
  assert.equal(parsed.intermediates.length, 2);
  assert.equal(parsed.instance?.projectNumber, 16n);
  const bad = (line: string) => () => parseAttestationText(line);
  rejects([
    [bad("nothing: 1"), /line 1: "nothing" is no field/],
    [bad('\n\nak_pub: "a'), /line 3: a string has no end/],
    [bad('ak_pub: "a" ak_pub: "b"'), /given twice/],
    [bad('ak_pub "a"'), /: is due/],
    [bad("ak_pub: 1"), /a quoted string is due/],
    [bad('ak_pub: "\\q"'), /an escape is not known/],
    [bad('ak_pub: "\\777"'), /an escape is above 255/],
    [bad("instance_info: { project_number: -1 }"), /is not a number/],
    [bad("instance_info: { project_number: 18446744073709551616 }"), /is not a number/],
    [bad("instance_info: { project_number: 017 }"), /is not a number/],
    [bad("instance_info: {"), /a name or a value is due/],
    [bad("instance_info: 1"), /{ is due/],
    [
      bad('quotes { pcrs { hash: SHA256 pcrs { key: 1 value: "" } pcrs { key: 1 } } }'),
      /key 1 twice/,
    ],
    [bad("quotes { pcrs { hash: MD5 } }"), /is not a number of this field/],
    [bad(`${"quotes { pcrs {".repeat(9)}`), /is no field of|nested/],
    [bad(" ".repeat(8 * 1024 * 1024 + 1)), /too long/],
  ]);
});

Deno.test("parseHclReport() reads a report of Azure and rejects every flipped bit of its frame", () => {
  const bytes = ownVector("azure/snp-hcl-report.bin");
  const report = parseHclReport(bytes);
  assert.equal(report.kind, "snp");
  assert.deepEqual(report.hardwareReport.subarray(0x50, 0x90), report.reportData);
  assert.equal(report.userData.length, 64);
  const runtime = report.runtimeData.byteOffset - bytes.byteOffset;
  const end = runtime + report.runtimeData.length;
  for (const bit of bitsToFlip(bytes.length, 4000)) {
    const at = bit >> 3;
    if (at >= 0x20 && at < 0x4c0) continue; // the hardware report has a signature of its own
    try {
      const other = parseHclReport(flipped(bytes, bit));
      assert.ok(at >= runtime && at < end || at >= 0x4cc && at < 0x4d0 || at === 4, `bit ${bit}`);
      if (at !== 4) assert.notDeepEqual(other.reportData, report.reportData);
    } catch (error) {
      assert.ok(error instanceof CocosError, String(error));
    }
  }
});

const QUOTES = ["tdx/v4-spr-e4-quote.bin", "tdx/v4-b0c06f-quote.bin", "tdx/cos113-quote.bin"];

Deno.test("decodeAttestation() and encodeAttestation() carry a TDX quote of version 4, byte for byte", () => {
  for (const name of QUOTES) {
    const tdx = ownVector(name);
    const file = { ...decodeAttestation(GCE), tdx };
    assert.deepEqual(decodeAttestation(encodeAttestation(file)).tdx, new Uint8Array(tdx));
    const text = parseAttestationText(
      formatAttestationText({ ...file, eventLog: new Uint8Array() }),
    );
    assert.deepEqual(text.tdx, new Uint8Array(tdx));
  }
  const five = { ...decodeAttestation(GCE), tdx: ownVector("tdx/v5-td15-quote.bin") };
  assert.throws(() => encodeAttestation(five), /version 5 has no message/);
});

Deno.test("A-14 decodeAttestation() refuses a TDX quote whose parts do not fit their places", () => {
  const text = formatAttestationText({
    ...decodeAttestation(new Uint8Array()),
    tdx: ownVector("tdx/v4-b0c06f-quote.bin"),
  });
  const cases: readonly (readonly [RegExp, string, RegExp])[] = [
    [/ {4}rtmrs: .*\n/, "", /3 RTMRs/],
    [/ {4}mr_td: "[^"]*"/, '    mr_td: "short"', /mr_td has 5 bytes, not 48/],
    [/signed_data_size: \d+/, "signed_data_size: 1", /signature data has \d+ bytes, not 1/],
    [/parsed_data_size: \d+/, "parsed_data_size: 31", /QE authentication data has 32 bytes/],
    [/tee_type: \d+/, "tee_type: 4294967295", /^$/],
    [/attestation_key_type: \d+/, "attestation_key_type: 65538", /does not fit 2 bytes/],
    [/tdx_attestation: \{[^]*\}\n$/, "tdx_attestation: { }", /it has no td_quote_body/],
  ];
  for (const [from, to, why] of cases) {
    const changed = text.replace(from, to);
    assert.notEqual(changed, text, String(from));
    if (why.source === "^$") {
      assert.notDeepEqual(parseAttestationText(changed).tdx, parseAttestationText(text).tdx);
    } else assert.throws(() => parseAttestationText(changed), why);
  }
});
