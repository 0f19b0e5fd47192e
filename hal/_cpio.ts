// The newc archive the kernel unpacks as its first root (kernel Documentation, initramfs buffer
// format). Written by hand so that the same tree always gives the same bytes: sorted names, owner,
// mode and time from the entry alone, serial inode numbers, one archive a layer.

/** What an archive entry may be. */
export type Entry =
  & {
    /** Path from the root, without a leading slash. */
    readonly path: string;
    /** Permission bits, e.g. 0o755. */
    readonly mode: number;
    readonly uid?: number;
    readonly gid?: number;
  }
  & (
    | { readonly kind: "directory" }
    | { readonly kind: "file"; readonly content: Uint8Array }
    /** A file read when it is written; `size` and `sha256` are known beforehand. */
    | { readonly kind: "copy"; readonly source: string; readonly size: number }
    | { readonly kind: "link"; readonly target: string }
    | { readonly kind: "device"; readonly major: number; readonly minor: number }
  );

const TYPE = {
  directory: 0o040000,
  file: 0o100000,
  copy: 0o100000,
  link: 0o120000,
  device: 0o020000,
} as const;

const MAGIC = "070701";
const TRAILER = "TRAILER!!!";
/** Field 10 of the header is eight hexadecimal digits: nothing longer fits. */
const MAX_FILE_BYTES = 0xffff_ffff;
const encoder = new TextEncoder();

/** 110 bytes of header and the name, padded to a multiple of four. */
function header(
  inode: number,
  name: string,
  mode: number,
  links: number,
  size: number,
  owner: { uid: number; gid: number },
  device: { major: number; minor: number },
): Uint8Array {
  const nameBytes = encoder.encode(`${name}\0`);
  const fields = [
    inode,
    mode,
    owner.uid,
    owner.gid,
    links,
    0, // time of change: the epoch, in every build
    size,
    0,
    0,
    device.major,
    device.minor,
    nameBytes.length,
    0,
  ];
  const text = MAGIC + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  const bytes = new Uint8Array(padded(text.length + nameBytes.length));
  bytes.set(encoder.encode(text));
  bytes.set(nameBytes, text.length);
  return bytes;
}

function padded(length: number): number {
  return (length + 3) & ~3;
}

/** Entries in the order they are written: by path, every parent before its children. */
export function sorted(entries: Iterable<Entry>): Entry[] {
  const byPath = new Map<string, Entry>();
  for (const entry of entries) {
    if (!/^[^/\0]+(\/[^/\0]+)*$/.test(entry.path) || /(^|\/)\.\.?(\/|$)/.test(entry.path)) {
      throw new RangeError(`Cannot archive ${JSON.stringify(entry.path)}: not a plain path`);
    }
    if (byPath.has(entry.path)) throw new RangeError(`Cannot archive ${entry.path} twice`);
    byPath.set(entry.path, entry);
  }
  const order = [...byPath.values()].sort((a, b) => a.path < b.path ? -1 : 1);
  for (const { path } of order) {
    const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    if (parent !== "" && byPath.get(parent)?.kind !== "directory") {
      throw new RangeError(`Cannot archive ${path}: ${parent} is no directory of the archive`);
    }
  }
  return order;
}

/**
 * The archive, piece by piece, padded to 512 bytes so that another layer can follow it.
 *
 * @throws {RangeError} for a path that is not plain, twice the same path, or a missing parent.
 */
export async function* cpio(entries: Iterable<Entry>): AsyncGenerator<Uint8Array> {
  let written = 0;
  let inode = 0;
  for (const entry of sorted(entries)) {
    inode += 1;
    const body = await bodyOf(entry);
    if (body.length > MAX_FILE_BYTES) throw new RangeError(`Cannot archive ${entry.path}: too big`);
    const head = header(
      inode,
      entry.path,
      TYPE[entry.kind] | entry.mode,
      entry.kind === "directory" ? 2 : 1,
      body.length,
      { uid: entry.uid ?? 0, gid: entry.gid ?? 0 },
      entry.kind === "device" ? entry : { major: 0, minor: 0 },
    );
    yield head;
    if (body.length > 0) yield body;
    const fill = padded(body.length) - body.length;
    if (fill > 0) yield new Uint8Array(fill);
    written += head.length + body.length + fill;
  }
  const none = { uid: 0, gid: 0 };
  const end = header(0, TRAILER, 0, 1, 0, none, { major: 0, minor: 0 });
  yield end;
  const fill = (512 - (written + end.length) % 512) % 512;
  if (fill > 0) yield new Uint8Array(fill);
}

async function bodyOf(entry: Entry): Promise<Uint8Array> {
  switch (entry.kind) {
    case "file":
      return entry.content;
    case "link":
      return encoder.encode(entry.target);
    case "copy": {
      const bytes = await Deno.readFile(entry.source);
      if (bytes.length !== entry.size) {
        throw new RangeError(`Cannot archive ${entry.source}: its size changed during the build`);
      }
      return bytes;
    }
    default:
      return new Uint8Array();
  }
}
