// A file that appears under its name only when it is whole (threats O-8): it is written beside, as
// `<name>.part`, and takes its name at commit. Links at either name are never followed.
import { CocosError, messageOf } from "../base/mod.ts";

/** Name of the unfinished file of a path. */
export function partOf(path: string): string {
  return `${path}.part`;
}

/** Options of {@linkcode Draft.open}. */
export interface DraftOptions {
  /** Unix permissions of the file. */
  readonly mode: number;
  /** Replace what has the name already; a link is replaced, not followed. */
  readonly force: boolean;
}

/** An unfinished file; dispose it to drop it if it was not committed. */
export class Draft implements AsyncDisposable {
  /** Where the bytes are until commit. */
  readonly part: string;
  readonly #path: string;
  readonly #force: boolean;
  #file: Deno.FsFile | undefined;
  #committed = false;

  private constructor(path: string, file: Deno.FsFile, force: boolean) {
    this.part = partOf(path);
    this.#path = path;
    this.#file = file;
    this.#force = force;
  }

  /**
   * Opens the unfinished file of `path`.
   *
   * @throws {CocosError} `already-exists` when the name or its `.part` is taken and `force` is not
   * set, `io` when it can't be made.
   */
  static async open(path: string, { mode, force }: DraftOptions): Promise<Draft> {
    await refuseExisting(path, force);
    const part = partOf(path);
    if (force) await Deno.remove(part).catch(() => {});
    try {
      const file = await Deno.open(part, { write: true, createNew: true, mode });
      return new Draft(path, file, force);
    } catch (cause) {
      if (cause instanceof Deno.errors.AlreadyExists) {
        throw new CocosError(
          "already-exists",
          `Cannot write ${JSON.stringify(path)} as ${JSON.stringify(part)} exists: another run ` +
            "writes it, or an earlier one was cut off",
          { cause, hint: `If no other run is active, remove ${part} or use --force.` },
        );
      }
      throw new CocosError("io", `Cannot write ${JSON.stringify(path)}: ${messageOf(cause)}`, {
        cause,
        hint: "Check that the directory exists and may be written to.",
      });
    }
  }

  /** Appends all of `bytes`. */
  async write(bytes: Uint8Array): Promise<void> {
    const file = this.#file;
    if (file === undefined) throw new CocosError("internal", "Cannot write to a closed draft");
    try {
      for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    } catch (cause) {
      throw this.#failed(cause);
    }
  }

  /** Brings the bytes to the disk; nothing can be written afterwards. */
  async finish(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    try {
      await file.sync();
    } catch (cause) {
      throw this.#failed(cause);
    } finally {
      file.close();
      this.#file = undefined;
    }
  }

  /**
   * Gives the file its name. Without `force` this is a hard link, which fails when somebody took
   * the name meanwhile; a rename would replace it.
   */
  async commit(): Promise<void> {
    await this.finish();
    try {
      if (this.#force || !await this.#link()) await Deno.rename(this.part, this.#path);
      this.#committed = true;
    } catch (cause) {
      throw cause instanceof CocosError ? cause : this.#failed(cause);
    }
  }

  async #link(): Promise<boolean> {
    try {
      await Deno.link(this.part, this.#path);
    } catch (cause) {
      if (cause instanceof Deno.errors.AlreadyExists) throw taken(this.#path);
      // A file system without hard links: the name was free when the draft was opened.
      await refuseExisting(this.#path, false);
      return false;
    }
    await Deno.remove(this.part);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#file?.close();
    this.#file = undefined;
    if (!this.#committed) await Deno.remove(this.part).catch(() => {});
  }

  #failed(cause: unknown): CocosError {
    return new CocosError("io", `Cannot write ${JSON.stringify(this.#path)}: ${messageOf(cause)}`, {
      cause,
      hint: "Check the free space and the rights on the directory.",
    });
  }
}

/**
 * Refuses a name that is taken, also by a dangling link.
 *
 * @throws {CocosError} `already-exists`; always for a directory, else unless `force` is set.
 */
export async function refuseExisting(path: string, force: boolean): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return;
    throw new CocosError("io", `Cannot look at ${JSON.stringify(path)}: ${messageOf(cause)}`, {
      cause,
    });
  }
  if (info.isDirectory || !force) throw taken(path, info.isDirectory);
}

function taken(path: string, directory = false): CocosError {
  return new CocosError(
    "already-exists",
    `Cannot write ${JSON.stringify(path)} as ${directory ? "a directory" : "something"} of that ` +
      "name exists",
    { hint: directory ? "Give another name." : "Give another name, or replace it with --force." },
  );
}
