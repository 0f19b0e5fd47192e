// AgentService.Algo: takes the algorithm and its requirements from the algorithm provider, who is not
// trusted: state, right and size first, then bytes (threats G-7, G-14; wire.md §4.5).
import { CocosError } from "../base/mod.ts";
import {
  type AlgoRequest,
  type CallContext,
  type Headers,
  type Kind,
  KINDS,
  MAX_ARGUMENT_BYTES,
  MAX_ARGUMENTS,
  ROLES,
} from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { authorize } from "./authorize.ts";
import type { Computation } from "./computation.ts";
import type { AlgorithmRecord } from "./journal.ts";
import { allReceived, badDigest, noAlgorithm } from "./refusals.ts";
import { IncomingFile, MAX_EMPTY_MESSAGES, watched } from "./receive.ts";
import { treeDigest } from "./tree.ts";
import { unzip } from "./unzip.ts";
import { makeFolder, removeAll } from "./work.ts";

/** Largest requirements: wheels of the usual scientific packages are about 300 MiB. */
export const MAX_REQUIREMENTS_BYTES = 2 * 2 ** 30;

/** Interpreters an algorithm may name; the image fixes what they are (threats S-12). */
const PYTHON_RUNTIMES = ["", "python3", "pyodide"];

/** What an uploader says about the algorithm in metadata. */
export type AlgorithmHeader = Omit<AlgorithmRecord, "requirements">;

/**
 * Reads the metadata of an upload. A missing type is `bin`, as an empty one.
 *
 * @throws {CocosError} `invalid-argument`.
 */
export function readHeader(metadata: Headers): AlgorithmHeader {
  const one = (key: string) => {
    const values = metadata.get(key);
    if (values.length > 1) throw new CocosError("invalid-argument", `${key} is given twice`);
    return values[0] ?? "";
  };
  const word = one("algo_type");
  const kind = word === "" ? "bin" : KINDS.find((each) => each === word);
  if (kind === undefined) {
    throw new CocosError(
      "invalid-argument",
      `algorithm type must be one of ${KINDS.join(", ")}, is ${JSON.stringify(word.slice(0, 32))}`,
    );
  }
  const pythonRuntime = one("python_runtime");
  if (kind === "python" && !PYTHON_RUNTIMES.includes(pythonRuntime)) {
    throw new CocosError(
      "invalid-argument",
      "python runtime must be python3 or pyodide: the image fixes the interpreter",
      { hint: "Leave --python-runtime away." },
    );
  }
  const args = metadata.get("algo_args");
  const encoder = new TextEncoder();
  if (
    args.length > MAX_ARGUMENTS ||
    args.some((each) => each.includes("\0") || encoder.encode(each).length > MAX_ARGUMENT_BYTES)
  ) {
    throw new CocosError("invalid-argument", "algorithm arguments are too many or too long");
  }
  return { kind, args: [...args], pythonRuntime: kind === "python" ? pythonRuntime : "" };
}

/** Handles one `Algo` stream. */
export async function algo(
  agent: Agent,
  requests: AsyncIterable<AlgoRequest>,
  call: CallContext,
): Promise<Record<string, never>> {
  const computation = agent.current();
  const { owner } = computation.manifest.algorithm;
  authorize(call, ROLES.algorithm, [owner]);
  const leave = computation.enter(owner, 1);
  try {
    await receive(agent, computation, readHeader(call.metadata), requests);
    return {};
  } finally {
    leave();
  }
}

async function receive(
  agent: Agent,
  computation: Computation,
  header: AlgorithmHeader,
  requests: AsyncIterable<AlgoRequest>,
): Promise<void> {
  const { job, manifest } = computation;
  let program: IncomingFile | undefined;
  let requirements: IncomingFile | undefined;
  let folder: string | undefined;
  let empty = 0;
  try {
    for await (const request of watched(requests, computation.signal)) {
      if (request.requirements.length === 0 && request.algorithm.length === 0) {
        if (++empty > MAX_EMPTY_MESSAGES) {
          throw new CocosError("invalid-argument", "too many messages without content");
        }
        continue;
      }
      if (program === undefined && requirements === undefined) {
        agent.expect(computation, "ReceivingAlgorithm");
        if (computation.hasAlgorithm) throw allReceived();
      }
      if (request.requirements.length > 0) {
        if (header.kind !== "python" || program !== undefined) {
          throw new CocosError(
            "invalid-argument",
            "requirements are taken for python algorithms only, before the algorithm",
          );
        }
        requirements ??= new IncomingFile(
          job.incoming(),
          "requirements",
          Math.min(MAX_REQUIREMENTS_BYTES, agent.maxUploadBytes),
        );
        await requirements.write(request.requirements);
      }
      if (request.algorithm.length > 0) {
        program ??= new IncomingFile(job.incoming(), "algorithm", agent.maxUploadBytes);
        await program.write(request.algorithm);
      }
    }
    if (program === undefined) throw noAlgorithm();
    if (await program.finish() !== manifest.algorithm.digest) throw badDigest();
    let digest: string | undefined;
    if (requirements !== undefined) {
      await requirements.finish();
      folder = job.incoming();
      digest = await unpack(requirements, folder, computation.signal);
    }
    agent.commitAlgorithm(computation, program, folder, {
      ...header,
      ...(digest === undefined ? {} : { requirements: digest }),
    }, modeOf(header.kind));
    folder = undefined;
  } finally {
    program?.[Symbol.dispose]();
    requirements?.[Symbol.dispose]();
    if (folder !== undefined) removeAll(folder);
  }
}

/** The runner's group may execute a program and read the others (contract with the runner). */
function modeOf(kind: Kind): number {
  return kind === "bin" ? 0o750 : 0o640;
}

/**
 * Puts requirements into their folder: an archive's `requirements.txt` and wheels, or the file itself
 * as `requirements.txt`. Gives the folder's digest.
 */
async function unpack(
  file: IncomingFile,
  folder: string,
  signal: AbortSignal,
): Promise<string> {
  let names: readonly string[] = ["requirements.txt"];
  if (await isZip(file.path)) {
    names = await unzip(file.path, folder, {
      maxBytes: MAX_REQUIREMENTS_BYTES,
      signal,
      refuse: (name) =>
        /^(requirements\.txt|[A-Za-z0-9][A-Za-z0-9_.+!-]{0,250}\.whl)$/.test(name)
          ? undefined
          : "must be requirements.txt or a wheel at the top level",
    });
    if (!names.includes("requirements.txt")) {
      removeAll(folder);
      throw new CocosError("invalid-archive", "requirements archive must hold requirements.txt");
    }
  } else {
    makeFolder(folder);
    file.keep(`${folder}/requirements.txt`, 0o640);
  }
  return await treeDigest(folder, names);
}

async function isZip(path: string): Promise<boolean> {
  using file = await Deno.open(path, { read: true });
  const head = new Uint8Array(4);
  return await file.read(head) === 4 && head.toHex() === "504b0304";
}
