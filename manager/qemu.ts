// A QEMU process that is our own child: spawned from a list of arguments, drained, waited for.
// What it prints may come from the guest: bounded, and control characters made visible (N-16).
import { CocosError, messageOf } from "../base/mod.ts";

/** Most bytes of a console file; at the end of it the file becomes `….old` and a new one begins. */
export const MAX_CONSOLE_BYTES = 256 * 1024;

/** Characters of stderr that are kept for an error message. */
const MAX_TAIL = 8 * 1024;

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number;
  readonly signal: string | undefined;
}

/** A running QEMU that this process started. */
export interface QemuChild {
  readonly pid: number;
  /** Settles once the process has ended and its output is read. */
  readonly ended: Promise<ProcessEnd>;
  /** Last lines of stderr. */
  stderr(): readonly string[];
  /** Ends it at once; for a QEMU that listens to nothing else. */
  kill(): void;
  /** Lets this process end without it. */
  unref(): void;
}

/** Options of {@linkcode spawnQemu}. */
export interface SpawnOptions {
  /** File for what QEMU prints on stdout: with `-nographic`, the guest's serial console. */
  readonly consoleFile?: string;
  /** Called with each piece of stdout. */
  readonly onStdout?: (text: string) => void;
  /** Called with each line of stderr. */
  readonly onStderr?: (line: string) => void;
}

/**
 * Starts QEMU in a session of its own, so that a Ctrl-C meant for us doesn't reach it, and with
 * next to no environment: nothing of ours is QEMU's business.
 *
 * @throws {CocosError} `io` when it can't be started.
 */
export function spawnQemu(command: readonly string[], options: SpawnOptions): QemuChild {
  const [program, ...args] = command;
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program as string, {
      args,
      clearEnv: true,
      env: { LC_ALL: "C", PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      cwd: "/",
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      detached: true,
    }).spawn();
  } catch (cause) {
    throw new CocosError("io", `Cannot start ${program}: ${messageOf(cause)}`, { cause });
  }
  const console = options.consoleFile === undefined
    ? undefined
    : new BoundedFile(options.consoleFile, MAX_CONSOLE_BYTES);
  const tail = new Tail(MAX_TAIL, options.onStderr);
  const drained = Promise.all([
    drain(child.stdout, (text) => {
      console?.write(text);
      options.onStdout?.(text);
    }),
    drain(child.stderr, (text) => tail.add(text)),
  ]);
  const ended = child.status.then(async ({ code, signal }) => {
    // A process that QEMU left behind could hold the pipes open: don't wait long for it.
    await within(drained, 1000);
    return { code, signal: signal ?? undefined };
  });
  return {
    pid: child.pid,
    ended,
    stderr: () => tail.lines(),
    kill: () => {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
    },
    unref: () => child.unref(),
  };
}

async function drain(
  stream: ReadableStream<Uint8Array>,
  take: (text: string) => void,
): Promise<void> {
  const decoder = new TextDecoder("utf-8");
  try {
    for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
  } catch {
    // A pipe that breaks ends the output, not the VM.
  }
}

/** Waits for a promise at most so long; true when it settled in time. */
export async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), ms);
  try {
    return await Promise.race([work.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Makes control characters visible, except the newline. */
export function visible(text: string): string {
  return text.replaceAll("\r\n", "\n").replaceAll(
    // deno-lint-ignore no-control-regex
    /[\x00-\x09\x0b-\x1f\x7f-\x9f]/g,
    (each) => `\\x${each.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

/** Keeps the end of a text. */
class Tail {
  readonly #max: number;
  readonly #onLine: ((line: string) => void) | undefined;
  #text = "";
  #line = "";

  constructor(max: number, onLine: ((line: string) => void) | undefined) {
    this.#max = max;
    this.#onLine = onLine;
  }

  add(text: string): void {
    const clean = visible(text);
    this.#text = (this.#text + clean).slice(-this.#max);
    const lines = (this.#line + clean).split("\n");
    this.#line = (lines.pop() as string).slice(-this.#max);
    for (const line of lines) this.#onLine?.(line.slice(0, 1024));
  }

  lines(): readonly string[] {
    return this.#text.split("\n").filter((line) => line !== "").slice(-10);
  }
}

/** A file that never grows past its bound; writing errors are ignored, as it is only a log. */
export class BoundedFile {
  readonly #path: string;
  readonly #max: number;
  #bytes = 0;

  constructor(path: string, max: number) {
    this.#path = path;
    this.#max = max;
  }

  write(text: string): void {
    const bytes = new TextEncoder().encode(visible(text)).subarray(-this.#max);
    try {
      if (this.#bytes + bytes.length > this.#max) {
        Deno.renameSync(this.#path, `${this.#path}.old`);
        this.#bytes = 0;
      }
      Deno.writeFileSync(this.#path, bytes, { append: true, mode: 0o600 });
      this.#bytes += bytes.length;
    } catch {
      // The disk is full or the folder is being removed.
    }
  }
}
