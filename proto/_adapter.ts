// One wrapper around every handler: bytes in, protobuf checked, our errors out. The peer is hostile;
// nothing it sends may throw outside the call it sent it on.
import { Buffer } from "node:buffer";
import type { EventEmitter } from "node:events";
import type http2 from "node:http2";
import {
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
} from "@grpc/grpc-js";
import { type DescMethod, type DescService, fromBinary } from "@bufbuild/protobuf";
import { asCocosError, CocosError, messageOf, Status } from "../base/mod.ts";
import { encoder } from "./_encode.ts";
import { until } from "./_until.ts";
import { type Decoding, messageDecoder } from "./_messages.ts";
import { MAX_MESSAGE_BYTES, MAX_STATUS_TEXT } from "./limits.ts";
import { type CallContext, type Headers, pathOf, type Protection } from "./rpc.ts";

/** One finished call, for a log line or a metric. */
export interface CallRecord {
  readonly method: string;
  readonly peer: string;
  readonly ms: number;
  readonly error?: CocosError;
}

/** grpc-js's description of a service; bytes stay bytes here, protobuf is read in the adapter. */
export function definitionOf(service: DescService): ServiceDefinition {
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
export function adapt(
  method: DescMethod,
  handler: unknown,
  protection: Protection,
  onCall: ((record: CallRecord) => void) | undefined,
) {
  const path = pathOf(method);
  const decode = (bytes: Uint8Array) => {
    try {
      return fromBinary(method.input, bytes);
    } catch (cause) {
      throw new CocosError("invalid-argument", `Cannot read ${method.input.typeName}`, { cause });
    }
  };
  const encode = encoder(method.output);

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
    connection: streamOf(call).session ?? {},
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

/** The HTTP/2 stream under a call; its session is `undefined` once it is destroyed. */
function streamOf(call: Call): http2.ServerHttp2Stream {
  return (call as unknown as { call: { stream: http2.ServerHttp2Stream } }).call.stream;
}

/** Whether the HTTP/2 stream under a call closes in good order. */
function delivered(call: Call): Promise<boolean> {
  const stream = streamOf(call);
  return new Promise((resolve) => {
    let broken = false;
    stream.once("aborted", () => broken = true);
    stream.once("error", () => broken = true);
    stream.once("close", () => {
      resolve(!broken && stream.writableFinished && stream.rstCode === 0);
    });
  });
}

/**
 * Messages of a stream that may wait for their handler. grpc-js lets 16 wait: of 1 MiB each, and of a
 * hundred parties at once, that is all the memory there is (threats G-10).
 */
const WAITING_MESSAGES = 1;

/** Messages of a peer's stream; a peer that has gone is a `cancelled` error, never an end. */
async function* readAll(
  call: ServerReadableStream<Uint8Array, Uint8Array>,
  decode: (bytes: Uint8Array) => unknown,
): AsyncGenerator<unknown> {
  const inner = call as unknown as { _readableState?: { highWaterMark: number }; call?: Decoding };
  if (inner._readableState !== undefined) inner._readableState.highWaterMark = WAITING_MESSAGES;
  // Nothing was read yet: grpc-js reads when it is asked to.
  if (inner.call?.decoder !== undefined) inner.call.decoder = messageDecoder(MAX_MESSAGE_BYTES);
  try {
    // Left open at its end: a bidirectional call still has to send its answers and its status.
    for await (const bytes of call.iterator({ destroyOnReturn: false })) {
      yield decode(bytes as Uint8Array);
    }
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
  const iterator = messages[Symbol.asyncIterator]();
  let whole = false;
  try {
    while (true) {
      const next = await until(iterator.next(), signal);
      if (next.done === true) {
        whole = true;
        return;
      }
      if (!writer.write(encode(next.value))) {
        await until(new Promise((resolve) => writer.once("drain", resolve)), signal);
      }
    }
  } finally {
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
