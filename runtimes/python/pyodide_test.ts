// The Python runtime `pyodide` as it really runs: a child of Deno in the sandbox, started by the
// runner, with scripts that look for a way from Python to JavaScript and out (threats S-14).
import assert from "node:assert/strict";
import { runJob, startRunner, type TestRunner } from "../_harness.ts";

let runner: TestRunner | undefined;
Deno.test.beforeAll(async () => {
  runner = await startRunner();
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
});

/** The interpreter takes seconds to start, more on a busy machine. */
const LIMITS = { wallSeconds: 300, memoryBytes: 1 << 30 };

function run(algo: string, more: Partial<Parameters<typeof runJob>[0]> = {}) {
  return runJob({ kind: "python", pythonRuntime: "pyodide", algo, limits: LIMITS, ...more });
}

Deno.test("pyodide runs a script in the same world as the other kinds, with its exit code", async () => {
  const end = await run(
    `
import csv, json, os, sys, statistics
rows = [int(row["n"]) for row in csv.DictReader(open("datasets/a.csv"))]
refused = []
for path in ("datasets/a.csv", "datasets/new", "algo", "new", "/cocos/new"):
    try: open(path, "a").write("x")
    except OSError as error: refused.append(error.errno)
os.makedirs("results/deep")
json.dump({
    "mean": statistics.mean(rows), "argv": sys.argv, "cwd": os.getcwd(),
    "seen": sorted(os.listdir(".")), "name": __name__, "refused": len(refused),
    "told": [name for name in os.environ if any(w in name for w in ("DENO", "COCOS", "AGENT"))],
}, open("results/deep/out.json", "w"))
print("said", flush=True)
print("and complained", file=sys.stderr)
sys.exit(7)
`,
    { datasets: { "a.csv": "n\n1\n2\n6\n" }, args: ["one", "zwei ö", "--x"] },
  );
  assert.deepEqual([end.finished.outcome, end.finished.code], ["exit", 7], end.stderr);
  assert.deepEqual([end.stdout, end.stderr], ["said\n", "and complained\n"]);
  assert.deepEqual(JSON.parse(await Deno.readTextFile(`${end.results}/deep/out.json`)), {
    mean: 3,
    argv: ["/cocos/algo", "one", "zwei ö", "--x"],
    cwd: "/cocos",
    seen: ["algo", "datasets", "results"],
    name: "__main__",
    refused: 5,
    told: [],
  });
});

Deno.test("pyodide S-14 has no bridge to JavaScript, no host global, no network, no file of the host", async () => {
  const end = await run(`
import gc, importlib, os, socket, subprocess, sys
got = []

def attempt(name, work):
    try:
        value = work()
    except BaseException as error:
        return
    got.append(f"{name}: {value!r}"[:120])

# The modules of the bridge, by every way to import one.
for name in ("js", "pyodide_js", "pyodide", "pyodide.code", "pyodide.ffi", "pyodide.http",
             "_pyodide", "_pyodide._base", "_pyodide_core", "micropip"):
    attempt("import " + name, lambda: __import__(name))
    attempt("import_module " + name, lambda: importlib.import_module(name))
    attempt("sys.modules " + name, lambda: sys.modules[name])
sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") != "Gone"]
for name in ("js", "pyodide_js", "_pyodide_core"):
    attempt("without the guard " + name, lambda: importlib.import_module(name))
# The Python half of the bridge is a file of the library; there is nothing behind it.
code = lambda: importlib.import_module("pyodide.code")
attempt("run_js", lambda: code().run_js("1 + 1") or 1 / 0)
attempt("run_js", lambda: code().run_js("globalThis") or 1 / 0)

# References to JavaScript that lie about in the interpreter, and what they lead to.
proxies = [o for o in gc.get_objects() if type(o).__name__.startswith(("JsProxy", "pyodide.ffi"))
           or "JsProxy" in type(o).__mro__.__repr__()]
for frame_name in ("f_back",):
    frame = sys._getframe()
    while frame is not None:
        for value in list(frame.f_globals.values()) + list(frame.f_locals.values()):
            if "JsProxy" in type(value).__mro__.__repr__():
                proxies.append(value)
        frame = frame.f_back
for proxy in proxies[:200]:
    for word in ("Deno", "process", "fetch", "Worker", "WebSocket", "require", "importScripts"):
        attempt("proxy." + word, lambda: getattr(proxy, word))
    attempt("Function", lambda: proxy.constructor.constructor("return globalThis")())
    attempt("eval", lambda: getattr(proxy, "eval")("1"))

# The ways out that every Python has.
attempt("socket", lambda: socket.create_connection(("127.0.0.1", 7002), 1))
attempt("dns", lambda: socket.gethostbyname("example.org") if "." in socket.gethostbyname("example.org") and not socket.gethostbyname("example.org").startswith("172.29") else 1 / 0)
attempt("subprocess", lambda: subprocess.run(["/bin/true"]))
attempt("system", lambda: 1 / 0 if os.system("true") != 0 else "ran")
attempt("fork", lambda: os.fork())
attempt("ctypes", lambda: __import__("ctypes").CDLL("libc.so.6"))
for path in ("/etc/passwd", "/proc/self/environ", "/usr/bin/python3", "/opt/pyodide/child.js",
             "/opt/python/deno", "/cocos/../etc/passwd", "/dev/sda", "/run"):
    attempt("open " + path, lambda: open(path).read(1))
for link in ("/etc/passwd", "/opt/pyodide/child.js", "../../etc/passwd"):
    def through(target=link):
        os.symlink(target, "results/link")
        try:
            return open("results/link").read(10)
        finally:
            os.remove("results/link")
    attempt("through a link to " + link, through)
print("\\n".join(got))
`);
  assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
  assert.equal(end.stdout.trim(), "");
});

Deno.test("pyodide S-14 tells an exception, a breakdown and a refusal apart", async () => {
  const raised = await run("raise ValueError('of the script')\n");
  assert.deepEqual([raised.finished.outcome, raised.finished.code], ["exit", 1]);
  assert.match(raised.stderr, /ValueError: of the script\n$/);
  // 1 GiB is all the job has; the interpreter's own memory error or its end, never the runner's.
  const bomb = await run("x = bytearray(1 << 20)\nl = []\nwhile True: l.append(bytes(x))\n");
  assert.ok(["exit", "oom"].includes(bomb.finished.outcome), bomb.finished.message);
  const { finished } = await run("", { requirements: { "requirements.txt": "six\n" } });
  assert.equal(finished.outcome, "refused");
  assert.match(finished.message, /pyodide takes no requirements/);
});
