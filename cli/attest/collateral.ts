// Fetches collateral through the cache. Down, slow, lying or redirecting servers mean: what is kept
// and still valid, or a refusal; never a skipped check (threat A-13). Answers are kept only once the
// appraisal that used them found them good.
import { CocosError, messageOf } from "../../base/mod.ts";
import type { Cache, Item } from "./cache.ts";
import { download } from "./download.ts";

/** What is to be fetched. */
export interface Wanted {
  /** In words, for the person. */
  readonly what: string;
  readonly url: string;
  /** Bytes, at most. */
  readonly most: number;
  /** A kept answer younger than this is used without asking the server. */
  readonly freshMs: number;
  /** Response headers that belong to the answer. */
  readonly headers?: readonly string[];
  /** When the answer expires (milliseconds since 1970); throws for an answer of a wrong form. */
  readonly expires: (body: Uint8Array, headers: Readonly<Record<string, string>>) => number;
}

/** Surroundings of a {@linkcode Source}. */
export interface SourceOptions {
  readonly cache: Cache;
  /** The wall clock, milliseconds since 1970. */
  readonly now: () => number;
  readonly signal: AbortSignal;
  /** Use no network at all. */
  readonly offline: boolean;
  /** A line for the person. */
  readonly say: (line: string) => void;
  readonly timeoutMs?: number;
}

/** Longest header value that is kept: Intel's chains have about 4 KB. */
const MAX_HEADER = 32 * 1024;

/** Source of collateral for one run. */
export class Source {
  readonly #options: SourceOptions;
  readonly #fetched: Item[] = [];

  constructor(options: SourceOptions) {
    this.#options = options;
  }

  /**
   * Gets an answer from the cache or the server.
   *
   * @throws {CocosError} `unavailable`, `not-found` or `too-large` when neither has a valid one.
   */
  async get(wanted: Wanted): Promise<Item> {
    const { cache, offline, say } = this.#options;
    const now = this.#options.now();
    const kept = await cache.read(wanted.url, now);
    if (kept !== undefined && (offline || now - kept.fetched < wanted.freshMs)) return kept;
    if (offline) {
      throw new CocosError("unavailable", `Cannot get ${wanted.what} offline: none is kept`, {
        hint: "Repeat without --offline.",
      });
    }
    try {
      const item = await this.#fetch(wanted, now);
      this.#fetched.push(item);
      return item;
    } catch (error) {
      if (!(error instanceof CocosError) || error.code === "cancelled" || kept === undefined) {
        throw error;
      }
      const when = new Date(kept.fetched).toISOString();
      say(`${messageOf(error)}; using ${wanted.what} of ${when}, which is still valid`);
      return kept;
    }
  }

  /** Keeps what was fetched; called when the appraisal found it good. */
  async keep(): Promise<void> {
    const { cache, now, say } = this.#options;
    for (const item of this.#fetched.splice(0)) {
      try {
        await cache.write(item, now());
      } catch (error) {
        say(`Cannot keep collateral: ${messageOf(error)}`);
        return;
      }
    }
  }

  async #fetch(wanted: Wanted, now: number): Promise<Item> {
    const { signal, timeoutMs } = this.#options;
    const { body, headers } = await download(wanted.url, {
      most: wanted.most,
      signal,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
    const kept: Record<string, string> = {};
    for (const name of wanted.headers ?? []) {
      const value = headers.get(name);
      if (value === null || value.length > MAX_HEADER) throw wrong(wanted, `header ${name} is bad`);
      kept[name] = value;
    }
    let expires: number;
    try {
      expires = wanted.expires(body, kept);
    } catch (cause) {
      throw wrong(wanted, messageOf(cause), cause);
    }
    if (!(expires > now)) throw wrong(wanted, `it expired ${new Date(expires).toISOString()}`);
    return { url: wanted.url, fetched: now, expires, headers: kept, body };
  }
}

function wrong(wanted: Wanted, why: string, cause?: unknown): CocosError {
  return new CocosError("unavailable", `Cannot use ${wanted.what} of ${wanted.url}: ${why}`, {
    cause,
  });
}
