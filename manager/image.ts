// The guest image and the digests its builder wrote beside it: a VM of a half-copied or replaced
// image is refused before it starts (threats N-10). This guards against accidents of the operator;
// the parties' proof is the attested measurement, not this.
import { createHash } from "node:crypto";
import { CocosError, logger, messageOf } from "../base/mod.ts";

const log = logger("manager");

/** Name of the builder's list. */
const LIST = "measurements.json";

/** Largest list that is read; ours has 5 KB. */
const MAX_LIST_BYTES = 1024 * 1024;

/** Path of the list that belongs to a kernel. */
export function measurementsOf(kernel: string): string {
  return kernel.replace(/[^/]*$/, LIST);
}

/** Checks image files against the list; a file that didn't change isn't read again. */
export class ImageCheck {
  readonly #list: string;
  readonly #files: readonly string[];
  readonly #seen = new Map<string, string>();
  #warned = false;

  /** Files that don't lie beside the kernel are of another build and not in its list. */
  constructor(kernel: string, initrd: string) {
    this.#list = measurementsOf(kernel);
    const folder = kernel.slice(0, kernel.lastIndexOf("/") + 1);
    this.#files = [kernel, initrd].filter((each) =>
      each.slice(folder.length).indexOf("/") < 0 && each.startsWith(folder)
    );
  }

  /** @throws {CocosError} `digest-mismatch` naming the file. */
  async run(): Promise<void> {
    const wanted = await this.#wanted();
    if (wanted === undefined) return;
    for (const file of this.#files) {
      const digest = wanted[file.slice(file.lastIndexOf("/") + 1)];
      if (digest === undefined) continue;
      const info = await Deno.stat(file);
      const state = [info.ino, info.size, info.mtime?.getTime(), digest].join();
      if (this.#seen.get(file) === state) continue;
      const actual = await sha256File(file);
      if (actual !== digest) {
        throw new CocosError(
          "digest-mismatch",
          `Cannot use the image ${file}: its SHA-256 is ${actual}, its ${LIST} says ${digest}`,
          { hint: "Build or copy the image again, whole." },
        );
      }
      this.#seen.set(file, state);
    }
  }

  async #wanted(): Promise<Record<string, string> | undefined> {
    try {
      if ((await Deno.stat(this.#list)).size > MAX_LIST_BYTES) {
        throw new RangeError("it is too large");
      }
      const { files } = JSON.parse(await Deno.readTextFile(this.#list));
      return Object.fromEntries(
        Object.entries(files as Record<string, { sha256: unknown }>)
          .map(([name, { sha256 }]) => [name, String(sha256)]),
      );
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) {
        if (!this.#warned) {
          log.warn`the image has no ${this.#list}, so it is not checked`;
        }
        this.#warned = true;
        return undefined;
      }
      throw new CocosError("digest-mismatch", `Cannot read ${this.#list}: ${messageOf(error)}`, {
        cause: error,
        hint: "Build or copy the image again, whole.",
      });
    }
  }
}

/** SHA-256 of a file in lower-case hex; it is read in pieces. */
export async function sha256File(file: string): Promise<string> {
  const hash = createHash("sha256");
  using source = await Deno.open(file, { read: true });
  const chunk = new Uint8Array(1024 * 1024);
  for (let count; (count = await source.read(chunk)) !== null;) {
    hash.update(chunk.subarray(0, count));
  }
  return hash.digest("hex");
}
