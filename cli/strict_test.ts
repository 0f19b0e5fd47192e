// The strict mode against agents that keep every call: nothing of a party's leaves before manifest,
// channel and key are the right ones; what leaves is signed for this agent, this moment, this content.
import assert from "node:assert/strict";
import { CocosError, Exit, sha3_256, zipEntries } from "../base/mod.ts";
import { makeCertificate, pinOf } from "../channel/mod.ts";
import { generateKeys } from "../proto/mod.ts";
import type { Agreement } from "./agreement.ts";
import { cocos, fakeAgent, inFolder, type Outcome } from "./_fakes.ts";
import { ID, manifestOf, type StrictAgent, strictAgent, type StrictScript } from "./_strict.ts";

const pair = await generateKeys("ed25519");
const other = await generateKeys("ed25519");
const PROGRAM = { name: "algo.py", bytes: "print(1)\n" };
const TABLE = { name: "a.csv", bytes: "x,y\n" };
const agreement = await manifestOf(pair.publicPem, PROGRAM, [TABLE]);
const sha3 = (text: string) => sha3_256(new TextEncoder().encode(text)).toHex();

async function archive(): Promise<Uint8Array> {
  const entry = { path: "", name: "r.txt", mode: 0o100644, mtime: new Date(0) };
  const parts = zipEntries([entry], async function* () {
    yield new TextEncoder().encode("42\n");
  });
  return new Uint8Array(await new Response(ReadableStream.from(parts)).arrayBuffer());
}

/** A folder with files and key of a party, its HOME beneath, and an agent. */
async function scene(
  script: Partial<StrictScript>,
  work: (scene: {
    dir: string;
    agent: StrictAgent;
    run: (argv: string[], options?: Parameters<typeof cocos>[1]) => Promise<Outcome>;
  }) => Promise<void>,
): Promise<void> {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/private.pem`, pair.privatePem);
    await Deno.writeTextFile(`${dir}/other.pem`, other.privatePem);
    await Deno.writeTextFile(`${dir}/${PROGRAM.name}`, PROGRAM.bytes);
    await Deno.writeTextFile(`${dir}/${TABLE.name}`, TABLE.bytes);
    await Deno.writeTextFile(`${dir}/manifest.json`, agreement.text);
    await using agent = await strictAgent({ agreement, publicPem: pair.publicPem, ...script });
    await work({
      dir,
      agent,
      run: (argv, options = {}) =>
        cocos(argv, { env: { AGENT_GRPC_URL: agent.url, HOME: `${dir}/home` }, ...options }),
    });
  });
}

/** The three calls of a party, with what they would send. */
const calls = (dir: string): [string, string[]][] => [
  ["Algo", ["algo", `${dir}/algo.py`, `${dir}/private.pem`]],
  ["Data", ["data", `${dir}/a.csv`, `${dir}/private.pem`]],
  ["Result", ["result", `${dir}/private.pem`, `${dir}/out.zip`]],
];

/** Asserts that the agent was asked for its manifest, and got nothing else. */
function assertNothingSent(agent: StrictAgent): void {
  assert.deepEqual([...new Set(agent.calls.map(({ method }) => method))], ["Manifest"]);
  assert.ok(agent.calls.every(({ bytes, request }) => bytes === 0 && request === undefined));
}

Deno.test("an approved manifest: challenge and signed request on the connection the manifest came on", async () => {
  await scene({ result: await archive() }, async ({ dir, agent, run }) => {
    const approved = await run(["manifest", "approve", `${dir}/manifest.json`]);
    assert.equal(approved.exit, Exit.OK, approved.err);
    const wanted = {
      Algo: ["/agent.AgentService/Algo", "algorithm", sha3(PROGRAM.bytes), 9],
      Data: ["/agent.AgentService/Data", "dataset:a.csv", sha3(TABLE.bytes), 4],
      Result: ["/agent.AgentService/Result", "result", "", 0],
    } as Record<string, unknown[]>;
    for (const [method, argv] of calls(dir)) {
      agent.calls.length = 0;
      const { exit, err } = await run(argv);
      assert.equal(exit, Exit.OK, err);
      assert.match(err, /^Connected to agent {2}without TLS\n/);
      assert.match(err, /INSECURE CHANNEL/);
      const [manifest, challenge, call, ...more] = agent.calls;
      assert.deepEqual([manifest?.method, challenge?.method, call?.method], [
        "Manifest",
        "Challenge",
        method,
      ]);
      assert.equal(new Set(agent.calls.map(({ connection }) => connection)).size, 1);
      const { request } = call!;
      assert.deepEqual(
        [request?.method, request?.item, request?.payload, request?.size],
        wanted[method],
      );
      assert.deepEqual([request?.computation, request?.manifest], [ID, agreement.digest]);
      assert.equal(request?.challenge, agent.challenges.at(method === "Result" ? -2 : -1));
      assert.deepEqual([request?.channel, request?.lifetime], ["", 60]);
      assert.ok(call?.signed);
      // Type, arguments and the like come from the manifest alone.
      assert.deepEqual(call?.metadata, []);
      if (method !== "Result") {
        assert.deepEqual([call?.bytes, more], [request?.size, []]);
        continue;
      }
      const [second, receipt, ...rest] = more;
      assert.deepEqual([second?.method, receipt?.method, rest], ["Challenge", "Acknowledge", []]);
      const kept = await Deno.readFile(`${dir}/out.zip`);
      assert.deepEqual([receipt?.request?.method, receipt?.request?.item, receipt?.request?.size], [
        "/cocos.agent.v1.PartyService/Acknowledge",
        "result",
        kept.length,
      ]);
      assert.equal(receipt?.request?.payload, sha3_256(kept).toHex());
      assert.ok(receipt?.signed);
    }
    assert.equal(new Set(agent.challenges).size, agent.challenges.length);
  });
});

Deno.test("M-7 an agent with another manifest than the approved one gets no byte, and the change is named", async () => {
  const lying = await manifestOf(pair.publicPem, PROGRAM, [TABLE], (message) => {
    message.algorithm!.args = ["--leak"];
    message.logReaders = ["server"];
  });
  await scene({ agreement: lying }, async ({ dir, agent, run }) => {
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    for (const [, argv] of calls(dir)) {
      // What a terminal would answer makes no difference.
      for (const options of [{}, { terminal: true, answers: ["yes"] }]) {
        const { exit, err } = await run(argv, {
          env: { AGENT_GRPC_URL: agent.url, HOME: `${dir}/home` },
          ...options,
        });
        assert.equal(exit, Exit.UNTRUSTED);
        assert.ok(err.includes(lying.digest) && err.includes(agreement.digest), err);
        assert.match(err, /they differ in algorithm\.args\[0\], logReaders\[0\]/);
        assert.match(err, /Nothing was sent/);
      }
      // The same with a file instead of what was approved before.
      const { exit } = await run([...argv, "--manifest", `${dir}/manifest.json`]);
      assert.equal(exit, Exit.UNTRUSTED);
    }
    assertNothingSent(agent);
    assert.equal(await Deno.stat(`${dir}/out.zip`).catch(() => undefined), undefined);
  });
});

Deno.test("a manifest nobody approved: a pipe is refused with the command to type, a terminal asks", async () => {
  await scene({}, async ({ dir, agent, run }) => {
    const [, argv] = calls(dir)[0]!;
    const refused = await run(argv);
    assert.equal(refused.exit, Exit.UNTRUSTED);
    assert.match(refused.err, /nobody here approved the manifest/);
    const command = /type `cocos (manifest approve --digest [0-9a-f]{64})`/.exec(refused.err)?.[1];
    assert.ok(command !== undefined, refused.err);
    const json = await run(["--json", ...argv], {
      env: { AGENT_GRPC_URL: agent.url, HOME: `${dir}/home` },
      terminal: true,
      answers: ["yes"],
    });
    assert.equal(JSON.parse(json.out).error.exit, Exit.UNTRUSTED);
    for (const answers of [["no"], ["y"], [""], []]) {
      const env = { AGENT_GRPC_URL: agent.url, HOME: `${dir}/home` };
      const { exit, err } = await run(argv, { env, terminal: true, answers });
      assert.equal(exit, Exit.UNTRUSTED, answers[0]);
      assert.match(err, /What runs\n {2}a Python program of 9 bytes, given by party 1 \(you\)/);
      assert.match(err, /the manifest was not approved/);
    }
    assertNothingSent(agent);
    // The command that the hint names, and the upload that was refused before.
    assert.equal((await run(command.split(" "))).exit, Exit.OK);
    assert.equal((await run(argv)).exit, Exit.OK);
  });
  await scene({}, async ({ dir, agent, run }) => {
    const env = { AGENT_GRPC_URL: agent.url, HOME: `${dir}/home` };
    const [[, algo], [, data]] = calls(dir) as [[string, string[]], [string, string[]]];
    const { exit, err } = await run(algo, { env, terminal: true, answers: ["yes"] });
    assert.equal(exit, Exit.OK, err);
    // What was approved once is not asked for again, not even in a pipe.
    assert.equal((await run(data)).exit, Exit.OK);
  });
});

Deno.test("an agent without the service is one of the seed era: refused, and told how to go on", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/private.pem`, pair.privatePem);
    await Deno.writeTextFile(`${dir}/algo.py`, PROGRAM.bytes);
    await using agent = await fakeAgent();
    const env = { AGENT_GRPC_URL: agent.url, HOME: dir };
    const argv = ["algo", `${dir}/algo.py`, `${dir}/private.pem`];
    const { exit, err } = await cocos(argv, { env });
    assert.equal(exit, Exit.UNTRUSTED);
    assert.match(err, /the agent shows no manifest.*\nhint: Nothing was sent\. `cocos --compat/);
    assert.deepEqual(agent.uploads, []);
    assert.equal((await cocos(["--compat", ...argv], { env })).exit, Exit.OK);
  });
});

Deno.test("M-9 channel tls: the key is pinned on first use, and another one gets no byte", async () => {
  const tls = await manifestOf(pair.publicPem, PROGRAM, [TABLE], (message) => {
    message.channel = "tls";
  });
  const first = await makeCertificate({ commonName: "agent" });
  const second = await makeCertificate({ commonName: "agent" });
  await scene({ agreement: tls, tls: first }, async ({ dir, agent, run }) => {
    await Deno.writeTextFile(`${dir}/manifest.json`, tls.text);
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    const [[, algo], [, data]] = calls(dir) as [[string, string[]], [string, string[]]];
    const { exit, err } = await run(algo);
    assert.equal(exit, Exit.OK, err);
    assert.match(err, /Connected to agent {2}with TLS/);
    const key = /Pinned the agent's key (sha256:[0-9a-f]{64})/.exec(err)?.[1] as string;
    assert.ok(key !== undefined, err);
    assert.doesNotMatch((await run(data)).err, /Pinned|INSECURE/);
    const { channel, door_key } = JSON.parse((await run(["--json", ...data])).out);
    assert.deepEqual([channel, `sha256:${door_key}`], ["tls", key]);
    const { port } = agent;
    await agent[Symbol.asyncDispose]();

    const script = { agreement: tls, publicPem: pair.publicPem, port };
    await using thief = await strictAgent({ ...script, tls: second });
    const refused = await run(algo);
    assert.equal(refused.exit, Exit.UNTRUSTED);
    assert.match(refused.err, new RegExp(`seen first was ${key}\nhint: Nothing was sent`));
    assertNothingSent(thief);
    // A pin of the command line is checked before the first call.
    thief.calls.length = 0;
    assert.equal((await run([...algo, "--pin", key])).exit, Exit.UNTRUSTED);
    assert.deepEqual(thief.calls, []);
    // Somebody who knows that the agent was started again says so by its key.
    const found = /the agent has the key (sha256:[0-9a-f]{64})/.exec(refused.err)?.[1] as string;
    assert.equal((await run([...algo, "--pin", found])).exit, Exit.OK);
    assert.equal((await run(data)).exit, Exit.OK);
  });
});

Deno.test("without HOME a party gives manifest and pin each time, as the hint says", async () => {
  const tls = await makeCertificate({ commonName: "cocos agent" });
  const secure = await manifestOf(pair.publicPem, PROGRAM, [TABLE], (message) => {
    message.channel = "tls";
  });
  await scene({ agreement: secure, tls }, async ({ dir, agent, run }) => {
    await Deno.writeTextFile(`${dir}/secure.json`, secure.text);
    const argv = [...calls(dir)[0]![1], "--manifest", `${dir}/secure.json`];
    const env = { AGENT_GRPC_URL: agent.url };
    const { exit, err } = await run(argv, { env });
    assert.equal(exit, Exit.USAGE, err);
    assert.match(err, /Set HOME .*or give --manifest FILE and --pin each time/);
    assertNothingSent(agent);
    const pin = `sha256:${pinOf(tls.cert)}`;
    const given = await run([...argv, "--pin", pin], { env });
    assert.equal(given.exit, Exit.OK, given.err);
  });
});

Deno.test("a channel that is not the manifest's gets no byte, in either direction", async () => {
  const tls = await manifestOf(pair.publicPem, PROGRAM, [TABLE], (m) => void (m.channel = "tls"));
  const certificate = await makeCertificate({ commonName: "agent" });
  const cases: [Partial<StrictScript>, Agreement, RegExp][] = [
    [{ agreement: tls }, tls, /wants the channel tls, the agent answers without TLS/],
    [{ tls: certificate }, agreement, /wants the channel insecure, the agent answers with TLS/],
  ];
  for (const [script, approved, message] of cases) {
    await scene(script, async ({ dir, agent, run }) => {
      await Deno.writeTextFile(`${dir}/manifest.json`, approved.text);
      for (const [, argv] of calls(dir)) {
        const { exit, err } = await run([...argv, "--manifest", `${dir}/manifest.json`]);
        assert.equal(exit, Exit.UNTRUSTED, err);
        assert.match(err, message);
      }
      assertNothingSent(agent);
      // A pinned key means TLS: an agent without it is not even asked.
      if (script.tls === undefined) {
        agent.calls.length = 0;
        const pin = `sha256:${"00".repeat(32)}`;
        const { exit } = await run([...calls(dir)[0]![1], "--pin", pin]);
        assert.notEqual(exit, Exit.OK);
        assert.deepEqual(agent.calls, []);
      }
    });
  }
});

Deno.test("what is not the manifest's is refused before a byte leaves", async () => {
  await scene({}, async ({ dir, agent, run }) => {
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    await Deno.writeTextFile(`${dir}/same.py`, "print(2)\n");
    await Deno.writeTextFile(`${dir}/b.csv`, TABLE.bytes);
    await Deno.mkdir(`${dir}/sub`);
    await Deno.writeTextFile(`${dir}/sub/a.csv`, "x,z\n");
    const [algo, key] = [`${dir}/algo.py`, `${dir}/private.pem`];
    const cases: [string[], Exit, RegExp][] = [
      [["algo", algo, `${dir}/other.pem`], Exit.DENIED, /the algorithm is another party's/],
      [["data", `${dir}/a.csv`, `${dir}/other.pem`], Exit.DENIED, /a\.csv is another party's/],
      [["result", `${dir}/other.pem`, `${dir}/o.zip`], Exit.DENIED, /gives the result to other/],
      [["algo", `${dir}/same.py`, key], Exit.FAILURE, /has the digest .*, in the manifest it has/],
      [["algo", `${dir}/a.csv`, key], Exit.FAILURE, /has 4 bytes, in the manifest it has 9/],
      [["data", `${dir}/b.csv`, key], Exit.FAILURE, /no dataset "b\.csv"\nhint: .*are "a\.csv"/],
      [["data", `${dir}/sub/a.csv`, key], Exit.FAILURE, /dataset a\.csv has the digest/],
      [["algo", algo, key, "-a", "bin"], Exit.UNTRUSTED, /-a is "bin", the manifest has "python"/],
      [
        ["algo", algo, key, "--args", "x"],
        Exit.UNTRUSTED,
        /--args is \["x"\], the manifest has \[\]/,
      ],
      [["algo", algo, key, "--python-runtime", "pyodide"], Exit.UNTRUSTED, /--python-runtime is/],
      [["algo", algo, key, "-r", algo], Exit.UNTRUSTED, /the manifest has none/],
      [["data", `${dir}/a.csv`, key, "-d"], Exit.UNTRUSTED, /--decompress is given, and/],
    ];
    for (const [argv, exit, message] of cases) {
      const outcome = await run(argv);
      assert.match(outcome.err, message, argv.join(" "));
      assert.equal(outcome.exit, exit, outcome.err);
    }
    assertNothingSent(agent);
    const same = ["-a", "python", "--python-runtime", "python3"];
    assert.equal((await run(["algo", algo, key, ...same])).exit, Exit.OK);
  });
});

Deno.test("requirements must be the manifest's, given and with this digest", async () => {
  const agreed = await manifestOf(pair.publicPem, PROGRAM, [], (message) => {
    message.algorithm!.requirementsHash = Uint8Array.fromHex(sha3("pandas\n"));
    message.algorithm!.args = ["--epochs", "ü"];
  });
  await scene({ agreement: agreed }, async ({ dir, agent, run }) => {
    await Deno.writeTextFile(`${dir}/manifest.json`, agreed.text);
    await Deno.writeTextFile(`${dir}/requirements.txt`, "pandas\n");
    await Deno.writeTextFile(`${dir}/others.txt`, "numpy\n");
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    const [, argv] = calls(dir)[0]!;
    const cases: [string[], Exit, RegExp][] = [
      [[], Exit.UNTRUSTED, /the manifest has requirements, and none are given/],
      [["-r", `${dir}/others.txt`], Exit.FAILURE, /the requirements have the digest/],
      [["-r", `${dir}/requirements.txt`, "--args", "--epochs"], Exit.UNTRUSTED, /--args is/],
    ];
    for (const [flags, exit, message] of cases) {
      const outcome = await run([...argv, ...flags]);
      assert.match(outcome.err, message);
      assert.equal(outcome.exit, exit);
    }
    assertNothingSent(agent);
    const flags = ["-r", `${dir}/requirements.txt`, "--args", "--epochs", "--args", "ü"];
    const { exit, err } = await run([...argv, ...flags]);
    assert.equal(exit, Exit.OK, err);
    assert.equal(agent.calls.at(-1)?.bytes, 9 + 7);
  });
});

Deno.test("S-6 cocos output shows what was printed to those the manifest names, and to nobody else", async () => {
  const output = { tail: "epoch 1\n\x1b[2Jepoch 2\n", droppedBytes: 7n, running: true };
  await scene({ output }, async ({ dir, agent, run }) => {
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    const { exit, err } = await run(["output", `${dir}/private.pem`]);
    assert.equal(exit, Exit.DENIED);
    assert.match(err, /does not let this key see what the algorithm prints/);
    assertNothingSent(agent);
  });
  const open = await manifestOf(pair.publicPem, PROGRAM, [TABLE], (message) => {
    message.logReaders = ["algorithm-provider"];
  });
  await scene({ agreement: open, output }, async ({ dir, agent, run }) => {
    await Deno.writeTextFile(`${dir}/manifest.json`, open.text);
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    const { exit, out, err } = await run(["output", `${dir}/private.pem`]);
    assert.deepEqual([exit, out], [Exit.OK, "epoch 1\n\\u001b[2Jepoch 2\n"]);
    assert.match(err, /7 bytes before this were not kept\nThe algorithm still runs/);
    const { request, signed, method } = agent.calls.at(-1)!;
    assert.deepEqual([method, request?.item, request?.payload, signed], [
      "Output",
      "output",
      "",
      true,
    ]);
    const json = JSON.parse((await run(["--json", "output", `${dir}/private.pem`])).out);
    assert.deepEqual([json.output, json.dropped_bytes, json.running], [output.tail, 7, true]);
    assert.equal((await run(["output", `${dir}/other.pem`])).exit, Exit.DENIED);
  });
});

Deno.test("O-8 a result with another digest than announced is not kept, and not acknowledged", async () => {
  const result = await archive();
  await scene({ result, resultDigest: "00".repeat(32) }, async ({ dir, agent, run }) => {
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    const { exit, err } = await run(calls(dir)[2]![1]);
    assert.equal(exit, Exit.FAILURE);
    assert.match(err, /its digest is [0-9a-f]{64}, the agent announced "0000/);
    assert.equal(await Deno.stat(`${dir}/out.zip`).catch(() => undefined), undefined);
    assert.ok(!agent.calls.some(({ method }) => method === "Acknowledge"));
  });
});

Deno.test("a result whose receipt the agent does not take is kept, and the person is told", async () => {
  const acknowledgeError = new CocosError("wrong-state", "not now");
  await scene({ result: await archive(), acknowledgeError }, async ({ dir, run }) => {
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    const { exit, err } = await run(calls(dir)[2]![1]);
    assert.equal(exit, Exit.WRONG_STATE);
    assert.match(err, /the agent was not told that the result is here: not now\nhint: .*is kept/);
    assert.ok((await Deno.stat(`${dir}/out.zip`)).isFile);
  });
});

Deno.test("the one JSON object of a party's commands says computation, manifest and channel", async () => {
  await scene({ result: await archive() }, async ({ dir, run }) => {
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    for (const [, argv] of calls(dir)) {
      const { exit, out, err } = await run(["--json", ...argv]);
      assert.deepEqual([exit, err], [Exit.OK, ""]);
      const { computation, manifest, channel } = JSON.parse(out);
      assert.deepEqual([computation, manifest, channel], [ID, agreement.digest, "insecure"]);
    }
  });
});

Deno.test("M-11 an agent whose manifest cannot be read whole gets no byte", async () => {
  const value = JSON.parse(agreement.text);
  const texts = [
    "",
    "[]",
    JSON.stringify({ ...value, version: 2 }),
    JSON.stringify({ ...value, backdoor: true }),
    agreement.text.replace(`"size":9`, `"size":9,"size":9`),
    `${agreement.text} `,
    agreement.text.replace('"python"', '"perl"'),
  ];
  for (const text of texts) {
    await scene({ canonical: new TextEncoder().encode(text) }, async ({ dir, agent, run }) => {
      const { exit, err } = await run([...calls(dir)[0]![1], "--manifest", `${dir}/manifest.json`]);
      assert.equal(exit, Exit.FAILURE, text);
      assert.match(err, /Cannot read the manifest/);
      assertNothingSent(agent);
    });
  }
});

Deno.test("M-7 an agent that changes its manifest between the two questions gets no byte", async () => {
  const challengeError = new CocosError(
    "untrusted",
    "this agent has another manifest than the one approved",
  );
  await scene({ challengeError }, async ({ dir, agent, run }) => {
    await run(["manifest", "approve", `${dir}/manifest.json`]);
    for (const [, argv] of calls(dir)) assert.equal((await run(argv)).exit, Exit.UNTRUSTED);
    assert.deepEqual([...new Set(agent.calls.map(({ method }) => method))], [
      "Manifest",
      "Challenge",
    ]);
  });
});

Deno.test("flags of the strict mode are refused in compat, not passed over", async () => {
  for (const flags of [["--manifest", "m"], ["--pin", `sha256:${"00".repeat(32)}`]]) {
    for (const [, argv] of calls("d")) {
      const { exit, err } = await cocos(["--compat", ...argv, ...flags]);
      assert.equal(exit, Exit.USAGE);
      assert.match(err, /--manifest and --pin are of the strict mode/);
    }
  }
  assert.equal((await cocos(["--compat", "checksum", "-m", "/none"])).exit, Exit.NOT_FOUND);
});

Deno.test("variables of the seed-era TLS are refused in the strict mode, not passed over", async () => {
  await scene({}, async ({ dir, agent, run }) => {
    await Deno.writeTextFile(`${dir}/ca.pem`, "-----BEGIN CERTIFICATE-----\n");
    const env = {
      AGENT_GRPC_URL: agent.url,
      HOME: dir,
      AGENT_GRPC_SERVER_CA_CERTS: `${dir}/ca.pem`,
    };
    const { exit, err } = await run(calls(dir)[0]![1], { env });
    assert.equal(exit, Exit.USAGE);
    assert.match(
      err,
      /are for agents of the seed era.*\nhint: Unset them, or use `cocos --compat`/,
    );
    assert.deepEqual(agent.calls, []);
  });
});
