// The one place that makes gRPC servers. Every peer is hostile: limits before handlers, no input
// ends the process, no error text that isn't ours.
import { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import net from "node:net";
import tls from "node:tls";
import type http2 from "node:http2";
import type { EventEmitter } from "node:events";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import {
  create,
  type DescMethod,
  type DescService,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import { asCocosError, CocosError, messageOf, Status } from "../base/mod.ts";
import { guardServer } from "./_guard.ts";
import { healthService } from "./health.ts";
import {
  CHUNK_BYTES,
  HANDSHAKE_MS,
  IDLE_CONNECTION_MS,
  MAX_CONNECTIONS,
  MAX_MESSAGE_BYTES,
  MAX_STATUS_TEXT,
  MAX_STREAMS,
} from "./limits.ts";
import {
  type CallContext,
  type Handlers,
  type Headers,
  pathOf,
  type Protection,
  type ServiceImpl,
} from "./rpc.ts";

/** Certificate and key of a server, PEM texts. */
export interface TlsServer {
  readonly cert: string;
  readonly key: string;
  /** Certificates that sign the clients'; given, every client must show one (mTLS). */
  readonly clientCa?: string;
}

/** One finished call, for a log line or a metric. */
export interface CallRecord {
  readonly method: string;
  readonly peer: string;
  readonly ms: number;
  readonly error?: CocosError;
}

/** Options of {@linkcode serve}. */
export interface ServeOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly tls?: TlsServer;
  readonly services: readonly ServiceImpl[];
  /** Name the standard health service answers SERVING for, besides the empty one. */
  readonly healthName?: string;
  /** Called after each call. */
  readonly onCall?: (record: CallRecord) => void;
  /** Connections at once; more are closed at once (default {@linkcode MAX_CONNECTIONS}). */
  readonly maxConnections?: number;
}

/** A running server. */
export interface RpcServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly protection: Protection;
  /** Stops accepting, lets open calls end for `graceMs` (default 5,000), then cuts them. */
  close(graceMs?: number): Promise<void>;
}

/** Binds handlers to a service; {@linkcode serve} takes the result. */
export function implement<S extends DescService>(
  service: S,
  handlers: Handlers<S>,
): ServiceImpl {
  return { service, handlers: handlers as Record<string, unknown> };
}

/**
 * Starts a gRPC server: plain, TLS 1.3 or mutual TLS 1.3, HTTP/2 only.
 *
 * @throws {CocosError} `unavailable` when the address can't be taken, `invalid-config` for a
 * certificate or key that doesn't fit.
 */
export async function serve(options: ServeOptions): Promise<RpcServer> {
  const server = guardServer(
    new Server({
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
      "grpc.max_concurrent_streams": MAX_STREAMS,
      "grpc.max_connection_idle_ms": IDLE_CONNECTION_MS,
      "grpc-node.flow_control_window": CHUNK_BYTES,
      "grpc.enable_channelz": 0,
    }),
  );
  const protection: Protection = options.tls === undefined
    ? "none"
    : options.tls.clientCa === undefined
    ? "tls"
    : "mtls";
  const services = [...options.services, healthService(options.healthName)];
  for (const { service, handlers } of services) {
    server.addService(
      definitionOf(service),
      Object.fromEntries(
        service.methods.map((method) => [
          method.localName,
          adapt(method, handlers[method.localName], protection, options.onCall),
        ]),
      ),
    );
  }
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const sockets = new Set<net.Socket>();
  const take = (socket: net.Socket) => {
    socket.setNoDelay(true);
    injector.injectConnection(socket);
  };
  const listener = options.tls === undefined
    ? net.createServer(take)
    : tlsListener(options.tls, take);
  const most = options.maxConnections ?? MAX_CONNECTIONS;
  listener.prependListener("connection", (socket: net.Socket) => {
    // Sockets are tracked below TLS: a peer that never shakes hands counts as well (threats G-8).
    socket.on("error", () => socket.destroy());
    if (sockets.size >= most) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    const timer = setTimeout(() => {
      if (socket.bytesRead < 24) socket.destroy();
    }, HANDSHAKE_MS);
    Deno.unrefTimer(timer as unknown as number);
    socket.once("close", () => {
      clearTimeout(timer);
      sockets.delete(socket);
    });
  });
  await listen(listener, options);
  const { port } = listener.address() as net.AddressInfo;

  let closing: Promise<void> | undefined;
  const close = (graceMs = 5_000) => closing ??= shutDown(graceMs);
  async function shutDown(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
    const { promise: drained, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, graceMs);
    server.tryShutdown(() => resolve());
    await drained;
    clearTimeout(timer);
    server.forceShutdown();
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  return { host: options.host, port, protection, close, [Symbol.asyncDispose]: () => close(0) };
}

/** TLS 1.3 only, ALPN h2 only (threats G-17); an explicit CA buffer avoids the createSsl trap. */
function tlsListener(given: TlsServer, take: (socket: net.Socket) => void): net.Server {
  try {
    if (!new X509Certificate(given.cert).checkPrivateKey(createPrivateKey(given.key))) {
      throw new TypeError("the key does not belong to the certificate");
    }
    const listener = tls.createServer({
      cert: given.cert,
      key: given.key,
      ...(given.clientCa === undefined ? {} : { ca: given.clientCa }),
      requestCert: given.clientCa !== undefined,
      rejectUnauthorized: given.clientCa !== undefined,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["h2"],
      handshakeTimeout: HANDSHAKE_MS,
    });
    listener.on("secureConnection", (socket) => {
      if (given.clientCa !== undefined && !socket.authorized) {
        socket.destroy();
        return;
      }
      socket.on("error", () => socket.destroy());
      take(socket);
    });
    listener.on("tlsClientError", (_error, socket) => socket.destroy());
    return listener;
  } catch (cause) {
    throw new CocosError("invalid-config", `Cannot serve TLS: ${messageOf(cause)}`, {
      cause,
      hint: "Give a PEM certificate and the unencrypted PEM key that belongs to it.",
    });
  }
}

async function listen(listener: net.Server, { host, port }: ServeOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  listener.once("error", reject);
  try {
    listener.listen(port, host, resolve);
    await promise;
  } catch (cause) {
    throw new CocosError(
      "unavailable",
      `Cannot listen on ${host}:${port}: ${messageOf(cause)}`,
      { cause, hint: "Choose a free port, or end the program that holds this one." },
    );
  }
  listener.removeListener("error", reject);
  listener.on("error", () => {});
}

/** grpc-js's description of a service; bytes stay bytes here, protobuf is read in the adapter. */
function definitionOf(service: DescService): ServiceDefinition {
  const bytes = (value: Uint8Array) =>
    Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return Object.fromEntries(service.methods.map((method) => [method.localName, {
    path: pathOf(method),
    requestStream: method.methodKind === "client_streaming" ||
      method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" ||
      method.methodKind === "bidi_streaming",
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  }]));
}

type Call =
  & (
    | ServerUnaryCall<Uint8Array, Uint8Array>
    | ServerReadableStream<Uint8Array, Uint8Array>
    | ServerWritableStream<Uint8Array, Uint8Array>
    | ServerDuplexStream<Uint8Array, Uint8Array>
  )
  & { metadata: Metadata };

/** The grpc-js handler of one method: one wrapper, so that every call is guarded alike. */
function adapt(
  method: DescMethod,
  handler: unknown,
  protection: Protection,
  onCall: ServeOptions["onCall"],
) {
  const path = pathOf(method);
  const decode = (bytes: Uint8Array) => {
    try {
      return fromBinary(method.input, bytes);
    } catch (cause) {
      throw new CocosError("invalid-argument", `Cannot read ${method.input.typeName}`, { cause });
    }
  };
  const encode = (init: unknown) =>
    toBinary(method.output, create(method.output, init as Record<string, never>));

  return (call: Call, callback?: (error: unknown, value?: Uint8Array) => void) => {
    const started = performance.now();
    const gone = new AbortController();
    const events = call as EventEmitter;
    events.on("cancelled", () => gone.abort(new CocosError("cancelled", "The peer has gone")));
    events.on("error", () => gone.abort(new CocosError("cancelled", "The stream broke")));
    const context = contextOf(call, path, protection, gone.signal);
    const requests = () => readAll(call as ServerReadableStream<Uint8Array, Uint8Array>, decode);
    const run = handler as (input: unknown, context: CallContext) => unknown;
    const writer = call as ServerWritableStream<Uint8Array, Uint8Array>;

    const finish = (error?: CocosError) => {
      const ms = performance.now() - started;
      const peer = context.peer;
      onCall?.(
        error === undefined ? { method: path, peer, ms } : { method: path, peer, ms, error },
      );
    };
    const fail = (thrown: unknown) => {
      const { error, status } = statusOf(thrown);
      finish(error);
      if (callback !== undefined) callback(status);
      else writer.emit("error", status);
    };
    const answer = async () => {
      switch (method.methodKind) {
        case "unary": {
          const request = decode((call as ServerUnaryCall<Uint8Array, Uint8Array>).request);
          const value = encode(await run(request, context));
          finish();
          callback?.(null, value);
          return;
        }
        case "client_streaming": {
          const value = encode(await run(requests(), context));
          finish();
          callback?.(null, value);
          return;
        }
        case "server_streaming":
        case "bidi_streaming": {
          const input = method.methodKind === "bidi_streaming"
            ? requests()
            : decode((writer as unknown as { request: Uint8Array }).request);
          const messages = run(input, context) as AsyncIterable<unknown>;
          await writeAll(writer, messages, encode, gone.signal);
          finish();
          writer.end();
        }
      }
    };
    answer().catch(fail);
  };
}

function contextOf(
  call: Call,
  path: string,
  protection: Protection,
  signal: AbortSignal,
): CallContext {
  const headers: Headers = {
    get: (key) => call.metadata.get(key).map((value) => value.toString()),
  };
  let sent = false;
  return {
    method: path,
    metadata: headers,
    peer: call.getPeer(),
    security: protection,
    signal,
    delivered: delivered(call),
    sendHeaders(values) {
      if (sent) return;
      sent = true;
      const metadata = new Metadata();
      for (const [key, value] of Object.entries(values)) metadata.set(key, value);
      call.sendMetadata(metadata);
    },
  };
}

/** Whether the HTTP/2 stream under a call closes in good order. */
function delivered(call: Call): Promise<boolean> {
  const { stream } = (call as unknown as { call: { stream: http2.ServerHttp2Stream } }).call;
  return new Promise((resolve) => {
    let broken = false;
    stream.once("aborted", () => broken = true);
    stream.once("error", () => broken = true);
    stream.once("close", () => {
      resolve(!broken && stream.writableFinished && stream.rstCode === 0);
    });
  });
}

/** Messages of a peer's stream; a peer that has gone is a `cancelled` error, never an end. */
async function* readAll(
  call: ServerReadableStream<Uint8Array, Uint8Array>,
  decode: (bytes: Uint8Array) => unknown,
): AsyncGenerator<unknown> {
  try {
    for await (const bytes of call) yield decode(bytes as Uint8Array);
  } catch (cause) {
    if (cause instanceof CocosError) throw cause;
    const status = (cause as { code?: unknown }).code;
    if (status === Status.RESOURCE_EXHAUSTED) {
      throw new CocosError("too-large", messageOf(cause), { cause });
    }
    throw new CocosError("cancelled", "The peer ended the stream early", { cause });
  }
  if (call.cancelled) throw new CocosError("cancelled", "The peer ended the stream early");
}

/** Writes messages with backpressure until they end or the peer has gone. */
async function writeAll(
  writer: ServerWritableStream<Uint8Array, Uint8Array>,
  messages: AsyncIterable<unknown>,
  encode: (init: unknown) => Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const gone = Promise.withResolvers<never>();
  gone.promise.catch(() => {});
  const abort = () => gone.reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  const iterator = messages[Symbol.asyncIterator]();
  let whole = false;
  try {
    while (true) {
      const next = await Promise.race([iterator.next(), gone.promise]);
      if (next.done === true) {
        whole = true;
        return;
      }
      if (!writer.write(encode(next.value))) {
        await Promise.race([
          new Promise((resolve) => writer.once("drain", resolve)),
          gone.promise,
        ]);
      }
    }
  } finally {
    signal.removeEventListener("abort", abort);
    // Not awaited: a handler that waits for the peer would never come back.
    if (!whole) iterator.return?.().then(undefined, () => {});
  }
}

/** What goes on the wire for a thrown value: our own errors as they are, others without detail. */
function statusOf(thrown: unknown) {
  const error = asCocosError(thrown);
  const text = thrown instanceof CocosError ? error.message : "internal error";
  return {
    error,
    status: {
      code: error.status,
      details: text.slice(0, MAX_STATUS_TEXT).toWellFormed(),
      metadata: new Metadata(),
    },
  };
}
