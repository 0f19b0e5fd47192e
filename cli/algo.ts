// `cocos algo`: streams requirements, then the program, as the algorithm provider. In the strict mode
// what runs is what the manifest says; the command line may only repeat it.
import { CocosError } from "../base/mod.ts";
import { AgentService, ALGORITHM_ITEM, CHUNK_BYTES, type Methods, ROLES } from "../proto/mod.ts";
import type { AgreedAlgorithm } from "./agreement.ts";
import type { Context } from "./context.ts";
import { refuseForeign, refuseOther, refuseUnequal } from "./match.ts";
import { goesOn, persist } from "./persist.ts";
import { credentialsOf, readKey, withPeer } from "./peer.ts";
import type { Parsed } from "./program.ts";
import { withAgent } from "./strict.ts";
import { filePayload, inChunks, type Payload, wheelhousePayload } from "./upload.ts";

type Algo = Parsed & { command: "algo" };

/** Arguments travel as headers: what fits a header list together with the signature. */
const MAX_ARGUMENTS = 8 * 1024;

/** Uploads the algorithm of an invocation. */
export async function algo(invocation: Algo, context: Context): Promise<void> {
  const { compat } = invocation.globals;
  const { type = "bin", pythonRuntime = "python3", args } = invocation;
  if (compat) checkHeaders({ ...invocation, type, pythonRuntime });
  const key = await readKey(invocation.key);
  const program = await filePayload(invocation.file);
  const requirements = await requirementsOf(invocation);
  const upload = { file: invocation.file, program, requirements };
  if (compat) {
    return await withPeer("agent", () => AgentService, context, async ({ client }) => {
      const metadata = {
        ...await credentialsOf(ROLES.algorithm, key),
        algo_type: type,
        algo_args: args,
        python_runtime: pythonRuntime,
      };
      await send({ ...upload, offset: 0 }, client, metadata, { type }, context);
    });
  }
  let seen = 0;
  await persist(context, (transfer) =>
    withAgent(invocation, key, context, async (strict) => {
      const { agent, agreement, facts, sign } = strict;
      const { algorithm } = agreement.terms;
      refuseForeign("the algorithm", algorithm, key);
      refuseOtherRun(invocation, algorithm);
      if (transfer.attempt === 0) {
        await refuseOther("the algorithm", algorithm, program);
        await refuseOtherRequirements(algorithm, requirements);
      }
      const subject = {
        item: ALGORITHM_ITEM,
        payload: algorithm.hash,
        size: algorithm.size,
      };
      // With requirements the agent holds nothing: they come first and belong to the same upload.
      const { offset, metadata, committed } = requirements === undefined || transfer.attempt > 0
        ? await goesOn(strict, subject, program, transfer, context)
        : { offset: 0, metadata: {}, committed: false };
      if (offset > seen) transfer.moved();
      seen = Math.max(seen, offset);
      const more = { type: algorithm.type, ...facts };
      if (committed) return tell(upload, more, context);
      const signed = await sign(AgentService.method.algo, subject);
      transfer.begun();
      await send({ ...upload, offset }, agent, { ...signed, ...metadata }, more, context);
    }));
}

/** What is sent. */
interface Upload {
  readonly file: string;
  readonly program: Payload;
  readonly requirements: Payload | undefined;
  /** Bytes of the program the agent has already. */
  readonly offset: number;
}

async function send(
  upload: Upload,
  client: Methods<typeof AgentService>,
  metadata: Record<string, string | readonly string[]>,
  facts: Record<string, string>,
  context: Context,
): Promise<void> {
  const { file, program, requirements, offset } = upload;
  const { terminal, signal } = context;
  terminal.say(`Uploading algorithm file: ${file}`);
  const total = program.size + (requirements?.size ?? 0);
  const progress = terminal.progress("Uploading algorithm", "🚀", total);
  progress.add(offset);
  async function* requests() {
    if (requirements !== undefined) {
      for await (const chunk of inChunks(requirements.chunks(), CHUNK_BYTES)) {
        yield { requirements: chunk };
        progress.add(chunk.length);
      }
    }
    for await (const chunk of inChunks(program.chunks(offset), CHUNK_BYTES)) {
      yield { algorithm: chunk };
      progress.add(chunk.length);
    }
  }
  try {
    await client.algo(requests(), { metadata, signal });
  } finally {
    progress.done();
  }
  tell(upload, facts, context);
}

/** Says that the algorithm is in. */
function tell(
  { file, program, requirements }: Omit<Upload, "offset">,
  facts: Record<string, string>,
  { terminal }: Context,
): void {
  terminal.success("Successfully uploaded algorithm!", { after: "✔" });
  terminal.result({
    uploaded: file,
    ...facts,
    bytes: program.size,
    ...(requirements === undefined ? {} : { requirements_bytes: requirements.size }),
  });
}

/** What the command line repeats of the manifest must be the same. */
function refuseOtherRun(
  { type, pythonRuntime, args }: Algo,
  algorithm: AgreedAlgorithm,
): void {
  refuseUnequal("-a", type, algorithm.type);
  refuseUnequal("--python-runtime", pythonRuntime, algorithm.runtime || "python3");
  refuseUnequal("--args", args.length === 0 ? undefined : args, algorithm.args);
}

async function refuseOtherRequirements(
  { requirementsHash }: AgreedAlgorithm,
  requirements: Payload | undefined,
): Promise<void> {
  const found = requirements === undefined ? "" : (await requirements.digest()).toHex();
  if (found === requirementsHash) return;
  const hint = "Nothing was sent. Requirements are given with -r or --wheelhouse.";
  if (found === "" || requirementsHash === "") {
    throw new CocosError(
      "untrusted",
      found === ""
        ? "the manifest has requirements, and none are given"
        : "requirements are given, and the manifest has none",
      { hint },
    );
  }
  throw new CocosError(
    "digest-mismatch",
    `the requirements have the digest ${found}, in the manifest they have ${requirementsHash}`,
    { hint },
  );
}

/** Refuses what the agent could only refuse after the upload. */
function checkHeaders(
  { type, requirements, wheelhouse, args, pythonRuntime = "" }: Algo,
): void {
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
