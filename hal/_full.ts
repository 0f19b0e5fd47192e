// The profile `full`: a container engine, and the Python packages that most numeric work begins with.
// The engine lies outside `/usr`, where no algorithm sees it.
import type { Stage } from "./_stage.ts";

/** Programs by the package they are in; all go to one folder. */
export const ENGINE_FOLDER = "cocos/engine";
export const ENGINE: readonly (readonly [name: string, path: string])[] = [
  ["containerd", "usr/bin/containerd"],
  ["containerd", "usr/bin/containerd-shim-runc-v2"],
  ["docker.io", "usr/sbin/dockerd"],
  ["runc", "usr/sbin/runc"],
  // Debian's kernel has AppArmor on: an engine that finds no parser starts no container.
  ["apparmor", "sbin/apparmor_parser"],
];

/** Packages of which only the shared libraries are taken. */
export const FULL_LIBRARIES = [
  "libdevmapper1.02.1",
  "libgcrypt20",
  "libgfortran5",
  "libgomp1",
  "libgpg-error0",
  "liblbfgsb0",
  "liblz4-1",
  "libquadmath0",
  "libseccomp2",
  "libsystemd0",
  "libudev1",
  "libzstd1",
];

/** Packages of which the Python modules are taken. */
export const FULL_PYTHON = [
  "python3-dateutil",
  "python3-decorator",
  "python3-joblib",
  "python3-numpy",
  "python3-pandas",
  "python3-pandas-lib",
  "python3-pkg-resources",
  "python3-scipy",
  "python3-six",
  "python3-sklearn",
  "python3-sklearn-lib",
  "python3-threadpoolctl",
  "python3-tz",
];

/** The linear algebra beneath them; its own folder is found by no linker, alternatives name it. */
export const FULL_ALGEBRA = "libopenblas0-pthread";
const ALGEBRA_FOLDER = "usr/lib/x86_64-linux-gnu/openblas-pthread";

/** All packages the profile adds. */
export const FULL_PACKAGES: readonly string[] = [
  ...new Set([
    ...ENGINE.map(([name]) => name),
    ...FULL_LIBRARIES,
    ...FULL_PYTHON,
    FULL_ALGEBRA,
    "tzdata",
  ]),
].sort();

/** Kernel modules the engine's file system needs. */
export const FULL_MODULES: Readonly<Record<string, readonly string[]>> = { engine: ["overlay"] };

/** Python's folders of tests and headers, and what was compiled at installation. */
const WITHOUT = /(^|\/)(__pycache__|tests|include)(\/|$)/;

/** What the profile needs of the layout: the stage, and how to look into packages and copy. */
export interface FullTools {
  readonly stage: Stage;
  readonly of: (name: string) => string;
  readonly copy: (from: string, to: string) => Promise<void>;
  readonly walk: (root: string) => AsyncIterable<string>;
}

/** Lays the profile's files out on top of the others; the Python library is compiled afterwards. */
export async function layOutFull({ stage, of, copy, walk }: FullTools): Promise<void> {
  const { root } = stage;
  for (const [name, path] of ENGINE) {
    await copy(
      `${of(name)}/${path}`,
      `${root}/${ENGINE_FOLDER}/${path.slice(path.lastIndexOf("/") + 1)}`,
    );
  }
  for (const name of FULL_PYTHON) {
    for await (const path of walk(of(name))) {
      if (!path.startsWith("usr/lib/python3/dist-packages/") || WITHOUT.test(path)) continue;
      if ((await Deno.lstat(`${of(name)}/${path}`)).isSymlink) continue;
      await copy(`${of(name)}/${path}`, `${root}/${path}`);
    }
  }
  for await (const path of walk(of(FULL_ALGEBRA))) {
    if (!path.startsWith(`${ALGEBRA_FOLDER}/`)) continue;
    const source = `${of(FULL_ALGEBRA)}/${path}`;
    const file = path.slice(path.lastIndexOf("/") + 1);
    // `libopenblas.so.0` is a link beside its file; here it is the file.
    const from = (await Deno.lstat(source)).isSymlink
      ? `${of(FULL_ALGEBRA)}/${ALGEBRA_FOLDER}/${await Deno.readLink(source)}`
      : source;
    if (/^lib(blas|lapack|openblas)\.so\.\d$/.test(file)) {
      await copy(from, `${root}/usr/lib/x86_64-linux-gnu/${file}`);
    }
  }
  for await (const path of walk(of("tzdata"))) {
    if (!/^usr\/share\/zoneinfo\/(?!right\/|posix\/)/.test(path)) continue;
    if ((await Deno.lstat(`${of("tzdata")}/${path}`)).isSymlink) continue;
    await copy(`${of("tzdata")}/${path}`, `${root}/${path}`);
  }
}
