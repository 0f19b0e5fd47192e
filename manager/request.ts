// What a caller asks for when it creates a VM, field by field through a grammar (threats N-2, N-9).
// The caller is not trusted: nothing of it reaches a file, an argument or a timer before this.
import {
  CocosError,
  type Endpoint,
  formatEndpoint,
  type Level,
  LEVELS,
  messageOf,
  parseDuration,
  parseEndpoint,
  Status,
} from "../base/mod.ts";
import type { CreateReq } from "../proto/mod.ts";
import { GATEWAY } from "./argv.ts";
import { isLoopback } from "./config.ts";

/** Most bytes of each certificate or key: a chain of ten RSA certificates has about 20 KB. */
export const MAX_PEM_BYTES = 64 * 1024;

/** A checked request. */
export interface VmRequest {
  readonly logLevel: Level;
  /** Computation management server the agent will dial. */
  readonly server: Endpoint;
  /** PEM texts as sent; `undefined` where the caller gave none. */
  readonly serverCa: string | undefined;
  readonly clientCert: string | undefined;
  readonly clientKey: string | undefined;
  /** URL of the certificate authority, empty for none. */
  readonly caUrl: string;
  readonly certsToken: string;
  readonly ttlMs: number | undefined;
}

/** The fields of a CreateReq; a plain object, so that tests need no protobuf. */
export type CreateFields = Omit<CreateReq, "$typeName" | "$unknown">;

/**
 * Reads a request; `fallback` is the server of a request that names none.
 *
 * @throws {CocosError} `invalid-argument` naming the field. The text for a bad TTL is Go's, with
 * Go's status UNKNOWN (wire.md §8.1).
 */
export function readRequest(fields: CreateFields, fallback: Endpoint): VmRequest {
  const clientCert = pem("agent_cvm_client_cert", fields.agentCvmClientCert, CERTIFICATE);
  const clientKey = pem("agent_cvm_client_key", fields.agentCvmClientKey, PRIVATE_KEY);
  if ((clientCert === undefined) !== (clientKey === undefined)) {
    throw refused("agent_cvm_client_cert", "must be given together with agent_cvm_client_key");
  }
  return Object.freeze({
    logLevel: logLevel(fields.agentLogLevel),
    server: server(fields.agentCvmServerUrl, fallback),
    serverCa: pem("agent_cvm_server_ca_cert", fields.agentCvmServerCaCert, CERTIFICATE),
    clientCert,
    clientKey,
    caUrl: caUrl(fields.agentCvmCaUrl),
    certsToken: token(fields.agentCertsToken),
    ttlMs: ttl(fields.ttl),
  });
}

/** Paths the guest finds its certificates at, as the Go agent expects them (wire.md §8.2). */
const GUEST_CERTS = "/etc/certs";

/**
 * The environment share's one file: `KEY=value` lines without quotes; every value's grammar above
 * keeps it on its line. A loopback server means this host, which a guest reaches by the gateway of
 * QEMU's user network.
 */
export function environmentText(id: string, request: VmRequest): string {
  const lines: [string, string][] = [
    ["AGENT_LOG_LEVEL", request.logLevel],
    ["AGENT_CVM_GRPC_URL", formatEndpoint(asSeenByGuest(request.server))],
    ["AGENT_CVM_ID", id],
    ["AGENT_CERTS_TOKEN", request.certsToken],
    ["AGENT_CVM_CA_URL", request.caUrl],
  ];
  if (request.clientCert !== undefined) {
    lines.push(["AGENT_CVM_GRPC_CLIENT_CERT", `${GUEST_CERTS}/cert.pem`]);
  }
  if (request.clientKey !== undefined) {
    lines.push(["AGENT_CVM_GRPC_CLIENT_KEY", `${GUEST_CERTS}/key.pem`]);
  }
  if (request.serverCa !== undefined) {
    lines.push(["AGENT_CVM_GRPC_SERVER_CA_CERTS", `${GUEST_CERTS}/ca.pem`]);
  }
  return lines.map(([key, value]) => `${key}=${value}\n`).join("");
}

/** Where a guest on QEMU's user network finds an endpoint. */
export function asSeenByGuest(endpoint: Endpoint): Endpoint {
  return isLoopback(endpoint.host) ? { host: GATEWAY, port: endpoint.port } : endpoint;
}

function refused(field: string, rule: string, cause?: unknown): CocosError {
  return new CocosError("invalid-argument", `Cannot create a VM as ${field} ${rule}`, { cause });
}

function logLevel(value: string): Level {
  if (value === "") return "info";
  const level = LEVELS.find((each) => each === value.toLowerCase());
  if (level === undefined) {
    throw refused("agent_log_level", `must be one of ${LEVELS.join(", ")}`);
  }
  return level;
}

function server(value: string, fallback: Endpoint): Endpoint {
  if (value === "") return fallback;
  try {
    return parseEndpoint(value);
  } catch (cause) {
    throw refused("agent_cvm_server_url", messageOf(cause), cause);
  }
}

/** http or https, a host, a port, a plain path; no user, no query, no percent signs. */
const URL_GRAMMAR =
  /^https?:\/\/(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::\d{1,5})?(?:\/[A-Za-z0-9._~-]{1,128}){0,16}\/?$/;

function caUrl(value: string): string {
  if (value !== "" && !URL_GRAMMAR.test(value)) {
    throw refused("agent_cvm_ca_url", "must be a plain http or https URL");
  }
  return value;
}

/** The characters of a bearer token (RFC 6750 §2.1). */
function token(value: string): string {
  if (value.length > 8192 || !/^(?:[A-Za-z0-9._~+/-]+=*)?$/.test(value)) {
    throw refused("agent_certs_token", "must be a bearer token of at most 8192 characters");
  }
  return value;
}

function ttl(value: string): number | undefined {
  if (value === "") return undefined;
  try {
    const ms = parseDuration(value);
    if (ms <= 0) {
      throw new RangeError(`time: invalid duration ${JSON.stringify(value)}: must be positive`);
    }
    return ms;
  } catch (cause) {
    throw new CocosError("invalid-argument", messageOf(cause), { cause, status: Status.UNKNOWN });
  }
}

const CERTIFICATE = /^CERTIFICATE$/;
const PRIVATE_KEY = /^(?:RSA |EC )?PRIVATE KEY$/;

/** PEM blocks of the wanted kind, in printable ASCII; comments between blocks are let through. */
function pem(field: string, bytes: Uint8Array, label: RegExp): string | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length > MAX_PEM_BYTES) {
    throw refused(field, `must have at most ${MAX_PEM_BYTES} bytes, has ${bytes.length}`);
  }
  const value = new TextDecoder("latin1").decode(bytes);
  const block = /-----BEGIN ([A-Z0-9 ]{1,64})-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----/g;
  const blocks = [...value.matchAll(block)];
  const rest = value.replaceAll(block, "");
  if (
    !/^[\x20-\x7e\t\r\n]*$/.test(value) || rest.includes("-----") || blocks.length === 0 ||
    !blocks.some((each) => label.test(each[1] as string)) ||
    !blocks.every((each) => isBase64((each[2] as string).replaceAll(/[\r\n]/g, "")))
  ) {
    throw refused(field, "must be PEM text of the right kind, unencrypted");
  }
  return value;
}

function isBase64(value: string): boolean {
  return value.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(value);
}
