// Which packages make the image, by the distribution of the machine that builds it.
import { CocosError } from "../base/mod.ts";

/** A recipe: names are data, versions are in the lock. */
export interface Recipe {
  /** Key in packages.lock.json. */
  readonly id: string;
  /** Suite the packages come from. */
  readonly suite: string;
  readonly components: readonly string[];
  /** Package that depends on the newest kernel, and the suite it is taken from. */
  readonly kernelMeta: { readonly name: string; readonly suite: string };
  /** From the kernel's own package to the package that holds its modules. */
  readonly modulesOf: (kernel: string) => readonly string[];
  /** `python3.11` */
  readonly python: string;
  readonly packages: readonly string[];
}

const DEBIAN_12: Recipe = {
  id: "debian-bookworm",
  suite: "bookworm",
  components: ["main"],
  kernelMeta: { name: "linux-image-amd64", suite: "bookworm-backports" },
  modulesOf: () => [],
  python: "python3.11",
  packages: [
    "bubblewrap",
    "busybox-static",
    "libbz2-1.0",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpcre2-8-0",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libselinux1",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "python3-pip-whl",
    "python3.11-minimal",
    "util-linux",
    "zlib1g",
  ],
};

/** What os-release(5) says of a machine. */
export interface Machine {
  readonly id: string;
  readonly codename: string;
  readonly name: string;
}

/** Reads os-release(5). */
export function parseOsRelease(text: string): Machine {
  const field = (name: string) => new RegExp(`^${name}="?([^"\n]*)"?$`, "m").exec(text)?.[1] ?? "";
  return {
    id: field("ID"),
    codename: field("VERSION_CODENAME"),
    name: field("PRETTY_NAME") || field("ID"),
  };
}

/**
 * The recipe for a machine. Every Debian builds the same image, from Debian 12's packages: its
 * mirror carries them all, and its keyring knows their keys.
 *
 * @throws {CocosError} `not-supported` with the reason.
 */
export function recipeFor(machine: Machine, arch: string): Recipe {
  if (arch !== "x86_64") {
    throw new CocosError(
      "not-supported",
      `Cannot build the image on ${arch}: the guest is x86-64 and parts of it run in the build`,
      { hint: "Build it on an x86-64 machine and copy build/hal." },
    );
  }
  if (machine.id === "debian") return DEBIAN_12;
  throw new CocosError(
    "not-supported",
    `Cannot build the image on ${machine.name}: there is no recipe for its packages`,
    { hint: "Build it on Debian 12 and copy build/hal." },
  );
}
