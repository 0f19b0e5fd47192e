// The one place that makes gRPC clients. The server is not trusted: what it sends is bounded and
// parsed, its texts are its own.
import { Buffer } from "node:buffer";
import type { EventEmitter } from "node:events";
import {
  type ChannelOptions,
  Client,
  type ClientReadableStream,
  type ClientWritableStream,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { type DescMethod, type DescService, fromBinary } from "@bufbuild/protobuf";
import {
  CocosError,
  codeOfStatus,
  type Endpoint,
  formatEndpoint,
  messageOf,
  Status,
} from "../base/mod.ts";
import { Health, HealthCheckResponse_ServingStatus as Serving } from "./gen/health_pb.ts";
import { ownCredentials, type Refusal } from "./_credentials.ts";
import { encoder } from "./_encode.ts";
import { until } from "./_until.ts";
import { CHUNK_BYTES, MAX_HEADER_BYTES, MAX_MESSAGE_BYTES } from "./limits.ts";
import {
  type CallOptions,
  type Headers,
  type Methods,
  pathOf,
  type RpcClient,
  type Streamed,
} from "./rpc.ts";

export { securityText } from "./_credentials.ts";

/** How a client protects its connection; PEM texts. */
export type ClientSecurity =
  | { readonly kind: "none" }
  | {
    readonly kind: "tls";
    /** Certificates that may sign the server's; absent, every server is refused. */
    readonly ca?: string;
    /** Client certificate and key, for mutual TLS. */
    readonly clientCert?: string;
    readonly clientKey?: string;
    /** Name the server's certificate must have; absent, the target's host. */
    readonly serverName?: string;
  }
  | {
    /** TLS with a key that nobody vouches for: whoever connects knows which one it must be. */
    readonly kind: "pinned";
    /**
     * Told the server's key on each new connection, before a byte is sent on it: the SHA-256 of its
     * SubjectPublicKeyInfo in lower-case hexadecimal. Throws to refuse; calls reject with what it threw.
     */
    readonly check: (key: string) => void;
  };

/** Where and how a client connects. */
export interface ConnectOptions {
  readonly target: Endpoint;
  readonly security: ClientSecurity;
}

/**
 * A client of a service; it connects at the first call. Dispose it to close the connection.
 *
 * Calls reject with {@linkcode CocosError}: the code follows the peer's gRPC status, the message
 * is the peer's text.
 */
export function connect<S extends DescService>(service: S, options: ConnectOptions): RpcClient<S> {
  const { service: client, close } = connectTo({ service }, options);
  return { ...client, [Symbol.asyncDispose]: close };
}

/** Clients of several services, by the names they were given under, and the end of their connection. */
export type Connected<S extends Record<string, DescService>> =
  & { readonly [K in keyof S]: Methods<S[K]> }
  & { readonly close: () => Promise<void> }
  & AsyncDisposable;

/**
 * Clients of several services over one connection, as signed requests need it: a challenge works on
 * the connection it was given on. Like {@linkcode connect} in all else.
 */
export function connectTo<S extends Record<string, DescService>>(
  services: S,
  options: ConnectOptions,
): Connected<S> {
  const { target, security } = options;
  const channel: ChannelOptions = {
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_metadata_size": MAX_HEADER_BYTES,
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_channelz": 0,
    "grpc.service_config_disable_resolution": 1,
    "grpc.use_local_subchannel_pool": 1,
    "grpc-node.flow_control_window": CHUNK_BYTES,
  };
  const refusal: Refusal = {};
  const credentials = ownCredentials(target, security, refusal);
  const client = new Client(formatEndpoint(target), credentials, channel);
  const close = () => {
    client.close();
    return Promise.resolve();
  };
  const clients = Object.entries(services).map(([name, service]) => [
    name,
    Object.fromEntries(
      service.methods.map((method) => [method.localName, bind(client, method, refusal)]),
    ),
  ]);
  return {
    ...Object.fromEntries(clients),
    close,
    [Symbol.asyncDispose]: close,
  } as unknown as Connected<S>;
}

/** Whether a server says SERVING for a health service name; `false` also when it can't be reached. */
export async function checkHealth(
  options: ConnectOptions & { readonly service: string; readonly timeoutMs: number },
): Promise<boolean> {
  await using client = connect(Health, options);
  try {
    const { status } = await client.check({ service: options.service }, {
      timeoutMs: options.timeoutMs,
    });
    return status === Serving.SERVING;
  } catch {
    return false;
  }
}

const identity = (bytes: Uint8Array) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The function of one method on a client. */
function bind(client: Client, method: DescMethod, refusal: Refusal): unknown {
  const path = pathOf(method);
  const encode = encoder(method.input);
  const decode = (bytes: Uint8Array) => {
    try {
      return fromBinary(method.output, bytes);
    } catch (cause) {
      throw new CocosError("data-loss", `Cannot read ${method.output.typeName} from the peer`, {
        cause,
      });
    }
  };
  const fromPeer = (thrown: unknown) => failureOf(thrown, refusal);
  switch (method.methodKind) {
    case "unary":
      return (request: unknown, options: CallOptions = {}) =>
        new Promise((resolve, reject) => {
          const call = client.makeUnaryRequest(
            path,
            identity,
            identity,
            encode(request),
            metadataOf(options),
            deadlineOf(options),
            settle(decode, fromPeer, resolve, reject),
          );
          cancelOn(options.signal, call);
        });
    case "client_streaming":
      return (requests: AsyncIterable<unknown>, options: CallOptions = {}) =>
        new Promise((resolve, reject) => {
          const over = new AbortController();
          const call = client.makeClientStreamRequest(
            path,
            identity,
            identity,
            metadataOf(options),
            deadlineOf(options),
            (error: ServiceError | null, value?: Uint8Array) => {
              over.abort();
              settle(decode, fromPeer, resolve, reject)(error, value);
            },
          );
          cancelOn(options.signal, call);
          pump(call, requests, encode, over.signal).catch((error) => {
            call.cancel();
            reject(error);
          });
        });
    case "server_streaming":
      return (request: unknown, options: CallOptions = {}): Streamed<unknown> => {
        const call = client.makeServerStreamRequest(
          path,
          identity,
          identity,
          encode(request),
          metadataOf(options),
          deadlineOf(options),
        );
        cancelOn(options.signal, call);
        return { headers: headersOf(call, fromPeer), messages: drain(call, decode, fromPeer) };
      };
    case "bidi_streaming":
      return (requests: AsyncIterable<unknown>, options: CallOptions = {}) => {
        const call = client.makeBidiStreamRequest(
          path,
          identity,
          identity,
          metadataOf(options),
          deadlineOf(options),
        );
        cancelOn(options.signal, call);
        const over = new AbortController();
        call.once("status", () => over.abort());
        call.once("error", () => over.abort());
        let failure: unknown;
        pump(call, requests, encode, over.signal, "each").catch((error) => {
          failure = error;
          call.cancel();
        });
        return drain(call, decode, (thrown) => failure ?? fromPeer(thrown));
      };
  }
}

function metadataOf({ metadata = {} }: CallOptions): Metadata {
  const made = new Metadata();
  for (const [key, value] of Object.entries(metadata)) {
    for (const each of typeof value === "string" ? [value] : value) made.add(key, each);
  }
  return made;
}

function deadlineOf({ timeoutMs }: CallOptions): { deadline?: number } {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

/** Cancels a call when the signal fires; forgets the signal when the call is over. */
function cancelOn(signal: AbortSignal | undefined, call: EventEmitter & { cancel(): void }): void {
  if (signal === undefined) return;
  if (signal.aborted) {
    call.cancel();
    return;
  }
  const abort = () => call.cancel();
  signal.addEventListener("abort", abort, { once: true });
  call.once("status", () => signal.removeEventListener("abort", abort));
}

/** A peer's failure as our error; when we refused its connection, why. */
function failureOf(thrown: unknown, refusal: Refusal): CocosError {
  if (thrown instanceof CocosError) return thrown;
  const { code, details } = thrown as Partial<ServiceError>;
  if (code === Status.UNAVAILABLE && refusal.error !== undefined) return refusal.error;
  if (typeof code !== "number") {
    return new CocosError("unavailable", messageOf(thrown), { cause: thrown });
  }
  return new CocosError(codeOfStatus(code), details ?? messageOf(thrown), {
    cause: thrown,
    status: code as Status,
  });
}

type FromPeer = (thrown: unknown) => unknown;

function settle(
  decode: (bytes: Uint8Array) => unknown,
  fromPeer: FromPeer,
  resolve: (value: unknown) => void,
  reject: (error: unknown) => void,
) {
  return (error: ServiceError | null, value?: Uint8Array) => {
    if (error !== null) return reject(fromPeer(error));
    try {
      resolve(decode(value ?? new Uint8Array()));
    } catch (thrown) {
      reject(fromPeer(thrown));
    }
  };
}

/**
 * Sends messages with backpressure; stops quietly when the call is over. With `each`, a message is
 * asked for only when the one before has left for the connection: whoever makes them can tell then
 * which are still with us when the connection breaks.
 */
async function pump(
  call: ClientWritableStream<Uint8Array>,
  requests: AsyncIterable<unknown>,
  encode: (init: unknown) => Uint8Array,
  over: AbortSignal,
  wait: "full" | "each" = "full",
): Promise<void> {
  const iterator = requests[Symbol.asyncIterator]();
  try {
    while (!over.aborted) {
      const next = await until(iterator.next(), over);
      if (next.done === true) break;
      const bytes = encode(next.value);
      if (wait === "each") {
        await until(new Promise((resolve) => call.write(bytes, resolve)), over);
      } else if (!call.write(bytes)) {
        await until(new Promise((resolve) => call.once("drain", resolve)), over);
      }
    }
  } catch (error) {
    // The call's own end says why it is over.
    if (!over.aborted) throw error;
  } finally {
    iterator.return?.().then(undefined, () => {});
  }
  call.end();
}

function headersOf(
  call: ClientReadableStream<Uint8Array>,
  fromPeer: FromPeer,
): Promise<Headers> {
  const headers = new Promise<Headers>((resolve, reject) => {
    call.once("metadata", (metadata: Metadata) => {
      resolve({ get: (key) => metadata.get(key).map((value) => value.toString()) });
    });
    call.once("error", (error) => reject(fromPeer(error)));
    call.once("end", () => resolve({ get: () => [] }));
  });
  headers.catch(() => {});
  return headers;
}

async function* drain(
  call: ClientReadableStream<Uint8Array>,
  decode: (bytes: Uint8Array) => unknown,
  fromPeer: FromPeer,
): AsyncGenerator<unknown> {
  try {
    for await (const bytes of call) yield decode(bytes as Uint8Array);
  } catch (thrown) {
    throw fromPeer(thrown);
  } finally {
    call.cancel();
  }
}
