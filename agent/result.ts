// AgentService.Result: streams the packed results to a consumer. In compat it counts as served when
// every byte and the trailers left and the consumer did not break off, in strict when it says so
// itself (threats O-2 to O-4, O-6; wire.md §4.7).
import { CocosError } from "../base/mod.ts";
import {
  type CallContext,
  CHUNK_BYTES,
  DIGEST_KEY,
  type Headers,
  RESULT_ITEM,
  ROLES,
} from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { authorize, type Claim } from "./authorize.ts";
import { readOffset } from "./broken.ts";
import type { Computation } from "./computation.ts";
import type { ResultsRecord } from "./journal.ts";
import type { Manifest, PartyKey } from "./manifest.ts";
import { notReady, resultsPurged } from "./refusals.ts";
import { reasonOf } from "./work.ts";

/** Handles one `Result` call. */
export async function* result(
  agent: Agent,
  call: CallContext,
): AsyncGenerator<{ file: Uint8Array<ArrayBuffer> }, void, undefined> {
  const computation = agent.current();
  const { signer } = authorize(computation, call, ROLES.consumer, [
    { ...resultClaim(computation.manifest), payload: "", size: 0 },
  ]);
  const results = readyResults(agent, computation);
  const offset = computation.manifest.agreement === undefined
    ? 0
    : beginning(call.metadata, results);
  let left = results.size - offset;
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(computation.job.archive, { read: true });
  } catch (cause) {
    throw new CocosError("io", `error reading results: ${reasonOf(cause)}`, { cause });
  }
  using archive = file;
  archive.seekSync(offset, Deno.SeekMode.Start);
  call.sendHeaders({ "file-size": String(results.size), [DIGEST_KEY]: results.digest });
  const { serving } = computation;
  // One is sent while the next is read; a message has left its buffer when another is asked for.
  const buffers = [new Uint8Array(CHUNK_BYTES), new Uint8Array(CHUNK_BYTES)] as const;
  let turn = 0;
  let next = fill(archive, buffers[0].subarray(0, Math.min(CHUNK_BYTES, left)));
  next.catch(() => {}); // the call may end before it is awaited
  while (left > 0) {
    serving.throwIfAborted();
    const chunk = await next;
    left -= chunk.length;
    turn = 1 - turn;
    next = fill(
      archive,
      (buffers[turn] as Uint8Array<ArrayBuffer>).subarray(0, Math.min(CHUNK_BYTES, left)),
    );
    next.catch(() => {});
    yield { file: chunk };
  }
  // In strict the consumer says that it has everything: acknowledge() in party.ts.
  if (computation.manifest.agreement !== undefined) return;
  call.delivered.then((whole) => {
    if (whole) agent.consumed(computation, consumerOf(computation, signer));
  });
}

/**
 * Where a consumer goes on (threats O-5).
 *
 * @throws {CocosError} `out-of-range` for an offset beyond the end, or after another archive's bytes.
 */
function beginning(metadata: Headers, { size, digest }: ResultsRecord): number {
  const offset = readOffset(metadata);
  const [before] = metadata.get(DIGEST_KEY);
  if (offset === 0 && before === undefined) return 0;
  const hint = "Begin again.";
  if (offset > size) {
    throw new CocosError(
      "out-of-range",
      `cannot go on at ${offset}: the result has ${size} bytes`,
      {
        hint,
      },
    );
  }
  if (before !== digest) {
    throw new CocosError(
      "out-of-range",
      "cannot go on: this is another result than the one begun",
      {
        hint,
      },
    );
  }
  return offset;
}

/** Fills a buffer from a file. */
async function fill(
  file: Deno.FsFile,
  buffer: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  for (let filled = 0; filled < buffer.length;) {
    const count = await file.read(buffer.subarray(filled));
    if (count === null) throw new CocosError("io", "error reading results: too short");
    filled += count;
  }
  return buffer;
}

/** The result, as a signed request names it. */
export function resultClaim({ consumers }: Manifest): Claim {
  return { item: RESULT_ITEM, owners: consumers };
}

/** Place of a consumer's key in the manifest. */
export function consumerOf({ manifest }: Computation, { id }: PartyKey): number {
  return manifest.consumers.findIndex((consumer) => consumer.id === id);
}

/** The packed results, while they are given out. */
export function readyResults(agent: Agent, computation: Computation): ResultsRecord {
  const { results, failure = "algorithm execution error" } = computation.progress;
  if (agent.state === "Failed") {
    throw new CocosError("run-failed", failure + lastWords(computation));
  }
  if (agent.state === "Complete") throw resultsPurged();
  if (agent.state !== "ConsumingResults" || results === undefined) throw notReady();
  return results;
}

/** Most of what a failed run printed that goes into the text of its failure. */
const LAST_LINES = 20;
const LAST_CHARACTERS = 1_500;

/** The last lines the algorithm printed, where consumers may see them (threats S-6). */
function lastWords({ manifest, output }: Computation): string {
  if (!manifest.logReaders.includes("consumers")) return "";
  const last = output?.last(LAST_LINES, LAST_CHARACTERS) ?? "";
  return last === "" ? "" : `; the last it printed:\n${last}`;
}
