// `cocos result`: fetches the result, and keeps it only when it is whole and safe (threats O-8):
// as many bytes as announced, a sound archive, a name that was free.
import { asCocosError, CocosError, Hasher } from "../base/mod.ts";
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
  const { AgentService, DIGEST_KEY, OFFSET_KEY, PartyService, RESULT_ITEM, ROLES } =
    await loadProto();
  await using download = new Download(invocation, context);
  if (invocation.globals.compat) {
    return await withPeer("agent", () => AgentService, context, async ({ client }) => {
      const metadata = await credentialsOf(ROLES.consumer, key);
      await download.fetch(client, metadata, () => {});
      context.terminal.result((await download.finish()).facts);
    });
  }
  const { withAgent } = await import("./strict.ts");
  const { refuseStranger } = await import("./match.ts");
  const { persist } = await import("./persist.ts");
  await persist(
    context,
    ({ begun, moved }) =>
      withAgent(invocation, key, context, async (strict) => {
        const { agent, party, agreement, sign } = strict;
        refuseStranger(agreement.terms.resultConsumers, key);
        if (!download.whole) {
          const metadata = await sign(AgentService.method.result, { item: RESULT_ITEM });
          const { received, announced } = download;
          const goesOn = received === 0
            ? {}
            : { [OFFSET_KEY]: String(received), [DIGEST_KEY]: announced };
          begun();
          await download.fetch(agent, { ...metadata, ...goesOn }, moved);
        }
        const { facts, digest, size } = await download.finish();
        // The agent purges when every consumer has said so, and not before (threats O-3).
        const receipt = { item: RESULT_ITEM, payload: digest.toHex(), size };
        await party.acknowledge({ digest }, {
          metadata: await sign(PartyService.method.acknowledge, receipt),
          signal: context.signal,
        }).catch((thrown) => {
          const { code, message } = asCocosError(thrown);
          throw new CocosError(code, `the agent was not told that the result is here: ${message}`, {
            cause: thrown,
            hint:
              "The result is kept. Ask again with --force, so that the computation can complete.",
          });
        });
        context.terminal.result({ ...facts, ...strict.facts });
      }),
  );
}

/** A result that is here, whole and safe. */
interface Downloaded {
  readonly facts: Record<string, unknown>;
  /** SHA3-256 of the archive. */
  readonly digest: Uint8Array;
  readonly size: number;
}

/** A download, over one connection or several. */
class Download implements AsyncDisposable {
  readonly #invocation: Parsed & { command: "result" };
  readonly #context: Context;
  readonly #hash = new Hasher();
  #draft: Draft | undefined;
  #size = -1;
  #announced = "";
  #received = 0;
  #done: Downloaded | undefined;

  constructor(invocation: Parsed & { command: "result" }, context: Context) {
    this.#invocation = invocation;
    this.#context = context;
  }

  /** Bytes that are here. */
  get received(): number {
    return this.#received;
  }

  /** The archive's digest as the agent says it; empty in compat. */
  get announced(): string {
    return this.#announced;
  }

  /** Whether every byte is here. */
  get whole(): boolean {
    return this.#received === this.#size;
  }

  /** Fetches what is missing; `moved` is told when some of it is here. */
  async fetch(
    client: Methods<typeof AgentService>,
    metadata: Record<string, string>,
    moved: () => void,
  ): Promise<void> {
    const { terminal, signal } = this.#context;
    const { force, globals } = this.#invocation;
    terminal.say(
      this.#received === 0
        ? "Retrieving computation result file"
        : `Going on with the result at byte ${this.#received}`,
      { before: "⏳" },
    );
    const call = client.result({}, { metadata, signal });
    // Messages are pulled at once, so that an error of the call is seen wherever it comes.
    const messages = call.messages[Symbol.asyncIterator]();
    let next = await messages.next();
    const headers = await call.headers;
    const size = sizeOf(headers.get("file-size"));
    const announced = globals.compat ? "" : digestOf(headers.get("cocos-digest"));
    if (this.#draft !== undefined && (size !== this.#size || announced !== this.#announced)) {
      throw new CocosError(
        "data-loss",
        "Cannot keep the result: it is another than the one begun",
        {
          hint: "Nothing was kept; ask again.",
        },
      );
    }
    this.#size = size;
    this.#announced = announced;
    const draft = this.#draft ??= await Draft.open(archivePath(this.#invocation), {
      mode: 0o600,
      force,
    });
    const progress = terminal.progress("Downloading result", "📥", size);
    progress.add(this.#received);
    try {
      for (; next.done !== true; next = await messages.next()) {
        const { file } = next.value;
        if (this.#received + file.length > size) {
          throw new CocosError(
            "data-loss",
            `progress update exceeds total bytes: the agent announced ${size} bytes and sent more`,
            { hint: "Nothing was kept." },
          );
        }
        await Promise.all([draft.write(file), this.#hash.update(file)]);
        this.#received += file.length;
        if (file.length > 0) moved();
        progress.add(file.length);
      }
    } finally {
      progress.done();
      await messages.return?.();
    }
    if (!this.whole) {
      throw new CocosError(
        "data-loss",
        `Cannot keep the result: the agent announced ${size} bytes and sent ${this.#received}`,
        { hint: "Nothing was kept; ask again." },
      );
    }
  }

  /** Checks the whole, and gives it its name; once. */
  async finish(): Promise<Downloaded> {
    return this.#done ??= await this.#keep(this.#draft as Draft);
  }

  async #keep(draft: Draft): Promise<Downloaded> {
    const { output, globals } = this.#invocation;
    const extract = this.#invocation.extract?.replace(/\/+$/, "");
    await draft.finish();
    const digest = await this.#hash.digest();
    if (!globals.compat && digest.toHex() !== this.#announced) {
      throw otherDigest(this.#announced, digest.toHex());
    }
    const entries = await checkArchive(draft.part);
    if (extract !== undefined) await unpack(draft.part, extract);
    if (output !== undefined) await draft.commit();
    this.#context.terminal.success(
      `Computation result retrieved and saved successfully as ${output ?? extract}!`,
      { after: "✔" },
    );
    const facts = {
      bytes: this.#size,
      files: entries.filter((entry) => !entry.directory).map(({ name, size }) => ({ name, size })),
      ...(output === undefined ? {} : { saved: output }),
      ...(extract === undefined ? {} : { extracted: extract }),
    };
    return { facts, digest, size: this.#size };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#hash[Symbol.dispose]();
    await this.#draft?.[Symbol.asyncDispose]();
  }
}

/** The digest the agent announces; any text, as it is compared. */
function digestOf(values: readonly string[]): string {
  return values.length === 1 ? values[0] as string : "";
}

/** The archive is not the one the agent announced. */
function otherDigest(announced: string, found: string): CocosError {
  return new CocosError(
    "data-loss",
    `Cannot keep the result: its digest is ${found}, the agent announced ${
      announced === "" ? "none" : JSON.stringify(printable(announced, 80))
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
