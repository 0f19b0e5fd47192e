// AgentService.Result: streams the packed results to a consumer. It counts as served when every byte
// and the trailers left and the consumer did not break off (threats O-2 to O-4, O-6; wire.md §4.7).
import { CocosError } from "../base/mod.ts";
import { type CallContext, CHUNK_BYTES, ROLES } from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { authorize } from "./authorize.ts";
import { notReady, resultsPurged } from "./refusals.ts";
import { reasonOf } from "./work.ts";

/** Handles one `Result` call. */
export async function* result(
  agent: Agent,
  call: CallContext,
): AsyncGenerator<{ file: Uint8Array<ArrayBuffer> }, void, undefined> {
  const computation = agent.current();
  const consumer = authorize(call, ROLES.consumer, computation.manifest.consumers);
  const { results, failure } = computation.progress;
  if (agent.state === "Failed") {
    throw new CocosError("run-failed", failure ?? "algorithm execution error");
  }
  if (agent.state === "Complete") throw resultsPurged();
  if (agent.state !== "ConsumingResults" || results === undefined) throw notReady();

  let left = results.size;
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(computation.job.archive, { read: true });
  } catch (cause) {
    throw new CocosError("io", `error reading results: ${reasonOf(cause)}`, { cause });
  }
  using archive = file;
  call.sendHeaders({ "file-size": String(results.size) });
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
  call.delivered.then((whole) => {
    if (whole) agent.consumed(computation, consumer);
  });
}
