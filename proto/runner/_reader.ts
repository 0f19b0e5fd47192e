// Bounded reading for the runner's protocol: lines out of bytes, fields out of objects. Nothing that
// comes in is trusted.
import { CocosError } from "../../base/mod.ts";

/**
 * Cuts a byte stream into lines without their newline, holding at most `max` bytes.
 *
 * @throws {CocosError} `too-large` for a longer line, `invalid-argument` for bytes that aren't
 * UTF-8, `data-loss` when the stream ends within a line.
 */
export async function* readLines(
  chunks: AsyncIterable<Uint8Array>,
  max: number,
): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let parts: Uint8Array[] = [];
  let held = 0;
  for await (let chunk of chunks) {
    while (true) {
      const end = chunk.indexOf(10);
      const part = end < 0 ? chunk : chunk.subarray(0, end);
      held += part.length;
      if (held > max) throw new CocosError("too-large", `Cannot read a line over ${max} bytes`);
      if (end < 0) {
        if (part.length > 0) parts.push(part.slice());
        break;
      }
      parts.push(part);
      const line = concat(parts, held);
      parts = [];
      held = 0;
      try {
        yield decoder.decode(line);
      } catch (cause) {
        throw cause instanceof TypeError ? bad("a line", "be UTF-8", cause) : cause;
      }
      chunk = chunk.subarray(end + 1);
    }
  }
  if (held > 0) throw new CocosError("data-loss", "Cannot read on: the peer ended within a line");
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** An error that names a field and its rule. */
export function bad(field: string, rule: string, cause?: unknown): CocosError {
  return new CocosError(
    "invalid-argument",
    `Cannot read the runner's protocol: ${field} must ${rule}`,
    cause === undefined ? {} : { cause },
  );
}

/** Takes fields out of a parsed object one by one; whatever is left over is an error. */
export class Reader {
  readonly #left: Map<string, unknown>;
  readonly #path: string;

  constructor(value: unknown, path: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw bad(path === "" ? "a line" : path.slice(0, -1), "be an object");
    }
    this.#left = new Map(Object.entries(value));
    this.#path = path;
  }

  has(name: string): boolean {
    return this.#left.has(name);
  }

  take(name: string): unknown {
    const value = this.#left.get(name);
    this.#left.delete(name);
    return value;
  }

  boolean(name: string): boolean {
    const value = this.take(name);
    if (typeof value !== "boolean") throw bad(this.#path + name, "be true or false");
    return value;
  }

  text(name: string, max: number): string {
    const value = this.take(name);
    if (
      typeof value !== "string" || value.length > max || value.includes("\0") ||
      !value.isWellFormed()
    ) {
      throw bad(this.#path + name, `be text without NUL of at most ${max} characters`);
    }
    return value;
  }

  matching(name: string, test: (text: string) => boolean): string {
    const value = this.text(name, 256);
    if (!test(value)) throw bad(this.#path + name, "be job- and 16 hexadecimal digits");
    return value;
  }

  word<const W extends string>(name: string, words: readonly W[]): W {
    const value = this.take(name);
    const word = words.find((each) => each === value);
    if (word === undefined) throw bad(this.#path + name, `be one of ${words.join(", ")}`);
    return word;
  }

  number(name: string, min: number, max: number): number {
    const value = this.take(name);
    if (typeof value !== "number" || !(value >= min && value <= max)) {
      throw bad(this.#path + name, min === max ? `be ${min}` : `be a number from ${min} to ${max}`);
    }
    return value;
  }

  count(name: string): number {
    const value = this.number(name, 0, Number.MAX_SAFE_INTEGER);
    if (!Number.isInteger(value)) throw bad(this.#path + name, "be a whole number");
    return value;
  }

  done<T>(value: T): T {
    const [extra] = this.#left.keys();
    if (extra !== undefined) {
      throw bad(this.#path + JSON.stringify(extra.slice(0, 64)), "not be there");
    }
    return Object.freeze(value);
  }
}
