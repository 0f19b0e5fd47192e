// The attestation policy of a VM, computed from the very bytes it was launched from. The host that runs
// this is what the policy's readers don't trust: they compare it with their own computation.
import { CocosError, fromHex, messageOf } from "../base/mod.ts";
import type { SeedPcrs, SeedSnp } from "../attestation/mod.ts";
import { type Launch, readLaunched, type TeeLaunch } from "./launch.ts";

/** Guest policy QEMU launches with: SMT allowed, no debugging, no migration (bits 16 and 17). */
const GUEST_POLICY = 196608n;

/** Privilege level of the guest's system above its SVSM, at which the agent asks for evidence. */
const GUEST_VMPL = 2n;

/** Numbers of `policy.product.name`. */
const PRODUCT_NUMBERS: Readonly<Record<string, bigint>> = { Milan: 1n, Genoa: 2n, Turin: 3n };

/** A policy for a client. */
export interface LaunchPolicy {
  /** JSON text; empty for a VM that has nothing to attest. */
  readonly text: string;
  /** What was left open and why, for the log. */
  readonly notes: readonly string[];
}

/**
 * Makes the policy of a VM: go-sev-guest's `check.Config` with `pcr_values` for SEV-SNP, go-tdx-guest's
 * `checkconfig.Config` for TDX, in protojson (wire.md §9).
 *
 * @throws {CocosError} `digest-mismatch` when a file has changed since the launch; `not-supported` when
 * AMD's product line is not known or KVM would launch the file otherwise; `invalid-argument` for files
 * that can't be measured.
 */
export async function launchPolicy(launch: Launch): Promise<LaunchPolicy> {
  switch (launch.kind) {
    case "plain":
      return { text: "", notes: [] };
    case "snp":
      return await snpPolicy(launch);
    case "tdx":
      return await tdxPolicy(launch);
  }
}

/** Loaded late: the verifier is large, and most managers are never asked. */
function library() {
  return import("../attestation/mod.ts");
}

async function snpPolicy(launch: TeeLaunch): Promise<LaunchPolicy> {
  const { productLine } = launch;
  const product = PRODUCT_NUMBERS[productLine ?? ""];
  if (productLine === undefined || product === undefined) {
    throw new CocosError("not-supported", "the host's AMD product line is not known", {
      hint: "Set MANAGER_SNP_PRODUCT_LINE to Milan, Genoa or Turin and create the VM again.",
    });
  }
  const { decodeBase64, formatSeedPolicy, importSeedPolicy, measureIgvm, parseIgvm } =
    await library();
  const notes = [
    "minimum_tcb, minimum_launch_tcb, minimum_build, minimum_version and chip_id are not set: " +
    "only the platform can say them, and this manager does not ask it",
  ];
  const igvm = await readLaunched(launch, "igvm");
  const { digest } = await measureIgvm(igvm, { kvm: true });
  const { platforms, policies, idBlocks } = parseIgvm(igvm);
  const mask = platforms.find(({ platform }) => platform === "snp")?.mask ?? 0;
  const block = idBlocks.find((each) => (each.mask & mask) !== 0);
  const other = policies.find((each) => (each.mask & mask) !== 0 && each.policy !== GUEST_POLICY);
  if (other !== undefined) {
    notes.push(`the IGVM file asks for guest policy ${other.policy}: such a guest is refused`);
  }
  const policy: SeedSnp = {
    policy: GUEST_POLICY,
    familyId: block?.familyId ?? new Uint8Array(16),
    imageId: block?.imageId ?? new Uint8Array(16),
    ...(block === undefined ? {} : { minimumGuestSvn: BigInt(block.svn) }),
    vmpl: GUEST_VMPL,
    measurement: fromHex(digest),
    // Without host data on its command line QEMU launches with zeros.
    hostData: launch.hostData === undefined ? new Uint8Array(32) : decodeBase64(launch.hostData),
    reportIdMa: new Uint8Array(32).fill(0xff), // no migration agent is bound
    permitProvisionalFirmware: false,
    requireAuthorKey: false,
    requireIdBlock: false,
    product: { name: product },
  };
  const text = formatSeedPolicy({
    pcrValues: await pcrValues(launch, notes),
    policy,
    rootOfTrust: { product: productLine, productLine, checkCrl: true, disallowNetwork: false },
    unknown: [],
  });
  await importSeedPolicy(text); // what our own verifier can't take is not handed out
  return { text, notes };
}

/**
 * The operator's PCR values, and those of PCR 4 and 9 that follow from kernel, command line and initial
 * root: the launch digest of an IGVM file does not hold them, the guest's TPM does. QEMU leaves the
 * kernel of an SEV guest as it is.
 */
async function pcrValues(launch: TeeLaunch, notes: string[]): Promise<SeedPcrs> {
  const { measurePcr4, measurePcr9, parsePcrValues } = await library();
  const given = launch.files.pcrs === undefined
    ? {}
    : parsePcrValues(new TextDecoder().decode(await readLaunched(launch, "pcrs")));
  const boot = {
    kernel: await readLaunched(launch, "kernel"),
    initrd: await readLaunched(launch, "initrd"),
    append: launch.cmdline,
  };
  const named = (["sha256", "sha384"] as const).filter((bank) => given[bank] !== undefined);
  const result: Record<string, Record<string, string>> = {};
  for (const [bank, values] of Object.entries(given)) result[bank] = { ...values };
  for (const bank of named.length > 0 ? named : (["sha256"] as const)) {
    let computed: Record<string, string>;
    try {
      computed = { 4: measurePcr4(boot, bank), 9: measurePcr9(boot, bank) };
    } catch (error) {
      notes.push(`PCR 4 and 9 are not computed: ${messageOf(error)}`);
      break;
    }
    const values = result[bank] ??= {};
    for (const [index, value] of Object.entries(computed)) {
      const wanted = values[index] ??= value;
      if (wanted !== value) {
        notes.push(
          `MANAGER_PCR_VALUES says ${bank}:${index} is ${wanted}, kernel, command line and initial ` +
            `root give ${value}: the file's value is handed out`,
        );
      }
    }
  }
  return result;
}

async function tdxPolicy(launch: TeeLaunch): Promise<LaunchPolicy> {
  const lib = await library();
  const zeros = "00".repeat(48);
  const text = lib.formatSeedTdxPolicy({
    qeVendorId: lib.INTEL_QE_VENDOR,
    mrTd: lib.measureMrtd(await readLaunched(launch, "firmware")),
    // Nothing on QEMU's command line sets these three.
    mrConfigId: zeros,
    mrOwner: zeros,
    mrOwnerConfig: zeros,
    checkCrl: true,
    getCollateral: true,
  });
  lib.importSeedTdxPolicy(text);
  return { text, notes: [await rtmrNote(launch)] };
}

/** The file's form takes all four RTMRs or none, and RTMR 0 is known to the guest's log only. */
async function rtmrNote(launch: TeeLaunch): Promise<string> {
  const { measureTdxBoot } = await library();
  const why = "rtmrs are not set: RTMR 0 follows from what QEMU makes at run time";
  const model = launch.machine.split(",")[0] ?? "";
  const machine = /^(?:pc-)?q35(?:-|$)/.test(model) ? "q35" : "pc";
  try {
    const { rtmr1, rtmr2 } = measureTdxBoot({
      kernel: await readLaunched(launch, "kernel"),
      initrd: await readLaunched(launch, "initrd"),
      append: launch.cmdline,
      machine: { memoryBytes: launch.memoryBytes, machine },
    });
    return `${why}; RTMR 1 is ${rtmr1}, RTMR 2 is ${rtmr2}`;
  } catch (error) {
    if (error instanceof CocosError && error.code !== "invalid-argument") throw error;
    return `${why}; RTMR 1 and 2 are not computed: ${messageOf(error)}`;
  }
}
