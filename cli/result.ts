// `cocos result`: fetches the result, and keeps it only when it is whole and safe (threats O-8):
// as many bytes as announced, a sound archive, a name that was free.
import { asCocosError, CocosError, digestFile } from "../base/mod.ts";
import type { AgentService, Methods } from "../proto/mod.ts";
import { checkArchive, extractArchive } from "./archive.ts";
import type { Context } from "./context.ts";
import { Draft, partOf, refuseExisting } from "./draft.ts";
import { credentialsOf, loadProto, readKey, withPeer } from "./peer.ts";
import type { Invocation, Parsed } from "./program.ts";
import { printable } from "./terminal.ts";

type Result = Invocation & { command: "result" };

/** Path the archive is written to; with only `--extract` it is a draft that is dropped. */
export function archivePath({ output, extract = "" }: Result): string {
  return output ?? `${extract.replace(/\/+$/, "")}.zip`;
}

/** Fetches the result of an invocation. */
export async function result(
  invocation: Parsed & { command: "result" },
  context: Context,
): Promise<void> {
  const key = await readKey(invocation.key);
  await refuseExisting(archivePath(invocation), invocation.force);
  const { extract } = invocation;
  if (extract !== undefined) await refuseExisting(extract.replace(/\/+$/, ""), false);
  const { AgentService, PartyService, RESULT_ITEM, ROLES } = await loadProto();
  if (invocation.globals.compat) {
    return await withPeer("agent", () => AgentService, context, async ({ client }) => {
      const metadata = await credentialsOf(ROLES.consumer, key);
      const { facts } = await download(invocation, client, metadata, context);
      context.terminal.result(facts);
    });
  }
  const { withAgent } = await import("./strict.ts");
  const { refuseStranger } = await import("./match.ts");
  await withAgent(invocation, key, context, async (strict) => {
    const { agent, party, agreement, sign } = strict;
    refuseStranger(agreement.terms.resultConsumers, key);
    const metadata = await sign(AgentService.method.result, { item: RESULT_ITEM });
    const { facts, digest, size } = await download(invocation, agent, metadata, context);
    // The agent purges when every consumer has said so, and not before (threats O-3).
    const receipt = { item: RESULT_ITEM, payload: digest.toHex(), size };
    await party.acknowledge({ digest }, {
      metadata: await sign(PartyService.method.acknowledge, receipt),
      signal: context.signal,
    }).catch((thrown) => {
      const { code, message } = asCocosError(thrown);
      throw new CocosError(code, `the agent was not told that the result is here: ${message}`, {
        cause: thrown,
        hint: "The result is kept. Ask again with --force, so that the computation can complete.",
      });
    });
    context.terminal.result({ ...facts, ...strict.facts });
  });
}

/** A result that is here, whole and safe. */
interface Downloaded {
  readonly facts: Record<string, unknown>;
  /** SHA3-256 of the archive. */
  readonly digest: Uint8Array;
  readonly size: number;
}

async function download(
  invocation: Parsed & { command: "result" },
  client: Methods<typeof AgentService>,
  metadata: Record<string, string>,
  { terminal, signal }: Context,
): Promise<Downloaded> {
  const { output, force, globals } = invocation;
  const extract = invocation.extract?.replace(/\/+$/, "");
  terminal.say("Retrieving computation result file", { before: "⏳" });
  const call = client.result({}, { metadata, signal });
  // Messages are pulled at once, so that an error of the call is seen wherever it comes.
  const messages = call.messages[Symbol.asyncIterator]();
  let next = await messages.next();
  const headers = await call.headers;
  const size = sizeOf(headers.get("file-size"));
  await using draft = await Draft.open(archivePath(invocation), { mode: 0o600, force });
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
  const digest = await digestFile(draft.part);
  if (!globals.compat) checkDigest(headers.get("cocos-digest"), digest.toHex());
  const entries = await checkArchive(draft.part);
  if (extract !== undefined) await unpack(draft.part, extract);
  if (output !== undefined) await draft.commit();
  terminal.success(
    `Computation result retrieved and saved successfully as ${output ?? extract}!`,
    { after: "✔" },
  );
  const facts = {
    bytes: size,
    files: entries.filter((entry) => !entry.directory).map(({ name, size }) => ({ name, size })),
    ...(output === undefined ? {} : { saved: output }),
    ...(extract === undefined ? {} : { extracted: extract }),
  };
  return { facts, digest, size };
}

/** The archive must be the one the agent announced. */
function checkDigest(values: readonly string[], found: string): void {
  if (values.length === 1 && values[0] === found) return;
  throw new CocosError(
    "data-loss",
    `Cannot keep the result: its digest is ${found}, the agent announced ${
      values.length === 1 ? JSON.stringify(printable(values[0] as string, 80)) : "none"
    }`,
    { hint: "Nothing was kept; ask again." },
  );
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
