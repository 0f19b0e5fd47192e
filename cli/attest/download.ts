// One bounded GET: no redirects, a time limit, a size limit. The server is hostile.
import { CocosError, messageOf } from "../../base/mod.ts";

/** Limits of one download. */
export interface DownloadOptions {
  /** Bytes of the body, at most. */
  readonly most: number;
  readonly signal: AbortSignal;
  /** For the whole answer. */
  readonly timeoutMs?: number;
}

/** What came. */
export interface Downloaded {
  readonly body: Uint8Array;
  readonly headers: Headers;
}

/** A certificate server that does not answer within this time counts as down. */
const TIMEOUT_MS = 30_000;

/**
 * Fetches a URL.
 *
 * @throws {CocosError} `not-found` for 404, `too-large`, `cancelled` when the signal fired, else
 * `unavailable`: no connection, another status, a redirect, an answer cut off or too slow.
 */
export async function download(url: string, options: DownloadOptions): Promise<Downloaded> {
  const { most, signal, timeoutMs = TIMEOUT_MS } = options;
  const limit = new AbortController();
  const timer = setTimeout(
    () => limit.abort(new Error(`no whole answer within ${timeoutMs} ms`)),
    timeoutMs,
  );
  try {
    const response = await fetch(url, {
      redirect: "manual",
      signal: AbortSignal.any([signal, limit.signal]),
    });
    const fault = statusFault(response.status);
    if (fault !== undefined) {
      await response.body?.cancel();
      throw fault(url);
    }
    return { body: await bounded(response, most, url), headers: response.headers };
  } catch (error) {
    if (signal.aborted) {
      throw new CocosError("cancelled", "Operation aborted by user!", { cause: error });
    }
    if (error instanceof CocosError) throw error;
    // Permission mistakes are ours, not the server's.
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new CocosError("unavailable", `Cannot fetch ${url}: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
}

function statusFault(status: number): ((url: string) => CocosError) | undefined {
  if (status === 200) return undefined;
  if (status === 404) return (url) => new CocosError("not-found", `Cannot fetch ${url}: not found`);
  if (status >= 300 && status < 400) {
    return (url) =>
      new CocosError(
        "unavailable",
        `Cannot fetch ${url}: redirects are refused (status ${status})`,
      );
  }
  return (url) =>
    new CocosError(
      "unavailable",
      `Cannot fetch ${url}: status ${status}`,
      status === 429 ? { hint: "The server limits requests; wait a minute and repeat." } : {},
    );
}

async function bounded(response: Response, most: number, url: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > most) {
      throw new CocosError("too-large", `Cannot fetch ${url}: it is longer than ${most} bytes`);
    }
    chunks.push(chunk);
  }
  const body = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}
