// Replaces a small file so that a reader, a kill or a power cut finds the version before or the
// version after, never a mix (threats C-2): a draft beside it, written and synced, then renamed.

/** The steps a replacement is made of; tests record them and cut the power between any two. */
export interface Disk {
  /** Makes or empties a file that only its owner reads, and writes all of it. */
  write(path: string, bytes: Uint8Array): void;
  /** Returns when the file's bytes are on the disk. */
  sync(path: string): void;
  rename(from: string, to: string): void;
  /** Returns when the folder's names are on the disk. */
  syncFolder(path: string): void;
}

/** The real one. */
export const DISK: Disk = {
  write(path, bytes) {
    using file = Deno.openSync(path, { write: true, create: true, truncate: true, mode: 0o600 });
    let rest = bytes;
    while (rest.length > 0) rest = rest.subarray(file.writeSync(rest));
  },
  sync(path) {
    using file = Deno.openSync(path, { read: true });
    file.syncSync();
  },
  rename: (from, to) => Deno.renameSync(from, to),
  syncFolder(path) {
    using folder = Deno.openSync(path, { read: true });
    folder.syncSync();
  },
};

/**
 * Gives a file of a folder new content.
 *
 * @throws what the disk throws; the previous version is then still there.
 */
export function replaceFile(folder: string, name: string, text: string, disk: Disk = DISK): void {
  const draft = `${folder}/${name}.new`;
  disk.write(draft, new TextEncoder().encode(text));
  disk.sync(draft);
  disk.rename(draft, `${folder}/${name}`);
  disk.syncFolder(folder);
}
