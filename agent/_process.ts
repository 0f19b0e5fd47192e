// Starts the real agent process for tests, with exactly the rights rights.ts gives it.
import { AgentService, connect, type RpcClient } from "../proto/mod.ts";
import type { Connection, FakeManagement } from "./_fakes.ts";
import { type Mode, readCommand } from "./config.ts";
import { rights } from "./rights.ts";

/** A running agent process. */
export class AgentProcess implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly port: number;
  readonly #child: Deno.ChildProcess;
  readonly #drained: Promise<unknown>;

  constructor(options: {
    work: string;
    runner: string;
    server: number;
    port: number;
    /** File for Deno's record of every permission it is asked for. */
    audit?: string;
    argv?: string[];
    /** Default `compat`. */
    mode?: Mode;
    env?: Record<string, string>;
    /** What is run in main.ts's place. */
    program?: "./main.ts" | "./_faulty.ts";
    /** Flags for Deno, before the program. */
    flags?: readonly string[];
    /** A command that becomes the agent: its words go before Deno's. */
    wrap?: readonly string[];
  }) {
    this.port = options.port;
    const env: Record<string, string> = {
      AGENT_CVM_GRPC_URL: `127.0.0.1:${options.server}`,
      AGENT_GRPC_HOST: "127.0.0.1",
      AGENT_GRPC_PORT: String(options.port),
      ...options.env,
    };
    const argv = ["--work", options.work, "--runner", options.runner, ...options.argv ?? []];
    if (options.mode !== "strict") argv.push("--compat");
    const command = readCommand(argv, (name) => env[name]);
    if (command.kind !== "start") throw new Error("no start");
    const main = new URL(options.program ?? "./main.ts", import.meta.url);
    const [program = "", ...wrap] = [...options.wrap ?? [], Deno.execPath()];
    this.#child = new Deno.Command(program, {
      args: [
        ...wrap,
        ...["run", "-P", "--quiet", "--no-prompt", "--cached-only", "--no-check"],
        ...rights(command.config),
        ...options.flags ?? [],
        main.pathname,
        ...argv,
      ],
      env: {
        ...env,
        ...(options.audit === undefined ? {} : { DENO_AUDIT_PERMISSIONS: options.audit }),
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
      let rest = "";
      for await (const text of stream.pipeThrough(new TextDecoderStream())) {
        const parts = (rest + text).split("\n");
        rest = parts.pop() ?? "";
        this.lines.push(...parts);
      }
      if (rest !== "") this.lines.push(rest);
    };
    this.#drained = Promise.all([read(this.#child.stdout), read(this.#child.stderr)]);
  }

  /** A client of the front door. */
  client(): RpcClient<typeof AgentService> {
    return connect(AgentService, {
      target: { host: "127.0.0.1", port: this.port },
      security: { kind: "none" },
    });
  }

  /** Number of the process. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Sends it a signal that does not end it by itself. */
  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Ends the process; gives its exit code. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<number> {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended by itself.
    }
    return await this.exit();
  }

  /**
   * The process's next stream to a management server.
   *
   * @throws {Error} with all it printed when it ends instead.
   */
  async connected(management: FakeManagement): Promise<Connection> {
    const ended = this.exit().then((code) => {
      throw new Error(`the agent ended with ${code}: ${this.lines.join("\n")}`);
    });
    ended.catch(() => {});
    return await Promise.race([management.next(), ended]);
  }

  /** Waits for the process's own end. */
  async exit(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#drained;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
  }
}
