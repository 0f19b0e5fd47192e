// Every single bit of real evidence, flipped: what is signed is refused, what is not is refused too or
// changes no claim (threats ). One run is one bit.
import { appraiseSnp, snpPolicy, TCB_ZERO } from "./snp/mod.ts";
import { appraiseTdx, type TdxCollateral, tdxPolicy } from "./tdx/mod.ts";
import { type Bank, BANKS } from "./banks.ts";
import { appraiseTpm, parseQuote } from "./tpm/mod.ts";
import { flipped, ownText, ownVector } from "./testdata/vectors.ts";
import type { Verdict } from "./verdict.ts";
import type { Outcome } from "./_soaks.ts";

/** One piece of evidence, and how it is judged. */
interface Piece {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Bytes a signature covers, and signatures themselves. */
  readonly signed: number;
  readonly judge: (bytes: Uint8Array) => Promise<Verdict>;
}

const OPEN = snpPolicy({
  products: ["Milan"],
  signers: ["vcek", "vlek"],
  measurement: "any",
  reportData: "any",
  reportIdMa: "any",
  revocation: "any",
  vmpl: "any",
  guest: { smt: "any", migration: "any", cxl: "any", debug: "any" },
  platform: { tio: "any", unknown: "any" },
  firmware: { provisional: "any" },
  tcb: { reported: TCB_ZERO },
});

function snp(name: string, leafName: string, now: number): Piece {
  const leaf = ownVector(leafName);
  const judge = (bytes: Uint8Array) => appraiseSnp(bytes, OPEN, { now, collateral: { leaf } });
  return { name, bytes: ownVector(name), signed: 0x2a0 + 144, judge };
}

const ANY = "any" as const;
const OPEN_TDX = tdxPolicy({
  ...{ mrTd: ANY, rtmr0: ANY, rtmr1: ANY, rtmr2: ANY, rtmr3: ANY, reportData: ANY },
  ...{ mrConfigId: ANY, mrOwner: ANY, mrOwnerConfig: ANY, mrServiceTd: ANY, qeVendor: ANY },
  ...{ mrSignerSeam: ANY, debug: ANY },
  tcb: { collateral: ANY, statuses: ["UpToDate"] },
});

/** A quote; up to its certificates, whose text has line breaks, all of it is signed or a signature. */
function tdx(name: string, now: number, collateral?: TdxCollateral): Piece {
  const bytes = ownVector(name);
  const view = new DataView(bytes.buffer);
  const body = view.getUint16(0, true) === 4 ? 632 : 54 + view.getUint32(50, true);
  const qeAuth = body + 4 + 64 + 64 + 6 + 384 + 64;
  const signed = qeAuth + 2 + view.getUint16(qeAuth, true) + 6;
  return {
    name,
    bytes,
    signed,
    judge: (quote) => appraiseTdx(quote, OPEN_TDX, { now, collateral }),
  };
}

function collateral(): TdxCollateral {
  const json = JSON.parse(ownText("tdx/v4-b0c06f-collateral.json"));
  return {
    tcbInfo: json.tcb_info,
    tcbInfoSignature: json.tcb_info_signature,
    tcbInfoChain: json.tcb_info_issuer_chain,
    qeIdentity: json.qe_identity,
    qeIdentitySignature: json.qe_identity_signature,
    qeIdentityChain: json.qe_identity_issuer_chain,
    rootCrl: Uint8Array.fromHex(json.root_ca_crl),
    pckCrl: Uint8Array.fromHex(json.pck_crl),
  };
}

/** A quote of swtpm with its signature behind it. */
function tpm(kind: "rsa" | "ecc"): Piece {
  const quote = ownVector(`tpm/swtpm-${kind}-quote.msg`);
  const area = ownVector(`tpm/swtpm-${kind}-ak.tpm2b_public`).subarray(2);
  const bytes = Uint8Array.of(...quote, ...ownVector(`tpm/swtpm-${kind}-quote.sig`));
  const given = ownVector(`tpm/swtpm-${kind}-quote.pcrs`);
  const values = new Map<Bank, Map<number, Uint8Array>>();
  let at = 0;
  for (const { bank, indices } of parseQuote(quote).selections) {
    const { size } = BANKS[bank];
    values.set(bank, new Map(indices.map((index) => [index, given.subarray(at, at += size)])));
  }
  const registers = [...values.get("sha256")?.keys() ?? []];
  const open = { binding: ANY, nonce: ANY, pcrs: ANY, counters: ANY } as const;
  return {
    name: `tpm/swtpm-${kind}`,
    bytes,
    signed: bytes.length,
    judge: async (changed) => {
      const quotes = [{
        quote: changed.subarray(0, quote.length),
        signature: changed.subarray(quote.length),
        values,
      }];
      const policy = { ...open, banks: ["sha256"], registers } as const;
      return (await appraiseTpm({ ak: { area }, quotes }, policy, {})).verdict;
    },
  };
}

/** All pieces; their bits, one after another, are the runs. */
function pieces(): readonly Piece[] {
  return [
    snp("snp/milan-v2-vcek-report.bin", "snp/milan-v2-vcek.der", Date.UTC(2026, 0, 1)),
    snp("snp/milan-v3-vlek-report.bin", "snp/milan-v3-vlek.der", Date.UTC(2025, 5, 1)),
    snp("snp/milan-v2-gce-report.bin", "snp/milan-v2-gce-vcek.der", Date.UTC(2026, 0, 1)),
    tdx("tdx/v4-b0c06f-quote.bin", Date.UTC(2025, 6, 1), collateral()),
    tdx("tdx/v5-td15-quote.bin", Date.UTC(2026, 5, 1)),
    tpm("rsa"),
    tpm("ecc"),
  ];
}

/** How many bits there are. */
export const BITS: number = pieces().reduce((sum, { bytes }) => sum + 8 * bytes.length, 0);

/** Flips the bits from number `seed` on. */
export async function flips(runs: number, seed: number): Promise<Outcome> {
  const failures: string[] = [];
  let refused = 0;
  let first = 0;
  for (const piece of pieces()) {
    const { name, bytes, signed, judge } = piece;
    const end = first + 8 * bytes.length;
    const good = await judge(bytes);
    if (!good.ok) {
      const why = good.checks.filter(({ ok }) => !ok).map(({ id }) => id).join();
      failures.push(`${name} must be accepted as it is: ${why}`);
      break;
    }
    const claims = JSON.stringify(good.claims);
    for (let at = Math.max(seed, first); at < Math.min(seed + runs, end); at++) {
      const verdict = await judge(flipped(bytes, at - first));
      if (!verdict.ok) refused++;
      else if (at - first < 8 * signed) failures.push(`${name}: bit ${at - first} is accepted`);
      else if (JSON.stringify(verdict.claims) !== claims) {
        failures.push(`${name}: bit ${at - first} changes a claim`);
      }
    }
    first = end;
  }
  return { runs, failures, figures: { refused, "harmless": runs - refused } };
}
