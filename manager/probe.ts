// Does KVM really run a guest here? A readable /dev/kvm is no proof, nor is a boot ROM that runs:
// only our own kernel that reaches its user space is (joints.md §5).
import { CocosError, logger, messageOf } from "../base/mod.ts";
import { spawnQemu } from "./qemu.ts";
import { writeJson } from "./record.ts";

const log = logger("manager");

/** What the probe image's first program prints. */
export const MARKER = "cocos-probe: a kernel ran to user space";

/** A guest that has not come so far after this time is as good as none; emulation needs 3 s. */
export const PROBE_MS = 5_000;

/** What a probe runs. */
export interface Probe {
  readonly qemu: string;
  /** `-cpu` of the VMs: some models work where others stall. */
  readonly cpu: string;
  readonly machine: string;
  readonly kernel: string;
  /** The probe's initial root: prints {@linkcode MARKER} and powers off. */
  readonly initrd: string;
}

/** Arguments of a probe; `tcg` is for testing the probe itself. */
export function probeArgv(probe: Probe, accel: "kvm" | "tcg" = "kvm"): string[] {
  return [
    ...(accel === "kvm" ? ["-enable-kvm"] : []),
    "-machine",
    `${probe.machine === "" ? "q35" : probe.machine}${accel === "tcg" ? ",accel=tcg" : ""}`,
    ...(probe.cpu === "" ? [] : ["-cpu", probe.cpu]),
    "-m",
    "128",
    "-nodefaults",
    "-no-reboot",
    "-display",
    "none",
    "-serial",
    "stdio",
    "-kernel",
    probe.kernel,
    "-initrd",
    probe.initrd,
    "-append",
    "console=ttyS0 quiet panic=-1",
  ];
}

/** Result of a probe. */
export interface Probed {
  readonly works: boolean;
  /** Why not, in a few words. */
  readonly why: string;
}

/**
 * Boots the probe once and waits for its marker. The guest is dead before this settles, also when
 * `signal` ends it early: a guest that hangs in its firmware would run for ever.
 *
 * @throws {CocosError} `cancelled` when `signal` fires first.
 */
export async function runProbe(
  probe: Probe,
  accel: "kvm" | "tcg" = "kvm",
  limitMs = PROBE_MS,
  signal?: AbortSignal,
): Promise<Probed> {
  const seen = Promise.withResolvers<Probed>();
  let text = "";
  const child = spawnQemu([probe.qemu, ...probeArgv(probe, accel)], {
    onStdout: (more) => {
      text = (text + more).slice(-4096);
      if (text.includes(MARKER)) seen.resolve({ works: true, why: "" });
    },
  });
  const timer = setTimeout(
    () => seen.resolve({ works: false, why: `the probe guest did not come up in ${limitMs} ms` }),
    limitMs,
  );
  child.ended.then(() => {
    const said = child.stderr().filter((line) => !/warning:/.test(line)).at(-1);
    seen.resolve({ works: false, why: said ?? "the probe guest ended without its marker" });
  });
  const abort = () => seen.reject(new CocosError("cancelled", "the probe was stopped"));
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  try {
    return await seen.promise;
  } finally {
    signal?.removeEventListener("abort", abort);
    clearTimeout(timer);
    child.kill();
    await child.ended;
  }
}

/** Asks QEMU its version; one line. */
export async function qemuVersion(qemu: string): Promise<string> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(qemu, {
      args: ["--version"],
      clearEnv: true,
      stdin: "null",
      stderr: "null",
    }).output();
  } catch (cause) {
    throw new CocosError("invalid-config", `Cannot start ${qemu}: ${messageOf(cause)}`, {
      cause,
      hint: "Set MANAGER_QEMU_BIN_PATH to a QEMU for x86_64.",
    });
  }
  const line = new TextDecoder().decode(output.stdout).split("\n")[0] ?? "";
  if (!output.success || !/^QEMU emulator version \d/.test(line)) {
    throw new CocosError("invalid-config", `Cannot use ${qemu}: it does not say QEMU's version`, {
      hint: "Set MANAGER_QEMU_BIN_PATH to a QEMU for x86_64.",
    });
  }
  return line.slice(0, 200);
}

/** How the accelerator is chosen. */
export interface Choice {
  /** MANAGER_QEMU_ENABLE_KVM; `undefined` lets the probe decide. */
  readonly wanted: boolean | undefined;
  readonly probe: Omit<Probe, "initrd">;
  /** `undefined` where there is no probe image. */
  readonly initrd: string | undefined;
  readonly qemuVersion: string;
  readonly bootId: string | undefined;
  /** File the result is kept in while boot, QEMU and CPU model stay the same. */
  readonly cacheFile: string;
  readonly run?: (probe: Probe) => Promise<Probed>;
  /** Ends a probe that is under way. */
  readonly signal?: AbortSignal;
}

/**
 * KVM or emulation.
 *
 * @throws {CocosError} `invalid-config` where KVM was demanded and doesn't work.
 */
export async function chooseAccel(choice: Choice): Promise<"kvm" | "tcg"> {
  if (choice.wanted === false) return "tcg";
  const probed = choice.initrd === undefined
    ? { works: false, why: "there is no probe image (MANAGER_QEMU_PROBE_FILE)" }
    : await cached(choice, { ...choice.probe, initrd: choice.initrd });
  if (probed.works) return "kvm";
  if (choice.wanted === true) {
    throw new CocosError(
      "invalid-config",
      `MANAGER_QEMU_ENABLE_KVM: is true and KVM does not work: ${probed.why}`,
      { hint: "Unset it to fall back to emulation, or give this user a working /dev/kvm." },
    );
  }
  log.warn`KVM does not work here, VMs are EMULATED and slow: ${probed.why}`;
  return "tcg";
}

async function cached(choice: Choice, probe: Probe): Promise<Probed> {
  const { bootId, cacheFile } = choice;
  const key = [bootId, choice.qemuVersion, probe.qemu, probe.cpu, probe.machine, probe.kernel];
  const before = bootId === undefined ? undefined : await readCache(cacheFile, key);
  if (before !== undefined) return before;
  const run = choice.run ?? ((each) => runProbe(each, "kvm", PROBE_MS, choice.signal));
  const probed = await run(probe);
  if (bootId !== undefined) {
    await writeJson(cacheFile, { key, ...probed })
      .catch((error) => log.warn`the probe's result is not kept: ${messageOf(error)}`);
  }
  return probed;
}

async function readCache(file: string, key: unknown[]): Promise<Probed | undefined> {
  try {
    const json = JSON.parse(await Deno.readTextFile(file));
    if (JSON.stringify(json.key) !== JSON.stringify(key) || typeof json.works !== "boolean") return;
    return { works: json.works, why: String(json.why) };
  } catch {
    return undefined; // absent or damaged: probe again
  }
}
