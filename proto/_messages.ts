// Puts gRPC messages together from what HTTP/2 delivers. grpc-js keeps every piece of 16 KiB of a
// message until it has all, then copies them: a hundred parties that send pieces of 1 MiB take twice
// that each (threats G-10). This copies each piece to its place when it comes. The peer is not trusted.
import { Buffer } from "node:buffer";
import { CHUNK_BYTES } from "./limits.ts";

/** Bytes before a message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const PREFIX = 5;

/** Messages of a file that is uploaded in pieces of 1 MiB fit, with a name. */
const POOLED_BYTES = CHUNK_BYTES + 4_096;

/** Messages below this are not worth keeping a buffer for. */
const POOLED_FROM = CHUNK_BYTES / 4;

/** Buffers that wait for the next message. */
const MAX_FREE = 8;

/** Buffers of the pool that hold a message now. */
const lent = new WeakSet<ArrayBuffer>();
const free: ArrayBuffer[] = [];

/** A buffer whose every byte will be written before anybody sees it. */
function lend(bytes: number): Buffer {
  // Not from Node's shared pool, and without touching pages that may never be filled.
  if (bytes < POOLED_FROM || bytes > POOLED_BYTES) return Buffer.from(new ArrayBuffer(bytes));
  const buffer = free.pop() ?? new ArrayBuffer(POOLED_BYTES);
  lent.add(buffer);
  return Buffer.from(buffer, 0, bytes);
}

/**
 * Gives the memory of a received message back, by the bytes of one of its fields: V8 frees what is
 * not given back much later, and a hundred uploads would take hundreds of MiB (threats G-10). Nobody
 * may use the message afterwards. Nothing of it stays (threats Z-1).
 */
export function recycle({ buffer }: Uint8Array): void {
  if (!(buffer instanceof ArrayBuffer) || !lent.delete(buffer)) return;
  new Uint8Array(buffer).fill(0);
  if (free.length < MAX_FREE) free.push(buffer);
}

/** A decoder as grpc-js 1.14.7 has it (stream-decoder.js): messages come out with their prefix. */
export interface Decoder {
  write(data: Buffer): Buffer[];
}

/** Whatever holds a decoder: grpc-js's server call. */
export interface Decoding {
  decoder?: Decoder;
}

/**
 * A decoder of one stream.
 *
 * @param most largest message in bytes; a longer one is refused by its announced length, before it
 * takes any memory, with grpc-js's own text
 */
export function messageDecoder(most: number): Decoder {
  const prefix = Buffer.alloc(PREFIX);
  let read = 0; // bytes of the message, prefix included, that are here
  let message: Buffer | undefined;
  return {
    write(data) {
      const whole: Buffer[] = [];
      for (let at = 0; at < data.length;) {
        const into = message ?? prefix;
        const some = Math.min(into.length - read, data.length - at);
        data.copy(into, read, at, at + some);
        read += some;
        at += some;
        if (read < into.length) break;
        if (message === undefined) {
          const length = prefix.readUInt32BE(1);
          if (length > most) {
            throw new Error(`Received message larger than max (${length} vs ${most})`);
          }
          message = lend(PREFIX + length);
          prefix.copy(message);
          if (length > 0) continue;
        }
        whole.push(message);
        message = undefined;
        read = 0;
      }
      return whole;
    },
  };
}
