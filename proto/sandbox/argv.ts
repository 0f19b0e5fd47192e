// Bubblewrap's command line as data. The template is closed: a caller names directories and a
// program, never a flag. Nothing inside the sandbox is trusted.

/** A host path shown inside. */
export interface Bind {
  /** Absolute path outside. */
  readonly source: string;
  /** Absolute path inside. */
  readonly target: string;
  readonly writable: boolean;
}

/** What to run and what it sees beside the system's read-only `/usr`. */
export interface SandboxSpec {
  /** Absolute path inside. */
  readonly program: string;
  readonly args: readonly string[];
  readonly binds: readonly Bind[];
  /** Working directory inside; made if no bind makes it. */
  readonly cwd: string;
  /** Size of `/tmp` and of `/dev/shm`, each, in bytes. */
  readonly tmpBytes: number;
}

/** Descriptors handed to bubblewrap; none of them reaches the program. */
export const Fd = {
  /** The seccomp program, read to its end. */
  SECCOMP: 3,
  /** The program starts when a byte comes here: after its move into the cgroup. */
  BLOCK: 4,
  /** bubblewrap writes JSON lines here: `child-pid`, and `exit-code` if the program began. */
  STATUS: 5,
  /** Held open by the sandbox's first process: its end is the end of the pid namespace. */
  ALIVE: 6,
  PASSWD: 7,
  GROUP: 8,
  NSSWITCH: 9,
} as const;

/** User and group the program believes to be; outside it is the runner's own uid and gid. */
export const INSIDE_ID = 1000;

/** The whole environment of every program. */
export const ENVIRONMENT: Readonly<Record<string, string>> = {
  HOME: "/tmp",
  LANG: "C.UTF-8",
  PATH: "/usr/bin:/bin",
  TMPDIR: "/tmp",
};

/** Files of the sandbox's `/etc` that are ours, by descriptor. */
export const ETC: ReadonlyMap<number, { readonly path: string; readonly text: string }> = new Map([
  [Fd.PASSWD, {
    path: "/etc/passwd",
    text: `algorithm:x:${INSIDE_ID}:${INSIDE_ID}::/tmp:/bin/false\n`,
  }],
  [Fd.GROUP, { path: "/etc/group", text: `algorithm:x:${INSIDE_ID}:\n` }],
  [Fd.NSSWITCH, {
    path: "/etc/nsswitch.conf",
    text: "passwd: files\ngroup: files\nhosts: files\n",
  }],
]);

function checked(path: string): string {
  if (!/^\/(?!.*\/\/)[^\0]*$/.test(path) || /(^|\/)\.\.?(\/|$)/.test(path)) {
    throw new RangeError(`Cannot bind ${JSON.stringify(path)}: must be an absolute, plain path`);
  }
  return path;
}

/**
 * Arguments after `bwrap`.
 *
 * @throws {RangeError} for a path that is relative or has `.`, `..` or empty parts.
 */
export function sandboxArgv(spec: SandboxSpec): string[] {
  const size = String(spec.tmpBytes);
  const id = String(INSIDE_ID);
  return [
    // All namespaces, and none inside: `--disable-userns` sets the limit of new ones to zero.
    ...["--unshare-all", "--unshare-user", "--disable-userns", "--uid", id, "--gid", id],
    ...["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "cocos"],
    "--clearenv",
    ...Object.entries(ENVIRONMENT).flatMap(([name, value]) => ["--setenv", name, value]),
    ...["--ro-bind", "/usr", "/usr"],
    ...["--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin"],
    ...["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"],
    // As root of a namespace /proc/sys can be writable (core_pattern is then an escape): bind it
    // read-only as well, though we never start as root.
    ...["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"],
    ...["--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"],
    ...["--size", size, "--tmpfs", "/tmp"],
    // The linker's cache and Debian's alternatives (BLAS, LAPACK) if the system has them.
    ...["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"],
    ...["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"],
    ...[...ETC].flatMap(([fd, { path }]) => ["--ro-bind-data", String(fd), path]),
    ...["--dir", checked(spec.cwd)],
    ...spec.binds.flatMap(({ source, target, writable }) => [
      writable ? "--bind" : "--ro-bind",
      checked(source),
      checked(target),
    ]),
    ...["--remount-ro", "/", "--chdir", spec.cwd],
    ...["--seccomp", String(Fd.SECCOMP), "--block-fd", String(Fd.BLOCK)],
    ...["--json-status-fd", String(Fd.STATUS), "--sync-fd", String(Fd.ALIVE)],
    "--",
    checked(spec.program),
    ...spec.args,
  ];
}
