import assert from "node:assert/strict";
import { runJob, startRunner, type TestRunner } from "../_harness.ts";
import { type Argument, type Attempt, attemptsModule, SCRATCH } from "./_attempts.ts";
import { encodeModule, op } from "./_encode.ts";
import { type FunctionName, SIGNATURES } from "./abi.ts";
import { checkModule } from "./module.ts";

let runner: TestRunner | undefined;
Deno.test.beforeAll(async () => {
  runner = await startRunner();
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
});

const FAST = { wallSeconds: 120, memoryBytes: 256 << 20, processes: 64 };

/** Files of the host, of the sandbox and of the engine, as a guest could name them. */
const TARGETS = `
  etc/passwd etc/shadow etc/hosts etc/nsswitch.conf etc/resolv.conf root/.ssh/id_rsa
  proc/self/mem proc/self/maps proc/self/environ proc/self/cmdline proc/self/root/etc/passwd
  proc/self/cwd proc/self/exe proc/self/fd/0 proc/self/fd/3 proc/1/environ proc/1/root proc/kcore
  proc/sys/kernel/core_pattern proc/sysrq-trigger proc/cpuinfo proc/net/tcp proc/keys
  sys/kernel/uevent_helper sys/fs/cgroup/cgroup.procs sys/class/net dev/mem dev/kmsg dev/null dev/tty
  dev/tpm0 dev/tpmrm0 dev/sev-guest dev/tdx_guest dev/vsock dev/shm/x usr/bin/sh usr/lib opt/wasm/deno
  opt/wasm/child.js tmp/x tmp/.cache/deno run/cocos/agent cocos/algo cocos/../etc/passwd var/log x
`.trim().split(/\s+/);

/** Ways to write a path out of the directory; `%` is the target. */
const WAYS = ["/%", "../%", "datasets/../../%", "results/../../../%", "./.././%", "//%"];

/** `path_open` with the right to read, following links. */
const open = (name: string, fd: number, path: string, oflags = 0, rights = 2): Attempt => ({
  name,
  call: "path_open",
  args: [fd, 1, path, oflags, rights, 0, 0, SCRATCH],
});

/** What succeeds of some attempts. */
async function succeeded(attempts: readonly Attempt[]): Promise<string[]> {
  const end = await runJob({
    kind: "wasm",
    algo: attemptsModule(attempts),
    datasets: { "data.csv": "1,2\n" },
    limits: FAST,
  });
  assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
  return end.stdout.split("\n").slice(0, -1);
}

Deno.test("hostile wasm S-13 S-2 reads nothing outside its directory, by any way to write a path", async () => {
  const paths = TARGETS.flatMap((target) => WAYS.map((way) => way.replace("%", target)));
  const attempts = paths.flatMap((path): Attempt[] => [
    open(`open ${path}`, 3, path),
    { name: `stat ${path}`, call: "path_filestat_get", args: [3, 0, path, SCRATCH] },
    { name: `stat /cocos ${path}`, call: "path_filestat_get", args: [4, 1, path, SCRATCH] },
    { name: `read link ${path}`, call: "path_readlink", args: [3, path, SCRATCH, 64, SCRATCH] },
  ]);
  assert.deepEqual(await succeeded(attempts), []);
  assert.deepEqual(await succeeded([open("control", 3, "datasets/data.csv")]), ["control"]);
  console.log(`tried by a wasm algorithm, all refused: ${attempts.length} ways to read`);
});

Deno.test("hostile wasm S-13 S-3 changes nothing outside results", async () => {
  const outside = [
    ...["algo", "datasets", "datasets/data.csv", "datasets/new", "new", ".", "results", "..", "/x"],
    ...["../x", "datasets/../new", "results/../new", "results/../../tmp/x", "results/.."],
    ...["//tmp/x", "results/../datasets/data.csv", "datasets/data.csv/", "/cocos/results/x"],
  ];
  const write = 0x42;
  const attempts = outside.flatMap((path): Attempt[] => [
    open(`create ${path}`, 3, path, 1 | 4, write),
    open(`truncate ${path}`, 3, path, 8, write),
    open(`write ${path}`, 3, path, 0, write),
    { name: `mkdir ${path}`, call: "path_create_directory", args: [3, path] },
    { name: `unlink ${path}`, call: "path_unlink_file", args: [3, path] },
    { name: `rmdir ${path}`, call: "path_remove_directory", args: [3, path] },
    { name: `rename ${path}`, call: "path_rename", args: [3, path, 3, "results/mine"] },
    { name: `rename to ${path}`, call: "path_rename", args: [3, "results/own", 3, path] },
    { name: `name ${path}`, call: "path_link", args: [3, 0, path, 3, "results/name"] },
    { name: `name as ${path}`, call: "path_link", args: [3, 0, "results/own", 3, path] },
    { name: `link at ${path}`, call: "path_symlink", args: ["own", 3, path] },
  ]);
  // Times of `results` itself are its own.
  for (const path of outside.filter((each) => each !== "results")) {
    attempts.push({
      name: `times ${path}`,
      call: "path_filestat_set_times",
      args: [3, 0, path, 0, 0, 4],
    });
  }
  const own = open("made", 3, "results/own", 1, write);
  assert.deepEqual(await succeeded([own, ...attempts]), ["made"]);
  console.log(`tried by a wasm algorithm, all refused: ${attempts.length} ways to write`);
});

Deno.test("hostile wasm S-13 finds no way out by links it makes", async () => {
  const targets = [
    ...["/", "/etc/passwd", "/proc/self/root", "/cocos/datasets", "//etc", "/cocos/results/x"],
  ];
  const absolute = targets.map((target, i): Attempt => ({
    name: `link to ${target}`,
    call: "path_symlink",
    args: [target, 3, `results/abs${i}`],
  }));
  const climbing = [
    ...["../../etc/passwd", "../../../../../../etc/passwd", "../..", "../../proc/self/root/etc"],
    ...["./../../tmp", "a/../../../etc", "../results/../../etc/passwd"],
  ];
  const made = climbing.map((target, i): Attempt => ({
    name: `made ${i}`,
    call: "path_symlink",
    args: [target, 3, `results/up${i}`],
  }));
  const through = climbing.flatMap((_, i): Attempt[] => [
    open(`open up${i}`, 3, `results/up${i}`),
    open(`open below up${i}`, 3, `results/up${i}/etc/passwd`),
    open(`create up${i}`, 3, `results/up${i}`, 1, 0x42),
    { name: `stat up${i}`, call: "path_filestat_get", args: [3, 1, `results/up${i}`, SCRATCH] },
    { name: `mkdir up${i}`, call: "path_create_directory", args: [3, `results/up${i}/x`] },
    { name: `name up${i}`, call: "path_link", args: [3, 1, `results/up${i}`, 3, "results/n"] },
  ]);
  // A link that climbs only to the directory of both is followed, and stays read-only there.
  const inside: Attempt[] = [
    { name: "made data", call: "path_symlink", args: ["../datasets/data.csv", 3, "results/data"] },
    open("read data", 3, "results/data"),
    open("write data", 3, "results/data", 0, 0x42),
    open("truncate data", 3, "results/data", 8, 0x42),
  ];
  // A chain of links that climbs one step each.
  const chain = Array.from({ length: 50 }, (_, i): Attempt => ({
    name: `made chain`,
    call: "path_symlink",
    args: [`c${i + 1}`, 3, `results/c${i}`],
  }));
  const got = await succeeded([
    ...absolute,
    ...made,
    ...through,
    ...inside,
    ...chain,
    open("chain", 3, "results/c0"),
  ]);
  assert.deepEqual(
    got,
    [...made.map(({ name }) => name), "made data", "read data", ...chain.map(({ name }) => name)],
  );
  const tries = absolute.length + through.length + 3;
  console.log(`tried by a wasm algorithm, all refused: ${tries} ways by links`);
});

Deno.test("hostile wasm O-1 leaves no link in results, whatever it made", async () => {
  const attempts: Attempt[] = [
    { name: "l", call: "path_symlink", args: ["own", 3, "results/l"] },
    { name: "d", call: "path_create_directory", args: [3, "results/d"] },
    { name: "m", call: "path_rename", args: [3, "results/l", 3, "results/d/m"] },
    { name: "n", call: "path_link", args: [3, 0, "results/d/m", 3, "results/n"] },
  ];
  const end = await runJob({ kind: "wasm", algo: attemptsModule(attempts), limits: FAST });
  assert.equal(end.stdout, "l\nd\nm\nn\n");
  assert.deepEqual([...Deno.readDirSync(end.results)].map(({ name }) => name), ["d"]);
  assert.deepEqual([...Deno.readDirSync(`${end.results}/d`)], []);
});

Deno.test("hostile wasm S-13 S-1 has no sockets and no descriptors beside its own", async () => {
  const attempts: Attempt[] = [];
  for (const fd of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 63, 4096, -1, 0x7fff_ffff]) {
    const tries: [FunctionName, Argument[]][] = [
      ["sock_accept", [fd, 0, SCRATCH]],
      ["sock_recv", [fd, SCRATCH, 1, 0, SCRATCH, SCRATCH]],
      ["sock_send", [fd, SCRATCH, 1, 0, SCRATCH]],
      ["sock_shutdown", [fd, 3]],
    ];
    if (fd > 4 || fd < 0) {
      tries.push(
        ["fd_read", [fd, SCRATCH, 0, SCRATCH]],
        ["fd_write", [fd, SCRATCH, 0, SCRATCH]],
        ["fd_fdstat_get", [fd, SCRATCH]],
        ["fd_filestat_get", [fd, SCRATCH]],
        ["fd_readdir", [fd, SCRATCH, 64, 0, SCRATCH]],
        ["fd_prestat_get", [fd, SCRATCH]],
        ["fd_renumber", [fd, 1]],
        ["fd_close", [fd]],
      );
    }
    for (const [call, args] of tries) attempts.push({ name: `${call} ${fd}`, call, args });
  }
  assert.deepEqual(await succeeded(attempts), []);
  console.log(`tried by a wasm algorithm, all refused: ${attempts.length} sockets, descriptors`);
});

Deno.test("hostile wasm S-13 renumbers and closes its own streams and directories, nothing else", async () => {
  const attempts: Attempt[] = [
    open("results", 3, "results", 2, 0),
    { name: "3 becomes results", call: "fd_renumber", args: [5, 3] },
    // The root is reachable by its second name only; results can't be climbed out of.
    open("up", 3, ".."),
    open("up twice", 3, "../datasets/data.csv"),
    open("down", 3, "new", 1, 0x42),
    open("data", 4, "datasets/data.csv"),
    { name: "0 becomes 4", call: "fd_renumber", args: [4, 0] },
    open("data by 0", 0, "datasets/data.csv"),
    open("up by 0", 0, "../etc/passwd"),
    { name: "0 is closed", call: "fd_close", args: [0] },
    open("data by closed 0", 0, "datasets/data.csv"),
    { name: "rights grow", call: "fd_fdstat_set_rights", args: [3, -1, -1] },
  ];
  assert.deepEqual(
    await succeeded(attempts),
    ["results", "3 becomes results", "down", "data", "0 becomes 4", "data by 0", "0 is closed"],
  );
});

Deno.test("hostile wasm S-7 S-13 S-14 finds no function but those of preview 1", () => {
  const names = `
    fork vfork clone execve execl system popen posix_spawn ptrace kill waitpid setuid setgid setsid
    mount umount unshare setns pivot_root chroot reboot kexec_load init_module bpf perf_event_open
    io_uring_setup userfaultfd keyctl add_key mmap mprotect memfd_create shm_open socket connect bind
    listen dlopen dlsym syscall ioctl prctl seccomp sigaction pthread_create emscripten_run_script
    emscripten_asm_const_int eval fetch require import process Deno globalThis Function WebSocket
    XMLHttpRequest SharedArrayBuffer Worker postMessage setTimeout console_log abort getenv
  `.trim().split(/\s+/);
  const modules = [
    "env",
    "wasi_snapshot_preview1",
    "wasi_unstable",
    "js",
    "wasm:js-string",
    "node:fs",
  ];
  let refused = 0;
  for (const name of names) {
    for (const module of modules) {
      const bytes = encodeModule({ imports: [[`${module}.${name}`, "i:i"]] });
      assert.throws(
        () => checkModule({ read: (at, length) => bytes.subarray(at, at + length) }),
        (error: Error) => error.message.endsWith(`${module}.${name}`),
      );
      refused++;
    }
  }
  assert.ok(names.length >= 60, String(names.length));
  console.log(`imports refused before the run: ${refused}`);
});

/** Pseudo-random numbers that are the same in every run. */
function numbers(seed: number): () => number {
  return () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) | 0;
    return seed >>> 8;
  };
}

Deno.test("hostile wasm S-13 gets an error code for whatever arguments a call has", async () => {
  const wild = [
    0,
    1,
    3,
    4,
    5,
    8,
    63,
    64,
    255,
    4096,
    65_535,
    65_536,
    262_143,
    262_144,
    0x7fff_ffff,
    -1,
    -8,
  ];
  const next = numbers(1);
  const calls = Object.keys(SIGNATURES).filter((name) => name !== "proc_exit") as FunctionName[];
  const attempts: Attempt[] = [];
  for (let i = 0; i < 3000; i++) {
    const call = calls[i % calls.length] as FunctionName;
    // Only polls that are over at once: one subscription of zeros waits for no time.
    const [parameters = ""] = SIGNATURES[call].split(":");
    const args = [...parameters].map(() => wild[next() % wild.length] as number);
    attempts.push({ name: "", call, args });
  }
  const end = await runJob({ kind: "wasm", algo: attemptsModule(attempts), limits: FAST });
  assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
  assert.equal(end.finished.usage.resultsFiles, 0);
});

Deno.test("hostile wasm S-13 S-4 runs into the limit of descriptors", async () => {
  // Opens `results` until a call fails, and exits with its code: MFILE.
  const open = [
    ...[...op.i32(3), ...op.i32(0), ...op.i32(200), ...op.i32(7), ...op.i32(2)],
    ...[...op.i64(0), ...op.i64(0), ...op.i32(0), ...op.i32(50), ...op.call(0)],
  ];
  const { finished } = await runJob({
    kind: "wasm",
    algo: encodeModule({
      imports: ["path_open", "proc_exit"],
      data: { 200: "results" },
      body: op.forever([
        ...open,
        // Keeps the code; leaves when it isn't 0.
        ...[0x21, 0x00, 0x20, 0x00, 0x04, 0x40, 0x20, 0x00, ...op.call(1), 0x0b],
      ]),
      local: true,
    }),
    limits: FAST,
  });
  assert.deepEqual([finished.outcome, finished.code], ["exit", 33]);
});

Deno.test("hostile wasm S-13 S-4 renumbers without end and leaves no file open", async () => {
  const exitUnlessZero = [0x21, 0, 0x20, 0, 0x04, 0x40, 0x20, 0, ...op.call(2), 0x0b];
  const open = [
    ...[...op.i32(3), ...op.i32(0), ...op.i32(200), ...op.i32(9), ...op.i32(1)],
    ...[...op.i64(0x42), ...op.i64(0), ...op.i32(0), ...op.i32(50), ...op.call(0)],
  ];
  const { finished } = await runJob({
    kind: "wasm",
    algo: encodeModule({
      imports: ["path_open", "fd_renumber", "proc_exit"],
      data: { 200: "results/x" },
      // 5 is open; 6 takes its place 6000 times, which is more than the sandbox lets a process open.
      body: [
        ...open,
        ...exitUnlessZero,
        ...op.forever([
          ...open,
          ...exitUnlessZero,
          ...[...op.i32(6), ...op.i32(5), ...op.call(1)],
          ...exitUnlessZero,
          ...[...op.i32(108), ...op.i32(108), ...op.load, ...op.i32(1), 0x6a, ...op.store],
          ...[...op.i32(108), ...op.load, ...op.i32(6000), 0x46],
          ...[0x04, 0x40, ...op.i32(0), ...op.call(2), 0x0b],
        ]),
      ],
      local: true,
    }),
    limits: FAST,
  });
  assert.deepEqual([finished.outcome, finished.code], ["ok", undefined]);
});

Deno.test("hostile wasm S-5 S-9 S-10 floods, sleeps and loops until it is ended", async () => {
  const flood = op.forever([
    ...[...op.i32(1), ...op.i32(0), ...op.i32(1), ...op.i32(16), ...op.call(0), ...op.drop],
  ]);
  const printed = await runJob({
    kind: "wasm",
    algo: encodeModule({
      imports: ["fd_write"],
      body: flood,
      data: { 0: new Uint8Array([0, 1, 0, 0, 0, 0, 1, 0]) },
      pages: 2,
    }),
    limits: { ...FAST, wallSeconds: 2, outputBytes: 100_000 },
  });
  assert.equal(printed.finished.outcome, "timeout");
  assert.ok(printed.stdout.length <= 100_000 && printed.dropped > 0);
  // One clock subscription of half an hour.
  const sleep = encodeModule({
    imports: ["poll_oneoff"],
    data: { 64: new Uint8Array([1]), 72: new Uint8Array([0, 0, 0xa0, 0xb8, 0x30, 0x9a, 1]) },
    body: [...op.i32(48), ...op.i32(128), ...op.i32(1), ...op.i32(16), ...op.call(0), ...op.drop],
  });
  const stop = new AbortController();
  const slept = await runJob({
    kind: "wasm",
    algo: sleep,
    limits: FAST,
    signal: stop.signal,
    onStarted: () => stop.abort(),
  });
  assert.equal(slept.finished.outcome, "stopped");
});

Deno.test("hostile wasm S-18 sees nothing of the run before", async () => {
  const traces: Attempt[] = [
    open("file", 3, "results/trace", 1, 0x42),
    { name: "link", call: "path_symlink", args: ["trace", 3, "results/link"] },
    { name: "directory", call: "path_create_directory", args: [3, "results/sub"] },
  ];
  assert.deepEqual(await succeeded(traces), ["file", "link", "directory"]);
  assert.deepEqual(
    await succeeded([
      open("file", 3, "results/trace"),
      { name: "link", call: "path_readlink", args: [3, "results/link", SCRATCH, 64, SCRATCH] },
      { name: "directory", call: "path_filestat_get", args: [3, 0, "results/sub", SCRATCH] },
    ]),
    [],
  );
});

Deno.test("hostile wasm S-13 ends well for modules with changed bytes", async () => {
  const good = attemptsModule([
    open("a", 3, "results/a", 1, 0x42),
    { name: "b", call: "path_create_directory", args: [3, "results/b"] },
    { name: "c", call: "random_get", args: [SCRATCH, 64] },
  ]);
  const next = numbers(7);
  const seen: Record<string, number> = {};
  for (let i = 0; i < 40; i++) {
    const algo = good.slice();
    for (let changes = 1 + next() % 3; changes > 0; changes--) {
      // Behind the header: those are refused in the runner itself, which module_test.ts tries.
      algo[8 + next() % (algo.length - 8)] = next() & 0xff;
    }
    const { finished } = await runJob({ kind: "wasm", algo, limits: { ...FAST, wallSeconds: 5 } });
    seen[finished.outcome] = (seen[finished.outcome] ?? 0) + 1;
  }
  const known = ["ok", "refused", "exit", "timeout"];
  assert.deepEqual(Object.keys(seen).filter((each) => !known.includes(each)), []);
  const after = await runJob({ kind: "wasm", algo: good, limits: FAST });
  assert.equal(after.stdout, "a\nb\nc\n");
  console.log(`40 changed modules: ${JSON.stringify(seen)}`);
});
