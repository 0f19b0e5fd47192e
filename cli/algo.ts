// `cocos algo`: signs as algorithm provider and streams requirements, then the program.
import { CocosError } from "../base/mod.ts";
import type { Context } from "./context.ts";
import { credentialsOf, loadProto, readKey, withPeer } from "./peer.ts";
import type { Invocation } from "./program.ts";
import { filePayload, inChunks, type Payload, wheelhousePayload } from "./upload.ts";

type Algo = Invocation & { command: "algo" };

/** Arguments travel as headers: what fits a header list together with the signature. */
const MAX_ARGUMENTS = 8 * 1024;

/** Uploads the algorithm of an invocation. */
export async function algo(invocation: Algo, context: Context): Promise<void> {
  const { file, type, pythonRuntime, args } = invocation;
  checkOptions(invocation);
  const { CHUNK_BYTES, ROLES } = await loadProto();
  const key = await readKey(invocation.key);
  const program = await filePayload(file);
  const requirements = await requirementsOf(invocation);
  const total = program.size + (requirements?.size ?? 0);
  const { terminal, signal } = context;

  await withPeer("agent", ({ AgentService }) => AgentService, context, async ({ client }) => {
    terminal.say(`Uploading algorithm file: ${file}`);
    const progress = terminal.progress("Uploading algorithm", "🚀", total);
    async function* requests() {
      if (requirements !== undefined) {
        for await (const chunk of inChunks(requirements.chunks, CHUNK_BYTES)) {
          yield { requirements: chunk };
          progress.add(chunk.length);
        }
      }
      for await (const chunk of inChunks(program.chunks, CHUNK_BYTES)) {
        yield { algorithm: chunk };
        progress.add(chunk.length);
      }
    }
    try {
      await client.algo(requests(), {
        metadata: {
          ...await credentialsOf(ROLES.algorithm, key),
          algo_type: type,
          algo_args: args,
          python_runtime: pythonRuntime,
        },
        signal,
      });
    } finally {
      progress.done();
    }
    terminal.success("Successfully uploaded algorithm!", { after: "✔" });
    terminal.result({
      uploaded: file,
      type,
      bytes: program.size,
      ...(requirements === undefined ? {} : { requirements_bytes: requirements.size }),
    });
  });
}

/** Refuses what the agent could only refuse after the upload. */
function checkOptions({ type, requirements, wheelhouse, args, pythonRuntime }: Algo): void {
  const usage = (message: string) => new CocosError("invalid-argument", message);
  if (type !== "python" && (requirements ?? wheelhouse) !== undefined) {
    throw usage(`Cannot send requirements with a ${type} algorithm: they are Python's (-a python)`);
  }
  for (const text of [...args, pythonRuntime]) {
    if (!/^[\x20-\x7e]*$/.test(text) || text !== text.trim()) {
      throw usage(
        `Cannot send ${JSON.stringify(text)}: arguments travel as headers, which carry printable ` +
          "ASCII without spaces at the ends",
      );
    }
  }
  const size = args.reduce((sum, text) => sum + text.length, 0);
  if (size > MAX_ARGUMENTS) {
    throw usage(`Cannot send ${size} characters of arguments: at most ${MAX_ARGUMENTS} fit`);
  }
}

async function requirementsOf({ requirements, wheelhouse }: Algo): Promise<Payload | undefined> {
  if (wheelhouse !== undefined) return await wheelhousePayload(wheelhouse, requirements);
  return requirements === undefined ? undefined : await filePayload(requirements);
}
