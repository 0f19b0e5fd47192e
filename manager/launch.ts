// What a VM was launched from, noted while it is launched: the digests of its files and the settings
// its measurements follow from. Files may change later, records may be damaged or planted: neither is
// believed without a look (threats N-8, N-15).
import { createHash } from "node:crypto";
import { CocosError, messageOf } from "../base/mod.ts";
import { sha256File } from "./image.ts";
import type { VmSpec } from "./spec.ts";

/** Files that measurements follow from, and what people call them; their paths never leave the host. */
const FILES = {
  igvm: "the IGVM file",
  firmware: "the firmware",
  kernel: "the kernel",
  initrd: "the initial root",
  pcrs: "the file of PCR values",
} as const;

/** Name of such a file. */
export type LaunchFile = keyof typeof FILES;

/** Largest file that is read to be measured. */
const MAX_FILE_BYTES = 512 * 1024 * 1024;

/** A file as it was at launch. */
export interface NotedFile {
  readonly path: string;
  /** 64 hex digits. */
  readonly sha256: string;
}

/** A VM without confidential computing: there is nothing to attest. */
export interface PlainLaunch {
  readonly kind: "plain";
}

/** A confidential VM. */
export interface TeeLaunch {
  readonly kind: "snp" | "tdx";
  readonly files: { readonly [name in LaunchFile]?: NotedFile };
  /** Kernel command line, as it stands behind `-append`. */
  readonly cmdline: string;
  /** Virtual processors at start. */
  readonly cpus: number;
  readonly memoryBytes: number;
  /** QEMU's machine model with options. */
  readonly machine: string;
  /** 32 bytes in base64, exactly as on QEMU's command line; absent without. */
  readonly hostData?: string | undefined;
  /** AMD's product line of this host; absent where it is not known. */
  readonly productLine?: string | undefined;
}

/** What a VM was launched from. */
export type Launch = PlainLaunch | TeeLaunch;

/** A launch that is about to happen. */
export interface Noted {
  readonly launch: Launch;
  /**
   * Call when QEMU has read its files.
   *
   * @throws {CocosError} `conflict` naming a file that was changed in between.
   */
  readonly unchanged: () => Promise<void>;
}

/**
 * Notes what a VM will be launched from.
 *
 * @throws {CocosError} `io` naming a file that can't be read.
 */
export async function noteLaunch(
  spec: VmSpec,
  { pcrValues, productLine }: {
    readonly pcrValues: string | undefined;
    readonly productLine: string | undefined;
  },
): Promise<Noted> {
  const { tee } = spec;
  if (tee === undefined) {
    return { launch: Object.freeze({ kind: "plain" }), unchanged: () => Promise.resolve() };
  }
  const paths: readonly (readonly [LaunchFile, string | undefined])[] = [
    ["igvm", tee.kind === "snp" ? tee.igvmFile : undefined],
    ["firmware", tee.kind === "tdx" ? tee.ovmfFile : undefined],
    ["kernel", spec.kernel],
    ["initrd", spec.initrd],
    ["pcrs", tee.kind === "snp" ? pcrValues : undefined],
  ];
  const files: Partial<Record<LaunchFile, NotedFile>> = {};
  const stamps: (readonly [LaunchFile, string, string])[] = [];
  for (const [name, path] of paths) {
    if (path === undefined) continue;
    try {
      stamps.push([name, path, await stampOf(path)]); // first, so that a change while we read shows
      files[name] = Object.freeze({ path, sha256: await sha256File(path) });
    } catch (cause) {
      throw unreadable(name, cause);
    }
  }
  const launch = Object.freeze({
    kind: tee.kind,
    files: Object.freeze(files),
    cmdline: spec.cmdline,
    cpus: spec.smp.count,
    memoryBytes: Number(spec.memory.size.bytes),
    machine: spec.machine,
    hostData: tee.kind === "snp" ? tee.hostData : undefined,
    productLine: tee.kind === "snp" ? productLine : undefined,
  });
  return {
    launch,
    async unchanged() {
      for (const [name, path, stamp] of stamps) {
        if (await stampOf(path).catch(() => "") === stamp) continue;
        throw new CocosError(
          "wrong-state",
          `${FILES[name]} was changed while the VM was launched`,
          {
            hint: "Create the VM again once the file is at rest.",
          },
        );
      }
    },
  };
}

/** Changes whenever a file's content is replaced or written. */
async function stampOf(path: string): Promise<string> {
  const { dev, ino, size, mtime, ctime } = await Deno.stat(path);
  return [dev, ino, size, mtime?.getTime(), ctime?.getTime()].join();
}

/**
 * Reads a file of a launch again: the very bytes the VM was launched from, or an error.
 *
 * @throws {CocosError} `digest-mismatch` when it has changed since, `io` when it can't be read,
 * `data-loss` when it was not noted.
 */
export async function readLaunched(
  launch: TeeLaunch,
  name: LaunchFile,
): Promise<Uint8Array<ArrayBuffer>> {
  const noted = launch.files[name];
  if (noted === undefined) {
    throw new CocosError("data-loss", `the VM's record does not name ${FILES[name]}`);
  }
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    if ((await Deno.stat(noted.path)).size > MAX_FILE_BYTES) {
      throw new RangeError(`it has more than ${MAX_FILE_BYTES} bytes`);
    }
    bytes = await Deno.readFile(noted.path);
  } catch (cause) {
    throw unreadable(name, cause);
  }
  if (createHash("sha256").update(bytes).digest("hex") !== noted.sha256) {
    throw new CocosError(
      "digest-mismatch",
      `${FILES[name]} has changed since the VM was launched`,
      {
        hint: "Put the file back as it was, or create the VM again.",
      },
    );
  }
  return bytes;
}

function unreadable(name: LaunchFile, cause: unknown): CocosError {
  const why = cause instanceof Deno.errors.NotFound
    ? "no such file"
    : cause instanceof RangeError
    ? messageOf(cause)
    : "the system refuses it";
  return new CocosError("io", `${FILES[name]} can't be read: ${why}`, { cause });
}

/** Reads a launch out of a record; throws a TypeError with the field. */
export function parseLaunch(json: unknown): Launch {
  const object = objectOf(json, "launch");
  if (object["kind"] === "plain") return Object.freeze({ kind: "plain" });
  const { kind, files, cmdline, cpus, memoryBytes, machine, hostData, productLine } = object;
  if (kind !== "snp" && kind !== "tdx") throw new TypeError("launch.kind is unknown");
  const noted: Partial<Record<LaunchFile, NotedFile>> = {};
  for (const [name, file] of Object.entries(objectOf(files, "launch.files"))) {
    if (!Object.hasOwn(FILES, name)) throw new TypeError("launch.files has an unknown name");
    const { path, sha256 } = objectOf(file, `launch.files.${name}`);
    if (typeof path !== "string" || !path.startsWith("/")) {
      throw new TypeError(`launch.files.${name}.path is no path`);
    }
    if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) {
      throw new TypeError(`launch.files.${name}.sha256 is no digest`);
    }
    noted[name as LaunchFile] = Object.freeze({ path, sha256 });
  }
  if (typeof cmdline !== "string") throw new TypeError("launch.cmdline is no text");
  if (typeof machine !== "string") throw new TypeError("launch.machine is no text");
  if (!isCount(cpus)) throw new TypeError("launch.cpus is no count");
  if (!isCount(memoryBytes)) throw new TypeError("launch.memoryBytes is no size");
  if (hostData !== undefined && !(typeof hostData === "string" && HOST_DATA.test(hostData))) {
    throw new TypeError("launch.hostData is not 32 bytes in base64");
  }
  if (productLine !== undefined && typeof productLine !== "string") {
    throw new TypeError("launch.productLine is no text");
  }
  return Object.freeze({
    kind,
    files: Object.freeze(noted),
    cmdline,
    cpus,
    memoryBytes,
    machine,
    hostData,
    productLine,
  });
}

const HOST_DATA = /^[A-Za-z0-9+/]{43}=$/;

function objectOf(json: unknown, path: string): Record<string, unknown> {
  if (typeof json !== "object" || json === null) throw new TypeError(`${path} is no object`);
  return json as Record<string, unknown>;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}
