// What the manager's tests share: a private folder, a configuration that points into it, and a
// pretended QEMU as a program that can be started like the real one.
import type { Behaviour } from "./_fake_qemu.ts";
import { type Config, readManagerConfig } from "./config.ts";
import { readRequest, type VmRequest } from "./request.ts";
import type { Machine, Tee } from "./settings.ts";

/** A machine with the given files and nothing else. */
export function pretendMachine(files: string[] = [], tee: Tee = "none"): Machine {
  const all = new Set([
    "/usr/bin/qemu-system-x86_64",
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/OVMF/OVMF_VARS.fd",
    "/home/build/hal/bzImage",
    "/home/build/hal/rootfs.cpio.gz",
    ...files,
  ]);
  return {
    cwd: "/work",
    home: "/home",
    stateDir: "/var/lib/cocos/manager",
    searchPath: "/usr/local/bin:/usr/bin",
    tee,
    productLine: undefined,
    root: true,
    isFile: (path) => all.has(path),
  };
}

/** A configuration from these variables over the defaults. */
export function configOf(
  variables: Record<string, string> = {},
  machine: Machine = pretendMachine(),
): Config {
  return readManagerConfig((name) => variables[name], machine, Object.keys(variables));
}

/** An unprivileged port with some free ones after it. */
function somePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  return Math.min(port, 65_000);
}

/** Folder, configuration and pretended QEMU of one test; all gone when disposed. */
export class Testbed implements AsyncDisposable {
  readonly dir: string;
  readonly config: Config;

  private constructor(dir: string, config: Config) {
    this.dir = dir;
    this.config = config;
  }

  static async make(
    behaviour: Behaviour = "normal",
    variables: Record<string, string> = {},
    machine: Partial<Machine> = {},
  ): Promise<Testbed> {
    const dir = await Deno.makeTempDir({ prefix: "cocos-manager-test-" });
    const first = somePort();
    const last = first + 15;
    for (const name of ["bzImage", "rootfs.cpio.gz", "CODE.fd", "VARS.fd"]) {
      await Deno.writeTextFile(`${dir}/${name}`, `${name} of the test`);
    }
    const state = `${dir}/state`;
    const bed = new Testbed(
      dir,
      readManagerConfig(
        (name) =>
          ({
            MANAGER_QEMU_BIN_PATH: `${dir}/qemu`,
            MANAGER_QEMU_DISK_IMG_KERNEL_FILE: `${dir}/bzImage`,
            MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: `${dir}/rootfs.cpio.gz`,
            MANAGER_QEMU_OVMF_CODE_FILE: `${dir}/CODE.fd`,
            MANAGER_QEMU_OVMF_VARS_FILE: `${dir}/VARS.fd`,
            MANAGER_QEMU_HOST_FWD_RANGE: `${first}-${last}`,
            MANAGER_STATE_DIR: state,
            MANAGER_STOP_GRACE: "300ms",
            ...variables,
          })[name],
        { ...pretendMachine(), isFile: () => true, cwd: dir, ...machine },
      ),
    );
    await bed.behave(behaviour, first, last);
    return bed;
  }

  /** From now on a started QEMU behaves so. */
  async behave(
    behaviour: Behaviour,
    first = this.config.ports.first,
    last = this.config.ports.last,
  ): Promise<void> {
    const state = this.config?.stateDir ?? `${this.dir}/state`;
    const ports = Array.from({ length: last - first + 1 }, (_, at) => first + at);
    const net = ports.flatMap((port) => [`127.0.0.1:${port}`, `unix:${state}/qmp/${port}.sock`]);
    const script = new URL("_fake_qemu.ts", import.meta.url).pathname;
    await Deno.writeTextFile(
      `${this.dir}/qemu`,
      `#!/bin/sh
[ "$1" != --version ] || { echo 'QEMU emulator version 7.2.0 (pretended)'; exit 0; }
DENO_DIR='${this.dir}/deno' exec '${Deno.execPath()}' run --quiet --no-prompt --no-config --no-check \\
  '--allow-read=${state}' '--allow-write=${state}' '--allow-net=${net.join(",")}' \\
  '${script}' ${behaviour} "$@"
`,
      { mode: 0o700 },
    );
  }

  /** Everything beneath the state folder but the lock, sorted. */
  async left(): Promise<string[]> {
    const found: string[] = [];
    const walk = async (dir: string) => {
      for await (const entry of Deno.readDir(dir)) {
        const path = `${dir}/${entry.name}`;
        if (entry.isDirectory) await walk(path);
        const name = path.slice(this.config.stateDir.length + 1);
        if (!["lock", "vms", "qmp", "aside"].includes(name)) found.push(name);
      }
    };
    await walk(this.config.stateDir);
    return found.sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

/** A good request, with other fields where given. */
export function request(fields: Partial<Parameters<typeof readRequest>[0]> = {}): VmRequest {
  return readRequest({ ...emptyRequest, ...fields }, { host: "192.0.2.7", port: 7001 });
}

/** A CreateReq with nothing set. */
export const emptyRequest: Parameters<typeof readRequest>[0] = {
  agentLogLevel: "",
  agentCvmServerCaCert: new Uint8Array(),
  agentCvmClientKey: new Uint8Array(),
  agentCvmClientCert: new Uint8Array(),
  agentCvmServerUrl: "",
  agentCvmCaUrl: "",
  ttl: "",
  agentCertsToken: "",
};

/** Tells a pretended guest to exit. */
export async function tellGuest(port: number, words: string): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode(words));
  await connection.read(new Uint8Array(1)).catch(() => null); // until it is gone
}

/** Waits for something that follows by itself, at most so long. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  limitMs = 5000,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error("it did not happen in time");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
