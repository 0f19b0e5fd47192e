// Reads the KEY=value file a host puts in the environment share. The host is not trusted (threats
// H-1, H-2): a regular file, small, only known keys, each once, no control characters; nothing of it
// ever becomes an environment variable of a process.
import { CocosError } from "../base/mod.ts";

/** Largest file: two dozen settings of at most 4,096 characters each fit with room. */
export const MAX_ENV_FILE_BYTES = 64 * 1024;

/** Settings of a file, and the names in it that the agent does not know. */
export interface EnvFile {
  readonly values: ReadonlyMap<string, string>;
  readonly ignored: readonly string[];
}

/**
 * Parses the lines of an environment file. Blank lines and lines that begin with `#` are skipped;
 * there is no quoting: what follows the first `=` is the value.
 *
 * @throws {CocosError} `invalid-config` that lists every bad line.
 */
export function parseEnvFile(bytes: Uint8Array, known: ReadonlySet<string>): EnvFile {
  const mistakes: string[] = [];
  const values = new Map<string, string>();
  const ignored = new Set<string>();
  if (bytes.length > MAX_ENV_FILE_BYTES) {
    throw refused([`must have at most ${MAX_ENV_FILE_BYTES} bytes, has ${bytes.length}`]);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw refused(["must be UTF-8"], cause);
  }
  text.split("\n").forEach((line, index) => {
    if (line === "" || line.startsWith("#")) return;
    const where = `line ${index + 1}`;
    const parts = /^([A-Z][A-Z0-9_]{0,63})=(.*)$/s.exec(line);
    if (parts === null) {
      mistakes.push(`${where}: must be KEY=value with a key of A-Z, 0-9 and _`);
      return;
    }
    const [, key = "", value = ""] = parts;
    // deno-lint-ignore no-control-regex
    if (/[\x00-\x1f\x7f]/.test(value)) {
      mistakes.push(`${where}: value of ${key} has a control character`);
    } else if (!known.has(key)) {
      ignored.add(key);
    } else if (values.has(key)) {
      mistakes.push(`${where}: ${key} is set twice`);
    } else {
      values.set(key, value);
    }
  });
  if (mistakes.length > 0) throw refused(mistakes.slice(0, 20));
  return { values, ignored: [...ignored] };
}

/**
 * Reads a small regular file whole, without following a link at its last component.
 *
 * @throws {CocosError} `invalid-config` with the path and the reason.
 */
export function readSmallFile(path: string, maxBytes: number): Uint8Array {
  const bad = (rule: string, cause?: unknown) =>
    new CocosError(
      "invalid-config",
      `Cannot read ${path}: ${rule}`,
      cause === undefined ? {} : { cause },
    );
  try {
    const before = Deno.lstatSync(path);
    if (!before.isFile) throw bad("must be a regular file");
    if (before.size > maxBytes) throw bad(`must have at most ${maxBytes} bytes`);
    using file = Deno.openSync(path, { read: true });
    const opened = file.statSync();
    if (opened.ino !== before.ino || opened.dev !== before.dev) throw bad("was replaced meanwhile");
    const buffer = new Uint8Array(before.size + 1);
    let length = 0;
    while (length < buffer.length) {
      const count = file.readSync(buffer.subarray(length));
      if (count === null) break;
      length += count;
    }
    if (length > before.size) throw bad("grew meanwhile");
    return buffer.slice(0, length);
  } catch (cause) {
    if (cause instanceof CocosError) throw cause;
    if (cause instanceof Deno.errors.NotFound) throw bad("no such file", cause);
    throw bad(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function refused(mistakes: readonly string[], cause?: unknown): CocosError {
  return new CocosError(
    "invalid-config",
    `Cannot use the configuration file:\n  ${mistakes.join("\n  ")}`,
    cause === undefined ? {} : { cause },
  );
}
