// AgentService.Result: streams the packed results to a consumer. In compat it counts as served when
// every byte and the trailers left and the consumer did not break off, in strict when it says so
// itself (threats O-2 to O-4, O-6; wire.md §4.7).
import { CocosError } from "../base/mod.ts";
import { type CallContext, CHUNK_BYTES, RESULT_ITEM, ROLES } from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { authorize, type Claim } from "./authorize.ts";
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
  let left = results.size;
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(computation.job.archive, { read: true });
  } catch (cause) {
    throw new CocosError("io", `error reading results: ${reasonOf(cause)}`, { cause });
  }
  using archive = file;
  call.sendHeaders({ "file-size": String(results.size), "cocos-digest": results.digest });
  const { serving } = computation;
  while (left > 0) {
    serving.throwIfAborted();
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, left));
    let filled = 0;
    while (filled < chunk.length) {
      const count = await archive.read(chunk.subarray(filled));
      if (count === null) throw new CocosError("io", "error reading results: too short");
      filled += count;
    }
    left -= filled;
    yield { file: chunk };
  }
  // In strict the consumer says that it has everything: acknowledge() in party.ts.
  if (computation.manifest.agreement !== undefined) return;
  call.delivered.then((whole) => {
    if (whole) agent.consumed(computation, consumerOf(computation, signer));
  });
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
