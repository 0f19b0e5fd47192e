import assert from "node:assert/strict";
import { CocosError, Status } from "../base/mod.ts";
import { type AgentService, ROLES, type RpcClient } from "../proto/mod.ts";
import { appears, finished, uploadOf } from "./_fakes.ts";
import { Scene } from "./_scene.ts";
import { bytes, type Party, party, type Run, runOf } from "./_parties.ts";
import { zipOf } from "./_zip.ts";

const algorithm = bytes("#!/bin/sh\n");
const [owner, other, third] = await Promise.all([party(), party("ecdsa"), party()]);

const WRONG_STATE = [
  Status.UNKNOWN,
  "agent not expecting this operation in the current state",
] as const;
const ALL_RECEIVED = [Status.UNKNOWN, "all expected manifest Items have been received"] as const;
const BAD_SIGNATURE = [Status.UNAUTHENTICATED, "signature verification failed"] as const;
const BAD_METADATA = [
  Status.UNAUTHENTICATED,
  "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata",
] as const;

type Client = RpcClient<typeof AgentService>;
type Metadata = Record<string, string | readonly string[]>;

/** A scene whose manifest is accepted, and a client of its front door. */
async function accepted(run: Run, behaviour?: Parameters<typeof Scene.start>[0]) {
  const scene = await Scene.start(behaviour ?? {});
  scene.server.manifest(run);
  assert.equal(await scene.server.until("runRes"), "runRes 1 ");
  const client = scene.agent.client();
  return {
    scene,
    client,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await scene[Symbol.asyncDispose]();
    },
  };
}

const algo = (client: Client, data = algorithm, metadata: Metadata = owner.sign(ROLES.algorithm)) =>
  client.algo(uploadOf(data, (chunk) => ({ algorithm: chunk })), { metadata });

const data = (
  client: Client,
  content: Uint8Array,
  filename = "",
  signer: Party = owner,
  metadata: Metadata = {},
) =>
  client.data(uploadOf(content, (dataset) => ({ dataset, filename })), {
    metadata: { ...signer.sign(ROLES.data), ...metadata },
  });

const unpack = (client: Client, archive: Uint8Array, decompress = "true") =>
  data(client, archive, "", owner, { decompress });

async function result(client: Client, signer = owner): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const { messages } = client.result({}, { metadata: signer.sign(ROLES.consumer) });
  for await (const { file } of messages) parts.push(file);
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

async function refused(call: Promise<unknown>, [status, text]: readonly [number, string | RegExp]) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof CocosError);
    if (typeof text === "string") assert.equal(error.message, text);
    else assert.match(error.message, text);
    assert.equal(error.status, status);
    return true;
  });
}

Deno.test("G-1 every method refuses wrong, absent and malformed signatures before the first byte", async () => {
  const run = runOf(owner, algorithm, [{ data: bytes("a") }]);
  await using at = await accepted(run);
  const defects: [Metadata, readonly [number, string]][] = [
    [{}, BAD_METADATA],
    [{ signature: "" }, BAD_SIGNATURE],
    [{ signature: ["AAAA", "AAAA"] }, BAD_METADATA],
    [{ signature: "AAAA" }, BAD_SIGNATURE],
    [{ signature: "not base64!" }, BAD_SIGNATURE],
    [other.sign(ROLES.algorithm), BAD_SIGNATURE],
    [other.sign(ROLES.data), BAD_SIGNATURE],
    [other.sign(ROLES.consumer), BAD_SIGNATURE],
    [{ ...owner.sign("stranger" as never) }, BAD_SIGNATURE],
  ];
  let read = 0;
  const never = async function* (): AsyncGenerator<Record<string, never>> {
    // The server answers at open: the client is never asked for a message it would wait for.
    await new Promise(() => {});
    read++;
    yield {};
  };
  for (const [metadata, expected] of defects) {
    await refused(at.client.algo(never(), { metadata }), expected);
    await refused(at.client.data(never(), { metadata }), expected);
    await refused(
      (async () => {
        for await (const _ of at.client.result({}, { metadata }).messages);
      })(),
      expected,
    );
  }
  assert.equal(read, 0);
  at.scene.server.askState();
  assert.equal(await at.scene.server.until("stateRes"), "stateRes 7 ReceivingAlgorithm");
  assert.deepEqual(at.scene.files(), ["/journal.json"]);
});

Deno.test("G-3 a signature of one role opens no method of another", async () => {
  await using at = await accepted(runOf(owner, algorithm, [{ data: bytes("a") }]));
  const roles = Object.values(ROLES);
  for (const role of roles) {
    const metadata = owner.sign(role);
    if (role !== ROLES.algorithm) {
      await refused(algo(at.client, algorithm, metadata), BAD_SIGNATURE);
    }
    if (role !== ROLES.data) {
      await refused(data(at.client, bytes("a"), "", owner, metadata), BAD_SIGNATURE);
    }
    if (role !== ROLES.consumer) {
      await refused(
        (async () => {
          for await (const _ of at.client.result({}, { metadata }).messages);
        })(),
        BAD_SIGNATURE,
      );
    }
  }
});

Deno.test("Algo refuses with the Go agent's texts and codes, and nothing stays on disk", async () => {
  await using at = await accepted(runOf(owner, algorithm, [{ data: bytes("a") }]));
  const { client, scene } = at;
  await refused(data(client, bytes("a")), WRONG_STATE);
  await refused(algo(client, new Uint8Array()), [Status.UNKNOWN, "algorithm binary is required"]);
  await refused(algo(client, bytes("other")), [
    Status.UNKNOWN,
    "malformed data, hash does not match manifest",
  ]);
  await refused(result(client), [Status.UNKNOWN, "computation results are not yet ready"]);
  const sign = owner.sign(ROLES.algorithm);
  for (
    const [metadata, text] of [
      [{ algo_type: "elf" }, /^algorithm type must be one of bin, python, wasm, docker/],
      [{ algo_type: "BIN" }, /^algorithm type must be one of/],
      [{ algo_type: "python", python_runtime: "/tmp/evil" }, /^python runtime must be/],
    ] as const
  ) {
    await refused(algo(client, algorithm, { ...sign, ...metadata }), [Status.UNKNOWN, text]);
  }
  assert.deepEqual(scene.files(), ["/journal.json"]);
  await algo(client);
  await refused(algo(client), WRONG_STATE);
  assert.deepEqual(scene.files(), ["/job/algo", "/journal.json"]);
});

Deno.test("Algo: an absent or empty type is bin, an empty python runtime is the image's", async () => {
  for (
    const [metadata, kind] of [
      [{}, "bin"],
      [{ algo_type: "" }, "bin"],
      [{ algo_type: "python", python_runtime: "" }, "python"],
      [{ algo_type: "wasm" }, "wasm"],
      [{ algo_type: "docker" }, "docker"],
    ] as const
  ) {
    await using at = await accepted(runOf(owner, algorithm));
    await algo(at.client, algorithm, { ...owner.sign(ROLES.algorithm), ...metadata });
    await at.scene.server.until("event ConsumingResults/Ready");
    assert.equal(at.scene.runner.jobs[0]?.kind, kind);
    assert.equal(at.scene.runner.jobs[0]?.pythonRuntime, "");
  }
});

Deno.test("Data refuses with the Go agent's texts and codes", async () => {
  const run = runOf(owner, algorithm, [
    { data: bytes("named"), filename: "right.csv" },
    { data: bytes("free") },
  ]);
  await using at = await accepted(run);
  const { client, scene } = at;
  await algo(client);
  await refused(data(client, new Uint8Array()), [Status.UNKNOWN, "dataset is required"]);
  await refused(data(client, bytes("unknown")), [
    Status.UNKNOWN,
    "dataset not declared in computation manifest",
  ]);
  const wrongName = [Status.UNKNOWN, "malformed data, filename does not match manifest"] as const;
  await refused(data(client, bytes("named"), "wrong.csv"), wrongName);
  await refused(data(client, bytes("named")), wrongName);
  await refused(unpack(client, bytes("free"), "maybe"), [
    Status.UNKNOWN,
    "decompress must be true or false",
  ]);
  await refused(unpack(client, bytes("free")), [
    Status.UNKNOWN,
    /^error decompressing dataset: /,
  ]);
  assert.deepEqual(scene.files(), ["/job/algo", "/journal.json"]);
  await data(client, bytes("free"), "../../anything");
  await refused(data(client, bytes("free")), [
    Status.UNKNOWN,
    "dataset not declared in computation manifest",
  ]);
  await data(client, bytes("named"), "right.csv");
  await scene.server.until("event ConsumingResults/Ready");
  await refused(data(client, bytes("free")), WRONG_STATE);
});

Deno.test("F-1 an uploaded name is never a path: files are named by the manifest and the agent", async () => {
  const names = [
    "../algo",
    "/etc/passwd",
    "a/../../b",
    "..\\x",
    "a\0b",
    ".",
    "",
    "x".repeat(4_000),
  ];
  const datasets = names.map((_, i) => ({ data: bytes(`data ${i}`) }));
  let seen: string[] = [];
  await using at = await accepted(runOf(owner, algorithm, datasets), {
    behaviour: async ({ dir }) => {
      seen = [...Deno.readDirSync(`${dir}/datasets`)].map(({ name }) => name).sort();
      assert.equal(await Deno.readTextFile(`${dir}/algo`), "#!/bin/sh\n");
      return finished("ok");
    },
  });
  await algo(at.client);
  for (const [i, filename] of names.entries()) {
    await data(at.client, bytes(`data ${i}`), filename);
  }
  await at.scene.server.until("event ConsumingResults/Ready");
  assert.deepEqual(seen, names.map((_, i) => `dataset-${i}`));
});

Deno.test("G-4 a dataset is taken from its owner only, also under its right name", async () => {
  const run = runOf(owner, algorithm, [
    { data: bytes("mine"), filename: "mine", owner },
    { data: bytes("theirs"), filename: "theirs", owner: other },
  ]);
  await using at = await accepted(run);
  await algo(at.client);
  const denied = [
    Status.PERMISSION_DENIED,
    "dataset not declared in computation manifest",
  ] as const;
  for (const filename of ["mine", "theirs", ""]) {
    await refused(data(at.client, bytes("theirs"), filename, owner), denied);
    await refused(data(at.client, bytes("mine"), filename, other), denied);
  }
  await refused(data(at.client, bytes("mine"), "mine", third), BAD_SIGNATURE);
  await data(at.client, bytes("mine"), "mine");
  // All of the signer's items are in: refused at the first message, whatever it holds.
  await refused(data(at.client, bytes("theirs"), "theirs"), ALL_RECEIVED);
  await data(at.client, bytes("theirs"), "theirs", other);
  await at.scene.server.until("event ConsumingResults/Ready");
});

Deno.test("M-4 the same digest declared twice needs two uploads", async () => {
  const twice = [{ data: bytes("same") }, { data: bytes("same") }];
  await using at = await accepted(runOf(owner, algorithm, twice));
  await algo(at.client);
  await data(at.client, bytes("same"));
  at.scene.server.askState();
  assert.equal(await at.scene.server.until("stateRes"), "stateRes 7 ReceivingData");
  await data(at.client, bytes("same"));
  await at.scene.server.until("event ConsumingResults/Ready");
});

/** An upload that waits before its last message until it is let go. */
function held<T>(first: T, last: T) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const messages = async function* () {
    yield first;
    begun.resolve();
    await promise;
    yield last;
  };
  return { messages: messages(), begun: begun.promise, go: resolve };
}

Deno.test("G-9 of two parallel uploads of one item one wins, the other is refused", async () => {
  const content = bytes("0123456789");
  const chunk = (from: number, to: number) => ({
    dataset: new Uint8Array(content.slice(from, to)),
  });
  await using at = await accepted(
    runOf(owner, algorithm, [{ data: content }, { data: bytes("b") }]),
  );
  await algo(at.client);
  const metadata = owner.sign(ROLES.data);
  const [a, b] = [held(chunk(0, 5), chunk(5, 10)), held(chunk(0, 5), chunk(5, 10))];
  const uploads = [
    at.client.data(a.messages, { metadata }),
    at.client.data(b.messages, { metadata }),
  ];
  const both = Promise.allSettled(uploads);
  await Promise.all([a.begun, b.begun]);
  a.go();
  await uploads[0];
  b.go();
  const [first, second] = await both;
  assert.equal(first?.status, "fulfilled");
  assert.equal(second?.status, "rejected");
  await refused(Promise.reject((second as PromiseRejectedResult).reason), ALL_RECEIVED);
  assert.deepEqual(at.scene.files(), ["/job/algo", "/job/datasets/dataset-0", "/journal.json"]);
  await data(at.client, bytes("b"));
  await at.scene.server.until("event ConsumingResults/Ready");
});

Deno.test("G-5 an upload begun in one computation ends with it, and reaches no other", async () => {
  const run = runOf(owner, algorithm, [{ data: bytes("0123456789") }]);
  await using at = await accepted(run);
  await algo(at.client);
  const chunk = (text: string) => ({ dataset: bytes(text) });
  const before = at.scene.agent.agent.current();
  const upload = held(chunk("01234"), chunk("56789"));
  const call = at.client.data(upload.messages, { metadata: owner.sign(ROLES.data) });
  const ended = assert.rejects(call);
  await upload.begun;
  at.scene.server.stop();
  await at.scene.server.until("stopRes 1 ");
  await ended;
  at.scene.server.manifest(run);
  await at.scene.server.until("runRes 1 ");
  upload.go();
  // What was checked before the stop can't be committed after it either.
  assert.throws(
    () => at.scene.agent.agent.commitDataset(before, () => assert.fail(), {} as never),
    {
      message: "the computation was stopped",
    },
  );
  at.scene.server.askState();
  assert.equal(await at.scene.server.until("stateRes"), "stateRes 7 ReceivingAlgorithm");
  assert.deepEqual(at.scene.files(), ["/journal.json"]);
});

Deno.test("G-7 what is not wanted now is refused at its first message, whatever follows", async () => {
  const run = runOf(owner, algorithm, [
    { data: bytes("a") },
    { data: bytes("b"), owner: other },
  ]);
  await using at = await accepted(run);
  const { client, scene } = at;
  let sent = 0;
  // More than a gRPC client puts into its own buffer before it hears the answer.
  const flood = async function* <T>(message: T) {
    for (sent = 0; sent < 200;) {
      sent++;
      yield message;
    }
  };
  const chunk = new Uint8Array(1 << 20);
  const asOwner = { metadata: owner.sign(ROLES.data) };
  const unwanted = async (call: Promise<unknown>, expected: readonly [number, string]) => {
    const files = scene.files();
    await refused(call, expected);
    assert.ok(sent <= 20, `${sent} messages were taken`);
    assert.deepEqual(scene.files(), files);
  };
  await unwanted(client.data(flood({ dataset: chunk, filename: "x" }), asOwner), WRONG_STATE);
  await algo(client);
  const asProvider = { metadata: owner.sign(ROLES.algorithm) };
  await unwanted(client.algo(flood({ algorithm: chunk }), asProvider), WRONG_STATE);
  // The signer has given all it owes, the other party has not.
  await data(client, bytes("a"));
  await unwanted(client.data(flood({ dataset: chunk }), asOwner), ALL_RECEIVED);
});

Deno.test("G-7 an upload past the configured size is refused and leaves nothing", async () => {
  await using at = await accepted(runOf(owner, algorithm), {
    env: { AGENT_MAX_UPLOAD_BYTES: "4096" },
  });
  await refused(algo(at.client, new Uint8Array(10_000)), [
    Status.RESOURCE_EXHAUSTED,
    /more than 4096 bytes/,
  ]);
  assert.deepEqual(at.scene.files(), ["/journal.json"]);
});

Deno.test("G-14 chunk tricks: a second name, endless empty chunks, requirements after the algorithm", async () => {
  await using at = await accepted(runOf(owner, algorithm, [{ data: bytes("ab"), filename: "n" }]));
  const { client } = at;
  const python = { ...owner.sign(ROLES.algorithm), algo_type: "python" };
  const stream = async function* <T>(...messages: T[]) {
    yield* messages;
  };
  const empties = async function* <T>(message: T) {
    while (true) yield message;
  };
  const order = [Status.UNKNOWN, /^requirements are taken/] as const;
  await refused(
    client.algo(stream({ algorithm }, { requirements: bytes("x") }), { metadata: python }),
    order,
  );
  await refused(
    client.algo(stream({ requirements: bytes("x") }, { algorithm }), {
      metadata: owner.sign(ROLES.algorithm),
    }),
    order,
  );
  const many = [Status.UNKNOWN, "too many messages without content"] as const;
  await refused(client.algo(empties({}), { metadata: python }), many);
  await algo(client);
  const metadata = owner.sign(ROLES.data);
  await refused(client.data(empties({ filename: "n" }), { metadata }), many);
  await refused(
    client.data(
      stream({ dataset: bytes("a"), filename: "n" }, { dataset: bytes("b"), filename: "m" }),
      { metadata },
    ),
    [Status.UNKNOWN, "malformed data, filename does not match manifest"],
  );
  await client.data(stream({ dataset: bytes("a"), filename: "n" }, {}, { dataset: bytes("b") }), {
    metadata,
  });
  await at.scene.server.until("event ConsumingResults/Ready");
});

Deno.test("G-15 a client that dies during its upload leaves the item expected and no file", async () => {
  const content = bytes("x".repeat(5_000));
  await using at = await accepted(runOf(owner, algorithm, [{ data: content }]));
  await algo(at.client);
  for (let chunks = 1; chunks <= 4; chunks++) {
    const gone = new AbortController();
    const begun = appears(at.scene.work, "incoming");
    const dying = async function* () {
      for (let i = 0; i < chunks; i++) {
        yield { dataset: new Uint8Array(content.slice(i * 1000, (i + 1) * 1000)) };
      }
      await begun;
      gone.abort();
    };
    await assert.rejects(
      at.client.data(dying(), { metadata: owner.sign(ROLES.data), signal: gone.signal }),
    );
    await at.scene.server.until(/Method Data took .* with error/);
    assert.deepEqual(at.scene.files(), ["/job/algo", "/journal.json"]);
  }
  await data(at.client, content);
  await at.scene.server.until("event ConsumingResults/Ready");
});

Deno.test("F-2 F-3 an archive is unpacked beside the other datasets, or refused whole", async () => {
  const good = zipOf([{ name: "part/a.csv", data: "a" }, { name: "b.csv", data: "b" }]);
  const clash = zipOf([{ name: "B.CSV", data: "mine now" }]);
  const reserved = zipOf([{ name: "plain.csv", data: "mine now" }]);
  const slip = zipOf([{ name: "../algo", data: "evil" }]);
  let seen: string[] = [];
  const run = runOf(owner, algorithm, [
    { data: good },
    { data: clash },
    { data: reserved },
    { data: slip },
    { data: bytes("plain"), filename: "plain.csv" },
  ]);
  await using at = await accepted(run, {
    behaviour: ({ dir }) => {
      seen = [...Deno.readDirSync(`${dir}/datasets`)].map(({ name }) => name).sort();
      return Promise.resolve(finished("ok"));
    },
  });
  await algo(at.client);
  await unpack(at.client, good);
  const error = (text: RegExp) => [Status.UNKNOWN, text] as const;
  await refused(unpack(at.client, clash), error(/name of another dataset/));
  await refused(
    unpack(at.client, reserved),
    error(/name of another dataset/),
  );
  await refused(
    unpack(at.client, slip),
    error(/^error decompressing dataset: /),
  );
  for (const archive of [clash, reserved, slip]) {
    await unpack(at.client, archive, "false");
  }
  await data(at.client, bytes("plain"), "plain.csv");
  await at.scene.server.until("event ConsumingResults/Ready");
  assert.deepEqual(seen, ["b.csv", "dataset-1", "dataset-2", "dataset-3", "part", "plain.csv"]);
  // The server hears that archives were refused, and none of the names in them (threats R7).
  const heard = at.scene.server.received.filter((text) => text.includes("Method Data"));
  assert.equal(heard.filter((text) => text.includes("not acceptable")).length, 3, heard.join("\n"));
  assert.ok(heard.every((text) => !/entry|name of another/.test(text)), heard.join("\n"));
});

Deno.test("requirements come as a text file or as an archive of wheels, else are refused", async () => {
  const wheels = zipOf([{ name: "requirements.txt", data: "a\n" }, {
    name: "a-1-py3-none-any.whl",
    data: "w",
  }]);
  const cases: [Uint8Array, string[] | RegExp][] = [
    [bytes("numpy==2.0\n"), ["requirements.txt"]],
    [wheels, ["a-1-py3-none-any.whl", "requirements.txt"]],
    [zipOf([{ name: "a.whl", data: "w" }]), /must hold requirements.txt/],
    [
      zipOf([{ name: "requirements.txt", data: "" }, { name: "evil.sh", data: "" }]),
      /must be requirements.txt or a wheel/,
    ],
    [
      zipOf([{ name: "requirements.txt", data: "" }, { name: "d/a.whl", data: "" }]),
      /must be requirements.txt or a wheel/,
    ],
  ];
  for (const [requirements, expected] of cases) {
    let seen: string[] = [];
    await using at = await accepted(runOf(owner, algorithm), {
      behaviour: ({ dir, request }) => {
        assert.equal(request.hasRequirements, true);
        seen = [...Deno.readDirSync(`${dir}/requirements`)].map(({ name }) => name).sort();
        return Promise.resolve(finished("ok"));
      },
    });
    const stream = async function* () {
      yield { requirements: new Uint8Array(requirements) };
      yield { algorithm };
    };
    const metadata = { ...owner.sign(ROLES.algorithm), algo_type: "python" };
    const call = at.client.algo(stream(), { metadata });
    if (expected instanceof RegExp) {
      await refused(call, [Status.UNKNOWN, expected]);
      assert.deepEqual(at.scene.files(), ["/journal.json"]);
    } else {
      await call;
      await at.scene.server.until("event ConsumingResults/Ready");
      assert.deepEqual(seen, expected);
    }
  }
});

/** A computation at ConsumingResults with these consumers. */
async function ready(consumers: Party[], bytesOfResult = 8 << 20) {
  const run = runOf(owner, algorithm, [], {
    resultConsumers: consumers.map(({ spki }) => ({ userKey: spki })),
  });
  const at = await accepted(run, {
    behaviour: async ({ dir }) => {
      await Deno.writeFile(`${dir}/results/model`, new Uint8Array(bytesOfResult).fill(7));
      return finished("ok");
    },
  });
  await algo(at.client);
  await at.scene.server.until("event ConsumingResults/Ready");
  return at;
}

Deno.test("O-3 Complete comes when every consumer has everything; a broken download does not count", async () => {
  await using at = await ready([owner, other, third]);
  const { server } = at.scene;
  for (let chunks = 0; chunks < 3; chunks++) {
    const gone = new AbortController();
    const { messages } = at.client.result({}, {
      metadata: third.sign(ROLES.consumer),
      signal: gone.signal,
    });
    await assert.rejects(async () => {
      let seen = 0;
      for await (const _ of messages) if (seen++ === chunks) gone.abort();
    });
  }
  const first = await result(at.client, owner);
  await result(at.client, other);
  await result(at.client, other);
  server.askState();
  assert.equal(await server.until("stateRes"), "stateRes 7 ConsumingResults");
  assert.deepEqual(await result(at.client, third), first);
  await server.until("event Complete/Completed");
});

Deno.test("O-2 O-4 O-6 a stranger gets nothing; after Complete the results are purged and refused", async () => {
  await using at = await ready([owner]);
  await refused(result(at.client, other), BAD_SIGNATURE);
  assert.deepEqual(at.scene.files(), ["/job/results.zip", "/journal.json"]);
  await result(at.client);
  await at.scene.server.until("event Complete/Completed");
  await refused(result(at.client), [
    Status.UNKNOWN,
    "computation results were purged after every consumer had received them",
  ]);
  assert.deepEqual(at.scene.files(), ["/journal.json"]);
});

Deno.test("O-7 a failed run gives consumers the reason, nobody partial results", async () => {
  for (
    const [end, text] of [
      [finished("exit", { code: 3 }), "algorithm execution error: exit status 3"],
      [finished("signal", { signal: 9 }), "algorithm execution error: signal: killed"],
      [finished("timeout"), "algorithm execution error: time limit exceeded"],
      [finished("oom"), "algorithm execution error: out of memory"],
      [
        finished("install-failed", { message: "no wheel" }),
        "error installing requirements: no wheel",
      ],
      [finished("start-failed", { message: "no ELF" }), "error starting algorithm: no ELF"],
    ] as const
  ) {
    await using at = await accepted(runOf(owner, algorithm), {
      behaviour: async ({ dir }) => {
        await Deno.writeTextFile(`${dir}/results/partial`, "half");
        return end;
      },
    });
    await algo(at.client);
    await at.scene.server.until("event Running/Failed");
    await at.scene.server.until("event Failed/Failed");
    await refused(result(at.client), [Status.UNKNOWN, text]);
    assert.deepEqual(at.scene.files(), ["/journal.json"]);
  }
});

Deno.test("A-18 without a TEE no evidence is given, never a sample", async () => {
  await using at = await accepted(runOf(owner, algorithm));
  const ask = async (
    request: {
      type?: number;
      teeNonce?: Uint8Array<ArrayBuffer>;
      vtpmNonce?: Uint8Array<ArrayBuffer>;
    },
  ) => {
    for await (const _ of at.client.attestation(request).messages);
  };
  const code = Status.UNKNOWN;
  await refused(ask({ teeNonce: new Uint8Array(65) }), [
    code,
    "malformed report data, expect less or equal to 64 bytes",
  ]);
  await refused(ask({ vtpmNonce: new Uint8Array(33) }), [
    code,
    "malformed vTPM nonce, expect less or equal to 32 bytes",
  ]);
  for (const type of [0, 4]) await refused(ask({ type }), [code, /^failed to get raw quote : /]);
  for (const type of [1, 2]) await refused(ask({ type }), [code, /^failed to get vTPM quote : /]);
  for (const type of [3, 5, 9, -1]) {
    await refused(ask({ type }), [code, "invalid attestation type"]);
  }
  await refused(
    (async () => {
      for await (const _ of at.client.iMAMeasurements({}).messages);
    })(),
    [code, /^error reading Linux IMA measurements file: open /],
  );
  await refused(at.client.azureAttestationToken({ tokenNonce: new Uint8Array(33) }), [
    code,
    "malformed vTPM nonce, expect less or equal to 32 bytes",
  ]);
  await refused(at.client.azureAttestationToken({}), [
    code,
    "attestation type does not exist or is not supported",
  ]);
});
