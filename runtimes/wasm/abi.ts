// WASI preview 1 as numbers: error codes, rights, types and the signature of every function.
// Source: WebAssembly/WASI, legacy/preview1 (witx); layouts are those of its 32-bit ABI.

/** Error codes (`errno`) this host answers. */
export const Errno = {
  SUCCESS: 0,
  TOO_BIG: 1,
  ACCES: 2,
  AGAIN: 6,
  BADF: 8,
  BUSY: 10,
  DQUOT: 19,
  EXIST: 20,
  FAULT: 21,
  FBIG: 22,
  ILSEQ: 25,
  INVAL: 28,
  IO: 29,
  ISDIR: 31,
  LOOP: 32,
  MFILE: 33,
  MLINK: 34,
  NAMETOOLONG: 37,
  NFILE: 41,
  NOENT: 44,
  NOMEM: 48,
  NOSPC: 51,
  NOSYS: 52,
  NOTDIR: 54,
  NOTEMPTY: 55,
  NOTSOCK: 57,
  NOTSUP: 58,
  NXIO: 60,
  OVERFLOW: 61,
  PERM: 63,
  PIPE: 64,
  ROFS: 69,
  SPIPE: 70,
  TXTBSY: 74,
  XDEV: 75,
  NOTCAPABLE: 76,
} as const;

/** A number of {@linkcode Errno}. */
export type Errno = (typeof Errno)[keyof typeof Errno];

/** A call that ends with an error code; never leaves the host. */
export class Refusal extends Error {
  readonly errno: Errno;

  constructor(errno: Errno) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

/** Ends a call with an error code. */
export function fail(errno: Errno): never {
  throw new Refusal(errno);
}

/** Kinds of files (`filetype`). */
export const Filetype = {
  UNKNOWN: 0,
  BLOCK_DEVICE: 1,
  CHARACTER_DEVICE: 2,
  DIRECTORY: 3,
  REGULAR_FILE: 4,
  SOCKET_STREAM: 6,
  SYMBOLIC_LINK: 7,
} as const;

/** Flags of an open file (`fdflags`). */
export const Fdflags = { APPEND: 1, DSYNC: 2, NONBLOCK: 4, RSYNC: 8, SYNC: 16 } as const;
/** All of {@linkcode Fdflags}. */
export const ALL_FDFLAGS = 31;

/** How a file is opened (`oflags`). */
export const Oflags = { CREAT: 1, DIRECTORY: 2, EXCL: 4, TRUNC: 8 } as const;

/** Which times are set (`fstflags`). */
export const Fstflags = { ATIM: 1, ATIM_NOW: 2, MTIM: 4, MTIM_NOW: 8 } as const;

/** Whether the last part of a path is followed if it is a link (`lookupflags`). */
export const SYMLINK_FOLLOW = 1;

/** Clocks (`clockid`). */
export const Clock = { REALTIME: 0, MONOTONIC: 1, PROCESS_CPUTIME: 2, THREAD_CPUTIME: 3 } as const;

/** Kinds of events (`eventtype`). */
export const Eventtype = { CLOCK: 0, FD_READ: 1, FD_WRITE: 2 } as const;

/** Rights of a descriptor, one bit each. */
export const Right = {
  FD_DATASYNC: 1n << 0n,
  FD_READ: 1n << 1n,
  FD_SEEK: 1n << 2n,
  FD_FDSTAT_SET_FLAGS: 1n << 3n,
  FD_SYNC: 1n << 4n,
  FD_TELL: 1n << 5n,
  FD_WRITE: 1n << 6n,
  FD_ADVISE: 1n << 7n,
  FD_ALLOCATE: 1n << 8n,
  PATH_CREATE_DIRECTORY: 1n << 9n,
  PATH_CREATE_FILE: 1n << 10n,
  PATH_LINK_SOURCE: 1n << 11n,
  PATH_LINK_TARGET: 1n << 12n,
  PATH_OPEN: 1n << 13n,
  FD_READDIR: 1n << 14n,
  PATH_READLINK: 1n << 15n,
  PATH_RENAME_SOURCE: 1n << 16n,
  PATH_RENAME_TARGET: 1n << 17n,
  PATH_FILESTAT_GET: 1n << 18n,
  PATH_FILESTAT_SET_SIZE: 1n << 19n,
  PATH_FILESTAT_SET_TIMES: 1n << 20n,
  FD_FILESTAT_GET: 1n << 21n,
  FD_FILESTAT_SET_SIZE: 1n << 22n,
  FD_FILESTAT_SET_TIMES: 1n << 23n,
  PATH_SYMLINK: 1n << 24n,
  PATH_REMOVE_DIRECTORY: 1n << 25n,
  PATH_UNLINK_FILE: 1n << 26n,
  POLL_FD_READWRITE: 1n << 27n,
} as const;

/** Rights a regular file can have. */
export const FILE_RIGHTS = Right.FD_DATASYNC | Right.FD_READ | Right.FD_SEEK |
  Right.FD_FDSTAT_SET_FLAGS | Right.FD_SYNC | Right.FD_TELL | Right.FD_WRITE | Right.FD_ADVISE |
  Right.FD_ALLOCATE | Right.FD_FILESTAT_GET | Right.FD_FILESTAT_SET_SIZE |
  Right.FD_FILESTAT_SET_TIMES | Right.POLL_FD_READWRITE;

/** Rights a directory can have. */
export const DIRECTORY_RIGHTS = Right.FD_FDSTAT_SET_FLAGS | Right.FD_SYNC | Right.FD_DATASYNC |
  Right.FD_ADVISE | Right.FD_READDIR | Right.FD_FILESTAT_GET | Right.FD_FILESTAT_SET_TIMES |
  Right.PATH_CREATE_DIRECTORY | Right.PATH_CREATE_FILE | Right.PATH_LINK_SOURCE |
  Right.PATH_LINK_TARGET | Right.PATH_OPEN | Right.PATH_READLINK | Right.PATH_RENAME_SOURCE |
  Right.PATH_RENAME_TARGET | Right.PATH_FILESTAT_GET | Right.PATH_FILESTAT_SET_SIZE |
  Right.PATH_FILESTAT_SET_TIMES | Right.PATH_SYMLINK | Right.PATH_REMOVE_DIRECTORY |
  Right.PATH_UNLINK_FILE | Right.POLL_FD_READWRITE;

/** Rights of standard input, output and error. */
export const STREAM_RIGHTS = Right.FD_FDSTAT_SET_FLAGS | Right.FD_FILESTAT_GET |
  Right.POLL_FD_READWRITE;

/** Name of the module all functions are imported from. */
export const MODULE = "wasi_snapshot_preview1";

/**
 * Every function of preview 1: its parameters (`i` is i32, `I` is i64), a colon, its result. A
 * module that imports anything else, or one of these with another type, is refused before it runs.
 */
export const SIGNATURES = {
  args_get: "ii:i",
  args_sizes_get: "ii:i",
  clock_res_get: "ii:i",
  clock_time_get: "iIi:i",
  environ_get: "ii:i",
  environ_sizes_get: "ii:i",
  fd_advise: "iIIi:i",
  fd_allocate: "iII:i",
  fd_close: "i:i",
  fd_datasync: "i:i",
  fd_fdstat_get: "ii:i",
  fd_fdstat_set_flags: "ii:i",
  fd_fdstat_set_rights: "iII:i",
  fd_filestat_get: "ii:i",
  fd_filestat_set_size: "iI:i",
  fd_filestat_set_times: "iIIi:i",
  fd_pread: "iiiIi:i",
  fd_prestat_dir_name: "iii:i",
  fd_prestat_get: "ii:i",
  fd_pwrite: "iiiIi:i",
  fd_read: "iiii:i",
  fd_readdir: "iiiIi:i",
  fd_renumber: "ii:i",
  fd_seek: "iIii:i",
  fd_sync: "i:i",
  fd_tell: "ii:i",
  fd_write: "iiii:i",
  path_create_directory: "iii:i",
  path_filestat_get: "iiiii:i",
  path_filestat_set_times: "iiiiIIi:i",
  path_link: "iiiiiii:i",
  path_open: "iiiiiIIii:i",
  path_readlink: "iiiiii:i",
  path_remove_directory: "iii:i",
  path_rename: "iiiiii:i",
  path_symlink: "iiiii:i",
  path_unlink_file: "iii:i",
  poll_oneoff: "iiii:i",
  proc_exit: "i:",
  proc_raise: "i:i",
  random_get: "ii:i",
  sched_yield: ":i",
  sock_accept: "iii:i",
  sock_recv: "iiiiii:i",
  sock_send: "iiiii:i",
  sock_shutdown: "ii:i",
} as const;

/** Name of a function of preview 1. */
export type FunctionName = keyof typeof SIGNATURES;
