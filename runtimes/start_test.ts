import assert from "node:assert/strict";
import { readOptions, type RunnerOptions } from "./options.ts";
import { rights } from "./rights.ts";
import { checkProbe } from "./selftest.ts";
import { AS_ROOT, BASE, makeJob, runJob, runMade, SOCKET, startRunner, WORK } from "./_harness.ts";

const ARGV = ["--work", "/w", "--socket", "/r/s.sock", "--cgroup", "/c"];

function options(...more: string[]): RunnerOptions {
  const read = readOptions([...ARGV, ...more]);
  assert.ok(typeof read === "object");
  return read;
}

Deno.test("readOptions() fills in defaults and takes every flag", () => {
  assert.deepEqual(options(), {
    work: "/w",
    socket: "/r/s.sock",
    cgroup: "/c",
    bwrap: "/usr/bin/bwrap",
    python: "/usr/bin/python3",
    pip: undefined,
    docker: undefined,
    dockerCgroup: undefined,
    deno: undefined,
    wasmChild: undefined,
    pyodide: undefined,
    memoryBytes: undefined,
    logLevel: "info",
  });
  const all = options(
    ...["--bwrap", "/b", "--python=/usr/x", "--pip", "/p", "--memory", "1073741824"],
    ...["--log-level", "debug", "--deno", "/d", "--wasm-child", "/c.js", "--pyodide", "/y"],
  );
  assert.deepEqual([all.bwrap, all.python, all.pip, all.memoryBytes, all.logLevel], [
    ...["/b", "/usr/x", "/p"],
    1073741824,
    "debug",
  ]);
  assert.deepEqual([all.deno, all.wasmChild, all.pyodide], ["/d", "/c.js", "/y"]);
  assert.equal(readOptions(["--help"]), "help");
  assert.equal(readOptions(["--version"]), "version");
});

Deno.test("readOptions() names the flag that is wrong", () => {
  const cases: [string[], RegExp][] = [
    [[], /--cgroup is required/],
    [["--cgroup", "/c", "--socket", "/s"], /--work is required/],
    [["--cgroup", "/c", "--work", "/w"], /--socket is required/],
    [[...ARGV, "--insecure-no-cgroup"], /exclude each other/],
    [[...ARGV, "--work", "rel"], /--work must be an absolute path/],
    [[...ARGV, "--work", "/a,/etc"], /--work must be an absolute path without comma/],
    [[...ARGV, "--bwrap", "/a/../b"], /--bwrap must/],
    [[...ARGV, "--work", "/w/"], /--work must/],
    [[...ARGV, "--python", "/opt/python"], /--python must be below \/usr/],
    [[...ARGV, "--memory", "1k"], /--memory must/],
    [[...ARGV, "--log-level", "loud"], /--log-level must be one of/],
    [[...ARGV, "--share-net"], /share-net/],
    [[...ARGV, "word"], /word/],
  ];
  for (const [argv, message] of cases) {
    assert.throws(() => readOptions(argv), { code: "invalid-config", message });
  }
});

Deno.test("rights() is the whole list, made from the options", () => {
  assert.deepEqual(rights(options()), [
    "--allow-run=/usr/bin/bwrap",
    "--allow-net=unix:/r/s.sock",
    "--allow-read=/w,/r/s.sock,/c",
    "--allow-write=/w,/r/s.sock,/c",
    "--allow-sys=uid,systemMemoryInfo",
    "--ignore-env",
    "--deny-ffi",
    "--deny-import",
  ]);
  // The engine's socket is added to three kinds, and only when the engine is configured.
  assert.deepEqual(rights(options("--docker", "/e.sock", "--docker-cgroup", "/g")).slice(1, 4), [
    "--allow-net=unix:/r/s.sock,unix:/e.sock",
    "--allow-read=/w,/r/s.sock,/c,/e.sock",
    "--allow-write=/w,/r/s.sock,/c,/e.sock",
  ]);
});

const PROBE = [
  "Pid:\t2",
  "CapEff:\t0000000000000000",
  "CapBnd:\t0000000000000000",
  "NoNewPrivs:\t1",
  "Seccomp:\t2",
  "limit:Max core file size     0   0   bytes",
  "net:Inter-|   Receive  |  Transmit",
  "net: face |bytes    packets|bytes",
  "net:    lo:       0       0",
  "fd:0",
  "done",
  "",
];

Deno.test("checkProbe() S-19 names the primitive that doesn't hold", () => {
  checkProbe(PROBE);
  const cases: [string | RegExp, string, RegExp][] = [
    ["Seccomp:\t2", "Seccomp:\t0", /no seccomp filter/],
    ["NoNewPrivs:\t1", "NoNewPrivs:\t0", /privileges can be gained/],
    [/^CapEff:.*/, "CapEff:\t0000000000000400", /capabilities are left/],
    [/^CapBnd:.*/, "", /capabilities can be gained/],
    ["Pid:\t2", "Pid:\t4711", /no process namespace/],
    ["fd:0", "core_pattern:writable", /\/proc\/sys can be written/],
    ["fd:0", "usr:writable", /\/usr can be written/],
    [/^net: +lo:.*/, "net:  eth0: 1 2", /no network namespace/],
    [/^limit:.*/, "limit:Max core file size     0   unlimited   bytes", /core dumps are possible/],
    ["done", "", /did not finish/],
  ];
  for (const [from, to, message] of cases) {
    const lines = PROBE.map((line) => line.replace(from, to));
    assert.throws(() => checkProbe(lines), { code: "unavailable", message });
  }
});

/** Starts a runner that must not come up; its last words. */
async function refusal(...flags: string[]): Promise<string> {
  try {
    await using _runner = await startRunner(flags);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("the runner came up");
}

/** A program in place of bubblewrap, which writes `to` where an argument is `from`. */
async function fakeBwrap(from: string, to: string): Promise<string> {
  await Deno.mkdir(BASE, { recursive: true });
  const path = `${BASE}/bwrap`;
  await Deno.writeTextFile(
    path,
    "#!/bin/sh\nn=$#\nwhile [ $n -gt 0 ]; do\ncase $1 in\n" +
      `${from}) set -- "$@" ${to};;\n*) set -- "$@" "$1";;\nesac\nshift\nn=$((n - 1))\ndone\n` +
      'exec /usr/bin/bwrap "$@"\n',
  );
  await Deno.chmod(path, 0o755);
  return path;
}

Deno.test("runner S-19 doesn't start where the sandbox doesn't hold, and says why", async () => {
  assert.match(
    await refusal("--bwrap", "/nonexistent/bwrap"),
    /Cannot run algorithms here: .*bwrap/,
  );
  const without: [string, string, RegExp][] = [
    ["--seccomp", "--sync-fd", /Cannot run algorithms here: no seccomp filter/],
    ["--unshare-all", "--unshare-net --unshare-uts --unshare-ipc", /no process namespace/],
    // Root's launcher gives the runner an empty network of its own: only `lo` is there anyway.
    ...(AS_ROOT ? [] : [
      ["--unshare-all", "--unshare-pid --unshare-uts --unshare-ipc", /no network namespace/],
    ] as [string, string, RegExp][]),
    ["--unshare-all", "--no-such-flag", /Unknown option --no-such-flag/],
  ];
  for (const [from, to, message] of without) {
    const said = await refusal("--bwrap", await fakeBwrap(from, to));
    assert.match(said, message);
  }
  if (AS_ROOT) {
    const nowhere = `${BASE}/empty`;
    await Deno.mkdir(nowhere, { recursive: true });
    assert.match(
      await refusal("--cgroup", nowhere),
      /has neither cgroup.controllers nor memory, pids, cpu/,
    );
  }
  await Deno.remove(BASE, { recursive: true });
});

Deno.test("runner doesn't take over a file that isn't a socket, and replaces a stale one", async () => {
  await Deno.mkdir(BASE, { recursive: true });
  await Deno.writeTextFile(SOCKET, "precious");
  assert.match(await refusal(), /it is no socket/);
  assert.equal(await Deno.readTextFile(SOCKET), "precious");
  await Deno.remove(SOCKET);
  {
    using _stale = Deno.listen({ transport: "unix", path: SOCKET });
  }
  await using runner = await startRunner();
  assert.equal((await runJob({ algo: "#!/bin/sh\n" })).finished.outcome, "ok");
  assert.match(
    runner.log.join("\n"),
    AS_ROOT ? /control groups are version|"cgroup-v2"/ : /INSECURE/,
  );
});

/** The runner among the launcher's children, by the launcher's pid. */
async function childOf(pid: number): Promise<number> {
  const { stdout } = await new Deno.Command("/bin/sh", {
    args: ["-c", `ps -o pid= --ppid ${pid}`],
  }).output();
  return Number(new TextDecoder().decode(stdout).trim().split("\n")[0]);
}

Deno.test("runner C-1 killed in a run takes the run with it, and starts again", async () => {
  const spec = { algo: "#!/bin/sh\nwhile :; do echo x >> results/late; sleep 0.01; done\n" };
  {
    const runner = await startRunner();
    const id = await makeJob(spec);
    const pid = AS_ROOT ? await childOf(runner.process.pid) : runner.process.pid;
    const late = `${WORK}/${id}/results/late`;
    const size = async () => (await Deno.lstat(late).catch(() => ({ size: 0 }))).size;
    const lost = runMade(id, {
      ...spec,
      onStarted: async () => {
        // Without groups nothing finds a program whose tie to its parent was not made yet.
        while (!AS_ROOT && await size() === 0) await new Promise((next) => setTimeout(next, 5));
        await new Deno.Command("/bin/sh", { args: ["-c", `kill -9 ${pid}`] }).output();
      },
    });
    await assert.rejects(lost);
    await runner.process.status;
    runner.release();
    // Whatever still ran would write a hundred times in this second start.
    await Deno.mkdir(`${WORK}/site-${id}/left`, { recursive: true });
    await Deno.chmod(`${WORK}/site-${id}`, 0o777);
    const before = await size();
    await using again = await startRunner();
    assert.equal(await size(), before);
    assert.match(again.log.join("\n"), /removing a left installation/);
    assert.equal((await runJob({ algo: "#!/bin/sh\n" })).finished.outcome, "ok");
  }
});

Deno.test("runner asks for exactly the permissions it is given", async () => {
  const audit = `${WORK}/audit.jsonl`;
  {
    await using _runner = await startRunner([], { DENO_AUDIT_PERMISSIONS: audit }, () => {
      const asked = Deno.readTextFileSync(audit).trim().split("\n")
        .map((line) => JSON.parse(line) as { permission: string; value: string });
      const kinds = [...new Set(asked.map(({ permission }) => permission))].sort();
      assert.deepEqual(kinds, ["env", "net", "read", "sys", "write"]);
      const values = (kind: string) =>
        [
          ...new Set(asked.filter((each) => each.permission === kind).map(({ value }) => value)),
        ].sort();
      assert.deepEqual(values("net"), [`unix:${SOCKET}`]);
      assert.deepEqual(values("sys"), ["systemMemoryInfo", "uid"]);
      assert.deepEqual(values("env"), ["NODE_V8_COVERAGE"]);
      for (const kind of ["read", "write"]) {
        for (const path of values(kind)) {
          assert.match(
            path,
            new RegExp(`^(${WORK}|${SOCKET}|/run/cocos-runner.[^/]+/cgroup)(/|$)`),
          );
        }
      }
    });
    await runJob({
      kind: "python",
      algo: "open('results/x', 'w')",
      requirements: { "requirements.txt": "" },
    });
    await runJob({ algo: "#!/bin/sh\n" });
  }
});
