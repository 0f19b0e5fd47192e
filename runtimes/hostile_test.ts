import assert from "node:assert/strict";
import { AS_ROOT, BASE, runJob, startRunner, type TestRunner } from "./_harness.ts";

let runner: TestRunner | undefined;
Deno.test.beforeAll(async () => {
  runner = await startRunner();
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
});

const FAST = { wallSeconds: 60, memoryBytes: 256 << 20, processes: 64 };
const file = (name: string) => new URL(`hostile/${name}`, import.meta.url);

/** Numbers issue 6 asks for at least. */
const AT_LEAST: Record<string, number> = { "S-1": 12, "S-2": 80, "S-3": 30, "S-7": 60 };

for (const kind of ["bin", "python"] as const) {
  Deno.test(`hostile ${kind} S-1 S-2 S-3 S-7 S-11 gets none of what it tries`, async () => {
    const end = await runJob({
      kind,
      algo: await Deno.readTextFile(file("probe.py")),
      datasets: { "data.csv": "1,2\n" },
      limits: FAST,
    });
    const tried = JSON.parse(await Deno.readTextFile(`${end.results}/probe.json`)) as string[][];
    const done = tried.filter(([, , outcome]) => outcome !== "refused");
    assert.deepEqual(done, []);
    assert.equal(end.finished.outcome, "ok", end.stderr);
    const count: Record<string, number> = {};
    for (const [group] of tried) count[group ?? ""] = (count[group ?? ""] ?? 0) + 1;
    for (const [group, least] of Object.entries(AT_LEAST)) {
      assert.ok((count[group] ?? 0) >= least, `${group}: ${count[group]}`);
    }
    console.log(`tried by a ${kind} algorithm, all refused: ${JSON.stringify(count)}`);
  });
}

Deno.test("hostile bin S-7 is killed when it enters by another ABI", async () => {
  const program = `${BASE}/gates`;
  const { success, stderr } = await new Deno.Command("/bin/sh", {
    args: ["-c", 'cc -O1 -o "$1" "$2"', "sh", program, file("gates.c").pathname],
  }).output();
  if (!success) {
    return console.log(`skipped: no C compiler here (${new TextDecoder().decode(stderr).trim()})`);
  }
  const algo = await Deno.readFile(program);
  for (const args of [[], ["x32"]]) {
    const { finished } = await runJob({ algo, args, limits: FAST });
    assert.deepEqual(
      [finished.outcome, finished.signal, finished.message],
      ["signal", 31, "signal: bad system call"],
    );
  }
});

/** Programs that eat something, what they may reach at most, and how that ends. */
const BOMBS: [name: string, python: string, outcome: RegExp, needsGroups: boolean][] = [
  [
    "threads",
    "import threading,time\ntry:\n  while True: threading.Thread(target=time.sleep,args=(99,),daemon=True).start()\nexcept RuntimeError: import os; os._exit(9)",
    /^exit 9$/,
    true,
  ],
  [
    "files in /tmp",
    "i=0\ntry:\n  while True: open(f'/tmp/{i}','w').write('x'*4096); i+=1\nexcept OSError: raise SystemExit(9)",
    /^(exit 9|oom)/,
    false,
  ],
  ["empty files in /tmp", "i=0\nwhile True: open(f'/tmp/{i}','w'); i+=1", /^(oom|exit 1)/, true],
  [
    "descriptors",
    "import os\nl=[]\ntry:\n  while True: l.append(os.open('/dev/null',0))\nexcept OSError: raise SystemExit(9)",
    /^exit 9$/,
    false,
  ],
  [
    "pipes",
    "import os\nl=[]\ntry:\n  while True:\n    r,w=os.pipe(); os.set_blocking(w,False); l.append((r,w))\n    try: os.write(w,b'x'*65536)\n    except BlockingIOError: pass\nexcept OSError: raise SystemExit(9)",
    /^(exit 9|oom|signal)/,
    false,
  ],
  [
    "shared memory",
    "import mmap\nl=[]\nwhile True:\n  m=mmap.mmap(-1,8<<20); m.write(b'x'*(8<<20)); l.append(m)",
    /^(oom|exit 1|signal)/,
    true,
  ],
  [
    "memfd",
    "import os\nl=[]\nwhile True:\n  f=os.memfd_create('x'); os.write(f,b'x'*(8<<20)); l.append(f)",
    /^(oom|exit 1|signal)/,
    true,
  ],
  [
    "System V shared memory",
    "import ctypes\nc=ctypes.CDLL(None)\nc.shmat.restype=ctypes.c_void_p\nwhile True:\n  i=c.shmget(0,8<<20,0o1600)\n  if i<0: raise SystemExit(9)\n  p=c.shmat(i,None,0)\n  ctypes.memset(p,1,8<<20)",
    /^(oom|exit|signal)/,
    true,
  ],
  [
    "recursion of processes",
    "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    /^timeout/,
    true,
  ],
  [
    "swallowed signals",
    "import signal,time\nfor s in range(1,65):\n  try: signal.signal(s,signal.SIG_IGN)\n  except (OSError,ValueError): pass\nwhile True: time.sleep(1)",
    /^timeout/,
    false,
  ],
  [
    "spinning threads",
    "import threading\ndef f():\n  while True: pass\nfor i in range(8): threading.Thread(target=f).start()",
    /^timeout/,
    false,
  ],
];

for (const [name, algo, outcome, needsGroups] of BOMBS) {
  Deno.test(`hostile python S-4 bomb of ${name} ends within its limits`, async () => {
    if (needsGroups && !AS_ROOT) {
      return console.log("skipped: control groups can only be prepared by root");
    }
    // A bomb that only time ends gets little of it; the others end by what they eat.
    const seconds = outcome.test("timeout") ? 2 : 60;
    const { finished } = await runJob({
      kind: "python",
      algo,
      limits: { wallSeconds: seconds, memoryBytes: 128 << 20, processes: 40, tmpBytes: 16 << 20 },
    });
    const end = `${finished.outcome} ${finished.code ?? ""}`.trim();
    assert.match(end, outcome, finished.message);
    assert.ok(finished.usage.wallMs < seconds * 1000 + 1000, `${finished.usage.wallMs} ms`);
    assert.ok(finished.usage.peakBytes <= 128 << 20);
    const after = await runJob({ algo: "#!/bin/sh\n", limits: FAST });
    assert.equal(after.finished.outcome, "ok");
  });
}
