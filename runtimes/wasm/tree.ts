// The guest's files: real directories, walked one part of a path at a time. Every path comes from a
// guest nobody trusts; what this file lets through is `datasets/` for reading and `results/` for
// both. Nothing else changes these directories while the guest runs, so what was looked at stays.
// Deno's own functions and not node:fs, which takes 30 ms to load.
import { Errno, fail, Filetype } from "./abi.ts";
import {
  ExactTimes,
  type Filestat,
  filetypeOf,
  inodeOf,
  lookAt,
  type NewTimes,
  now,
} from "./filestat.ts";
import { type Link, Links } from "./links.ts";

/** Most links followed in one path (Linux' MAXSYMLINKS). */
const MAX_FOLLOWED = 40;
/** Where the guest's world is. */
export interface Layout {
  /** Absolute path of the directory the guest is in; all it can reach is in there. */
  readonly root: string;
  /** The directory in there, or that one itself, in which it may make and change files. */
  readonly results: string;
  /**
   * Whether names beside `datasets` and `results` mean files in `results`: what the command line of
   * the Go agent gave its Wasm programs.
   */
  readonly compat: boolean;
}

/** A directory that is held open; its path changes when the guest renames it. */
export interface Directory {
  path: string;
  removed: boolean;
}

/** What a path leads to. */
export interface Place {
  /** Real path of the directory that has it. */
  readonly parent: string;
  /** Empty for a directory named by `.`, by `..` or as itself. */
  readonly name: string;
  readonly path: string;
  /** Whether the path ended in a slash, so that it can only mean a directory. */
  readonly slash: boolean;
  /** What is there: a link of our table, facts of a real file, or nothing. */
  readonly link: Link | undefined;
  readonly stat: Deno.FileInfo | undefined;
}

/** One entry of a directory. */
export interface Entry {
  readonly name: string;
  readonly filetype: number;
  readonly ino: bigint;
}

/** The files of one guest. */
export class Tree {
  readonly #root: string;
  readonly #results: string;
  readonly #compat: boolean;
  readonly #links = new Links();
  readonly #open = new Set<Directory>();
  readonly #times = new ExactTimes();

  constructor({ root, results, compat }: Layout) {
    this.#root = root;
    this.#results = results;
    this.#compat = compat;
  }

  /** Holds a directory open. */
  hold(path: string): Directory {
    const directory = { path, removed: false };
    this.#open.add(directory);
    return directory;
  }

  release(directory: Directory): void {
    this.#open.delete(directory);
  }

  /** The directory that holds the guest's world. */
  root(): Directory {
    return this.hold(this.#root);
  }

  /** Whether entries of a directory may be made, changed and removed. */
  writable(directory: string): boolean {
    return directory === this.#results || directory.startsWith(`${this.#results}/`);
  }

  /** Fails unless the entries of a place's directory may change. */
  #changeable({ parent, name }: Place): void {
    if (name === "") fail(this.writable(parent) ? Errno.INVAL : Errno.ROFS);
    if (!this.writable(parent)) fail(Errno.ROFS);
  }

  /**
   * Follows a path from a directory that it can't leave.
   *
   * @param follow whether a link in the last place is followed
   * @throws {Refusal} PERM for a path that leads out, LOOP, NOTDIR, NOENT for a missing directory
   */
  find(from: Directory, path: string, follow: boolean): Place {
    if (from.removed) fail(Errno.NOENT);
    if (path === "") fail(Errno.NOENT);
    if (path.startsWith("/")) fail(Errno.PERM);
    const slash = path.endsWith("/");
    // Parts still to walk, the next one last.
    const left = path.split("/").reverse();
    const above: string[] = [];
    let at = from.path;
    let followed = 0;
    while (true) {
      const part = left.pop() as string;
      const last = left.every((each) => each === "");
      if (part === "..") {
        const up = above.pop();
        if (up === undefined) fail(Errno.PERM);
        at = up;
      } else if (part !== "" && part !== ".") {
        const place = this.#entry(at, part, slash);
        const { link, stat } = place;
        if (last && !follow) return place;
        if (link !== undefined || stat?.isSymlink) {
          if (++followed > MAX_FOLLOWED) fail(Errno.LOOP);
          const target = link?.target ?? Deno.readLinkSync(place.path);
          if (target.startsWith("/")) fail(Errno.PERM);
          left.push(...target.split("/").reverse());
          continue;
        }
        if (last) {
          if (slash && stat !== undefined && !stat.isDirectory) fail(Errno.NOTDIR);
          return place;
        }
        if (stat === undefined) fail(Errno.NOENT);
        if (!stat.isDirectory) fail(Errno.NOTDIR);
        above.push(at);
        at = place.path;
      }
      if (last) return this.#itself(at);
    }
  }

  /** The place a directory is, named as itself. */
  #itself(path: string): Place {
    const stat = Deno.lstatSync(path);
    return { parent: path, name: "", path, slash: true, link: undefined, stat };
  }

  #entry(directory: string, name: string, slash: boolean): Place {
    const parent =
      this.#compat && directory === this.#root && name !== "datasets" && name !== "results"
        ? this.#results
        : directory;
    const path = `${parent}/${name}`;
    const stat = lookAt(path);
    const link = stat === undefined && !this.#links.none
      ? this.#links.get(this.#inode(parent), name)
      : undefined;
    return { parent, name, path, slash, link, stat };
  }

  #inode(directory: string): bigint {
    return inodeOf(Deno.lstatSync(directory));
  }

  /**
   * Facts about what a path led to.
   *
   * @throws {Refusal} NOENT if nothing is there
   */
  stat({ link, stat, parent }: Place): Filestat {
    if (link !== undefined) {
      return {
        dev: BigInt(Deno.lstatSync(parent).dev),
        ino: link.ino,
        filetype: Filetype.SYMBOLIC_LINK,
        nlink: link.names,
        size: BigInt(new TextEncoder().encode(link.target).length),
        atim: link.atim,
        mtim: link.mtim,
        ctim: link.ctim,
      };
    }
    if (stat === undefined) fail(Errno.NOENT);
    return this.#times.told(stat);
  }

  /** Facts about an open file. */
  statOf(file: Deno.FsFile): Filestat {
    return this.#times.told(file.statSync());
  }

  /** Facts about an open directory. */
  statAt(directory: Directory): Filestat {
    if (directory.removed) fail(Errno.NOENT);
    return this.#times.told(Deno.lstatSync(directory.path));
  }

  /** Sets the times of what a path led to. */
  setTimes(place: Place, times: NewTimes): void {
    if (!this.writable(place.name === "" ? place.path : place.parent)) fail(Errno.ROFS);
    const { link } = place;
    if (link !== undefined) {
      link.atim = times.atim ?? link.atim;
      link.mtim = times.mtim ?? link.mtim;
      link.ctim = now();
      return;
    }
    this.#times.set(
      times,
      (atim, mtim) => Deno.utimeSync(place.path, atim, mtim),
      () => Deno.lstatSync(place.path),
    );
  }

  /** Sets the times of an open file. */
  setTimesOf(file: Deno.FsFile, times: NewTimes): void {
    this.#times.set(
      times,
      (atim, mtim) => file.utimeSync(atim, mtim),
      () => file.statSync(),
    );
  }

  /** Entries of a directory, `.` and `..` first. */
  list(directory: Directory): Entry[] {
    const { ino } = this.statAt(directory);
    const { path } = directory;
    const entries = this.#listReal(path).filter(({ name }) =>
      !(this.#compat && path === this.#root) || name === "datasets" || name === "results"
    );
    if (this.#compat && path === this.#root) {
      // What a bare name would find: entries of `results/`, unless one of the two hides it.
      entries.push(
        ...this.#listReal(this.#results).filter(({ name }) =>
          name !== "datasets" && name !== "results"
        ),
      );
    }
    const above = path === this.#root ? ino : this.#inode(path.slice(0, path.lastIndexOf("/")));
    return [
      { name: ".", filetype: Filetype.DIRECTORY, ino },
      { name: "..", filetype: Filetype.DIRECTORY, ino: above },
      ...entries,
    ];
  }

  #listReal(path: string): Entry[] {
    const entries = [...Deno.readDirSync(path)].flatMap((each): Entry[] => {
      const stat = lookAt(`${path}/${each.name}`);
      // A name that isn't UTF-8 can't be told to a guest.
      return stat === undefined
        ? []
        : [{ name: each.name, filetype: filetypeOf(each), ino: inodeOf(stat) }];
    });
    if (this.#links.none) return entries;
    for (const [name, { ino }] of this.#links.list(this.#inode(path))) {
      entries.push({ name, filetype: Filetype.SYMBOLIC_LINK, ino });
    }
    return entries;
  }

  /** Target of the link a path led to. */
  readLink({ link, stat, path }: Place): string {
    if (link !== undefined) return link.target;
    if (stat === undefined) fail(Errno.NOENT);
    if (!stat.isSymlink) fail(Errno.INVAL);
    return Deno.readLinkSync(path);
  }

  makeDirectory(place: Place): void {
    if (place.stat !== undefined || place.link !== undefined) fail(Errno.EXIST);
    this.#changeable(place);
    Deno.mkdirSync(place.path, { mode: 0o777 });
  }

  makeLink(target: string, place: Place): void {
    if (place.stat !== undefined || place.link !== undefined) fail(Errno.EXIST);
    if (target === "" || place.slash) fail(Errno.NOENT);
    this.#changeable(place);
    // A link must not lead out of where it is found; one that starts at the top always would.
    if (target.startsWith("/")) fail(Errno.PERM);
    this.#links.make(this.#inode(place.parent), place.name, target, now());
  }

  removeFile(place: Place): void {
    const { link, stat, path, parent, name } = place;
    if (link === undefined && stat === undefined) fail(Errno.NOENT);
    if (stat?.isDirectory) fail(Errno.ISDIR);
    this.#changeable(place);
    if (place.slash) fail(Errno.NOTDIR);
    if (link !== undefined) this.#links.remove(this.#inode(parent), name);
    else Deno.removeSync(path);
  }

  removeDirectory(place: Place): void {
    const { link, stat, path } = place;
    if (link !== undefined) fail(Errno.NOTDIR);
    if (stat === undefined) fail(Errno.NOENT);
    if (!stat.isDirectory) fail(Errno.NOTDIR);
    this.#changeable(place);
    this.#needEmpty(inodeOf(stat));
    Deno.removeSync(path);
    this.#gone(path);
  }

  #needEmpty(directory: bigint): void {
    if (this.#links.holds(directory)) fail(Errno.NOTEMPTY);
  }

  #gone(path: string): void {
    for (const directory of this.#open) if (directory.path === path) directory.removed = true;
  }

  rename(from: Place, to: Place): void {
    const directory = from.stat?.isDirectory === true;
    if (from.stat === undefined && from.link === undefined) fail(Errno.NOENT);
    this.#changeable(from);
    this.#changeable(to);
    if (!directory && (from.slash || to.slash)) fail(Errno.NOTDIR);
    if (from.link !== undefined) return this.#renameLink(from, from.link, to);
    if (to.link !== undefined) {
      if (directory) fail(Errno.NOTDIR);
      Deno.renameSync(from.path, to.path);
      this.#links.remove(this.#inode(to.parent), to.name);
      return;
    }
    const replaced = to.stat?.isDirectory === true && to.stat.ino !== from.stat?.ino;
    if (directory && replaced) this.#needEmpty(inodeOf(to.stat));
    Deno.renameSync(from.path, to.path);
    if (!directory) return;
    if (replaced) this.#gone(to.path);
    for (const each of this.#open) {
      if (each.removed) continue;
      if (each.path === from.path || each.path.startsWith(`${from.path}/`)) {
        each.path = to.path + each.path.slice(from.path.length);
      }
    }
  }

  #renameLink(from: Place, link: Link, to: Place): void {
    if (to.link === link) return;
    if (to.stat?.isDirectory) fail(Errno.ISDIR);
    if (to.stat !== undefined) Deno.removeSync(to.path);
    const [source, target] = [this.#inode(from.parent), this.#inode(to.parent)];
    this.#links.remove(target, to.name);
    this.#links.remove(source, from.name);
    this.#links.put(target, to.name, link);
  }

  /** Gives a file one more name. */
  addName(from: Place, to: Place): void {
    if (from.stat === undefined && from.link === undefined) fail(Errno.NOENT);
    if (from.stat?.isDirectory) fail(Errno.PERM);
    if (to.stat !== undefined || to.link !== undefined) fail(Errno.EXIST);
    if (from.slash) fail(Errno.NOTDIR);
    if (to.slash) fail(Errno.NOENT);
    this.#changeable(to);
    if (!this.writable(from.parent)) fail(Errno.XDEV);
    if (from.link !== undefined) this.#links.put(this.#inode(to.parent), to.name, from.link);
    else Deno.linkSync(from.path, to.path);
  }

  /**
   * Opens the regular file at a place.
   *
   * @param create makes it if nothing is there
   * @throws {Refusal} LOOP for a link that wasn't to be followed, ACCES for what is no file
   */
  openFile(
    place: Place,
    { create, exclusive, truncate, write }: {
      readonly create: boolean;
      readonly exclusive: boolean;
      readonly truncate: boolean;
      readonly write: boolean;
    },
  ): Deno.FsFile {
    const { stat, link, path, parent, slash } = place;
    if (link !== undefined || stat?.isSymlink) {
      fail(create && exclusive ? Errno.EXIST : Errno.LOOP);
    }
    const writable = this.writable(parent);
    if (stat === undefined) {
      if (!create) fail(Errno.NOENT);
      if (slash) fail(Errno.ISDIR);
      this.#changeable(place);
      return Deno.openSync(path, { read: true, write: true, createNew: true, mode: 0o666 });
    }
    if (create && exclusive) fail(Errno.EXIST);
    // Opening a FIFO would wait for ever; none of these can be made by a guest.
    if (!stat.isFile) fail(Errno.ACCES);
    if (!writable && (truncate || write)) fail(Errno.ROFS);
    return Deno.openSync(path, { read: true, write: writable, truncate });
  }
}
