// How the agent reaches the management server, and the first things it says there (wire.md §4.4). The
// settings come from the host: a bad certificate is a refusal, never a connection without it (H-3).
import { create } from "@bufbuild/protobuf";
import {
  type ClientSecurity,
  connect,
  cvms,
  CvmsService,
  type RpcClient,
  securityText,
} from "../proto/mod.ts";
import { checkCas, checkPair, readPemFile } from "./certificates.ts";
import type { AgentConfig } from "./config.ts";
import { outgoing } from "./outbox.ts";
import type { Telemetry } from "./telemetry.ts";

/** A checked way to the management server. */
export interface Management {
  /** A new client each time: a name is resolved again, a broken connection is not kept. */
  readonly connect: () => RpcClient<typeof CvmsService>;
  /** `without TLS`, `with TLS` or `with mTLS`. */
  readonly text: string;
  /** Serial number of the client certificate, decimal; empty without one. */
  readonly serial: string;
}

/**
 * Reads the certificates of the settings.
 *
 * @throws {CocosError} `invalid-config`.
 */
export function management(config: AgentConfig): Management {
  const { vars, certs } = config;
  const read = (path: string | undefined) =>
    path === undefined ? undefined : readPemFile(path, certs);
  const ca = read(vars.AGENT_CVM_GRPC_SERVER_CA_CERTS);
  const clientCert = read(vars.AGENT_CVM_GRPC_CLIENT_CERT);
  const clientKey = read(vars.AGENT_CVM_GRPC_CLIENT_KEY);
  let serial = "";
  if (ca !== undefined) checkCas(ca, "AGENT_CVM_GRPC_SERVER_CA_CERTS");
  if (clientCert !== undefined && clientKey !== undefined) {
    const leaf = checkPair(clientCert, clientKey, "AGENT_CVM_GRPC_CLIENT_CERT");
    serial = BigInt(`0x${leaf.serialNumber}`).toString();
  }
  const security: ClientSecurity = ca === undefined && clientCert === undefined
    ? { kind: "none" }
    : {
      kind: "tls",
      ...(ca === undefined ? {} : { ca }),
      ...(clientCert === undefined || clientKey === undefined ? {} : { clientCert, clientKey }),
    };
  const target = vars.AGENT_CVM_GRPC_URL;
  return {
    connect: () => connect(CvmsService, { target, security }),
    text: securityText(security),
    serial,
  };
}

/**
 * Queues what a server hears first: the log line of a machine without TEE, the report message, whose
 * evidence is empty there, and the seed's `IdleState`.
 */
export function introduce(telemetry: Telemetry, serial: string): void {
  telemetry.log("info", "TEE device not found");
  telemetry.outbox.push(
    outgoing({
      case: "vTPMattestationReport",
      value: create(cvms.AttestationResponseSchema, { certSerialNumber: serial }),
    }),
  );
  telemetry.event("Idle", "IdleState");
}
