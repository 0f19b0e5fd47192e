// The real runner process for tests, through its launcher, with a folder that both can work in.

/** Group that agent and runner share when root starts them (bin/cocos-runner). */
const SHARED_GROUP = 62_000;

/** How long the launcher may take. */
const START_MS = 60_000;

/** A runner with its work area; the agent of the test is the test's own user. */
export class RealRunner implements AsyncDisposable {
  readonly work: string;
  readonly socket: string;
  readonly #child: Deno.ChildProcess;
  readonly #lines: string[] = [];
  readonly #drained: Promise<void>;

  private constructor(folder: string, flags: readonly string[], wrap: readonly string[]) {
    this.work = `${folder}/work`;
    this.socket = `${folder}/run/runner.sock`;
    const launcher = new URL("../bin/cocos-runner", import.meta.url).pathname;
    const [program = "", ...words] = [...wrap, launcher];
    const child = new Deno.Command(program, {
      args: [...words, "--work", this.work, "--socket", this.socket, ...flags],
      env: { COCOS_DENO: Deno.execPath() },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#child = child;
    this.#drained = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
        this.#lines.push(text);
      }
    })();
  }

  /**
   * Starts it in a folder that is the test's own.
   *
   * @param wrap words of a command that becomes the launcher
   * @param flags more flags of the launcher
   */
  static async start(
    folder: string,
    wrap: readonly string[] = [],
    flags: readonly string[] = [],
  ): Promise<RealRunner> {
    const root = Deno.uid() === 0;
    for (const name of ["work", "run"]) {
      Deno.mkdirSync(`${folder}/${name}`);
      if (root) Deno.chownSync(`${folder}/${name}`, null, SHARED_GROUP);
      Deno.chmodSync(`${folder}/${name}`, root ? 0o2770 : 0o700);
    }
    // Its user has to find its way.
    Deno.chmodSync(folder, 0o711);
    const watcher = Deno.watchFs(`${folder}/run`);
    const runner = new RealRunner(
      folder,
      root ? flags : [...flags, "--insecure-no-cgroup"],
      wrap,
    );
    const timer = setTimeout(() => watcher.close(), START_MS);
    runner.#child.status.then(() => watcher.close()).catch(() => {});
    for await (const _ of watcher) {
      if (await runner.#answers()) {
        clearTimeout(timer);
        return runner;
      }
    }
    clearTimeout(timer);
    throw new Error(`the runner did not start: ${runner.#lines.join("")}`);
  }

  async #answers(): Promise<boolean> {
    try {
      (await Deno.connect({ transport: "unix", path: this.socket })).close();
      return true;
    } catch {
      return false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGTERM");
    } catch {
      // It has ended by itself.
    }
    await this.#child.status;
    await this.#drained;
  }
}
