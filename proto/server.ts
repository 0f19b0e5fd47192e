// The one place that makes gRPC servers. Every peer is hostile: limits before handlers, no input
// ends the process, no error text that isn't ours.
import { createPrivateKey, X509Certificate } from "node:crypto";
import net from "node:net";
import tls from "node:tls";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { DescService } from "@bufbuild/protobuf";
import { CocosError, messageOf } from "../base/mod.ts";
import { adapt, type CallRecord, definitionOf } from "./_adapter.ts";
import { Connections } from "./_connections.ts";
import { PREFACE, withoutGoaway } from "./_frames.ts";
import { guardServer } from "./_guard.ts";
import { healthService } from "./health.ts";
import {
  CHUNK_BYTES,
  HANDSHAKE_MS,
  IDLE_CONNECTION_MS,
  MAX_CONNECTIONS,
  MAX_CONNECTIONS_PER_PEER,
  MAX_MESSAGE_BYTES,
  MAX_STREAMS,
} from "./limits.ts";
import type { Handlers, Protection, ServiceImpl } from "./rpc.ts";

export type { CallRecord } from "./_adapter.ts";

/** Certificate and key of a server, PEM texts. */
export interface TlsServer {
  readonly cert: string;
  readonly key: string;
  /** Certificates that sign the clients'; given, every client must show one (mTLS). */
  readonly clientCa?: string;
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
  const most = options.maxConnections ?? MAX_CONNECTIONS;
  const sockets = new Connections<net.Socket>({
    total: most,
    perPeer: Math.min(most, MAX_CONNECTIONS_PER_PEER),
  });
  const take = (socket: net.Socket) => {
    socket.setNoDelay(true);
    injector.injectConnection(withoutGoaway(socket, PREFACE));
  };
  const listener = options.tls === undefined
    ? net.createServer(take)
    : tlsListener(options.tls, take);
  listener.prependListener("connection", (socket: net.Socket) => {
    // Sockets are tracked below TLS: a peer that never shakes hands counts as well (threats G-8).
    socket.on("error", () => socket.destroy());
    if (!sockets.add(socket)) {
      socket.destroy();
      return;
    }
    const timer = setTimeout(() => {
      if (socket.bytesRead < 24) socket.destroy();
    }, HANDSHAKE_MS);
    Deno.unrefTimer(timer as unknown as number);
    socket.once("close", () => {
      clearTimeout(timer);
      sockets.remove(socket);
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
    for (const socket of [...sockets.open]) socket.destroy();
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
