// Containers with the real engine: outcomes, limits, and that nothing of a run or of its image stays.
import assert from "node:assert/strict";
import { converse, makeJob, requestOf, runJob, startRunner, type TestRunner } from "../_harness.ts";
import {
  type Dockerd,
  ENGINE,
  imageOf,
  must,
  PLACE,
  sh,
  startDockerd,
  whyNot,
} from "./_dockerd.ts";
import { savedImage, type TestEntry, type TestImage } from "./_image.ts";

const LIMITS = { wallSeconds: 120, memoryBytes: 256 << 20, processes: 64 };

let dockerd: Dockerd | undefined;
let runner: TestRunner | undefined;
let shell: TestEntry[] = [];
const reason = await whyNot();
/** Whether this machine's control groups are of version 2 alone. */
const UNIFIED = (await sh("test -e /sys/fs/cgroup/cgroup.controllers")).success;
Deno.test.beforeAll(async () => {
  if (reason !== undefined) return;
  dockerd = await startDockerd("mapped");
  runner = await startRunner(["--docker", ENGINE]);
  await must('cp "$(command -v busybox)" "$1"', `${PLACE}/busybox`);
  shell = [
    { path: "bin/busybox", content: await Deno.readFile(`${PLACE}/busybox`) },
    { path: "bin/sh", type: "2", target: "busybox" },
  ];
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
  await dockerd?.[Symbol.asyncDispose]();
});

/** A test that needs the engine, and leaves nothing in it. */
function test(name: string, fn: () => Promise<void>): void {
  Deno.test(name, async () => {
    if (reason !== undefined) return console.log(`skipped: ${reason}`);
    await fn();
    assert.equal(await left(), "", "left in the engine");
  });
}

/** Everything the engine has. */
const left = () => must("docker ps -aq; docker images -aq; docker volume ls -q");

/** An image of busybox and a script, made by hand so that it can ask for anything. */
function image(
  script: string,
  config: Record<string, unknown> = {},
  more: TestImage = {},
): Uint8Array {
  return savedImage({
    ...more,
    layers: [[...shell, { path: "run", content: `#!/bin/sh\n${script}\n` }], ...more.layers ?? []],
    config: { Entrypoint: ["/run"], ...config },
  }).bytes;
}

/** Runs an image's script. */
async function contained(script: string, config = {}, limits = {}, more: TestImage = {}) {
  return await runJob({
    kind: "docker",
    algo: image(script, config, more),
    limits: { ...LIMITS, ...limits },
  });
}

test("docker runs an image in the world of every algorithm", async () => {
  const end = await runJob({
    kind: "docker",
    algo: await imageOf(
      {
        "bin/run": `#!/bin/sh
set -e
pwd
echo "$@"
busybox cat datasets/*
busybox ls /cocos
echo out > results/a.txt
echo err >&2
busybox test ! -w datasets
busybox env | busybox sort
`,
      },
      'ENTRYPOINT ["/bin/run"]',
      'CMD ["not seen"]',
      "ENV OWN=1",
      "USER root",
    ),
    args: ["--epochs", "5", "a b"],
    datasets: { "one.csv": "1\n", "two.csv": "2\n" },
    limits: LIMITS,
  });
  assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
  assert.equal(
    end.stdout,
    "/cocos\n--epochs 5 a b\n1\n2\ndatasets\nresults\n" +
      "HOME=/tmp\nHOSTNAME=cocos\nLANG=C.UTF-8\nOWN=1\nPATH=/usr/local/bin:/usr/bin:/bin\n" +
      "PWD=/cocos\nSHLVL=1\nTMPDIR=/tmp\n",
  );
  assert.equal(end.stderr, "err\n");
  assert.equal(await Deno.readTextFile(`${end.results}/a.txt`), "out\n");
  const { usage } = end.finished;
  assert.deepEqual([usage.resultsFiles, usage.resultsBytes], [1, 4]);
  assert.ok(usage.peakBytes > 0 && usage.cpuMs > 0, JSON.stringify(usage));
});

test("docker tells exit codes, signals, memory's end and commands that aren't there", async () => {
  const outcome = async (script: string, config = {}, limits = {}) => {
    const { finished } = await contained(script, config, limits);
    return [finished.outcome, finished.code ?? finished.signal ?? 0, finished.message];
  };
  assert.deepEqual(await outcome("exit 3"), ["exit", 3, "exit status 3"]);
  // The first process of a namespace is spared its own signals; another one is not.
  assert.deepEqual(await outcome("sh -c 'kill -9 $$'"), ["signal", 9, "signal: killed"]);
  // With control groups of version 1 the engine may hear why only after it has told the end.
  const [ended] = await outcome("busybox tail /dev/zero", {}, { memoryBytes: 32 << 20 });
  assert.match(String(ended), UNIFIED ? /^oom$/ : /^(oom|signal)$/);
  const [kind, , message] = await outcome("", { Entrypoint: ["/no/such/program"] });
  assert.equal(kind, "start-failed");
  assert.match(String(message), /can't start the algorithm: .*no such file/);
});

test("docker S-10 S-9 ends a container at its time and on request, whatever it ignores", async () => {
  const stubborn = "trap '' TERM INT HUP; echo ready; while :; do busybox sleep 1; done";
  const late = await contained(stubborn, { StopSignal: "SIGWINCH" }, { wallSeconds: 2 });
  assert.deepEqual([late.finished.outcome, late.finished.message], [
    "timeout",
    "over the time of 2 s",
  ]);
  assert.ok(late.finished.usage.wallMs < 5_000, `${late.finished.usage.wallMs} ms`);
  const stop = new AbortController();
  let asked = 0;
  const stopped = await runJob({
    kind: "docker",
    algo: image(stubborn),
    limits: LIMITS,
    signal: stop.signal,
    onStarted: () => {
      asked = performance.now();
      stop.abort();
    },
  });
  assert.equal(stopped.finished.outcome, "stopped");
  assert.ok(performance.now() - asked < 10_000);
});

test("docker S-9 stops at any moment of a container's start, and nothing of it stays", async () => {
  const algo = image("busybox sleep 100");
  for (let ms = 0; ms < 700; ms += 70) {
    const spec = { kind: "docker" as const, algo, limits: LIMITS };
    let outcome = "";
    const request = requestOf(await makeJob(spec), spec);
    for await (const event of converse(request, AbortSignal.timeout(ms))) {
      if (event.type === "finished") outcome = event.outcome;
    }
    assert.equal(outcome, "stopped", `stopped after ${ms} ms`);
    assert.equal(await left(), "", `stopped after ${ms} ms`);
  }
});

test("docker S-8 has ended every daemon before it says finished", async () => {
  const end = await contained(
    "(busybox setsid sh -c 'exec </dev/null >/dev/null 2>&1; while :; do echo x >> results/late; done' &)\n" +
      "while [ ! -s results/late ]; do busybox sleep 0.01; done",
  );
  assert.equal(end.finished.outcome, "ok", end.finished.message);
  const size = async () => (await Deno.stat(`${end.results}/late`)).size;
  const before = await size();
  await contained("exit 0");
  assert.equal(await size(), before);
});

test("docker S-5 passes a bounded part of endless output on, and keeps none of it", async () => {
  const end = await contained("busybox yes", {}, { wallSeconds: 3, outputBytes: 3 << 20 });
  assert.equal(end.finished.outcome, "timeout");
  const passed = end.stdout.length + end.stderr.length;
  assert.ok(passed <= 3 << 20 && end.dropped > 0, `${passed} passed, ${end.dropped} dropped`);
  const canary = `canary-${crypto.randomUUID()}`;
  await contained(`echo ${canary}; echo ${canary} > /tmp/x; echo ${canary} > results/x`);
  // Z-1: neither in the engine's store, nor in its log.
  const found = await sh('grep -rl --exclude-dir=proc "$1" "$2" || :', canary, PLACE);
  assert.equal(found.stdout, "");
  assert.doesNotMatch(runner?.log.join("\n") ?? "", new RegExp(canary));
});

test("docker S-4 holds bombs of memory, processes, threads, files and descriptors", async () => {
  const bombs: [name: string, script: string, outcome: RegExp][] = [
    ["memory", "busybox tail /dev/zero", UNIFIED ? /^oom/ : /^(oom|signal)/],
    ["processes", "f() { f | f & }; f; busybox sleep 30", /^(exit|timeout|ok|signal)/],
    ["files in /tmp", "busybox dd if=/dev/zero of=/tmp/x bs=1M", /^(exit 1|oom)/],
    ["files in /dev/shm", "busybox dd if=/dev/zero of=/dev/shm/x bs=1M", /^(exit 1|oom)/],
    [
      "empty files",
      "i=0; while echo > /tmp/$i; do i=$((i+1)); done; exit 9",
      /^(exit 9|oom|timeout)/,
    ],
    ["descriptors", "ulimit -n 1000000 && exit 0; exit 9", /^exit/],
    ["a spinning loop", "while :; do :; done", /^timeout/],
  ];
  for (const [name, script, outcome] of bombs) {
    const { finished } = await contained(script, {}, {
      wallSeconds: 4,
      memoryBytes: 64 << 20,
      processes: 32,
      tmpBytes: 8 << 20,
    });
    assert.match(`${finished.outcome} ${finished.code ?? ""}`, outcome, name);
    assert.ok(finished.usage.peakBytes <= 64 << 20, `${name}: ${finished.usage.peakBytes}`);
  }
  assert.equal((await contained("exit 0")).finished.outcome, "ok");
});

test("docker S-18 shows a run nothing of the one before", async () => {
  const write =
    "for d in /tmp /dev/shm results; do echo x > $d/canary; done; busybox ipcmk -M 64 -Q";
  await contained(`${write}; exit 0`);
  const end = await contained(
    "busybox ls -A /tmp /dev/shm results; busybox wc -l < /proc/sysvipc/shm; busybox ps | busybox wc -l",
  );
  assert.doesNotMatch(end.stdout, /canary/);
  assert.match(end.stdout, /^1$/m);
});

test("docker S-15 gives no image more than the contract, whatever its configuration asks", async () => {
  const probe = "busybox id; pwd; busybox cat /proc/self/status; busybox cat /proc/net/dev; " +
    "busybox cat /proc/self/limits; busybox env; echo x > /rootfs && echo WROTE; " +
    "echo x > /open/x && echo WROTE; exit 0";
  // A place that anybody may write to, as far as the image goes.
  const open: TestImage = { layers: [[{ path: "open", type: "5", mode: 0o777 }]] };
  for (
    const config of [
      { User: "root" },
      { User: "0:0" },
      { User: "12345:0" },
      { User: "nobody-there" },
      { Healthcheck: { Test: ["CMD-SHELL", "echo x > /cocos/results/healthy"], Interval: 1e6 } },
      { ExposedPorts: { "80/tcp": {}, "53/udp": {} } },
      { Labels: { "org.cocos.owner": "another", "com.docker.compose.project": "x" } },
      { StopSignal: "SIGCONT", StopTimeout: 3600, OnBuild: ["RUN x"], Shell: ["/bin/false"] },
      { Tty: true, OpenStdin: true, StdinOnce: true, AttachStdin: true },
      { Hostname: "agent", Domainname: "evil", MacAddress: "02:42:ac:11:00:02" },
      { Env: ["LD_PRELOAD=/x.so", "HOME=/root", "PATH=/bin", "TMPDIR=/x", "DOCKER_HOST=tcp://x"] },
      { Volumes: {} },
      { NetworkDisabled: false, HostConfig: { Privileged: true, CapAdd: ["ALL"] } },
      { WorkingDir: "/tmp" },
    ]
  ) {
    const asked = JSON.stringify(config);
    // Long enough for an engine to look after its health.
    const script = "Healthcheck" in config ? `busybox sleep 2; ${probe}` : probe;
    const { stdout, stderr, finished, results } = await contained(script, config, {}, open);
    assert.equal(finished.outcome, "ok", `${asked}: ${finished.message}${stderr}`);
    assert.match(stdout, /^uid=1000 gid=1000( groups=1000)?$/m, asked);
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
      assert.match(stdout, new RegExp(`^${set}:\\s0+$`, "m"), asked);
    }
    assert.match(stdout, /^NoNewPrivs:\s1$/m, asked);
    assert.match(stdout, /^Seccomp:\s2$/m, asked);
    assert.deepEqual([...stdout.matchAll(/^ *(\w+): +\d+ +\d+ +\d+/gm)].map(([, name]) => name), [
      "lo",
    ]);
    assert.match(stdout, /^Max core file size +0 +0 /m, asked);
    assert.match(stdout, /^HOME=\/tmp$/m, asked);
    assert.match(stdout, /^TMPDIR=\/tmp$/m, asked);
    assert.doesNotMatch(stdout, /WROTE/, asked);
    assert.deepEqual([...Deno.readDirSync(results)], [], asked);
  }
});

test("docker S-15 leaves what the engine has: images of the same name, of the same content, containers", async () => {
  const { id, bytes } = savedImage({
    layers: [[...shell, { path: "run", content: "#!/bin/sh\necho theirs\n" }]],
    config: { Entrypoint: ["/run"] },
    tags: ["precious:latest"],
  });
  await Deno.writeFile(`${PLACE}/theirs.tar`, bytes);
  const load = () => must('docker load -q -i "$1"', `${PLACE}/theirs.tar`);
  await load();
  await must("docker create --network none --name kept precious:latest >/dev/null");
  const state = () =>
    must(
      "docker ps -a --no-trunc --format '{{.Names}} {{.Image}}'; " +
        // Images of one age come in any order.
        "docker images -a --no-trunc | sort",
    );
  const before = await state();
  // Another image under the same name, then the same image under another.
  const other = await contained("echo ours", {}, {}, { tags: ["precious:latest", "busybox"] });
  assert.equal(other.stdout, "ours\n", other.finished.message);
  assert.equal(await state(), before);
  const same = await runJob({ kind: "docker", algo: bytes, limits: LIMITS });
  assert.equal(same.stdout, "theirs\n", same.finished.message);
  assert.equal(await state(), before);
  // And one that has lost its name to another: it would go with ours.
  await must("docker rm kept >/dev/null");
  const heir = savedImage({ layers: [shell], tags: ["precious:latest"] });
  await Deno.writeFile(`${PLACE}/theirs.tar`, heir.bytes);
  await load();
  const nameless = await state();
  assert.match(nameless, new RegExp(`<none> .*sha256:${id}`));
  const again = await runJob({ kind: "docker", algo: bytes, limits: LIMITS });
  assert.equal(again.stdout, "theirs\n", again.finished.message);
  assert.equal(await state(), nameless);
  await must('docker rmi "sha256:$1" precious:latest >/dev/null', id);
});

test("docker S-15 refuses an image in the run as readImage() does", async () => {
  const { finished } = await contained("exit 0", { Volumes: { "/data": {} } });
  assert.deepEqual([finished.outcome, finished.message], [
    "refused",
    "The image declares a VOLUME: results go to /cocos/results and nothing else is kept",
  ]);
  const { finished: nothing } = await runJob({ kind: "docker", algo: "no image", limits: LIMITS });
  assert.equal(nothing.outcome, "refused", nothing.message);
});

test("docker S-11 gains nothing by setuid files, and O-1 leaves links and special files out", async () => {
  const end = await contained(
    "busybox cp /bin/busybox results/busybox; busybox chmod 6755 results/busybox; results/busybox id -u > results/id\n" +
      "busybox ln -s /etc/shadow results/link; busybox mkfifo results/fifo; busybox mkdir -m 0 results/closed\n" +
      "busybox mknod results/null c 1 3; busybox ln results/id results/hard; busybox id -u; /su/busybox id -u; exit 0",
    {},
    {},
    { layers: [[{ ...shell[0] as TestEntry, path: "su/busybox", mode: 0o6755 }]] },
  );
  assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
  assert.equal(end.stdout, "1000\n1000\n");
  assert.equal((await Deno.readTextFile(`${end.results}/id`)).trim(), "1000");
  assert.equal(((await Deno.lstat(`${end.results}/busybox`)).mode ?? 0) & 0o7777, 0o640);
  assert.equal(end.finished.usage.resultsFiles, 3);
  assert.ok(!(await sh('test -e "$1/null"', end.results)).success, "a device was made");
});

test("docker runs side by side, the same image too", async () => {
  const algo = image("echo $$; busybox sleep 0.3");
  const ends = await Promise.all(
    Array.from({ length: 4 }, () => runJob({ kind: "docker", algo, limits: LIMITS })),
  );
  assert.deepEqual(ends.map(({ finished }) => finished.outcome), ["ok", "ok", "ok", "ok"]);
});

Deno.test("docker C-1 Z-1 removes what a killed runner left in the engine", async () => {
  if (reason !== undefined) return console.log(`skipped: ${reason}`);
  await runner?.[Symbol.asyncDispose]();
  const spec = { kind: "docker" as const, algo: image("busybox sleep 1000"), limits: LIMITS };
  const killed = await startRunner(["--docker", ENGINE]);
  const lost = runLost(requestOf(await makeJob(spec), spec), async () => {
    await must("kill -9 $(ps -o pid= --ppid $1)", String(killed.process.pid));
  });
  await lost;
  await killed.process.status;
  killed.release();
  assert.notEqual(await left(), "", "the runner was killed too late");
  runner = await startRunner(["--docker", ENGINE]);
  assert.equal(await left(), "");
  assert.match(runner.log.join("\n"), /removing a left container/);
  assert.equal((await contained("exit 0")).finished.outcome, "ok");
});

/** Runs a job whose runner dies when it has started. */
async function runLost(request: Uint8Array, kill: () => Promise<void>): Promise<void> {
  for await (const event of converse(request)) {
    if (event.type === "started") await kill();
    assert.notEqual(event.type, "finished");
  }
}

test("docker S-16 tells an engine that dies in a run, and works with the next one", async () => {
  const end = await runJob({
    kind: "docker",
    algo: image("while :; do echo x >> results/late; busybox sleep 0.01; done"),
    limits: LIMITS,
    onStarted: async () => await dockerd?.crash(),
  });
  assert.deepEqual([end.finished.outcome, end.finished.message], [
    "start-failed",
    "The container engine went away during the run",
  ]);
  const size = async () => (await Deno.stat(`${end.results}/late`).catch(() => ({ size: 0 }))).size;
  const before = await size();
  const { finished: absent } = await contained("exit 0");
  assert.equal(absent.outcome, "start-failed");
  assert.match(absent.message, /^The container engine can't be asked to tell its version: /);
  await dockerd?.restart();
  assert.equal((await contained("exit 0")).finished.outcome, "ok");
  assert.equal(await size(), before, "the container lived on");
});

test("docker S-16 tells a full disk, and works when there is room again", async () => {
  // The engine keeps what it is given below its store's tmp.
  const full = `${PLACE}/data/100000.100000/tmp`;
  const pid = (await Deno.readTextFile(`${PLACE}/pid`)).trim();
  const within = (line: string) => must(`nsenter --mount --target "$1" sh -eu -c '${line}'`, pid);
  await within(`mount -t tmpfs -o size=64k tmpfs ${full}`);
  try {
    const { finished } = await contained("exit 0");
    assert.equal(finished.outcome, "start-failed");
    assert.match(finished.message, /can't take the image: .*no space left on device/);
  } finally {
    await within(`umount -l ${full}`);
  }
  assert.equal((await contained("exit 0")).finished.outcome, "ok");
});
