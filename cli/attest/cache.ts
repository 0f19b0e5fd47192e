// Collateral kept between runs (threat A-13): bounded in number and bytes, each item with its own
// expiry. A cached file is no more trusted than the server it came from.
import { Fields, parseJson } from "../../attestation/mod.ts";
import { decodeBase64, encodeBase64 } from "../../attestation/mod.ts";

/** Most items and most bytes that are kept. */
export const MAX_ITEMS = 128;
export const MAX_BYTES = 16 * 1024 * 1024;
const MAX_ITEM_BYTES = 4 * 1024 * 1024;

/** Clocks that went back by more than this make an item unusable. */
const MAX_SKEW_MS = 5 * 60_000;

/** One kept answer. */
export interface Item {
  readonly url: string;
  /** Milliseconds since 1970. */
  readonly fetched: number;
  /** From then on it is not used any more. */
  readonly expires: number;
  /** Headers that belong to it, names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** The kept answers of a folder. */
export class Cache {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** A kept answer that is still valid; anything doubtful counts as not there. */
  async read(url: string, now: number): Promise<Item | undefined> {
    const path = await this.#path(url);
    try {
      const info = await Deno.lstat(path);
      if (!info.isFile || info.size > MAX_ITEM_BYTES) return undefined;
      const item = parseItem(await Deno.readTextFile(path));
      const usable = item.url === url && item.fetched <= now + MAX_SKEW_MS && now < item.expires;
      return usable ? item : undefined;
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      return undefined;
    }
  }

  /** Keeps an answer and drops what is expired, then what ends first, until the bounds hold. */
  async write(item: Item, now: number): Promise<void> {
    const text = formatItem(item);
    if (text.length > MAX_ITEM_BYTES) return;
    await Deno.mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const path = await this.#path(item.url);
    const part = `${path}.part`;
    await Deno.remove(part).catch(() => {});
    await Deno.writeTextFile(part, text, { createNew: true, mode: 0o600 });
    // The file's time is the item's end, so that sweeping need not read any file.
    await Deno.utime(part, new Date(now), new Date(item.expires));
    await Deno.rename(part, path);
    await this.#sweep(now, path);
  }

  async #sweep(now: number, keep: string): Promise<void> {
    const found: { path: string; size: number; expires: number }[] = [];
    for await (const { name, isFile } of Deno.readDir(this.#folder)) {
      if (!isFile || !/^[0-9a-f]{64}\.json$/.test(name)) continue;
      const path = `${this.#folder}/${name}`;
      const { size, mtime } = await Deno.lstat(path);
      const expires = path === keep ? Infinity : mtime?.getTime() ?? 0;
      if (expires <= now) await Deno.remove(path).catch(() => {});
      else found.push({ path, size, expires });
    }
    found.sort((a, b) => a.expires - b.expires);
    let bytes = found.reduce((sum, { size }) => sum + size, 0);
    for (let count = found.length; count > MAX_ITEMS || bytes > MAX_BYTES; count--) {
      const first = found.shift();
      if (first === undefined || first.path === keep) return;
      bytes -= first.size;
      await Deno.remove(first.path).catch(() => {});
    }
  }

  async #path(url: string): Promise<string> {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(url));
    return `${this.#folder}/${new Uint8Array(digest).toHex()}.json`;
  }
}

function formatItem({ url, fetched, expires, headers, body }: Item): string {
  return JSON.stringify({
    cocosCache: 1,
    url,
    fetched,
    expires,
    headers,
    body: encodeBase64(body),
  });
}

function parseItem(text: string): Item {
  const fields = new Fields(
    parseJson(text, "a cache item", { characters: MAX_ITEM_BYTES }),
    "item",
  );
  fields.required("cocosCache", fields.integer("cocosCache", 1, 1));
  const headers = fields.required("headers", fields.object("headers"));
  const item = {
    url: fields.required("url", fields.string("url")),
    fetched: fields.required("fetched", fields.integer("fetched", 0, Number.MAX_SAFE_INTEGER)),
    expires: fields.required("expires", fields.integer("expires", 0, Number.MAX_SAFE_INTEGER)),
    headers: Object.fromEntries(
      headers.unread().map((name) => [name, headers.required(name, headers.string(name))]),
    ),
    body: decodeBase64(fields.required("body", fields.string("body"))),
  };
  fields.end();
  return item;
}
