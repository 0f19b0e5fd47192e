// `cocos igvmmeasure` and `cocos sevsnpmeasure`: launch measurements computed here from files, with no
// program of others. The files may be hostile; the parsers refuse what they do not know.
import { Exit } from "../../base/mod.ts";
import {
  CPU_SIGNATURES,
  cpuSignature,
  explainIgvm,
  explainSev,
  type Explanation,
  firmwareDigest,
  MAX_FIRMWARE_BYTES,
  measureIgvm,
  type Measurement,
  measureSev,
  regionText,
  SEV_MODES,
  type SevLaunch,
  VMMS,
} from "../../attestation/mod.ts";
import type { Context } from "../context.ts";
import { readBytes } from "./files.ts";
import type { AttestInvocation, MeasureFlags } from "./invocation.ts";
import { hexFlag, integerFlag, smallFlag, usage } from "./values.ts";

const MAX_IMAGE_BYTES = 1024 * 1024 * 1024;

type Of<C extends AttestInvocation["command"]> = Extract<AttestInvocation, { command: C }>;

/** Measures an IGVM file. */
export async function igvm(
  { file, kvm, nativeZero, platform, explain }: Of<"igvmmeasure">,
  context: Context,
): Promise<Exit> {
  const bytes = await readBytes(file, MAX_IMAGE_BYTES);
  const options = { kvm, nativeZero, platform };
  if (explain !== undefined) {
    if (platform !== "snp") throw usage("Cannot explain: only snp measurements are in reports");
    return showExplanation(await explainIgvm(explain, bytes, options), context);
  }
  return show(await measureIgvm(bytes, options), "hex", context);
}

/** Measures a launch. */
export async function sevSnp(
  { flags }: Of<"sevsnpmeasure">,
  context: Context,
): Promise<Exit> {
  const firmware = flags.ovmf === undefined
    ? undefined
    : await readBytes(flags.ovmf, MAX_FIRMWARE_BYTES);
  if (flags.mode === "snp:ovmf-hash") {
    if (firmware === undefined) throw missing("ovmf");
    const digest = await firmwareDigest(firmware);
    const shown = flags.outputFormat === "base64" ? digest.toBase64() : digest.toHex();
    context.terminal.data(shown, { digest: digest.toHex() });
    return Exit.OK;
  }
  const launch = await launchOf(flags, firmware);
  if (flags.explain !== undefined) {
    return showExplanation(await explainSev(flags.explain, launch), context);
  }
  return show(await measureSev(launch), flags.outputFormat, context);
}

async function launchOf(
  flags: MeasureFlags,
  firmware: Uint8Array | undefined,
): Promise<SevLaunch> {
  const mode = SEV_MODES.find((each) => each === flags.mode);
  if (mode === undefined) {
    throw usage(`mode must be ${SEV_MODES.join(", ")} or snp:ovmf-hash, is ${flags.mode}`);
  }
  const vmm = VMMS.find((each) => each === flags.vmmType.toLowerCase());
  if (vmm === undefined) throw usage(`vmm-type must be QEMU, ec2 or gce, is ${flags.vmmType}`);
  if (firmware === undefined) throw missing("ovmf");
  const cpus = smallFlag("vcpus", flags.vcpus, 4096);
  if (mode !== "sev" && cpus === undefined) throw missing("vcpus");
  if (flags.kernel === undefined && (flags.initrd ?? flags.append) !== undefined) {
    throw missing("kernel");
  }
  const file = async (path: string | undefined) =>
    path === undefined ? undefined : await readBytes(path, MAX_IMAGE_BYTES);
  const kernel = await file(flags.kernel);
  const svsm = await file(flags.svsm);
  if (mode === "snp:svsm" && svsm === undefined) throw missing("svsm");
  const variableBytes = flags.varsFile === undefined
    ? Number(integerFlag("vars-size", flags.varsSize) ?? 0n)
    : (await Deno.stat(flags.varsFile)).size;
  return {
    mode,
    firmware,
    cpus: cpus ?? 1,
    signature: mode === "sev" ? 0 : signatureOf(flags, mode),
    features: smallFlag("guest-features", flags.guestFeatures, 0xffff_ffff) ?? 1,
    vmm,
    ...(kernel === undefined
      ? {}
      : { boot: { kernel, initrd: await file(flags.initrd), append: flags.append } }),
    ...(flags.snpOvmfHash === undefined
      ? {}
      : { firmwareDigest: hexFlag("snp-ovmf-hash", flags.snpOvmfHash, 48) }),
    ...(svsm === undefined ? {} : { svsm: { bytes: svsm, variableBytes } }),
  };
}

/** CPUID signature by one of the three ways AMD's tool has. */
function signatureOf(flags: MeasureFlags, mode: string): number {
  const { vcpuType, vcpuSig, vcpuFamily, vcpuModel, vcpuStepping } = flags;
  if (vcpuType !== undefined) {
    const found = Object.entries(CPU_SIGNATURES)
      .find(([name]) => name.toLowerCase() === vcpuType.toLowerCase());
    if (found === undefined) {
      throw usage(
        `vcpu-type ${JSON.stringify(vcpuType)} is not known`,
        `Known are: ${Object.keys(CPU_SIGNATURES).join(", ")}.`,
      );
    }
    return found[1];
  }
  if (vcpuSig !== undefined) return smallFlag("vcpu-sig", vcpuSig, 0xffff_ffff) ?? 0;
  if (vcpuFamily !== undefined && vcpuModel !== undefined && vcpuStepping !== undefined) {
    return cpuSignature(
      smallFlag("vcpu-family", vcpuFamily, 0x10e) ?? 0,
      smallFlag("vcpu-model", vcpuModel, 255) ?? 0,
      smallFlag("vcpu-stepping", vcpuStepping, 15) ?? 0,
    );
  }
  throw usage(
    `required flag(s) "vcpu-type" not set in mode ${mode}`,
    "Or give --vcpu-sig, or --vcpu-family, --vcpu-model and --vcpu-stepping.",
  );
}

function missing(name: string) {
  return usage(`required flag(s) "${name}" not set`);
}

function show(
  { digest, regions, warnings }: Measurement,
  format: "hex" | "base64",
  { terminal }: Context,
): Exit {
  for (const warning of warnings) terminal.say(`note: ${warning}`);
  const shown = format === "base64" ? Uint8Array.fromHex(digest).toBase64() : digest;
  terminal.data(shown, { digest, regions: regions.map(regionText), warnings });
  return Exit.OK;
}

/** A measurement that these files do not give ends as evidence that is not trusted does. */
function showExplanation(explanation: Explanation, { terminal }: Context): Exit {
  const { equal, computed, reported, found, notes } = explanation;
  const answer = equal
    ? ["The files give the reported measurement."]
    : found === undefined
    ? ["No usual mistake gives the reported measurement. What was measured:", ...notes]
    : [
      "The reported measurement is what these files give when:",
      ...found.map((each) => `- ${each}`),
    ];
  terminal.data(
    [`computed: ${computed}`, `reported: ${reported}`, ...answer].join("\n"),
    { equal, computed, reported, found: found ?? null, notes },
  );
  return equal ? Exit.OK : Exit.UNTRUSTED;
}
