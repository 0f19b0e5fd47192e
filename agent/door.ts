// Opens the front door for one manifest: port and certificates as the manifest asks and the launcher
// allows. What is asked for and can't be had is a refusal, never a weaker door (threats H-3, R8).
import { CocosError, messageOf } from "../base/mod.ts";
import { makeOwnCertificate } from "../channel/mod.ts";
import {
  type CallRecord,
  type Channel,
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
  /** SHA-256 of the SubjectPublicKeyInfo of a key made here, lower-case hexadecimal. */
  readonly key?: string;
  /** What the manifest asks for and does not get, for a warning. */
  readonly ignored?: string;
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

/** How a door is protected. */
interface Protected {
  /** Absent: not at all. */
  readonly tls?: TlsServer;
  /** SHA-256 of the SubjectPublicKeyInfo of a key made here, lower-case hexadecimal. */
  readonly key?: string;
  /** For the log line. */
  readonly text: string;
  /** What the manifest asks for and does not get. */
  readonly ignored?: string;
}

/**
 * The strict mode's protection. Whatever certificate or key the management server sends along
 * identifies nobody: a key that anybody else has seen proves nothing (threats M-9, G-18).
 */
async function agreedProtection(request: DoorRequest, channel: Channel): Promise<Protected> {
  const given = (["certFile", "keyFile", "clientCaFile", "serverCaFile"] as const)
    .filter((field) => request[field] !== "");
  const ignored = given.length === 0 ? {} : {
    ignored: `the management server's certificates and keys for the front door are not used: ` +
      given.map((field) => FIELDS[field]).join(", "),
  };
  switch (channel) {
    case "insecure":
      return { ...ignored, text: "without TLS" };
    case "tls": {
      const { cert, key, pin } = await makeOwnCertificate();
      return { ...ignored, tls: { cert, key }, key: pin, text: `with TLS and the key ${pin}` };
    }
    case "attested":
      throw new CocosError("not-supported", "this agent can't offer an attested channel yet");
  }
}

/** Names of the fields in the manifest. */
const FIELDS = {
  certFile: "cert_file",
  keyFile: "key_file",
  clientCaFile: "client_ca_file",
  serverCaFile: "server_ca_file",
} as const;

/** The seed-era wire's protection: certificates as the manifest asks. */
function seedProtection(config: AgentConfig, request: DoorRequest): Protected {
  const tls = doorTls(config, request);
  if (tls === undefined) return { text: "without TLS" };
  const name = (value: string) => isInline(value) ? "(inline)" : value;
  return {
    tls,
    text: tls.clientCa === undefined
      ? `with TLS cert ${name(request.certFile)} and key ${name(request.keyFile)}`
      : `with TLS/mTLS cert ${name(request.certFile)} , key ${name(request.keyFile)} and root ca ` +
        `${name(request.serverCaFile)} client ca ${name(request.clientCaFile)}`,
  };
}

/** Certificates of a seed-era door; `undefined` for a plain one. */
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
  const { tls, key, text, ignored } = request.channel === undefined
    ? seedProtection(config, request)
    : await agreedProtection(request, request.channel);
  const host = config.vars.AGENT_GRPC_HOST;
  const server = await serve({
    host: host === "localhost" ? "127.0.0.1" : host,
    port,
    services,
    healthName: HEALTH_NAME,
    onCall,
    ...(tls === undefined ? {} : { tls }),
  });
  return {
    server,
    text: `agent service gRPC server listening at ${host}:${server.port} ${text}`,
    ...(key === undefined ? {} : { key }),
    ...(ignored === undefined ? {} : { ignored }),
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
