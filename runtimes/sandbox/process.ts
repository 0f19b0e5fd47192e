// One sandboxed process tree: start it, move it into its group before it runs, read its output, kill
// it, and know when the last of its processes is gone.
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { CocosError, messageOf } from "../../base/mod.ts";
import { ETC, Fd, sandboxArgv, type SandboxSpec } from "../../proto/sandbox/mod.ts";
import type { JobGroup } from "./cgroup.ts";
import { killProcesses } from "./reaper.ts";
import { seccompProgram } from "./seccomp.ts";

/** How a program ended. */
export type Ending =
  /** It ran and gave this code; a death by signal N is told as 128 + N, one for memory with `oom`. */
  | { readonly kind: "exit"; readonly code: number; readonly oom?: boolean }
  /** bubblewrap itself was killed: by us, for memory, or with its group. */
  | { readonly kind: "killed" }
  /** It never ran; `reason` is bubblewrap's own last line. */
  | { readonly kind: "not-started"; readonly reason: string };

/** Takes a piece of output; may keep the bytes. */
export type OutputSink = (stream: "stdout" | "stderr", bytes: Uint8Array) => "go-on" | "slow-down";

/** What starting needs beside the sandbox's description. */
export interface StartOptions {
  /** Path of the bubblewrap program. */
  readonly bwrap: string;
  readonly group: JobGroup;
  readonly onOutput: OutputSink;
  /** Descriptors above the ones in use that the runner inherited and the program must not see. */
  readonly leaked?: readonly number[];
}

/** Time a reader rests when it is told to slow down: at most 32 MiB a second are then read. */
const REST_MS = 2;
/** Time between two looks whether a group is empty. */
const LOOK_MS = 2;
/**
 * Time a sandbox has to follow its killed bubblewrap. It sets its parent-death signal only after it
 * was let go, so one killed in that moment stays alive and must be killed by number.
 */
const FOLLOW_MS = 50;
/** Longest time bubblewrap may take to tell its first process; it needs a few milliseconds. */
const TELL_MS = 2000;
/** Longest time the kernel may take to end killed processes before we call it a failure. */
const DEATH_MS = 5000;
/** What we keep of bubblewrap's complaint. */
const REASON_BYTES = 2048;

const program = seccompProgram();
const text = new TextEncoder();

/** A started sandbox. `kill()` is safe at any time; `ended` never rejects before all are dead. */
export class SandboxProcess {
  /** How it ended; resolved when no process of it is left. */
  readonly ended: Promise<Ending>;
  /** Resolved when the program was let go, false if it ended before that. */
  readonly released: Promise<boolean>;
  readonly #child: ChildProcess;
  readonly #group: JobGroup;
  readonly #bwrap: string;
  /** The sandbox's first process, as this namespace numbers it. */
  #first: number | undefined;
  /** Set by `kill()`: the program is not let go any more. */
  #unwanted = false;
  /** Whether bubblewrap will not tell a first process any more. */
  #told = false;
  #dead = false;

  constructor(spec: SandboxSpec, options: StartOptions) {
    this.#group = options.group;
    this.#bwrap = options.bwrap;
    const top = Math.max(Fd.NSSWITCH, ...(options.leaked ?? []));
    // A descriptor we inherited is replaced by a pipe whose other end we drop at once.
    const stdio = Array.from(
      { length: top + 1 },
      (_, fd) =>
        fd === 0 || (fd > Fd.NSSWITCH && !options.leaked?.includes(fd)) ? "ignore" : "pipe",
    ) as ("ignore" | "pipe")[];
    this.#child = spawn(options.bwrap, unchanged(sandboxArgv(spec)), { stdio, env: {}, cwd: "/" });
    if (this.#child.pid === undefined) {
      this.released = Promise.resolve(false);
      this.ended = new Promise((resolve) => {
        this.#child.once("error", (error) => {
          this.#dead = true;
          resolve({ kind: "not-started", reason: messageOf(error) });
        });
      });
      return;
    }
    const ends = this.#child.stdio as unknown as (Readable & Writable)[];
    for (const fd of options.leaked ?? []) if (fd > Fd.NSSWITCH) ends[fd]?.destroy();
    const alive = closed(ends[Fd.ALIVE] as Readable);
    let exitCode: number | undefined;
    let complaint = new Uint8Array();
    const released = Promise.withResolvers<boolean>();
    this.released = released.promise;
    this.released.catch(() => {});
    const status = this.#follow(
      ends[Fd.STATUS] as Readable,
      ends[Fd.BLOCK] as Writable,
      released.resolve,
      (code) => {
        exitCode = code;
      },
    );
    // A failed move is told by `released`; the program was never let go then.
    status.catch((cause) => {
      released.reject(cause);
      this.kill();
    });
    feed(ends[Fd.SECCOMP] as Writable, program);
    for (const [fd, file] of ETC) feed(ends[fd] as Writable, text.encode(file.text));
    for (const name of ["stdout", "stderr"] as const) {
      (this.#child[name] as Readable).on("data", (chunk: Uint8Array) => {
        if (name === "stderr" && complaint.length < REASON_BYTES) {
          complaint = joined(complaint, chunk.subarray(0, REASON_BYTES - complaint.length));
        }
        if (options.onOutput(name, chunk) === "slow-down" && !this.#dead) this.#rest(name);
      });
    }
    const exited = new Promise<Ending>((resolve) => {
      this.#child.once("exit", (code) => {
        resolve(code === null ? { kind: "killed" } : { kind: "exit", code });
      });
    });
    this.ended = this.#end(exited, alive, status, (ending) => {
      if (ending.kind !== "exit" || exitCode !== undefined) return ending;
      const reason = new TextDecoder().decode(complaint).trim().split("\n").at(-1) ?? "";
      return { kind: "not-started", reason: reason === "" ? `exit code ${ending.code}` : reason };
    });
  }

  /**
   * Kills all of it; nothing of it can stop that. A bubblewrap that hasn't told its first process yet
   * gets a moment to do so: killed before, it would leave that process behind, asleep for ever and
   * known to nobody.
   */
  kill(): void {
    if (this.#dead || this.#unwanted) return;
    this.#unwanted = true;
    if (this.#first !== undefined || this.#told) {
      this.#killNow();
      return;
    }
    const timer = setTimeout(() => this.#killNow(), TELL_MS);
    this.#child.once("exit", () => clearTimeout(timer));
  }

  #killNow(): void {
    if (this.#dead) return;
    this.#group.kill();
    this.#child.kill("SIGKILL");
  }

  /** Reads where the sandbox's processes are, moves them into the group, lets the program start. */
  async #follow(
    status: Readable,
    gate: Writable,
    onReleased: (released: boolean) => void,
    onExitCode: (code: number) => void,
  ): Promise<void> {
    gate.on("error", () => {});
    let moved = false;
    let rest = "";
    for await (const chunk of status) {
      rest += new TextDecoder().decode(chunk as Uint8Array);
      const lines = rest.split("\n");
      rest = lines.pop() as string;
      for (const line of lines) {
        if (line.trim() === "") continue;
        const object = JSON.parse(line) as Record<string, unknown>;
        const [pid, code] = [object["child-pid"], object["exit-code"]];
        if (typeof code === "number") onExitCode(code);
        if (typeof pid !== "number" || moved) continue;
        moved = true;
        this.#first = pid;
        if (this.#unwanted) {
          // The gate stays shut, and open towards us: its end would let the program go.
          onReleased(false);
          await killProcesses(this.#bwrap, [pid]);
          this.#killNow();
          continue;
        }
        if (this.#child.pid !== undefined) this.#group.add(this.#child.pid);
        this.#group.add(pid);
        gate.end("go");
        onReleased(true);
      }
    }
    this.#told = true;
    if (!moved) onReleased(false);
    gate.destroy();
  }

  async #end(
    exited: Promise<Ending>,
    alive: Promise<void>,
    status: Promise<void>,
    judge: (ending: Ending) => Ending,
  ): Promise<Ending> {
    const ending = await exited;
    this.#dead = true;
    for (const name of ["stdout", "stderr"] as const) this.#child[name]?.resume();
    // bubblewrap's own exit does not wait for the namespace: daemons live until the kernel has
    // killed them all (S-8).
    await this.#following(alive);
    await this.#emptied();
    await status.catch(() => {});
    return judge(ending);
  }

  async #following(alive: Promise<void>): Promise<void> {
    let gone = false;
    alive.then(() => {
      gone = true;
    });
    const until = performance.now() + DEATH_MS;
    while (!gone) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      await Promise.race([
        alive,
        new Promise((resolve) => timer = setTimeout(resolve, FOLLOW_MS)),
      ]);
      clearTimeout(timer);
      if (gone) return;
      if (performance.now() > until) {
        throw new CocosError("internal", "Cannot end the run: its first process does not go away");
      }
      if (this.#first !== undefined) await killProcesses(this.#bwrap, [this.#first]);
    }
  }

  #rest(name: "stdout" | "stderr"): void {
    const stream = this.#child[name] as Readable;
    stream.pause();
    setTimeout(() => stream.resume(), REST_MS);
  }

  async #emptied(): Promise<void> {
    const until = performance.now() + DEATH_MS;
    while (this.#group.populated()) {
      if (performance.now() > until) {
        throw new CocosError("internal", "Cannot end the run: killed processes do not go away");
      }
      this.#group.kill();
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    await drained(this.#child, until);
  }
}

/**
 * Deno 2.9's `spawn` looks for its own path among the arguments of any program and puts flags of its
 * own behind it, `-A` among them: no argument may start with that path.
 */
function unchanged(argv: string[]): string[] {
  const own = Deno.execPath();
  if (argv.some((argument) => argument.startsWith(own))) {
    throw new CocosError("not-supported", "Cannot pass the runner's own path as an argument");
  }
  return argv;
}

/** Resolves when everything the tree printed has been given to the sink. */
function drained(child: ChildProcess, until: number): Promise<void> {
  if (child.stdout?.closed !== false && child.stderr?.closed !== false) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.max(1, until - performance.now()));
    child.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function feed(stream: Writable, bytes: Uint8Array): void {
  // bubblewrap may end before it reads this; its own message tells why.
  stream.on("error", () => {});
  stream.end(bytes);
}

function closed(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    stream.on("error", () => {});
    stream.once("close", resolve);
    stream.resume();
  });
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}
