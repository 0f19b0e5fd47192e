// Every way a signed request can be wrong, at a real front door, before a byte of payload is read.
import assert from "node:assert/strict";
import { type ErrorCode, hex } from "../base/mod.ts";
import { REQUEST_KEY, SIGNATURE_KEY, type SignedRequest } from "../proto/mod.ts";
import { CHALLENGE_SECONDS } from "./challenges.ts";
import { uploadOf } from "./_fakes.ts";
import { bytes, digest, party } from "./_parties.ts";
import { Scene } from "./_scene.ts";
import { Caller, ID, type Method, refused, strictRun } from "./_strict.ts";

const algorithm = bytes("#!/bin/sh\necho\n");
const A = bytes("rows");
const [owner, other, stranger] = await Promise.all([party(), party("ecdsa"), party()]);

async function started(env: Record<string, string> = {}) {
  const scene = await Scene.start({ mode: "strict", env });
  const run = strictRun(owner, algorithm, [
    { data: A, filename: "a.csv" },
    { data: bytes("more"), filename: "b.csv", owner: other },
  ], { logReaders: ["consumers"] });
  scene.server.manifest(run);
  assert.equal(await scene.server.until("runRes"), `runRes ${ID} `);
  const caller = new Caller(scene.agent.config.grantedPort);
  return {
    scene,
    caller,
    async [Symbol.asyncDispose]() {
      await caller[Symbol.asyncDispose]();
      await scene[Symbol.asyncDispose]();
    },
  };
}

/** What is signed wrongly, and how it is refused. */
const DEFECTS: [Partial<SignedRequest>, ErrorCode, RegExp][] = [
  [{ method: "/agent.AgentService/Nothing" }, "unauthenticated", /is for another method/],
  [{ computation: "1" }, "unauthenticated", /is for another computation/],
  [{ manifest: "00".repeat(32) }, "unauthenticated", /is for another manifest/],
  [{ channel: "00" }, "unauthenticated", /bound to a channel/],
  [{ lifetime: CHALLENGE_SECONDS + 1 }, "unauthenticated", /at most 60 seconds/],
  [{ challenge: "00".repeat(32) }, "unauthenticated", /has a challenge that was not given/],
  [{ item: "dataset:none" }, "undeclared-item", /item not declared/],
  [{ item: "" }, "undeclared-item", /item not declared/],
  [{ item: "dataset:b.csv" }, "permission-denied", /./],
];

/** Calls that carry a payload or none, the owner's own. */
const CALLS: [Method, string, Uint8Array][] = [
  ["algo", "algorithm", algorithm],
  ["data", "dataset:a.csv", A],
  ["result", "result", new Uint8Array()],
  ["held", "dataset:a.csv", A],
  ["acknowledge", "result", new Uint8Array()],
  ["output", "output", new Uint8Array()],
];

Deno.test("G-1 G-2 a request with any member wrong is refused by every method, and changes nothing", async () => {
  await using at = await started();
  for (const [method, item, payload] of CALLS) {
    for (const [change, code, text] of DEFECTS) {
      const call = at.caller.call(owner, method, item, payload, change);
      await refused(call, code, text);
    }
    await refused(
      at.caller.call(stranger, method, item, payload),
      "unauthenticated",
      "signature verification failed",
    );
  }
  at.scene.server.askState();
  assert.equal(await at.scene.server.until("stateRes"), "stateRes 7 ReceivingAlgorithm");
  assert.deepEqual(at.scene.files(), ["/journal.json"]);
});

Deno.test("G-7 payload and size that are not the manifest's are refused before a byte is read", async () => {
  await using at = await started();
  const changes: Partial<SignedRequest>[] = [
    { size: algorithm.length + 1 },
    { size: algorithm.length - 1 },
    { size: 0 },
    { size: Number.MAX_SAFE_INTEGER },
    { payload: hex(digest(A)) },
    { payload: "" },
  ];
  let read = 0;
  const never = async function* (): AsyncGenerator<Record<string, never>> {
    await new Promise(() => {});
    read++;
    yield {};
  };
  for (const change of changes) {
    const metadata = await at.caller.sign(owner, "algo", "algorithm", algorithm, change);
    const call = at.caller.client.agent.algo(never(), { metadata });
    await refused(call, "digest-mismatch", "payload and size signed for are not the manifest's");
  }
  // In a state that takes no data, and of an item that is in.
  const early = await at.caller.sign(owner, "data", "dataset:a.csv", A);
  await refused(
    at.caller.client.agent.data(never(), { metadata: early }),
    "wrong-state",
    /not expecting this operation/,
  );
  await at.caller.algo(owner, algorithm);
  await at.caller.data(owner, "a.csv", A);
  const again = await at.caller.sign(owner, "data", "dataset:a.csv", A);
  await refused(
    at.caller.client.agent.data(never(), { metadata: again }),
    "conflict",
    /have been received/,
  );
  const late = await at.caller.sign(owner, "algo", "algorithm", algorithm);
  await refused(
    at.caller.client.agent.algo(never(), { metadata: late }),
    "wrong-state",
    /not expecting this operation/,
  );
  assert.equal(read, 0);
});

Deno.test("G-7 an upload ends at the byte the manifest does not declare, and at the agent's own most", async () => {
  await using at = await started();
  const longer = new Uint8Array([...algorithm, 10]);
  const send = async (payload: Uint8Array) => {
    const metadata = await at.caller.sign(owner, "algo", "algorithm", algorithm);
    return await at.caller.send({
      method: "algo",
      metadata,
      item: "algorithm",
      payload,
      filename: "",
    });
  };
  await refused(send(longer), "too-large", /more than 15 bytes/);
  await refused(send(algorithm.subarray(1)), "digest-mismatch", /hash does not match/);
  await refused(send(new Uint8Array()), "invalid-argument", /algorithm binary is required/);
  assert.deepEqual(at.scene.files(), ["/journal.json"]);
  await using small = await started({ AGENT_MAX_UPLOAD_BYTES: "4" });
  await refused(small.caller.algo(owner, algorithm), "too-large", /more than 4 bytes/);
});

Deno.test("G-13 metadata of a signed request: absent, empty, repeated, not base64, changed, not alone", async () => {
  await using at = await started();
  const good = () => at.caller.sign(owner, "algo", "algorithm", algorithm);
  const without = async (key: string) => {
    const { [key]: _, ...rest } = await good();
    return rest;
  };
  const swapped = async (change: (text: string) => string) => {
    const made = await good();
    return { ...made, [REQUEST_KEY]: btoa(change(atob(made[REQUEST_KEY] as string))) };
  };
  const cases: [Record<string, string | readonly string[]>, RegExp][] = [
    [{}, /exactly one cocos-request, has 0/],
    [await without(REQUEST_KEY), /exactly one cocos-request, has 0/],
    [await without(SIGNATURE_KEY), /exactly one signature, has 0/],
    [{ ...await good(), [REQUEST_KEY]: "" }, /not base64|is not/],
    [{ ...await good(), [SIGNATURE_KEY]: "" }, /not base64/],
    [{ ...await good(), [SIGNATURE_KEY]: "AAAA" }, /verification failed/],
    [{ ...await good(), [SIGNATURE_KEY]: "%%%%" }, /not base64/],
    [{ ...await good(), [REQUEST_KEY]: "A".repeat(8_192) }, /acceptable length/],
    [await swapped((text) => text.replace(`"size":${algorithm.length}`, '"size":16')), /verif/],
    [await swapped((text) => text + " "), /canonical/],
    [await swapped((text) => text.replace("{", '{"a":1,')), /canonical/],
    [{ ...await good(), ...twice(await good()) }, /exactly one cocos-request, has 2/],
  ];
  for (const [metadata, text] of cases) {
    const call = at.caller.client.agent.algo(
      uploadOf(algorithm, (each) => ({ algorithm: each })),
      { metadata },
    );
    await refused(call, "unauthenticated", text);
  }
  // Metadata of the seed-era wire beside it change nothing; what they say is not asked.
  const metadata = { ...await good(), "user-id": "consumer" };
  await at.caller.client.agent.algo(uploadOf(algorithm, (each) => ({ algorithm: each })), {
    metadata,
  });
});

function twice(metadata: Record<string, string>) {
  const text = metadata[REQUEST_KEY] as string;
  return { [REQUEST_KEY]: [text, text] };
}

Deno.test("G-14 chunk tricks with a signed upload: other names, no content, endless empty messages", async () => {
  await using at = await started();
  await at.caller.algo(owner, algorithm);
  const { agent } = at.caller.client;
  const metadata = () => at.caller.sign(owner, "data", "dataset:a.csv", A);
  const half = (from: number, to: number) => new Uint8Array(A.slice(from, to));
  const stream = async function* <T>(...messages: T[]) {
    yield* messages;
  };
  const empties = async function* <T>(message: T) {
    while (true) yield message;
  };
  const cases: [
    AsyncIterable<{ dataset?: Uint8Array<ArrayBuffer>; filename?: string }>,
    ErrorCode,
  ][] = [
    [stream({ dataset: A, filename: "b.csv" }), "name-mismatch"],
    [stream({ dataset: A, filename: "../algo" }), "name-mismatch"],
    [
      stream({ dataset: half(0, 2), filename: "a.csv" }, {
        dataset: half(2, 4),
        filename: "b.csv",
      }),
      "name-mismatch",
    ],
    [stream(), "invalid-argument"],
    [stream({ filename: "a.csv" }), "invalid-argument"],
    [empties({ filename: "a.csv" }), "invalid-argument"],
  ];
  for (const [messages, code] of cases) {
    await refused(agent.data(messages, { metadata: await metadata() }), code, /./);
  }
  for (const decompress of ["true", "yes", ["false", "false"]]) {
    const call = agent.data(stream({ dataset: A }), {
      metadata: { ...await metadata(), decompress },
    });
    await refused(call, "invalid-argument", /decompress must be/);
  }
  assert.deepEqual(at.scene.files(), ["/job/algo", "/journal.json"]);
  await agent.data(stream({ dataset: half(0, 2) }, {}, { dataset: half(2, 4) }), {
    metadata: await metadata(),
  });
});
