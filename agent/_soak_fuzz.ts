// Soaks of what strangers may send before anything else is known of them: signed requests and strict
// manifests, broken at random. One is let in when it is exactly right; all others are typed refusals
// (threats G-2, G-12, G-13, M-2, M-6).
import { CocosError, messageOf } from "../base/mod.ts";
import { REQUEST_KEY, SIGNATURE_KEY, type SignedRequest, signRequest } from "../proto/mod.ts";
import { authorize, type Credentials } from "./authorize.ts";
import { Computation } from "./computation.ts";
import { readManifest } from "./manifest.ts";
import { datasetClaim } from "./data.ts";
import { bytes, digest, manifestBytes, party } from "./_parties.ts";
import { type Outcome, randomOf } from "./_soak.ts";
import { ID, strictRun } from "./_strict.ts";
import type { Job } from "./work.ts";

type Random = (n: number) => number;

/** Texts that have broken parsers before. */
const HOSTILE = [
  "",
  "\0",
  "-1",
  "1e9",
  "null",
  "{}",
  "[]",
  '"',
  "\\",
  "../",
  "é",
  "\ud800",
  "__proto__",
];

const pick = <T>(random: Random, list: readonly T[]): T => list[random(list.length)] as T;

/** A text with something changed in it; it may come out the same. */
function damaged(text: string, random: Random): string {
  const at = random(text.length + 1);
  switch (random(6)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + text.slice(at + 1 + random(8));
    case 2:
      return text.slice(0, at) + String.fromCharCode(random(128)) + text.slice(at + 1);
    case 3:
      return text.slice(0, at) + pick(random, HOSTILE) + text.slice(at);
    case 4:
      return text + text.slice(at);
    default:
      return text.slice(0, at) + text.slice(at).toUpperCase();
  }
}

const base64 = (text: string) => new TextEncoder().encode(text).toBase64();
const fromBase64 = (text: string) => new TextDecoder().decode(Uint8Array.fromBase64(text));

/** Another value of a member: of the right form, or of none. */
function otherMember(request: SignedRequest, random: Random): SignedRequest {
  const members = Object.keys(request) as (keyof SignedRequest)[];
  const member = pick(random, members);
  const value = request[member];
  const other = typeof value === "number"
    ? pick(random, [0, -1, value + 1, 2 ** 53, NaN, 60.5, 1e99, "60"])
    : pick(random, [damaged(value, random), "00".repeat(32), pick(random, HOSTILE), 7, true, []]);
  return { ...request, [member]: other };
}

/** Signed requests: `runs` of them, each right or changed in its members, its text or its signature. */
export async function requests(runs: number, seed: number): Promise<Outcome> {
  const random = randomOf(seed);
  const [owner, other] = await Promise.all([party(), party()]);
  const data = bytes("rows");
  const run = strictRun(owner, bytes("#!/bin/sh\n"), [{ data, filename: "a.csv" }]);
  const manifest = readManifest(manifestBytes(run), "strict");
  const computation = new Computation(manifest, new Uint8Array(), {} as Job);
  const claims = manifest.datasets.map(datasetClaim);
  const failures: string[] = [];
  const codes: Record<string, number> = {};
  for (let i = 0; i < runs; i++) {
    const connection = {};
    const right: SignedRequest = {
      method: "/agent.AgentService/Data",
      computation: ID,
      manifest: manifest.agreement?.digest ?? "",
      item: "dataset:a.csv",
      payload: digest(data).toHex(),
      size: data.length,
      challenge: computation.challenges.give(connection).toHex(),
      channel: "",
      lifetime: 60,
    };
    const way = random(5);
    const signed = way === 0 ? otherMember(right, random) : right;
    let metadata: Record<string, string>;
    try {
      metadata = signRequest(signed, way === 1 ? other.key : owner.key);
    } catch {
      continue; // It has no canonical form: nobody can send it.
    }
    const before = { ...metadata };
    if (way === 2) {
      metadata[REQUEST_KEY] = base64(damaged(fromBase64(before[REQUEST_KEY] as string), random));
    }
    if (way === 3) metadata[REQUEST_KEY] = damaged(before[REQUEST_KEY] as string, random);
    if (way === 4) metadata[SIGNATURE_KEY] = damaged(before[SIGNATURE_KEY] as string, random);
    const same = way !== 1 && Object.entries(right).every(([key, value]) =>
      signed[key as keyof SignedRequest] === value
    ) && Object.entries(before).every(([key, value]) => metadata[key] === value);
    const call: Credentials = {
      connection,
      method: right.method,
      metadata: { get: (key) => metadata[key] === undefined ? [] : [metadata[key]] },
    };
    // A lifetime below the challenge's is a right one as well, signed by its owner.
    const shorter = signed.lifetime < 60 && way === 0;
    try {
      const { signer } = authorize(computation, call, "data-provider", claims);
      codes.admitted = (codes.admitted ?? 0) + 1;
      if (!(same || shorter) || signer.id !== manifest.parties[0]?.id) {
        failures.push(`let in: ${JSON.stringify(metadata)}`);
      }
    } catch (thrown) {
      if (!(thrown instanceof CocosError)) {
        failures.push(`${messageOf(thrown)}: ${JSON.stringify(metadata)}`);
        continue;
      }
      codes[thrown.code] = (codes[thrown.code] ?? 0) + 1;
      if (same) failures.push(`refused: ${thrown.message}: ${JSON.stringify(metadata)}`);
    }
  }
  return { runs, failures, figures: codes };
}

/** Strict manifests: the bytes of a right one, `runs` times changed at random. */
export async function manifests(runs: number, seed: number): Promise<Outcome> {
  const random = randomOf(seed);
  const [owner, other] = await Promise.all([party(), party("ecdsa")]);
  const run = strictRun(owner, bytes("#!/bin/sh\n"), [
    { data: bytes("a"), filename: "a.csv" },
    { data: bytes("b"), filename: "b.csv", owner: other },
  ], {
    limits: { wallSeconds: 60n, memoryBytes: 1n << 30n, diskBytes: 1n << 20n },
    logReaders: ["consumers"],
    resultConsumers: [{ userKey: owner.spki }, { userKey: other.spki }],
  });
  const right = manifestBytes(run);
  const agreed = readManifest(right, "strict").agreement?.digest;
  const failures: string[] = [];
  const codes: Record<string, number> = {};
  for (let i = 0; i < runs; i++) {
    const changed = damagedBytes(right, random);
    try {
      const { agreement } = readManifest(changed, "strict");
      const what = agreement?.digest === agreed ? "the same agreement" : "another agreement";
      codes[what] = (codes[what] ?? 0) + 1;
    } catch (thrown) {
      if (thrown instanceof CocosError && thrown.code !== "internal") {
        codes[thrown.code] = (codes[thrown.code] ?? 0) + 1;
      } else failures.push(`${messageOf(thrown)}: ${changed.toHex()}`);
    }
  }
  return { runs, failures, figures: codes };
}

/** Bytes with one to four changes. */
function damagedBytes(bytes: Uint8Array, random: Random): Uint8Array {
  let made = bytes.slice();
  for (let i = random(4); i >= 0; i--) {
    const at = random(made.length);
    switch (random(5)) {
      case 0:
        made[at] = (made[at] ?? 0) ^ (1 << random(8));
        break;
      case 1:
        made[at] = random(256);
        break;
      case 2:
        made = made.slice(0, at);
        break;
      case 3:
        made = Uint8Array.from([...made.slice(0, at), ...made.slice(at + 1 + random(16))]);
        break;
      default: {
        const from = random(made.length);
        made = Uint8Array.from([
          ...made.slice(0, at),
          ...made.slice(from, from + random(64)),
          ...made.slice(at),
        ]);
      }
    }
  }
  return made;
}
