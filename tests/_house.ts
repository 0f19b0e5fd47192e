// Programs of the house as a person starts them: through their launchers, on loopback, in a folder
// of their own; and what of them is left when they have ended. Shared by e2e, interop and bench.
const root = new URL("../", import.meta.url).pathname;

/** How a program ended, and what it said. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that stays. */
export interface Program {
  readonly name: string;
  readonly pid: number;
  /** Lines of both outputs so far. */
  readonly lines: readonly string[];
  readonly ended: Promise<Deno.CommandStatus>;
  /** The next line that fits, also one that has come already; rejects when the program ends. */
  until(wanted: (line: string) => boolean, what: string, limitMs?: number): Promise<string>;
  /** Writes a line to its standard input, which only {@linkcode House.startAt} opens. */
  say(line: string): Promise<void>;
  /** Ends it by a signal; resolves when it is gone. */
  stop(signal?: Deno.Signal): Promise<Deno.CommandStatus>;
}

/** Longest wait for anything: a busy machine is slow, a hung program is a failure. */
const LIMIT_MS = 60_000;

/** How long the last words of a program may take after its end. */
const DRAIN_MS = 5_000;

/** A folder and the programs started in it. Dispose it: they end in reverse order, it is removed. */
export class House implements AsyncDisposable {
  /** Folder under `.cache`, readable by the uids that launchers drop to. */
  readonly folder: string;
  readonly #programs: Program[] = [];
  readonly #env: Record<string, string>;

  private constructor(folder: string) {
    this.folder = folder;
    this.#env = { COCOS_DENO: Deno.execPath(), NO_COLOR: "1" };
  }

  /** Opens a fresh house. */
  static async open(name: string): Promise<House> {
    const cache = `${root}.cache`;
    await Deno.mkdir(cache, { recursive: true });
    const folder = await Deno.makeTempDir({ dir: cache, prefix: `${name}-` });
    await Deno.chmod(folder, 0o755);
    return new House(folder);
  }

  /** Path of a file of the project. */
  static path(name: string): string {
    return `${root}${name}`;
  }

  /** Path of a file in this folder. */
  path(name: string): string {
    return `${this.folder}/${name}`;
  }

  /** Variables of a person whose home is a folder in here; Deno's cache stays where it is. */
  home(name: string): Record<string, string> {
    return { HOME: this.path(name), DENO_DIR: denoDir() };
  }

  /** Writes a file in this folder; gives its path. */
  async write(name: string, content: string | Uint8Array, mode = 0o644): Promise<string> {
    const path = this.path(name);
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    if (typeof content === "string") await Deno.writeTextFile(path, content);
    else await Deno.writeFile(path, content);
    await Deno.chmod(path, mode);
    return path;
  }

  /** Runs a launcher of `bin/` to its end. */
  run(
    launcher: string,
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<Ended> {
    return this.runAt(`${root}bin/${launcher}`, args, env);
  }

  /** Runs any program to its end. */
  async runAt(
    path: string,
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<Ended> {
    const { code, stdout, stderr } = await new Deno.Command(path, {
      args: [...args],
      cwd: this.folder,
      env: { ...this.#env, ...env },
      stdin: "null",
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout), stderr: text(stderr) };
  }

  /** Starts a launcher of `bin/`. */
  start(launcher: string, args: readonly string[], env: Record<string, string> = {}): Program {
    return this.startAt(launcher, `${root}bin/${launcher}`, args, env);
  }

  /** Starts any program. */
  startAt(
    name: string,
    path: string,
    args: readonly string[],
    env: Record<string, string> = {},
  ): Program {
    const child = new Deno.Command(path, {
      args: [...args],
      cwd: this.folder,
      env: { ...this.#env, ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const program = watch(name, child);
    this.#programs.push(program);
    return program;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const program of this.#programs.reverse()) await program.stop();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** Reads what a program says, and answers who waits for it. */
function watch(name: string, child: Deno.ChildProcess): Program {
  const lines: string[] = [];
  const waiting = new Set<(line: string) => void>();
  const read = async (stream: ReadableStream<Uint8Array>) => {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() as string;
      for (const line of parts) {
        lines.push(line);
        for (const look of [...waiting]) look(line);
      }
    }
    if (rest !== "") lines.push(rest);
  };
  const drained = Promise.all([read(child.stdout), read(child.stderr)]);
  let over = false;
  const ended = child.status.then(async (status) => {
    over = true;
    // A process it left behind may hold its outputs open; the test that looks for such must get on.
    const patience = Promise.withResolvers<void>();
    const timer = setTimeout(patience.resolve, DRAIN_MS);
    await Promise.race([drained, patience.promise]);
    clearTimeout(timer);
    return status;
  });
  const until: Program["until"] = (wanted, what, limitMs = LIMIT_MS) => {
    const found = lines.find(wanted);
    if (found !== undefined) return Promise.resolve(found);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const fail = (why: string) =>
      reject(
        new Error(`${name}: ${what}: ${why}; its last lines:\n${lines.slice(-20).join("\n")}`),
      );
    const look = (line: string) => {
      try {
        if (wanted(line)) resolve(line);
      } catch (error) {
        reject(error);
      }
    };
    waiting.add(look);
    const timer = setTimeout(() => fail(`not within ${limitMs} ms`), limitMs);
    ended.then(({ code }) => fail(`it ended with exit code ${code}`));
    return promise.finally(() => {
      clearTimeout(timer);
      waiting.delete(look);
    });
  };
  const input = child.stdin.getWriter();
  // A program that has ended takes no more words; whoever waits for its answer hears that.
  ended.then(() => input.close()).catch(() => {});
  const say = (line: string) => input.write(new TextEncoder().encode(`${line}\n`));
  const stop: Program["stop"] = async (signal = "SIGTERM") => {
    if (over) return await ended;
    child.kill(signal);
    const timer = setTimeout(() => {
      if (!over) child.kill("SIGKILL");
    }, 30_000);
    return await ended.finally(() => clearTimeout(timer));
  };
  return { name, pid: child.pid, lines, ended, until, say, stop };
}

/** Where Deno keeps packages, as it finds the folder itself. */
function denoDir(): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  return Deno.env.get("DENO_DIR") ?? `${cache}/deno`;
}

/** A port of 127.0.0.1 that nothing listens on. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Whether something listens on a port of 127.0.0.1. */
export async function listens(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}

/** Processes whose command line holds `text`, as `pid command`; a program's folder finds its own. */
export async function processesWith(text: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("ps", { args: ["-e", "-ww", "-o", "pid=,args="] })
    .output();
  return new TextDecoder().decode(stdout).split("\n")
    .filter((line) => line.includes(text) && !line.includes("ps -e -ww"));
}

/** Entries of a folder, sorted; one that doesn't exist has none. */
export function entries(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
