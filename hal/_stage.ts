// The part of the image that comes from packages, laid out in a folder as the guest sees it.
// Runs programs of the image itself through the image's own dynamic linker, so the result depends
// on the pinned packages and not on what the building machine has installed.
import { zstdDecompressSync } from "node:zlib";
import { CocosError } from "../base/mod.ts";
import { FULL_LIBRARIES, FULL_MODULES, layOutFull } from "./_full.ts";
import { closure, MODULES_ALWAYS, MODULES_ON_DEMAND } from "./_modules.ts";
import { exists, type Package } from "./_packages.ts";
import type { Profile } from "./_recipe.ts";
import { run } from "./_run.ts";

const LIBRARIES = "usr/lib/x86_64-linux-gnu";
const LINKER = "ld-linux-x86-64.so.2";

/** The C library files Deno, Python and wheels of the manylinux kind link to. */
const LIBC = new Set([
  LINKER,
  "libanl.so.1",
  "libc.so.6",
  "libdl.so.2",
  "libm.so.6",
  "libmvec.so.1",
  "libnss_dns.so.2",
  "libnss_files.so.2",
  "libpthread.so.0",
  "libresolv.so.2",
  "librt.so.1",
  "libutil.so.1",
]);

/** Packages of which only the shared libraries are taken (those the recipe has). */
const LIBRARY_PACKAGES = [
  "libbz2-1.0",
  "libcap-ng0",
  "libcap2",
  "libcrypt1",
  "libexpat1",
  "libffi8",
  "libgcc-s1",
  "liblzma5",
  "libpcre2-8-0",
  "libselinux1",
  "libssl3",
  "libssl3t64",
  "libstdc++6",
  "libuuid1",
  "libzstd1",
  "zlib1g",
  ...FULL_LIBRARIES,
];

/** Parts of the standard library that need a display, a terminal or a compiler, or are tests. */
const PYTHON_WITHOUT = [
  /\/__pycache__(\/|$)/,
  /\/(test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|pydoc_data)(\/|$)/,
  /\/config-[^/]*(\/|$)/,
  /\/lib-dynload\/_?(test|xxtest|xxlimited|ctypes_test|curses|dbm|gdbm|tkinter|ossaudiodev)[^/]*$/,
  /\/lib-dynload\/_(testcapi|testbuffer|testinternalcapi|testmultiphase|testclinic)[^/]*$/,
  /\/lib-dynload\/(nis|readline|_sqlite3)\.[^/]*$/,
  /\/(turtle|sitecustomize)\.py$/,
];

/** Applets of busybox the guest's own scripts use; nothing else gets a name. */
export const APPLETS = [
  "awk basename cat chgrp chmod chown cmp cp cut date dd dirname env false find grep head id",
  "ifconfig insmod ip kill ln ls mkdir mkfifo mktemp mount mv nslookup printf ps pwd readlink",
  "realpath rm rmdir sed seq sh sleep sort stat tail tee test touch tr true uname uniq umount",
  "unshare wc xargs",
].join(" ").split(" ");

/** Applets of the system's own folder: process 1, its commands, and the network. */
export const SYSTEM_APPLETS = ["acpid", "init", "poweroff", "reboot", "swapoff", "udhcpc"];

/** A stage in progress: its folder and the linker that may be run. */
export interface Stage {
  readonly root: string;
  /** The packages' dynamic linker at a fixed path, the only program run from the cache. */
  readonly linker: string;
  readonly python: string;
}

/** Symbolic links of the image: path → target. (Deno makes none on disk without all rights.) */
export function links(python: string): Record<string, string> {
  return {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    [`usr/lib64/${LINKER}`]: `../lib/x86_64-linux-gnu/${LINKER}`,
    "usr/bin/python3": python,
    ...Object.fromEntries(APPLETS.map((applet) => [`usr/bin/${applet}`, "busybox"])),
    ...Object.fromEntries(
      SYSTEM_APPLETS.map((applet) => [`usr/sbin/${applet}`, "../bin/busybox"]),
    ),
  };
}

/** Lays the packages out under `root`: folders and files; {@linkcode links} come on top. */
export async function layOut(
  root: string,
  linker: string,
  python: string,
  packages: readonly Package[],
  profile: Profile,
): Promise<Stage> {
  const of = (name: string) => {
    const found = packages.find((each) => each.name === name);
    if (found === undefined) throw new CocosError("not-found", `Cannot find the package ${name}`);
    return found.folder;
  };
  const stage = { root, linker, python };
  for (
    const folder of [
      ...["usr/bin", "usr/sbin", LIBRARIES, "usr/lib/modules", "cocos/bin"],
      "usr/lib/python3/dist-packages",
      "usr/lib64",
    ]
  ) {
    await Deno.mkdir(`${root}/${folder}`, { recursive: true });
  }
  const present = LIBRARY_PACKAGES.filter((name) => packages.some((each) => each.name === name));
  for (const name of ["libc6", ...present]) {
    for (const [file, source] of await libraries(of(name))) {
      if (name === "libc6" && !LIBC.has(file)) continue;
      await copy(source, `${root}/${LIBRARIES}/${file}`);
    }
  }
  const busybox = await fileIn(of("busybox-static"), "bin/busybox");
  await copy(busybox, `${root}/usr/bin/busybox`);
  await copy(`${of("bubblewrap")}/usr/bin/bwrap`, `${root}/cocos/bin/bwrap`);
  await copy(`${of("util-linux")}/usr/bin/setpriv`, `${root}/cocos/bin/setpriv`);
  await layOutPython(stage, of, async () => {
    if (profile === "full") await layOutFull({ stage, of, copy, walk });
  });
  await layOutModules(stage, packages, profile === "full" ? FULL_MODULES : {});
  return stage;
}

async function layOutPython(
  stage: Stage,
  of: (name: string) => string,
  more: () => Promise<void>,
): Promise<void> {
  const { root, python } = stage;
  for (const name of [`lib${python}-minimal`, `lib${python}-stdlib`]) {
    for await (const path of walk(of(name))) {
      if (!path.startsWith(`usr/lib/${python}/`)) continue;
      if (PYTHON_WITHOUT.some((pattern) => pattern.test(`/${path}`))) continue;
      const source = `${of(name)}/${path}`;
      // A link here leads to a file of the package before it, which is laid out already.
      const from = (await Deno.lstat(source)).isSymlink
        ? `${root}/${path.slice(0, path.lastIndexOf("/"))}/${await Deno.readLink(source)}`
        : source;
      await copy(from, `${root}/${path}`);
    }
  }
  await copy(`${of(`${python}-minimal`)}/usr/bin/${python}`, `${root}/usr/bin/${python}`);
  const wheels = `${of("python3-pip-whl")}/usr/share/python-wheels`;
  const wheel = (await Array.fromAsync(Deno.readDir(wheels))).find(({ name }) =>
    name.startsWith("pip-")
  );
  if (wheel === undefined) throw new CocosError("not-found", "Cannot find pip in its package");
  await runPython(stage, [
    "-c",
    "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])",
    `${wheels}/${wheel.name}`,
    `${root}/usr/lib/python3/dist-packages`,
  ]);
  await more();
  // The compiled files name the guest's path and are never compared with a source's time.
  await runPython(stage, [
    ...["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"],
    ...["-s", root, "-p", "/", `${root}/usr/lib/${python}`, `${root}/usr/lib/python3`],
  ]);
}

async function layOutModules(
  stage: Stage,
  packages: readonly Package[],
  more: Readonly<Record<string, readonly string[]>>,
): Promise<void> {
  const kernels = packages.filter(({ name }) => name.startsWith("linux-"));
  const paths = new Map<string, string>();
  const builtin = new Set<string>();
  for (const { folder } of kernels) {
    for await (const path of walk(folder)) {
      const name = /\/([^/]+)\.ko(\.xz|\.zst)?$/.exec(path)?.[1];
      if (name !== undefined) paths.set(name.replaceAll("-", "_"), `${folder}/${path}`);
      if (path.endsWith("/modules.builtin")) {
        for (const line of (await Deno.readTextFile(`${folder}/${path}`)).split("\n")) {
          builtin.add((line.split("/").pop() ?? "").replace(/\.ko$/, "").replaceAll("-", "_"));
        }
      }
    }
  }
  const into = `${stage.root}/usr/lib/modules`;
  const unpack = async (name: string): Promise<Uint8Array | undefined> => {
    const key = name.replaceAll("-", "_");
    const path = paths.get(key);
    if (path === undefined) {
      if (builtin.has(key)) return undefined;
      throw new CocosError("not-found", `Cannot find the kernel module ${name}`);
    }
    if (path.endsWith(".xz")) {
      await runPython(stage, [
        "-c",
        "import lzma, sys; open(sys.argv[2], 'wb').write(lzma.open(sys.argv[1]).read())",
        path,
        `${into}/${key}.ko`,
      ]);
    } else {
      const packed = await Deno.readFile(path);
      const module = path.endsWith(".zst") ? zstdDecompressSync(packed) : packed;
      await Deno.writeFile(`${into}/${key}.ko`, module);
    }
    return await Deno.readFile(`${into}/${key}.ko`);
  };
  await Deno.writeTextFile(`${into}/always`, await closure(MODULES_ALWAYS, unpack));
  for (const [list, names] of Object.entries({ ...MODULES_ON_DEMAND, ...more })) {
    await Deno.writeTextFile(`${into}/${list}`, await closure(names, unpack));
  }
}

/** Runs the image's Python on the building machine. */
export async function runPython({ root, linker, python }: Stage, args: string[]): Promise<void> {
  await run(
    linker,
    ["--library-path", `${root}/${LIBRARIES}`, `${root}/usr/bin/${python}`, "-sSB", ...args],
    { clearEnv: true, env: { PYTHONHOME: `${root}/usr`, PYTHONHASHSEED: "0" } },
  );
}

/** A file of a package that may keep it under `/usr` or not. */
export async function fileIn(folder: string, path: string): Promise<string> {
  for (const candidate of [`${folder}/usr/${path}`, `${folder}/${path}`]) {
    if (await exists(candidate)) return candidate;
  }
  throw new CocosError("not-found", `Cannot find ${path} in its package`);
}

/** Copies a file's content, making the folders above it. */
async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(to.slice(0, to.lastIndexOf("/")), { recursive: true });
  await Deno.copyFile(from, to);
}

/**
 * Shared libraries of a package, by the name programs link to. Where `libz.so.1` is a link to
 * `libz.so.1.2.13`, the image has the file under the first name and needs no second one.
 */
async function libraries(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const linked = new Set<string>();
  for await (const path of walk(folder)) {
    const file = /^(?:usr\/)?lib\/x86_64-linux-gnu\/([^/]+\.so(?:\.[0-9.]+)?)$/.exec(path)?.[1];
    if (file === undefined) continue;
    found.set(file, `${folder}/${path}`);
    if ((await Deno.lstat(`${folder}/${path}`)).isSymlink) {
      linked.add(await Deno.readLink(`${folder}/${path}`));
    }
  }
  for (const file of linked) found.delete(file);
  return found;
}

/** Paths of all files and links beneath a folder, relative to it, sorted. */
export async function* walk(root: string, below = ""): AsyncGenerator<string> {
  const entries = await Array.fromAsync(Deno.readDir(below === "" ? root : `${root}/${below}`));
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = below === "" ? name : `${below}/${name}`;
    if (isDirectory) yield* walk(root, path);
    else yield path;
  }
}
