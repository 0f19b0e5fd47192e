// Rows of the verifier, warm: it judges real evidence over and over in one process. Each must be
// accepted, else its time says nothing.
import { createHash } from "node:crypto";
import {
  allowListOf,
  appraiseIma,
  appraiseSnp,
  appraiseTdx,
  ImaReplay,
  measureIgvm,
  parseImaList,
  snpPolicy,
  TCB_ZERO,
  type TdxCollateral,
  tdxPolicy,
} from "../../attestation/mod.ts";
import { median } from "./_measure.ts";
import type { Row } from "./_rows.ts";

const TESTDATA = new URL("../../attestation/testdata/", import.meta.url);
const vector = (name: string) => Deno.readFileSync(new URL(name, TESTDATA));

/** Median of `count` runs after `warm` that do not count. */
async function warmed(
  work: () => Promise<boolean>,
  { warm, count }: { readonly warm: number; readonly count: number },
): Promise<number> {
  const times: number[] = [];
  for (let at = 0; at < warm + count; at++) {
    const started = performance.now();
    if (!await work()) throw new Error("the evidence must be accepted");
    if (at >= warm) times.push(performance.now() - started);
  }
  return median(times);
}

async function snp(): Promise<number> {
  const report = vector("snp/milan-v2-vcek-report.bin");
  const leaf = vector("snp/milan-v2-vcek.der");
  const policy = snpPolicy({
    products: ["Milan"],
    measurement: "any",
    reportData: "any",
    revocation: "any",
    guest: { smt: "any" },
    firmware: { provisional: "any" },
    tcb: { reported: TCB_ZERO },
  });
  const context = { now: Date.UTC(2025, 5, 1), collateral: { leaf } };
  return await warmed(async () => (await appraiseSnp(report, policy, context)).ok, {
    warm: 50,
    count: 100,
  });
}

async function tdx(): Promise<number> {
  const quote = vector("tdx/v4-b0c06f-quote.bin");
  const json = JSON.parse(new TextDecoder().decode(vector("tdx/v4-b0c06f-collateral.json")));
  const collateral: TdxCollateral = {
    tcbInfo: json.tcb_info,
    tcbInfoSignature: json.tcb_info_signature,
    tcbInfoChain: json.tcb_info_issuer_chain,
    qeIdentity: json.qe_identity,
    qeIdentitySignature: json.qe_identity_signature,
    qeIdentityChain: json.qe_identity_issuer_chain,
    rootCrl: Uint8Array.fromHex(json.root_ca_crl),
    pckCrl: Uint8Array.fromHex(json.pck_crl),
  };
  const any = "any" as const;
  const policy = tdxPolicy({
    ...{ mrTd: any, rtmr0: any, rtmr1: any, rtmr2: any, rtmr3: any, reportData: any },
    ...{ mrConfigId: any, mrOwner: any, mrOwnerConfig: any },
  });
  const context = { now: Date.UTC(2025, 6, 1), collateral };
  return await warmed(async () => (await appraiseTdx(quote, policy, context)).ok, {
    warm: 50,
    count: 100,
  });
}

const u32 = (value: number) => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
};

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** An IGVM file of one SNP platform and `pages` pages with content. */
function igvmFile(pages: number): Uint8Array<ArrayBuffer> {
  const headers = 24 + 32 * pages;
  const file = new Uint8Array(24 + headers + 4096 * pages);
  const view = new DataView(file.buffer);
  file.set(new TextEncoder().encode("IGVM"));
  for (const [at, value] of [[4, 1], [8, 24], [12, headers], [16, file.length]] as const) {
    view.setUint32(at, value, true);
  }
  view.setUint32(24, 1, true); // SUPPORTED_PLATFORM
  view.setUint32(28, 16, true);
  view.setUint32(32, 1, true);
  file.set([0, 2, 1, 0], 36); // VTL 0, SNP, version 1
  const data = 24 + headers;
  for (let page = 0; page < pages; page++) {
    const at = 48 + 32 * page;
    view.setUint32(at, 0x302, true); // PAGE_DATA
    view.setUint32(at + 4, 24, true);
    view.setBigUint64(at + 8, BigInt(4096 * page), true);
    view.setUint32(at + 16, 1, true);
    view.setUint32(at + 20, data + 4096 * page, true);
    file.fill(page & 0xff, data + 4096 * page, data + 4096 * (page + 1));
  }
  view.setUint32(20, crc32(file.subarray(0, 24 + headers)), true);
  return file;
}

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

async function igvm(): Promise<number> {
  const file = igvmFile(512); // 2 MiB of content
  return await warmed(async () => (await measureIgvm(file)).digest.length === 96, {
    warm: 5,
    count: 15,
  });
}

/** A binary list of template ima-ng. */
function imaList(entries: number): Uint8Array {
  const ascii = (text: string) => new TextEncoder().encode(text);
  return joined(Array.from({ length: entries }, (_, at) => {
    const path = ascii(`/usr/lib/x86_64-linux-gnu/package-${at}/library.so.${at % 7}\0`);
    const digest = joined([ascii("sha256:\0"), createHash("sha256").update(path).digest()]);
    const fields = joined([u32(digest.length), digest, u32(path.length), path]);
    const hash = createHash("sha1").update(fields).digest();
    return joined([u32(10), hash, u32(6), ascii("ima-ng"), u32(fields.length), fields]);
  }));
}

async function ima(): Promise<number> {
  const list = imaList(100_000);
  const entries = parseImaList(list);
  const replay = new ImaReplay(["sha256"]);
  for (const entry of entries) replay.add(entry);
  const registers = new Map([[
    "sha256" as const,
    new Map([[10, replay.value("sha256") as Uint8Array]]),
  ]]);
  const policy = {
    banks: ["sha256"],
    extend: "own",
    tail: "refuse",
    violations: "refuse",
    algorithms: ["sha256"],
    bootAggregate: "any",
    allowed: allowListOf(entries),
  } as const;
  return await warmed(async () => (await appraiseIma(list, policy, { registers })).verdict.ok, {
    warm: 1,
    count: 3,
  });
}

const row = (id: string, title: string, aim: number, run: () => Promise<number>): Row => ({
  id,
  title,
  unit: "ms",
  aim,
  makers: ["ours"],
  run,
});

/** The rows. */
export const VERIFIER_ROWS: readonly Row[] = [
  row("verify-snp", "SNP report with its chain", 7, snp),
  row("verify-tdx", "TDX quote with collateral", 60, tdx),
  row("measure-igvm", "IGVM of 2 MB measured", 100, igvm),
  row("verify-ima", "IMA list of 100,000 entries", 2_000, ima),
];
