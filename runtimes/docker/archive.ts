// The uploaded archive: which files it holds and where, without unpacking anything. `docker save` and
// OCI layouts are both tar files of small trees.
import { refuse } from "../contract.ts";
import { BLOCK, Headers, padded } from "./tar.ts";

/** Most entries of an archive: a few for each layer. */
const MAX_FILES = 4096;
/** Bytes read at a time. */
const CHUNK = 256 << 10;

/** Where a file's content is. */
export interface Span {
  readonly offset: number;
  readonly size: number;
}

/** An opened archive. */
export class Archive implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #spans = new Map<string, Span>();
  readonly #links = new Map<string, string>();

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /**
   * Opens and indexes an archive.
   *
   * @throws {CocosError} `invalid-argument` when it isn't a tar, or is one with surprises.
   */
  static async open(path: string): Promise<Archive> {
    const archive = new Archive(await Deno.open(path));
    try {
      await archive.#index();
      return archive;
    } catch (error) {
      archive[Symbol.dispose]();
      throw error;
    }
  }

  async #index(): Promise<void> {
    const { size: end } = await this.#file.stat();
    const headers = new Headers();
    for (let at = 0; at < end;) {
      if (this.#spans.size + this.#links.size > MAX_FILES) {
        refuse(`The image's archive has over ${MAX_FILES} files`);
      }
      const found = headers.read(await this.#exactly({ offset: at, size: BLOCK }));
      at += BLOCK;
      if (found === "end") return;
      if ("extension" in found) {
        const content = await this.#exactly({ offset: at, size: found.size });
        headers.extend(found.extension, content);
        at += padded(found.size);
        continue;
      }
      const { kind, path, size, target } = found;
      if (this.#spans.has(path) || this.#links.has(path)) {
        refuse(`The image's archive has ${JSON.stringify(path)} twice`);
      }
      if (kind === "file") {
        if (at + size > end) refuse("The image's archive is cut off");
        this.#spans.set(path, { offset: at, size });
      } else if (kind === "symlink") this.#links.set(path, target);
      else if (kind !== "directory") refuse(`The image's archive has a ${kind} in it`);
      at += padded(size);
    }
  }

  /** Whether a file of this name is there. */
  has(path: string): boolean {
    return this.#spans.has(path);
  }

  /** Where a file is; `docker save` links a layer that occurs twice to its first place. */
  span(path: unknown): Span {
    if (typeof path === "string") {
      const linked = this.#links.get(path);
      const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
      const real = linked === undefined ? path : joined(parent, linked);
      const span = this.#spans.get(real);
      if (span !== undefined) return span;
    }
    refuse(`The image's archive lacks a file it names: ${JSON.stringify(path)?.slice(0, 100)}`);
  }

  /** A small file as a whole. */
  async read(path: unknown, most: number): Promise<Uint8Array<ArrayBuffer>> {
    const span = this.span(path);
    if (span.size > most) refuse(`The image has a description of over ${most} bytes`);
    return await this.#exactly(span);
  }

  /** A file's content in pieces. */
  async *chunks({ offset, size }: Span): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for (let at = 0; at < size; at += CHUNK) {
      yield await this.#exactly({ offset: offset + at, size: Math.min(CHUNK, size - at) });
    }
  }

  async #exactly({ offset, size }: Span): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(size);
    await this.#file.seek(offset, Deno.SeekMode.Start);
    for (let held = 0; held < size;) {
      const read = await this.#file.read(bytes.subarray(held));
      if (read === null) refuse("The image's archive is cut off");
      held += read;
    }
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** A link's target beside it, `..` resolved; nothing above the archive exists. */
function joined(parent: string, target: string): string {
  const parts = parent === "" ? [] : parent.split("/");
  for (const part of target.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}
