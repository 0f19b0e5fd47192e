// SHA3-256 (FIPS 202), the digest of every algorithm, dataset and manifest of the wire.
import { createHash, type Hash } from "node:crypto";
import { CocosError } from "./errors.ts";

/** Length of a SHA3-256 digest in bytes. */
export const DIGEST_BYTES = 32;

/** A running SHA3-256; one use. */
export class Sha3_256 {
  readonly #hash: Hash = createHash("sha3-256");

  /** Adds bytes; returns itself. The bytes are read before it returns. */
  update(bytes: Uint8Array): this {
    this.#hash.update(bytes);
    return this;
  }

  /** The digest, 32 bytes; the object can't be used afterwards. */
  digest(): Uint8Array {
    return new Uint8Array(this.#hash.digest());
  }
}

/** SHA3-256 of bytes in memory. */
export function sha3_256(bytes: Uint8Array): Uint8Array {
  return new Sha3_256().update(bytes).digest();
}

/** SHA3-256 of a stream of chunks. */
export async function digestOf(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const hash = new Sha3_256();
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest();
}

/** SHA3-256 of a file's bytes, read in pieces. Errors are Deno's own (`NotFound`, …). */
export async function digestFile(path: string | URL): Promise<Uint8Array> {
  const file = await Deno.open(path, { read: true });
  return await digestOf(file.readable);
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
