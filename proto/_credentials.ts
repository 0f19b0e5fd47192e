// How a client's connection is protected: over our own socket, plain or TLS 1.3. The server is not
// trusted: its certificate is checked by an authority, or its key by whoever connects.
import net from "node:net";
import tls from "node:tls";
import { ChannelCredentials, credentials as grpcCredentials } from "@grpc/grpc-js";
import { CocosError, type Endpoint } from "../base/mod.ts";
import { withoutGoaway } from "./_frames.ts";
import { checkSigned, keyOfOwn } from "./_server_certificate.ts";
import type { ClientSecurity } from "./client.ts";

/** The words the Go CLI prints for a client's security. */
export function securityText(security: ClientSecurity): string {
  if (security.kind === "none") return "without TLS";
  if (security.kind === "pinned") return "with TLS and a pinned key";
  return security.clientCert === undefined ? "with TLS" : "with mTLS";
}

/** Why our own side refused the last connection. */
export interface Refusal {
  error?: CocosError;
}

/** TLS 1.3 only, ALPN h2 only. */
const TLS = { minVersion: "TLSv1.3", ALPNProtocols: ["h2"] } as const;

function tlsOptions(
  target: Endpoint,
  security: ClientSecurity & { kind: "tls" | "pinned" },
): tls.ConnectionOptions {
  if (security.kind === "pinned") {
    // Nobody signed the certificate but its own key, and no name is looked for in it. The handshake
    // still proves that the server holds that key (RFC 8446 §4.4.3), where its certificate can be read:
    // keyOfOwn() takes no other.
    return { ...TLS, host: target.host, rejectUnauthorized: false };
  }
  const name = security.serverName ?? target.host;
  return {
    ...TLS,
    ...(security.ca === undefined ? {} : { ca: security.ca }),
    ...(security.clientCert === undefined ? {} : { cert: security.clientCert }),
    ...(security.clientKey === undefined ? {} : { key: security.clientKey }),
    // SNI carries names only (RFC 6066 §3); the certificate is checked against `host` either way.
    ...(net.isIP(name) === 0 ? { servername: name } : {}),
    host: name,
  };
}

/**
 * Credentials over our own socket, plain or `tls.connect`: the place where a connection is guarded
 * and, one day, bound to evidence.
 */
export function ownCredentials(
  target: Endpoint,
  security: ClientSecurity,
  refusal: Refusal,
): ChannelCredentials {
  const base = grpcCredentials.createInsecure();
  const options = security.kind === "none" ? undefined : tlsOptions(target, security);
  const judge = (made: tls.TLSSocket) => {
    const shown = shownBy(made);
    if (security.kind === "pinned") security.check(keyOfOwn(shown[0] ?? new Uint8Array()));
    else if (!made.authorized) throw made.authorizationError;
    else checkSigned(shown, security.kind === "tls" ? security.ca : undefined);
  };
  const secure = (socket: net.Socket) =>
    new Promise<net.Socket>((resolve, reject) => {
      const made = tls.connect({ ...options, socket }, () => {
        try {
          judge(made);
          delete refusal.error;
          resolve(made);
        } catch (thrown) {
          if (thrown instanceof CocosError) refusal.error = thrown;
          made.destroy();
          reject(thrown);
        }
      });
      made.once("error", reject);
    });
  class OwnCredentials extends ChannelCredentials {
    override _isSecure = () => options !== undefined;
    override _equals = (other: ChannelCredentials): boolean => other === this;
    override _createSecureConnector: ChannelCredentials["_createSecureConnector"] = (...given) => ({
      ...base._createSecureConnector(...given),
      connect: async (socket: net.Socket) => ({
        socket: withoutGoaway(options === undefined ? socket : await secure(socket), 0),
        secure: options !== undefined,
      }),
    });
  }
  return new OwnCredentials();
}

/** The certificates a server showed, its own first. */
function shownBy(socket: tls.TLSSocket): Uint8Array[] {
  const shown: Uint8Array[] = [];
  const seen = new Set<tls.DetailedPeerCertificate>();
  let next: tls.DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined && !seen.has(next)) {
    seen.add(next);
    shown.push(next.raw);
    next = next.issuerCertificate;
  }
  return shown;
}
