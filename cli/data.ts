// `cocos data`: streams a file, or a directory as its archive, as a data provider. In the strict mode
// it is one of the manifest's datasets: that name, that content, this key.
import { CocosError } from "../base/mod.ts";
import { AgentService, CHUNK_BYTES, datasetItem, type Methods, ROLES } from "../proto/mod.ts";
import type { AgreedDataset, Terms } from "./agreement.ts";
import type { Context } from "./context.ts";
import { publicText, refuseForeign, refuseOther, refuseUnequalFlag } from "./match.ts";
import { goesOn, persist } from "./persist.ts";
import { credentialsOf, readKey, withPeer } from "./peer.ts";
import type { Parsed } from "./program.ts";
import { withAgent } from "./strict.ts";
import { printable } from "./terminal.ts";
import { baseName, directoryPayload, filePayload, inChunks, look, type Payload } from "./upload.ts";

type Data = Parsed & { command: "data" };

/** Uploads the dataset of an invocation. */
export async function data(invocation: Data, context: Context): Promise<void> {
  const { path, decompress } = invocation;
  const { terminal } = context;
  const key = await readKey(invocation.key);
  const filename = baseName(path);
  if (filename === "" || filename === "." || filename === "..") {
    throw new CocosError(
      "invalid-argument",
      `Cannot upload ${
        JSON.stringify(path)
      } as its last part is the dataset's name in the manifest`,
      { hint: "Give the path with the name, such as ../patients." },
    );
  }
  const directory = (await look(path)).isDirectory;
  if (directory) terminal.say("Detected directory, zipping dataset...");
  const payload = directory ? await directoryPayload(path) : await filePayload(path);
  const upload = { path, filename, payload };

  if (invocation.globals.compat) {
    return await withPeer("agent", () => AgentService, context, async ({ client }) => {
      const metadata = {
        ...await credentialsOf(ROLES.data, key),
        decompress: String(decompress),
      };
      await send({ ...upload, offset: 0 }, client, metadata, {}, context);
    });
  }
  let seen = 0;
  await persist(context, (transfer) =>
    withAgent(invocation, key, context, async (strict) => {
      const { agent, agreement, facts, sign } = strict;
      const dataset = datasetOf(agreement.terms, filename, publicText(key));
      refuseForeign(`the dataset ${filename}`, dataset, key);
      if (decompress) refuseUnequalFlag("--decompress", dataset.decompress);
      if (transfer.attempt === 0) await refuseOther(`the dataset ${filename}`, dataset, payload);
      const subject = {
        item: datasetItem({ filename, index: agreement.terms.datasets.indexOf(dataset) }),
        payload: dataset.hash,
        size: dataset.size,
      };
      const { offset, metadata, committed } = await goesOn(
        strict,
        subject,
        payload,
        transfer,
        context,
      );
      if (committed) return tell(upload, facts, context);
      if (offset > seen) transfer.moved();
      seen = Math.max(seen, offset);
      const signed = await sign(AgentService.method.data, subject);
      transfer.begun();
      await send({ ...upload, offset }, agent, { ...signed, ...metadata }, facts, context);
    }));
}

/** What is sent. */
interface Upload {
  readonly path: string;
  readonly filename: string;
  readonly payload: Payload;
  /** What the agent has already. */
  readonly offset: number;
}

async function send(
  upload: Upload,
  client: Methods<typeof AgentService>,
  metadata: Record<string, string>,
  facts: Readonly<Record<string, string>>,
  context: Context,
): Promise<void> {
  const { path, filename, payload, offset } = upload;
  const { terminal, signal } = context;
  terminal.say(`Uploading dataset: ${path}`);
  const progress = terminal.progress("Uploading data", "📦", payload.size);
  progress.add(offset);
  async function* requests() {
    for await (const dataset of inChunks(payload.chunks(offset), CHUNK_BYTES)) {
      yield { dataset, filename };
      progress.add(dataset.length);
    }
  }
  try {
    await client.data(requests(), { metadata, signal });
  } finally {
    progress.done();
  }
  tell(upload, facts, context);
}

/** Says that the dataset is in. */
function tell(
  { path, filename, payload }: Omit<Upload, "offset">,
  facts: Readonly<Record<string, string>>,
  { terminal }: Context,
): void {
  terminal.success("Successfully uploaded dataset!", { after: "✔" });
  terminal.result({ uploaded: path, filename, bytes: payload.size, ...facts });
}

/** The dataset of this name. */
function datasetOf({ datasets }: Terms, filename: string, mine: string): AgreedDataset {
  const found = datasets.find((each) => each.filename === filename);
  if (found !== undefined) return found;
  const own = datasets.filter(({ userKey }) => userKey === mine)
    .map((each) => printable(JSON.stringify(each.filename), 300));
  throw new CocosError(
    "name-mismatch",
    `the manifest has no dataset ${JSON.stringify(filename)}`,
    {
      hint: own.length === 0
        ? "Nothing was sent. None of its datasets belongs to this key."
        : `Nothing was sent. This key's are ${own.join(", ")}.`,
    },
  );
}
