// Soaks of bytes on the wire: damaged protobuf messages at the front door of a whole agent, and archives
// with names that want to be somewhere else. Whatever comes, the agent answers, keeps its state, and
// nothing lies outside its folder (threats G-12, F-1, F-3, R2).
import { Buffer } from "node:buffer";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { CocosError } from "../base/mod.ts";
import { ROLES } from "../proto/mod.ts";
import { finished, uploadOf } from "./_fakes.ts";
import { bytes, party, runOf } from "./_parties.ts";
import { Scene } from "./_scene.ts";
import { type Outcome, randomOf } from "./_soak.ts";
import { zipOf } from "./_zip.ts";
import { unzip } from "./unzip.ts";

type Random = (n: number) => number;

/** Calls that are under way at one time. */
const PARALLEL = 24;

const pick = <T>(random: Random, list: readonly T[]): T => list[random(list.length)] as T;

/** A varint, now and then too long for its type or without an end. */
function varint(random: Random): number[] {
  switch (random(4)) {
    case 0:
      return [random(128)];
    case 1:
      return [...Array.from({ length: random(12) }, () => 0x80 | random(128)), random(128)];
    case 2:
      return [0xff, 0xff, 0xff, 0xff, 0x0f];
    default:
      return Array.from({ length: 1 + random(11) }, () => 0x80 | random(128));
  }
}

/** Bytes after the grammar of protobuf, with lies: fields, wire types, lengths, nesting. */
function message(random: Random, depth = 0): number[] {
  const out: number[] = [];
  for (let fields = random(5); fields >= 0; fields--) {
    const number = pick(random, [1, 2, 3, 4, 100, 0, 15, 16, 2_047]);
    const wire = random(8);
    const tag = number * 8 + wire;
    out.push(...(tag < 128 ? [tag] : [0x80 | (tag & 127), tag >> 7]));
    if (wire === 0) out.push(...varint(random));
    else if (wire === 1) out.push(...Array.from({ length: random(9) }, () => random(256)));
    else if (wire === 5) out.push(...Array.from({ length: random(5) }, () => random(256)));
    else if (wire === 2) {
      const inner = depth < 20 && random(2) === 0
        ? message(random, depth + 1)
        : Array.from({ length: random(20) }, () => random(256));
      const length = random(8) === 0 ? varint(random) : [inner.length & 127];
      out.push(...length, ...inner);
    }
  }
  return random(5) === 0 ? out.slice(0, random(out.length + 1)) : out;
}

/** A message as one of ours would send it, with up to three bytes changed. */
function damaged(random: Random): Uint8Array {
  const honest = [10, 5, 1, 2, 3, 4, 5, 18, 3, 97, 46, 98];
  for (let i = random(4); i > 0; i--) honest[random(honest.length)] = random(256);
  return Uint8Array.from(honest);
}

const METHODS = [
  "Algo",
  "Data",
  "Result",
  "Attestation",
  "IMAMeasurements",
  "AzureAttestationToken",
].map((name) => `/agent.AgentService/${name}`);

/** `runs` calls with a message that is wrong in some way. */
export async function messages(runs: number, seed: number): Promise<Outcome> {
  const random = randomOf(seed);
  const failures: string[] = [];
  const figures: Record<string, number> = {};
  const uncaught = (event: ErrorEvent | PromiseRejectionEvent) => {
    event.preventDefault();
    const why = "reason" in event ? event.reason : event.error;
    failures.push(`uncaught: ${why?.stack ?? why}`);
  };
  globalThis.addEventListener("error", uncaught);
  globalThis.addEventListener("unhandledrejection", uncaught);
  const owner = await party();
  const algorithm = bytes("#!/bin/sh\n");
  await using scene = await Scene.start({
    behaviour: () => Promise.resolve(finished("ok")),
    env: { AGENT_LOG_LEVEL: "error" },
  });
  const { server } = scene;
  server.manifest(runOf(owner, algorithm, [{ data: bytes("a") }]));
  await server.until("runRes 1 ");
  const upload = async (role: "algorithm" | "data") => {
    await using client = scene.agent.client();
    const metadata = owner.sign(ROLES[role]);
    if (role === "data") {
      await client.data(uploadOf(bytes("a"), (dataset) => ({ dataset })), { metadata });
    } else await client.algo(uploadOf(algorithm, (each) => ({ algorithm: each })), { metadata });
  };
  await upload("algorithm");
  const target = `127.0.0.1:${scene.agent.config.grantedPort}`;
  const clients = Array.from({ length: 4 }, () => new Client(target, credentials.createInsecure()));
  const same = (value: Uint8Array) => Buffer.from(value);
  const one = () => {
    const path = pick(random, METHODS);
    const metadata = new Metadata();
    if (random(3) > 0) {
      const role = pick(random, [ROLES.algorithm, ROLES.data, ROLES.consumer]);
      for (const [key, value] of Object.entries(owner.sign(role))) metadata.set(key, value);
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const call = pick(random, clients).makeBidiStreamRequest(path, same, same, metadata);
    call.on("data", () => {});
    call.on("error", () => {});
    call.on("status", ({ code }: { code: number }) => {
      figures[`status ${code}`] = (figures[`status ${code}`] ?? 0) + 1;
      resolve();
    });
    for (let i = random(3); i >= 0; i--) {
      call.write(random(2) === 0 ? damaged(random) : Uint8Array.from(message(random)));
    }
    call.end();
    return promise;
  };
  let begun = 0;
  const worker = async () => {
    while (begun++ < runs) await one();
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  for (const client of clients) client.close();
  server.askState();
  const state = await server.until("stateRes");
  if (state !== "stateRes 7 ReceivingData") failures.push(state);
  try {
    await upload("data");
    await server.until("event ConsumingResults/Ready");
  } catch (error) {
    failures.push(`the computation did not go on: ${error}`);
  }
  globalThis.removeEventListener("error", uncaught);
  globalThis.removeEventListener("unhandledrejection", uncaught);
  return { runs, failures: failures.slice(0, 5), figures };
}

/** Parts that names which lead elsewhere are made of. */
const PARTS = [
  "a",
  "b",
  "A",
  "..",
  ".",
  "",
  "/",
  "\\",
  "C:",
  "~",
  "\0",
  "\n",
  "\x1b[2J",
  "..\\",
  "é",
  "e\u0301",
  "\ufffd",
  "a".repeat(256),
  "-rf",
  "con",
  "%2e%2e",
  "\u202e",
  " ",
  ".. ",
];

function name(random: Random): string | Uint8Array {
  const text = Array.from(
    { length: 1 + random(4) },
    () => pick(random, PARTS) + (random(2) === 0 ? pick(random, PARTS) : ""),
  ).join(pick(random, ["/", "/", "/", "", "\\"]));
  if (random(6) > 0) return text;
  // Bytes that are no UTF-8, or no name at all.
  const raw = new TextEncoder().encode(text).slice(0, 60_000);
  if (raw.length > 0) raw[random(raw.length)] = random(256);
  return raw;
}

/** `runs` archives whose names, kinds and headers lie. */
export async function names(runs: number, seed: number): Promise<Outcome> {
  const random = randomOf(seed);
  const failures: string[] = [];
  const figures = { refused: 0, unpacked: 0 };
  const root = await Deno.makeTempDir({ dir: "/dev/shm" }).catch(() => Deno.makeTempDir());
  const [archive, into, beside] = [`${root}/a.zip`, `${root}/in`, `${root}/beside`];
  Deno.mkdirSync(beside);
  try {
    for (let i = 0; i < runs && failures.length < 5; i++) {
      const entries = Array.from({ length: 1 + random(3) }, () => ({
        name: name(random),
        data: "x",
        ...(random(6) === 0
          ? { mode: pick(random, [0o120777, 0o010644, 0o104755, 0o040755]) }
          : {}),
        ...(random(10) === 0 ? { local: { name: pick(random, PARTS) } } : {}),
        ...(random(12) === 0 ? { flags: random(65_536) } : {}),
      }));
      Deno.writeFileSync(archive, zipOf(entries));
      try {
        const top = await unzip(archive, into, { maxBytes: 1_000 });
        figures.unpacked++;
        const found = [...Deno.readDirSync(into)].map((each) => each.name).sort();
        if (found.join("\0") !== [...top].sort().join("\0")) failures.push(`run ${i}: ${found}`);
        for (const each of found) {
          const info = Deno.lstatSync(`${into}/${each}`);
          if (!info.isFile && !info.isDirectory) failures.push(`run ${i}: no plain file`);
        }
        Deno.removeSync(into, { recursive: true });
      } catch (error) {
        if (!(error instanceof CocosError)) failures.push(`run ${i}: ${error}`);
        figures.refused++;
      }
      const around = [...Deno.readDirSync(root)].map((each) => each.name).sort().join();
      if (around !== "a.zip,beside") failures.push(`run ${i}: ${around} lies there`);
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
  return { runs, failures, figures };
}
