import assert from "node:assert/strict";
import fc from "fast-check";
import { CocosError } from "../base/mod.ts";
import { type AgentConfig, readCommand, VARIABLES } from "./config.ts";

function start(env: Record<string, string> = {}, argv: string[] = []): AgentConfig {
  const command = readCommand(argv, (name) => env[name]);
  assert.equal(command.kind, "start");
  return (command as { config: AgentConfig }).config;
}

function refusal(env: Record<string, string>, argv: string[] = []): CocosError {
  try {
    start(env, argv);
  } catch (error) {
    assert.ok(error instanceof CocosError && error.code === "invalid-config", String(error));
    return error;
  }
  return assert.fail(`taken: ${JSON.stringify(env)}`);
}

Deno.test("readCommand() has the defaults of the seed's table", () => {
  const { vars, grantedPort, runner, work, mode } = start();
  assert.equal(vars.AGENT_CVM_ID, undefined);
  assert.equal(vars.AGENT_LOG_LEVEL, "debug");
  assert.equal(vars.AGENT_VMPL, 2);
  assert.deepEqual(vars.AGENT_CVM_GRPC_URL, { host: "localhost", port: 7001 });
  assert.equal(vars.AGENT_CVM_GRPC_TIMEOUT, 60_000);
  assert.equal(vars.AGENT_GRPC_HOST, "0.0.0.0");
  assert.equal(vars.AGENT_MAA_URL.href, "https://sharedeus2.eus2.attest.azure.net/");
  assert.equal(vars.AGENT_OS_BUILD, "UVC");
  assert.equal(vars.AGENT_OS_DISTRO, "UVC");
  assert.equal(vars.AGENT_OS_TYPE, "UVC");
  assert.equal(grantedPort, 7002);
  assert.deepEqual([runner, work, mode], ["/run/cocos/runner.sock", "/cocos/work", "strict"]);
});

Deno.test("readCommand() lists every mistake at once", () => {
  const { message, hint } = refusal({
    AGENT_VMPL: "4",
    AGENT_LOG_LEVEL: "loud",
    AGENT_CVM_GRPC_CLIENT_CERT: "/c.pem",
    AGENT_GRPC_PORT: "0",
  }, ["--work", "relative"]);
  assert.match(message, /5 setting\(s\)/);
  assert.match(message, /AGENT_VMPL: vmpl level must be in a range \[0, 3\]/);
  for (
    const name of ["AGENT_LOG_LEVEL", "AGENT_CVM_GRPC_CLIENT_KEY", "AGENT_GRPC_PORT", "--work"]
  ) {
    assert.match(message, new RegExp(name));
  }
  assert.ok(hint);
});

Deno.test("H-4 readCommand() refuses ids, URLs, hosts and ports outside their grammar", () => {
  const bad: [string, string][] = [
    ["AGENT_CVM_ID", "a b"],
    ["AGENT_CVM_ID", "x".repeat(65)],
    ["AGENT_CVM_ID", "../x"],
    ["AGENT_CVM_GRPC_URL", "http://host:1"],
    ["AGENT_CVM_GRPC_URL", "user@host:1"],
    ["AGENT_CVM_GRPC_URL", "host:1,evil"],
    ["AGENT_CVM_GRPC_URL", "[fe80::1%eth0]:1"],
    ["AGENT_CVM_GRPC_URL", "host:70000"],
    ["AGENT_CVM_GRPC_URL", "host:1\r\nx: y"],
    ["AGENT_CVM_CA_URL", "ftp://ca"],
    ["AGENT_CVM_CA_URL", "https://user:pw@ca/"],
    ["AGENT_MAA_URL", "http://maa"],
    ["AGENT_MAA_URL", "javascript:1"],
    ["AGENT_GRPC_HOST", "evil.example,x"],
    ["AGENT_GRPC_PORT", "7002;reboot"],
    ["AGENT_CVM_GRPC_SERVER_CA_CERTS", "/a,/etc"],
    ["AGENT_CERTS_TOKEN", "a\nb"],
    ["AGENT_OS_TYPE", "$(id)"],
    ["AGENT_MAX_UPLOAD_BYTES", "-1"],
  ];
  for (const [name, value] of bad) {
    assert.match(refusal({ [name]: value }).message, new RegExp(name));
  }
});

Deno.test("H-4 readCommand(): no value with shell or control characters passes in any variable", () => {
  const hostile = fc.tuple(
    fc.constantFrom(...VARIABLES),
    fc.string({ maxLength: 12 }),
    fc.constantFrom("\n", "\0", "\r", "\x1b", "\x7f"),
    fc.string({ maxLength: 12 }),
  );
  fc.assert(fc.property(hostile, ([name, head, poison, tail]) => {
    refusal({ [name]: head + poison + tail });
  }));
});

Deno.test("readCommand() takes --help, --version and refuses unknown flags", () => {
  assert.equal(readCommand(["--help"], () => undefined).kind, "help");
  assert.equal(readCommand(["--version"], () => undefined).kind, "version");
  refusal({}, ["--insecure"]);
  refusal({}, ["stray"]);
  refusal({}, ["--address", "evil,0.0.0.0"]);
});

async function withFile(content: string | Uint8Array, use: (path: string) => void) {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(
      path,
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    );
    use(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("H-1 --config takes listed keys only; nothing else reaches a setting", async () => {
  const hostile = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "DENO_DIR",
    "DENO_TLS_CA_STORE",
    "DENO_CERT",
    "DENO_V8_FLAGS",
    "DENO_NO_PROMPT",
    "DENO_PERMISSION_BROKER_PATH",
    "NODE_OPTIONS",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "GRPC_TRACE",
    "GRPC_VERBOSITY",
    "PATH",
    "BASH_ENV",
    "ENV",
    "IFS",
    "HOME",
    "TMPDIR",
    "TZ",
    "LANG",
    "LC_ALL",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "GODEBUG",
    "MALLOC_CONF",
    "OTEL_DENO",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "RES_OPTIONS",
    "HOSTALIASES",
    "AWS_SECRET_ACCESS_KEY",
    "AGENT_MODE",
    "AGENT_COMPAT",
    "AGENT_WORK",
    "AGENT_RUNNER",
  ];
  assert.ok(hostile.length >= 40);
  await withFile(
    [...hostile.map((key) => `${key}=/evil`), "AGENT_VMPL=1", ""].join("\n"),
    (path) => {
      const config = start({ AGENT_VMPL: "3" }, ["--config", path]);
      assert.equal(config.vars.AGENT_VMPL, 1);
      assert.deepEqual([...config.ignored].sort(), [...hostile].sort());
      assert.doesNotMatch(JSON.stringify({ ...config, ignored: [] }), /evil/);
    },
  );
});

Deno.test("H-1 --config refuses duplicates, NUL, control characters, bad keys and size", async () => {
  const bad: (string | Uint8Array)[] = [
    "AGENT_VMPL=1\nAGENT_VMPL=1\n",
    "AGENT_CVM_ID=a\0b\n",
    "AGENT_CVM_ID=a\rb\n",
    "agent_vmpl=1\n",
    "AGENT_VMPL\n",
    "export AGENT_VMPL=1\n",
    new Uint8Array([0x41, 0x3d, 0xff, 0x0a]),
    `AGENT_CERTS_TOKEN=${"x".repeat(70_000)}\n`,
    "AGENT_VMPL=9\n",
  ];
  for (const content of bad) await withFile(content, (path) => refusal({}, ["--config", path]));
});

Deno.test("H-2 --config refuses links, folders, pipes and files that are not there", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${dir}/real`, "AGENT_VMPL=1\n");
    await Deno.symlink(`${dir}/real`, `${dir}/link`);
    start({}, ["--config", `${dir}/real`]);
    for (const name of ["link", "absent", "."]) refusal({}, ["--config", `${dir}/${name}`]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
