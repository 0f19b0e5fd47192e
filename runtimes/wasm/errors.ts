// What the host's file system says, in the guest's words.
import { Errno, Refusal } from "./abi.ts";

/** Linux' error numbers (errno-base.h, errno.h) in the guest's numbers. */
const BY_NUMBER: Readonly<Record<number, Errno>> = {
  1: Errno.PERM,
  2: Errno.NOENT,
  6: Errno.NXIO,
  9: Errno.BADF,
  11: Errno.AGAIN,
  12: Errno.NOMEM,
  13: Errno.ACCES,
  16: Errno.BUSY,
  17: Errno.EXIST,
  18: Errno.XDEV,
  20: Errno.NOTDIR,
  21: Errno.ISDIR,
  22: Errno.INVAL,
  23: Errno.NFILE,
  24: Errno.MFILE,
  26: Errno.TXTBSY,
  27: Errno.FBIG,
  28: Errno.NOSPC,
  29: Errno.SPIPE,
  30: Errno.ROFS,
  31: Errno.MLINK,
  32: Errno.PIPE,
  36: Errno.NAMETOOLONG,
  39: Errno.NOTEMPTY,
  40: Errno.LOOP,
  75: Errno.OVERFLOW,
  122: Errno.DQUOT,
};

/**
 * The error code of what was thrown; undefined for what is no failure of a file operation and must
 * end the run.
 */
export function errnoOf(thrown: unknown): Errno | undefined {
  if (thrown instanceof Refusal) return thrown.errno;
  // Deno's own fence behind ours: nothing should ever get there.
  if (thrown instanceof Deno.errors.NotCapable) return Errno.NOTCAPABLE;
  if (!(thrown instanceof Error)) return undefined;
  // The number comes before the path, so that no path can say it.
  const number = /\(os error (\d+)\)/.exec(thrown.message)?.[1];
  return number === undefined ? undefined : BY_NUMBER[Number(number)] ?? Errno.IO;
}
