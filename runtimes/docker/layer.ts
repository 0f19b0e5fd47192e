// One layer of an image, read once from end to end before the engine sees it: bounded, its digest
// taken, and nothing in it that would trip the engine, which unpacks it as root.
import { createHash } from "node:crypto";
import { refuse } from "../contract.ts";
import { BLOCK, type Entry, Headers, padded } from "./tar.ts";

/** Most bytes of all layers together, unpacked. */
export const MAX_LAYER_BYTES = 16 * 2 ** 30;
/** Most entries of all layers together. */
export const MAX_ENTRIES = 500_000;

/** Directories where the engine mounts or writes: in no layer may they be anything else. */
const DIRECTORIES = [
  "cocos",
  "cocos/datasets",
  "cocos/results",
  "dev",
  "etc",
  "proc",
  "sys",
  "tmp",
];
/** Files the engine reads, as root and with no limit, whatever user is asked for. */
const FILES = ["etc/passwd", "etc/group"];
/** Largest of them. */
const MAX_FILE = 1 << 20;

/** What all layers of one image are held to together. */
export class LayerRules {
  readonly #directories: Set<string>;
  /** Links so far: the engine would write through them. */
  readonly #links = new Set<string>();
  #entries = 0;
  #bytes = 0;

  /** `workdir`, an absolute path, must not lead through a link either. */
  constructor(workdir: string) {
    const parts = workdir.split("/").filter((part) => part !== "");
    this.#directories = new Set([
      ...DIRECTORIES,
      ...parts.map((_, index) => parts.slice(0, index + 1).join("/")),
    ]);
  }

  /** Counts bytes of a layer. */
  bytes(length: number): void {
    this.#bytes += length;
    if (this.#bytes > MAX_LAYER_BYTES) refuse(`The image unpacks to over ${MAX_LAYER_BYTES} bytes`);
  }

  /** Judges an entry. */
  entry({ kind, path, target, size }: Entry): void {
    if (++this.#entries > MAX_ENTRIES) refuse(`The image has over ${MAX_ENTRIES} entries`);
    if (path === "") {
      if (kind !== "directory") refuse("The image's root isn't a directory");
      return;
    }
    const shown = JSON.stringify(path.slice(-64));
    if (this.#throughLink(path)) refuse(`The image writes ${shown} through a link`);
    if (/(^|\/)\.wh\.[^/]*\//.test(path)) refuse(`The image has ${shown} in a whiteout`);
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (name.startsWith(".wh.")) {
      // Whiteouts hide what lies below; these two are files without content by their definition.
      if (kind !== "file" || size !== 0) refuse(`The image has ${shown}, no whiteout`);
      if (name.startsWith(".wh..wh.") && name !== ".wh..wh..opq") {
        refuse(`The image has ${shown}, which is for another file system`);
      }
      this.#links.delete(path.slice(0, -name.length) + name.slice(4));
      return;
    }
    if (kind === "device" && !path.startsWith("dev/")) refuse(`The image has the device ${shown}`);
    if (this.#directories.has(path) && kind !== "directory") {
      refuse(`The image's /${path} isn't a directory`);
    }
    if (FILES.includes(path) && (kind !== "file" || size > MAX_FILE)) {
      refuse(`The image's /${path} isn't a file of at most ${MAX_FILE} bytes`);
    }
    if (kind === "hardlink") {
      const real = target.split("/").filter((part) => part !== "" && part !== ".").join("/");
      // Neither a device's second name outside /dev, nor one whose first name can't be told.
      if (/^dev\/|(^|\/)\.\.(\/|$)/.test(real) || this.#throughLink(real)) {
        refuse(`The image has ${shown}, a hard link to ${JSON.stringify(real.slice(-64))}`);
      }
    }
    // A hard link can be one more name of a symbolic one.
    if (kind === "symlink" || kind === "hardlink") this.#links.add(path);
    else this.#links.delete(path);
  }

  #throughLink(path: string): boolean {
    for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) {
      if (this.#links.has(path.slice(0, at))) return true;
    }
    return false;
  }
}

/** Size and digest of a layer, unpacked. */
export interface LayerFacts {
  readonly bytes: number;
  /** SHA-256 of the tar, hex. */
  readonly sha256: string;
}

/**
 * Reads a layer's tar.
 *
 * @throws {CocosError} `invalid-argument` that says what is wrong with it.
 */
export async function readLayer(
  chunks: AsyncIterable<Uint8Array>,
  rules: LayerRules,
): Promise<LayerFacts> {
  const hash = createHash("sha256");
  const scanner = new Scanner(rules);
  let bytes = 0;
  for await (const chunk of chunks) {
    rules.bytes(chunk.length);
    bytes += chunk.length;
    hash.update(chunk);
    scanner.feed(chunk);
  }
  scanner.end();
  return { bytes, sha256: hash.digest("hex") };
}

/** Cuts a stream into headers, extension records and content that is passed over. */
class Scanner {
  readonly #headers = new Headers();
  readonly #rules: LayerRules;
  /** Bytes of content still to pass over. */
  #skip = 0;
  /** What is being collected: a header, or the extension record named here. */
  #collecting = new Uint8Array(BLOCK);
  #held = 0;
  #extension: { readonly type: string; readonly size: number } | undefined;
  #zeroBlocks = 0;

  constructor(rules: LayerRules) {
    this.#rules = rules;
  }

  feed(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, chunk.length - at);
        this.#skip -= step;
        at += step;
        continue;
      }
      const step = Math.min(this.#collecting.length - this.#held, chunk.length - at);
      this.#collecting.set(chunk.subarray(at, at + step), this.#held);
      this.#held += step;
      at += step;
      if (this.#held === this.#collecting.length) this.#take();
    }
  }

  #take(): void {
    const taken = this.#collecting;
    this.#held = 0;
    if (this.#extension !== undefined) {
      const { type, size } = this.#extension;
      this.#headers.extend(type, taken.subarray(0, size));
      this.#extension = undefined;
      this.#collecting = new Uint8Array(BLOCK);
      return;
    }
    const found = this.#headers.read(taken);
    if (found === "end") {
      this.#zeroBlocks++;
    } else if (this.#zeroBlocks > 0) {
      refuse("The image has a layer that goes on after its end");
    } else if ("extension" in found) {
      if (found.size === 0) return this.#headers.extend(found.extension, new Uint8Array());
      this.#extension = { type: found.extension, size: found.size };
      this.#collecting = new Uint8Array(padded(found.size));
    } else {
      this.#rules.entry(found);
      this.#skip = padded(found.size);
    }
  }

  end(): void {
    // An empty layer is two blocks of zeros; some writers leave them away at the end.
    if (this.#skip > 0 || this.#held > 0 || this.#extension !== undefined) {
      refuse("The image has a layer that is cut off");
    }
  }
}
