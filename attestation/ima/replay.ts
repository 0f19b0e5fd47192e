// Replay of an IMA list to the value of its PCR, entry by entry, from zeros or from where an earlier
// replay stopped. Template hashes are made anew: else names and digests shown would be unbound.
import type { sha1 } from "@noble/hashes/legacy.js";
import { CocosError } from "../../base/mod.ts";
import { type Bank, BANKS, zeroRegister } from "../banks.ts";
import { equalBytes } from "../verdict.ts";
import type { ImaEntry } from "./parse.ts";

/** The register IMA uses unless its policy names another. */
export const IMA_PCR = 10;

/**
 * How banks other than SHA-1 are extended. `own`: by their own hash of the template data (Linux 5.8 and
 * later). `legacy-padded`: by the SHA-1, padded with zeros, as older kernels do; as weak as SHA-1.
 */
export type ImaExtend = "own" | "legacy-padded";

/** Where a replay stands; it can be kept and gone on with. */
export interface ImaState {
  /** Entries replayed. */
  readonly entries: number;
  readonly values: ReadonlyMap<Bank, Uint8Array>;
}

/** Writes the digest of `data` over the front of `out`. */
type Hasher = (data: Uint8Array, out: Uint8Array) => void;

/** One state for all hashes of a bank: a list has 100,000 entries, and making a state costs as much as hashing. */
function hasherOf(bank: Bank): Hasher {
  const blank = BANKS[bank].hash.create() as ReturnType<typeof sha1.create>;
  const state = blank.clone();
  return (data, out) => {
    blank._cloneInto(state);
    state.update(data);
    state.digestInto(out);
  };
}

/** A replay in progress. */
export class ImaReplay {
  readonly #extend: ImaExtend;
  /** By bank: the register, and behind it room for what is extended. */
  readonly #registers = new Map<Bank, Uint8Array>();
  readonly #hashers = new Map<Bank, Hasher>();
  readonly #sha1 = hasherOf("sha1");
  readonly #template = new Uint8Array(BANKS.sha1.size);
  #entries: number;

  /** @param from A state of the same list, which must have the same banks. */
  constructor(banks: readonly Bank[], how: ImaExtend = "own", from?: ImaState) {
    this.#extend = how;
    this.#entries = from?.entries ?? 0;
    for (const bank of banks) {
      const value = from === undefined ? zeroRegister(bank) : from.values.get(bank);
      if (value === undefined || value.length !== BANKS[bank].size) {
        throw new CocosError(
          "invalid-argument",
          `Cannot go on with a replay: it has no ${bank} value`,
        );
      }
      const both = new Uint8Array(2 * value.length);
      both.set(value);
      this.#registers.set(bank, both);
      this.#hashers.set(bank, hasherOf(bank));
    }
  }

  /**
   * Replays one entry.
   *
   * @returns False when the entry's template hash is not of its data; nothing is extended then.
   */
  add(entry: ImaEntry): boolean {
    if (!entry.violation) {
      this.#sha1(entry.data, this.#template);
      if (!equalBytes(this.#template, entry.templateHash)) return false;
    }
    for (const [bank, both] of this.#registers) {
      const hash = this.#hashers.get(bank) as Hasher;
      this.#extended(bank, entry, both.subarray(BANKS[bank].size), hash);
      hash(both, both.subarray(0, BANKS[bank].size));
    }
    this.#entries++;
    return true;
  }

  /** Whether the register has this value now. */
  is(bank: Bank, value: Uint8Array): boolean {
    const register = this.#registers.get(bank);
    if (register === undefined || value.length !== BANKS[bank].size) return false;
    for (let i = 0; i < value.length; i++) if (register[i] !== value[i]) return false;
    return true;
  }

  /** Value of the register so far. */
  value(bank: Bank): Uint8Array | undefined {
    return this.#registers.get(bank)?.slice(0, BANKS[bank].size);
  }

  /** Where the replay stands. */
  state(): ImaState {
    const values = new Map<Bank, Uint8Array>();
    for (const [bank, both] of this.#registers) values.set(bank, both.slice(0, both.length / 2));
    return Object.freeze({ entries: this.#entries, values });
  }

  /** Writes what the kernel extends a bank by. */
  #extended(bank: Bank, entry: ImaEntry, out: Uint8Array, hash: Hasher): void {
    if (entry.violation) out.fill(0xff);
    else if (bank === "sha1") out.set(entry.templateHash);
    else if (this.#extend === "own") hash(entry.data, out);
    else {
      out.fill(0);
      out.set(entry.templateHash);
    }
  }
}

/** How far a list is vouched for. */
export interface ImaCoverage {
  /** Entries up to the trusted value; `undefined` when the list never gives it. */
  readonly covered: number | undefined;
  /** First entry whose template hash is not of its data, if the replay came to one. */
  readonly forged: ImaEntry | undefined;
  /** First entry of another register, if the replay came to one. */
  readonly elsewhere: ImaEntry | undefined;
  /** After the covered entries: go on from here another time. */
  readonly state: ImaState | undefined;
}

/**
 * Finds the part of a list that gives a trusted register value: a list read after the quote is longer.
 *
 * @param entries The whole list, or what follows `from`.
 */
export function coverageOf(
  entries: readonly ImaEntry[],
  bank: Bank,
  trusted: Uint8Array,
  options: { readonly pcr?: number; readonly how?: ImaExtend; readonly from?: ImaState } = {},
): ImaCoverage {
  const replay = new ImaReplay([bank], options.how ?? "own", options.from);
  const pcr = options.pcr ?? IMA_PCR;
  const found = (covered: number): ImaCoverage => ({
    covered,
    forged: undefined,
    elsewhere: undefined,
    state: replay.state(),
  });
  const none = { covered: undefined, forged: undefined, elsewhere: undefined, state: undefined };
  if (options.from !== undefined && replay.is(bank, trusted)) return found(0);
  for (const [at, entry] of entries.entries()) {
    if (entry.pcr !== pcr) return { ...none, elsewhere: entry };
    if (!replay.add(entry)) return { ...none, forged: entry };
    if (replay.is(bank, trusted)) return found(at + 1);
  }
  return none;
}
