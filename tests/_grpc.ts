// gRPC by hand over node:http2, so that the tests see what is on the wire and not what a library
// makes of it: header lists as they came, length-prefixed messages, trailers.
import { Buffer } from "node:buffer";
import http2 from "node:http2";

/** A header list in order, repeated names kept. */
export type HeaderList = readonly (readonly [string, string])[];

/** A message frame: flag byte, length, bytes (gRPC over HTTP/2, "Length-Prefixed-Message"). */
export function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Cuts a stream of bytes into messages. */
export class Unframer {
  #rest = Buffer.alloc(0);

  /** Messages that are whole with these bytes. */
  add(bytes: Uint8Array): Buffer[] {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const messages: Buffer[] = [];
    while (this.#rest.length >= 5) {
      const length = this.#rest.readUInt32BE(1);
      if (this.#rest[0] !== 0) throw new Error("a compressed message");
      if (this.#rest.length < 5 + length) break;
      messages.push(this.#rest.subarray(5, 5 + length));
      this.#rest = this.#rest.subarray(5 + length);
    }
    return messages;
  }

  /** Bytes of a message that is not whole. */
  get left(): number {
    return this.#rest.length;
  }
}

/** Percent-encoding of `grpc-message`: everything but printable ASCII without `%`. */
function percent(text: string): string {
  return [...Buffer.from(text)].map((byte) =>
    byte >= 0x20 && byte <= 0x7e && byte !== 0x25
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
  ).join("");
}

/** Pairs of node's flat header list. */
function pairs(flat: readonly string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [
    flat[2 * i] as string,
    flat[2 * i + 1] as string,
  ]);
}

/** All values of a header. */
export function valuesOf(headers: HeaderList, name: string): string[] {
  return headers.filter(([key]) => key === name).map(([, value]) => value);
}

/** A call as a server saw it. */
export interface Received {
  readonly path: string;
  readonly headers: HeaderList;
  readonly messages: readonly Buffer[];
  /** Whether the client half-closed. */
  readonly ended: boolean;
}

/** What a recording server answers: messages, then a status in the trailers. */
export interface Answer {
  readonly headers?: Record<string, string>;
  readonly messages?: readonly Uint8Array[];
  readonly status?: number;
  readonly text?: string;
}

/** A gRPC server that keeps every call it gets. */
export async function recordingServer(
  answer: (call: Received) => Answer,
): Promise<{ port: number; calls: Received[] } & AsyncDisposable> {
  const calls: Received[] = [];
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createServer();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => {});
  });
  server.on("stream", (stream, headers, _flags, raw?: readonly string[]) => {
    const unframer = new Unframer();
    const messages: Buffer[] = [];
    stream.on("error", () => {});
    stream.on("data", (bytes: Buffer) => messages.push(...unframer.add(bytes)));
    stream.on("end", () => {
      const call = {
        path: String(headers[":path"]),
        headers: pairs(raw ?? []),
        messages,
        ended: true,
      };
      calls.push(call);
      const { headers: initial = {}, messages: out = [], status = 0, text = "" } = answer(call);
      stream.respond(
        { ":status": 200, "content-type": "application/grpc", ...initial },
        { waitForTrailers: true },
      );
      stream.on("wantTrailers", () => {
        stream.sendTrailers({
          "grpc-status": String(status),
          ...(text === "" ? {} : { "grpc-message": percent(text) }),
        });
      });
      for (const each of out) stream.write(framed(each));
      stream.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    port,
    calls,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What a client got back. */
export interface Reply {
  /** Initial header list. */
  readonly headers: Record<string, string>;
  readonly messages: Buffer[];
  /** Status and text, from the trailers or from a headers-only answer. */
  readonly status: number;
  readonly text: string;
}

/**
 * A client connection; one call at a time is enough here. Dispose it before its server goes: on
 * Deno 2.9.6 a GOAWAY after a broken-off upload aborts the process (nghttp2's own assertion).
 */
export class Client implements Disposable {
  readonly #session: http2.ClientHttp2Session;

  constructor(port: number) {
    this.#session = http2.connect(`http://127.0.0.1:${port}`);
    this.#session.on("error", () => {});
  }

  /** Opens a call; messages are sent as given, then the stream is half-closed unless `open`. */
  async call(
    path: string,
    headers: Record<string, string | readonly string[]>,
    messages: readonly Uint8Array[],
  ): Promise<Reply> {
    const stream = this.open(path, headers);
    for (const each of messages) stream.write(framed(each));
    stream.end();
    return await replyOf(stream);
  }

  /** Opens a stream and leaves it to the caller. */
  open(
    path: string,
    headers: Record<string, string | readonly string[]>,
  ): http2.ClientHttp2Stream {
    return this.#session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    } as http2.OutgoingHttpHeaders);
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}

/** Longest wait for the end of a call. */
const REPLY_MS = 20_000;

/**
 * Reads a stream to its status. What is still to be sent then is dropped: a client that waited for
 * room to write would not see that the server has closed the stream.
 */
export function replyOf(stream: http2.ClientHttp2Stream): Promise<Reply> {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const unframer = new Unframer();
  const messages: Buffer[] = [];
  let initial: Record<string, string> = {};
  const timer = setTimeout(
    () => reject(new Error(`no status within ${REPLY_MS} ms`)),
    REPLY_MS,
  );
  const settle = (end: Record<string, string>) =>
    resolve({
      headers: initial,
      messages,
      status: Number(end["grpc-status"]),
      text: decodeURIComponent(end["grpc-message"] ?? ""),
    });
  stream.on("response", (headers) => {
    initial = headers as Record<string, string>;
    if ("grpc-status" in initial) settle(initial);
  });
  stream.on("trailers", (headers) => settle(headers as Record<string, string>));
  stream.on("data", (bytes: Buffer) => messages.push(...unframer.add(bytes)));
  stream.on("error", reject);
  stream.on("close", () => reject(new Error(`no status; the stream was reset: ${stream.rstCode}`)));
  return promise.finally(() => {
    clearTimeout(timer);
    stream.destroy();
  });
}

/** One MiB. */
const MIB = 1 << 20;

/**
 * Sends `frame` again and again until an answer comes or `most` were taken; gives both, and the
 * status. What a refused peer goes on sending must not be read for long.
 */
export async function flood(
  client: Client,
  path: string,
  metadata: Record<string, string>,
  frame: Uint8Array,
  most: number,
): Promise<{ reply: Reply; sent: number }> {
  const stream = client.open(path, metadata);
  let over = false;
  const reply = replyOf(stream).finally(() => over = true);
  let sent = 0;
  while (!over && sent < most) {
    sent++;
    if (!stream.write(frame)) {
      await Promise.race([
        new Promise((resolve) => stream.once("drain", resolve)),
        reply.then(() => {}, () => {}),
      ]);
    }
  }
  return { reply: await reply, sent };
}

/** A length-delimited field of a message. */
export function field(number: number, value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as Uint8Array);
  const length: number[] = [];
  let rest = bytes.length;
  for (; rest > 127; rest >>>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([number << 3 | 2, ...length, rest]), bytes]);
}

/** A message of 1 MiB in its field 1, framed. */
export function mebibyte(): Buffer {
  return framed(field(1, Buffer.alloc(MIB)));
}
