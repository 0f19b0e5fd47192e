// The agent process: settings, self-test, recovery, session, front door; ends orderly on signals. It
// trusts neither the host that starts it nor any peer.
import {
  asCocosError,
  type CocosError,
  Exit,
  levelWord,
  messageText,
  startLogging,
} from "../base/mod.ts";
import { Agent } from "./agent.ts";
import { type AgentConfig, HELP, type Mode, readCommand } from "./config.ts";
import { introduce, management } from "./management.ts";
import { Runner } from "./runner.ts";
import { selfTest } from "./selftest.ts";
import { Session } from "./session.ts";
import { Telemetry } from "./telemetry.ts";
import { UnsentFile } from "./unsent.ts";
import { WorkArea } from "./work.ts";
import manifest from "./deno.json" with { type: "json" };

/** How long the last messages may take to leave after a signal. */
const FLUSH_MS = 1_000;

/** What each mode means, for the log. */
const MODES = {
  strict: ["info", "requests are signed whole, the manifest alone says what runs"],
  compat: ["warn", "insecure: requests are signed over the role only, as the seed-era programs do"],
} as const satisfies Record<Mode, unknown>;

if (import.meta.main) Deno.exit(await main(Deno.args));

/** Runs the agent until a signal or a fatal error; gives the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    const command = readCommand(argv, (name) => Deno.env.get(name));
    switch (command.kind) {
      case "help":
        console.log(HELP);
        return Exit.OK;
      case "version":
        console.log(`cocos-agent ${manifest.version}`);
        return Exit.OK;
      case "start":
        return await start(command.config);
    }
  } catch (thrown) {
    return complain(asCocosError(thrown));
  }
}

async function start(config: AgentConfig): Promise<number> {
  selfTest();
  const telemetry = new Telemetry(config.vars.AGENT_LOG_LEVEL);
  startLogging(config.vars.AGENT_LOG_LEVEL, (record) => {
    const level = levelWord(record.level).toLowerCase() as "debug" | "info" | "warn" | "error";
    telemetry.log(level, messageText(record));
  });
  const area = WorkArea.open(config.work);
  const unsent = new UnsentFile(area, (text) => telemetry.log("warn", text));
  telemetry.outbox.attach(unsent, unsent.read());
  const server = management(config);
  introduce(telemetry, server.serial);
  const [level, what] = MODES[config.mode];
  telemetry.log(level, `mode ${config.mode}: ${what}`);
  if (config.ignored.length > 0) {
    telemetry.log("warn", `settings the agent does not know: ${config.ignored.join(", ")}`);
  }

  const ended = new AbortController();
  const signals = ["SIGINT", "SIGTERM"] as const;
  const stop = () => {
    // Launchers and terminals may deliver a signal twice.
    if (ended.signal.aborted) return;
    telemetry.log("info", "Received signal, shutting down...");
    ended.abort();
  };
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  try {
    await using agent = new Agent({
      config,
      area,
      runner: new Runner(config.runner),
      telemetry,
    });
    await agent.start();
    const closed = new AbortController();
    const session = new Session({
      connect: server.connect,
      commands: agent,
      telemetry,
      firstMs: config.vars.AGENT_CVM_GRPC_TIMEOUT,
    });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const finish = () => {
      session.finish();
      timer = setTimeout(() => closed.abort(), FLUSH_MS);
    };
    ended.signal.addEventListener("abort", finish, { once: true });
    if (ended.signal.aborted) finish();
    await session.run(closed.signal);
    clearTimeout(timer);
    return Exit.OK;
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, stop);
  }
}

function complain(error: CocosError): number {
  console.error(`cocos-agent: ${error.message}`);
  if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
  return error.exitCode === Exit.OK ? Exit.FAILURE : error.exitCode;
}
