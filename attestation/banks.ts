// The hash banks of a TPM and how a register is extended (TPM 2.0 part 1 §17, part 2 table 9). Pure
// arithmetic: the digests that are extended come from hostile logs.
import { sha1 } from "@noble/hashes/legacy.js";
import { sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
import { sha3_256, sha3_384, sha3_512 } from "@noble/hashes/sha3.js";
import { CocosError } from "../base/mod.ts";

/** One hash algorithm of the TPM: its TPM_ALG_ID, its digest length and its function. */
export interface BankInfo {
  /** TPM_ALG_ID. */
  readonly id: number;
  /** Bytes of a digest. */
  readonly size: number;
  readonly hash: (bytes: Uint8Array) => Uint8Array;
  /** Whether a collision is thought infeasible: SHA-1's is not, so it never carries a verdict. */
  readonly strong: boolean;
}

/** Every bank that can be replayed here; `sm3_256` can't (no implementation) and is not listed. */
export const BANKS = {
  sha1: { id: 0x0004, size: 20, hash: sha1, strong: false },
  sha256: { id: 0x000b, size: 32, hash: sha256, strong: true },
  sha384: { id: 0x000c, size: 48, hash: sha384, strong: true },
  sha512: { id: 0x000d, size: 64, hash: sha512, strong: true },
  sha3_256: { id: 0x0027, size: 32, hash: sha3_256, strong: true },
  sha3_384: { id: 0x0028, size: 48, hash: sha3_384, strong: true },
  sha3_512: { id: 0x0029, size: 64, hash: sha3_512, strong: true },
} as const satisfies Record<string, BankInfo>;

/** Name of a bank, as policies and MANAGER_PCR_VALUES files write it. */
export type Bank = keyof typeof BANKS;

/** Values of registers: index → value of the bank's length. */
export type Registers = ReadonlyMap<number, Uint8Array>;

/** Values of registers by bank. */
export type BankValues = ReadonlyMap<Bank, Registers>;

const BY_ID = new Map<number, Bank>(
  Object.entries(BANKS).map(([name, info]) => [info.id, name as Bank]),
);

/** Name of a TPM_ALG_ID; `undefined` for one that is not a known hash. */
export function bankOfId(id: number): Bank | undefined {
  return BY_ID.get(id);
}

/** Whether a word names a bank. */
export function isBank(word: string): word is Bank {
  return Object.hasOwn(BANKS, word);
}

/** The bank of a word such as `sha256`. @throws {CocosError} `invalid-argument` for another word. */
export function bankOf(word: string): Bank {
  if (isBank(word)) return word;
  throw new CocosError("invalid-argument", `Cannot use bank ${JSON.stringify(word)}: not known`, {
    hint: `Known banks are ${Object.keys(BANKS).join(", ")}.`,
  });
}

/** A register before its first extend. */
export function zeroRegister(bank: Bank): Uint8Array {
  return new Uint8Array(BANKS[bank].size);
}

/** H(register ‖ digest). Both must be of the bank's length. */
export function extend(bank: Bank, register: Uint8Array, digest: Uint8Array): Uint8Array {
  const { size, hash } = BANKS[bank];
  if (register.length !== size || digest.length !== size) {
    throw new CocosError(
      "invalid-argument",
      `Cannot extend a ${bank} register: ${register.length} and ${digest.length} bytes, ${size} are due`,
    );
  }
  const both = new Uint8Array(2 * size);
  both.set(register);
  both.set(digest, size);
  return hash(both);
}
