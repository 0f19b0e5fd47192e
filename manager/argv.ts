// The QEMU command line of a VM: pure, in the order of the Go manager's (wire.md §8.3), never a shell.
import { vmName, type VmSpec } from "./spec.ts";

/** Address of the host as a guest on QEMU's user network sees it. */
export const GATEWAY = "10.0.2.2";

/** Name and value of one option; the value is escaped when it is written. */
type Pair = readonly [name: string, value: string | number];

/** One option string of QEMU: a comma inside a value is doubled, so it can't start another option. */
export function options(head: string, pairs: readonly Pair[]): string {
  const rest = pairs.map(([name, value]) => `${name}=${String(value).replaceAll(",", ",,")}`);
  return [...(head === "" ? [] : [head]), ...rest].join(",");
}

/** Arguments for QEMU, without the program's own name. */
export function qemuArgv(spec: VmSpec): string[] {
  return [
    ...processor(spec),
    ...flash(spec),
    ...network(spec),
    ...confidential(spec),
    ...kernel(spec),
    ...shares(spec),
    ...control(spec),
  ];
}

/** Program and arguments, as they are spawned. */
export function commandOf(spec: VmSpec): string[] {
  return [spec.qemu, ...qemuArgv(spec)];
}

/** The command as a person can paste it into a shell; for the log and `--dry-run` only. */
export function shellText(command: readonly string[]): string {
  return command.map((each) =>
    /^[A-Za-z0-9_@%+=:,./-]+$/.test(each) ? each : `'${each.replaceAll("'", `'\\''`)}'`
  )
    .join(" ");
}

/** Rows 1–5. Without KVM the machine says `accel=tcg` itself: distributions differ in the default. */
function processor({ accel, machine, cpu, smp, memory }: VmSpec): string[] {
  const tcg = accel === "tcg" && !/,accel=/.test(machine)
    ? `${machine === "" ? "" : `${machine},`}accel=tcg`
    : machine;
  const model = accel === "tcg" ? tcg : machine;
  return [
    ...(accel === "kvm" ? ["-enable-kvm"] : []),
    ...(model === "" ? [] : ["-machine", model]),
    ...(cpu === "" ? [] : ["-cpu", cpu]),
    "-smp",
    `${smp.count},maxcpus=${smp.max}`,
    "-m",
    `${memory.size.text},slots=${memory.slots},maxmem=${memory.max.text}`,
  ];
}

/** Rows 6 and 7. */
function flash({ tee, firmware, varsFile }: VmSpec): string[] {
  if (tee !== undefined || firmware === undefined) return [];
  const { code, vars } = firmware;
  const drive = (each: typeof vars, file: string): Pair[] => [
    ["if", each.interface],
    ["format", each.format],
    ["unit", each.unit],
    ["file", file],
  ];
  return [
    "-drive",
    options("", [...drive(code, code.file), ["readonly", code.readonly]]),
    "-drive",
    options("", drive(vars, varsFile)),
  ];
}

/** Rows 8 and 9. */
function network({ id, port, net }: VmSpec): string[] {
  const netdev = `${net.id}-${id}`;
  return [
    "-netdev",
    options("user", [
      ["id", netdev],
      ["hostfwd", `tcp:${net.address}:${port}-:${net.guestPort}`],
    ]),
    "-device",
    options("virtio-net-pci", [
      ["disable-legacy", net.disableLegacy],
      ["iommu_platform", net.iommuPlatform],
      ["netdev", netdev],
      ["addr", net.pciAddress],
      ["romfile", net.romFile],
    ]),
  ];
}

/** Rows 10–17. */
function confidential({ id, tee, memory }: VmSpec): string[] {
  if (tee === undefined) return [];
  const device = `${tee.id}-${id}`;
  const backend = options("memory-backend-memfd", [
    ["id", tee.memoryId],
    ["size", memory.size.text],
    ["share", "true"],
    ["prealloc", "false"],
  ]);
  const guest: Pair[] = [["confidential-guest-support", device], ["memory-backend", tee.memoryId]];
  if (tee.kind === "snp") {
    return [
      "-machine",
      options("", [...guest, ["igvm-cfg", tee.igvmId]]),
      "-object",
      backend,
      "-object",
      options("sev-snp-guest", [
        ["id", device],
        ["cbitpos", tee.cBitPosition],
        ["reduced-phys-bits", tee.reducedPhysBits],
        ...(tee.hostData === undefined ? [] : [["host-data", tee.hostData] as const]),
      ]),
      "-object",
      options("igvm-cfg", [["id", tee.igvmId], ["file", tee.igvmFile]]),
    ];
  }
  return [
    "-object",
    JSON.stringify({
      "qom-type": "tdx-guest",
      id: device,
      "quote-generation-socket": { type: "vsock", cid: "2", port: String(tee.quotePort) },
    }),
    "-machine",
    options("", [...guest, ["hpet", "off"]]),
    "-object",
    backend,
    "-bios",
    tee.ovmfFile,
    "-nodefaults",
  ];
}

/**
 * What a kernel needs where the machine is emulated: its check whether the timer ticks fails on a
 * busy host, and a kernel without a timer hangs or panics. Under KVM it leaves that check out by
 * itself. One that panics all the same starts again after a second.
 */
const EMULATED = "no_timer_check panic=1";

/** Rows 18–22. QEMU takes these values as they are, so they are not escaped. */
function kernel({ kernel, cmdline, initrd, noGraphic, monitor, accel }: VmSpec): string[] {
  return [
    "-kernel",
    kernel,
    "-append",
    accel === "tcg" ? `${cmdline} ${EMULATED}` : cmdline,
    "-initrd",
    initrd,
    ...(noGraphic ? ["-nographic"] : []),
    "-monitor",
    monitor,
  ];
}

/** Rows 23 and 24; `readonly=on` is ours: the guest has no business writing to the host's disk. */
function shares({ certsDir, envDir }: VmSpec): string[] {
  const share = (id: string, path: string, tag: string) => [
    "-fsdev",
    options("local", [["id", id], ["path", path], ["security_model", "mapped"], [
      "readonly",
      "on",
    ]]),
    "-device",
    options("virtio-9p-pci", [["fsdev", id], ["mount_tag", tag]]),
  ];
  return [...share("cert_fs", certsDir, "certs_share"), ...share("env_fs", envDir, "env_share")];
}

/** Ours: identity and control socket, by which a later manager finds the VM again. */
function control(spec: VmSpec): string[] {
  return [
    "-name",
    vmName(spec),
    "-uuid",
    spec.id,
    "-qmp",
    `unix:${options(spec.qmpSocket.replaceAll(",", ",,"), [["server", "on"], ["wait", "off"]])}`,
  ];
}
