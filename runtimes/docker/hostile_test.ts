// The hostile programs of `runtimes/hostile` in containers: what they try must get them nothing, in an
// engine with a user namespace and in one without.
import assert from "node:assert/strict";
import { BASE, runJob, startRunner, type TestRunner } from "../_harness.ts";
import { type Dockerd, ENGINE, must, PLACE, startDockerd, whyNot } from "./_dockerd.ts";
import { savedImage } from "./_image.ts";

const LIMITS = { wallSeconds: 120, memoryBytes: 256 << 20, processes: 64 };
const file = (name: string) => new URL(`../hostile/${name}`, import.meta.url);

/** Numbers issue 6 asks for at least. */
const AT_LEAST: Record<string, number> = { "S-1": 12, "S-2": 80, "S-3": 30, "S-7": 60 };

/** The one file an engine gives every container, which says `cocos`. */
const OWN = ["/etc/hostname"];

/** A root of this machine's Python and busybox. */
const PYTHON_ROOT = `
root=$1
mkdir -p "$root/usr/bin" "$root/usr/lib/x86_64-linux-gnu" "$root/bin" "$root/lib64" "$root/lib"
python=$(readlink -f /usr/bin/python3)
cp "$python" "$root/usr/bin/python3"
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
version=\${python##*/}
cp -r "/usr/lib/$version" "$root/usr/lib/$version"
cd "$root/usr/lib/$version"
rm -rf test config-* idlelib tkinter ensurepip lib2to3 distutils unittest pydoc_data asyncio email \
  xml sqlite3 http multiprocessing concurrent
find lib-dynload -name "*.so" ! -name "_ctypes.*" ! -name "_json.*" ! -name "resource.*" \
  ! -name "mmap.*" -delete
for file in "$python" lib-dynload/*.so; do ldd "$file" || :; done 2>/dev/null |
  grep -o "/[^ ]*\\.so[^ ]*" | sort -u | while read -r library; do
    case $library in
    */ld-linux*) cp -L "$library" "$root/lib64/" ;;
    *) cp -L "$library" "$root/usr/lib/x86_64-linux-gnu/" ;;
    esac
  done
ln -s ../usr/lib/x86_64-linux-gnu "$root/lib/x86_64-linux-gnu"
find "$root" -name __pycache__ -prune -exec rm -rf {} +
tar --format=gnu --owner=0 --group=0 -C "$root" -cf "$root.tar" .
`;

const reason = await whyNot();
let python = new Uint8Array();

for (const ids of ["mapped", "plain"] as const) {
  Deno.test(`hostile docker S-1 S-2 S-3 S-4 S-7 S-11 S-15 gets nothing in an engine with ${ids} ids`, async (t) => {
    if (reason !== undefined) return console.log(`skipped: ${reason}`);
    await using _dockerd: Dockerd = await startDockerd(ids);
    await using _runner: TestRunner = await startRunner(["--docker", ENGINE]);
    if (python.length === 0) {
      await must(PYTHON_ROOT, `${PLACE}/python`);
      python = await Deno.readFile(`${PLACE}/python.tar`);
    }
    /** Runs a Python program in a container; it is not the first process there. */
    const contained = async (program: string, args: readonly string[] = [], limits = {}) =>
      await runJob({
        kind: "docker",
        algo: savedImage({
          layers: [python, [{ path: "probe.py", content: program }]],
          config: {
            Entrypoint: ["/bin/sh", "-c", '/usr/bin/python3 -I -B /probe.py "$@"; exit $?', "sh"],
            User: "root",
          },
        }).bytes,
        args,
        datasets: { "data.csv": "1,2\n" },
        limits: { ...LIMITS, ...limits },
      });

    await t.step("the probe", async () => {
      const end = await contained(await Deno.readTextFile(file("probe.py")), OWN);
      const text = await Deno.readTextFile(`${end.results}/probe.json`).catch(() => "");
      assert.notEqual(text, "", end.finished.message + end.stderr);
      const tried = JSON.parse(text) as string[][];
      assert.deepEqual(tried.filter(([, , outcome]) => outcome !== "refused"), []);
      assert.equal(end.finished.outcome, "ok", end.stderr);
      const count: Record<string, number> = {};
      for (const [group] of tried) count[group ?? ""] = (count[group ?? ""] ?? 0) + 1;
      for (const [group, least] of Object.entries(AT_LEAST)) {
        assert.ok((count[group] ?? 0) >= least, `${group}: ${count[group]}`);
      }
      console.log(`tried in a container (${ids} ids), all refused: ${JSON.stringify(count)}`);
    });

    await t.step("other gates into the kernel", async () => {
      await must('cc -O1 -static -o "$1" "$2"', `${BASE}/gates`, file("gates.c").pathname);
      const gates = await Deno.readFile(`${BASE}/gates`);
      for (const args of [[], ["x32"]]) {
        const { finished } = await runJob({
          kind: "docker",
          algo: savedImage({
            layers: [[{ path: "gates", content: gates }]],
            config: { Entrypoint: ["/gates"] },
          }).bytes,
          args,
          limits: LIMITS,
        });
        assert.deepEqual([finished.outcome, finished.signal], ["signal", 31], finished.message);
      }
    });

    if (ids === "mapped") {
      await t.step("bombs", async () => {
        for (const [name, program, outcome] of BOMBS) {
          const { finished } = await contained(program, [], {
            wallSeconds: outcome.test("timeout") ? 3 : 60,
            memoryBytes: 128 << 20,
            processes: 40,
            tmpBytes: 16 << 20,
          });
          const end = `${finished.outcome} ${finished.code ?? ""}`.trim();
          assert.match(end, outcome, `${name}: ${finished.message}`);
          assert.ok(finished.usage.peakBytes <= 128 << 20, name);
        }
        assert.equal((await contained("")).finished.outcome, "ok");
      });
    }

    await t.step("core files", async () => {
      const end = await contained("import os; os.chdir('results'); os.abort()");
      assert.deepEqual([end.finished.outcome, end.finished.signal], ["signal", 6]);
      assert.deepEqual([...Deno.readDirSync(end.results)], []);
    });
    assert.equal(await must("docker ps -aq; docker images -aq; docker volume ls -q"), "");
  });
}

/** As in `runtimes/hostile_test.ts`, those that a container could hold differently. */
const BOMBS: [name: string, python: string, outcome: RegExp][] = [
  [
    "threads",
    "import threading,time,os\ntry:\n  while True: threading.Thread(target=time.sleep,args=(99,),daemon=True).start()\nexcept RuntimeError: os._exit(9)",
    /^exit 9$/,
  ],
  [
    "descriptors",
    "import os\nl=[]\ntry:\n  while True: l.append(os.open('/dev/null',0))\nexcept OSError: raise SystemExit(9)",
    /^exit 9$/,
  ],
  [
    "shared memory",
    "import mmap\nl=[]\nwhile True:\n  m=mmap.mmap(-1,8<<20); m.write(b'x'*(8<<20)); l.append(m)",
    /^(oom|exit 1|signal)/,
  ],
  [
    "memfd",
    "import os\nl=[]\nwhile True:\n  f=os.memfd_create('x'); os.write(f,b'x'*(8<<20)); l.append(f)",
    /^(oom|exit 1|signal)/,
  ],
  [
    "System V shared memory",
    "import ctypes\nc=ctypes.CDLL(None)\nc.shmat.restype=ctypes.c_void_p\nwhile True:\n  i=c.shmget(0,8<<20,0o1600)\n  if i<0: raise SystemExit(9)\n  p=c.shmat(i,None,0)\n  ctypes.memset(p,1,8<<20)",
    /^(oom|exit|signal)/,
  ],
  [
    "recursion of processes",
    "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    /^timeout/,
  ],
];
