import assert from "node:assert/strict";
import { ROLES } from "../proto/mod.ts";
import { FakeManagement, FakeRunner, finished, freePort, uploadOf } from "./_fakes.ts";
import type { Connection } from "./_management.ts";
import { Caller, strictRun } from "./_strict.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { AgentProcess } from "./_process.ts";
import { type AgentConfig, readCommand, VARIABLES } from "./config.ts";
import { nameToResolve, rights } from "./rights.ts";

function config(argv: string[] = [], env: Record<string, string> = {}): AgentConfig {
  const command = readCommand(argv, (name) => env[name]);
  assert.equal(command.kind, "start");
  return (command as { config: AgentConfig }).config;
}

const GUEST = ["--work", "/w", "--runner", "/r.sock"];

Deno.test("rights() of a guest: one port, one server, the work area, its settings, no variable", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "AGENT_CVM_GRPC_URL=10.0.2.2:7001\n");
    assert.deepEqual(rights(config([...GUEST, "--config", file, "--certs", "/etc/certs"])), [
      "--allow-net=0.0.0.0:7002,10.0.2.2:7001,unix:/r.sock",
      `--allow-read=/w,/r.sock,${file},/etc/certs`,
      "--allow-write=/w,/r.sock",
      "--ignore-env",
    ]);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("rights() of a host: certificate files, and the variables by name", () => {
  const flags = rights(config(GUEST, {
    AGENT_GRPC_HOST: "localhost",
    AGENT_GRPC_PORT: "7100",
    AGENT_CVM_GRPC_URL: "[fd00::1]:7001",
    AGENT_CVM_GRPC_CLIENT_CERT: "/c/cert.pem",
    AGENT_CVM_GRPC_CLIENT_KEY: "/c/key.pem",
    AGENT_CVM_GRPC_SERVER_CA_CERTS: "/c/ca.pem",
  }));
  assert.deepEqual(flags, [
    "--allow-net=127.0.0.1:7100,[fd00::1]:7001,unix:/r.sock",
    "--allow-read=/w,/r.sock,/c/cert.pem,/c/key.pem,/c/ca.pem",
    "--allow-write=/w,/r.sock",
    "--ignore-env",
    `--allow-env=${VARIABLES.join(",")}`,
  ]);
});

Deno.test("rights() grants a name with the addresses it has, and refuses one without", () => {
  const env = { AGENT_CVM_GRPC_URL: "cvms.example:7001" };
  assert.throws(() => rights(config(GUEST, env)), { code: "invalid-config" });
  assert.equal(nameToResolve(config(GUEST, env)), "cvms.example");
  const [net] = rights(config([...GUEST, "--address", "192.0.2.7", "--address", "fd00::7"], env));
  assert.equal(
    net,
    "--allow-net=0.0.0.0:7002,cvms.example,192.0.2.7:7001,[fd00::7]:7001,unix:/r.sock",
  );
  assert.equal(nameToResolve(config(GUEST)), undefined);
  assert.equal(nameToResolve(config(GUEST, { AGENT_CVM_GRPC_URL: "192.0.2.7:1" })), undefined);
});

Deno.test("L-2 rights() gives no right without a list and none to run, ffi, sys or everything", () => {
  for (const flag of rights(config(GUEST))) {
    assert.match(flag, /^(--allow-(net|read|write|env)=[^,\s]+(,[^,\s]+)*|--ignore-env)$/);
    assert.doesNotMatch(flag, /=(\/|\*)(,|$)/);
  }
  assert.throws(() => rights(config(["--work", "/a b", "--runner", "/r"])), {
    code: "invalid-config",
  });
});

const owner = await party();
const algorithm = bytes("#!/bin/sh\n");

/** A whole computation on the seed-era wire. */
async function compatibly(agent: AgentProcess, server: Connection): Promise<void> {
  server.manifest(runOf(owner, algorithm));
  await server.until("runRes 1 ");
  await using client = agent.client();
  await client.algo(uploadOf(algorithm, (chunk) => ({ algorithm: chunk })), {
    metadata: owner.sign(ROLES.algorithm),
  });
  await server.until("event ConsumingResults/Ready");
  for await (const _ of client.result({}, { metadata: owner.sign(ROLES.consumer) }).messages);
}

/** A whole computation in strict, over TLS with a key made inside. */
async function strictly(agent: AgentProcess, server: Connection): Promise<void> {
  server.manifest(strictRun(owner, algorithm, [], { channel: "tls" }));
  await server.until("runRes");
  await using caller = new Caller(agent.port, { kind: "pinned", check: () => {} });
  await caller.algo(owner, algorithm);
  await server.until("event ConsumingResults/Ready");
  await caller.acknowledge(owner, await caller.result(owner));
}

for (const mode of ["strict", "compat"] as const) {
  Deno.test(`L-2 the process runs a whole ${mode} computation with exactly these rights, and uses each kind`, async () => {
    const folder = await Deno.makeTempDir();
    const work = `${folder}/work`;
    Deno.mkdirSync(work, { mode: 0o700 });
    const audit = `${folder}/audit`;
    const port = freePort();
    {
      await using management = await FakeManagement.start();
      await using runner = new FakeRunner(
        `${folder}/r.sock`,
        work,
        () => Promise.resolve(finished("ok")),
      );
      await using agent = new AgentProcess({
        work,
        runner: runner.socket,
        server: management.port,
        port,
        audit,
        mode,
      });
      const server = await agent.connected(management);
      await (mode === "strict" ? strictly : compatibly)(agent, server);
      await server.until("event Complete/Completed");
      assert.equal(await agent.end("SIGTERM"), 0);
      const asked = (await Deno.readTextFile(audit)).trim().split("\n")
        .map((line) => JSON.parse(line) as { permission: string; value: string | null });
      const used = (permission: string) =>
        new Set(
          asked.filter((each) => each.permission === permission).map(({ value }) => value ?? ""),
        );
      assert.deepEqual(
        [...used("net")].sort(),
        [`127.0.0.1:${management.port}`, `127.0.0.1:${port}`, `unix:${folder}/r.sock`].sort(),
      );
      for (const kind of ["read", "write"]) {
        const paths = [...used(kind)];
        assert.ok(paths.some((path) => path.includes("/work")), kind);
        const beyond = paths.filter((path) => !path.includes(`${folder}/`));
        assert.deepEqual(beyond, [], kind);
      }
      for (const kind of ["run", "ffi", "sys", "import"]) {
        assert.deepEqual([...used(kind)], [], kind);
      }
      for (const name of VARIABLES) assert.ok(used("env").has(name), name);
    }
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test("rights.ts asks its launcher for the addresses of a name, and prints flags once it has them", async () => {
  const script = new URL("./rights.ts", import.meta.url).pathname;
  const ask = async (...argv: string[]) => {
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--no-check", "--ignore-env", "--allow-env=AGENT_*"]
        .concat(script, ["--compat", "--work", "/w", "--runner", "/r", ...argv]),
      env: { AGENT_CVM_GRPC_URL: "cvms.example:7001" },
    }).output();
    assert.equal(code, 0);
    return new TextDecoder().decode(stdout).trim().split("\n");
  };
  assert.deepEqual(await ask(), ["resolve cvms.example"]);
  const flags = await ask("--address", "192.0.2.7");
  assert.ok(flags[0]?.includes(",cvms.example,192.0.2.7:7001,"), flags[0]);
  assert.equal(flags.length, 5);
});

Deno.test("the process ends with code 2 and every mistake on wrong settings, with 0 on --help", async () => {
  const main = new URL("./main.ts", import.meta.url).pathname;
  const start = async (argv: string[], env: Record<string, string>) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        "--no-check",
        "--ignore-env",
        "--allow-env=AGENT_*",
        main,
        ...argv,
      ],
      env,
    }).output();
    return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
  };
  const wrong = await start([], { AGENT_VMPL: "7", AGENT_CVM_GRPC_URL: "http://x" });
  assert.equal(wrong.code, 2);
  assert.match(
    wrong.err,
    /^cocos-agent: Cannot start: 2 setting\(s\) are wrong:\n {2}AGENT_VMPL: /,
  );
  assert.match(wrong.err, /\n {2}AGENT_CVM_GRPC_URL: .*\nhint: /);
  const help = await start(["--help"], {});
  assert.equal(help.code, 0);
  assert.match(help.out, /^Usage: cocos-agent/);
  const version = await start(["--version"], {});
  assert.match(version.out, /^cocos-agent \d+\.\d+\.\d+\n$/);
});
