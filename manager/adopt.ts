// Finding the VMs of an earlier manager again. What is on disk is a hint; that a VM lives, and which
// it is, says only its QEMU on our private socket, never a process id (threats N-7, N-8).
import { CocosError, logger, messageOf } from "../base/mod.ts";
import type { Launch } from "./launch.ts";
import { removeAll, type StateFolder } from "./folder.ts";
import { identify, type Identity, Qmp } from "./qmp.ts";
import { ignoreMissing, readRecord, type VmRecord } from "./record.ts";
import { isVmId, parseVmName } from "./spec.ts";
import { ANSWER_MS, RunningVm } from "./vm.ts";

const log = logger("manager");

/** A VM that was found. */
export interface Adopted {
  readonly vm: RunningVm;
  readonly port: number;
  /** End of its life, milliseconds since 1970. */
  readonly until: number | undefined;
  /** What it was launched from, where its record says it. */
  readonly launch: Launch | undefined;
}

/**
 * A manager killed between spawning QEMU and its greeting leaves a QEMU whose socket is not there
 * yet. For a record of that stage and not older than this we look again for {@linkcode LOOK_MS}.
 */
const YOUNG_MS = 60_000;
const LOOK_MS = 3_000;
const LOOK_AGAIN_MS = 100;

interface Found {
  readonly qmp: Qmp | undefined;
  readonly identity: Identity | undefined;
  readonly port: number;
}

/** Looks through a state folder: live VMs are given back, what is left of others is removed. */
export async function adoptVms(folder: StateFolder, now: () => number): Promise<Adopted[]> {
  const records = await readRecords(folder, now());
  const found = await findSockets(folder);
  for (const record of records.values()) {
    if (record?.stage !== "creating" || now() - record.created > YOUNG_MS) continue;
    if (!found.some((each) => each.port === record.port)) {
      const late = await lookAgain(folder, record.port);
      if (late !== undefined) found.push(late);
    }
  }
  const adopted: Adopted[] = [];
  for (const each of found) {
    const one = await take(folder, records, each);
    if (one !== undefined) adopted.push(one);
  }
  const live = new Set(adopted.map((each) => each.vm.id));
  for (const id of records.keys()) {
    if (live.has(id)) continue;
    await removeAll(folder.vm(id));
    log.info("Deleted persisted state for non-existent process", { cvm: id });
  }
  return adopted;
}

/** Records by id; `undefined` where the folder is there and its record can't be read. */
async function readRecords(
  folder: StateFolder,
  now: number,
): Promise<Map<string, VmRecord | undefined>> {
  const records = new Map<string, VmRecord | undefined>();
  for await (const entry of Deno.readDir(`${folder.path}/vms`)) {
    const path = folder.vm(entry.name);
    if (!isVmId(entry.name) || !entry.isDirectory) {
      const to = await folder.setAside(path, "unknown", now);
      log.warn("set aside what is no VM's folder", { name: entry.name.slice(0, 80), to });
      continue;
    }
    try {
      records.set(entry.name, await readRecord(`${path}/vm.json`, entry.name, folder.uid));
    } catch (error) {
      records.set(entry.name, undefined);
      if (error instanceof CocosError && error.cause instanceof Deno.errors.NotFound) continue;
      const to = await folder.setAside(`${path}/vm.json`, entry.name, now);
      log.with({ cvm: entry.name, to }).warn`set aside a bad record: ${messageOf(error)}`;
    }
  }
  return records;
}

async function findSockets(folder: StateFolder): Promise<Found[]> {
  const found: Promise<Found | undefined>[] = [];
  for await (const { name } of Deno.readDir(`${folder.path}/qmp`)) {
    const port = /^(\d{1,5})\.sock$/.exec(name)?.[1];
    if (port !== undefined) found.push(ask(folder, Number(port)));
  }
  return (await Promise.all(found)).filter((each) => each !== undefined);
}

/** Asks who listens on a port's socket; a socket without listener is removed. */
async function ask(folder: StateFolder, port: number): Promise<Found | undefined> {
  let qmp: Qmp | undefined;
  try {
    qmp = await Qmp.connect(folder.socket(port), { timeoutMs: ANSWER_MS });
    return { qmp, identity: await identify(qmp, ANSWER_MS), port };
  } catch (error) {
    await qmp?.[Symbol.asyncDispose]();
    if (error instanceof CocosError && error.code === "unavailable") {
      const info = await Deno.lstat(folder.socket(port)).catch(ignoreMissing);
      if (info?.isSocket === true && !permissionLacks(error)) await removeAll(folder.socket(port));
      return undefined;
    }
    return { qmp: undefined, identity: undefined, port };
  }
}

/** True when it was our own permissions that kept us from asking, so nothing is known. */
function permissionLacks(error: CocosError): boolean {
  return error.cause instanceof Deno.errors.NotCapable ||
    error.cause instanceof Deno.errors.PermissionDenied;
}

async function lookAgain(folder: StateFolder, port: number): Promise<Found | undefined> {
  for (let waited = 0; waited < LOOK_MS; waited += LOOK_AGAIN_MS) {
    const found = await ask(folder, port);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
  return undefined;
}

async function take(
  folder: StateFolder,
  records: Map<string, VmRecord | undefined>,
  { qmp, identity, port }: Found,
): Promise<Adopted | undefined> {
  const socket = folder.socket(port);
  if (qmp === undefined || identity === undefined) {
    const record = [...records.values()].find((each) => each?.port === port);
    log.error("a QEMU is there that answers nothing; it keeps its place", {
      cvm: record?.id ?? "unknown",
      socket,
      ...(record?.pid === undefined ? {} : { hint: `check with ps, then: kill ${record.pid}` }),
    });
    if (record === undefined) return undefined;
    return {
      vm: RunningVm.adopted(record.id, socket, undefined),
      port,
      until: record.until,
      launch: record.launch,
    };
  }
  const name = parseVmName(identity.name);
  const record = records.get(identity.uuid);
  if (!isVmId(identity.uuid) || name === undefined || name.port !== port) {
    log.error("a QEMU on our socket is none of ours; left alone", { socket });
    await qmp[Symbol.asyncDispose]();
    return undefined;
  }
  const vm = RunningVm.adopted(identity.uuid, socket, qmp);
  if (record?.stage === "creating") {
    // Its caller never got the id: nobody else will ever remove it.
    await vm.stop(0).catch((error) => log.with({ cvm: vm.id }).error`${messageOf(error)}`);
    await removeAll(socket);
    log.warn("ended a VM whose creation was interrupted", { cvm: vm.id });
    return undefined;
  }
  const until = record?.until ?? (name.until === undefined ? undefined : name.until * 1000);
  log.info("Successfully restored VM state", { cvm: vm.id, port });
  return { vm, port, until, launch: record?.launch };
}
