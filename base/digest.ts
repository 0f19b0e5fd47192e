// SHA3-256 (FIPS 202), the digest of every algorithm, dataset and manifest of the wire.
import { CocosError } from "./errors.ts";
import { type Keccak, keccak, MAX_BLOCKS, RATE_BYTES, STATE_BYTES } from "./keccak.ts";

/** Length of a SHA3-256 digest in bytes. */
export const DIGEST_BYTES = 32;

/** First byte after a message: SHA-3's suffix 01 and the first bit of the padding (§6.1, §5.1). */
const SUFFIX = 0x06;

/** Last bit of the padding (§5.1). */
const LAST = 0x80;

/** The permutation every hash of this process goes through, made when the first one needs it. */
let shared: Keccak | undefined;

/** A running SHA3-256; one use. */
export class Sha3_256 {
  readonly #state = new Uint8Array(STATE_BYTES);
  /** What doesn't fill a block yet. */
  readonly #rest = new Uint8Array(RATE_BYTES);
  #held = 0;
  #done = false;

  /** Goes on from the state of another, after whole blocks. */
  static from(state: Uint8Array): Sha3_256 {
    const made = new Sha3_256();
    made.#state.set(state);
    return made;
  }

  /** Another that goes on from here; this one is not changed. */
  copy(): Sha3_256 {
    const made = Sha3_256.from(this.#state);
    made.#rest.set(this.#rest);
    made.#held = this.#held;
    return made;
  }

  /** Ends here: what to go on from elsewhere, and the bytes that don't fill a block yet. */
  leave(): { readonly state: Uint8Array; readonly rest: Uint8Array } {
    this.#done = true;
    return { state: this.#state, rest: this.#rest.subarray(0, this.#held) };
  }

  /** Adds bytes; returns itself. The bytes are read before it returns. */
  update(bytes: Uint8Array): this {
    if (this.#done) throw new CocosError("internal", "Cannot add to a finished digest");
    let left = bytes;
    if (this.#held > 0) {
      const some = left.subarray(0, RATE_BYTES - this.#held);
      this.#rest.set(some, this.#held);
      this.#held += some.length;
      left = left.subarray(some.length);
      if (this.#held < RATE_BYTES) return this;
      this.#absorb(this.#rest);
      this.#held = 0;
    }
    const whole = left.length - left.length % RATE_BYTES;
    this.#absorb(left.subarray(0, whole));
    this.#rest.set(left.subarray(whole));
    this.#held = left.length - whole;
    return this;
  }

  /** The digest, 32 bytes; the object can't be used afterwards. */
  digest(): Uint8Array {
    if (this.#done) throw new CocosError("internal", "Cannot finish a digest twice");
    this.#rest.fill(0, this.#held);
    this.#rest[this.#held] = SUFFIX;
    this.#rest[RATE_BYTES - 1] = (this.#rest[RATE_BYTES - 1] as number) | LAST;
    this.#absorb(this.#rest);
    this.#done = true;
    this.#rest.fill(0);
    return this.#state.slice(0, DIGEST_BYTES);
  }

  /** Takes whole blocks in; none of them stays behind in the shared memory (threats Z-1). */
  #absorb(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const { state, blocks, absorb } = shared ??= keccak();
    state.set(this.#state);
    for (let at = 0; at < bytes.length; at += MAX_BLOCKS * RATE_BYTES) {
      const some = bytes.subarray(at, at + MAX_BLOCKS * RATE_BYTES);
      blocks.set(some);
      absorb(some.length / RATE_BYTES);
    }
    this.#state.set(state);
    state.fill(0);
    blocks.fill(0, 0, Math.min(bytes.length, blocks.length));
  }
}

/** SHA3-256 of bytes in memory. */
export function sha3_256(bytes: Uint8Array): Uint8Array {
  return new Sha3_256().update(bytes).digest();
}

/** Lower-case hexadecimal text. */
export function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/**
 * Bytes of hexadecimal text, either case.
 *
 * @throws {CocosError} `invalid-argument` for an odd length or another character.
 */
export function fromHex(text: string): Uint8Array {
  try {
    return Uint8Array.fromHex(text);
  } catch (cause) {
    throw new CocosError("invalid-argument", "Cannot read hexadecimal text", { cause });
  }
}

/** Whether two byte strings are equal; time depends on the length only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}
