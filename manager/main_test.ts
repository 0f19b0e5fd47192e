// The manager as a process: started by its launcher with exactly its rights, used through gRPC,
// ended by signals.
import assert from "node:assert/strict";
import { connect, ManagerService, type RpcClient } from "../proto/mod.ts";
import { importSeedPolicy } from "../attestation/mod.ts";
import { efiKernel, vector } from "./_evidence.ts";
import { Testbed } from "./_testbed.ts";

const LAUNCHER = new URL("../bin/cocos-manager", import.meta.url).pathname;

function environment(bed: Testbed, more: Record<string, string> = {}): Record<string, string> {
  const { ports } = bed.config;
  return {
    PATH: Deno.env.get("PATH") ?? "",
    HOME: Deno.env.get("HOME") ?? "/",
    COCOS_DENO: Deno.execPath(),
    MANAGER_QEMU_BIN_PATH: `${bed.dir}/qemu`,
    MANAGER_QEMU_DISK_IMG_KERNEL_FILE: `${bed.dir}/bzImage`,
    MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: `${bed.dir}/rootfs.cpio.gz`,
    MANAGER_QEMU_OVMF_CODE_FILE: `${bed.dir}/CODE.fd`,
    MANAGER_QEMU_OVMF_VARS_FILE: `${bed.dir}/VARS.fd`,
    MANAGER_QEMU_HOST_FWD_RANGE: `${ports.first}-${ports.last}`,
    MANAGER_STATE_DIR: bed.config.stateDir,
    MANAGER_QEMU_ENABLE_KVM: "false",
    MANAGER_GRPC_PORT: "0",
    MANAGER_HTTP_PORT: "0",
    MANAGER_GRPC_URL: "127.0.0.1:1",
    ...more,
  };
}

/** A running manager, its log lines and a client. */
class Process implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly child: Deno.ChildProcess;
  readonly client: RpcClient<typeof ManagerService>;

  private constructor(
    child: Deno.ChildProcess,
    client: RpcClient<typeof ManagerService>,
    lines: string[],
  ) {
    this.child = child;
    this.client = client;
    this.lines = lines;
  }

  static async start(
    bed: Testbed,
    args: string[] = [],
    more: Record<string, string> = {},
    launcher = LAUNCHER,
  ): Promise<Process> {
    const child = new Deno.Command(launcher, {
      args,
      clearEnv: true,
      env: environment(bed, more),
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const lines: string[] = [];
    const listening = Promise.withResolvers<number>();
    (async () => {
      let rest = "";
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        const parts = (rest + text).split("\n");
        rest = parts.pop() as string;
        for (const line of parts) {
          lines.push(JSON.parse(line).msg);
          const port = /listening at 127\.0\.0\.1:(\d+) without TLS/.exec(lines.at(-1) ?? "")?.[1];
          if (port !== undefined) listening.resolve(Number(port));
        }
      }
      listening.reject(new Error(lines.join("\n")));
    })();
    const target = { host: "127.0.0.1", port: await listening.promise };
    return new Process(
      child,
      connect(ManagerService, { target, security: { kind: "none" } }),
      lines,
    );
  }

  async stop(signal: Deno.Signal): Promise<number> {
    await this.client[Symbol.asyncDispose]();
    this.child.kill(signal);
    return (await this.child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGTERM").catch(() => {}); // it may have ended already
  }
}

Deno.test("N-15 cocos-manager on a pretended SEV-SNP host makes a policy with exactly its rights", async () => {
  await using bed = await Testbed.make();
  await Deno.writeFile(`${bed.dir}/guest.igvm`, vector("measure/synthetic-sorted.igvm"));
  await Deno.writeFile(`${bed.dir}/bzImage`, efiKernel(1));
  const bin = LAUNCHER.replace(/\/[^/]*$/, "");
  await Deno.writeTextFile(
    `${bed.dir}/launcher`,
    `#!/bin/sh\nhere='${bin}'\n. "$here/_deno.sh"\nexport MANAGER_HOST_TEE=snp\nlaunch manager "$@"\n`,
    { mode: 0o700 },
  );
  const settings = {
    MANAGER_QEMU_IGVM_FILE: `${bed.dir}/guest.igvm`,
    MANAGER_SNP_PRODUCT_LINE: "Genoa",
    MANAGER_QEMU_ENABLE_KVM: "true",
  };
  await using manager = await Process.start(
    bed,
    ["--remove-vms-on-exit"],
    settings,
    `${bed.dir}/launcher`,
  );
  assert.ok(manager.lines.includes("Manager started with SEV-SNP enabled"));
  const { cvmId } = await manager.client.createVm({});
  const { info } = await manager.client.attestationPolicy({ id: cvmId });
  const { policy, findings } = await importSeedPolicy(new TextDecoder().decode(info));
  assert.deepEqual(policy.snp?.products, ["Genoa"]);
  assert.ok(findings.length > 0);
  const notes = manager.lines.filter((line) => line.startsWith("attestation policy: "));
  assert.equal(notes.length, 1, notes.join("\n"));
  assert.match(notes[0] ?? "", /minimum_launch_tcb.* not set: only the platform can say them/);
  assert.equal(await manager.stop("SIGTERM"), 0);
});

Deno.test("cocos-manager: VMs run on after SIGTERM, are taken back, go with --remove-vms-on-exit", async () => {
  await using bed = await Testbed.make();
  await using first = await Process.start(bed);
  const { cvmId, forwardedPort } = await first.client.createVm({
    agentCvmServerUrl: "localhost:7001",
  });
  assert.equal(await first.stop("SIGTERM"), 0);
  assert.ok(
    first.lines.some((line) =>
      line.match(
        new RegExp(
          `^Method CreateVM for id ${cvmId} on port ${forwardedPort} took [\\d.]+[µm]?s to complete$`,
        ),
      )
    ),
    first.lines.join("\n"),
  );
  assert.ok(
    first.lines.some((line) =>
      line.startsWith(`starting QEMU: ${bed.dir}/qemu -machine q35,accel=tcg`)
    ),
  );

  await using second = await Process.start(bed, ["--remove-vms-on-exit", "--guest-compat"]);
  assert.ok(second.lines.includes("Successfully restored VM state"));
  await second.client.createVm({});
  assert.ok(
    second.lines.some((line) =>
      line.includes("-append 'quiet console=null cocos.mode=compat no_timer_check panic=1'")
    ),
  );
  assert.equal(await second.stop("SIGINT"), 0);
  assert.deepEqual(await bed.left(), []);
});

Deno.test("N-13 cocos-manager: a second one on the same state folder ends with a clear error", async () => {
  await using bed = await Testbed.make();
  await using _first = await Process.start(bed);
  const { code, stderr } = await run(bed, []);
  assert.equal(code, 6);
  assert.match(
    stderr,
    /^cocos-manager: Cannot start: another manager uses .*\nhint: Stop that manager/,
  );
});

async function run(bed: Testbed, args: string[], more: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(LAUNCHER, {
    args,
    clearEnv: true,
    env: environment(bed, more),
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("cocos-manager: --help, --version, --dry-run, --config and wrong settings", async () => {
  await using bed = await Testbed.make();
  assert.match((await run(bed, ["--help"])).stdout, /^cocos-manager - .*--guest-compat/s);
  assert.equal((await run(bed, ["--version"])).stdout, "cocos-manager 0.1.0\n");
  const unknown = await run(bed, ["--nonsense"]);
  assert.deepEqual([unknown.code, unknown.stdout], [2, ""]);

  await Deno.writeTextFile(`${bed.dir}/m.env`, "MANAGER_QEMU_SMP_COUNT=2\nMANAGER_QEMU_CPU=max\n");
  const dry = await run(bed, ["--dry-run", "--config", `${bed.dir}/m.env`], {
    MANAGER_QEMU_CPU: "Nehalem",
  });
  assert.equal(dry.code, 0);
  assert.match(
    dry.stdout,
    new RegExp(`^${bed.dir}/qemu -machine q35,accel=tcg -cpu Nehalem -smp 2,maxcpus=64 .*\n$`),
  );

  const wrong = await run(bed, [], {
    MANAGER_MAX_VMS: "many",
    MANAGER_QEMU_BIN_PATH: "/nowhere/qemu",
  });
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^cocos-manager: Cannot start: 2 setting\(s\) are wrong:\n/);
  const notQemu = await run(bed, [], { MANAGER_QEMU_BIN_PATH: "/bin/true" });
  assert.equal(notQemu.code, 2);
  assert.match(notQemu.stderr, /Cannot use \/bin\/true: it does not say QEMU's version/);
});

Deno.test("cocos-manager: a port in use is a clear error and leaves nothing", async () => {
  await using bed = await Testbed.make();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const { code, stderr } = await run(bed, [], { MANAGER_GRPC_PORT: String(port) });
  assert.equal(code, 1);
  assert.match(stderr, new RegExp(`^cocos-manager: Cannot listen on 127\\.0\\.0\\.1:${port}`));
  assert.deepEqual(await bed.left(), []);
});

Deno.test("L-2 cocos-manager asks only for files, ports and sockets of its own", async () => {
  await using bed = await Testbed.make();
  const audit = `${bed.dir}/audit.jsonl`;
  await using manager = await Process.start(bed, [], { DENO_AUDIT_PERMISSIONS: audit });
  const { cvmId, forwardedPort } = await manager.client.createVm({});
  await manager.client.removeVm({ cvmId });
  await manager.stop("SIGTERM");
  const asked = (await Deno.readTextFile(audit)).trim().split("\n").map((line) => JSON.parse(line));
  const values = (kind: string) =>
    new Set<string>(asked.filter((each) => each.permission === kind).map((each) => each.value));
  const { stateDir } = bed.config;
  assert.deepEqual([...values("sys")], ["uid", "cpus"]);
  for (const value of values("write")) assert.ok(value.startsWith(stateDir), value);
  assert.deepEqual(
    values("net"),
    new Set([
      "127.0.0.1:0",
      "127.0.0.1:1",
      `127.0.0.1:${forwardedPort}`,
      `unix:${stateDir}/qmp/${forwardedPort}.sock`,
    ]),
  );
  assert.deepEqual(values("ffi"), new Set());
});

Deno.test("L-2 cocos-manager does not start without any one of its rights", async () => {
  await using bed = await Testbed.make();
  const env = { ...environment(bed), DENO_DIR: Deno.env.get("DENO_DIR") ?? "" };
  if (env.DENO_DIR === "") Reflect.deleteProperty(env, "DENO_DIR");
  const folder = new URL(".", import.meta.url).pathname;
  const deno = async (args: string[]) => {
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--cached-only", ...args],
      cwd: folder,
      clearEnv: true,
      env,
      stderr: "null",
    }).output();
    return { success, text: new TextDecoder().decode(stdout) };
  };
  const needs = /^\/\/ launch: (.*)$/m.exec(await Deno.readTextFile(`${folder}rights.ts`))?.[1];
  assert.ok(needs !== undefined);
  const flags = (await deno([...needs.split(" "), "rights.ts", "--"])).text.trim().split("\n");
  assert.deepEqual(flags.map((each) => each.split("=")[0]?.slice(8)), [
    "read",
    "write",
    "net",
    "run",
  ]);
  for (const without of flags) {
    const fewer = flags.filter((each) => each !== without);
    assert.equal((await deno(["-P", ...fewer, "main.ts"])).success, false, without.slice(0, 20));
  }
});
