// What a computation is made of, before any of its files is opened: parties' key files, assets by
// file or digest, limits and policies. The launcher reads it to grant exactly these files.
import type { Channel, Kind, LogReader } from "../proto/mod.ts";

/** An algorithm or dataset: a file to be hashed, a digest, or both, which must then agree. */
export interface AssetPlan {
  readonly file?: string;
  /** SHA3-256, 64 hexadecimal digits. */
  readonly hash?: string;
  /** Bytes of the upload; needed where there is no file. */
  readonly size?: number;
  /** Public key file of its provider. */
  readonly key: string;
}

/** What Python installs before it runs: a file, a folder with wheels, or a digest. */
export interface RequirementsPlan {
  /** A requirements.txt, or a zip of one with wheels. */
  readonly file?: string;
  /** A folder with requirements.txt and *.whl. */
  readonly wheelhouse?: string;
  /** SHA3-256 of the upload, 64 hexadecimal digits. */
  readonly hash?: string;
}

/** The algorithm, and how it is run. */
export interface AlgorithmPlan extends AssetPlan {
  /** Absent: told from the file. */
  readonly type?: Kind;
  readonly args: readonly string[];
  /** For Python: empty, `python3` or `pyodide`. */
  readonly runtime: string;
  readonly requirements?: RequirementsPlan;
}

/** A dataset, with the name the agent gives it. */
export interface DatasetPlan extends AssetPlan {
  readonly filename: string;
  /** Whether the agent unpacks it; absent: a directory is unpacked. */
  readonly decompress?: boolean;
}

/** What a run may use; an absent limit is the runner's own. */
export interface LimitsPlan {
  readonly wallSeconds?: number;
  readonly memoryBytes?: number;
  readonly processes?: number;
  readonly diskBytes?: number;
  readonly logBytes?: number;
}

/** What the agent is told about its front door (wire.md §1.2 `AgentConfig`). */
export interface AgentPlan {
  readonly port: string;
  /** Each a file here whose text is sent, or `cvm:<path>` for a path inside the CVM, or empty. */
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCaFile: string;
  readonly serverCaFile: string;
  readonly logLevel: string;
  readonly attestedTls: boolean;
}

/** A computation, unread. */
export interface ComputationPlan {
  /** Absent: made from the content. */
  readonly id?: string;
  readonly name: string;
  readonly description: string;
  readonly algorithm: AlgorithmPlan;
  readonly datasets: readonly DatasetPlan[];
  readonly consumers: readonly string[];
  readonly agent: AgentPlan;
  readonly limits: LimitsPlan;
  /** Who may see what the algorithm prints; nobody when empty. */
  readonly logReaders: readonly LogReader[];
  /** Package indexes the installation of requirements may reach, `host:port`. */
  readonly egress: readonly string[];
  readonly channel: Channel;
}

/** Marks a path inside the CVM. */
export const IN_CVM = "cvm:";

/** Most datasets and consumers of one computation. */
export const MAX_PARTIES = 1_000;

/** Files and folders a plan will have opened. */
export function filesOf(plan: ComputationPlan): string[] {
  const { agent, algorithm } = plan;
  const { file, wheelhouse } = algorithm.requirements ?? {};
  const texts = [agent.certFile, agent.keyFile, agent.clientCaFile, agent.serverCaFile];
  return [
    ...new Set([
      ...[algorithm, ...plan.datasets].flatMap(({ file, key }) =>
        file === undefined ? [key] : [file, key]
      ),
      ...[file, wheelhouse].filter((path) => path !== undefined),
      ...plan.consumers,
      ...texts.filter((path) => path !== "" && !path.startsWith(IN_CVM)),
    ]),
  ];
}

/** Last part of a path. */
export function baseName(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed.slice(trimmed.lastIndexOf("/") + 1);
}
