// Opens the front door for one manifest: port and certificates as the manifest asks and the launcher
// allows. What is asked for and can't be had is a refusal, never a weaker door (threats H-3, R8).
import { CocosError, messageOf } from "../base/mod.ts";
import {
  type CallRecord,
  type RpcServer,
  serve,
  type ServiceImpl,
  type TlsServer,
} from "../proto/mod.ts";
import { checkCas, checkPair, readPemFile } from "./certificates.ts";
import type { AgentConfig } from "./config.ts";
import { DEFAULT_PORT } from "./config.ts";
import type { DoorRequest } from "./manifest.ts";

/** Name the health service answers for (wire.md §3.2). */
export const HEALTH_NAME = "agent";

/** Text of this length or with a newline is PEM, else a path (wire.md §3.3). */
const INLINE_LENGTH = 1_000;

/** An open front door, and how its log line describes it. */
export interface Door {
  readonly server: RpcServer;
  readonly text: string;
}

/** Port the manifest's request leads to. */
export function doorPort(config: AgentConfig, request: DoorRequest): number {
  if (config.vars.AGENT_GRPC_PORT !== undefined) return config.vars.AGENT_GRPC_PORT;
  const text = request.port === "" ? String(DEFAULT_PORT) : request.port;
  if (text !== String(config.grantedPort)) {
    throw new CocosError(
      "invalid-manifest",
      `manifest field agent_config.port must be ${config.grantedPort}`,
      { hint: "The launcher grants one port; set AGENT_GRPC_PORT for another." },
    );
  }
  return config.grantedPort;
}

/** Certificates of the door; `undefined` for a plain one. */
export function doorTls(config: AgentConfig, request: DoorRequest): TlsServer | undefined {
  const { certFile, keyFile, clientCaFile, serverCaFile } = request;
  if (request.attestedTls) {
    throw new CocosError(
      "not-supported",
      "manifest field agent_config.attested_tls can't be met: TEE device not found",
      { hint: "Ask for TLS with certificates, or for none." },
    );
  }
  const cert = pem(config, "cert_file", certFile);
  const key = pem(config, "key_file", keyFile);
  const clientCa = pem(config, "client_ca_file", clientCaFile);
  const serverCa = pem(config, "server_ca_file", serverCaFile);
  if (serverCa !== undefined) checked("server_ca_file", () => checkCas(serverCa, "server_ca_file"));
  if (cert === undefined && key === undefined && clientCa === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw new CocosError(
      "invalid-manifest",
      "manifest field agent_config.cert_file and key_file must be given together",
    );
  }
  checked("cert_file", () => checkPair(cert, key, "cert_file"));
  if (clientCa === undefined) return { cert, key };
  checked("client_ca_file", () => checkCas(clientCa, "client_ca_file"));
  return { cert, key, clientCa };
}

/**
 * Listens as the manifest asks.
 *
 * @throws {CocosError} `invalid-manifest`, `not-supported` or `unavailable`.
 */
export async function openDoor(
  config: AgentConfig,
  request: DoorRequest,
  services: readonly ServiceImpl[],
  onCall: (record: CallRecord) => void,
): Promise<Door> {
  const port = doorPort(config, request);
  const tls = doorTls(config, request);
  const host = config.vars.AGENT_GRPC_HOST;
  const server = await serve({
    host: host === "localhost" ? "127.0.0.1" : host,
    port,
    services,
    healthName: HEALTH_NAME,
    onCall,
    ...(tls === undefined ? {} : { tls }),
  });
  const name = (value: string) => isInline(value) ? "(inline)" : value;
  const security = tls === undefined
    ? "without TLS"
    : tls.clientCa === undefined
    ? `with TLS cert ${name(request.certFile)} and key ${name(request.keyFile)}`
    : `with TLS/mTLS cert ${name(request.certFile)} , key ${name(request.keyFile)} and root ca ` +
      `${name(request.serverCaFile)} client ca ${name(request.clientCaFile)}`;
  return {
    server,
    text: `agent service gRPC server listening at ${host}:${server.port} ${security}`,
  };
}

function isInline(value: string): boolean {
  return value.length >= INLINE_LENGTH || value.includes("\n");
}

function pem(config: AgentConfig, field: string, value: string): string | undefined {
  if (value === "") return undefined;
  if (isInline(value)) return value;
  if (config.certs === undefined) {
    throw new CocosError(
      "invalid-manifest",
      `manifest field agent_config.${field} must be PEM text: this agent reads no certificate files`,
      { hint: "Start the agent with --certs DIR to allow paths in that folder." },
    );
  }
  const folder = config.certs;
  return checked(field, () => readPemFile(value, folder));
}

function checked<T>(field: string, check: () => T): T {
  try {
    return check();
  } catch (cause) {
    throw new CocosError(
      "invalid-manifest",
      `manifest field agent_config.${field} is not acceptable: ${messageOf(cause)}`,
      { cause },
    );
  }
}
