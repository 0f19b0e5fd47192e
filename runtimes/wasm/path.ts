// The `path_*` functions of preview 1. All paths go through `Tree.find`.
import {
  ALL_FDFLAGS,
  DIRECTORY_RIGHTS,
  Errno,
  fail,
  FILE_RIGHTS,
  Filetype,
  Oflags,
  Right,
  SYMLINK_FOLLOW,
} from "./abi.ts";
import { newTimes, putFilestat } from "./fd.ts";
import type { Calls, Guest } from "./host.ts";
import type { Place } from "./tree.ts";

/** Rights by which a guest says that it wants to change a file. */
const WRITING = Right.FD_WRITE | Right.FD_ALLOCATE | Right.FD_FILESTAT_SET_SIZE;
/**
 * Rights a guest gets as it asked for them; of the others it has what its kind of file can have.
 * Programs for today's runtimes name only these when they open something.
 */
const ASKED = Right.FD_READ | Right.FD_WRITE;

const encoder = new TextEncoder();

/** The functions. */
export function pathCalls({ memory, tree, descriptors }: Guest): Calls {
  /** Where a path leads from a directory with a right. */
  const find = (
    fd: number,
    at: number,
    length: number,
    right: bigint,
    follow = false,
  ): Place => {
    const { directory } = descriptors.folder(fd, right);
    return tree.find(directory, memory.path(at, length), follow);
  };
  /** A slash at the end follows a link as the flag does. */
  const follows = (flags: number, at: number, length: number): boolean => {
    if ((flags & ~SYMLINK_FOLLOW) !== 0) fail(Errno.INVAL);
    return (flags & SYMLINK_FOLLOW) !== 0 || memory.path(at, length).endsWith("/");
  };
  return {
    path_create_directory: (fd: number, at: number, length: number) =>
      tree.makeDirectory(find(fd, at, length, Right.PATH_CREATE_DIRECTORY)),
    path_filestat_get: (fd: number, flags: number, at: number, length: number, to: number) => {
      const follow = follows(flags, at, length);
      const place = find(fd, at, length, Right.PATH_FILESTAT_GET, follow);
      putFilestat(memory, to, tree.stat(place));
    },
    path_filestat_set_times: (
      fd: number,
      flags: number,
      at: number,
      length: number,
      atim: bigint,
      mtim: bigint,
      which: number,
    ) => {
      const times = newTimes(atim, mtim, which);
      const follow = follows(flags, at, length);
      tree.setTimes(find(fd, at, length, Right.PATH_FILESTAT_SET_TIMES, follow), times);
    },
    path_link: (
      fromFd: number,
      flags: number,
      from: number,
      fromLength: number,
      toFd: number,
      to: number,
      toLength: number,
    ) => {
      // A link that is followed would get a second name without its path being seen.
      if (flags !== 0) fail(Errno.INVAL);
      tree.addName(
        find(fromFd, from, fromLength, Right.PATH_LINK_SOURCE),
        find(toFd, to, toLength, Right.PATH_LINK_TARGET),
      );
    },
    path_open: (
      fd: number,
      flags: number,
      at: number,
      length: number,
      oflags: number,
      base: bigint,
      _inheriting: bigint,
      fdflags: number,
      to: number,
    ) => {
      if ((fdflags & ~ALL_FDFLAGS) !== 0 || (oflags & ~15) !== 0) fail(Errno.INVAL);
      const [create, exclusive, truncate, onlyDirectory] = [
        Oflags.CREAT,
        Oflags.EXCL,
        Oflags.TRUNC,
        Oflags.DIRECTORY,
      ].map((flag) => (oflags & flag) !== 0) as [boolean, boolean, boolean, boolean];
      const folder = descriptors.folder(
        fd,
        Right.PATH_OPEN | (create ? Right.PATH_CREATE_FILE : 0n) |
          (truncate ? Right.PATH_FILESTAT_SET_SIZE : 0n),
      );
      const follow = follows(flags, at, length) && !(create && exclusive);
      const place = tree.find(folder.directory, memory.path(at, length), follow);
      const wanted = BigInt.asUintN(64, base);
      // Before anything is made: a bad address must not leave an open file behind.
      memory.setU32(to, 0);
      descriptors.needRoom();
      const opened = (all: bigint) => ({
        rights: all & folder.inheriting & (wanted | ~ASKED),
        inheriting: all === DIRECTORY_RIGHTS ? folder.inheriting : 0n,
        flags: fdflags,
      });
      if (onlyDirectory && create) fail(Errno.INVAL);
      if (place.stat?.isDirectory) {
        if (create && exclusive) fail(Errno.EXIST);
        if ((wanted & Right.FD_WRITE) !== 0n || truncate || create) fail(Errno.ISDIR);
        const directory = tree.hold(place.path);
        const number = descriptors.add({
          kind: "directory",
          filetype: Filetype.DIRECTORY,
          directory,
          preopen: undefined,
          entries: undefined,
          ...opened(DIRECTORY_RIGHTS),
        });
        memory.setU32(to, number);
        return;
      }
      if (onlyDirectory) {
        const link = place.link !== undefined || place.stat?.isSymlink;
        fail(place.stat === undefined && !link ? Errno.NOENT : Errno.NOTDIR);
      }
      const write = (wanted & WRITING & folder.inheriting & Right.FD_WRITE) !== 0n;
      const real = tree.openFile(place, { create, exclusive, truncate, write });
      const number = descriptors.add({
        kind: "file",
        filetype: Filetype.REGULAR_FILE,
        real,
        writable: tree.writable(place.parent),
        position: 0,
        at: 0,
        ...opened(FILE_RIGHTS),
      });
      memory.setU32(to, number);
    },
    path_readlink: (
      fd: number,
      at: number,
      length: number,
      to: number,
      room: number,
      used: number,
    ) => {
      const target = encoder.encode(tree.readLink(find(fd, at, length, Right.PATH_READLINK)));
      const part = target.subarray(0, room >>> 0);
      memory.bytes(to, part.length).set(part);
      memory.setU32(used, part.length);
    },
    path_remove_directory: (fd: number, at: number, length: number) =>
      tree.removeDirectory(find(fd, at, length, Right.PATH_REMOVE_DIRECTORY)),
    path_rename: (
      fromFd: number,
      from: number,
      fromLength: number,
      toFd: number,
      to: number,
      toLength: number,
    ) =>
      tree.rename(
        find(fromFd, from, fromLength, Right.PATH_RENAME_SOURCE),
        find(toFd, to, toLength, Right.PATH_RENAME_TARGET),
      ),
    path_symlink: (target: number, targetLength: number, fd: number, at: number, length: number) =>
      tree.makeLink(
        memory.path(target, targetLength),
        find(fd, at, length, Right.PATH_SYMLINK),
      ),
    path_unlink_file: (fd: number, at: number, length: number) =>
      tree.removeFile(find(fd, at, length, Right.PATH_UNLINK_FILE)),
  };
}
