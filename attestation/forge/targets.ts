// Every parser of this folder that is shown bytes or text from outside, with right input to begin
// with. A parser that is not here is not hunted: the test beside compares this list with `mod.ts`.
import { CocosError } from "../../base/mod.ts";
import { globalVariable } from "./eventlog.ts";
import { asciiList, binaryList, measured } from "./ima.ts";
import { efiKernel } from "./firmware.ts";
import type { Target } from "./hunt.ts";
import { machine } from "./snp.ts";
import { fakeTdx } from "./tdx.ts";
import { madeClaims } from "./token.ts";
import {
  authenticodeDigest,
  decodeAttestation,
  decodeBase64,
  decodeBase64url,
  decodeCbor,
  decodePem,
  encodeAmdKey,
  encodePem,
  encodeTable,
  formatAttestationText,
  formatBundle,
  formatPolicy,
  INSECURE_SIMULATED_ROOT,
  issueSimulated,
  parseAmdKey,
  parseAttestationText,
  parseBundle,
  parseCertificate,
  parseCorim,
  parseCrl,
  parseEndorsement,
  parseEventLog,
  parseFirmware,
  parseHclReport,
  parseIdBlock,
  parseIgvm,
  parseImaList,
  parseImaSignature,
  parseJson,
  parsePcrValues,
  parsePolicy,
  parsePublic,
  parsePublic2b,
  parseQeIdentity,
  parseQuote,
  parseReport,
  parseSeedPolicy,
  parseSeedTdxPolicy,
  parseSimulated,
  parseSnapshot,
  parseSvsmManifest,
  parseTable,
  parseTcbInfo,
  parseTdReport,
  parseTdxQuote,
  parseToken,
  parseTpmSignature,
  parseVariable,
  readClaims,
  readTrustedKey,
  replay,
  SIMULATED_MAGIC,
  simulatedPolicy,
  splitExtended,
  splitSigned,
  TABLE_GUIDS,
  tdxSections,
} from "../mod.ts";
import { ownVector } from "../testdata/vectors.ts";
import { base64url } from "../x509/mod.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
/** Text of hostile bytes; each byte is one character, so that every mutation stays one. */
const textOf = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);
const ofText = (parse: (text: string) => unknown) => (bytes: Uint8Array) => parse(textOf(bytes));

/** The seeds that have to be signed or built. */
async function made() {
  const snp = await machine();
  const td = await fakeTdx();
  const policy = simulatedPolicy({
    insecure: true,
    roots: [INSECURE_SIMULATED_ROOT],
    measurement: "any",
  });
  const simulated = issueSimulated({
    measurement: new Uint8Array(48),
    reportData: new Uint8Array(64),
    hostData: new Uint8Array(32),
  });
  const bundle = formatBundle({
    policy: { name: "x", simulated: policy },
    evidence: { simulated },
    session: { now: 0, reportData: new Uint8Array(64) },
    collateral: {},
  });
  const ima = [measured("boot_aggregate", ""), measured("/bin/sh", "1"), measured("/bin/a b", "2")];
  return { snp, td, policy, simulated, bundle, ima };
}

/** A variable that can't be read is no error there; here it is one way in which input ends. */
function variable(bytes: Uint8Array): unknown {
  const found = parseVariable(bytes);
  if (found === undefined) throw new CocosError("invalid-argument", "lengths disagree");
  return found;
}

/** A manifest of all services with a vTPM whose key is `area`. */
function svsmManifest(area: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(48 + area.length);
  const hex = (text: string) => Uint8Array.from(text.match(/../g) ?? [], (p) => parseInt(p, 16));
  bytes.set(hex("bb9e8463923d704da1ff58f9c94b87bb"));
  new DataView(bytes.buffer).setUint32(16, bytes.length, true);
  new DataView(bytes.buffer).setUint32(20, 1, true);
  bytes.set(hex("ebf176c40123a5459641b4e7dde5bfe3"), 24);
  new DataView(bytes.buffer).setUint32(40, 48, true);
  new DataView(bytes.buffer).setUint32(44, area.length, true);
  bytes.set(area, 48);
  return bytes;
}

/** The table. */
export async function targets(): Promise<readonly Target[]> {
  const { snp, td, policy, simulated, bundle, ima } = await made();
  const maa = bytesOf(JSON.stringify({ ...madeClaims(), iss: "x", iat: 1, nbf: 1, exp: 2 }));
  const header = base64url(bytesOf('{"alg":"RS256","kid":"k"}'));
  const idBlock = new Uint8Array(0x60);
  idBlock[0x50] = 1;
  const certificates = parseTdxQuote(td.quote).certificates;
  const area = ownVector("tpm/swtpm-rsa-ak.tpm2b_public").subarray(2);
  const gce = ownVector("tpm/gce-cos85-nonce9009.attestation.pb");
  const gceText = formatAttestationText({ ...decodeAttestation(gce), eventLog: new Uint8Array() });
  const amd = { amd: encodeAmdKey(parseCertificate(snp.leaf).key) };
  const firmware = ownVector("measure/ovmf_AmdSev_suffix.bin");
  const pem = bytesOf(encodePem(snp.leaf, "CERTIFICATE"));
  const v = ownVector;
  const rows: readonly (readonly [string, Uint8Array | Uint8Array[], Target["parse"]])[] = [
    [
      "parseReport",
      [v("snp/milan-v2-vcek-report.bin"), v("snp/milan-v3-vlek-report.bin")],
      parseReport,
    ],
    ["splitExtended", v("snp/cocos-attestation-no-certs.bin"), splitExtended],
    [
      "parseTable",
      encodeTable(new Map([[TABLE_GUIDS.vcek, snp.leaf], [TABLE_GUIDS.ask, snp.leaf]])),
      parseTable,
    ],
    ["parseCertificate", [snp.leaf, certificates[0] as Uint8Array], (b) => parseCertificate(b)],
    ["parseCrl", [v("tdx/pck.crl"), await snp.crl()], (b) => parseCrl(b)],
    ["parseIdBlock", idBlock, parseIdBlock],
    ["parseAmdKey", amd.amd, parseAmdKey],
    ["readTrustedKey", [snp.leaf, amd.amd], readTrustedKey],
    ["decodePem", pem, ofText((text) => decodePem(text, "CERTIFICATE"))],
    ["decodeBase64", bytesOf("AAECAwQFBgcICQ=="), ofText(decodeBase64)],
    ["decodeBase64url", bytesOf("AAECAwQFBgcICQ"), ofText(decodeBase64url)],
    ["parseTdxQuote", [v("tdx/v4-b0c06f-quote.bin"), v("tdx/v5-td15-quote.bin")], parseTdxQuote],
    ["parseTdReport", v("tdx/tdreport.bin"), parseTdReport],
    ["parseTcbInfo", bytesOf(td.collateral.tcbInfo), ofText(parseTcbInfo)],
    ["parseQeIdentity", bytesOf(td.collateral.qeIdentity), ofText(parseQeIdentity)],
    [
      "splitSigned",
      v("tdx/qe-identity.json"),
      ofText((text) => splitSigned(text, "enclaveIdentity")),
    ],
    ["parseQuote", [v("tpm/swtpm-rsa-quote.msg"), v("tpm/swtpm-ecc-quote.msg")], parseQuote],
    ["parsePublic", area, parsePublic],
    [
      "parsePublic2b",
      [v("tpm/swtpm-rsa-ak.tpm2b_public"), v("tpm/swtpm-ecc-ak.tpm2b_public")],
      parsePublic2b,
    ],
    [
      "parseTpmSignature",
      [v("tpm/swtpm-ecc-quote.sig"), v("tpm/swtpm-rsa-quote.sig")],
      parseTpmSignature,
    ],
    ["decodeAttestation", gce, decodeAttestation],
    ["parseAttestationText", bytesOf(gceText), ofText(parseAttestationText)],
    [
      "parseHclReport",
      [v("azure/snp-hcl-report.bin"), v("azure/tdx-hcl-report.bin")],
      parseHclReport,
    ],
    ["parseSvsmManifest", svsmManifest(area), parseSvsmManifest],
    [
      "parseEventLog",
      [v("eventlog/debian-10.bin"), v("eventlog/arch-linux-workstation.bin")],
      (b) => replay(parseEventLog(b, "tcg")),
    ],
    [
      "parseEventLog of CCEL",
      v("eventlog/CCEL_data_ovmf.ccel"),
      (b) => replay(parseEventLog(b, "ccel")),
    ],
    ["parseVariable", globalVariable("SecureBoot", Uint8Array.of(1)), variable],
    ["parseImaList", [binaryList(ima), asciiList(ima)], (b) => parseImaList(b)],
    ["parseImaSignature", Uint8Array.of(3, 2, 4, 1, 2, 3, 4, 0, 4, 9, 9, 9, 9), parseImaSignature],
    [
      "parseSnapshot",
      bytesOf(`{"filehashes":[["/bin/sh","${"ab".repeat(32)}"]]}`),
      ofText(parseSnapshot),
    ],
    ["parseIgvm", v("measure/synthetic-sorted-signed.igvm"), parseIgvm],
    ["parseFirmware", firmware, (b) => tdxSections(parseFirmware(b))],
    ["authenticodeDigest", efiKernel(), (b) => authenticodeDigest(b, "sha256")],
    ["parseSimulated", [simulated, bytesOf(SIMULATED_MAGIC)], parseSimulated],
    ["parseToken", maa, (b) => parseToken(`${header}.${base64url(b)}.AAAA`)],
    [
      "parseToken of text",
      bytesOf(`${header}.${base64url(maa)}.AAAA`),
      ofText(parseToken),
    ],
    ["readClaims", maa, ofText((text) => readClaims(parseJson(text, "claims")))],
    ["parseEndorsement", Uint8Array.of(10, 4, 42, 2, 1, 1, 18, 1, 1), parseEndorsement],
    ["decodeCbor", v("policy/unsigned-example-corim.cbor"), (b) => decodeCbor(b)],
    ["parseCorim", v("policy/unsigned-example-corim.cbor"), parseCorim],
    ["parsePolicy", bytesOf(formatPolicy({ name: "x", simulated: policy })), ofText(parsePolicy)],
    ["parseSeedPolicy", v("policy/attestation_policy.json"), ofText(parseSeedPolicy)],
    ["parseSeedTdxPolicy", v("policy/attestation_policy_tdx.json"), ofText(parseSeedTdxPolicy)],
    ["parsePcrValues", v("policy/pcr_values.json"), ofText(parsePcrValues)],
    ["parseJson", maa, ofText((text) => parseJson(text, "a text"))],
    ["parseBundle", bytesOf(bundle), ofText(parseBundle)],
  ];
  return rows.map(([name, seeds, parse]) => ({
    name,
    seeds: seeds instanceof Uint8Array ? [seeds] : seeds,
    parse,
  }));
}
