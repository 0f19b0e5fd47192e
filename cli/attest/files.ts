// Files the commands read: bounded, and with an error that names the file. Their content is not
// trusted.
import { CocosError, messageOf } from "../../base/mod.ts";

/** Largest evidence file: a container with quotes and a log; messages of the agent have 4 MiB. */
export const MAX_EVIDENCE_BYTES = 4 * 1024 * 1024;
/** Largest policy, key or certificate file. */
export const MAX_TEXT_BYTES = 32 * 1024 * 1024;

/**
 * Reads a file of at most `most` bytes.
 *
 * @throws {CocosError} `not-found`, `too-large` or `io`, with the path.
 */
export async function readBytes(path: string, most: number): Promise<Uint8Array<ArrayBuffer>> {
  try {
    using file = await Deno.open(path);
    const { isFile, size } = await file.stat();
    if (isFile && size > most) {
      throw new CocosError(
        "too-large",
        `Cannot read ${JSON.stringify(path)}: it has ${size} bytes, at most ${most} are taken`,
      );
    }
    const bytes = new Uint8Array(isFile ? size : most);
    let length = 0;
    while (length < bytes.length) {
      const read = await file.read(bytes.subarray(length));
      if (read === null) break;
      length += read;
    }
    return bytes.subarray(0, length);
  } catch (cause) {
    if (cause instanceof CocosError) throw cause;
    const missing = cause instanceof Deno.errors.NotFound;
    throw new CocosError(
      missing ? "not-found" : "io",
      `Cannot read ${JSON.stringify(path)}: ${missing ? "no such file" : messageOf(cause)}`,
      { cause },
    );
  }
}

/** Reads a text file; UTF-8 must be well formed. */
export async function readText(path: string, most = MAX_TEXT_BYTES): Promise<string> {
  const bytes = await readBytes(path, most);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CocosError("invalid-argument", `Cannot read ${JSON.stringify(path)}: no UTF-8`, {
      cause,
    });
  }
}
