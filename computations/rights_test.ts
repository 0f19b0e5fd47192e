// The whole process under exactly its rights: its first lines, an agent's manifest, its end.
import assert from "node:assert/strict";
import { parsePlan } from "../agreement/mod.ts";
import { hex } from "../base/mod.ts";
import { checkHealth, digestOfCanonical } from "../proto/mod.ts";
import { readInvocation, readPlan } from "./config.ts";
import { dial, inFolder } from "./_testbed.ts";
import { rights } from "./rights.ts";

const HERE = new URL(".", import.meta.url).pathname;

function flagsOf(argv: string[], env: Record<string, string>, json?: string): string[] {
  const invocation = readInvocation(argv, (name) => env[name]);
  assert.ok(invocation.command === "serve");
  const plan = json === undefined ? undefined : parsePlan(json, "dir/");
  return rights(invocation, plan, () => ["192.0.2.9"]);
}

Deno.test("rights() grants the files of the computation and the listening address", () => {
  const json = JSON.stringify({
    algorithm: { file: "a", key: "k" },
    datasets: [{ file: "/d", key: "k" }, { hash: "00".repeat(32), key: "k2" }],
    consumers: ["c"],
    agent: { cert_file: "cert", key_file: "cvm:/etc/key" },
  });
  const env = { COMPUTATIONS_SERVER_CERT: "sc", COMPUTATIONS_SERVER_KEY: "sk" };
  assert.deepEqual(flagsOf(["--file", "dir/c.json"], env, json), [
    "--allow-read=dir/c.json,dir/a,dir/k,/d,dir/k2,dir/c,dir/cert,sc,sk",
    "--allow-net=localhost:7001,127.0.0.1:7001,[::1]:7001",
  ]);
  const cvms = ["cvms", "-algo-path", "a", "-public-key-path", "k", "-attested-tls-bool", "0"];
  assert.deepEqual(flagsOf(cvms, { HOST: "192.0.2.1", PORT: "7" }), ["--allow-net=192.0.2.1:7"]);
  assert.deepEqual(flagsOf(cvms, { HOST: "host.example", PORT: "7" }), [
    "--allow-net=host.example:7,192.0.2.9:7",
  ]);
});

Deno.test("rights() for a printed manifest has no network, and one file to write if it is asked for", () => {
  const of = (argv: string[]) => {
    const invocation = readInvocation(argv, () => undefined);
    assert.ok(invocation.command === "serve" || invocation.command === "print");
    return rights(invocation, undefined, () => []);
  };
  assert.deepEqual(of(["--file", "c.json", "--print-manifest"]), ["--allow-read=c.json"]);
  assert.deepEqual(of(["--file", "c.json", "--manifest-out", "m.json", "--host", "192.0.2.1"]), [
    "--allow-read=c.json",
    "--allow-write=m.json",
    "--allow-net=192.0.2.1:7001",
  ]);
});

Deno.test("rights() refuses a path that would widen the list", () => {
  assert.throws(() => flagsOf(["--file", "a,/"], {}), /without comma/);
});

/** A port on loopback that is free just now. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

interface Running {
  readonly child: Deno.ChildProcess;
  /** Lines of stdout as they come. */
  readonly lines: AsyncIterator<string>;
}

async function start(
  dir: string,
  argv: string[],
  env: Record<string, string>,
): Promise<Running> {
  const invocation = readInvocation(argv, (name) => env[name]);
  assert.ok(invocation.command === "serve");
  const plan = await readPlan(invocation.origin).catch(() => undefined);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-P", "--quiet", "--no-prompt", "--cached-only"].concat(
      rights(invocation, plan, () => []),
      `${HERE}main.ts`,
      argv,
    ),
    env: { ...env, DENO_AUDIT_PERMISSIONS: `${dir}/audit` },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  async function* lines() {
    let rest = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      yield* parts;
    }
  }
  return { child, lines: lines() };
}

Deno.test("cocos-computations cvms runs under exactly its rights, until SIGTERM", async () => {
  await inFolder(async (dir) => {
    const port = freePort();
    const argv = ["cvms", "-algo-path", `${dir}/algo.py`, "-public-key-path", `${dir}/pub.pem`]
      .concat("-attested-tls-bool", "false", "-data-paths", `${dir}/a.csv,${dir}/d`)
      .concat("-manifest-out", `${dir}/manifest.json`);
    const { child, lines } = await start(dir, argv, { HOST: "127.0.0.1", PORT: String(port) });
    const first = JSON.parse((await lines.next()).value);
    assert.equal(
      first.msg,
      `cvms_test_server service gRPC server listening at 127.0.0.1:${port} without TLS`,
    );
    assert.deepEqual(Object.keys(first), ["time", "level", "msg"]);
    const computation = JSON.parse((await lines.next()).value);
    assert.deepEqual([computation.msg, computation.channel], ["computation", "insecure"]);
    assert.match(JSON.parse((await lines.next()).value).msg, /^channel insecure: /);
    const canonical = await Deno.readFile(`${dir}/manifest.json`);
    assert.equal(computation.manifest_digest, hex(digestOfCanonical(canonical)));
    const target = { host: "127.0.0.1", port };
    assert.ok(
      await checkHealth({
        target,
        security: { kind: "none" },
        service: "cvms_test_server",
        timeoutMs: 5_000,
      }),
    );
    await using agent = dial(port);
    assert.equal((await agent.next())?.case, "runReqChunks");
    child.kill("SIGTERM");
    let last = "";
    for (let next = await lines.next(); next.done !== true; next = await lines.next()) {
      last = next.value;
    }
    assert.equal(JSON.parse(last).msg, "computations stopped");
    const { code } = await child.status;
    await child.stderr.cancel();
    assert.equal(code, 0);
    const asked = (await Deno.readTextFile(`${dir}/audit`)).trim().split("\n")
      .map((line) => JSON.parse(line) as { permission: string; value: string });
    const used = (
      kind: string,
    ) => [...new Set(asked.filter((each) => each.permission === kind).map((each) => each.value))];
    assert.deepEqual(used("net"), [`127.0.0.1:${port}`]);
    const repository = HERE.replace(/computations\/$/, "");
    const files = used("read").filter((path) => !path.startsWith(repository));
    assert.deepEqual(files.filter((path) => !path.startsWith(`${dir}/d/`)).sort(), [
      `${dir}/a.csv`,
      `${dir}/algo.py`,
      `${dir}/d`,
      `${dir}/pub.pem`,
    ]);
    assert.deepEqual(used("write"), [`${dir}/manifest.json`]);
    for (const kind of ["run", "ffi", "import"]) assert.deepEqual(used(kind), []);
  });
});

Deno.test("cocos-computations that can't start says why, with an exit code", async () => {
  await inFolder(async (dir) => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const env = { HOST: "127.0.0.1", PORT: String(taken.addr.port) };
    const argv = (
      key: string,
    ) => [
      "cvms",
      "-algo-path",
      `${dir}/algo.py`,
      "-public-key-path",
      key,
      "-attested-tls-bool",
      "f",
    ];
    const cases: [string[], Record<string, string>, number, RegExp][] = [
      [
        argv(`${dir}/pub.pem`),
        env,
        1,
        /Cannot listen on 127\.0\.0\.1:\d+: .*\nhint: Choose a free/,
      ],
      [argv(`${dir}/none`), env, 1, /algorithm\.key: no such file/],
      [["--file", `${dir}/none.json`], {}, 3, /Cannot read the computation/],
      [
        argv(`${dir}/pub.pem`),
        { ...env, SERVER_CERT: `${dir}/algo.py`, SERVER_KEY: `${dir}/algo.py` },
        2,
        /Cannot serve TLS/,
      ],
    ];
    for (const [words, variables, code, message] of cases) {
      const { child, lines } = await start(dir, words, variables);
      assert.equal((await lines.next()).done, true, words.join(" "));
      const stderr = await new Response(child.stderr).text();
      assert.match(stderr, message);
      assert.match(stderr, /^cocos-computations: /);
      assert.equal((await child.status).code, code, stderr);
    }
  });
});
