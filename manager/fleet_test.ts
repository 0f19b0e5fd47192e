// The fleet against a pretended QEMU on real sockets and real ports.
import assert from "node:assert/strict";
import type { CocosError } from "../base/mod.ts";
import { request, tellGuest, Testbed, until } from "./_testbed.ts";
import type { Clock } from "./clock.ts";
import { type Step, STEPS } from "./create.ts";
import { Fleet } from "./fleet.ts";
import { canBind } from "./ports.ts";

const tcg = () => Promise.resolve("tcg" as const);

function open(bed: Testbed, more: Partial<Parameters<typeof Fleet.open>[0]> = {}): Promise<Fleet> {
  return Fleet.open({ config: bed.config, accel: tcg, ...more });
}

/** A clock whose hands a test turns. */
function handClock(): Clock & { turn(ms: number): void } {
  let now = 1_000_000_000_000;
  let waiting: { time: number; call: () => void }[] = [];
  return {
    now: () => now,
    at(time, call) {
      const entry = { time, call };
      waiting.push(entry);
      return () => void (waiting = waiting.filter((each) => each !== entry));
    },
    turn(ms) {
      now += ms;
      const due = waiting.filter(({ time }) => time <= now);
      waiting = waiting.filter(({ time }) => time > now);
      for (const { call } of due) call();
    },
  };
}

Deno.test("Fleet creates a VM, QEMU holds its port, files are private, remove leaves nothing (N-11, N-12)", async () => {
  await using bed = await Testbed.make();
  await using fleet = await open(bed);
  const { id, port } = await fleet.create(request({ agentCvmServerUrl: "localhost:7001" }));
  assert.equal(port, bed.config.ports.first);
  assert.equal(canBind("127.0.0.1", port), false);
  const dir = `${bed.config.stateDir}/vms/${id}`;
  assert.match(
    await Deno.readTextFile(`${dir}/env/environment`),
    /^AGENT_CVM_GRPC_URL=10\.0\.2\.2:7001$/m,
  );
  assert.equal(await Deno.readTextFile(`${dir}/OVMF_VARS.fd`), "VARS.fd of the test");
  for (const each of await bed.left()) {
    const info = await Deno.lstat(`${bed.config.stateDir}/${each}`);
    if (!info.isSocket) assert.equal((info.mode as number) & 0o077, 0, `${each} is open to others`);
  }
  await fleet.remove(id);
  assert.deepEqual(await bed.left(), []);
  assert.equal(canBind("127.0.0.1", port), true);
  assert.deepEqual(fleet.list(), []);
  const next = await fleet.create(request());
  assert.equal(next.port, port, "the port was not given back");
  await fleet.remove(next.id);
});

Deno.test("N-4 Fleet: creations at once never pass the limit, each port once, refused ones leave nothing", async () => {
  await using bed = await Testbed.make("normal", { MANAGER_MAX_VMS: "3" });
  await using fleet = await open(bed);
  const results = await Promise.allSettled(
    Array.from({ length: 200 }, () => fleet.create(request())),
  );
  const made = results.filter((each) => each.status === "fulfilled").map((each) => each.value);
  assert.equal(made.length, 3);
  assert.equal(new Set(made.map((each) => each.port)).size, 3);
  for (const each of results) {
    if (each.status === "rejected") {
      assert.equal(each.reason.message, "maximum number of VMs exceeded");
    }
  }
  assert.equal((await bed.left()).filter((each) => each.endsWith("vm.json")).length, 3);
  await fleet.removeEvery();
  assert.deepEqual(await bed.left(), []);
});

Deno.test("N-4 Fleet: a range smaller than the limit is exhausted with the Go manager's text", async () => {
  await using bed = await Testbed.make();
  const first = bed.config.ports.first;
  const config = { ...bed.config, ports: { first, last: first + 1 } };
  await using fleet = await Fleet.open({ config, accel: tcg });
  const results = await Promise.allSettled([1, 2, 3].map(() => fleet.create(request())));
  const refused = results.filter((each) => each.status === "rejected").map((each) => each.reason);
  assert.deepEqual(refused.map((each: CocosError) => [each.message, each.code]), [[
    "failed to allocate free port on host : failed to find free port in range " +
    `${first}-${first + 1}`,
    "exhausted",
  ]]);
  await fleet.removeEvery();
  assert.deepEqual(await bed.left(), []);
});

for (const failing of STEPS) {
  Deno.test(`N-5 Fleet: a failure at the step "${failing}" undoes all before it`, async () => {
    await using bed = await Testbed.make();
    let broken = true;
    const step = (done: Step) => {
      if (broken && done === failing) throw new Error(`injected after ${done}`);
    };
    await using fleet = await open(bed, { step });
    await assert.rejects(fleet.create(request()), { message: `injected after ${failing}` });
    assert.deepEqual(await bed.left(), []);
    assert.deepEqual(fleet.list(), []);
    assert.equal(canBind("127.0.0.1", bed.config.ports.first), true);
    broken = false;
    const { port, id } = await fleet.create(request());
    assert.equal(port, bed.config.ports.first, "the port was not given back");
    await fleet.remove(id);
  });
}

Deno.test("N-5 Fleet: a missing firmware file fails with its name and leaves nothing", async () => {
  await using bed = await Testbed.make();
  await Deno.remove(`${bed.dir}/VARS.fd`);
  await using fleet = await open(bed);
  await assert.rejects(fleet.create(request()), {
    message: `open ${bed.dir}/VARS.fd: no such file or directory`,
  });
  assert.deepEqual(await bed.left(), []);
});

Deno.test("N-6 Fleet: a QEMU that dies at once is an error with its last words, made visible", async () => {
  await using bed = await Testbed.make("dies-at-once");
  await using fleet = await open(bed);
  await assert.rejects(fleet.create(request()), {
    message: "QEMU ended at once with exit code 1: " +
      "qemu-system-x86_64: -fake: the \\x1b[31mreason\\x1b[0m is here",
  });
  assert.deepEqual(await bed.left(), []);
});

for (const behaviour of ["talks-rubbish", "other-uuid"] as const) {
  Deno.test(`N-7 Fleet: a QEMU that ${behaviour} is not taken for the VM`, async () => {
    await using bed = await Testbed.make(behaviour);
    await using fleet = await open(bed, {});
    await assert.rejects(fleet.create(request()));
    assert.deepEqual(await bed.left(), []);
  });
}

Deno.test("Fleet tries other ports when another program was faster, then gives up and gives them back", async () => {
  await using bed = await Testbed.make("port-taken");
  await using fleet = await open(bed);
  await assert.rejects(fleet.create(request()), /Could not set up host forwarding rule.*/);
  assert.deepEqual(await bed.left(), []);
  await bed.behave("normal");
  const { id, port } = await fleet.create(request());
  assert.equal(port, bed.config.ports.first);
  await fleet.remove(id);
});

Deno.test("N-6 Fleet: a QEMU that exits by itself is noticed, recorded, its place freed", async () => {
  await using bed = await Testbed.make("normal", { MANAGER_MAX_VMS: "1" });
  await using fleet = await open(bed);
  const { id, port } = await fleet.create(request());
  await tellGuest(port, "exit 3");
  await until(() => fleet.list().length === 0, 2000);
  const [end] = JSON.parse(await Deno.readTextFile(`${bed.config.stateDir}/exits.json`));
  assert.deepEqual({ ...end, ended: "" }, {
    id,
    port,
    ended: "",
    code: 3,
    stderr: ["guest asked to exit 3"],
  });
  assert.deepEqual(await bed.left(), ["exits.json"]);
  await assert.rejects(fleet.remove(id), { message: "entity not found", status: 2 });
  await fleet.remove((await fleet.create(request())).id);
});

for (const behaviour of ["ignores-powerdown", "ignores-quit"] as const) {
  Deno.test(`N-6 Fleet.remove() ends a QEMU that ${behaviour}`, async () => {
    await using bed = await Testbed.make(behaviour);
    await using fleet = await open(bed);
    const { id } = await fleet.create(request());
    await fleet.remove(id);
    assert.deepEqual(await bed.left(), []);
  });
}

Deno.test("N-14 Fleet: while a removal waits for its guest others are answered; removals are shared", async () => {
  await using bed = await Testbed.make("ignores-powerdown", { MANAGER_STOP_GRACE: "3s" });
  await using fleet = await open(bed);
  const first = await fleet.create(request());
  const removal = fleet.remove(first.id);
  const again = fleet.remove(first.id);
  assert.equal(again, removal);
  await bed.behave("normal");
  const started = performance.now();
  const second = await fleet.create(request());
  await fleet.remove(second.id);
  assert.ok(fleet.has(first.id), "the first removal had ended already");
  assert.ok(performance.now() - started < 3000);
  await Promise.all([removal, again]);
  assert.deepEqual(await bed.left(), []);
});

Deno.test("Fleet.remove() of an unknown id says what the Go manager says", async () => {
  await using bed = await Testbed.make();
  await using fleet = await open(bed);
  await assert.rejects(fleet.remove("1"), { message: "entity not found", status: 2 });
});

Deno.test("N-9 Fleet: when the TTL is over the VM is removed, not before", async () => {
  await using bed = await Testbed.make();
  const clock = handClock();
  await using fleet = await open(bed, { clock });
  const { id } = await fleet.create(request({ ttl: "1h0m0s" }));
  clock.turn(3_599_000);
  assert.ok(fleet.has(id));
  clock.turn(2_000);
  await until(() => fleet.list().length === 0);
  assert.deepEqual(await bed.left(), []);
});

Deno.test("N-9 Fleet: a TTL that ends during a removal or a shutdown changes nothing", async () => {
  await using bed = await Testbed.make("ignores-powerdown");
  const clock = handClock();
  const fleet = await open(bed, { clock });
  const { id } = await fleet.create(request({ ttl: "1h" }));
  const stays = await fleet.create(request({ ttl: "2h" }));
  const removal = fleet.remove(id);
  clock.turn(3_600_001);
  await removal;
  assert.deepEqual(fleet.list(), [stays]);
  await fleet[Symbol.asyncDispose]();
  clock.turn(3_600_001);
  await using after = await open(bed, { clock });
  assert.deepEqual(after.list(), [stays]);
  clock.turn(0); // over while nobody watched: removed now
  await until(() => after.list().length === 0);
  assert.deepEqual(await bed.left(), []);
});

Deno.test("N-13 Fleet: a second manager on the same folder is refused", async () => {
  await using bed = await Testbed.make();
  await using _fleet = await open(bed);
  await assert.rejects(open(bed), { code: "conflict" });
});

Deno.test("N-16 Fleet: a flooding console fills a bounded file, control characters made visible", async () => {
  await using bed = await Testbed.make("floods-console");
  await using fleet = await open(bed);
  const { id } = await fleet.create(request());
  const dir = `${bed.config.stateDir}/vms/${id}`;
  await until(async () =>
    (await Deno.readTextFile(`${dir}/console.log`)).includes("\\x1b[2J\\x07\n")
  );
  for (const name of ["console.log", "console.log.old"]) {
    assert.ok((await Deno.stat(`${dir}/${name}`)).size <= 256 * 1024);
  }
  await fleet.remove(id);
});
