// The exact grants of each command, and a real run of each under them: everything used was granted,
// every grant was used, and nothing else can be reached.
import assert from "node:assert/strict";
import { zipEntries } from "../base/mod.ts";
import { generateKeys } from "../proto/mod.ts";
import { fakeAgent, fakeManager, inFolder } from "./_fakes.ts";
import { manifestOf, strictAgent } from "./_strict.ts";
import { parse } from "./program.ts";
import { rights } from "./rights.ts";

const of = (argv: string[], env: Record<string, string> = {}) =>
  rights(parse(argv), (name) => env[name], () => ["192.0.2.7", "2001:db8::7"]);

Deno.test("rights() grants a command the files it was given, and its peer", () => {
  const local = "--allow-net=localhost,127.0.0.1:7001,[::1]:7001";
  const kept = "/h/.cocos/computations";
  const cases: [string[], string[]][] = [
    [["--help"], []],
    [["version"], []],
    [["cvms", "-algo-path", "x"], []],
    [["keys"], [
      "--allow-read=private.pem,private.pem.part,public.pem,public.pem.part",
      "--allow-write=private.pem,private.pem.part,public.pem,public.pem.part",
    ]],
    [["--compat", "algo", "a", "k"], ["--allow-read=a,k", local]],
    [["--compat", "algo", "a", "k", "-r", "r", "--wheelhouse", "w"], [
      "--allow-read=a,k,r,w",
      local,
    ]],
    [["--compat", "data", "d", "k"], ["--allow-read=d,k", local]],
    [["--compat", "result", "k"], [
      "--allow-read=k,results.zip,results.zip.part",
      "--allow-write=results.zip,results.zip.part",
      local,
    ]],
    [["--compat", "result", "k", "-x", "o/"], [
      "--allow-read=k,o.zip,o.zip.part,o,o.part",
      "--allow-write=o.zip.part,o,o.part",
      local,
    ]],
    // The strict mode keeps what is approved and pinned.
    [["algo", "a", "k"], [`--allow-read=a,k,${kept}`, `--allow-write=${kept}`, local]],
    [["data", "d", "k", "--manifest", "m"], [
      `--allow-read=m,d,k,${kept}`,
      `--allow-write=${kept}`,
      local,
    ]],
    [["result", "k"], [
      `--allow-read=k,results.zip,${kept},results.zip.part`,
      `--allow-write=${kept},results.zip,results.zip.part`,
      local,
    ]],
    [["output", "k"], [`--allow-read=k,${kept}`, `--allow-write=${kept}`, local]],
    [["manifest", "show"], [local]],
    [["manifest", "show", "m"], ["--allow-read=m"]],
    [["manifest", "digest", "m"], ["--allow-read=m"]],
    [["manifest", "approve", "m"], [`--allow-read=m,${kept}`, `--allow-write=${kept}`]],
    [["manifest", "approve"], [`--allow-read=${kept}`, `--allow-write=${kept}`, local]],
    [["create-vm", "--server-url", "a:1", "--server-ca", "c"], ["--allow-read=c", local]],
    [["remove-vm", "7"], [local]],
    [["checksum", "f"], ["--allow-read=f"]],
  ];
  for (const [argv, flags] of cases) {
    assert.deepEqual(of(argv, { HOME: "/h/" }), flags, argv.join(" "));
  }
  // Without a usable HOME nothing is kept, and nothing granted for it.
  for (const HOME of ["", "relative", "/a,/etc", "/a\n/etc"]) {
    assert.deepEqual(of(["algo", "a", "k"], { HOME }), ["--allow-read=a,k", local]);
  }
});

Deno.test("rights() grants an address as it is, and a name with its addresses", () => {
  const net = (AGENT_GRPC_URL: string) => of(["result", "k"], { AGENT_GRPC_URL }).at(-1);
  assert.equal(net("192.0.2.1:6100"), "--allow-net=192.0.2.1:6100");
  assert.equal(net("[2001:db8::1]:6100"), "--allow-net=[2001:db8::1]:6100");
  assert.equal(
    net("cvm.example:6100"),
    "--allow-net=cvm.example,192.0.2.7:6100,[2001:db8::7]:6100",
  );
  assert.deepEqual(
    of(["remove-vm", "7"], {
      MANAGER_GRPC_URL: "192.0.2.1:7002",
      MANAGER_GRPC_SERVER_CA_CERTS: "ca",
      AGENT_GRPC_URL: "unused:1",
    }),
    ["--allow-read=ca", "--allow-net=192.0.2.1:7002"],
  );
});

Deno.test("rights() refuses what would widen a permission list", () => {
  assert.throws(() => of(["algo", "a,/etc", "k"]), /without comma/);
  assert.throws(() => of(["result", "k"], { AGENT_GRPC_URL: "a:1,b:2" }), /AGENT_GRPC_URL/);
  assert.throws(
    () => of(["result", "k"], { AGENT_GRPC_CLIENT_CERT: "a,/", AGENT_GRPC_CLIENT_KEY: "k" }),
    /AGENT_GRPC_CLIENT_CERT/,
  );
});

/** Deno's own cache, which does not follow the HOME of a test. */
const CACHE = Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;

const HERE = new URL(".", import.meta.url).pathname;

/** Runs the CLI as its launcher does, and lists the permissions it asked for. */
async function launched(dir: string, argv: string[], env: Record<string, string>) {
  const flags = rights(parse(argv), (name) => env[name], () => []);
  const audit = `${dir}/audit`;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-P", "--quiet", "--no-prompt", "--cached-only", ...flags, `${HERE}main.ts`]
      .concat(argv),
    env: { DENO_DIR: CACHE, ...env, DENO_AUDIT_PERMISSIONS: audit },
    cwd: dir,
  }).output();
  const lines = (await Deno.readTextFile(audit).catch(() => "")).trim().split("\n");
  await Deno.remove(audit).catch(() => {});
  const asked = lines.filter((line) => line !== "").map((line) => JSON.parse(line)) as {
    permission: string;
    value: string;
  }[];
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return { code, text, flags, asked };
}

Deno.test("cocos runs under exactly its rights, and uses each of them", async () => {
  const entry = { path: "", name: "r.txt", mode: 0o100644, mtime: new Date(0) };
  const parts = await Array.fromAsync(zipEntries([entry], async function* () {}));
  const result = Uint8Array.from(parts.flatMap((part) => [...part]));
  const { privatePem, publicPem } = await generateKeys("ed25519");
  const files = [{ name: "algo.py", bytes: "print(1)\n" }, {
    name: "d.csv",
    bytes: "1\n",
  }] as const;
  const agreement = await manifestOf(publicPem, files[0], [files[1]], (message) => {
    message.algorithm!.requirementsHash = message.algorithm!.hash;
    message.logReaders = ["consumers"];
  });
  await using old = await fakeAgent({ result: [result] });
  await using agent = await strictAgent({ agreement, publicPem, result });
  await using manager = await fakeManager();
  const compat = { AGENT_GRPC_URL: old.url, MANAGER_GRPC_URL: manager.url };
  const fixed = JSON.parse(await Deno.readTextFile(`${HERE}deno.json`)).permissions.default;
  assert.deepEqual(Object.keys(fixed), ["env"]);
  await inFolder(async (dir) => {
    const env = { ...compat, AGENT_GRPC_URL: agent.url, HOME: `${dir}/home` };
    const kept = `${dir}/home/.cocos/computations`;
    const usedOfKept = new Set<string>();
    await Deno.writeTextFile(`${dir}/k.pem`, privatePem);
    for (const { name, bytes } of files) await Deno.writeTextFile(`${dir}/${name}`, bytes);
    await Deno.mkdir(`${dir}/data`);
    await Deno.writeTextFile(`${dir}/data/d.csv`, "1\n");
    await Deno.writeTextFile(`${dir}/ca.pem`, "-----BEGIN CERTIFICATE-----\n");
    await Deno.writeTextFile(`${dir}/m.json`, agreement.text);
    for (
      const argv of [
        ["keys", "-k", "ed25519", "--dir", "data"],
        ["--compat", "algo", "algo.py", "k.pem", "-a", "python", "-r", "algo.py"],
        ["--compat", "data", "data", "k.pem"],
        ["--compat", "result", "k.pem"],
        ["--compat", "result", "k.pem", "--extract", "out"],
        ["manifest", "show"],
        ["manifest", "digest", "m.json"],
        ["manifest", "approve"],
        ["manifest", "approve", "m.json"],
        ["algo", "algo.py", "k.pem", "-r", "algo.py"],
        ["data", "d.csv", "k.pem"],
        ["output", "k.pem"],
        ["result", "k.pem", "strict.zip"],
        ["create-vm", "--server-url", "localhost:7001", "--server-ca", "ca.pem"],
        ["remove-vm", "7"],
        ["checksum", "data"],
        ["--help"],
      ]
    ) {
      const by = argv[0] === "--compat" ? compat : env;
      const { code, text, flags, asked } = await launched(dir, argv, by);
      assert.equal(code, 0, `${argv.join(" ")}: ${text}`);
      const used = (kind: string) =>
        asked.filter(({ permission }) => permission === kind).map(({ value }) => value ?? "");
      for (const kind of ["read", "write"]) {
        const granted = listed(flags, kind)
          .map((path) => path.startsWith("/") ? path : `${dir}/${path}`);
        const paths = used(kind).map((path) => path.startsWith("/") ? path : `${dir}/${path}`)
          .filter((path) => !path.startsWith(HERE.replace(/cli\/$/, "")));
        for (const path of paths) {
          assert.ok(
            granted.some((each) => path === each || path.startsWith(`${each}/`)),
            `${argv.join(" ")} asked to ${kind} ${path}`,
          );
        }
        for (const each of granted) {
          const touched = paths.some((path) => path === each || path.startsWith(`${each}/`));
          // Whether a party's command asks, approves or pins is only known when it runs.
          if (touched && each === kept) usedOfKept.add(kind);
          assert.ok(
            touched || each === kept,
            `${argv.join(" ")} never used its right to ${kind} ${each}`,
          );
        }
      }
      assert.deepEqual([...new Set(used("net"))], listed(flags, "net"), argv.join(" "));
      for (const kind of ["run", "ffi", "import"]) assert.deepEqual(used(kind), []);
    }
    assert.deepEqual([...usedOfKept].sort(), ["read", "write"]);
  });
});

Deno.test("cocos without the launcher's grants reaches neither file nor peer", async () => {
  await using agent = await fakeAgent();
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/k.pem`, (await generateKeys("ed25519")).privatePem);
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-P", "--quiet", "--no-prompt", "--cached-only", `${HERE}main.ts`]
        .concat(["--compat", "algo", "k.pem", "k.pem"]),
      env: { AGENT_GRPC_URL: agent.url },
      cwd: dir,
    }).output();
    assert.equal(code, 1);
    assert.match(new TextDecoder().decode(stderr), /Requires read access to "k\.pem"/);
    assert.deepEqual(agent.uploads, []);
  });
});

Deno.test("cocos that gets SIGINT or SIGTERM says so and exits with 130", async () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await inFolder(async (dir) => {
      await Deno.writeTextFile(`${dir}/k.pem`, (await generateKeys("ed25519")).privatePem);
      const started = Promise.withResolvers<void>();
      await using agent = await fakeAgent({
        result: [new Uint8Array(10)],
        beforeEnd: (call) => {
          started.resolve();
          return new Promise((gone) => call.signal.addEventListener("abort", () => gone()));
        },
      });
      const argv = ["--compat", "result", "k.pem"];
      const env = { AGENT_GRPC_URL: agent.url };
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-P", "--quiet", "--no-prompt", "--cached-only"].concat(
          rights(parse(argv), (name) => env[name as "AGENT_GRPC_URL"], () => []),
          `${HERE}main.ts`,
          argv,
        ),
        env,
        cwd: dir,
        stderr: "piped",
        stdout: "piped",
      }).spawn();
      await started.promise;
      child.kill(signal);
      const { code, stderr } = await child.output();
      assert.equal(code, 130);
      assert.match(new TextDecoder().decode(stderr), /Operation aborted by user!\n$/);
      const names = (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
      assert.deepEqual(names, ["k.pem"]);
    });
  }
});

function listed(flags: readonly string[], kind: string): string[] {
  const prefix = `--allow-${kind}=`;
  return flags.find((flag) => flag.startsWith(prefix))?.slice(prefix.length).split(",") ?? [];
}
