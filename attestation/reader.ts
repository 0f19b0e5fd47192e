// Bounded reader over bytes of unknown origin: every read is checked, every fault names its offset,
// and what is left over is an error. The bytes are hostile.
import { CocosError } from "../base/mod.ts";

/** How {@linkcode Reader} and parsers made on it behave, in one place. */
export interface ReaderOptions {
  /** Offset of the first byte in the whole input; faults show it. Default 0. */
  readonly base?: number;
}

/**
 * Reads integers and byte strings from front to back. Nothing is copied, and making one costs little: {@linkcode Reader.bytes}
 * gives views into the input.
 *
 * @example
 * ```ts
 * const reader = new Reader(Uint8Array.of(0x12, 0x34, 0xff), "a toy");
 * console.log(reader.u16be()); // 4660
 * console.log(reader.u8()); // 255
 * reader.end(); // throws unless everything was read
 * ```
 */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #base: number;
  /** What is being read, with its article: it stands in every message. */
  readonly what: string;
  #at = 0;

  constructor(bytes: Uint8Array, what: string, options: ReaderOptions = {}) {
    this.#bytes = bytes;
    this.#base = options.base ?? 0;
    this.what = what;
  }

  /** Offset of the next byte, counted as faults count it. */
  get offset(): number {
    return this.#base + this.#at;
  }

  /** How many bytes are not read yet. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** True when everything has been read. */
  get done(): boolean {
    return this.left === 0;
  }

  /** The next byte. */
  u8(): number {
    return this.#byte(this.#take(1));
  }

  /** Two bytes, little-endian. */
  u16le(): number {
    const at = this.#take(2);
    return this.#byte(at) | this.#byte(at + 1) << 8;
  }

  /** Two bytes, big-endian. */
  u16be(): number {
    const at = this.#take(2);
    return this.#byte(at) << 8 | this.#byte(at + 1);
  }

  /** Four bytes, little-endian. */
  u32le(): number {
    return this.#wordLe(this.#take(4));
  }

  /** Four bytes, big-endian. */
  u32be(): number {
    return this.#wordBe(this.#take(4));
  }

  /** Eight bytes, little-endian. */
  u64le(): bigint {
    const at = this.#take(8);
    return BigInt(this.#wordLe(at + 4)) << 32n | BigInt(this.#wordLe(at));
  }

  /** Eight bytes, big-endian. */
  u64be(): bigint {
    const at = this.#take(8);
    return BigInt(this.#wordBe(at)) << 32n | BigInt(this.#wordBe(at + 4));
  }

  /** The next `count` bytes as a view. */
  bytes(count: number): Uint8Array {
    const start = this.#take(count);
    return this.#bytes.subarray(start, start + count);
  }

  /** Everything that is left, as a view (may be empty). */
  rest(): Uint8Array {
    return this.bytes(this.left);
  }

  /** The next `count` bytes as a reader of their own, whose faults keep the outer offsets. */
  part(count: number, what: string = this.what): Reader {
    const base = this.offset;
    return new Reader(this.bytes(count), what, { base });
  }

  /** The next `count` bytes must all be zero; `name` says which field they are. */
  zeros(count: number, name: string): void {
    const start = this.offset;
    const bytes = this.bytes(count);
    const at = bytes.findIndex((byte) => byte !== 0);
    if (at !== -1) throw this.fault(`${name} must be zero`, start + at);
  }

  /** @throws {CocosError} unless everything has been read. */
  end(): void {
    if (this.left > 0) throw this.fault(`${this.left} trailing bytes`);
  }

  /** An error of this input: `Cannot read <what> at offset <n>: <why>`. */
  fault(why: string, offset: number = this.offset): CocosError {
    return new CocosError(
      "invalid-argument",
      `Cannot read ${this.what} at offset ${offset}: ${why}`,
    );
  }

  #byte(at: number): number {
    return this.#bytes[at] as number;
  }

  #wordLe(at: number): number {
    return (this.#byte(at) | this.#byte(at + 1) << 8 | this.#byte(at + 2) << 16 |
      this.#byte(at + 3) << 24) >>> 0;
  }

  #wordBe(at: number): number {
    return (this.#byte(at) << 24 | this.#byte(at + 1) << 16 | this.#byte(at + 2) << 8 |
      this.#byte(at + 3)) >>> 0;
  }

  #take(count: number): number {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw this.fault(`a length of ${count} bytes makes no sense`);
    }
    if (count > this.left) throw this.fault(`${count} bytes are due, ${this.left} are left`);
    const start = this.#at;
    this.#at += count;
    return start;
  }
}
