// What goes wrong, and how it is told: exit code, text and hint of each failure, and that nothing
// half-made stays behind.
import assert from "node:assert/strict";
import { CocosError, Exit, Status, zipEntries } from "../base/mod.ts";
import { generateKeys } from "../proto/mod.ts";
import { cocos, fakeAgent, fakeManager, goError, inFolder } from "./_fakes.ts";

const pair = await generateKeys("ed25519");

async function withKey(work: (dir: string, key: string) => Promise<void>): Promise<void> {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/private.pem`, pair.privatePem);
    await work(dir, `${dir}/private.pem`);
  });
}

async function zip(name: string, mode = 0o100644): Promise<Uint8Array> {
  const entry = { path: "", name, mode, mtime: new Date(0) };
  const parts = zipEntries([entry], async function* () {
    yield new TextEncoder().encode("content");
  });
  return new Uint8Array(await new Response(ReadableStream.from(parts)).arrayBuffer());
}

async function left(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name).sort();
}

/** A port on loopback where nothing listens. */
function closedPort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test("cocos usage mistakes end with code 2 and say where the help is", async () => {
  const cases: [string[], RegExp][] = [
    [["nonsense"], /unknown command 'nonsense'/],
    [["algo"], /missing required argument 'file'/],
    [["--compat", "algo", "a"], /missing required argument 'private-key'/],
    [["--compat", "algo", "a", "k", "extra"], /too many arguments/],
    [["--compat", "algo", "a", "k", "-a", "exe"], /Allowed choices are bin, python, wasm, docker/],
    [["--compat", "algo", "a,b", "k"], /must be a path without comma/],
    [["--compat", "algo", "a", "k", "--nope"], /unknown option '--nope'/],
    [["keys", "-k", "dsa"], /Allowed choices are rsa, ecdsa, ed25519/],
    [["create-vm"], /required option '--server-url <host:port>' not specified/],
    [["create-vm", "--server-url", "http://a:1"], /must be host:port without scheme/],
    [["create-vm", "--server-url", "a:1", "--ttl", "soon"], /invalid duration/],
    [["checksum"], /missing required argument 'path'/],
    [["completion", "csh"], /Allowed choices are bash, zsh, fish/],
  ];
  for (const [argv, message] of cases) {
    const { exit, out, err } = await cocos(argv);
    assert.deepEqual([exit, out], [Exit.USAGE, ""], argv.join(" "));
    assert.match(err, message);
    assert.match(err, /^cocos: .*\nhint: `cocos .*--help` .*\n$/s, argv.join(" "));
  }
});

Deno.test("cocos refuses before it connects what could only fail later", async () => {
  await withKey(async (dir, key) => {
    await Deno.writeTextFile(`${dir}/empty`, "");
    await Deno.writeTextFile(`${dir}/text`, "text");
    await Deno.mkdir(`${dir}/folder`);
    await Deno.writeTextFile(`${dir}/public.pem`, pair.publicPem);
    const f = `${dir}/text`;
    const cases: [string[], Exit, RegExp][] = [
      [
        ["--compat", "algo", `${dir}/none`, key],
        Exit.NOT_FOUND,
        /Cannot read ".*none": no such file/,
      ],
      [["--compat", "algo", `${dir}/folder`, key], Exit.USAGE, /is not a regular file/],
      [["--compat", "algo", `${dir}/empty`, key], Exit.USAGE, /is empty/],
      [
        ["--compat", "algo", f, `${dir}/none`],
        Exit.NOT_FOUND,
        /private key .*\nhint: `cocos keys`/,
      ],
      [["--compat", "algo", f, f], Exit.FAILURE, /Cannot use the private key/],
      [
        ["--compat", "algo", f, `${dir}/public.pem`],
        Exit.FAILURE,
        /This is a public key; give the private/,
      ],
      [["--compat", "algo", f, key, "-r", f], Exit.USAGE, /requirements with a bin algorithm/],
      [["--compat", "algo", f, key, "--args", "ü"], Exit.USAGE, /printable ASCII/],
      [["--compat", "algo", f, key, "--args", "x".repeat(9000)], Exit.USAGE, /9000 characters/],
      [
        ["--compat", "algo", f, key, "-a", "python", "--wheelhouse", `${dir}/folder`],
        Exit.USAGE,
        /has no \*\.whl file/,
      ],
      [["--compat", "data", `${dir}/none`, key], Exit.NOT_FOUND, /no such file/],
      [["--compat", "data", "/", key], Exit.USAGE, /its last part is the dataset's name/],
      [["--compat", "data", "..", key], Exit.USAGE, /its last part is the dataset's name/],
      [["--compat", "result", key, `${dir}/text`], Exit.FAILURE, /exists\nhint: .*--force/],
      [
        ["--compat", "result", key, `${dir}/folder`, "--force"],
        Exit.FAILURE,
        /a directory of that name/,
      ],
      [
        ["--compat", "result", key, "-x", `${dir}/folder`],
        Exit.FAILURE,
        /a directory of that name/,
      ],
      [
        ["create-vm", "--server-url", "a:1", "--client-key", f],
        Exit.USAGE,
        /give both or neither/,
      ],
      [["create-vm", "--server-url", "a:1", "--server-ca", f], Exit.USAGE, /it is not PEM/],
      [
        ["create-vm", "--server-url", "a:1", "--server-ca", `${dir}/none`],
        Exit.NOT_FOUND,
        /--server-ca/,
      ],
      [["create-vm", "--server-url", "a:1", "--log-level", "loud"], Exit.USAGE, /--log-level/],
      [["remove-vm", "a b"], Exit.USAGE, /not an id of a VM/],
      [["checksum", `${dir}/none`], Exit.NOT_FOUND, /no such file/],
      [["checksum", "-m", f], Exit.FAILURE, /it is not JSON/],
    ];
    const before = await left(dir);
    for (const [argv, code, message] of cases) {
      const { exit, out, err } = await cocos(argv);
      assert.deepEqual([exit, out], [code, ""], `${argv.join(" ")}\n${err}`);
      assert.match(err, message);
      assert.deepEqual(await left(dir), before, argv.join(" "));
    }
  });
});

Deno.test("cocos names every wrong variable", async () => {
  await withKey(async (_dir, key) => {
    const { exit, err } = await cocos(["--compat", "result", key], {
      env: {
        AGENT_GRPC_URL: "http://x",
        AGENT_GRPC_TIMEOUT: "soon",
        AGENT_GRPC_CLIENT_CERT: "a,b",
        AGENT_GRPC_ATTESTED_TLS: "maybe",
      },
    });
    assert.equal(exit, Exit.USAGE);
    for (const name of ["URL", "TIMEOUT", "CLIENT_CERT", "ATTESTED_TLS"]) {
      assert.match(err, new RegExp(`AGENT_GRPC_${name}: `));
    }
    const half = await cocos(["--compat", "result", key], { env: { AGENT_GRPC_CLIENT_KEY: "k" } });
    assert.match(half.err, /set both AGENT_GRPC_CLIENT_CERT and AGENT_GRPC_CLIENT_KEY/);
    const files = await cocos(["--compat", "result", key], {
      env: { AGENT_GRPC_SERVER_CA_CERTS: "/none" },
    });
    assert.match(files.err, /Cannot read the file of AGENT_GRPC_SERVER_CA_CERTS/);
    assert.deepEqual([half.exit, files.exit], [Exit.USAGE, Exit.USAGE]);
  });
});

Deno.test("A-17 cocos never drops attested TLS in silence: it refuses, and sends nothing", async () => {
  await withKey(async (_dir, key) => {
    await using agent = await fakeAgent();
    const { exit, err } = await cocos(["--compat", "algo", key, key], {
      env: { AGENT_GRPC_URL: agent.url, AGENT_GRPC_ATTESTED_TLS: "true" },
    });
    assert.equal(exit, Exit.FAILURE);
    assert.match(err, /Cannot connect with attested TLS/);
    assert.deepEqual(agent.uploads, []);
  });
});

Deno.test("cocos says which address did not answer", async () => {
  await withKey(async (_dir, key) => {
    const url = `127.0.0.1:${closedPort()}`;
    const agent = await cocos(["--compat", "result", key, "/none/r.zip"], {
      env: { AGENT_GRPC_URL: url },
    });
    assert.equal(
      agent.err,
      "Error retrieving computation result: agent service is unavailable\n" +
        `hint: Nothing answered at ${url} (AGENT_GRPC_URL) without TLS: the agent listens once it has its ` +
        "manifest, on the port that create-vm printed.\n",
    );
    const manager = await cocos(["remove-vm", "1"], { env: { MANAGER_GRPC_URL: url } });
    assert.equal(
      manager.err,
      "Removing virtual machine\n" +
        "Error removing virtual machine: manager is unavailable on the current address\n" +
        `hint: Nothing answered at ${url} (MANAGER_GRPC_URL) without TLS: start it with cocos-manager.\n`,
    );
    assert.deepEqual([agent.exit, manager.exit], [Exit.FAILURE, Exit.FAILURE]);
  });
});

Deno.test("cocos gives each refusal of a peer its exit code and a hint", async () => {
  const state = "agent not expecting this operation in the current state";
  const cases: [CocosError, Exit, RegExp | undefined][] = [
    [
      new CocosError("unauthenticated", "signature verification failed"),
      Exit.DENIED,
      /private key/,
    ],
    [goError(state), Exit.WRONG_STATE, /waits for/],
    [goError("computation results are not yet ready"), Exit.WRONG_STATE, /Ask again/],
    [
      goError("all expected manifest Items have been received"),
      Exit.WRONG_STATE,
      /Nothing more/,
    ],
    [goError("malformed data, hash does not match manifest"), Exit.FAILURE, /cocos checksum/],
    [goError("dataset not declared in computation manifest"), Exit.DENIED, /cocos checksum/],
    [goError("malformed data, filename does not match manifest"), Exit.FAILURE, /the name/],
    [
      goError("result consumer is undeclared in computation manifest"),
      Exit.DENIED,
      /result consumer/,
    ],
    [goError("algorithm execution error: exit status 3"), Exit.FAILURE, /shown to nobody/],
    [goError("something else"), Exit.FAILURE, undefined],
    [new CocosError("invalid-argument", "not of this command line"), Exit.FAILURE, undefined],
    [new CocosError("wrong-state", "not now"), Exit.WRONG_STATE, undefined],
    [new CocosError("timeout", "too late"), Exit.TIMEOUT, undefined],
  ];
  await withKey(async (dir, key) => {
    for (const [error, code, hint] of cases) {
      await using agent = await fakeAgent({ error });
      const env = { AGENT_GRPC_URL: agent.url };
      for (
        const [argv, prefix] of [
          [["--compat", "algo", key, key], "Failed to upload algorithm due to error: "],
          [["--compat", "data", key, key], "Failed to upload dataset due to error: "],
          [["--compat", "result", key, `${dir}/r.zip`], "Error retrieving computation result: "],
        ] as const
      ) {
        const { exit, err } = await cocos(argv, { env });
        assert.ok(err.includes(`${prefix}${error.message}\n`), `${argv[0]}: ${err}`);
        assert.equal(exit, code, error.message);
        if (hint === undefined) assert.doesNotMatch(err, /hint:/);
        else assert.match(err, new RegExp(`hint: .*${hint.source}`));
        assert.deepEqual(await left(dir), ["private.pem"]);
      }
    }
  });
});

Deno.test("cocos gives the manager's refusals their exit codes", async () => {
  for (
    const [text, code] of [
      ["entity not found", Exit.NOT_FOUND],
      ["maximum number of VMs exceeded", Exit.FAILURE],
    ] as const
  ) {
    await using manager = await fakeManager(goError(text));
    const env = { MANAGER_GRPC_URL: manager.url };
    const { exit, err } = await cocos(["remove-vm", "7"], { env });
    assert.equal(exit, code);
    assert.match(err, new RegExp(`Error removing virtual machine: ${text}\nhint: `));
  }
});

Deno.test("cocos shows the causes of an error with --verbose only", async () => {
  await withKey(async (_dir, key) => {
    await using agent = await fakeAgent({
      error: goError("computation results are not yet ready"),
    });
    const env = { AGENT_GRPC_URL: agent.url };
    assert.doesNotMatch((await cocos(["--compat", "result", key], { env })).err, /cause:/);
    assert.match(
      (await cocos(["--compat", "-v", "result", key], { env })).err,
      /\ncause: CocosError: comp/,
    );
  });
});

Deno.test("cocos --json tells an error as an object", async () => {
  await withKey(async (_dir, key) => {
    await using agent = await fakeAgent({
      error: goError("computation results are not yet ready"),
    });
    const { exit, out, err } = await cocos(["--compat", "result", key, "--json"], {
      env: { AGENT_GRPC_URL: agent.url },
    });
    assert.deepEqual([exit, err], [Exit.WRONG_STATE, ""]);
    assert.deepEqual(JSON.parse(out), {
      error: {
        code: "wrong-state",
        message: "computation results are not yet ready",
        exit: 6,
        hint:
          "Ask again when the computation has run; the computation server's log shows its state.",
      },
    });
    const usage = await cocos(["--compat", "algo", "--json"]);
    assert.equal(JSON.parse(usage.out).error.code, "invalid-argument");
    assert.deepEqual([usage.exit, usage.err], [Exit.USAGE, ""]);
  });
});

Deno.test("O-8 cocos shows a peer's text without its control characters", async () => {
  await withKey(async (_dir, key) => {
    const error = goError("bad\x1b[2J\n\u202etxt\x9b1m");
    await using agent = await fakeAgent({ error });
    const { err } = await cocos(["--compat", "result", key], {
      env: { AGENT_GRPC_URL: agent.url },
    });
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(err.replaceAll("\n", ""), /[\x00-\x1f\x7f-\x9f\u202e]/);
    assert.match(err, /bad\\u001b\[2J\\u000a/);
  });
});

const RESULTS: [string, Parameters<typeof fakeAgent>[0], RegExp][] = [
  ["more bytes than announced", { fileSize: "3" }, /exceeds total bytes/],
  ["fewer bytes than announced", { fileSize: "9999" }, /announced 9999 bytes and sent \d+/],
  ["no announcement", { fileSize: "" }, /file-size is missing/],
  ["a size that is none", { fileSize: "-1" }, /file-size is "-1"/],
  ["a size in words", { fileSize: "1e3" }, /file-size is "1e3"/],
  ["an error at the end", { resultError: goError("disk is gone") }, /disk is gone/],
  ["no archive", { result: [new Uint8Array(50)] }, /Cannot accept the archive/],
  ["nothing", { result: [] }, /Cannot accept the archive/],
  ["an archive with a link", { result: [await zip("x", 0o120777)] }, /is not a regular file/],
  [
    "an archive that leaves the folder",
    { result: [await zip("aa/x").then((bytes) => renamed(bytes, "aa/x", "../x"))] },
    /Cannot accept the archive/,
  ],
];

/** An archive in which a name was replaced by another of the same length. */
function renamed(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const text = new TextDecoder("latin1").decode(bytes).replaceAll(from, to);
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

for (const [what, script, message] of RESULTS) {
  Deno.test(`O-8 cocos result keeps nothing when the agent sends ${what}`, async () => {
    const sound = await zip("x");
    for (const more of [[], ["--extract"]]) {
      await withKey(async (dir, key) => {
        await using agent = await fakeAgent({ result: [sound], ...script });
        const extract = more.length === 0 ? [] : ["--extract", `${dir}/out`];
        const { exit, err } = await cocos(["--compat", "result", key, `${dir}/r.zip`, ...extract], {
          env: { AGENT_GRPC_URL: agent.url },
        });
        assert.equal(exit, Exit.FAILURE, err);
        assert.match(err, message);
        assert.deepEqual(await left(dir), ["private.pem"]);
      });
    }
  });
}

Deno.test("O-8 cocos result neither follows nor silently replaces what has the name", async () => {
  await withKey(async (dir, key) => {
    await using agent = await fakeAgent({ result: [await zip("x")] });
    const env = { AGENT_GRPC_URL: agent.url };
    await Deno.writeTextFile(`${dir}/victim`, "precious");
    for (const target of ["victim", "nowhere"]) {
      await Deno.symlink(target, `${dir}/r.zip`);
      assert.equal(
        (await cocos(["--compat", "result", key, `${dir}/r.zip`], { env })).exit,
        Exit.FAILURE,
      );
      assert.ok((await Deno.lstat(`${dir}/r.zip`)).isSymlink);
      const forced = await cocos(["--compat", "result", key, `${dir}/r.zip`, "--force"], { env });
      assert.equal(forced.exit, Exit.OK, forced.err);
      assert.ok((await Deno.lstat(`${dir}/r.zip`)).isFile);
      await Deno.remove(`${dir}/r.zip`);
    }
    await Deno.symlink("victim", `${dir}/r.zip.part`);
    const part = await cocos(["--compat", "result", key, `${dir}/r.zip`], { env });
    assert.match(part.err, /another run writes it, or an earlier one was cut off/);
    assert.equal(await Deno.readTextFile(`${dir}/victim`), "precious");
    assert.deepEqual(await left(dir), ["private.pem", "r.zip.part", "victim"]);
  });
});

Deno.test("cocos result that is interrupted ends with 130 and keeps nothing", async () => {
  await withKey(async (dir, key) => {
    const interrupt = new AbortController();
    await using agent = await fakeAgent({
      result: [await zip("x")],
      beforeEnd: async (call) => {
        const gone = Promise.withResolvers<void>();
        call.signal.addEventListener("abort", () => gone.resolve());
        interrupt.abort();
        await gone.promise;
      },
    });
    const { exit, err } = await cocos(["--compat", "result", key, `${dir}/r.zip`], {
      env: { AGENT_GRPC_URL: agent.url },
      signal: interrupt.signal,
    });
    assert.equal(exit, Exit.INTERRUPTED);
    assert.match(err, /\nOperation aborted by user!\n$/);
    assert.deepEqual(await left(dir), ["private.pem"]);
  });
});

Deno.test("cocos cvms points to the launcher when it is started without it", async () => {
  const { exit, err } = await cocos(["cvms", "-algo-path", "x"]);
  assert.equal(exit, Exit.FAILURE);
  assert.match(err, /hint: Run `cocos-computations cvms …`/);
});

Deno.test("goError() is what a Go agent sends", () => {
  assert.equal(goError("x").status, Status.UNKNOWN);
});
