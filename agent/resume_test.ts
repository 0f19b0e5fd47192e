// Transfers that go on after a broken connection, in the strict mode, over real connections.
import assert from "node:assert/strict";
import { hex, sha3_256 } from "../base/mod.ts";
import { DIGEST_KEY, OFFSET_KEY } from "../proto/mod.ts";
import { appears, finished } from "./_fakes.ts";
import { bytes, type Party, party, type Run } from "./_parties.ts";
import { Scene } from "./_scene.ts";
import { Caller, refused, strictRun } from "./_strict.ts";

const algorithm = bytes("#!/bin/sh\necho hello\n");
const [owner, other] = await Promise.all([party(), party()]);
const MIB = 1 << 20;

/** A dataset that is hashed by the worker. */
const data = Uint8Array.from({ length: 9 * MIB + 123 }, (_, i) => (i * 7 + (i >> 11)) & 0xff);

async function accepted(run: Run) {
  const scene = await Scene.start({
    mode: "strict",
    behaviour: async ({ dir }) => {
      await Deno.copyFile(`${dir}/datasets/a.bin`, `${dir}/results/a.bin`);
      return finished("ok");
    },
  });
  scene.server.manifest(run);
  assert.equal(await scene.server.until("runRes"), `runRes ${run.id} `);
  return scene;
}

const run = () =>
  strictRun(owner, algorithm, [
    { data, filename: "a.bin" },
    { data: bytes("b"), filename: "b.bin", owner: other },
  ]);

/** Pieces of the dataset from an offset up to an end. */
async function* piecesOf(from: number, to: number) {
  for (let at = from; at < to; at += MIB) {
    yield { dataset: data.slice(at, Math.min(at + MIB, to)), filename: "a.bin" };
  }
}

/** What the agent says it holds. */
async function held(caller: Caller, who: Party, item = "dataset:a.bin") {
  const payload = item === "algorithm" ? algorithm : data;
  const metadata = await caller.sign(who, "held", item, payload);
  const { bytes, digest, committed } = await caller.client.party.held({ item }, { metadata });
  return { bytes: Number(bytes), digest: hex(digest), committed };
}

/** Uploads pieces of the dataset, breaks the connection, and gives what the agent then holds. */
async function broken(scene: Scene, from: number, to: number) {
  const begun = appears(scene.work, "/incoming-"); // or is written to
  const gone = new AbortController();
  const sent = Promise.withResolvers<void>();
  const never = new Promise<never>(() => {});
  {
    await using caller = new Caller(scene.agent.config.grantedPort);
    const metadata = await caller.sign(owner, "data", "dataset:a.bin", data);
    const pieces = async function* () {
      yield* piecesOf(from, to);
      sent.resolve();
      await never;
    };
    const call = caller.client.agent.data(pieces(), {
      metadata: from === 0 ? metadata : { ...metadata, [OFFSET_KEY]: String(from) },
      signal: gone.signal,
    });
    const ended = assert.rejects(call, { code: "cancelled" });
    await Promise.all([begun, sent.promise]);
    gone.abort();
    await ended;
  }
  await using caller = new Caller(scene.agent.config.grantedPort);
  // The agent sees the break a moment later; until then the upload is under way, and nothing is held.
  for (let i = 0; i < 500; i++) {
    const found = await held(caller, owner);
    if (found.bytes > from) return found;
  }
  throw new Error("nothing is held");
}

/** Uploads the rest of the dataset. */
async function rest(caller: Caller, from: number): Promise<void> {
  const metadata = await caller.sign(owner, "data", "dataset:a.bin", data);
  await caller.client.agent.data(piecesOf(from, data.length), {
    metadata: { ...metadata, [OFFSET_KEY]: String(from) },
  });
}

Deno.test("G-15 an upload goes on where it broke off, again and again, and the whole is what counts", async () => {
  await using scene = await accepted(run());
  await using caller = new Caller(scene.agent.config.grantedPort);
  await caller.algo(owner, algorithm);
  assert.deepEqual(await held(caller, owner), { bytes: 0, digest: "", committed: false });
  const whole = { digest: hex(sha3_256(algorithm)), committed: true };
  assert.deepEqual(await held(caller, owner, "algorithm"), { bytes: algorithm.length, ...whole });
  let at = 0;
  for (const to of [3 * MIB, 9 * MIB]) {
    const { bytes, digest } = await broken(scene, at, to);
    assert.ok(bytes > at && bytes <= to, `${bytes} of ${to}`);
    assert.equal(digest, hex(sha3_256(data.subarray(0, bytes))));
    at = bytes;
  }
  await rest(caller, at);
  // Whoever lost the answer to the upload learns here that it was taken.
  assert.deepEqual(await held(caller, owner), {
    bytes: data.length,
    digest: hex(sha3_256(data)),
    committed: true,
  });
  await refused(held(caller, other), "permission-denied", /another party/);
  await caller.data(other, "b.bin", bytes("b"));
  await scene.server.until("event ConsumingResults/Ready");
  assert.ok(!scene.files().some((name) => name.includes("incoming")));
});

Deno.test("G-15 what is held is gone on with from exactly there, once, by its owner; or begun again", async () => {
  await using scene = await accepted(run());
  await using caller = new Caller(scene.agent.config.grantedPort);
  await caller.algo(owner, algorithm);
  const { bytes: at } = await broken(scene, 0, 4 * MIB);
  await refused(held(caller, other), "permission-denied", /another party/);
  for (const offset of [at - 1, at + 1, data.length, 2 ** 53 - 1]) {
    await refused(rest(caller, offset), "out-of-range", /cannot go on at/);
  }
  for (const offset of ["-1", "1.5", "0x10", "", "99999999999999999999"]) {
    const metadata = await caller.sign(owner, "data", "dataset:a.bin", data);
    const call = caller.client.agent.data(piecesOf(0, 1), {
      metadata: { ...metadata, [OFFSET_KEY]: offset },
    });
    await refused(call, "invalid-argument", /one whole number/);
  }
  assert.equal((await held(caller, owner)).bytes, at);
  // Of two that go on at once one has the file, and the other is told.
  const both = await Promise.allSettled([rest(caller, at), rest(caller, at)]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
});

Deno.test("G-15 a prefix that was changed is refused at the end, and can't be gone on with", async () => {
  await using scene = await accepted(run());
  await using caller = new Caller(scene.agent.config.grantedPort);
  await caller.algo(owner, algorithm);
  const { bytes: at } = await broken(scene, 0, 3 * MIB);
  const metadata = await caller.sign(owner, "data", "dataset:a.bin", data);
  const call = caller.client.agent.data(
    (async function* () {
      for await (const piece of piecesOf(at, data.length)) {
        piece.dataset[0] = 1 ^ (piece.dataset[0] as number);
        yield piece;
      }
    })(),
    { metadata: { ...metadata, [OFFSET_KEY]: String(at) } },
  );
  await refused(call, "digest-mismatch", /does not match/);
  assert.equal((await held(caller, owner)).bytes, 0);
  await caller.data(owner, "a.bin", data);
});

Deno.test("Z-1 G-5 a stop removes what is held of broken uploads", async () => {
  await using scene = await accepted(run());
  {
    await using caller = new Caller(scene.agent.config.grantedPort);
    await caller.algo(owner, algorithm);
    await broken(scene, 0, 3 * MIB);
  }
  scene.server.stop(run().id ?? "");
  await scene.server.until("stopRes");
  assert.deepEqual(scene.files(), ["/journal.json"]);
});

Deno.test("O-5 a result is gone on with from any byte, with the same digest; else out of range", async () => {
  await using scene = await accepted(run());
  await using caller = new Caller(scene.agent.config.grantedPort);
  await caller.algo(owner, algorithm);
  await caller.data(owner, "a.bin", data);
  await caller.data(other, "b.bin", bytes("b"));
  await scene.server.until("event ConsumingResults/Ready");
  const whole = await caller.result(owner);
  const digest = hex(sha3_256(whole));
  const from = async (metadata: Record<string, string>) => {
    const signed = await caller.sign(owner, "result", "result");
    const { headers, messages } = caller.client.agent.result({}, {
      metadata: { ...signed, ...metadata },
    });
    const parts: Uint8Array[] = [];
    for await (const { file } of messages) parts.push(file);
    assert.deepEqual((await headers).get("file-size"), [String(whole.length)]);
    assert.deepEqual((await headers).get(DIGEST_KEY), [digest]);
    return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
  };
  for (const offset of [0, 1, MIB, whole.length - 1, whole.length]) {
    const part = await from({ [OFFSET_KEY]: String(offset), [DIGEST_KEY]: digest });
    assert.equal(hex(sha3_256(part)), hex(sha3_256(whole.subarray(offset))), String(offset));
  }
  const beyond = { [OFFSET_KEY]: String(whole.length + 1), [DIGEST_KEY]: digest };
  await refused(from(beyond), "out-of-range", /the result has/);
  const changed = { [OFFSET_KEY]: "1", [DIGEST_KEY]: "0".repeat(64) };
  await refused(from(changed), "out-of-range", /another result/);
  await refused(from({ [OFFSET_KEY]: "1" }), "out-of-range", /another result/);
  await refused(from({ [OFFSET_KEY]: "-1", [DIGEST_KEY]: digest }), "invalid-argument", /whole/);
});

Deno.test("F-5 a program that shares a message with its requirements is kept as it was hashed", async () => {
  const program = Uint8Array.from({ length: 900_000 }, (_, i) => (i % 251) + 1);
  const requirements = bytes("numpy==2\n");
  const run = strictRun(owner, program);
  let kept: Uint8Array | undefined;
  await using scene = await Scene.start({
    mode: "strict",
    behaviour: async ({ dir }) => {
      kept = await Deno.readFile(`${dir}/algo`);
      return finished("ok");
    },
  });
  const requirementsHash = new Uint8Array(sha3_256(requirements));
  const more = { type: "python", requirementsHash };
  scene.server.manifest({ ...run, algorithm: { ...run.algorithm, ...more } });
  await scene.server.until("runRes");
  await using caller = new Caller(scene.agent.config.grantedPort);
  const metadata = await caller.sign(owner, "algo", "algorithm", program);
  const both = async function* () {
    yield { requirements, algorithm: program };
  };
  await caller.client.agent.algo(both(), { metadata });
  await scene.server.until("event ConsumingResults/Ready");
  assert.equal(hex(sha3_256(kept as Uint8Array)), hex(sha3_256(program)));
});
