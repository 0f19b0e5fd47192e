// What the parties agreed on, as one text and one digest. The management server that hands a
// manifest out is not trusted with its content: parties compare this digest (threats M-7, M-11).
import { CocosError, sha3_256 } from "../base/mod.ts";
import { type Canonical, canonicalJson } from "./canonical.ts";
import type { ComputationRunReq } from "./gen/cvms_pb.ts";

/** Version of the canonical form. */
export const AGREEMENT_VERSION = 1;

/** Domain tag of the digest: no other text of ours hashes alike. */
const DOMAIN = "cocos-manifest-v1\n";

/** Ways a party may reach the agent. */
export const CHANNELS = ["attested", "tls", "insecure"] as const;

/** A way a party may reach the agent. */
export type Channel = (typeof CHANNELS)[number];

/** Those who may be allowed to see what an algorithm prints. */
export const LOG_READERS = ["consumers", "algorithm-provider", "server"] as const;

/** One who may be allowed to see what an algorithm prints. */
export type LogReader = (typeof LOG_READERS)[number];

/**
 * The canonical text of a manifest: RFC 8785 JSON of everything that changes what runs and who
 * learns what. The front door's certificate, key, CA files and log level are left out: they identify
 * nobody in the strict mode, and a management server may renew them.
 *
 * @throws {CocosError} `invalid-manifest` for a field we do not know (it could change the run without
 * changing the digest), or a number above 2^53.
 */
export function canonicalManifest(manifest: ComputationRunReq): string {
  const { algorithm, agentConfig, limits } = manifest;
  refuseUnknown("", manifest);
  refuseUnknown("algorithm", algorithm);
  refuseUnknown("agent_config", agentConfig);
  refuseUnknown("limits", limits);
  return canonicalJson({
    version: AGREEMENT_VERSION,
    id: manifest.id,
    name: manifest.name,
    description: manifest.description,
    algorithm: {
      hash: (algorithm?.hash ?? new Uint8Array()).toHex(),
      userKey: (algorithm?.userKey ?? new Uint8Array()).toBase64(),
      type: algorithm?.type ?? "",
      args: algorithm?.args ?? [],
      runtime: algorithm?.runtime ?? "",
      requirementsHash: (algorithm?.requirementsHash ?? new Uint8Array()).toHex(),
      size: whole("algorithm.size", algorithm?.size),
    },
    datasets: manifest.datasets.map((dataset, index): Canonical => {
      refuseUnknown(`datasets[${index}]`, dataset);
      return {
        hash: dataset.hash.toHex(),
        userKey: dataset.userKey.toBase64(),
        filename: dataset.filename,
        size: whole(`datasets[${index}].size`, dataset.size),
        decompress: dataset.decompress,
      };
    }),
    resultConsumers: manifest.resultConsumers.map((consumer, index): Canonical => {
      refuseUnknown(`result_consumers[${index}]`, consumer);
      return { userKey: consumer.userKey.toBase64() };
    }),
    agentConfig: {
      port: agentConfig?.port ?? "",
      attestedTls: agentConfig?.attestedTls ?? false,
    },
    limits: {
      wallSeconds: whole("limits.wall_seconds", limits?.wallSeconds),
      memoryBytes: whole("limits.memory_bytes", limits?.memoryBytes),
      processes: whole("limits.processes", limits?.processes),
      diskBytes: whole("limits.disk_bytes", limits?.diskBytes),
      logBytes: whole("limits.log_bytes", limits?.logBytes),
    },
    logReaders: manifest.logReaders,
    egress: manifest.egress,
    channel: manifest.channel,
  });
}

/** SHA3-256 over the domain tag and the canonical text, 32 bytes. */
export function agreementDigest(manifest: ComputationRunReq): Uint8Array {
  return digestOfCanonical(new TextEncoder().encode(canonicalManifest(manifest)));
}

/** The same digest from the canonical text's UTF-8 bytes, as an agent shows it. */
export function digestOfCanonical(text: Uint8Array): Uint8Array {
  const domain = new TextEncoder().encode(DOMAIN);
  const whole = new Uint8Array(domain.length + text.length);
  whole.set(domain);
  whole.set(text, domain.length);
  return sha3_256(whole);
}

function refuseUnknown(
  path: string,
  value: { $unknown?: { no: number }[] | undefined } | undefined,
): void {
  const [first] = value?.$unknown ?? [];
  if (first === undefined) return;
  throw new CocosError(
    "invalid-manifest",
    `manifest has a field nobody here knows: number ${first.no}${path === "" ? "" : ` of ${path}`}`,
    { hint: "A newer program made this manifest; a digest over it would leave that field out." },
  );
}

function whole(path: string, value: bigint | undefined): number {
  const number = Number(value ?? 0n);
  if (!Number.isSafeInteger(number)) {
    throw new CocosError("invalid-manifest", `manifest field ${path} must be below 2^53`);
  }
  return number;
}
