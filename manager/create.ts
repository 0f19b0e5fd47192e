// The steps that make a VM, each with what undoes it: a creation happens whole or leaves nothing
// (threats N-5, N-11).
import type { Config } from "./config.ts";
import { CocosError, logger } from "../base/mod.ts";
import { commandOf, shellText } from "./argv.ts";
import { copyNew, removeAll, type StateFolder, writeNew } from "./folder.ts";
import { noteLaunch } from "./launch.ts";
import type { Ports } from "./ports.ts";
import { spawnQemu } from "./qemu.ts";
import { RECORD_VERSION, type VmRecord, writeJson } from "./record.ts";
import { asSeenByGuest, environmentText, type VmRequest } from "./request.ts";
import { type VmSpec, vmSpec } from "./spec.ts";
import { RunningVm } from "./vm.ts";

const log = logger("manager");

/** Names of the steps, in order. */
export const STEPS = [
  "image",
  "port",
  "folder",
  "certificates",
  "environment",
  "firmware",
  "launch",
  "record",
  "spawn",
  "confirm",
  "keep",
] as const;

/** One step of a creation. */
export type Step = typeof STEPS[number];

/** What a creation works with. */
export interface Workshop {
  readonly config: Config;
  readonly folder: StateFolder;
  readonly ports: Ports;
  readonly accel: () => Promise<"kvm" | "tcg">;
  readonly checkImage: () => Promise<void>;
  readonly now: () => number;
  /** Told of each finished step; what it throws is a failure of that step. */
  readonly step: (step: Step, id: string) => void;
}

/** A VM that was made. */
export interface Made {
  readonly spec: VmSpec;
  readonly vm: RunningVm;
  readonly record: VmRecord;
}

/** Times another port is tried when some other program took ours before QEMU held it. */
const PORT_TRIES = 3;

/**
 * Makes a VM and waits until its QEMU has answered on the control socket.
 *
 * @throws {CocosError} after everything that was made is gone again.
 */
export async function createVm(
  shop: Workshop,
  id: string,
  request: VmRequest,
): Promise<Made> {
  await shop.checkImage();
  shop.step("image", id);
  const taken: number[] = [];
  try {
    for (let tries = 1;; tries++) {
      const port = shop.ports.take();
      try {
        return await withPort(shop, id, port, request);
      } catch (error) {
        const conflict = error instanceof CocosError && error.code === "conflict";
        if (!conflict || tries === PORT_TRIES) {
          shop.ports.release(port);
          throw error;
        }
        taken.push(port);
        log.warn`another program took port ${port} first, trying the next`;
      }
    }
  } finally {
    for (const port of taken) shop.ports.release(port);
  }
}

async function withPort(
  shop: Workshop,
  id: string,
  port: number,
  request: VmRequest,
): Promise<Made> {
  const { folder, config, step } = shop;
  await using undo = new AsyncDisposableStack();
  step("port", id);

  const dir = folder.vm(id);
  await Deno.mkdir(dir, { mode: 0o700 });
  undo.defer(() => removeAll(dir));
  step("folder", id);

  const certsDir = `${dir}/certs`;
  await Deno.mkdir(certsDir, { mode: 0o700 });
  const certificates = {
    "cert.pem": request.clientCert,
    "key.pem": request.clientKey,
    "ca.pem": request.serverCa,
  };
  for (const [name, pem] of Object.entries(certificates)) {
    if (pem !== undefined) await writeNew(`${certsDir}/${name}`, pem);
  }
  step("certificates", id);

  const envDir = `${dir}/env`;
  await Deno.mkdir(envDir, { mode: 0o700 });
  await writeNew(`${envDir}/environment`, environmentText(id, request));
  if (asSeenByGuest(request.server) !== request.server) {
    log.info("the loopback server URL is given to the CVM as its gateway's address", {
      cvm: id,
      asked: request.server.host,
      given: asSeenByGuest(request.server).host,
    });
  }
  step("environment", id);

  const { template } = config;
  const varsFile = `${dir}/OVMF_VARS.fd`;
  if (template.firmware !== undefined) await copyNew(template.firmware.vars.file, varsFile);
  step("firmware", id);

  const created = shop.now();
  const until = request.ttlMs === undefined ? undefined : created + Math.ceil(request.ttlMs);
  const spec = vmSpec(template, {
    id,
    port,
    accel: await shop.accel(),
    qmpSocket: folder.socket(port),
    certsDir,
    envDir,
    varsFile,
    until: until === undefined ? undefined : Math.ceil(until / 1000),
  });
  const noted = await noteLaunch(spec, config);
  step("launch", id);

  const command = commandOf(spec);
  const record: VmRecord = {
    version: RECORD_VERSION,
    id,
    port,
    stage: "creating",
    created,
    until,
    pid: undefined,
    command,
    launch: noted.launch,
  };
  // Written before QEMU starts: were we killed now, the next manager knows what to look for.
  await writeJson(`${dir}/vm.json`, record);
  step("record", id);

  log.with({ cvm: id }).info`starting QEMU: ${shellText(command)}`;
  await removeAll(spec.qmpSocket); // left by a QEMU that was killed; a live one would hold the port
  const child = spawnQemu(command, {
    consoleFile: `${dir}/console.log`,
    onStderr: stderrLog(id),
  });
  const vm = RunningVm.spawned(id, spec.qmpSocket, child);
  undo.defer(async () => {
    child.kill();
    await child.ended;
    await vm.release();
    await removeAll(spec.qmpSocket);
  });
  step("spawn", id);

  await vm.confirm();
  await noted.unchanged(); // QEMU greets when it has loaded its guest
  step("confirm", id);

  const kept: VmRecord = { ...record, stage: "running", pid: child.pid };
  await writeJson(`${dir}/vm.json`, kept);
  step("keep", id);

  undo.move();
  return { spec, vm, record: kept };
}

/** Lines of QEMU's stderr that are logged for one VM; the rest is only kept as the tail. */
const MAX_STDERR_LINES = 100;

/** Logs QEMU's complaints; what emulation can't do of a CPU model is of no interest. */
function stderrLog(id: string): (line: string) => void {
  let left = MAX_STDERR_LINES;
  return (line) => {
    if (line === "" || left === 0) return;
    left--;
    const to = log.with({ cvm: id });
    if (/warning: TCG doesn't support requested feature/.test(line)) to.debug`QEMU: ${line}`;
    else if (/[Ee]rror/.test(line)) to.error`QEMU: ${line}`;
    else to.warn`QEMU: ${line}`;
  };
}
