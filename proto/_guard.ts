// Guards around @grpc/grpc-js 1.14.7 on Deno 2.9.6: what a hostile connection can do to it must
// stay in that connection (threats G-11, R2).
import http2 from "node:http2";
import type { Server } from "@grpc/grpc-js";
import { MAX_HEADER_BYTES, MAX_STREAM_RATE, STREAM_RATE_WINDOW_MS } from "./limits.ts";

/** The parts of grpc-js's server we reach into; pinned by the exact version in deno.json. */
interface Inner {
  commonServerOptions: http2.ServerOptions;
  createHttp2Server(credentials: unknown): http2.Http2Server;
  _setupHandlers(server: http2.Http2Server, interceptors: unknown[]): void;
}

/**
 * Makes the server's HTTP/2 layer safe against streams that are already destroyed when it answers
 * them, against floods of streams, and against oversized header lists.
 */
export function guardServer(server: Server): Server {
  const inner = server as unknown as Inner;
  inner.createHttp2Server = () => {
    const common = inner.commonServerOptions;
    const made = http2.createServer({
      ...common,
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      settings: { ...common.settings, maxHeaderListSize: MAX_HEADER_BYTES, enablePush: false },
    });
    made.setTimeout(0, () => {});
    // First in line, so that grpc-js only ever sees guarded streams.
    made.on("session", guardSession);
    made.on("stream", (stream, headers, _flags, raw?: readonly string[]) => {
      guardStream(stream);
      separateRepeated(headers, raw ?? []);
    });
    made.on("sessionError", () => {});
    inner._setupHandlers(made, []);
    const emit = made.emit.bind(made) as (event: string, ...args: unknown[]) => boolean;
    made.emit = ((event: string, ...args: unknown[]) => {
      const [stream, , , raw] = args as [http2.ServerHttp2Stream, unknown, unknown, string[]?];
      if (event !== "stream" || sizeOf(raw ?? []) <= MAX_HEADER_BYTES) return emit(event, ...args);
      // The setting alone is advice: a list that is twice as long would be taken.
      stream.on("error", () => {});
      stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return true;
    }) as typeof made.emit;
    return made;
  };
  return server;
}

/** Size of a header list as HTTP/2 counts it: 32 bytes more for each entry (RFC 9113 §10.5.1). */
function sizeOf(raw: readonly string[]): number {
  return raw.reduce((sum, text) => sum + text.length, 32 * raw.length / 2);
}

/** Ends a connection that opens streams faster than any honest peer (CVE-2023-44487). */
function guardSession(session: http2.ServerHttp2Session): void {
  let windowStart = performance.now();
  let opened = 0;
  session.on("error", () => session.destroy());
  session.on("stream", () => {
    const now = performance.now();
    if (now - windowStart > STREAM_RATE_WINDOW_MS) {
      windowStart = now;
      opened = 0;
    }
    if (++opened <= MAX_STREAM_RATE || session.destroyed) return;
    try {
      session.goaway(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
    } catch {
      // It went away in the meantime; what is left of it goes now.
    }
    session.destroy();
  });
}

/**
 * Answering a stream that is already destroyed throws outside every handler and would end the
 * process; after this it does nothing. A stream that was answered before its peer had finished
 * sending is reset (RFC 9113 §8.1), so that a refused upload stops.
 */
function guardStream(stream: http2.ServerHttp2Stream): void {
  stream.on("error", () => {});
  for (const name of ["respond", "sendTrailers", "additionalHeaders"] as const) {
    const original = stream[name].bind(stream) as (...args: unknown[]) => void;
    stream[name] = (...args: unknown[]) => {
      if (stream.destroyed || stream.closed) return;
      try {
        original(...args);
      } catch {
        stream.destroy();
      }
    };
  }
  stream.once("finish", () => {
    if (!stream.readableEnded && !stream.destroyed) {
      stream.close(http2.constants.NGHTTP2_NO_ERROR);
    }
  });
}

/**
 * Node joins repeated headers with ", "; the flat list of the stream event still has them one by
 * one. grpc-js reads the joined object, which is given its values back as lists here: two arguments
 * stay two, and a second signature is seen (threats G-1).
 */
function separateRepeated(headers: http2.IncomingHttpHeaders, raw: readonly string[]): void {
  const values = new Map<string, string[]>();
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] as string;
    const before = values.get(name);
    if (before === undefined) values.set(name, [raw[i + 1] as string]);
    else before.push(raw[i + 1] as string);
  }
  for (const [name, list] of values) {
    if (list.length > 1 && !name.startsWith(":")) headers[name] = list;
  }
}
