// `cocos result`: fetches the result, and keeps it only when it is whole and safe (threats O-8):
// as many bytes as announced, a sound archive, a name that was free.
import { CocosError } from "../base/mod.ts";
import { checkArchive, extractArchive } from "./archive.ts";
import type { Context } from "./context.ts";
import { Draft, partOf, refuseExisting } from "./draft.ts";
import { credentialsOf, loadProto, readKey, withPeer } from "./peer.ts";
import type { Invocation } from "./program.ts";
import { printable } from "./terminal.ts";

type Result = Invocation & { command: "result" };

/** Path the archive is written to; with only `--extract` it is a draft that is dropped. */
export function archivePath({ output, extract = "" }: Result): string {
  return output ?? `${extract.replace(/\/+$/, "")}.zip`;
}

/** Fetches the result of an invocation. */
export async function result(invocation: Result, context: Context): Promise<void> {
  const { output, force } = invocation;
  const extract = invocation.extract?.replace(/\/+$/, "");
  const { terminal, signal } = context;
  const path = archivePath(invocation);
  const key = await readKey(invocation.key);
  await refuseExisting(path, force);
  if (extract !== undefined) await refuseExisting(extract, false);
  const { ROLES } = await loadProto();

  await withPeer("agent", ({ AgentService }) => AgentService, context, async ({ client }) => {
    terminal.say("Retrieving computation result file", { before: "⏳" });
    const metadata = await credentialsOf(ROLES.consumer, key);
    const call = client.result({}, { metadata, signal });
    // Messages are pulled at once, so that an error of the call is seen wherever it comes.
    const messages = call.messages[Symbol.asyncIterator]();
    let next = await messages.next();
    const size = sizeOf((await call.headers).get("file-size"));
    await using draft = await Draft.open(path, { mode: 0o600, force });
    const progress = terminal.progress("Downloading result", "📥", size);
    let received = 0;
    try {
      for (; next.done !== true; next = await messages.next()) {
        const { file } = next.value;
        received += file.length;
        if (received > size) {
          throw new CocosError(
            "data-loss",
            `progress update exceeds total bytes: the agent announced ${size} bytes and sent more`,
            { hint: "Nothing was kept." },
          );
        }
        await draft.write(file);
        progress.add(file.length);
      }
    } finally {
      progress.done();
      await messages.return?.();
    }
    if (received !== size) {
      throw new CocosError(
        "data-loss",
        `Cannot keep the result: the agent announced ${size} bytes and sent ${received}`,
        { hint: "Nothing was kept; ask again." },
      );
    }
    await draft.finish();
    const entries = await checkArchive(draft.part);
    if (extract !== undefined) await unpack(draft.part, extract);
    if (output !== undefined) await draft.commit();
    const where = output ?? extract;
    terminal.success(`Computation result retrieved and saved successfully as ${where}!`, {
      after: "✔",
    });
    terminal.result({
      bytes: size,
      files: entries.filter((entry) => !entry.directory).map(({ name, size }) => ({ name, size })),
      ...(output === undefined ? {} : { saved: output }),
      ...(extract === undefined ? {} : { extracted: extract }),
    });
  });
}

/** Unpacks beside, then takes the name. */
async function unpack(archive: string, directory: string): Promise<void> {
  const part = partOf(directory);
  await refuseExisting(part, false);
  try {
    await extractArchive(archive, part);
    await Deno.rename(part, directory);
  } catch (error) {
    await Deno.remove(part, { recursive: true }).catch(() => {});
    throw error;
  }
}

/** The announced size: one decimal number, as the agent's `file-size` header. */
function sizeOf(values: readonly string[]): number {
  const text = values[0] ?? "";
  const size = Number(text);
  if (values.length !== 1 || !/^\d{1,15}$/.test(text)) {
    throw new CocosError(
      "data-loss",
      `Cannot keep the result: the agent's file-size is ${
        text === "" ? "missing" : JSON.stringify(printable(text, 40))
      }`,
    );
  }
  return size;
}
