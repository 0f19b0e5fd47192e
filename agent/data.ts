// AgentService.Data: takes a dataset from its owner. Right, state and size first, then bytes; the item
// is found by digest among the signer's own (threats G-4, G-7, F-1; wire.md §4.5).
import { CocosError } from "../base/mod.ts";
import {
  type CallContext,
  type DataRequest,
  datasetItem,
  type Headers,
  ROLES,
} from "../proto/mod.ts";
import type { Agent } from "./agent.ts";
import { authorize, type Claim } from "./authorize.ts";
import { mayGoOn, readOffset } from "./broken.ts";
import type { Computation } from "./computation.ts";
import type { DatasetItem, PartyKey } from "./manifest.ts";
import { allReceived, badDigest, badName, noDataset, otherTerms } from "./refusals.ts";
import { IncomingFile, MAX_EMPTY_MESSAGES, watched } from "./receive.ts";
import { treeDigest } from "./tree.ts";
import { unzip } from "./unzip.ts";
import { removeAll } from "./work.ts";

/** Longest name an uploader may give, in characters. */
const MAX_NAME = 4_096;

/**
 * Whether the dataset is an archive to unpack.
 *
 * @param item absent in compat, where metadata alone say it
 * @throws {CocosError} `invalid-argument` for another word than true and false, and for the word the
 * manifest doesn't have.
 */
export function readDecompress(metadata: Headers, item?: DatasetItem): boolean {
  const values = metadata.get("decompress");
  const [word = "false"] = values;
  if (values.length > 1 || !/^(true|false|)$/.test(word)) {
    throw new CocosError("invalid-argument", "decompress must be true or false");
  }
  const agreed = item?.decompress;
  if (agreed !== undefined && values.length > 0 && agreed !== (word === "true")) {
    throw otherTerms("decompress");
  }
  return agreed ?? word === "true";
}

/** Handles one `Data` stream. */
export async function data(
  agent: Agent,
  requests: AsyncIterable<DataRequest>,
  call: CallContext,
): Promise<Record<string, never>> {
  const computation = agent.current();
  const claims = computation.manifest.datasets.map(datasetClaim);
  const { signer: owner, claim } = authorize(computation, call, ROLES.data, claims);
  const item = claim?.dataset;
  if (item !== undefined) {
    agent.expect(computation, "ReceivingData");
    computation.expected(item);
  }
  const owed = computation.missing.filter((item) => item.owner.id === owner.id).length;
  const leave = computation.enter(owner, owed);
  try {
    const decompress = readDecompress(call.metadata, item);
    const offset = item === undefined ? 0 : readOffset(call.metadata);
    await receive(agent, computation, { owner, item, decompress, offset }, requests);
    return {};
  } finally {
    leave();
  }
}

/** The upload of a dataset, as a signed request names it. */
export function datasetClaim(dataset: DatasetItem): Claim & { readonly dataset: DatasetItem } {
  const { owner, digest: payload, size } = dataset;
  return {
    item: datasetItem(dataset),
    owners: [owner],
    payload,
    ...(size === undefined ? {} : { size }),
    dataset,
  };
}

/** What is known of an upload before its first byte. */
interface Upload {
  readonly owner: PartyKey;
  /** Absent in compat, where the digest of the bytes finds it. */
  readonly item: DatasetItem | undefined;
  readonly decompress: boolean;
  /** Bytes that are here from an upload that broke off. */
  readonly offset: number;
}

async function receive(
  agent: Agent,
  computation: Computation,
  { owner, item, decompress, offset }: Upload,
  requests: AsyncIterable<DataRequest>,
): Promise<void> {
  const { job, broken } = computation;
  const name = item === undefined ? undefined : datasetItem(item);
  const upload = name === undefined ? undefined : broken.enter(name);
  const signal = upload === undefined
    ? computation.signal
    : AbortSignal.any([computation.signal, upload.signal]);
  let file: IncomingFile | undefined;
  let open = computation.missing;
  let filename = "";
  let folder: string | undefined;
  let empty = 0;
  try {
    if (name !== undefined && offset > 0) file = broken.take(name, offset);
    for await (const request of watched(requests, signal, ({ dataset }) => dataset.length)) {
      upload?.heard();
      if (request.filename !== "" && request.filename !== filename) {
        // The Go CLI repeats the name; a second one is a trick (threats G-14).
        if (filename !== "" || request.filename.length > MAX_NAME) throw badName();
        if (item !== undefined && request.filename !== item.filename) throw badName();
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
        file = new IncomingFile(job.incoming(), "dataset", agent.most(item?.size));
      }
      await file.write(request.dataset);
    }
    if (file === undefined) throw noDataset();
    const digest = await file.finish();
    if (item !== undefined && digest !== item.digest) throw badDigest();
    const find = () =>
      item === undefined
        ? computation.itemFor(digest, filename, owner, open)
        : computation.expected(item);
    find();
    if (!decompress) {
      agent.commitDataset(computation, find, { file });
      if (name !== undefined) broken.received(name);
      return;
    }
    folder = job.incoming();
    const names = await unzip(file.path, folder, {
      maxBytes: agent.most(computation.manifest.limits.diskBytes),
      signal: computation.signal,
    });
    const tree = await treeDigest(folder, names);
    agent.commitDataset(computation, find, { folder, names, tree });
    if (name !== undefined) broken.received(name);
  } catch (thrown) {
    if (name !== undefined && file !== undefined && mayGoOn(thrown) && !computation.over) {
      const kept = file;
      file = undefined;
      await broken.park(name, kept);
    }
    throw thrown;
  } finally {
    upload?.leave();
    file?.[Symbol.dispose]();
    if (folder !== undefined) removeAll(folder);
  }
}
