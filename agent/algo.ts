// AgentService.Algo: takes the algorithm and its requirements from the algorithm provider, who is not
// trusted: state, right and size first, then bytes (threats G-7, G-14; wire.md §4.5).
import { CocosError } from "../base/mod.ts";
import {
  type AlgoRequest,
  ALGORITHM_ITEM,
  type CallContext,
  type Headers,
  type Kind,
  ROLES,
} from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { authorize, type Claim } from "./authorize.ts";
import { mayGoOn, readOffset } from "./broken.ts";
import type { Computation } from "./computation.ts";
import type { Manifest } from "./manifest.ts";
import { allReceived, badDigest, badRequirements, noAlgorithm, otherTerms } from "./refusals.ts";
import { IncomingFile, MAX_EMPTY_MESSAGES, watched } from "./receive.ts";
import { type AlgorithmHeader, headerProblem } from "./terms.ts";
import { treeDigest } from "./tree.ts";
import { unzip } from "./unzip.ts";
import { makeFolder, removeAll } from "./work.ts";

/** Largest requirements: wheels of the usual scientific packages are about 300 MiB. */
export const MAX_REQUIREMENTS_BYTES = 2 * 2 ** 30;

/**
 * Reads the metadata of an upload in compat. A missing type is `bin`, as an empty one.
 *
 * @throws {CocosError} `invalid-argument`.
 */
export function readHeader(metadata: Headers): AlgorithmHeader {
  const one = (key: string) => {
    const values = metadata.get(key);
    if (values.length > 1) throw new CocosError("invalid-argument", `${key} is given twice`);
    return values[0] ?? "";
  };
  const word = one("algo_type") || "bin";
  const pythonRuntime = one("python_runtime");
  const args = metadata.get("algo_args");
  const problem = headerProblem(word, args, pythonRuntime);
  if (problem !== undefined) {
    const { field, rule } = problem;
    const what = { type: "algorithm type", args: "algorithm arguments", runtime: "python runtime" };
    throw new CocosError("invalid-argument", `${what[field]} ${rule}`);
  }
  const kind = word as Kind;
  return { kind, args: [...args], pythonRuntime: kind === "python" ? pythonRuntime : "" };
}

/** In strict the manifest decides; metadata that says something else is refused (threats R3, G-13). */
function agreedHeader(metadata: Headers, header: AlgorithmHeader): AlgorithmHeader {
  const { kind, args, pythonRuntime } = header;
  const agreed = { algo_type: [kind], algo_args: args, python_runtime: [pythonRuntime] };
  for (const [key, values] of Object.entries(agreed)) {
    const given = metadata.get(key);
    if (given.length === 0) continue;
    if (given.length !== values.length || given.some((value, i) => value !== values[i])) {
      throw otherTerms(key);
    }
  }
  return header;
}

/** Handles one `Algo` stream. */
export async function algo(
  agent: Agent,
  requests: AsyncIterable<AlgoRequest>,
  call: CallContext,
): Promise<Record<string, never>> {
  const computation = agent.current();
  const { owner, header } = computation.manifest.algorithm;
  authorize(computation, call, ROLES.algorithm, [algorithmClaim(computation.manifest)]);
  if (header !== undefined) expectAlgorithm(agent, computation);
  const leave = computation.enter(owner, 1);
  try {
    const agreed = header === undefined
      ? readHeader(call.metadata)
      : agreedHeader(call.metadata, header);
    const offset = header === undefined ? 0 : readOffset(call.metadata);
    await receive(agent, computation, agreed, offset, requests);
    return {};
  } finally {
    leave();
  }
}

/** The upload of the algorithm, as a signed request names it. */
export function algorithmClaim({ algorithm: { owner, digest, size } }: Manifest): Claim {
  return {
    item: ALGORITHM_ITEM,
    owners: [owner],
    payload: digest,
    ...(size === undefined ? {} : { size }),
  };
}

/** Refuses an algorithm that is not wanted now: before anything is buffered (threats G-7). */
function expectAlgorithm(agent: Agent, computation: Computation): void {
  agent.expect(computation, "ReceivingAlgorithm");
  if (computation.hasAlgorithm) throw allReceived();
}

async function receive(
  agent: Agent,
  computation: Computation,
  header: AlgorithmHeader,
  offset: number,
  requests: AsyncIterable<AlgoRequest>,
): Promise<void> {
  const { job, broken, manifest: { algorithm: declared } } = computation;
  // Requirements come first and belong to the same upload: what has them begins again.
  const name = declared.header === undefined || declared.requirements !== undefined
    ? undefined
    : ALGORITHM_ITEM;
  const upload = name === undefined ? undefined : broken.enter(name);
  const signal = upload === undefined
    ? computation.signal
    : AbortSignal.any([computation.signal, upload.signal]);
  const takes = takesRequirements(computation.manifest, header);
  let program: IncomingFile | undefined;
  let requirements: IncomingFile | undefined;
  let folder: string | undefined;
  let empty = 0;
  try {
    if (offset > 0) program = broken.take(ALGORITHM_ITEM, offset);
    for await (const request of watched(requests, signal, payloadOf)) {
      upload?.heard();
      if (request.requirements.length === 0 && request.algorithm.length === 0) {
        if (++empty > MAX_EMPTY_MESSAGES) {
          throw new CocosError("invalid-argument", "too many messages without content");
        }
        continue;
      }
      if (program === undefined && requirements === undefined) {
        expectAlgorithm(agent, computation);
      }
      // A message's memory is given back as soon as one part of it is written (threats F-5).
      const algorithm = request.requirements.length > 0
        ? new Uint8Array(request.algorithm)
        : request.algorithm;
      if (request.requirements.length > 0) {
        if (!takes || program !== undefined) {
          throw new CocosError(
            "invalid-argument",
            "requirements are taken for python algorithms only, before the algorithm" +
              (header.kind === "python" && !takes ? ", and where the manifest has them" : ""),
          );
        }
        requirements ??= new IncomingFile(
          job.incoming(),
          "requirements",
          Math.min(MAX_REQUIREMENTS_BYTES, agent.maxUploadBytes),
        );
        await requirements.write(request.requirements);
      }
      if (algorithm.length > 0) {
        program ??= new IncomingFile(
          job.incoming(),
          "algorithm",
          agent.most(declared.size),
        );
        await program.write(algorithm);
      }
    }
    if (program === undefined) throw noAlgorithm();
    if (await program.finish() !== declared.digest) throw badDigest();
    const required = await requirements?.finish();
    if (declared.requirements !== undefined && required !== declared.requirements) {
      throw badRequirements();
    }
    let digest: string | undefined;
    if (requirements !== undefined) {
      folder = job.incoming();
      digest = await unpack(requirements, folder, computation.signal);
    }
    agent.commitAlgorithm(computation, program, folder, {
      ...header,
      ...(digest === undefined ? {} : { requirements: digest }),
    }, modeOf(header.kind));
    broken.received(ALGORITHM_ITEM);
    folder = undefined;
  } catch (thrown) {
    if (name !== undefined && program !== undefined && mayGoOn(thrown) && !computation.over) {
      const kept = program;
      program = undefined;
      await broken.park(name, kept);
    }
    throw thrown;
  } finally {
    upload?.leave();
    program?.[Symbol.dispose]();
    requirements?.[Symbol.dispose]();
    if (folder !== undefined) removeAll(folder);
  }
}

function payloadOf({ requirements, algorithm }: AlgoRequest): number {
  return requirements.length + algorithm.length;
}

/** In strict the manifest says whether there are requirements, in compat the uploader. */
function takesRequirements({ algorithm }: Manifest, { kind }: AlgorithmHeader): boolean {
  return kind === "python" &&
    (algorithm.header === undefined || algorithm.requirements !== undefined);
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
