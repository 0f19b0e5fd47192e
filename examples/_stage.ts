// The demo's stage: child processes that end with it, a folder that goes with it, and steps that
// are shown as a person would type them.

const root = new URL("../", import.meta.url).pathname;
const encoder = new TextEncoder();

/** A program that runs in the background, its log in a file. */
export interface Background {
  readonly name: string;
  readonly log: string;
  /** Lines it has printed so far, on stdout and stderr. */
  readonly lines: string[];
  /** Resolves with the first line, past or future, that `wanted` takes. */
  until(wanted: (line: string) => boolean, limitMs: number): Promise<string>;
}

/** Why the demo stops before its end. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
}

/** Owns everything the demo starts; disposing it leaves nothing behind. */
export class Stage implements AsyncDisposable {
  readonly #children: { name: string; child: Deno.ChildProcess; ended: Promise<unknown> }[] = [];
  readonly #stopped = Promise.withResolvers<never>();
  readonly #parent = Deno.ppid;
  readonly #watch: ReturnType<typeof setInterval>;
  readonly #times: [string, number][] = [];
  readonly folder: string;
  #logs: string | undefined;
  #step = 0;

  constructor(cache: string) {
    Deno.mkdirSync(cache, { recursive: true });
    this.folder = Deno.makeTempDirSync({ dir: cache, prefix: "demo-" });
    this.#stopped.promise.catch(() => {});
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      Deno.addSignalListener(signal, this.stop);
    }
    // npx does not pass SIGTERM on: an orphan ends itself (a poll, because there is no event).
    this.#watch = setInterval(() => {
      if (Deno.ppid !== this.#parent) this.stop();
    }, 500);
  }

  /** Ends the demo at its next wait. */
  readonly stop = () => this.#stopped.reject(new Interrupted("Interrupted"));

  /** Waits for something, but not past the demo's end. */
  wait<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#stopped.promise]);
  }

  /** Says what a step does, runs it and keeps its time. */
  async step<T>(title: string, work: () => Promise<T>): Promise<T> {
    say(`\n${bold(`${++this.#step}. ${title}`)}`);
    const started = performance.now();
    const value = await this.wait(work());
    this.#times.push([title, performance.now() - started]);
    return value;
  }

  /** Seconds of each step. */
  times(): string {
    const rows = this.#times.map(([title, ms]) => `  ${seconds(ms)}  ${title}`);
    const whole = this.#times.reduce((sum, [, ms]) => sum + ms, 0);
    return [...rows, `  ${seconds(whole)}  in all`].join("\n");
  }

  /** Runs a program to its end, showing the line that stands for it; rejects when it fails. */
  async run(
    program: string,
    args: string[],
    options: { env?: Record<string, string>; quiet?: boolean; cwd?: string } = {},
  ): Promise<string> {
    if (options.quiet !== true) this.#show(program, args, options.env);
    const child = new Deno.Command(`${root}${program}`, {
      args,
      cwd: options.cwd ?? this.folder,
      env: options.env ?? {},
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const text = new Response(child.stdout).text();
    const over = this.#stopped.promise.catch((reason) => {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended already.
      }
      throw reason;
    });
    const { success, code } = await Promise.race([child.status, over]);
    if (!success) throw new Error(`${program} ${args[0] ?? ""} ended with exit code ${code}`);
    return await text;
  }

  /** Starts a program that stays; its own process group, so that Ctrl-C reaches it through us. */
  start(name: string, program: string, args: string[], env: Record<string, string>): Background {
    this.#show(program, args, env);
    const log = `${this.folder}/${name}.log`;
    const file = Deno.openSync(log, { create: true, write: true });
    const child = new Deno.Command(`${root}${program}`, {
      args,
      cwd: this.folder,
      env,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
    const lines: string[] = [];
    const waiting = new Set<(line: string) => void>();
    const take = async (stream: ReadableStream<Uint8Array>) => {
      let rest = "";
      for await (const text of stream.pipeThrough(new TextDecoderStream())) {
        file.writeSync(encoder.encode(text));
        const parts = (rest + text).split("\n");
        rest = parts.pop() as string;
        for (const line of parts) {
          lines.push(line);
          for (const each of waiting) each(line);
        }
      }
    };
    const drained = Promise.all([take(child.stdout), take(child.stderr)]);
    const ended = child.status.then(async (status) => {
      await drained;
      file.close();
      return status;
    });
    this.#children.push({ name, child, ended });
    const until = (wanted: (line: string) => boolean, limitMs: number): Promise<string> => {
      const found = lines.find(wanted);
      if (found !== undefined) return Promise.resolve(found);
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const look = (line: string) => {
        try {
          if (wanted(line)) resolve(line);
        } catch (error) {
          reject(error);
        }
      };
      waiting.add(look);
      const timer = setTimeout(
        () => reject(new Error(`${name} did not get there in ${limitMs / 1000} s; read its log`)),
        limitMs,
      );
      ended.then(({ code }) => reject(new Error(`${name} ended with exit code ${code}`)));
      return this.wait(promise).finally(() => {
        clearTimeout(timer);
        waiting.delete(look);
      });
    };
    return { name, log, lines, until };
  }

  /** Ends the background programs in reverse order: gently, then not. */
  async endAll(): Promise<void> {
    for (const { child, ended } of this.#children.splice(0).reverse()) {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended already.
      }
      const timer = setTimeout(() => {
        try {
          child.kill("SIGKILL");
        } catch {
          // It has ended in the meantime.
        }
      }, 40_000);
      await ended;
      clearTimeout(timer);
    }
  }

  /** Keeps the logs after a failure and says where they are. */
  keepLogs(): string {
    this.#logs = `${this.folder}.logs`;
    Deno.mkdirSync(this.#logs, { recursive: true });
    for (const entry of Deno.readDirSync(this.folder)) {
      if (entry.name.endsWith(".log")) {
        Deno.copyFileSync(`${this.folder}/${entry.name}`, `${this.#logs}/${entry.name}`);
      }
    }
    return this.#logs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#watch);
    await this.endAll();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      Deno.removeSignalListener(signal, this.stop);
    }
    await Deno.remove(this.folder, { recursive: true });
  }

  #show(program: string, args: string[], env: Record<string, string> = {}): void {
    const settings = Object.entries(env)
      .filter(([name, value]) =>
        /^(AGENT|MANAGER|COMPUTATIONS)_/.test(name) ||
        // A party's own home, where what it approved is kept.
        name === "HOME" && value.startsWith(this.folder)
      )
      .map(([name, value]) => `${name}=${value}`);
    const words = [...settings, program.replace("bin/", ""), ...args]
      .map((word) => word.replaceAll(this.folder, "."));
    say(dim(`   $ ${words.join(" ")}`));
  }
}

const colors = Deno.stderr.isTerminal() && Deno.env.get("NO_COLOR") === undefined;

/** A line for the person. */
export function say(line: string): void {
  Deno.stderr.writeSync(encoder.encode(`${line}\n`));
}

function bold(text: string): string {
  return colors ? `\x1b[1m${text}\x1b[0m` : text;
}

function dim(text: string): string {
  return colors ? `\x1b[2m${text}\x1b[0m` : text;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1).padStart(6)} s`;
}
