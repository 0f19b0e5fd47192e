// One run of the CLI: arguments in, exit code out. Commands load their own code, so that `--help`
// stays quick.
import { asCocosError, CocosError, Exit, type Source } from "../base/mod.ts";
import { causes } from "./advice.ts";
import { attest, ATTEST_PREFIX, talksToAgent } from "./attest/attest.ts";
import { isAttest } from "./attest/invocation.ts";
import type { Context } from "./context.ts";
import { parse, type Parsed, VERSION } from "./program.ts";
import { type Peer, readSettings } from "./settings.ts";
import { printable, type Terminal } from "./terminal.ts";
import { isManifest } from "./trust.ts";

/** What a run needs from its process. */
export interface RunOptions {
  readonly argv: readonly string[];
  readonly env: Source;
  readonly signal: AbortSignal;
  /** Makes the outputs, once it is known whether they are JSON. */
  readonly terminal: (json: boolean) => Terminal;
  /** The clock, milliseconds since 1970; absent, the process's own. */
  readonly now?: () => number;
}

/** What an error line of each command begins with, the Go CLI's texts. */
const PREFIX: Partial<Record<Parsed["command"], string>> = {
  ...ATTEST_PREFIX,
  algo: "Failed to upload algorithm due to error: ",
  data: "Failed to upload dataset due to error: ",
  result: "Error retrieving computation result: ",
  "create-vm": "Error creating virtual machine: ",
  "remove-vm": "Error removing virtual machine: ",
  output: "Cannot show the output: ",
  "manifest show": "Cannot show the manifest: ",
  "manifest digest": "Cannot show the manifest: ",
  "manifest approve": "Cannot approve the manifest: ",
  "run explain": "Cannot explain the run: ",
  checksum: "Error computing hash: ",
  keys: "Error generating keys: ",
};

/** The peer of each command that has one. */
const PEER: Partial<Record<Parsed["command"], Peer>> = {
  algo: "agent",
  data: "agent",
  result: "agent",
  output: "agent",
  "create-vm": "manager",
  "remove-vm": "manager",
};

/** Who a command talks to; nobody for one about files alone. */
function peerOf(parsed: Parsed): Peer | undefined {
  if (isAttest(parsed)) return talksToAgent(parsed) ? "agent" : undefined;
  return isManifest(parsed) && parsed.file === undefined ? "agent" : PEER[parsed.command];
}

/** Runs one command; never throws. */
export async function run(options: RunOptions): Promise<Exit> {
  const { argv, env, signal, terminal, now = Date.now } = options;
  let parsed: Parsed;
  try {
    parsed = parse(argv);
  } catch (error) {
    return fail(terminal(argv.includes("--json")), asCocosError(error), "cocos: ", false);
  }
  const output = terminal(parsed.globals.json);
  const aborted = Promise.withResolvers<never>();
  aborted.promise.catch(() => {});
  const abort = () => aborted.reject(interrupted());
  signal.addEventListener("abort", abort, { once: true });
  try {
    const work = dispatch(parsed, { terminal: output, env, signal, now });
    try {
      return await Promise.race([work, aborted.promise]) ?? Exit.OK;
    } catch (error) {
      // Drafts are dropped by the work itself; it ends soon, because its calls are cancelled.
      if (signal.aborted) await Promise.race([work.catch(() => {}), settled(CLEAN_UP_MS)]);
      throw error;
    }
  } catch (error) {
    if (signal.aborted) return fail(output, interrupted(), "", false);
    const prefix = PREFIX[parsed.command] ?? "cocos: ";
    return fail(output, asCocosError(error), prefix, parsed.globals.verbose);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Time an interrupted command has to drop what it was writing. */
const CLEAN_UP_MS = 2_000;

function settled(ms: number): Promise<void> {
  return new Promise((resolve) => {
    Deno.unrefTimer(setTimeout(resolve, ms));
  });
}

function interrupted(): CocosError {
  return new CocosError("cancelled", "Operation aborted by user!");
}

/** Runs the command; a result is an exit code that no error explains. */
async function dispatch(parsed: Parsed, context: Context): Promise<Exit | void> {
  const { terminal } = context;
  // Wrong variables come first: the rights of everything else follow from them.
  const peer = peerOf(parsed);
  if (peer !== undefined) readSettings(peer, context.env);
  if (isAttest(parsed)) return await attest(parsed, context, parsed.globals.compat);
  switch (parsed.command) {
    case "help":
      return terminal.data(parsed.text.trimEnd(), { help: parsed.text });
    case "version":
      return terminal.data(VERSION, { version: VERSION });
    case "completion": {
      const script = (await import("./completion.ts")).completionScript(parsed.shell);
      return terminal.data(script.trimEnd(), { completion: script });
    }
    case "cvms":
      throw new CocosError("not-supported", "Cannot run the test server inside this program", {
        hint: "Run `cocos-computations cvms …`; the launcher bin/cocos does so for `cocos cvms`.",
      });
    case "keys":
      return await (await import("./keys.ts")).keys(parsed, context);
    case "algo":
      return await (await import("./algo.ts")).algo(parsed, context);
    case "data":
      return await (await import("./data.ts")).data(parsed, context);
    case "result":
      return await (await import("./result.ts")).result(parsed, context);
    case "output":
      return await (await import("./output.ts")).output(parsed, context);
    case "manifest show":
    case "manifest digest":
    case "manifest approve":
      return await (await import("./manifest_command.ts")).manifestCommand(parsed, context);
    case "run explain":
      return await (await import("./explain.ts")).explain(parsed, context);
    case "create-vm":
      return await (await import("./vm.ts")).createVm(parsed, context);
    case "remove-vm":
      return await (await import("./vm.ts")).removeVm(parsed, context);
    case "checksum":
      return await (await import("./checksum.ts")).checksum(parsed, context);
  }
}

/** Shows an error and gives its exit code. */
function fail(output: Terminal, error: CocosError, prefix: string, verbose: boolean): Exit {
  // Messages quote names and texts of files; none of them may steer the terminal.
  const message = error.message.split("\n").map((line) => printable(line)).join("\n");
  output.failure(prefix + message, prefix === "" ? {} : { after: "❌" });
  if (error.hint !== undefined) output.say(`hint: ${error.hint}`);
  const because = verbose ? causes(error.cause) : [];
  for (const line of because) output.say(`cause: ${line}`);
  output.result({
    error: {
      code: error.code,
      message: error.message,
      exit: error.exitCode,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(because.length === 0 ? {} : { causes: because }),
    },
  });
  return error.exitCode;
}
