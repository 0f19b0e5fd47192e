// AgentService.Data: takes a dataset from its owner. Right, state and size first, then bytes; the item
// is found by digest among the signer's own (threats G-4, G-7, F-1; wire.md §4.5).
import { CocosError } from "../base/mod.ts";
import { type CallContext, type DataRequest, type Headers, ROLES } from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { authorize } from "./authorize.ts";
import type { Computation } from "./computation.ts";
import type { PartyKey } from "./manifest.ts";
import { allReceived, badName, badSignature, noDataset } from "./refusals.ts";
import { IncomingFile, MAX_EMPTY_MESSAGES, watched } from "./receive.ts";
import { treeDigest } from "./tree.ts";
import { unzip } from "./unzip.ts";
import { removeAll } from "./work.ts";

/** Longest name an uploader may give, in characters. */
const MAX_NAME = 4_096;

/**
 * Whether the dataset is an archive to unpack.
 *
 * @throws {CocosError} `invalid-argument` for another word than true and false.
 */
export function readDecompress(metadata: Headers): boolean {
  const values = metadata.get("decompress");
  const [word = "false"] = values;
  if (values.length > 1 || !/^(true|false|)$/.test(word)) {
    throw new CocosError("invalid-argument", "decompress must be true or false");
  }
  return word === "true";
}

/** Handles one `Data` stream. */
export async function data(
  agent: Agent,
  requests: AsyncIterable<DataRequest>,
  call: CallContext,
): Promise<Record<string, never>> {
  const computation = agent.current();
  const owners = [...new Set(computation.manifest.datasets.map(({ owner }) => owner))];
  const owner = owners[authorize(call, ROLES.data, owners)];
  if (owner === undefined) throw badSignature();
  const owed = computation.missing.filter((item) => item.owner.id === owner.id).length;
  const leave = computation.enter(owner, owed);
  try {
    await receive(agent, computation, owner, readDecompress(call.metadata), requests);
    return {};
  } finally {
    leave();
  }
}

async function receive(
  agent: Agent,
  computation: Computation,
  owner: PartyKey,
  decompress: boolean,
  requests: AsyncIterable<DataRequest>,
): Promise<void> {
  const { job } = computation;
  let file: IncomingFile | undefined;
  let open = computation.missing;
  let filename = "";
  let folder: string | undefined;
  let empty = 0;
  try {
    for await (const request of watched(requests, computation.signal)) {
      if (request.filename !== "" && request.filename !== filename) {
        // The Go CLI repeats the name; a second one is a trick (threats G-14).
        if (filename !== "" || request.filename.length > MAX_NAME) throw badName();
        filename = request.filename;
      }
      if (request.dataset.length === 0) {
        if (++empty > MAX_EMPTY_MESSAGES) {
          throw new CocosError("invalid-argument", "too many messages without content");
        }
        continue;
      }
      if (file === undefined) {
        agent.expect(computation, "ReceivingData");
        open = computation.missing;
        if (!open.some((item) => item.owner.id === owner.id)) throw allReceived();
        file = new IncomingFile(job.incoming(), "dataset", agent.maxUploadBytes);
      }
      await file.write(request.dataset);
    }
    if (file === undefined) throw noDataset();
    const digest = await file.finish();
    const find = () => computation.itemFor(digest, filename, owner, open);
    find();
    if (!decompress) {
      agent.commitDataset(computation, find, { file });
      return;
    }
    folder = job.incoming();
    const names = await unzip(file.path, folder, {
      maxBytes: agent.maxUploadBytes,
      signal: computation.signal,
    });
    const tree = await treeDigest(folder, names);
    agent.commitDataset(computation, find, { folder, names, tree });
  } finally {
    file?.[Symbol.dispose]();
    if (folder !== undefined) removeAll(folder);
  }
}
