// A VM that runs: its control connection, its end, and how to end it. The QEMU behind the socket
// may have been taken over by its guest: it can refuse or stay silent, and only its own child status
// or the end of its socket counts as the end.
import { CocosError } from "../base/mod.ts";
import { identify, Qmp } from "./qmp.ts";
import { type ProcessEnd, type QemuChild, within } from "./qemu.ts";

/** How long a QEMU may take from its start to its greeting; a loaded host needs a second. */
export const GREETING_MS = 20_000;

/** How long QEMU may take to answer, or to end after `quit`. */
export const ANSWER_MS = 3_000;

/** How long a killed child may take to vanish. */
const KILL_MS = 3_000;

/** Time between two looks for a socket that a starting QEMU has not made yet. */
const RETRY_MS = 20;

/** A running VM. */
export class RunningVm {
  readonly id: string;
  readonly socket: string;
  readonly child: QemuChild | undefined;
  readonly #gone = Promise.withResolvers<ProcessEnd | undefined>();
  #qmp: Qmp | undefined;
  #released = false;

  private constructor(id: string, socket: string, child: QemuChild | undefined, qmp?: Qmp) {
    this.id = id;
    this.socket = socket;
    this.child = child;
    if (child !== undefined) child.ended.then(this.#gone.resolve);
    if (qmp !== undefined) this.#use(qmp);
  }

  /** A QEMU of ours that has just been spawned; connect with {@linkcode confirm}. */
  static spawned(id: string, socket: string, child: QemuChild): RunningVm {
    return new RunningVm(id, socket, child);
  }

  /** A QEMU of an earlier manager; `qmp` is absent where the QEMU doesn't answer. */
  static adopted(id: string, socket: string, qmp: Qmp | undefined): RunningVm {
    return new RunningVm(id, socket, undefined, qmp);
  }

  /**
   * Settles when QEMU has ended, with how where it was our child. An adopted VM is gone when its
   * control connection ended and nothing listens on the socket any more.
   */
  get gone(): Promise<ProcessEnd | undefined> {
    return this.#gone.promise;
  }

  /** True while the control connection stands. */
  get connected(): boolean {
    return this.#qmp !== undefined;
  }

  /**
   * Waits for the greeting of a spawned QEMU, which comes when all its devices and ports are set
   * up, and checks that it is the VM we mean.
   *
   * @throws {CocosError} `run-failed` with the last lines of stderr when QEMU ended instead.
   */
  async confirm(timeoutMs = GREETING_MS): Promise<void> {
    const { child } = this;
    const stop = new AbortController();
    const died = child?.ended.then((end) => {
      stop.abort();
      throw endedEarly(end, child.stderr());
    });
    died?.catch(() => {});
    const greeted = this.#connect(timeoutMs, stop.signal, true);
    greeted.catch(() => {});
    try {
      await (died === undefined ? greeted : Promise.race([greeted, died]));
    } catch (error) {
      stop.abort();
      // The socket breaks a moment before the exit code is known: the exit says more.
      if (died !== undefined && await within(died.catch(() => {}), 500)) await died;
      throw error;
    }
  }

  /** With `retry`, waits for a socket that is still to be made; else one look is enough. */
  async #connect(timeoutMs: number, signal?: AbortSignal, retry = false): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const left = deadline - performance.now();
      try {
        const qmp = await Qmp.connect(this.socket, { timeoutMs: Math.max(left, 1) });
        const identity = await identify(qmp, Math.max(left, 1)).catch(async (error) => {
          await qmp[Symbol.asyncDispose]();
          throw error;
        });
        if (identity.uuid !== this.id || signal?.aborted === true) {
          await qmp[Symbol.asyncDispose]();
          throw new CocosError("internal", `The QEMU on ${this.socket} is not VM ${this.id}`);
        }
        this.#use(qmp);
        return;
      } catch (error) {
        const missing = error instanceof CocosError && error.code === "unavailable";
        if (!retry || !missing || left <= 0 || signal?.aborted === true) throw error;
      }
      await pause(RETRY_MS, signal);
    }
  }

  #use(qmp: Qmp): void {
    this.#qmp = qmp;
    qmp.closed.then(async () => {
      this.#qmp = undefined;
      if (this.child !== undefined || this.#released) return;
      // A broken connection alone is no proof: QEMU closes a client that it can't follow. But it
      // listens on its socket until its end.
      try {
        await this.#connect(ANSWER_MS);
      } catch (error) {
        if (error instanceof CocosError && error.code === "unavailable") {
          this.#gone.resolve(undefined);
        }
      }
    });
  }

  /**
   * Ends the VM: power button, then `quit`, then, for a child of ours, kill. The whole takes at
   * most `graceMs` and about ten seconds.
   *
   * @throws {CocosError} `timeout` for a QEMU that is not our child and answers nothing.
   */
  async stop(graceMs: number): Promise<void> {
    if (graceMs > 0 && await this.#ask("system_powerdown") && await within(this.gone, graceMs)) {
      return;
    }
    if (await this.#ask("quit") && await within(this.gone, ANSWER_MS)) return;
    if (this.child !== undefined) {
      this.child.kill();
      if (await within(this.gone, KILL_MS)) return;
    } else if (!await this.#listens()) {
      this.#gone.resolve(undefined);
      return;
    }
    throw new CocosError("timeout", `QEMU of VM ${this.id} answers nothing on ${this.socket}`, {
      hint:
        `Find it with: ps -eo pid,args | grep -- "-uuid ${this.id}"  and end it with: kill <pid>`,
    });
  }

  /** Sends a command; false when QEMU can't be asked. A QEMU that quits may close before it answers. */
  async #ask(command: string): Promise<boolean> {
    try {
      if (this.#qmp === undefined) await this.#connect(ANSWER_MS);
      await this.#qmp?.execute(command, {}, ANSWER_MS);
      return true;
    } catch (error) {
      return error instanceof CocosError && error.code === "unavailable" && command === "quit";
    }
  }

  async #listens(): Promise<boolean> {
    try {
      (await Deno.connect({ transport: "unix", path: this.socket })).close();
      return true;
    } catch {
      return false;
    }
  }

  /** Leaves the VM running without us. */
  async release(): Promise<void> {
    const qmp = this.#qmp;
    this.#released = true;
    this.child?.unref();
    await qmp?.[Symbol.asyncDispose]();
  }
}

function endedEarly(end: ProcessEnd, stderr: readonly string[]): CocosError {
  const how = end.signal === undefined ? `exit code ${end.code}` : `signal ${end.signal}`;
  const said = stderr.filter((line) => !/warning:/.test(line)).slice(-5);
  const text = (said.length > 0 ? said : stderr.slice(-5)).join("\n");
  const conflict = /could not set up host forwarding rule/i.test(text);
  return new CocosError(
    conflict ? "conflict" : "run-failed",
    `QEMU ended at once with ${how}${text === "" ? "" : `: ${text}`}`,
    { hint: "The manager's log has the whole command; run it by hand to see more." },
  );
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done);
    if (signal?.aborted === true) done();
  });
}
