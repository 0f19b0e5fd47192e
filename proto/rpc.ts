// Shapes shared by server and client: what a method's handler and a client's call look like.
import type {
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";

/** Headers of a call; keys are lower case, values may repeat. */
export interface Headers {
  /** All values of a key, in order; none gives an empty list. */
  get(key: string): readonly string[];
}

/** How a connection is protected. */
export type Protection = "none" | "tls" | "mtls";

/** What a handler knows of its call. */
export interface CallContext {
  /** Full path, `/agent.AgentService/Algo`. */
  readonly method: string;
  readonly metadata: Headers;
  /** Address and port of the peer. */
  readonly peer: string;
  /**
   * The connection of the call: the same object for all its calls, and for no other connection's, also
   * when one comes from the same address and port later. For a `WeakMap`, never to be looked into.
   */
  readonly connection: object;
  readonly security: Protection;
  /** Fires when the peer has gone, the deadline has passed or the server closes. */
  readonly signal: AbortSignal;
  /** Sends the initial metadata now; later calls do nothing. */
  sendHeaders(headers: Record<string, string>): void;
  /**
   * Resolves when the call's stream is closed: `true` when every byte and the trailers were
   * flushed and the peer did not reset it (threats O-3).
   */
  readonly delivered: Promise<boolean>;
}

/** Handler of one method, by its kind. */
export type Handler<M> = M extends DescMethodUnary<infer I, infer O>
  ? (request: MessageShape<I>, call: CallContext) => Promise<MessageInitShape<O>>
  : M extends DescMethodClientStreaming<infer I, infer O>
    ? (requests: AsyncIterable<MessageShape<I>>, call: CallContext) => Promise<MessageInitShape<O>>
  : M extends DescMethodServerStreaming<infer I, infer O>
    ? (request: MessageShape<I>, call: CallContext) => AsyncIterable<MessageInitShape<O>>
  : M extends DescMethodBiDiStreaming<infer I, infer O> ? (
      requests: AsyncIterable<MessageShape<I>>,
      call: CallContext,
    ) => AsyncIterable<MessageInitShape<O>>
  : never;

/** A handler for every method of a service. */
export type Handlers<S extends DescService> = {
  [K in keyof S["method"]]: Handler<S["method"][K]>;
};

/** A service with its handlers, ready to be served. */
export interface ServiceImpl {
  readonly service: DescService;
  readonly handlers: Record<string, unknown>;
}

/** Options of one call of a client. */
export interface CallOptions {
  readonly metadata?: Record<string, string | readonly string[]>;
  readonly signal?: AbortSignal;
  /** The call fails with `timeout` after this many milliseconds. */
  readonly timeoutMs?: number;
}

/** Answer of a server-streaming call. */
export interface Streamed<T> {
  /** Initial metadata; rejects when the call fails before it came. */
  readonly headers: Promise<Headers>;
  readonly messages: AsyncIterable<T>;
}

/** One method of a client, by its kind. */
export type ClientMethod<M> = M extends DescMethodUnary<infer I, infer O>
  ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
  : M extends DescMethodClientStreaming<infer I, infer O> ? (
      requests: AsyncIterable<MessageInitShape<I>>,
      options?: CallOptions,
    ) => Promise<MessageShape<O>>
  : M extends DescMethodServerStreaming<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Streamed<MessageShape<O>>
  : M extends DescMethodBiDiStreaming<infer I, infer O> ? (
      requests: AsyncIterable<MessageInitShape<I>>,
      options?: CallOptions,
    ) => AsyncIterable<MessageShape<O>>
  : never;

/** The methods of a client of a service. */
export type Methods<S extends DescService> = {
  readonly [K in keyof S["method"]]: ClientMethod<S["method"][K]>;
};

/** A client of a service. */
export type RpcClient<S extends DescService> = Methods<S> & AsyncDisposable;

/** Path of a method on the wire. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}
