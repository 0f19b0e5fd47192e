import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { runJob, startRunner, type TestRunner } from "../_harness.ts";

let runner: TestRunner | undefined;
Deno.test.beforeAll(async () => {
  runner = await startRunner();
});
Deno.test.afterAll(async () => {
  await runner?.[Symbol.asyncDispose]();
});

const FAST = { wallSeconds: 60, memoryBytes: 512 << 20 };

/** A wheel with these files; its name says `1.0` and pure Python. */
async function wheel(name: string, files: Record<string, string>): Promise<Uint8Array> {
  const all = {
    ...files,
    [`${name}-1.0.dist-info/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n`,
    [`${name}-1.0.dist-info/WHEEL`]:
      "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    [`${name}-1.0.dist-info/RECORD`]: "",
  };
  const { success, stdout, stderr } = await new Deno.Command("/usr/bin/python3", {
    args: [
      "-c",
      "import io,json,sys,zipfile\nb=io.BytesIO()\nz=zipfile.ZipFile(b,'w')\n" +
      "[z.writestr(k,v) for k,v in json.loads(sys.argv[1]).items()]\nz.close()\n" +
      "sys.stdout.buffer.write(b.getvalue())",
      JSON.stringify(all),
    ],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return stdout;
}

/** pip comes with Debian's python3-pip-whl; the launcher finds it. */
function pipHere(message: string): boolean {
  if (!message.includes("no pip to install")) return true;
  console.log("skipped: no pip here (Debian package python3-pip-whl)");
  return false;
}

Deno.test("python S-12 installs uploaded wheels offline, without data, then runs with them", async () => {
  const greet = await wheel("greet", {
    "greet/__init__.py": "WORD = 'hello'\n",
    "greet.pth": "import os; os.system('touch /cocos/results/pth')\n",
    "sitecustomize.py": "open('/cocos/results/site', 'w')\n",
    "usercustomize.py": "open('/cocos/results/user', 'w')\n",
  });
  const digest = createHash("sha256").update(greet).digest("hex");
  for (const requirements of ["greet\n", `greet==1.0 \\\n --hash=sha256:${digest}\n`]) {
    const end = await runJob({
      kind: "python",
      algo: "import greet, sys\nprint(greet.WORD, sys.argv, sys.flags.isolated)\n" +
        "try: open('/opt/site/x', 'w')\nexcept OSError as e: print(e.errno)\n",
      args: ["a"],
      datasets: { "secret.csv": "secret" },
      requirements: { "requirements.txt": requirements, "greet-1.0-py3-none-any.whl": greet },
      limits: FAST,
    });
    if (!pipHere(end.finished.message)) return;
    assert.equal(end.finished.outcome, "ok", end.finished.message + end.stderr);
    assert.equal(end.stdout.split("\n").slice(-3).join("\n"), "hello ['/cocos/algo', 'a'] 1\n30\n");
    assert.equal(end.finished.usage.resultsFiles, 0);
    const phases = end.events.flatMap((event) => event.type === "started" ? [event.phase] : []);
    assert.deepEqual(phases, ["install", "run"]);
  }
});

Deno.test("python S-12 fails the run when a wheel is missing, altered or for another system", async () => {
  const greet = await wheel("greet", { "greet.py": "" });
  const cases: [string, string][] = [
    ["absent\n", "greet-1.0-py3-none-any.whl"],
    [`greet==1.0 --hash=sha256:${"0".repeat(64)}\n`, "greet-1.0-py3-none-any.whl"],
    ["greet\n", "greet-1.0-cp27-cp27m-win32.whl"],
    ["greet==2\n", "greet-1.0-py3-none-any.whl"],
  ];
  for (const [requirements, name] of cases) {
    const { finished } = await runJob({
      kind: "python",
      algo: "open('results/ran', 'w')\n",
      requirements: { "requirements.txt": requirements, [name]: greet },
      limits: FAST,
    });
    if (!pipHere(finished.message)) return;
    assert.equal(finished.outcome, "install-failed", requirements);
    assert.match(finished.message, /^Cannot install the requirements: exit status 1/);
  }
});

Deno.test("python S-12 never runs a source archive's build or setup", async () => {
  const sdist = await wheel("x", { "setup.py": "open('/opt/site/built', 'w')" });
  const { finished } = await runJob({
    kind: "python",
    algo: "",
    requirements: { "requirements.txt": "evil\n", "evil-1.0.tar.gz": sdist, "evil-1.0.zip": sdist },
    limits: FAST,
  });
  if (!pipHere(finished.message)) return;
  assert.equal(finished.outcome, "install-failed");
});

Deno.test("python S-12 refuses a hostile requirements file before anything runs", async () => {
  const refused = async (requirements: string | Uint8Array, pattern: RegExp) => {
    const end = await runJob({
      kind: "python",
      algo: "",
      requirements: { "requirements.txt": requirements },
      limits: FAST,
    });
    assert.equal(end.finished.outcome, "refused");
    assert.match(end.finished.message, pattern);
    assert.equal(end.events.length, 1);
  };
  await refused("numpy\n--index-url https://evil.example/\n", /^Requirements line 2 is an option/);
  await refused("-r /etc/passwd", /^Requirements line 1 is an option/);
  await refused("x @ https://evil.example/x.whl", /^Requirements line 1 names a URL/);
  await refused(new Uint8Array([0xff]), /isn't UTF-8/);
  await refused("a".repeat(300_000), /over 262144 bytes/);
  const { finished } = await runJob({ kind: "python", algo: "", requirements: {}, limits: FAST });
  assert.match(finished.message, /no requirements.txt/);
});

Deno.test("python runs at once when the requirements name nothing", async () => {
  const end = await runJob({
    kind: "python",
    algo: "print(1+1)",
    requirements: { "requirements.txt": "# nothing\n" },
    limits: FAST,
  });
  assert.deepEqual([end.finished.outcome, end.stdout], ["ok", "2\n"]);
});
