// The runner's unix socket: one job a connection, and closing the connection ends the job. Who may
// connect is decided by the socket's file mode; what they send is parsed before it is believed.
import { asCocosError, type Logger, messageOf } from "../base/mod.ts";
import {
  encodeLine,
  MAX_REQUEST_BYTES,
  parseRequest,
  readLines,
  type RunnerEvent,
  type RunRequest,
} from "../proto/runner/mod.ts";
import { runJob, type Workshop } from "./job.ts";

/** Most connections at one time. */
const MAX_CONNECTIONS = 16;
/** Time a client has to send its request. */
const REQUEST_MS = 10_000;
/** Bytes of events waiting for a slow client; more output is dropped and counted (S-5). */
const QUEUE_BYTES = 4 << 20;
/** Time a client has to take the last events once its job is over. */
const FLUSH_MS = 30_000;

/** A server that runs until it is closed. */
export interface RunnerServer {
  /** Resolves when the server is closed and every job is over. */
  readonly finished: Promise<void>;
  /** Takes no more connections and ends every job. */
  close(): Promise<void>;
}

/** Listens at `path`, whose stale socket has been removed. */
export function serveRunner(path: string, mode: number, shop: Workshop): RunnerServer {
  const listener = Deno.listen({ transport: "unix", path });
  Deno.chmodSync(path, mode);
  const open = new Map<Deno.Conn, Promise<void>>();
  const jobs = new Set<string>();
  const stop = new AbortController();
  const finished = (async () => {
    for await (const conn of listener) {
      if (open.size >= MAX_CONNECTIONS) {
        shop.log.warn("connection refused: too many", { connections: open.size });
        conn.close();
        continue;
      }
      const served = serveConnection(conn, shop, jobs, stop.signal)
        .catch((error) => shop.log.warn("connection lost", { error: messageOf(error) }))
        .finally(() => open.delete(conn));
      open.set(conn, served);
    }
    await Promise.all(open.values());
  })();
  return {
    finished,
    close: async () => {
      stop.abort();
      try {
        listener.close();
      } catch {
        // Closed before.
      }
      await finished;
    },
  };
}

async function serveConnection(
  conn: Deno.Conn,
  shop: Workshop,
  jobs: Set<string>,
  stopAll: AbortSignal,
): Promise<void> {
  const queue = new EventQueue(conn, shop.log);
  const ended = new AbortController();
  const end = () => ended.abort();
  stopAll.addEventListener("abort", end);
  const lines = readLines(chunks(conn), MAX_REQUEST_BYTES);
  let held: string | undefined;
  try {
    const request = await firstRequest(lines, conn);
    if (request === undefined) return;
    if (jobs.has(request.job)) {
      queue.push(refusal(`The job ${request.job} runs already`));
      return;
    }
    jobs.add(held = request.job);
    if (stopAll.aborted) end();
    // From here on any line is "stop", and so are the end of the stream and an error.
    const watch = lines.next().then((next) => {
      if (next.done !== true) parseRequest(next.value);
    }).catch((error) => {
      shop.log.warn("job ended by its connection", { job: request.job, error: messageOf(error) });
    }).finally(end);
    shop.log.info("job begins", { job: request.job, kind: request.kind });
    const finished = await runJob(request, shop, (event) => queue.push(event), ended.signal);
    shop.log.info("job ended", { job: request.job, outcome: finished.outcome, ...finished.usage });
    queue.push(finished);
    await queue.flushed();
    closeQuietly(conn);
    await watch;
  } catch (error) {
    queue.push(refusal(asCocosError(error).message));
  } finally {
    stopAll.removeEventListener("abort", end);
    if (held !== undefined) jobs.delete(held);
    await queue.flushed();
    closeQuietly(conn);
  }
}

/** The `run` request, or undefined if the client closed without one. */
async function firstRequest(
  lines: AsyncGenerator<string, void, void>,
  conn: Deno.Conn,
): Promise<RunRequest | undefined> {
  const timer = setTimeout(() => closeQuietly(conn), REQUEST_MS);
  try {
    const first = await lines.next();
    if (first.done === true) return undefined;
    const request = parseRequest(first.value);
    return request.type === "run" ? request : undefined;
  } finally {
    clearTimeout(timer);
  }
}

function refusal(message: string): RunnerEvent {
  return {
    type: "finished",
    outcome: "refused",
    usage: {
      wallMs: 0,
      cpuMs: 0,
      peakBytes: 0,
      outputBytes: 0,
      resultsFiles: 0,
      resultsBytes: 0,
    },
    message,
  };
}

async function* chunks(conn: Deno.Conn): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(64 << 10);
  while (true) {
    let length: number | null;
    try {
      length = await conn.read(buffer);
    } catch {
      // Closed by us or reset by the client: the same as the end.
      return;
    }
    if (length === null) return;
    yield buffer.subarray(0, length);
  }
}

function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed before.
  }
}

/** Writes events in order and never holds more than {@linkcode QUEUE_BYTES} of output. */
class EventQueue {
  readonly #conn: Deno.Conn;
  readonly #log: Logger;
  readonly #waiting: Uint8Array[] = [];
  #bytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #busy = false;
  #broken = false;

  constructor(conn: Deno.Conn, log: Logger) {
    this.#conn = conn;
    this.#log = log;
  }

  /** Queues an event; false if it is output and there is no room. */
  push(event: RunnerEvent): boolean {
    if (this.#broken) return false;
    if (event.type === "output" && this.#bytes > QUEUE_BYTES) return false;
    const line = encodeLine(event);
    this.#waiting.push(line);
    this.#bytes += line.length;
    if (!this.#busy) this.#writing = this.#write();
    return true;
  }

  /** Resolves when all is written, the client is gone, or it has taken too long. */
  async flushed(): Promise<void> {
    const timer = setTimeout(() => closeQuietly(this.#conn), FLUSH_MS);
    await this.#writing;
    clearTimeout(timer);
  }

  async #write(): Promise<void> {
    this.#busy = true;
    try {
      for (let line = this.#waiting.shift(); line !== undefined; line = this.#waiting.shift()) {
        for (let at = 0; at < line.length;) at += await this.#conn.write(line.subarray(at));
        this.#bytes -= line.length;
      }
    } catch (error) {
      this.#broken = true;
      this.#waiting.length = 0;
      this.#log.debug("client gone", { error: messageOf(error) });
    }
    this.#busy = false;
  }
}
