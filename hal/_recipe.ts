// Which packages make the image, by the distribution of the machine that builds it.
import { CocosError } from "../base/mod.ts";
import { FULL_PACKAGES } from "./_full.ts";

/** What an image holds: `full` adds a container engine and Python packages for numeric work. */
export const PROFILES = ["small", "full"] as const;

/** A profile. */
export type Profile = (typeof PROFILES)[number];

/** A recipe: names are data, versions are in the lock. */
export interface Recipe {
  /** Key in packages.lock.json. */
  readonly id: string;
  /** Code name the packages come from, then the suites added to it. */
  readonly suite: string;
  readonly moreSuites: readonly string[];
  readonly components: readonly string[];
  /** Package that depends on the newest kernel, and the suite it is taken from (any, if empty). */
  readonly kernelMeta: { readonly name: string; readonly suite: string };
  /** From the kernel's own package to those that hold its modules. */
  readonly modulesOf: (kernel: string) => readonly string[];
  /** `python3.11` */
  readonly python: string;
  readonly packages: readonly string[];
  readonly profile: Profile;
}

/** Packages whose names are the same everywhere, those of one Python, and OpenSSL's libraries. */
function packagesWith(python: string, ssl: readonly string[]): string[] {
  return [
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
    "libselinux1",
    ...ssl,
    "libstdc++6",
    "libuuid1",
    "python3-pip-whl",
    "util-linux",
    "zlib1g",
    `lib${python}-minimal`,
    `lib${python}-stdlib`,
    `${python}-minimal`,
  ];
}

/** The reference: Debian 12 with the kernel of its backports. */
const DEBIAN: Recipe = {
  id: "debian-bookworm",
  suite: "bookworm",
  moreSuites: ["bookworm-updates", "bookworm-backports"],
  components: ["main"],
  kernelMeta: { name: "linux-image-amd64", suite: "bookworm-backports" },
  modulesOf: () => [],
  python: "python3.11",
  packages: packagesWith("python3.11", ["libssl3"]),
  profile: "small",
};

/** The profile `full`, made from the same. */
const DEBIAN_FULL: Recipe = {
  ...DEBIAN,
  id: `${DEBIAN.id}-full`,
  packages: [...new Set([...DEBIAN.packages, ...FULL_PACKAGES])].sort(),
  profile: "full",
};

/** An Ubuntu: its own kernel, which is new enough from 24.04 on. */
function ubuntu(
  codename: string,
  python: string,
  ssl: readonly string[],
  modules: readonly string[],
): Recipe {
  return {
    id: `ubuntu-${codename}`,
    suite: codename,
    moreSuites: [`${codename}-updates`],
    components: ["main", "universe"],
    kernelMeta: { name: "linux-image-generic", suite: "" },
    modulesOf: (kernel) => modules.map((each) => kernel.replace("linux-image-", `${each}-`)),
    python,
    packages: packagesWith(python, ssl),
    profile: "small",
  };
}

const UBUNTU: Record<string, Recipe> = {
  // 24.04 keeps the drivers of SEV-SNP and TDX guests in the second package.
  noble: ubuntu("noble", "python3.12", ["libssl3t64"], ["linux-modules", "linux-modules-extra"]),
  resolute: ubuntu("resolute", "python3.14", ["libssl3t64", "libzstd1"], ["linux-modules"]),
};

/** All recipes. */
export const RECIPES: readonly Recipe[] = [DEBIAN, DEBIAN_FULL, ...Object.values(UBUNTU)];

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
export function recipeFor(machine: Machine, arch: string, profile: Profile = "small"): Recipe {
  if (arch !== "x86_64") {
    throw new CocosError(
      "not-supported",
      `Cannot build the image on ${arch}: the guest is x86-64 and parts of it run in the build`,
      { hint: "Build it on an x86-64 machine and copy build/hal." },
    );
  }
  if (machine.id === "debian") return profile === "full" ? DEBIAN_FULL : DEBIAN;
  if (profile === "full") {
    throw new CocosError("not-supported", `Cannot build the full image on ${machine.name}`, {
      hint: "It is made from Debian's packages: build it on Debian 12 and copy build/hal-full.",
    });
  }
  const recipe = machine.id === "ubuntu" ? UBUNTU[machine.codename] : undefined;
  if (recipe !== undefined) return recipe;
  throw new CocosError(
    "not-supported",
    `Cannot build the image on ${machine.name}: there is no recipe for its packages (it needs ` +
      "a kernel ≥ 6.8 for configfs-tsm and bubblewrap ≥ 0.8)",
    { hint: "Build it on Debian 12 or Ubuntu 24.04 and copy build/hal." },
  );
}
