// Folders and tables become archive entries, entries become one compressed layer of the image.
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { cpio, type Entry } from "./_cpio.ts";

/** Size and digest of a file of the image. */
export interface Measured {
  readonly bytes: number;
  /** SHA-256, hex. */
  readonly sha256: string;
}

/**
 * Entries of a folder as root's files: folders 0755, files 0644, or 0755 where one is executable.
 * `executable` decides for trees whose own bits don't count (a source checkout).
 */
export async function entriesOf(
  root: string,
  under = "",
  executable?: (path: string) => boolean,
): Promise<Entry[]> {
  const entries: Entry[] = [];
  const visit = async (below: string): Promise<void> => {
    for await (const { name } of Deno.readDir(below === "" ? root : `${root}/${below}`)) {
      const inside = below === "" ? name : `${below}/${name}`;
      const path = under === "" ? inside : `${under}/${inside}`;
      const source = `${root}/${inside}`;
      const info = await Deno.lstat(source);
      if (info.isSymlink) {
        entries.push({ kind: "link", path, mode: 0o777, target: await Deno.readLink(source) });
      } else if (info.isDirectory) {
        entries.push({ kind: "directory", path, mode: 0o755 });
        await visit(inside);
      } else {
        const runs = executable?.(path) ?? ((info.mode ?? 0) & 0o111) !== 0;
        entries.push({ kind: "copy", path, mode: runs ? 0o755 : 0o644, source, size: info.size });
      }
    }
  };
  await visit("");
  return entries;
}

/** Folders that only have to be there. */
export function folders(paths: Record<string, number>): Entry[] {
  return Object.entries(paths).map(([path, mode]) => ({ kind: "directory", path, mode }));
}

/** Writes entries as one gzip member; members after one another are one image to the kernel. */
export async function writeLayer(entries: readonly Entry[], path: string): Promise<void> {
  // Level 6 without a time or a name in its header: the same bytes on every machine.
  await pipeline(
    Readable.from(cpio(entries), { objectMode: false }),
    createGzip({ level: 6 }),
    createWriteStream(`${path}.partial`),
  );
  await Deno.rename(`${path}.partial`, path);
}

/** Joins layers to one file and measures it on the way. */
export async function join(layers: readonly string[], path: string): Promise<Measured> {
  const hash = createHash("sha256");
  let bytes = 0;
  await pipeline(async function* () {
    for (const layer of layers) {
      for await (const chunk of createReadStream(layer, { highWaterMark: 1 << 20 })) {
        hash.update(chunk as Uint8Array);
        bytes += (chunk as Uint8Array).length;
        yield chunk as Uint8Array;
      }
    }
  }, createWriteStream(`${path}.partial`));
  await Deno.rename(`${path}.partial`, path);
  return { bytes, sha256: hash.digest("hex") };
}
