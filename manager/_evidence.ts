// Files of pretended guests and forged evidence of them, for tests. The evidence is real evidence with
// other bytes in the places that matter, or signed by a key of the test: no policy of ours takes it.
import { guidBytes, type TpmEvidence } from "../attestation/mod.ts";
import { fromHex } from "../base/mod.ts";

const TESTDATA = new URL("../attestation/testdata/", import.meta.url);

/** Bytes of a vector of the verifier. */
export function vector(path: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(new URL(path, TESTDATA));
}

/** Parsed JSON of a vector of the verifier. */
// deno-lint-ignore no-explicit-any
export function vectorJson(path: string): any {
  return JSON.parse(new TextDecoder().decode(vector(path)));
}

/** A small program that is both a Linux kernel and an EFI program; `content` differs from one to another. */
export function efiKernel(content: number): Uint8Array<ArrayBuffer> {
  const file = new Uint8Array(0x2000).fill(content, 0x1000);
  const view = new DataView(file.buffer);
  file.set(new TextEncoder().encode("MZ"));
  view.setUint32(0x3c, 0x40, true);
  file.set(new TextEncoder().encode("PE\0\0"), 0x40);
  view.setUint16(0x54, 112, true); // size of the optional header
  view.setUint16(0x58, 0x20b, true);
  view.setUint32(0x58 + 60, 0x400, true); // size of all headers
  file.set(new TextEncoder().encode("HdrS"), 0x202);
  view.setUint16(0x206, 0x20f, true);
  view.setUint32(0x22c, 0x7fffffff, true);
  view.setUint16(0x236, 0x3f, true);
  return file;
}

/** A firmware with TDX metadata of one measured section. */
export function tdxFirmware(content: number): Uint8Array<ArrayBuffer> {
  const file = new Uint8Array(0x4000).fill(content, 0x1000, 0x2000);
  const view = new DataView(file.buffer);
  const metadata = 0x100;
  file.set(new TextEncoder().encode("TDVF"), metadata);
  [48, 1, 1, 0x1000, 0x1000].forEach((each, at) =>
    view.setUint32(metadata + 4 + 4 * at, each, true)
  );
  view.setBigUint64(metadata + 24, 0xffff1000n, true);
  view.setBigUint64(metadata + 32, 0x1000n, true);
  view.setUint32(metadata + 44, 1, true); // measured
  // The table of GUIDs ends 32 bytes before the end: entry, then footer with the table's length.
  const footer = file.length - 32 - 18;
  view.setUint16(footer, 18 + 22, true);
  file.set(guidBytes("96b582de-1fb2-45f7-baea-a366c55a082d"), footer + 2);
  view.setUint32(footer - 22, file.length - metadata, true);
  view.setUint16(footer - 18, 22, true);
  file.set(guidBytes("e47a6535-984a-4798-865e-4685a7bf8ec2"), footer - 16);
  return file;
}

/** A report of a real Milan machine with another measurement and host data; its certificates are real. */
export function snpReport(measurement: Uint8Array, hostData: Uint8Array): Uint8Array {
  const report = vector("snp/milan-v2-vcek-report.bin");
  report.set(measurement, 0x90);
  report.set(hostData, 0xc0);
  return report;
}

/** A quote of a real TD with another MRTD. */
export function tdxQuote(mrTd: Uint8Array): Uint8Array {
  const quote = vector("tdx/v4-spr-e4-quote.bin");
  quote.set(mrTd, 0xb8);
  return quote;
}

/** A TPM quote over PCR values (index → hex, SHA-256 bank) by a key of the test. */
export async function tpmQuote(
  pcrs: Readonly<Record<string, string>>,
  nonce: Uint8Array,
): Promise<{ evidence: TpmEvidence; spki: Uint8Array<ArrayBuffer> }> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const values = new Map(Object.entries(pcrs).map(([at, hex]) => [Number(at), fromHex(hex)]));
  const bitmap = new Uint8Array(3);
  for (const at of values.keys()) bitmap[at >> 3] = (bitmap[at >> 3] ?? 0) | 1 << (at & 7);
  const joined = Uint8Array.from([...values.values()].flatMap((each) => [...each]));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", joined));
  const sized = (bytes: Uint8Array) => [bytes.length >> 8, bytes.length & 0xff, ...bytes];
  const quote = Uint8Array.from([
    ...[0xff, 0x54, 0x43, 0x47, 0x80, 0x18], // TPM_GENERATED, TPM_ST_ATTEST_QUOTE
    ...sized(new Uint8Array(34)),
    ...sized(nonce),
    ...new Uint8Array(25), // clock information and firmware version
    ...[0, 0, 0, 1, 0, 0x0b, 3, ...bitmap],
    ...sized(digest),
  ]);
  const raw = new Uint8Array(await crypto.subtle.sign(algorithm, pair.privateKey, quote));
  const signature = Uint8Array.from([
    ...[0, 0x18, 0, 0x0b],
    ...sized(raw.subarray(0, 32)),
    ...sized(raw.subarray(32)),
  ]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
  return {
    evidence: {
      ak: { spki },
      quotes: [{ quote, signature, values: new Map([["sha256", values]]) }],
    },
    spki,
  };
}
