// Takes GOAWAY frames out of what a peer sends before HTTP/2 sees them. On Deno 2.9.6 the process
// aborts, beyond the reach of any handler, when one arrives after data (denoland/deno#36788): a peer
// that closes politely after an upload would end the agent (threats G-11). What GOAWAY announces,
// the end of the connection, follows as the end of the connection.
import { Buffer } from "node:buffer";
import type net from "node:net";

/** Type of a GOAWAY frame (RFC 9113 §6.8). */
const GOAWAY = 7;

/** Bytes of a frame's header: length 3, type 1, flags 1, stream 4 (RFC 9113 §4.1). */
const HEADER = 9;

/** Bytes of a client's connection preface before its first frame (RFC 9113 §3.4). */
export const PREFACE = 24;

/**
 * A filter over the bytes of one direction of a connection: feed it chunks as they come, it gives
 * back what may pass. `preface` bytes pass before the first frame.
 */
export function goawayFilter(preface: number): (chunk: Uint8Array) => Uint8Array {
  const header = new Uint8Array(HEADER);
  let held = 0; // bytes of a header whose rest hasn't come yet
  let left = preface; // bytes of the payload that is passing
  let dropping = false;
  return (chunk) => {
    const pieces: Uint8Array[] = [];
    let from = dropping || held > 0 ? -1 : 0; // where the piece that is passing began
    let at = 0;
    const cut = (end: number) => {
      if (from >= 0 && end > from) pieces.push(chunk.subarray(from, end));
      from = -1;
    };
    while (at < chunk.length) {
      if (left > 0) {
        const some = Math.min(left, chunk.length - at);
        if (!dropping && from < 0) from = at;
        left -= some;
        at += some;
        continue;
      }
      const begun = held;
      const some = Math.min(HEADER - held, chunk.length - at);
      header.set(chunk.subarray(at, at + some), held);
      held += some;
      if (held < HEADER) {
        cut(at);
        break;
      }
      held = 0;
      left = (header[0] as number) << 16 | (header[1] as number) << 8 | (header[2] as number);
      dropping = header[3] === GOAWAY;
      if (dropping) cut(at);
      else if (begun > 0) pieces.push(header.slice());
      else if (from < 0) from = at;
      at += some;
    }
    cut(chunk.length);
    const [only] = pieces;
    return pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
  };
}

/** Puts the filter between a socket and whoever listens to its data. */
export function withoutGoaway<S extends net.Socket>(socket: S, preface: number): S {
  const filter = goawayFilter(preface);
  const emit = socket.emit.bind(socket) as (event: string, ...args: unknown[]) => boolean;
  socket.emit = ((event: string, ...args: unknown[]) => {
    if (event !== "data") return emit(event, ...args);
    const rest = filter(args[0] as Uint8Array);
    return rest.length === 0 || emit("data", rest);
  }) as S["emit"];
  return socket;
}
