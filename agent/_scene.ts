// A test's ordinary surroundings: a folder, a management server, a runner and an agent with a session.
import type { TlsServer } from "../proto/mod.ts";
import {
  type Behaviour,
  type Connection,
  FakeManagement,
  FakeRunner,
  finished,
  TestAgent,
} from "./_fakes.ts";
import type { Mode } from "./config.ts";
import type { RunnerTimes } from "./runner.ts";

/** Everything an ordinary test needs: a folder, a server, a runner and an agent with a session. */
export class Scene implements AsyncDisposable {
  readonly work: string;
  readonly management: FakeManagement;
  readonly runner: FakeRunner;
  readonly agent: TestAgent;
  readonly #folder: string;
  #connection: Connection;

  private constructor(
    folder: string,
    management: FakeManagement,
    runner: FakeRunner,
    agent: TestAgent,
    connection: Connection,
  ) {
    this.#folder = folder;
    this.work = `${folder}/work`;
    this.management = management;
    this.runner = runner;
    this.agent = agent;
    this.#connection = connection;
  }

  static async start(options: {
    behaviour?: Behaviour;
    env?: Record<string, string>;
    argv?: string[];
    serverTls?: TlsServer;
    /** Default `compat`. */
    mode?: Mode;
    times?: Partial<RunnerTimes>;
  } = {}): Promise<Scene> {
    const folder = await Deno.makeTempDir();
    const work = `${folder}/work`;
    Deno.mkdirSync(work, { mode: 0o700 });
    const management = await FakeManagement.start(0, options.serverTls);
    const runner = new FakeRunner(
      `${folder}/runner.sock`,
      work,
      options.behaviour ?? (() => Promise.resolve(finished("ok"))),
    );
    const agent = await TestAgent.start({
      work,
      server: management.port,
      runner: runner.socket,
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.argv === undefined ? {} : { argv: options.argv }),
      ...(options.mode === undefined ? {} : { mode: options.mode }),
      ...(options.times === undefined ? {} : { times: options.times }),
    });
    return new Scene(folder, management, runner, agent, await management.next());
  }

  /** The stream that is open now. */
  get server(): Connection {
    return this.#connection;
  }

  /** Waits for the agent's next stream. */
  async reconnected(): Promise<Connection> {
    this.#connection = await this.management.next();
    return this.#connection;
  }

  /**
   * Names in the work area, below a job's folder with the job's own name replaced; without the
   * events that wait for the server's word, which come and go by themselves.
   */
  files(): string[] {
    const found: string[] = [];
    const visit = (path: string) => {
      for (const { name, isDirectory } of Deno.readDirSync(`${this.work}${path}`)) {
        const shown = `${path}/${name}`.replace(/job-[0-9a-f]{16}/, "job");
        if (isDirectory) visit(`${path}/${name}`);
        else found.push(shown);
      }
    };
    visit("");
    return found.filter((name) => !/^\/unsent\.json(\.new)?$/.test(name)).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.management[Symbol.asyncDispose]();
    await this.runner[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true });
  }
}
