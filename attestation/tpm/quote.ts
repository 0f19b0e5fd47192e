// TPMS_ATTEST of a quote (TPM 2.0 part 2 §10.12.8 and §10.12.12): bytes to a frozen value. The bytes
// come from the peer; nothing in them is believed before the signature of a trusted key holds.
import { type Bank, bankOfId } from "../banks.ts";
import { Reader } from "../reader.ts";

/** TPM_GENERATED_VALUE: a restricted key signs this start only for what the TPM itself made. */
export const TPM_GENERATED = 0xff544347;

/** TPM_ST_ATTEST_QUOTE. */
export const ST_ATTEST_QUOTE = 0x8018;

/** A quote of all banks with a full selection stays below 300 bytes; the nonce is at most 64. */
export const MAX_QUOTE_BYTES = 1024;

/** A TPM has at most 16 banks (the size of TPML_PCR_SELECTION). */
const MAX_SELECTIONS = 16;

/** 24 registers in 3 bytes is what every PC has; 4 bytes is the most a TPM may have. */
const MAX_SELECT_BYTES = 4;

/** One bank's selected registers, ascending. */
export interface PcrSelection {
  readonly bank: Bank;
  readonly indices: readonly number[];
}

/** The TPM's clock at the time of the quote. */
export interface ClockInfo {
  /** Milliseconds the TPM has been powered, over all boots. */
  readonly clock: bigint;
  /** Boots (TPM resets) since the TPM was last cleared. */
  readonly resetCount: number;
  /** Resumes since the last reset. */
  readonly restartCount: number;
  /** False when the clock may have gone back after an unclean shutdown. */
  readonly safe: boolean;
}

/** A parsed quote; byte fields are views into the input. */
export interface Quote {
  /** What the signature covers: the whole input. */
  readonly raw: Uint8Array;
  /** Qualified name of the signing key (TPM2B_NAME without its length). */
  readonly qualifiedSigner: Uint8Array;
  /** The verifier's nonce. */
  readonly nonce: Uint8Array;
  readonly clock: ClockInfo;
  readonly firmwareVersion: bigint;
  /** In the order of the quote, which is the order the digest is made in. */
  readonly selections: readonly PcrSelection[];
  readonly pcrDigest: Uint8Array;
}

/**
 * Parses the TPMS_ATTEST of a quote.
 *
 * @throws {CocosError} `invalid-argument` when it is too long, was not made by a TPM, is not a quote,
 * selects an unknown bank, the same bank twice or nothing, or has bytes left over.
 */
export function parseQuote(bytes: Uint8Array): Quote {
  const reader = new Reader(bytes, "a TPM quote");
  if (bytes.length > MAX_QUOTE_BYTES) {
    throw reader.fault(`${bytes.length} bytes, at most ${MAX_QUOTE_BYTES} are allowed`);
  }
  const magic = reader.u32be();
  if (magic !== TPM_GENERATED) {
    throw reader.fault(`magic is ${hex(magic)}, a TPM writes ${hex(TPM_GENERATED)}`, 0);
  }
  const type = reader.u16be();
  if (type !== ST_ATTEST_QUOTE) {
    throw reader.fault(`type is ${hex(type)}, a quote is ${hex(ST_ATTEST_QUOTE)}`, 4);
  }
  const qualifiedSigner = reader.bytes(reader.u16be());
  const nonce = reader.bytes(reader.u16be());
  const clock = reader.u64be();
  const resetCount = reader.u32be();
  const restartCount = reader.u32be();
  const safe = reader.u8();
  if (safe > 1) throw reader.fault(`the safe flag is ${safe}, 0 or 1 is due`, reader.offset - 1);
  const firmwareVersion = reader.u64be();
  const selections = readSelections(reader);
  const pcrDigest = reader.bytes(reader.u16be());
  reader.end();
  return Object.freeze({
    raw: bytes,
    qualifiedSigner,
    nonce,
    clock: Object.freeze({ clock, resetCount, restartCount, safe: safe === 1 }),
    firmwareVersion,
    selections,
    pcrDigest,
  });
}

/** TPML_PCR_SELECTION. */
function readSelections(reader: Reader): readonly PcrSelection[] {
  const count = reader.u32be();
  if (count > MAX_SELECTIONS) {
    throw reader.fault(`${count} banks are selected, at most ${MAX_SELECTIONS} exist`);
  }
  const selections: PcrSelection[] = [];
  for (let i = 0; i < count; i++) {
    const start = reader.offset;
    const id = reader.u16be();
    const bank = bankOfId(id);
    if (bank === undefined) throw reader.fault(`bank ${hex(id)} is not known`, start);
    if (selections.some((each) => each.bank === bank)) {
      throw reader.fault(`bank ${bank} is selected twice`, start);
    }
    const size = reader.u8();
    if (size > MAX_SELECT_BYTES) throw reader.fault(`a selection of ${size} bytes`, start + 2);
    const indices: number[] = [];
    reader.bytes(size).forEach((byte, at) => {
      for (let bit = 0; bit < 8; bit++) if (byte & (1 << bit)) indices.push(8 * at + bit);
    });
    selections.push(Object.freeze({ bank, indices: Object.freeze(indices) }));
  }
  if (selections.every((each) => each.indices.length === 0)) {
    throw reader.fault("no register is selected");
  }
  return Object.freeze(selections);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
