// The guest's memory as this host reads and writes it. Every address and length comes from the guest:
// each is checked against the memory as it is now, and what isn't inside is EFAULT.
import { Errno, fail } from "./abi.ts";

/** Most pieces of one scattered read or write (POSIX IOV_MAX on Linux). */
const MAX_PIECES = 1024;
/** Longest path in bytes (PATH_MAX on Linux). */
export const MAX_PATH = 4096;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** A call that needs memory before the module was made, out of its start function. */
export class TooEarly extends Error {}

/** A view of a WebAssembly memory that follows its growth. */
export class Memory {
  #memory: WebAssembly.Memory | undefined;
  #buffer = new ArrayBuffer(0);
  #bytes = new Uint8Array(this.#buffer);
  #view = new DataView(this.#buffer);

  /** Says which memory it is: it is exported by a module that must have its imports before. */
  attach(memory: WebAssembly.Memory): void {
    this.#memory = memory;
  }

  #refresh(): void {
    if (this.#memory === undefined) throw new TooEarly("a call before _start");
    const buffer = this.#memory.buffer as ArrayBuffer;
    if (buffer === this.#buffer) return;
    this.#buffer = buffer;
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** The view, with `length` bytes at `at` known to be inside. */
  #at(at: number, length: number): DataView {
    this.#refresh();
    // Both are whole numbers below 2^32: their sum is exact.
    if (at + length > this.#bytes.length) fail(Errno.FAULT);
    return this.#view;
  }

  /** The bytes themselves, not a copy. */
  bytes(at: number, length: number): Uint8Array<ArrayBuffer> {
    at >>>= 0;
    length >>>= 0;
    this.#at(at, length);
    return this.#bytes.subarray(at, at + length);
  }

  u8(at: number): number {
    return this.#at(at >>>= 0, 1).getUint8(at);
  }

  u16(at: number): number {
    return this.#at(at >>>= 0, 2).getUint16(at, true);
  }

  u32(at: number): number {
    return this.#at(at >>>= 0, 4).getUint32(at, true);
  }

  u64(at: number): bigint {
    return this.#at(at >>>= 0, 8).getBigUint64(at, true);
  }

  setU8(at: number, value: number): void {
    this.#at(at >>>= 0, 1).setUint8(at, value);
  }

  setU16(at: number, value: number): void {
    this.#at(at >>>= 0, 2).setUint16(at, value, true);
  }

  setU32(at: number, value: number): void {
    this.#at(at >>>= 0, 4).setUint32(at, value, true);
  }

  setU64(at: number, value: bigint): void {
    this.#at(at >>>= 0, 8).setBigUint64(at, value, true);
  }

  /** A path: UTF-8 without NUL. */
  path(at: number, length: number): string {
    if (length >>> 0 > MAX_PATH) fail(Errno.NAMETOOLONG);
    let text: string;
    try {
      text = decoder.decode(this.bytes(at, length));
    } catch (error) {
      if (error instanceof TypeError) fail(Errno.ILSEQ);
      throw error;
    }
    if (text.includes("\0")) fail(Errno.INVAL);
    return text;
  }

  /** The pieces of a scattered read or write; all are inside the memory. */
  pieces(at: number, count: number): Uint8Array<ArrayBuffer>[] {
    at >>>= 0;
    count >>>= 0;
    if (count > MAX_PIECES) fail(Errno.INVAL);
    const view = this.#at(at, count * 8);
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for (let i = 0; i < count; i++) {
      const from = view.getUint32(at + i * 8, true);
      const length = view.getUint32(at + i * 8 + 4, true);
      if (from + length > this.#bytes.length) fail(Errno.FAULT);
      if (length > 0) pieces.push(this.#bytes.subarray(from, from + length));
    }
    return pieces;
  }

  /** Writes zero-ended texts one after another and their addresses to a list (`args_get`). */
  putTexts(texts: readonly string[], list: number, at: number): void {
    for (const text of texts) {
      const bytes = encoder.encode(text);
      const room = this.bytes(at, bytes.length + 1);
      room.set(bytes);
      room[bytes.length] = 0;
      this.setU32(list, at);
      list += 4;
      at += bytes.length + 1;
    }
  }

  /** Number of texts and of the bytes they need with their zeros (`args_sizes_get`). */
  putSizes(texts: readonly string[], count: number, size: number): void {
    this.setU32(count, texts.length);
    this.setU32(size, texts.reduce((sum, text) => sum + encoder.encode(text).length + 1, 0));
  }
}
