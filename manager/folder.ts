// The manager's folder on the host: one owner, one manager at a time, nothing for other users
// (threats N-11, N-12, N-13).
import { CocosError, messageOf } from "../base/mod.ts";
import { ignoreMissing } from "./record.ts";

/** The state folder, held by this process until disposed. */
export class StateFolder implements Disposable {
  readonly path: string;
  /** User id of this process. */
  readonly uid: number | null;
  readonly #lock: Deno.FsFile;

  private constructor(path: string, uid: number | null, lock: Deno.FsFile) {
    this.path = path;
    this.uid = uid;
    this.#lock = lock;
  }

  /**
   * Makes the folder where it is missing and locks it.
   *
   * @throws {CocosError} `permission-denied` for a folder of another user or a link, `conflict`
   * while another manager holds it.
   */
  static async open(path: string, uid: number | null = Deno.uid()): Promise<StateFolder> {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    await own(path, uid);
    for (const each of ["vms", "qmp", "aside"]) {
      await Deno.mkdir(`${path}/${each}`, { mode: 0o700 }).catch(ignoreExisting);
      await own(`${path}/${each}`, uid);
    }
    const lock = await Deno.open(`${path}/lock`, {
      create: true,
      read: true,
      write: true,
      mode: 0o600,
    });
    if (!lock.tryLockSync(true)) {
      lock.close();
      throw new CocosError("conflict", `Cannot start: another manager uses ${path}`, {
        hint: "Stop that manager, or give this one its own MANAGER_STATE_DIR and port range.",
      });
    }
    return new StateFolder(path, uid, lock);
  }

  /** Folder of one VM. */
  vm(id: string): string {
    return `${this.path}/vms/${id}`;
  }

  /**
   * Control socket of the VM on a port. Deno's permissions name sockets one by one, so their names
   * must be known at start: they follow from the port, not from the id.
   */
  socket(port: number): string {
    return socketPath(this.path, port);
  }

  /** Where ends of VMs are listed. */
  get ends(): string {
    return `${this.path}/exits.json`;
  }

  /** Moves a damaged file out of the way and says where it went. */
  async setAside(path: string, name: string, now: number): Promise<string> {
    const target = `${this.path}/aside/${name}-${now}`;
    await Deno.rename(path, target);
    return target;
  }

  [Symbol.dispose](): void {
    this.#lock.close();
  }
}

/** Path of the control socket of the VM on a port, beneath a state folder. */
export function socketPath(stateDir: string, port: number): string {
  return `${stateDir}/qmp/${port}.sock`;
}

async function own(path: string, uid: number | null): Promise<void> {
  const info = await Deno.lstat(path);
  if (!info.isDirectory || (uid !== null && info.uid !== uid)) {
    throw new CocosError(
      "permission-denied",
      `Cannot use ${path}: it must be a folder of this user, not a link`,
      { hint: "Set MANAGER_STATE_DIR to a folder of your own." },
    );
  }
  if (((info.mode ?? 0) & 0o077) !== 0) await Deno.chmod(path, 0o700);
}

function ignoreExisting(error: unknown): void {
  if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
}

/** Writes a new private file; one that exists already is somebody else's and an error. */
export async function writeNew(path: string, content: string): Promise<void> {
  await Deno.writeTextFile(path, content, { createNew: true, mode: 0o600 });
}

/** Copies into a new private file. The Go manager's text where the source is missing. */
export async function copyNew(from: string, to: string): Promise<void> {
  let source: Deno.FsFile;
  try {
    source = await Deno.open(from, { read: true });
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound
      ? "no such file or directory"
      : messageOf(cause);
    throw new CocosError("io", `open ${from}: ${why}`, { cause });
  }
  const target = await Deno.open(to, { write: true, createNew: true, mode: 0o600 }).catch(
    (error) => {
      source.close();
      throw error;
    },
  );
  await source.readable.pipeTo(target.writable);
}

/** Removes a file or tree; it need not be there. */
export async function removeAll(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch(ignoreMissing);
}
