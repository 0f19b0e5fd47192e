// The little of the container engine's HTTP interface that is needed, over its unix socket (Docker
// Engine API 1.41 and later). The engine is trusted to confine, not to be there, quick, or sane.
import { type IncomingMessage, request as httpRequest } from "node:http";
import { Readable } from "node:stream";
import { CocosError, messageOf } from "../../base/mod.ts";

/** Versions of the interface: the oldest with all we ask for, and the newest we know of. */
const OLDEST = [1, 41] as const;
const NEWEST = [1, 54] as const;
/** Longest answer that is read. */
const MAX_ANSWER = 4 << 20;
/** Longest time one answer may take; an emulated machine needs some seconds for a container. */
export const ANSWER_MS = 120_000;

/** A request. */
export interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  /** What it is for: "The container engine can't …". */
  readonly purpose: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** JSON, or pieces of an archive. */
  readonly body?: unknown;
  readonly archive?: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
}

/** An engine of a version we speak. */
export class Engine {
  readonly #socket: string;
  readonly #version: string;

  private constructor(socket: string, version: string) {
    this.#socket = socket;
    this.#version = version;
  }

  /**
   * Asks an engine for its version.
   *
   * @throws {CocosError} `unavailable` when there is none, `not-supported` when it is too old or new.
   */
  static async at(socket: string, signal: AbortSignal): Promise<Engine> {
    const asked = { method: "GET", purpose: "tell its version", path: "/version", signal } as const;
    const answer = field(await new Engine(socket, "").call(asked), "its version");
    const [newest, oldest] = [answer["ApiVersion"], answer["MinAPIVersion"]].map(versionOf);
    if (newest === undefined || oldest === undefined) throw strange("its version");
    const chosen = compare(oldest, OLDEST) > 0 ? oldest : OLDEST;
    if (compare(chosen, newest) > 0 || compare(chosen, NEWEST) > 0) {
      throw new CocosError(
        "not-supported",
        `The container engine speaks API ${oldest.join(".")} to ${newest.join(".")}, ` +
          `this runner ${OLDEST.join(".")} to ${NEWEST.join(".")}`,
        { hint: "Use Docker 20.10 or later." },
      );
    }
    return new Engine(socket, `/v${chosen.join(".")}`);
  }

  /** Makes a call and reads its JSON; undefined where there is none. */
  async call(call: Call): Promise<unknown> {
    const timed = {
      ...call,
      signal: AbortSignal.any([call.signal, AbortSignal.timeout(ANSWER_MS)]),
    };
    const text = await readAll(await this.open(timed), call);
    if (text.trim() === "") return undefined;
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw strange(`JSON when asked to ${call.purpose}`, cause);
    }
  }

  /** Makes a call that answers JSON values one a line, as long as it is at work. */
  async lines(call: Call): Promise<unknown[]> {
    const text = await readAll(await this.open(call), call);
    try {
      return text.split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
    } catch (cause) {
      throw strange(`JSON when asked to ${call.purpose}`, cause);
    }
  }

  /** Makes a call and answers its response when its head is there; end it by the call's signal. */
  async open(call: Call): Promise<IncomingMessage> {
    const query = call.query === undefined ? "" : `?${new URLSearchParams(call.query)}`;
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = httpRequest({
        socketPath: this.#socket,
        method: call.method,
        path: this.#version + call.path + query,
        agent: false,
        headers: {
          host: "engine",
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...(call.archive === undefined ? {} : { "content-type": "application/x-tar" }),
        },
      });
      const stop = () => request.destroy(new Error("given up"));
      if (call.signal.aborted) stop();
      call.signal.addEventListener("abort", stop, { once: true });
      request.once("close", () => call.signal.removeEventListener("abort", stop));
      request.on("error", (cause) => reject(this.#lost(call, cause)));
      request.once("response", resolve);
      if (call.archive === undefined) {
        request.end(body);
        return;
      }
      const source = Readable.from(call.archive, { objectMode: false });
      // What went wrong in making the archive is the reason, not the broken request.
      source.once("error", (cause) => {
        reject(cause);
        request.destroy();
      });
      request.once("close", () => source.destroy());
      source.pipe(request);
    });
    // A response that breaks off later tells those who read it.
    response.on("error", () => {});
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300 || status === 304) return response;
    throw refusal(call, status, await readAll(response, call).catch(() => ""));
  }

  #lost(call: Call, cause: unknown): CocosError {
    const reason = call.signal.aborted ? "no answer in time" : messageOf(cause);
    return new CocosError(
      "unavailable",
      `The container engine can't be asked to ${call.purpose}: ${clean(reason)}`,
      { cause, hint: `Is dockerd running, and may this user use its socket ${this.#socket}?` },
    );
  }
}

async function readAll(response: IncomingMessage, call: Call): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      if (text.length > MAX_ANSWER) {
        throw strange(`an endless answer when asked to ${call.purpose}`);
      }
    }
  } catch (cause) {
    if (cause instanceof CocosError) throw cause;
    throw new CocosError(
      "unavailable",
      `The container engine went away when asked to ${call.purpose}`,
      { cause },
    );
  }
  return text;
}

/** Codes of refusals; none of them says that a file of the job is to blame. */
function refusal(call: Call, status: number, text: string): CocosError {
  let message = text;
  try {
    message = String(field(JSON.parse(text), "an error")["message"]);
  } catch {
    // Shown as it is.
  }
  const code = status === 404 ? "not-found" : status === 409 ? "conflict" : "remote";
  return new CocosError(code, `The container engine can't ${call.purpose}: ${clean(message)}`);
}

/** The error for an answer that isn't what the interface promises. */
export function strange(what: string, cause?: unknown): CocosError {
  return new CocosError("remote", `The container engine's answer makes no sense: ${what}`, {
    ...(cause === undefined ? {} : { cause }),
  });
}

/** An answer as an object. */
export function field(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw strange(what);
  return value as Record<string, unknown>;
}

/** One line of printable text: parts of it may come from an image. */
export function clean(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, " ").trim().slice(0, 400);
}

type Version = readonly [number, number];

function versionOf(value: unknown): Version | undefined {
  const match = /^(\d{1,4})\.(\d{1,4})$/.exec(String(value));
  return match === null ? undefined : [Number(match[1]), Number(match[2])];
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1];
}
