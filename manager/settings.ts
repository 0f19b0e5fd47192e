// The table of every MANAGER_* variable: name, default, grammar. Values come from the operator's
// environment or file; nothing here is trusted before its grammar has seen it.
import {
  boolean,
  decimal,
  duration,
  endpoint,
  type Field,
  integer,
  LEVELS,
  oneOf,
  optional,
  text,
} from "../base/mod.ts";

/** What the settings ask about the machine; a test passes a pretended one. */
export interface Machine {
  /** Absolute working directory: relative paths are taken from here. */
  readonly cwd: string;
  /** Absolute folder of this program's repository: `build/hal` lies beneath it. */
  readonly home: string;
  /** Default of MANAGER_STATE_DIR. */
  readonly stateDir: string;
  /** True when the process runs as root. */
  readonly root: boolean;
  /** Value of PATH. */
  readonly searchPath: string;
  /** Confidential-computing technology the host offers. */
  readonly tee: Tee;
  /** AMD's product line, where the processor's name tells it. */
  readonly productLine: (typeof PRODUCT_LINES)[number] | undefined;
  /** True where the path is a regular file. */
  readonly isFile: (path: string) => boolean;
}

/** Confidential-computing technology of a host or of a VM. */
export type Tee = "snp" | "tdx" | "none";

/** AMD's product lines with SEV-SNP, as certificates and policies name them. */
export const PRODUCT_LINES = ["Milan", "Genoa", "Turin"] as const;

/** Size text of QEMU (`2048M`, `4G`) and the bytes it means. */
export interface Size {
  readonly text: string;
  readonly bytes: bigint;
}

/** First and last host port a VM may get. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** More ports than this would make permission lists of over 100 KB. */
export const MAX_PORTS = 1024;

const UNITS: Record<string, bigint> = { "": 20n, K: 10n, M: 20n, G: 30n, T: 40n };

/** A QEMU size: digits and one of K, M, G, T; without a letter QEMU means MiB. */
export function size(fallback: string): Field<Size> {
  return {
    fallback,
    parse: (value) => {
      const parts = /^([1-9]\d{0,11})([KMGT]?)$/.exec(value.toUpperCase());
      if (parts === null) {
        throw new RangeError(`must be a size such as 2048M or 4G, is ${show(value)}`);
      }
      const bytes = BigInt(parts[1] as string) << (UNITS[parts[2] as string] as bigint);
      return { text: value, bytes };
    },
  };
}

/** A port range `first-last`, both included. */
export function portRange(fallback: string): Field<PortRange> {
  return {
    fallback,
    parse: (value) => {
      const parts = /^(\d{1,5})-(\d{1,5})$/.exec(value);
      const [first, last] = [Number(parts?.[1]), Number(parts?.[2])];
      if (parts === null || first < 1 || last > 65535 || first > last) {
        throw new RangeError(`must be two ports such as 6100-6200, is ${show(value)}`);
      }
      if (last - first >= MAX_PORTS) {
        throw new RangeError(`must not span more than ${MAX_PORTS} ports, is ${show(value)}`);
      }
      return { first, last };
    },
  };
}

/** A word of QEMU's option language: no comma, no `=`, no space, no leading dash. */
export function word(fallback: string): Field<string> {
  return matching(
    /^[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,63}$/,
    "a word of letters, digits and _.:+-",
    fallback,
  );
}

/** A model and its properties as `-machine` and `-cpu` take them: `EPYC-v4,+avx,phys-bits=48`. */
export function model(fallback: string): Field<string> {
  return matching(
    /^(?:[A-Za-z0-9_.-]{1,64}(?:,[+-]?[A-Za-z0-9_.-]{1,64}(?:=[A-Za-z0-9_.:+-]{1,64})?){0,64})?$/,
    "a model with options such as EPYC or host,phys-bits=48",
    fallback,
  );
}

/** An address a listener binds: IPv4, or a host name; empty means every interface. */
export function bindAddress(fallback: string): Field<string> {
  return matching(
    /^(?:\d{1,3}(?:\.\d{1,3}){3})?$/,
    "an IPv4 address, or empty for every interface",
    fallback,
  );
}

/** Where a server of ours listens. */
export function listenHost(): Field<string> {
  return matching(
    /^(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|(?=.*:)[0-9A-Fa-f:.]{2,45})$/,
    "localhost or an address",
    "localhost",
  );
}

/** Text that matches a pattern; `what` finishes the sentence "must be …". */
export function matching(pattern: RegExp, what: string, fallback: string): Field<string> {
  return {
    fallback,
    parse: (value) => {
      if (!pattern.test(value)) throw new RangeError(`must be ${what}, is ${show(value)}`);
      return value;
    },
  };
}

/** An absolute path of one printable line; relative text is taken from the working directory. */
export function path(machine: Machine, fallback?: string): Field<string> {
  const line = text(fallback);
  return {
    fallback,
    parse: (value) => {
      if (value === "") throw new RangeError("must be a path, is empty");
      return absolute(machine.cwd, line.parse(value));
    },
  };
}

/** A regular file that exists. With several fallbacks the first that exists is taken. */
export function file(machine: Machine, ...fallbacks: string[]): Field<string> {
  const candidates = fallbacks.map((each) => absolute(machine.cwd, each));
  const line = path(machine);
  return {
    fallback: candidates.find(machine.isFile) ?? candidates[0],
    parse: (value) => {
      const found = line.parse(value);
      if (!machine.isFile(found)) {
        const others = candidates.length > 1 && candidates.includes(found)
          ? ` (nor are ${candidates.filter((each) => each !== found).join(", ")})`
          : "";
        throw new RangeError(`open ${found}: no such file${others}`);
      }
      return found;
    },
  };
}

/** A program: a path, or a name looked up in PATH. The value is absolute. */
export function program(machine: Machine, fallback: string): Field<string> {
  const line = text();
  return {
    fallback,
    parse: (value) => {
      line.parse(value);
      const found = value.includes("/")
        ? absolute(machine.cwd, value)
        : machine.searchPath.split(":").filter((each) => each.startsWith("/"))
          .map((each) => absolute(each, value)).find(machine.isFile);
      if (value === "" || found === undefined || !machine.isFile(found)) {
        throw new RangeError(`exec: ${show(value)}: executable file not found in $PATH`);
      }
      return found;
    },
  };
}

/** 32 bytes in base64, as SEV-SNP's host data is given. */
export function hostData(): Field<string> {
  return matching(/^(?:[A-Za-z0-9+/]{43}=)?$/, "32 bytes in base64", "");
}

/** Joins, and folds `.` and `..` away. */
export function absolute(base: string, value: string): string {
  const parts: string[] = [];
  for (const part of (value.startsWith("/") ? value : `${base}/${value}`).split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

function show(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
}

/** Every variable the manager reads, in the order of the seed's table, then those it lacks. */
// deno-lint-ignore explicit-module-boundary-types
export function settings(machine: Machine) {
  const hal = `${machine.home}/build/hal`;
  return {
    COCOS_JAEGER_URL: text("http://localhost:4318"),
    COCOS_JAEGER_TRACE_RATIO: decimal(0, 1, "1.0"),
    MANAGER_INSTANCE_ID: text("", 256),
    MANAGER_ATTESTATION_POLICY_BINARY: path(machine, "../../build/attestation_policy"),
    MANAGER_IGVMMEASURE_BINARY: path(machine, "../../build/igvmmeasure"),
    MANAGER_PCR_VALUES: optional(file(machine)),
    MANAGER_GRPC_CLIENT_CERT: optional(file(machine)),
    MANAGER_GRPC_CLIENT_KEY: optional(file(machine)),
    MANAGER_GRPC_SERVER_CA_CERTS: optional(file(machine)),
    MANAGER_GRPC_URL: endpoint("localhost:7001"),
    MANAGER_GRPC_TIMEOUT: duration("60s"),
    MANAGER_EOS_VERSION: text("", 256),
    MANAGER_QEMU_MEMORY_SIZE: size("2048M"),
    MANAGER_QEMU_MEMORY_SLOTS: integer(0, 256, "5"),
    MANAGER_QEMU_MAX_MEMORY: size("30G"),
    MANAGER_QEMU_OVMF_CODE_IF: word("pflash"),
    MANAGER_QEMU_OVMF_CODE_FORMAT: word("raw"),
    MANAGER_QEMU_OVMF_CODE_UNIT: integer(0, 7, "0"),
    MANAGER_QEMU_OVMF_CODE_FILE: path(machine, "/usr/share/OVMF/OVMF_CODE.fd"),
    MANAGER_QEMU_OVMF_VERSION: text("", 256),
    MANAGER_QEMU_OVMF_CODE_READONLY: oneOf(["on", "off"], "on"),
    MANAGER_QEMU_OVMF_VARS_IF: word("pflash"),
    MANAGER_QEMU_OVMF_VARS_FORMAT: word("raw"),
    MANAGER_QEMU_OVMF_VARS_UNIT: integer(0, 7, "1"),
    MANAGER_QEMU_OVMF_VARS_FILE: path(machine, "/usr/share/OVMF/OVMF_VARS.fd"),
    MANAGER_QEMU_NETDEV_ID: word("vmnic"),
    MANAGER_QEMU_HOST_FWD_AGENT: integer(1, 65535, "7020"),
    MANAGER_QEMU_GUEST_FWD_AGENT: integer(1, 65535, "7002"),
    MANAGER_QEMU_VIRTIO_NET_PCI_DISABLE_LEGACY: oneOf(["on", "off"], "on"),
    MANAGER_QEMU_VIRTIO_NET_PCI_IOMMU_PLATFORM: oneOf(["true", "false"], "true"),
    MANAGER_QEMU_VIRTIO_NET_PCI_ADDR: matching(
      /^0x[0-9a-fA-F]{1,2}(?:\.[0-7])?$/,
      "a PCI address such as 0x2",
      "0x2",
    ),
    MANAGER_QEMU_VIRTIO_NET_PCI_ROMFILE: optional(file(machine)),
    MANAGER_QEMU_DISK_IMG_KERNEL_FILE: file(machine, "img/bzImage", `${hal}/bzImage`),
    MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: file(machine, "img/rootfs.cpio.gz", `${hal}/rootfs.cpio.gz`),
    MANAGER_QEMU_SEV_SNP_ID: word("sev0"),
    MANAGER_QEMU_SEV_SNP_CBITPOS: integer(0, 63, "51"),
    MANAGER_QEMU_SEV_SNP_REDUCED_PHYS_BITS: integer(0, 63, "1"),
    MANAGER_QEMU_ENABLE_HOST_DATA: boolean("false"),
    MANAGER_QEMU_HOST_DATA: hostData(),
    MANAGER_QEMU_TDX_ID: word("tdx0"),
    MANAGER_QEMU_QUOTE_GENERATION_PORT: integer(1, 4294967295, "4050"),
    MANAGER_QEMU_OVMF_FILE: path(machine, "/usr/share/ovmf/OVMF.fd"),
    MANAGER_QEMU_IGVM_ID: word("igvm0"),
    MANAGER_QEMU_IGVM_FILE: path(machine, "/root/coconut-qemu.igvm"),
    MANAGER_QEMU_BIN_PATH: program(machine, "qemu-system-x86_64"),
    MANAGER_QEMU_USE_SUDO: boolean("false"),
    MANAGER_QEMU_ENABLE_SEV_SNP: optional(boolean()),
    MANAGER_QEMU_ENABLE_TDX: optional(boolean()),
    MANAGER_QEMU_ENABLE_KVM: optional(boolean()),
    MANAGER_QEMU_MACHINE: model("q35"),
    MANAGER_QEMU_CPU: model("EPYC"),
    MANAGER_QEMU_SMP_COUNT: integer(1, 1024, "4"),
    MANAGER_QEMU_SMP_MAXCPUS: integer(1, 1024, "64"),
    MANAGER_QEMU_MEM_ID: word("ram1"),
    MANAGER_QEMU_NO_GRAPHIC: boolean("true"),
    MANAGER_QEMU_MONITOR: oneOf(["pty", "none", "null"], "pty"),
    MANAGER_QEMU_HOST_FWD_RANGE: portRange("6100-6200"),
    MANAGER_QEMU_CERTS_MOUNT: optional(path(machine)),
    MANAGER_QEMU_ENV_MOUNT: optional(path(machine)),

    MANAGER_GRPC_HOST: listenHost(),
    MANAGER_GRPC_PORT: integer(0, 65535, "7002"),
    MANAGER_GRPC_SERVER_CERT: optional(file(machine)),
    MANAGER_GRPC_SERVER_KEY: optional(file(machine)),
    MANAGER_GRPC_CLIENT_CA_CERTS: optional(file(machine)),
    MANAGER_GRPC_INSECURE_REMOTE: boolean("false"),
    MANAGER_HTTP_HOST: listenHost(),
    MANAGER_HTTP_PORT: integer(0, 65535, "7003"),
    MANAGER_LOG_LEVEL: oneOf(LEVELS, "info"),
    MANAGER_MAX_VMS: integer(0, MAX_PORTS, "10"),
    MANAGER_QEMU_HOST_FWD_ADDR: bindAddress("127.0.0.1"),
    MANAGER_QEMU_KERNEL_CMDLINE: text("", 1024),
    MANAGER_QEMU_PROBE_FILE: optional(
      file(machine, ...[`${hal}/probe.cpio`].filter(machine.isFile)),
    ),
    MANAGER_SNP_PRODUCT_LINE: optional(oneOf(PRODUCT_LINES)),
    MANAGER_STATE_DIR: path(machine, machine.stateDir),
    MANAGER_STOP_GRACE: duration("5s"),
  };
}
