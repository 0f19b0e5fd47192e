import assert from "node:assert/strict";
import { CHALLENGE_SECONDS, Challenges, MAX_CHALLENGES } from "./challenges.ts";

Deno.test("G-2 a challenge works once, on its own connection", () => {
  const challenges = new Challenges();
  const [one, two] = [{}, {}];
  const challenge = challenges.give(one).toHex();
  assert.equal(challenge.length, 64);
  assert.equal(challenges.take(two, challenge), undefined);
  assert.ok((challenges.take(one, challenge) ?? assert.fail()) < CHALLENGE_SECONDS);
  assert.equal(challenges.take(one, challenge), undefined);
  assert.equal(challenges.take(one, "00".repeat(32)), undefined);
  assert.equal(new Challenges().take(one, challenges.give(one).toHex()), undefined);
});

Deno.test("H-5 a challenge ends by the monotonic clock, and so does its place", () => {
  let now = 0;
  const challenges = new Challenges(() => now);
  const connection = {};
  const [early, late] = [challenges.give(connection).toHex(), challenges.give(connection).toHex()];
  now = CHALLENGE_SECONDS * 1_000 - 1;
  assert.equal(challenges.take(connection, early), CHALLENGE_SECONDS - 0.001);
  now++;
  assert.equal(challenges.take(connection, late), undefined);
});

Deno.test("G-2 one connection's challenges are bounded, and it can't use up another's", () => {
  let now = 0;
  const challenges = new Challenges(() => now);
  const [greedy, honest] = [{}, {}];
  const kept = challenges.give(honest).toHex();
  const seen = new Set<string>();
  for (let i = 0; i < MAX_CHALLENGES; i++) seen.add(challenges.give(greedy).toHex());
  assert.equal(seen.size, MAX_CHALLENGES);
  assert.throws(() => challenges.give(greedy), { code: "exhausted" });
  assert.notEqual(challenges.take(honest, kept), undefined);
  now = CHALLENGE_SECONDS * 1_000;
  assert.equal(challenges.give(greedy).length, 32);
});
