// The `fd_*` and `sock_*` functions of preview 1.
import { ALL_FDFLAGS, Errno, fail, Fdflags, Fstflags, Right } from "./abi.ts";
import { type File, readAt, writeAt, writeOut } from "./descriptors.ts";
import type { Calls, Guest } from "./host.ts";
import type { Memory } from "./memory.ts";
import { type Filestat, type NewTimes, now } from "./filestat.ts";

/** Bytes of a `dirent` before its name. */
const DIRENT_BYTES = 24;
/** Kinds of advice (`advice`): 0 to 5. */
const MAX_ADVICE = 5;

const encoder = new TextEncoder();

/** Writes a `filestat`. */
export function putFilestat(memory: Memory, at: number, stat: Filestat): void {
  memory.bytes(at, 64).fill(0);
  memory.setU64(at, stat.dev);
  memory.setU64(at + 8, stat.ino);
  memory.setU8(at + 16, stat.filetype);
  memory.setU64(at + 24, stat.nlink);
  memory.setU64(at + 32, stat.size);
  memory.setU64(at + 40, stat.atim);
  memory.setU64(at + 48, stat.mtim);
  memory.setU64(at + 56, stat.ctim);
}

/**
 * Which times a call sets.
 *
 * @throws {Refusal} INVAL for a time that is to be given and now at once
 */
export function newTimes(atim: bigint, mtim: bigint, flags: number): NewTimes {
  const one = (time: bigint, given: number, at: number): bigint | undefined => {
    if ((flags & given) !== 0 && (flags & at) !== 0) fail(Errno.INVAL);
    if ((flags & given) !== 0) return BigInt.asUintN(64, time);
    return (flags & at) !== 0 ? now() : undefined;
  };
  if ((flags & ~15) !== 0) fail(Errno.INVAL);
  return {
    atim: one(atim, Fstflags.ATIM, Fstflags.ATIM_NOW),
    mtim: one(mtim, Fstflags.MTIM, Fstflags.MTIM_NOW),
  };
}

/** A size or an offset of a file, as a number that is exact. */
function offsetOf(value: bigint): number {
  const offset = BigInt.asUintN(64, value);
  if (offset >= 1n << 63n) fail(Errno.INVAL);
  if (offset > BigInt(Number.MAX_SAFE_INTEGER)) fail(Errno.FBIG);
  return Number(offset);
}

const sizeOf = (file: File): number => file.real.statSync().size;

/** The functions. */
export function fdCalls({ memory, tree, descriptors }: Guest): Calls {
  /** A stream or file with a right. */
  const readable = (fd: number, right: bigint) => {
    const found = descriptors.get(fd);
    if (found.kind === "directory") fail(Errno.BADF);
    if ((found.rights & right) === 0n) fail(Errno.NOTCAPABLE);
    return found;
  };
  const notSocket = (fd: number): never => {
    descriptors.get(fd);
    return fail(Errno.NOTSOCK);
  };
  const sync = (fd: number, right: bigint, flush: (file: Deno.FsFile) => void) => {
    const found = descriptors.get(fd, right);
    if (found.kind === "file" && found.writable) flush(found.real);
  };
  return {
    fd_advise: (fd: number, _offset: bigint, _length: bigint, advice: number) => {
      descriptors.file(fd, Right.FD_ADVISE, Errno.SPIPE);
      if (advice >>> 0 > MAX_ADVICE) fail(Errno.INVAL);
    },
    // The host's file API has no fallocate: the file gets its length, not its blocks.
    fd_allocate: (fd: number, offset: bigint, length: bigint) => {
      const file = descriptors.file(fd, Right.FD_ALLOCATE, Errno.SPIPE);
      if (length === 0n) fail(Errno.INVAL);
      const end = offsetOf(BigInt(offsetOf(offset)) + BigInt(offsetOf(length)));
      if (!file.writable) fail(Errno.ROFS);
      if (end > sizeOf(file)) file.real.truncateSync(end);
    },
    fd_close: (fd: number) => descriptors.close(fd),
    fd_datasync: (fd: number) => sync(fd, Right.FD_DATASYNC, (file) => file.syncDataSync()),
    fd_sync: (fd: number) => sync(fd, Right.FD_SYNC, (file) => file.syncSync()),
    fd_fdstat_get: (fd: number, at: number) => {
      const { filetype, flags, rights, inheriting } = descriptors.get(fd);
      memory.bytes(at, 24).fill(0);
      memory.setU8(at, filetype);
      memory.setU16(at + 2, flags);
      memory.setU64(at + 8, rights);
      memory.setU64(at + 16, inheriting);
    },
    fd_fdstat_set_flags: (fd: number, flags: number) => {
      if ((flags & ~ALL_FDFLAGS) !== 0) fail(Errno.INVAL);
      descriptors.get(fd, Right.FD_FDSTAT_SET_FLAGS).flags = flags;
    },
    fd_fdstat_set_rights: (fd: number, base: bigint, inheriting: bigint) => {
      const found = descriptors.get(fd);
      const [wanted, passed] = [BigInt.asUintN(64, base), BigInt.asUintN(64, inheriting)];
      // Rights are only ever given away.
      if ((wanted & ~found.rights) !== 0n || (passed & ~found.inheriting) !== 0n) {
        fail(Errno.NOTCAPABLE);
      }
      found.rights = wanted;
      found.inheriting = passed;
    },
    fd_filestat_get: (fd: number, at: number) => {
      const found = descriptors.get(fd, Right.FD_FILESTAT_GET);
      if (found.kind === "file") return putFilestat(memory, at, tree.statOf(found.real));
      if (found.kind === "directory") return putFilestat(memory, at, tree.statAt(found.directory));
      // What stands behind the sandbox's streams is not the guest's business.
      putFilestat(memory, at, {
        dev: 0n,
        ino: BigInt(found.fd),
        filetype: found.filetype,
        nlink: 1n,
        size: 0n,
        atim: 0n,
        mtim: 0n,
        ctim: 0n,
      });
    },
    fd_filestat_set_size: (fd: number, size: bigint) => {
      const file = descriptors.file(fd, Right.FD_FILESTAT_SET_SIZE);
      if (!file.writable) fail(Errno.ROFS);
      file.real.truncateSync(offsetOf(size));
    },
    fd_filestat_set_times: (fd: number, atim: bigint, mtim: bigint, flags: number) => {
      const found = descriptors.get(fd, Right.FD_FILESTAT_SET_TIMES);
      const times = newTimes(atim, mtim, flags);
      if (found.kind === "stream") fail(Errno.INVAL);
      if (found.kind === "directory") {
        return tree.setTimes(tree.find(found.directory, ".", false), times);
      }
      if (!found.writable) fail(Errno.ROFS);
      tree.setTimesOf(found.real, times);
    },
    fd_pread: (fd: number, list: number, count: number, offset: bigint, at: number) => {
      const file = descriptors.file(fd, Right.FD_READ | Right.FD_SEEK, Errno.SPIPE);
      memory.setU32(at, readAt(file, memory.pieces(list, count), offsetOf(offset)));
    },
    fd_pwrite: (fd: number, list: number, count: number, offset: bigint, at: number) => {
      const file = descriptors.file(fd, Right.FD_WRITE | Right.FD_SEEK, Errno.SPIPE);
      memory.setU32(at, writeAt(file, memory.pieces(list, count), offsetOf(offset)));
    },
    fd_read: (fd: number, list: number, count: number, at: number) => {
      const found = readable(fd, Right.FD_READ);
      const pieces = memory.pieces(list, count);
      // Standard input is empty for every kind of algorithm.
      if (found.kind === "stream") return memory.setU32(at, 0);
      const length = readAt(found, pieces, found.position);
      found.position += length;
      memory.setU32(at, length);
    },
    fd_write: (fd: number, list: number, count: number, at: number) => {
      const found = readable(fd, Right.FD_WRITE);
      const pieces = memory.pieces(list, count);
      memory.bytes(at, 4);
      if (found.kind === "stream") return memory.setU32(at, writeOut(found, pieces));
      if ((found.flags & Fdflags.APPEND) !== 0) found.position = sizeOf(found);
      const length = writeAt(found, pieces, found.position);
      found.position += length;
      memory.setU32(at, length);
    },
    fd_seek: (fd: number, offset: bigint, whence: number, at: number) => {
      const file = descriptors.file(fd, Right.FD_SEEK, Errno.SPIPE);
      const from = [0, file.position, whence === 2 ? sizeOf(file) : 0][whence >>> 0];
      if (from === undefined) fail(Errno.INVAL);
      const position = offsetOf(BigInt(from) + BigInt.asIntN(64, offset));
      memory.setU64(at, BigInt(position));
      file.position = position;
    },
    fd_tell: (fd: number, at: number) => {
      memory.setU64(at, BigInt(descriptors.file(fd, Right.FD_TELL, Errno.SPIPE).position));
    },
    fd_prestat_get: (fd: number, at: number) => {
      const found = descriptors.get(fd);
      if (found.kind !== "directory" || found.preopen === undefined) fail(Errno.BADF);
      memory.setU32(at, 0);
      memory.setU32(at + 4, encoder.encode(found.preopen).length);
    },
    fd_prestat_dir_name: (fd: number, at: number, length: number) => {
      const found = descriptors.get(fd);
      if (found.kind !== "directory" || found.preopen === undefined) fail(Errno.BADF);
      const name = encoder.encode(found.preopen);
      if (length >>> 0 < name.length) fail(Errno.NAMETOOLONG);
      memory.bytes(at, name.length).set(name);
    },
    fd_readdir: (fd: number, at: number, length: number, cookie: bigint, used: number) => {
      const found = descriptors.folder(fd, Right.FD_READDIR);
      const from = BigInt.asUintN(64, cookie);
      if (from === 0n || found.entries === undefined) {
        found.entries = tree.list(found.directory);
      }
      const room = memory.bytes(at, length);
      let filled = 0;
      for (let i = Number(from); i < found.entries.length && filled < room.length; i++) {
        const { name, filetype, ino } = found.entries[i] as (typeof found.entries)[number];
        const bytes = encoder.encode(name);
        const entry = new Uint8Array(DIRENT_BYTES + bytes.length);
        const view = new DataView(entry.buffer);
        view.setBigUint64(0, BigInt(i + 1), true);
        view.setBigUint64(8, ino, true);
        view.setUint32(16, bytes.length, true);
        view.setUint8(20, filetype);
        entry.set(bytes, DIRENT_BYTES);
        // A last entry that doesn't fit is cut: that is how the guest learns that there is more.
        const part = entry.subarray(0, room.length - filled);
        room.set(part, filled);
        filled += part.length;
      }
      memory.setU32(used, filled);
    },
    fd_renumber: (from: number, to: number) => descriptors.renumber(from, to),
    sock_accept: notSocket,
    sock_recv: notSocket,
    sock_send: notSocket,
    sock_shutdown: notSocket,
  };
}
