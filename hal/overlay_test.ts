// The guest's shell functions against a hostile host, run under the shells this machine has.
import assert from "node:assert/strict";

const OVERLAY = `${import.meta.dirname}/overlay`;
const GUEST = `${OVERLAY}/cocos/lib/guest.sh`;
const SCRATCH = `${import.meta.dirname}/../.cache/hal`;
await Deno.mkdir(SCRATCH, { recursive: true });

/** The guest's own shell where there is one here, and this machine's /bin/sh. */
const SHELLS: [string, string[]][] = [["sh", []], ["busybox", ["sh"]]];

interface Answer {
  readonly code: number;
  readonly out: string;
}

/** Calls a function of guest.sh; `before` is shell text that replaces what only the guest has. */
async function call(args: readonly string[], before = ":"): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const [program, first] of SHELLS) {
    try {
      const { code, stdout } = await new Deno.Command(program, {
        args: [...first, "-c", `. "$1"; shift; ${before}; "$@"`, "guest", GUEST, ...args],
        stderr: "null",
      }).output();
      answers.push({ code, out: new TextDecoder().decode(stdout) });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      console.log(`skipped: ${program} is not on this machine`);
    }
  }
  assert.ok(answers.length > 0);
  return answers;
}

/** Runs `body` with a scratch folder of its own. */
async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.realPath(await Deno.makeTempDir({ dir: SCRATCH, prefix: "guest-" }));
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function settings(text: string | Uint8Array): Promise<Answer[]> {
  let answers: Answer[] = [];
  await inFolder(async (folder) => {
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    await Deno.writeFile(`${folder}/environment`, bytes);
    answers = await call(["allowed_settings", `${folder}/environment`]);
  });
  return answers;
}

const ALLOWED = [
  "AGENT_CERTS_TOKEN",
  "AGENT_CVM_CA_URL",
  "AGENT_CVM_GRPC_CLIENT_CERT",
  "AGENT_CVM_GRPC_CLIENT_KEY",
  "AGENT_CVM_GRPC_SERVER_CA_CERTS",
  "AGENT_CVM_GRPC_TIMEOUT",
  "AGENT_CVM_GRPC_URL",
  "AGENT_CVM_ID",
  "AGENT_LOG_LEVEL",
  "AGENT_MAA_URL",
  "AGENT_MAX_UPLOAD_BYTES",
  "AGENT_OS_BUILD",
  "AGENT_OS_DISTRO",
  "AGENT_OS_TYPE",
  "AGENT_VMPL",
];

/** Keys a host may try; none of them is a setting of the agent. */
const FORBIDDEN = [
  ...["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_DEBUG", "GLIBC_TUNABLES", "GCONV_PATH"],
  ...["DENO_DIR", "DENO_V8_FLAGS", "DENO_CERT", "DENO_TLS_CA_STORE", "DENO_NO_PROMPT"],
  ...["DENO_AUDIT_PERMISSIONS", "DENO_PERMISSION_BROKER_PATH", "DENO_SERVE_ADDRESS"],
  ...["NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "NODE_PATH", "NPM_CONFIG_REGISTRY"],
  ...["SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF", "SSLKEYLOGFILE"],
  ...["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "no_proxy", "ALL_PROXY", "grpc_proxy"],
  ...["PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV", "PS4", "PWD", "TMPDIR"],
  ...["TZ", "LANG", "LC_ALL", "LOCPATH", "HOSTALIASES", "RES_OPTIONS", "GRPC_TRACE"],
  ...["PYTHONPATH", "PYTHONSTARTUP", "OTEL_DENO", "AGENT_MODE", "AGENT_COMPAT", "AGENT_WORK"],
  ...["AGENT_GRPC_HOST", "AGENT_GRPC_PORT"],
  ...[
    "agent_cvm_id",
    "AGENT_CVM_ID ",
    " AGENT_CVM_ID",
    "AGENT_CVM_ID AGENT_VMPL",
    "export AGENT_VMPL",
  ],
  ...["AGENT_CVM_ID2", "AGENT_", "AGENT_CVM_*", "*", "$(id)", "`id`", "#AGENT_VMPL", ""],
];

Deno.test("allowed_settings() H-1 lets the agent's settings pass and nothing else", async () => {
  assert.ok(FORBIDDEN.length >= 40);
  for (const { code, out } of await settings(ALLOWED.map((key) => `${key}=value\n`).join(""))) {
    assert.equal(code, 0);
    assert.equal(out, ALLOWED.map((key) => `${key}=value\n`).join(""));
  }
  const hostile = FORBIDDEN.map((key) => `${key}=value`).join("\n");
  for (const { code, out } of await settings(`${hostile}\nAGENT_VMPL=1\nno equals sign`)) {
    assert.equal(code, 0);
    assert.equal(out, "AGENT_VMPL=1\n");
  }
});

Deno.test("allowed_settings() H-1 H-4 evaluates nothing of a value", async () => {
  await inFolder(async (folder) => {
    const text =
      `AGENT_CVM_ID=$(touch ${folder}/a)\`touch ${folder}/b\`; touch ${folder}/c "'\\n%s=x\n`;
    await Deno.writeTextFile(`${folder}/environment`, text);
    for (const { out } of await call(["allowed_settings", `${folder}/environment`])) {
      assert.equal(out, text);
    }
    const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
    assert.deepEqual(names, ["environment"]);
  });
});

Deno.test("allowed_settings() H-1 refuses the file for bytes that are not printable", async () => {
  for (const code of [0, 1, 8, 9, 11, 13, 27, 127, 128, 0xc3, 0xff]) {
    const bytes = new TextEncoder().encode("AGENT_VMPL=1\nAGENT_CVM_ID=a?b\n");
    bytes[bytes.indexOf(63)] = code;
    for (const answer of await settings(bytes)) assert.notEqual(answer.code, 0, `byte ${code}`);
  }
});

Deno.test("allowed_settings() H-1 refuses a setting twice, also with an equal value", async () => {
  for (const { code } of await settings("AGENT_VMPL=1\nAGENT_VMPL=1\n")) assert.notEqual(code, 0);
  for (const { code } of await settings("LD_PRELOAD=1\nLD_PRELOAD=1\n")) assert.equal(code, 0);
});

Deno.test("allowed_settings() H-1 refuses a line over 4,096 characters", async () => {
  const line = (length: number) => `AGENT_CERTS_TOKEN=${"x".repeat(length - 18)}`;
  for (const { code } of await settings(line(4096))) assert.equal(code, 0);
  for (const { code } of await settings(line(4097))) assert.notEqual(code, 0);
});

Deno.test("take() H-2 copies a regular file and refuses links, folders and too many bytes", async () => {
  await inFolder(async (folder) => {
    const path = (name: string) => `${folder}/${name}`;
    await Deno.writeTextFile(path("plain"), "hello");
    await Deno.writeFile(path("full"), new Uint8Array(65536));
    await Deno.writeFile(path("over"), new Uint8Array(65537));
    await Deno.mkdir(path("folder"));
    await new Deno.Command("ln", { args: ["-s", path("plain"), path("link")] }).output();
    await new Deno.Command("ln", { args: ["-s", folder, path("way")] }).output();
    await new Deno.Command("mkfifo", { args: [path("fifo")] }).output();
    for (const { code } of await call(["take", path("plain"), path("copy")])) assert.equal(code, 0);
    assert.equal(await Deno.readTextFile(path("copy")), "hello");
    for (const { code } of await call(["take", path("full"), path("copy")])) assert.equal(code, 0);
    for (const name of ["over", "folder", "link", "fifo", "absent", "way/plain"]) {
      for (const { code } of await call(["take", path(name), path("refused")])) {
        assert.notEqual(code, 0, name);
      }
    }
    for (const { code } of await call(["take", path("over"), path("refused")])) {
      assert.notEqual(code, 0);
      assert.ok(await Deno.lstat(path("refused")).then(() => false, () => true));
    }
  });
});

const RESOLVER = "addresses_of() { case $1 in server.test) echo 192.0.2.7; echo 192.0.2.8 ;; " +
  "self.test) echo 127.0.0.1 ;; mixed.test) echo 127.0.0.1; echo 192.0.2.9; echo ::1 ;; " +
  "evil.test) echo '192.0.2.1,0.0.0.0' ;; esac; }";

Deno.test("net_grant() H-4 H-6 grants an address, or a name with its present addresses", async () => {
  for (
    const [url, grant] of [
      ["10.0.2.2:7001", "10.0.2.2:7001"],
      ["server.test:7001", "server.test,192.0.2.7:7001,192.0.2.8:7001"],
      ["mixed.test:65535", "mixed.test,192.0.2.9:65535"],
    ] as const
  ) {
    for (const { code, out } of await call(["net_grant", url], RESOLVER)) {
      assert.equal(out, `${grant}\n`);
      assert.equal(code, 0);
    }
  }
});

Deno.test("net_grant() H-4 H-6 refuses everything that is not the host:port of a server", async () => {
  const refused = [
    ...["", ":", "server.test", "server.test:", ":7001", "server.test:0", "server.test:07001"],
    ...["server.test:65536", "server.test:100000", "server.test:99999999999999999999", "a:b"],
    ...["server.test:7001,0.0.0.0", "server.test:7001 ", "server.test:7001\n", "a b:1", "a,b:1"],
    ...["http://server.test:7001", "user@server.test:7001", "server.test:7001/x", "[::1]:7001"],
    ...["fe80::1%eth0:7001", "::1:7001", "unix:/run/x", "*:7001", "$(id):7001", "`id`:7001"],
    ...["-x:7001", "--allow-all:1", ".test:7001", "server.test.:7001", "evil.test:7001"],
    ...["localhost:7001", "self.test:7001", "unknown.test:7001", "127.0.0.1:7001", "127.1:7001"],
    ...["0.0.0.0:7001", "0:7001", "2130706433:7001", "0x7f.0.0.1:7001", "0x7f000001:7001"],
    ...["010.0.2.2:7001", "10.0.2:7001", "10.0.2.2.2:7001", "10.0.2.256:7001", "10..2.2:7001"],
    ...["169.254.169.254:80", "224.0.0.1:7001", "255.255.255.255:7001", `${"a".repeat(254)}:7001`],
  ];
  for (const url of refused) {
    for (const { code, out } of await call(["net_grant", url], RESOLVER)) {
      assert.equal(out, "", url);
      assert.notEqual(code, 0, url);
    }
  }
});

Deno.test("flags_of() adds the server to the network list and to nothing else", async () => {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(
      `${folder}/agent.flags`,
      "--allow-net=0.0.0.0:7002\n--allow-read=/a\n",
    );
    const text = await Deno.readTextFile(GUEST);
    await Deno.writeTextFile(
      `${folder}/guest.sh`,
      text.replaceAll("/cocos/lib/$1", `${folder}/$1`),
    );
    for (const [grant, net] of [["10.0.2.2:7001", ",10.0.2.2:7001"], ["", ""]] as const) {
      const { stdout } = await new Deno.Command("sh", {
        args: ["-c", `. ${folder}/guest.sh; flags_of agent "$1"`, "guest", grant],
      }).output();
      const out = new TextDecoder().decode(stdout);
      assert.equal(out, `--allow-net=0.0.0.0:7002${net}\n--allow-read=/a\n`);
    }
  });
});

Deno.test("mode_flag() is compat for that one word of the kernel's command line, else strict", async () => {
  const lines: [string, string][] = [
    ["quiet console=null cocos.mode=compat no_timer_check panic=1", "--compat\n"],
    ["cocos.mode=compat", "--compat\n"],
    ["quiet console=null", ""],
    ["", ""],
    ["cocos.mode=strict", ""],
    ["cocos.mode=compatible", ""],
    ["xcocos.mode=compat", ""],
    ["cocos.mode=compat;", ""],
    ["cocos.mode=COMPAT", ""],
    ["AGENT_MODE=compat AGENT_COMPAT=1", ""],
  ];
  for (const [line, flag] of lines) {
    const read = `cat() { [ "$1" = /proc/cmdline ] && printf '%s\\n' '${line}'; }`;
    for (const { code, out } of await call(["mode_flag"], read)) {
      assert.equal(code, 0, line);
      assert.equal(out, flag, line);
    }
    // The environment of the caller makes no difference.
    const tricked = `${read}; export mode=--compat AGENT_MODE=compat`;
    for (const { out } of await call(["mode_flag"], tricked)) assert.equal(out, flag, line);
  }
});

Deno.test("the start scripts pass an empty environment on and take the mode from the kernel's line", async () => {
  for (const name of ["agent", "runner"]) {
    const script = await Deno.readTextFile(`${OVERLAY}/cocos/lib/${name}`);
    assert.match(script, /exec env -i PATH=\/usr\/bin HOME=\/tmp DENO_DIR=/);
    assert.match(script, /--no-new-privs \\\n\s+--bounding-set=-all --inh-caps=-all/);
    assert.doesNotMatch(script, /eval|allow-all|\s-A\s/);
  }
  const agent = await Deno.readTextFile(`${OVERLAY}/cocos/lib/agent`);
  assert.match(agent, /^mode=\$\(mode_flag\)$/m);
  assert.match(agent, / \$\{mode:\+"\$mode"\}$/m);
  assert.equal(agent.match(/setting /g)?.length, 1);
});

Deno.test("the scripts of the guest pass shellcheck", async () => {
  for (
    const path of [
      `${OVERLAY}/init`,
      ...["agent", "dhcp", "guest.sh", "log", "runner"].map((n) => `${OVERLAY}/cocos/lib/${n}`),
      ...["containerd", "engine"].map((n) => `${OVERLAY}-full/cocos/lib/${n}`),
    ]
  ) {
    try {
      const { code, stdout } = await new Deno.Command("shellcheck", {
        args: ["-x", "-P", OVERLAY, path],
      }).output();
      assert.equal(code, 0, new TextDecoder().decode(stdout));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      console.log("skipped: shellcheck is not on this machine");
      return;
    }
  }
});

Deno.test("the full image's engine has no network, an empty environment, and one group at its socket", async () => {
  const script = await Deno.readTextFile(`${OVERLAY}-full/cocos/lib/engine`);
  assert.match(
    script,
    /exec env -i PATH=[^ ]+ HOME=\/tmp DOCKER_RAMDISK=true \\\n\s+\/usr\/bin\/unshare -n /,
  );
  for (
    const flag of ["--group=runner", "--userns-remap=runner", "--bridge=none", "--iptables=false"]
  ) {
    assert.ok(script.includes(` ${flag} `), flag);
  }
  assert.doesNotMatch(script, /tcp:|--host=fd|--insecure|--privileged/);
  // The runner alone is in its own group, and ids inside lead to nobody but it.
  const groups = await Deno.readTextFile(`${OVERLAY}/etc/group`);
  assert.match(groups, /^runner:x:1001:$/m);
  assert.equal(
    await Deno.readTextFile(`${OVERLAY}-full/etc/subuid`),
    "runner:100000:1000\nrunner:1001:1\n",
  );
  const inittab = async (overlay: string) =>
    (await Deno.readTextFile(`${overlay}/etc/inittab`)).trim().split("\n");
  const more = (await inittab(`${OVERLAY}-full`)).filter((line) =>
    /(engine|containerd)$/.test(line)
  );
  assert.equal(more.length, 3);
  assert.deepEqual(
    (await inittab(`${OVERLAY}-full`)).filter((line) => !more.includes(line)),
    await inittab(OVERLAY),
  );
});
