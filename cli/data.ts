// `cocos data`: signs as data provider and streams a file, or a directory as its archive.
import { CocosError } from "../base/mod.ts";
import type { Context } from "./context.ts";
import { credentialsOf, loadProto, readKey, withPeer } from "./peer.ts";
import type { Invocation } from "./program.ts";
import { baseName, directoryPayload, filePayload, inChunks, look } from "./upload.ts";

/** Uploads the dataset of an invocation. */
export async function data(
  { path, key: keyPath, decompress }: Invocation & { command: "data" },
  context: Context,
): Promise<void> {
  const { terminal, signal } = context;
  const { CHUNK_BYTES, ROLES } = await loadProto();
  const key = await readKey(keyPath);
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

  await withPeer("agent", ({ AgentService }) => AgentService, context, async ({ client }) => {
    terminal.say(`Uploading dataset: ${path}`);
    const progress = terminal.progress("Uploading data", "📦", payload.size);
    async function* requests() {
      for await (const dataset of inChunks(payload.chunks, CHUNK_BYTES)) {
        yield { dataset, filename };
        progress.add(dataset.length);
      }
    }
    try {
      await client.data(requests(), {
        metadata: { ...await credentialsOf(ROLES.data, key), decompress: String(decompress) },
        signal,
      });
    } finally {
      progress.done();
    }
    terminal.success("Successfully uploaded dataset!", { after: "✔" });
    terminal.result({ uploaded: path, filename, bytes: payload.size });
  });
}
