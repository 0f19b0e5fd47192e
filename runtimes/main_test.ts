import assert from "node:assert/strict";
import { encodeLine } from "../proto/runner/mod.ts";
import {
  AS_ROOT,
  converse,
  jobId,
  makeJob,
  requestOf,
  runJob,
  runMade,
  SOCKET,
  startRunner,
  type TestRunner,
  WORK,
} from "./_harness.ts";

let runner: TestRunner | undefined;
Deno.test.beforeAll(async () => {
  runner = await startRunner();
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
});

const FAST = { wallSeconds: 20, memoryBytes: 256 << 20, processes: 64 };

/** Group limits exist only where root could prepare them. */
function groupsHere(): boolean {
  if (!AS_ROOT) console.log("skipped: control groups can only be prepared by root");
  return AS_ROOT;
}

Deno.test("runner runs a script that reads its datasets, takes arguments and writes results", async () => {
  const end = await runJob({
    algo: '#!/bin/sh\nset -e\npwd; echo "$@"; cat datasets/*; ls /cocos\n' +
      "echo out > results/a.txt; echo err >&2; test ! -w datasets; env | sort\n",
    args: ["--epochs", "5", "a b"],
    datasets: { "one.csv": "1\n", "two.csv": "2\n" },
    limits: FAST,
  });
  assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
  assert.equal(
    end.stdout,
    "/cocos\n--epochs 5 a b\n1\n2\nalgo\ndatasets\nresults\n" +
      "HOME=/tmp\nLANG=C.UTF-8\nPATH=/usr/bin:/bin\nPWD=/cocos\nTMPDIR=/tmp\n",
  );
  assert.equal(end.stderr, "err\n");
  assert.equal(await Deno.readTextFile(`${end.results}/a.txt`), "out\n");
  assert.equal(end.events[0]?.type, "started");
  const { usage } = end.finished;
  assert.deepEqual([usage.resultsFiles, usage.resultsBytes], [1, 4]);
  assert.equal(usage.outputBytes, end.stdout.length + end.stderr.length);
  if (AS_ROOT) assert.ok(usage.peakBytes > 0 && usage.cpuMs > 0, JSON.stringify(usage));
});

Deno.test("runner passes arguments as they are: words of bubblewrap, of a shell, of Deno", async () => {
  // As root the launcher shows Deno to the runner at a place of its own, which nobody can name.
  const args = ["--bind", "/", "/", "--", "$(id)", "`id`", "a\nb", "", "run", "-A", "é", "deno"];
  const algo = '#!/bin/sh\nfor a in "$@"; do printf "[%s]" "$a"; done\n';
  const { stdout } = await runJob({ algo, args, limits: FAST });
  assert.equal(stdout, args.map((arg) => `[${arg}]`).join(""));
  if (AS_ROOT) return;
  // Deno would put flags of its own behind its path, whoever's argument that is.
  const { finished } = await runJob({ algo, args: [Deno.execPath(), "x"], limits: FAST });
  assert.deepEqual(
    [finished.outcome, finished.message],
    ["start-failed", "Cannot pass the runner's own path as an argument"],
  );
});

Deno.test("runner runs an ELF executable", async () => {
  const end = await runJob({ algo: await Deno.readFile("/bin/true"), limits: FAST });
  assert.deepEqual([end.finished.outcome, end.finished.message], ["ok", ""]);
});

Deno.test("runner tells exit codes, signals and programs that can't start", async () => {
  const outcome = async (algo: string) => {
    const { finished } = await runJob({ algo, limits: FAST });
    return [finished.outcome, finished.code ?? finished.signal, finished.message];
  };
  assert.deepEqual(await outcome("#!/bin/sh\nexit 3\n"), ["exit", 3, "exit status 3"]);
  assert.deepEqual(await outcome("#!/bin/sh\nkill -9 $$\n"), ["signal", 9, "signal: killed"]);
  assert.deepEqual(
    await outcome("#!/bin/sh\nkill -SEGV $$\n"),
    ["signal", 11, "signal: segmentation fault"],
  );
  const [kind, , message] = await outcome("#!/no/such/interpreter\n");
  assert.equal(kind, "start-failed");
  assert.match(String(message), /No such file or directory/);
  assert.deepEqual(
    await outcome("just text\n"),
    [
      "refused",
      undefined,
      "The algorithm is neither an ELF executable nor a script with a #! line",
    ],
  );
});

Deno.test("runner S-12 runs Python isolated from variables, user sites and the working directory", async () => {
  const end = await runJob({
    kind: "python",
    algo: `
import sys, os, json
json.dump({"argv": sys.argv, "flags": [sys.flags.isolated, sys.flags.no_user_site, sys.flags.ignore_environment],
  "path": [p for p in sys.path if not p.startswith("/usr/")], "cwd": os.getcwd(), "name": __name__,
  "exe": sys.executable}, open("results/info.json", "w"))
`,
    args: ["x", "-c", "y"],
    limits: FAST,
  });
  assert.equal(end.finished.outcome, "ok", end.stderr);
  assert.deepEqual(JSON.parse(await Deno.readTextFile(`${end.results}/info.json`)), {
    argv: ["/cocos/algo", "x", "-c", "y"],
    flags: [1, 1, 1],
    path: [],
    cwd: "/cocos",
    name: "__main__",
    exe: "/usr/bin/python3",
  });
  for (const pythonRuntime of ["python3.9", "/cocos/datasets/python", "Pyodide"]) {
    const { finished } = await runJob({ kind: "python", algo: "", pythonRuntime, limits: FAST });
    assert.equal(finished.outcome, "refused", pythonRuntime);
  }
  assert.equal(
    (await runJob({ kind: "python", algo: "", pythonRuntime: "python3", limits: FAST })).finished
      .outcome,
    "ok",
  );
});

Deno.test("runner S-12 refuses a job whose manifest grants a network it can't give", async () => {
  const { finished } = await runJob({
    algo: "#!/bin/sh\n",
    egress: ["pypi.org:443"],
    limits: FAST,
  });
  assert.equal(finished.outcome, "refused");
  assert.match(finished.message, /has no network to grant, and the manifest names pypi.org:443/);
});

Deno.test("runner S-10 ends a run at its time, whatever it ignores", async () => {
  const started = performance.now();
  const end = await runJob({
    algo: "#!/bin/sh\ntrap '' TERM INT HUP\n(trap '' TERM; while :; do :; done) &\n" +
      "echo part > results/part; while :; do :; done\n",
    limits: { ...FAST, wallSeconds: 0.5 },
  });
  assert.deepEqual([end.finished.outcome, end.finished.message], [
    "timeout",
    "over the time of 0.5 s",
  ]);
  assert.ok(performance.now() - started < 1500 + 500, "killed within a second of the deadline");
  assert.ok(end.finished.usage.wallMs >= 500);
});

Deno.test("runner S-9 stops on request and when its client goes away", async () => {
  const stop = new AbortController();
  let asked = 0;
  const end = await runJob({
    algo: "#!/bin/sh\ntrap '' TERM\nmkfifo /tmp/f; read x < /tmp/f\n",
    limits: FAST,
    signal: stop.signal,
    onStarted: () => {
      asked = performance.now();
      stop.abort();
    },
  });
  assert.deepEqual([end.finished.outcome, end.finished.message], ["stopped", "stopped"]);
  assert.ok(performance.now() - asked < 1000);

  const spec = { algo: "#!/bin/sh\nsleep 100\n", limits: FAST };
  const id = await makeJob(spec);
  for await (const event of converse(requestOf(id, spec))) if (event.type === "started") break;
  await until(() =>
    runner?.log.some((line) => line.includes(id) && line.includes('"job ended"')) === true
  );
  assert.match(
    runner?.log.find((line) => line.includes(id) && line.includes('"job ended"')) ?? "",
    /stopped/,
  );
});

Deno.test("runner S-9 stops a run at any moment of its start, and nothing of it stays", async () => {
  const spec = { algo: "#!/bin/sh\nsleep 100\n", limits: FAST };
  const stop = encodeLine({ type: "stop" });
  for (let ms = -20; ms < 30; ms++) {
    const request = requestOf(await makeJob(spec), spec);
    // Below 0 the stop is in the same write as the request.
    const first = ms < 0 ? new Uint8Array([...request, ...stop]) : request;
    let outcome = "";
    for await (const event of converse(first, ms < 0 ? undefined : AbortSignal.timeout(ms))) {
      if (event.type === "finished") outcome = `${event.outcome}: ${event.message}`;
    }
    assert.equal(outcome, "stopped: stopped", `stopped after ${ms} ms`);
  }
});

/** Waits for something another process does; the test's own time limit ends it. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

Deno.test("runner S-8 has killed every daemon before it says finished", async () => {
  const end = await runJob({
    algo: "#!/bin/sh\n" +
      "(setsid sh -c 'exec </dev/null >/dev/null 2>&1; while :; do echo x >> results/late; done' &)\n" +
      "while [ ! -s results/late ]; do :; done\n",
    limits: FAST,
  });
  assert.equal(end.finished.outcome, "ok");
  const size = () => Deno.statSync(`${end.results}/late`).size;
  const then = size();
  assert.ok(then >= end.finished.usage.resultsBytes);
  const again = await runJob({ algo: "#!/bin/sh\n", limits: FAST });
  assert.equal(again.finished.outcome, "ok");
  assert.equal(size(), then);
  assert.equal(end.finished.usage.resultsBytes, then);
});

Deno.test("runner S-5 keeps reading endless output, passes a bounded part and counts the rest", async () => {
  const end = await runJob({
    algo: "#!/bin/sh\nyes endless & yes noise >&2 & sleep 1; exit 0\n",
    limits: { ...FAST, outputBytes: 300_000 },
  });
  assert.equal(end.finished.outcome, "ok", end.finished.message);
  assert.ok(end.dropped > 1_000_000, `dropped ${end.dropped}`);
  assert.equal(end.stdout.length + end.stderr.length, 300_000);
  assert.equal(end.finished.usage.outputBytes, end.dropped + 300_000);
});

Deno.test("runner S-5 ends although its client reads nothing", async () => {
  const spec = {
    algo: "#!/bin/sh\nhead -c 60000000 /dev/zero; echo done > results/done\n",
    limits: { ...FAST, outputBytes: 1e9 },
  };
  const id = await makeJob(spec);
  using conn = await Deno.connect({ transport: "unix", path: SOCKET });
  await conn.write(requestOf(id, spec));
  await until(() => exists(`${WORK}/${id}/results/done`));
});

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

Deno.test("runner S-4 kills a memory bomb and says so; the next job is not affected", async () => {
  if (!groupsHere()) return;
  const end = await runJob({
    kind: "python",
    algo: "x = []\nwhile True: x.append(bytearray(8 << 20))\n",
    limits: { ...FAST, memoryBytes: 64 << 20 },
  });
  assert.deepEqual(
    [end.finished.outcome, end.finished.message],
    ["oom", "over the memory of 67108864 bytes"],
  );
  assert.ok(end.finished.usage.peakBytes <= 64 << 20);
  assert.equal((await runJob({ algo: "#!/bin/sh\n", limits: FAST })).finished.outcome, "ok");
});

Deno.test("runner S-4 bounds tmpfs and shared memory", async () => {
  const end = await runJob({
    algo:
      "#!/bin/sh\nfor d in /tmp /dev/shm; do head -c 9000000 /dev/zero > $d/x; wc -c < $d/x; done\n",
    limits: { ...FAST, tmpBytes: 1 << 20 },
  });
  assert.equal(end.stdout, "1048576\n1048576\n");
  assert.match(end.stderr, /No space left/);
});

Deno.test("runner S-4 holds a fork bomb within its number of processes", async () => {
  if (!groupsHere()) return;
  const end = await runJob({
    kind: "python",
    algo: `
import os, sys, time
n = 0
try:
    while True:
        if os.fork() == 0: time.sleep(100)
        n += 1
except OSError: pass
print(n); sys.exit(7)
`,
    limits: { ...FAST, processes: 20 },
  });
  assert.equal(end.finished.outcome, "exit");
  assert.ok(Number(end.stdout) < 20 && Number(end.stdout) > 5, end.stdout);
  assert.match(end.finished.message, /^exit status 7; over 20 processes \d+ times$/);
});

Deno.test("runner S-17 S-11 leaves no core, no privilege, no descriptor, no host identity", async () => {
  const end = await runJob({
    algo:
      "#!/bin/sh\nulimit -c; ulimit -Hc; id -u; id -un; hostname 2>/dev/null || cat /proc/sys/kernel/hostname\n" +
      "grep -E '^(NoNewPrivs|CapEff|CapBnd|Seccomp):' /proc/self/status | tr -s '\\t ' ' '\n",
    limits: FAST,
  });
  assert.equal(end.finished.outcome, "ok", end.stderr);
  const lines = end.stdout.trim().split("\n");
  assert.deepEqual(lines.slice(0, 9), [
    "0",
    "0",
    "1000",
    "algorithm",
    "cocos",
    "CapEff: 0000000000000000",
    "CapBnd: 0000000000000000",
    "NoNewPrivs: 1",
    "Seccomp: 2",
  ]);
  const { stdout } = await runJob({
    kind: "python",
    algo:
      "import os\nfor fd in range(3, 1024):\n  try: print(os.readlink(f'/proc/self/fd/{fd}'))\n" +
      "  except OSError: pass\n",
    limits: FAST,
  });
  // What the runner itself inherited from a test harness is replaced by dead sockets.
  for (const line of stdout.trim().split("\n")) assert.match(line, /^(socket:\[\d+\])?$/);
});

Deno.test("runner O-1 normalises results: links skipped, closed directories opened, modes fixed", async () => {
  const end = await runJob({
    kind: "python",
    algo: `
import os, socket
os.chdir("results")
os.symlink("/etc/passwd", "link"); os.symlink(".", "self"); os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("sock")
os.mkdir("closed"); open("closed/inner", "w").write("in"); os.chmod("closed/inner", 0); os.chmod("closed", 0)
open("suid", "w").write("x"); os.chmod("suid", 0o6777)
open("-rf name\\nwith newline", "w").write("y")
os.chmod(".", 0o700) if os.stat(".").st_uid == os.getuid() else None
`,
    limits: FAST,
  });
  assert.equal(end.finished.outcome, "ok", end.stderr);
  const mode = (name: string) =>
    ((Deno.lstatSync(`${end.results}/${name}`).mode ?? 0) & 0o7777).toString(8);
  assert.equal(mode("suid"), "640");
  assert.equal(mode("closed"), "2770");
  assert.equal(mode("closed/inner"), "640");
  assert.equal(await Deno.readTextFile(`${end.results}/closed/inner`), "in");
  assert.ok(Deno.lstatSync(`${end.results}/link`).isSymlink);
  assert.deepEqual([end.finished.usage.resultsFiles, end.finished.usage.resultsBytes], [3, 4]);
});

Deno.test("runner O-1 refuses results that are too many, too large, too deep or without a name", async () => {
  const outcome = async (python: string, limits = {}) => {
    const { finished } = await runJob({
      kind: "python",
      algo: `import os\nos.chdir("results")\n${python}`,
      limits: { ...FAST, ...limits },
    });
    return [finished.outcome, finished.message];
  };
  assert.deepEqual(
    await outcome('open("sparse", "w").truncate(1 << 40)', { resultsBytes: 1 << 20 }),
    ["limit", "results of 1099511627776 bytes, over 1048576"],
  );
  assert.deepEqual(
    await outcome("for i in range(300): os.mkdir(str(i))", { resultsFiles: 100 }),
    ["limit", "300 entries in results, over 100"],
  );
  assert.deepEqual(
    await outcome("for i in range(3000):\n  os.mkdir('d'); os.chdir('d')"),
    ["limit", "results in directories nested too deep"],
  );
  assert.deepEqual(
    await outcome("os.mkdir(b'\\xff\\xfe')"),
    ["limit", "results whose names aren't UTF-8"],
  );
});

/** Deno makes links only for programs with unscoped rights. */
async function link(target: string, path: string): Promise<void> {
  const { success } = await new Deno.Command("/bin/sh", {
    args: ["-c", 'ln -s "$1" "$2"', "sh", target, path],
  }).output();
  assert.ok(success);
}

Deno.test("runner refuses a job whose files are not what the contract says", async () => {
  const spec = { algo: "#!/bin/sh\n", limits: FAST };
  const refused = async (id: string, pattern: RegExp) => {
    const { finished } = await runMade(id, spec);
    assert.equal(finished.outcome, "refused");
    assert.match(finished.message, pattern);
  };
  await refused("job-ffffffffffffffff", /The job has no directory/);
  const linked = await makeJob(spec);
  await Deno.remove(`${WORK}/${linked}/algo`);
  await link("/bin/true", `${WORK}/${linked}/algo`);
  await refused(linked, /The job's algo isn't what it should be/);
  const moved = await makeJob(spec);
  await Deno.remove(`${WORK}/${moved}/datasets`);
  await link("/", `${WORK}/${moved}/datasets`);
  await refused(moved, /The job's datasets isn't what it should be/);
  const plain = await makeJob(spec);
  await Deno.chmod(`${WORK}/${plain}/algo`, 0o640);
  await refused(plain, /isn't executable/);
  const contained = await runJob({ kind: "docker", algo: "x", limits: FAST });
  assert.equal(contained.finished.message, "This runner has no container engine");
});

Deno.test("runner answers hostile requests with a refusal and goes on", async () => {
  const answer = async (bytes: Uint8Array | string) => {
    const line = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    const [event] = await Array.fromAsync(converse(line));
    return event?.type === "finished" ? event.message : undefined;
  };
  assert.match(await answer("{}\n") ?? "", /type must be one of/);
  assert.match(await answer("\n") ?? "", /must be JSON/);
  assert.match(await answer(new Uint8Array([0xff, 10])) ?? "", /UTF-8/);
  const request = new TextDecoder().decode(requestOf(jobId(), { algo: "" }));
  assert.match(await answer(request.replace("job-", "../")) ?? "", /job must be/);
  assert.match(await answer(request.replace('"kind"', '"argv":["/"],"kind"')) ?? "", /argv/);
  assert.equal(await answer(encodeLine({ type: "stop" })), undefined);
  assert.equal((await runJob({ algo: "#!/bin/sh\n", limits: FAST })).finished.outcome, "ok");
});

Deno.test("runner runs jobs side by side, and one job only once at a time", async () => {
  const spec = {
    algo: "#!/bin/sh\nwhile [ ! -e results/go ]; do sleep 0.01; done\n",
    limits: FAST,
  };
  const id = await makeJob(spec);
  const started = Promise.withResolvers<void>();
  const first = runMade(id, { ...spec, onStarted: () => started.resolve() });
  await started.promise;
  assert.match((await runMade(id, spec)).finished.message, /runs already/);
  assert.equal((await runJob({ algo: "#!/bin/sh\n", limits: FAST })).finished.outcome, "ok");
  await Deno.writeTextFile(`${WORK}/${id}/results/go`, "");
  assert.equal((await first).finished.outcome, "ok");
});

Deno.test("runner S-18 shows a run nothing of the one before", async () => {
  const canary = "canary-7f3a";
  await runJob({
    algo: `#!/bin/sh\nfor d in /tmp /dev/shm results; do echo ${canary} > $d/${canary}; done\n` +
      `ipcmk -M 64 -Q 2>/dev/null; exit 0\n`,
    limits: FAST,
  });
  const end = await runJob({
    algo:
      `#!/bin/sh\nls -A /tmp /dev/shm results; ls /cocos; cat /proc/sysvipc/shm | wc -l; grep -c . /proc/mounts >/dev/null; ps -e 2>/dev/null | grep -c sleep\nexit 0\n`,
    limits: FAST,
  });
  assert.doesNotMatch(end.stdout, new RegExp(canary));
  assert.match(end.stdout, /^1$/m);
});
