// Configuration of the manager: texts of the environment or of a file in, one frozen value out.
// The operator is trusted to mean well, not to type well: every mistake is named in one go.
import {
  CocosError,
  type Endpoint,
  type Level,
  messageOf,
  readConfig,
  type Source,
  type Values,
} from "../base/mod.ts";
import { type Machine, type PortRange, settings, type Tee } from "./settings.ts";
import type { VmTemplate } from "./spec.ts";
import { firmware, teeOf, templateOf } from "./template.ts";

/** All the manager's settings, resolved against the machine. */
export interface Config {
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls: TlsFiles | undefined;
  /** Health and metrics; `undefined` without. */
  readonly http: { readonly host: string; readonly port: number } | undefined;
  readonly instanceId: string;
  /** The computation management service; also the server URL of a CVM created without one. */
  readonly management: {
    readonly endpoint: Endpoint;
    readonly caFile: string | undefined;
    readonly certFile: string | undefined;
    readonly keyFile: string | undefined;
    readonly timeoutMs: number;
  };
  readonly logLevel: Level;
  /** Most VMs at once; 0 means as many as there are ports. */
  readonly maxVms: number;
  readonly ports: PortRange;
  /** Address the forwarded ports are bound on; empty means every interface. */
  readonly forwardAddress: string;
  /** Canonical private folder: lock, VM folders, QMP sockets. */
  readonly stateDir: string;
  /** How long a guest may take to power itself off before QEMU is told to quit. */
  readonly stopGraceMs: number;
  /** `undefined`: probe, and fall back to emulation. */
  readonly kvm: boolean | undefined;
  /** The probe's initial root, where there is one. */
  readonly probeFile: string | undefined;
  readonly tee: Tee;
  readonly template: VmTemplate;
  readonly eosVersion: string;
  readonly ovmfVersion: string;
  readonly pcrValues: string | undefined;
  /** AMD's product line of this host, for SEV-SNP policies; `undefined` where it is not known. */
  readonly productLine: string | undefined;
  /** Sentences to log at start: what was set and has no effect, or weakens something. */
  readonly warnings: readonly string[];
}

/** PEM files of the server's side. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCaFile: string | undefined;
}

/** A socket path must fit `sockaddr_un.sun_path` (108 bytes with its end); `/qmp/65535.sock` is ours. */
const MAX_STATE_DIR = 107 - "/qmp/65535.sock".length;

/** Settings that only a folder of ours can fulfil, or that this version doesn't act on. */
const WITHOUT_EFFECT: Record<string, string> = {
  MANAGER_QEMU_HOST_FWD_AGENT: "each VM gets a port of MANAGER_QEMU_HOST_FWD_RANGE",
  MANAGER_QEMU_CERTS_MOUNT: "each VM gets a private certificates folder",
  MANAGER_QEMU_ENV_MOUNT: "each VM gets a private environment folder",
  MANAGER_ATTESTATION_POLICY_BINARY: "the manager makes attestation policies itself",
  MANAGER_IGVMMEASURE_BINARY: "the manager measures IGVM files itself",
  COCOS_JAEGER_URL: "this version exports no traces",
  COCOS_JAEGER_TRACE_RATIO: "this version exports no traces",
};

/**
 * Reads and checks every setting.
 *
 * @param names variables that are set, so that a mistyped `MANAGER_…` is named in a warning.
 * @throws {CocosError} `invalid-config` that lists every mistake.
 */
export function readManagerConfig(
  source: Source,
  machine: Machine,
  names: Iterable<string> = [],
): Config {
  const fields = settings(machine);
  const mistakes: string[] = [];
  let values: Values<typeof fields> | undefined;
  try {
    values = readConfig(fields, (name) => lookUp(source, name));
  } catch (error) {
    mistakes.push(...messageOf(error).split("\n  ").slice(1));
  }
  mistakes.push(...crossChecks(source, fields, machine));
  if (values === undefined || mistakes.length > 0) {
    throw new CocosError(
      "invalid-config",
      `Cannot start: ${mistakes.length} setting(s) are wrong:\n  ${mistakes.join("\n  ")}`,
      {
        hint: "Correct the variables named above and start again; docs/manager.md lists them all.",
      },
    );
  }
  const config = resolve(values, source, machine, warningsOf(source, fields, names));
  if (config.tee !== "snp" || config.productLine !== undefined) return config;
  const unknown =
    "the AMD product line of this host is not known, so its VMs have no attestation " +
    "policy: set MANAGER_SNP_PRODUCT_LINE";
  return { ...config, warnings: [...config.warnings, unknown] };
}

/** The two spellings of the C-bit position are one setting. */
function lookUp(source: Source, name: string): string | undefined {
  if (name !== "MANAGER_QEMU_SEV_SNP_CBITPOS") return source(name);
  return source(name) ?? source("MANAGER_QEMU_SEV_SNP_CBIT_POS");
}

/** Mistakes that lie between two settings; each is looked for only where its parts can be read. */
function crossChecks(
  source: Source,
  fields: ReturnType<typeof settings>,
  machine: Machine,
): string[] {
  const mistakes: string[] = [];
  const get = <K extends keyof typeof fields>(name: K) => {
    try {
      return readConfig({ value: fields[name] }, () => lookUp(source, name)).value as
        | Values<typeof fields>[K]
        | undefined;
    } catch {
      return undefined;
    }
  };
  const check = (wrong: boolean, message: string) => {
    if (wrong) mistakes.push(message);
  };
  const spellings = [
    source("MANAGER_QEMU_SEV_SNP_CBITPOS"),
    source("MANAGER_QEMU_SEV_SNP_CBIT_POS"),
  ];
  check(
    spellings[0] !== undefined && spellings[1] !== undefined && spellings[0] !== spellings[1],
    "MANAGER_QEMU_SEV_SNP_CBITPOS: differs from MANAGER_QEMU_SEV_SNP_CBIT_POS, set one of them",
  );
  check(
    (get("MANAGER_QEMU_SMP_COUNT") ?? 1) > (get("MANAGER_QEMU_SMP_MAXCPUS") ?? 1024),
    "MANAGER_QEMU_SMP_COUNT: must not exceed MANAGER_QEMU_SMP_MAXCPUS",
  );
  const memory = get("MANAGER_QEMU_MEMORY_SIZE");
  const most = get("MANAGER_QEMU_MAX_MEMORY");
  check(
    memory !== undefined && most !== undefined && memory.bytes > most.bytes,
    "MANAGER_QEMU_MEMORY_SIZE: must not exceed MANAGER_QEMU_MAX_MEMORY",
  );
  check(
    get("MANAGER_QEMU_ENABLE_HOST_DATA") === true && get("MANAGER_QEMU_HOST_DATA") === "",
    "MANAGER_QEMU_HOST_DATA: is required while MANAGER_QEMU_ENABLE_HOST_DATA is true",
  );
  const [snp, tdx] = [get("MANAGER_QEMU_ENABLE_SEV_SNP"), get("MANAGER_QEMU_ENABLE_TDX")];
  check(
    snp === true && machine.tee !== "snp",
    "MANAGER_QEMU_ENABLE_SEV_SNP: is true and this host offers no SEV-SNP",
  );
  check(
    tdx === true && machine.tee !== "tdx",
    "MANAGER_QEMU_ENABLE_TDX: is true and this host offers no TDX",
  );
  check(
    snp === true && tdx === true,
    "MANAGER_QEMU_ENABLE_TDX: SEV-SNP and TDX are of different makers, enable one of them",
  );
  const tls = (["CERT", "KEY"] as const).map((each) =>
    source(`MANAGER_GRPC_SERVER_${each}`) || undefined
  );
  const clientCa = source("MANAGER_GRPC_CLIENT_CA_CERTS") || undefined;
  check(
    (tls[0] === undefined) !== (tls[1] === undefined),
    "MANAGER_GRPC_SERVER_CERT: and MANAGER_GRPC_SERVER_KEY must be set together",
  );
  check(
    clientCa !== undefined && tls[0] === undefined,
    "MANAGER_GRPC_CLIENT_CA_CERTS: needs MANAGER_GRPC_SERVER_CERT and MANAGER_GRPC_SERVER_KEY",
  );
  check(
    (source("MANAGER_GRPC_CLIENT_CERT") || undefined) === undefined !==
      ((source("MANAGER_GRPC_CLIENT_KEY") || undefined) === undefined),
    "MANAGER_GRPC_CLIENT_CERT: and MANAGER_GRPC_CLIENT_KEY must be set together",
  );
  check(
    get("MANAGER_QEMU_USE_SUDO") === true && !machine.root,
    "MANAGER_QEMU_USE_SUDO: a QEMU of root has a control socket that this user can't open; start " +
      "the manager itself as root, or give this user access to /dev/kvm and unset it",
  );
  const host = get("MANAGER_GRPC_HOST");
  check(
    host !== undefined && !isLoopback(host) && clientCa === undefined &&
      get("MANAGER_GRPC_INSECURE_REMOTE") === false,
    "MANAGER_GRPC_HOST: anyone who reaches this address could create VMs; set the server " +
      "certificate and MANAGER_GRPC_CLIENT_CA_CERTS, or MANAGER_GRPC_INSECURE_REMOTE=true",
  );
  check(
    new TextEncoder().encode(get("MANAGER_STATE_DIR") ?? "").length > MAX_STATE_DIR,
    `MANAGER_STATE_DIR: must be at most ${MAX_STATE_DIR} bytes long, for the sockets beneath it`,
  );
  check(
    (get("MANAGER_STOP_GRACE") ?? 0) > 15_000,
    "MANAGER_STOP_GRACE: must be at most 15s, so that a removal ends within 30 s",
  );
  const tee = teeOf(snp, tdx, machine);
  const needed = tee === "snp"
    ? (["MANAGER_QEMU_IGVM_FILE"] as const)
    : tee === "tdx"
    ? (["MANAGER_QEMU_OVMF_FILE"] as const)
    : [];
  for (const name of needed) {
    const found = get(name);
    check(found !== undefined && !machine.isFile(found), `${name}: open ${found}: no such file`);
  }
  if (tee === "none") {
    try {
      firmware(
        get("MANAGER_QEMU_OVMF_CODE_FILE"),
        get("MANAGER_QEMU_OVMF_VARS_FILE"),
        source,
        machine,
      );
    } catch (error) {
      mistakes.push(messageOf(error));
    }
  }
  return mistakes;
}

/** Names that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host);
}

function warningsOf(
  source: Source,
  fields: ReturnType<typeof settings>,
  names: Iterable<string>,
): string[] {
  const warnings: string[] = [];
  for (const [name, why] of Object.entries(WITHOUT_EFFECT)) {
    if ((source(name) ?? "") !== "") warnings.push(`${name} has no effect: ${why}`);
  }
  for (const name of names) {
    if (
      name.startsWith("MANAGER_") && !name.startsWith("MANAGER_HOST_") && !(name in fields) &&
      name !== "MANAGER_QEMU_SEV_SNP_CBIT_POS"
    ) warnings.push(`${name.slice(0, 80)} is not a setting of the manager`);
  }
  return warnings;
}

function resolve(
  v: Values<ReturnType<typeof settings>>,
  source: Source,
  machine: Machine,
  warnings: readonly string[],
): Config {
  const certFile = v.MANAGER_GRPC_SERVER_CERT;
  const keyFile = v.MANAGER_GRPC_SERVER_KEY;
  return {
    listen: { host: address(v.MANAGER_GRPC_HOST), port: v.MANAGER_GRPC_PORT },
    http: v.MANAGER_HTTP_PORT === 0
      ? undefined
      : { host: address(v.MANAGER_HTTP_HOST), port: v.MANAGER_HTTP_PORT },
    instanceId: v.MANAGER_INSTANCE_ID,
    tls: certFile === undefined || keyFile === undefined
      ? undefined
      : { certFile, keyFile, clientCaFile: v.MANAGER_GRPC_CLIENT_CA_CERTS },
    management: {
      endpoint: v.MANAGER_GRPC_URL,
      caFile: v.MANAGER_GRPC_SERVER_CA_CERTS,
      certFile: v.MANAGER_GRPC_CLIENT_CERT,
      keyFile: v.MANAGER_GRPC_CLIENT_KEY,
      timeoutMs: v.MANAGER_GRPC_TIMEOUT,
    },
    logLevel: v.MANAGER_LOG_LEVEL,
    maxVms: v.MANAGER_MAX_VMS,
    ports: v.MANAGER_QEMU_HOST_FWD_RANGE,
    forwardAddress: v.MANAGER_QEMU_HOST_FWD_ADDR,
    stateDir: v.MANAGER_STATE_DIR,
    stopGraceMs: v.MANAGER_STOP_GRACE,
    kvm: v.MANAGER_QEMU_ENABLE_KVM,
    probeFile: v.MANAGER_QEMU_PROBE_FILE,
    tee: teeOf(v.MANAGER_QEMU_ENABLE_SEV_SNP, v.MANAGER_QEMU_ENABLE_TDX, machine),
    template: templateOf(v, source, machine),
    eosVersion: v.MANAGER_EOS_VERSION,
    ovmfVersion: v.MANAGER_QEMU_OVMF_VERSION,
    pcrValues: v.MANAGER_PCR_VALUES,
    productLine: v.MANAGER_SNP_PRODUCT_LINE ?? machine.productLine,
    warnings,
  };
}

/** Deno grants addresses, not what a name resolves to; and a listener wants one address anyway. */
function address(host: string): string {
  return host === "localhost" ? "127.0.0.1" : host;
}
