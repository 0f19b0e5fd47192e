// Client of QEMU's machine protocol on a VM's private socket. QEMU executes a guest that may have
// broken into it: every line is bounded, parsed, and can at worst end this one connection.
import { CocosError, messageOf } from "../base/mod.ts";

/** Longest line taken from QEMU; the longest we ask for (`query-status`) has under 200 bytes. */
export const MAX_LINE = 64 * 1024;

/** Most answers that may be awaited at once. */
const MAX_PENDING = 64;

/** Something QEMU says unasked: `SHUTDOWN`, `POWERDOWN`, `RESET`, … */
export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: CocosError) => void;
}

/** A QMP session in command mode. */
export class Qmp implements AsyncDisposable {
  readonly #connection: Deno.UnixConn;
  readonly #pending = new Map<number, Pending>();
  readonly #events: (event: QmpEvent) => void;
  readonly #closed = Promise.withResolvers<void>();
  #nextId = 1;
  #open = true;
  #reading: Promise<void> = Promise.resolve();

  private constructor(connection: Deno.UnixConn, events: (event: QmpEvent) => void) {
    this.#connection = connection;
    this.#events = events;
  }

  /**
   * Connects, waits for the greeting, leaves negotiation mode.
   *
   * @throws {CocosError} `unavailable` when nothing listens there, `timeout`, `data-loss` when the
   * other side doesn't speak QMP.
   */
  static async connect(
    path: string,
    { timeoutMs, events = () => {} }: { timeoutMs: number; events?: (event: QmpEvent) => void },
  ): Promise<Qmp> {
    let connection: Deno.UnixConn;
    try {
      connection = await Deno.connect({ transport: "unix", path });
    } catch (cause) {
      throw new CocosError("unavailable", `Cannot reach QEMU at ${path}: ${messageOf(cause)}`, {
        cause,
      });
    }
    const qmp = new Qmp(connection, events);
    try {
      const greeted = Promise.withResolvers<unknown>();
      qmp.#pending.set(0, greeted);
      qmp.#reading = qmp.#read();
      await qmp.#within(greeted.promise, timeoutMs, "the greeting", 0);
      await qmp.execute("qmp_capabilities", {}, timeoutMs);
      return qmp;
    } catch (error) {
      await qmp[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Settles when the connection has ended, whoever ended it. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /**
   * Executes one command and gives its `return` value.
   *
   * @throws {CocosError} `remote` with QEMU's text, `timeout`, `unavailable` after the end.
   */
  async execute(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    timeoutMs = 5000,
  ): Promise<unknown> {
    if (!this.#open) throw gone();
    if (this.#pending.size >= MAX_PENDING) {
      throw new CocosError("exhausted", `Cannot ask QEMU ${command}: too many questions wait`);
    }
    const id = this.#nextId++;
    const answer = Promise.withResolvers<unknown>();
    answer.promise.catch(() => {}); // a failing write below may leave it without another reader
    this.#pending.set(id, answer);
    const line = JSON.stringify({
      execute: command,
      ...(Object.keys(args).length > 0 ? { arguments: args } : {}),
      id,
    });
    const asked = this.#write(`${line}\n`).then(() => answer.promise);
    return await this.#within(asked, timeoutMs, `the answer to ${command}`, id);
  }

  /** Ends the connection; QEMU goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    await this.#reading;
  }

  async #write(text: string): Promise<void> {
    try {
      let rest = new TextEncoder().encode(text);
      while (rest.length > 0) rest = rest.subarray(await this.#connection.write(rest));
    } catch (cause) {
      this.#end();
      throw gone(cause);
    }
  }

  async #within<T>(work: Promise<T>, timeoutMs: number, what: string, id: number): Promise<T> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => late.reject(new CocosError("timeout", `QEMU did not send ${what} in ${timeoutMs} ms`)),
      timeoutMs,
    );
    work.catch(() => {}); // the loser of the race may still fail
    try {
      return await Promise.race([work, late.promise]);
    } finally {
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }

  async #read(): Promise<void> {
    const chunk = new Uint8Array(4096);
    const decoder = new TextDecoder();
    let text = "";
    try {
      for (;;) {
        const count = await this.#connection.read(chunk);
        if (count === null) break;
        text += decoder.decode(chunk.subarray(0, count), { stream: true });
        let end: number;
        while ((end = text.indexOf("\n")) >= 0) {
          if (end > MAX_LINE) throw new TypeError(`a line over ${MAX_LINE} characters`);
          this.#take(text.slice(0, end));
          text = text.slice(end + 1);
        }
        if (text.length > MAX_LINE) throw new TypeError(`a line over ${MAX_LINE} characters`);
      }
      this.#end();
    } catch (cause) {
      // A broken connection is an end like any other; a line that is no QMP is not.
      this.#end(
        cause instanceof SyntaxError || cause instanceof TypeError
          ? new CocosError("data-loss", "What answers there does not speak QMP", { cause })
          : undefined,
      );
    }
  }

  #take(line: string): void {
    const message: unknown = JSON.parse(line);
    if (!isRecord(message)) throw new TypeError("not an object");
    if (isRecord(message["QMP"])) {
      this.#pending.get(0)?.resolve(message["QMP"]);
    } else if (typeof message["event"] === "string") {
      const data = message["data"];
      this.#events({ name: message["event"], data: isRecord(data) ? data : {} });
    } else if (typeof message["id"] === "number") {
      const waiting = this.#pending.get(message["id"]);
      const error = message["error"];
      if (isRecord(error)) {
        waiting?.reject(new CocosError("remote", `QEMU: ${String(error["desc"]).slice(0, 1024)}`));
      } else waiting?.resolve(message["return"]);
    }
  }

  #end(why: CocosError = gone()): void {
    if (!this.#open) return;
    this.#open = false;
    this.#connection.close();
    for (const each of this.#pending.values()) each.reject(why);
    this.#pending.clear();
    this.#closed.resolve();
  }
}

/** What a VM says about itself on its control socket. */
export interface Identity {
  readonly uuid: string;
  readonly name: string;
  /** QEMU's run state: `running`, `paused`, `shutdown`, … */
  readonly status: string;
}

/** Asks a QEMU who it is; the answers' shapes are checked. */
export async function identify(qmp: Qmp, timeoutMs = 5000): Promise<Identity> {
  const text = async (command: string, field: string) => {
    const answer = await qmp.execute(command, {}, timeoutMs);
    const value = isRecord(answer) ? answer[field] : undefined;
    return typeof value === "string" ? value.slice(0, 256) : "";
  };
  return {
    uuid: await text("query-uuid", "UUID"),
    name: await text("query-name", "name"),
    status: await text("query-status", "status"),
  };
}

function gone(cause?: unknown): CocosError {
  return new CocosError("unavailable", "QEMU's control connection has ended", { cause });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
