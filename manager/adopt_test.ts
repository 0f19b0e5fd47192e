// A manager that comes after one that is gone: which VMs it takes back, and what it throws away.
import assert from "node:assert/strict";
import { request, Testbed, until } from "./_testbed.ts";
import { STEPS } from "./create.ts";
import { Fleet } from "./fleet.ts";
import { spawnQemu } from "./qemu.ts";
import { parseRecord } from "./record.ts";
import { RunningVm } from "./vm.ts";

const tcg = () => Promise.resolve("tcg" as const);
const open = (bed: Testbed, more = {}) => Fleet.open({ config: bed.config, accel: tcg, ...more });

Deno.test("N-7 Fleet.open() adopts a VM that runs on; remove works on it, nothing is left", async () => {
  await using bed = await Testbed.make();
  const before = await open(bed);
  const made = await before.create(request());
  await before[Symbol.asyncDispose]();
  await using after = await open(bed);
  assert.deepEqual(after.list(), [made]);
  const { id, port } = await after.create(request());
  assert.notEqual(port, made.port);
  await after.remove(id);
  await after.remove(made.id);
  assert.deepEqual(await bed.left(), []);
});

Deno.test("N-7 Fleet.open() adopts a QEMU that outlives its manager's kill, and sees it end", async () => {
  await using bed = await Testbed.make("ignores-powerdown");
  const made = await crashAt(bed, undefined);
  await using after = await open(bed);
  assert.deepEqual(after.list().map(({ id }) => id), [made.id]);
  Deno.kill(made.pid, "SIGKILL"); // our own pretended QEMU, started by the crashed helper above
  await until(() => after.list().length === 0, 2000);
  assert.deepEqual(await bed.left(), ["exits.json"]);
});

for (const step of STEPS) {
  Deno.test(`N-7 Fleet.open() after a kill at the step "${step}" finds nothing half-made`, async () => {
    await using bed = await Testbed.make();
    await crashAt(bed, step);
    await using after = await open(bed);
    if (step === "keep") await after.removeEvery();
    assert.deepEqual(after.list(), []);
    assert.deepEqual(await bed.left(), []);
    const { id, port } = await after.create(request());
    assert.equal(port, bed.config.ports.first, "a QEMU of before still holds the port");
    await after.remove(id);
  });
}

/** Runs a manager in a process of its own that is killed at a step, or after one creation. */
async function crashAt(
  bed: Testbed,
  step: string | undefined,
): Promise<{ id: string; pid: number }> {
  const { dir, config: { ports, stateDir } } = bed;
  const { stdout, stderr, signal } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--cached-only",
      `--allow-read=${dir}`,
      `--allow-write=${stateDir}`,
      "--allow-sys=uid",
      `--allow-run=${dir}/qemu,kill`,
      `--allow-net=${
        Array.from({ length: ports.last - ports.first + 1 }, (_, at) => ports.first + at)
          .flatMap((port) => [`127.0.0.1:${port}`, `unix:${stateDir}/qmp/${port}.sock`]).join()
      }`,
      new URL("_crasher.ts", import.meta.url).pathname,
      dir,
      `${ports.first}-${ports.last}`,
      step ?? "",
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert.equal(signal, "SIGKILL", text + new TextDecoder().decode(stderr));
  const last = text.trim().split("\n").at(-1) ?? "";
  return step === undefined ? JSON.parse(last) : { id: "", pid: 0 };
}

Deno.test("N-9 Fleet.open() honours the remaining TTL, one that ran out while nobody watched too", async () => {
  await using bed = await Testbed.make();
  let now = 1_000_000_000_000;
  const timers: { time: number; call: () => void }[] = [];
  const clock = {
    now: () => now,
    at: (time: number, call: () => void) => {
      timers.push({ time, call });
      return () => {};
    },
  };
  const before = await open(bed, { clock });
  const made = await before.create(request({ ttl: "1h" }));
  await before[Symbol.asyncDispose]();
  now += 1_000_000;
  timers.length = 0;
  await using after = await open(bed, { clock });
  assert.deepEqual(timers.map(({ time }) => time), [1_000_003_600_000]);
  timers[0]?.call();
  await until(() => !after.has(made.id));
  assert.deepEqual(await bed.left(), []);
});

const BAD_RECORDS: Record<string, (path: string, good: string) => Promise<void>> = {
  "truncated": (path, good) => Deno.writeTextFile(path, good.slice(0, good.length / 2)),
  "empty": (path) => Deno.writeTextFile(path, ""),
  "of wrong types": (path, good) =>
    Deno.writeTextFile(path, good.replace(/"port": \d+/, `"port": "x"`)),
  "of a newer version": (path, good) =>
    Deno.writeTextFile(path, good.replace(`"version": 1`, `"version": 2`)),
  "a link to a good one": async (path, good) => {
    const planted = `${path.split("/state/")[0]}/planted.json`;
    await Deno.writeTextFile(planted, good);
    await Deno.remove(path);
    await Deno.symlink(planted, path);
  },
  "of another user": async (path) => {
    if (Deno.uid() === 0) await Deno.chown(path, 65534, 65534);
    else {
      console.log("skipped: giving a file to another user needs root");
      await Deno.writeTextFile(path, "");
    }
  },
};
for (const [what, damage] of Object.entries(BAD_RECORDS)) {
  Deno.test(`N-8 Fleet.open(): a record that is ${what} is set aside, the live VM is known by its QEMU`, async () => {
    await using bed = await Testbed.make();
    const before = await open(bed);
    const made = await before.create(request({ ttl: "8760h" }));
    const other = await before.create(request());
    await before[Symbol.asyncDispose]();
    const path = `${bed.config.stateDir}/vms/${made.id}/vm.json`;
    await damage(path, await Deno.readTextFile(path));
    const timers: number[] = [];
    const clock = {
      now: Date.now,
      at: (time: number) => {
        timers.push(time);
        return () => {};
      },
    };
    await using after = await open(bed, { clock });
    assert.deepEqual(new Set(after.list().map(({ id }) => id)), new Set([made.id, other.id]));
    assert.equal(timers.length, 1, "the TTL is lost");
    await after.removeEvery();
    assert.deepEqual((await bed.left()).map((each) => each.slice(0, 42)), [`aside/${made.id}`]);
  });
}

Deno.test("N-8 Fleet.open(): a planted record of a live foreign process neither adopts nor ends it", async () => {
  await using bed = await Testbed.make();
  await (await open(bed))[Symbol.asyncDispose]();
  const id = crypto.randomUUID();
  const dir = `${bed.config.stateDir}/vms/${id}`;
  const foreign = new Deno.Command("/bin/sleep", { args: ["60"] }).spawn();
  await Deno.mkdir(dir);
  await Deno.writeTextFile(
    `${dir}/vm.json`,
    JSON.stringify({
      version: 1,
      id,
      port: bed.config.ports.first,
      stage: "running",
      created: 1,
      pid: foreign.pid,
      command: ["qemu"],
    }),
  );
  await Deno.writeTextFile(`${bed.config.stateDir}/vms/notes`, "what is this");
  await using fleet = await open(bed);
  assert.deepEqual(fleet.list(), []);
  assert.deepEqual((await bed.left()).map((each) => each.slice(0, 13)), ["aside/unknown"]);
  foreign.kill("SIGKILL"); // it lives, else this throws
  assert.equal((await foreign.status).signal, "SIGKILL");
});

Deno.test("N-7 Fleet.open(): a QEMU that answers nothing keeps its place and is not signalled", async () => {
  await using bed = await Testbed.make("stalls-later", { MANAGER_MAX_VMS: "1" });
  const before = await open(bed);
  const made = await before.create(request());
  const { pid } = JSON.parse(
    await Deno.readTextFile(`${bed.config.stateDir}/vms/${made.id}/vm.json`),
  );
  await before[Symbol.asyncDispose]();
  await using after = await open(bed);
  assert.deepEqual(after.list(), [made]);
  await assert.rejects(after.create(request()), { message: "maximum number of VMs exceeded" });
  await assert.rejects(after.remove(made.id), {
    code: "timeout",
    hint: new RegExp(`-uuid ${made.id}`),
  });
  assert.deepEqual(after.list(), [made]);
  Deno.kill(pid, "SIGKILL"); // what a person does; throws if the manager had ended it
  await after.remove(made.id);
  assert.deepEqual(await bed.left(), []);
});

Deno.test("N-6 RunningVm.confirm() gives a silent QEMU up in time", async () => {
  await using bed = await Testbed.make("silent");
  await Deno.mkdir(`${bed.config.stateDir}/qmp`, { recursive: true });
  const { first } = bed.config.ports;
  const socket = `${bed.config.stateDir}/qmp/${first}.sock`;
  const child = spawnQemu([
    `${bed.dir}/qemu`,
    "-netdev",
    `user,hostfwd=tcp:127.0.0.1:${first}-:7002`,
    "-qmp",
    `unix:${socket},server=on,wait=off`,
  ], {});
  const vm = RunningVm.spawned(crypto.randomUUID(), socket, child);
  await assert.rejects(vm.confirm(500), { code: "timeout" });
  child.kill();
  await vm.gone;
});

Deno.test("N-8 parseRecord() refuses each missing or wrong field", () => {
  const id = crypto.randomUUID();
  const good = { version: 1, id, port: 6100, stage: "running", created: 1, command: [] };
  assert.equal(parseRecord(JSON.stringify(good), id).port, 6100);
  const wrong = {
    version: 0,
    id: "x",
    port: 0,
    stage: "done",
    created: -1,
    until: "x",
    pid: 1.5,
    command: [1],
  };
  for (const [field, value] of Object.entries(wrong)) {
    assert.throws(
      () => parseRecord(JSON.stringify({ ...good, [field]: value }), id),
      TypeError,
      field,
    );
  }
  assert.throws(() => parseRecord("null", id), TypeError);
  assert.throws(() => parseRecord(JSON.stringify(good), crypto.randomUUID()), TypeError);
});
