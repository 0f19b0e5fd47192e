// Event logs of real machines: every replayed register as its source says.
import assert from "node:assert/strict";
import { type Bank, isBank } from "../banks.ts";
import { ownText, ownVector, vector } from "../testdata/vectors.ts";
import { decodeAttestation } from "../tpm/mod.ts";
import { toHex } from "../verdict.ts";
import { appraiseEventLog, bootFacts, mismatches, parseEventLog, replay } from "./mod.ts";

const PCRS: Record<string, Record<string, Record<string, string>>> = JSON.parse(
  ownText("eventlog/expected-pcrs.json"),
);
const RTMRS: Record<string, string[]> = JSON.parse(ownText("eventlog/expected-rtmrs.json"));

for (const [file, banks] of Object.entries(PCRS)) {
  Deno.test(`replay() of ${file} gives the PCRs of its machine`, () => {
    const log = parseEventLog(ownVector(`eventlog/${file}`), "tcg");
    const values = replay(log);
    let compared = 0;
    for (const [name, registers] of Object.entries(banks)) {
      assert.ok(isBank(name));
      for (const [index, value] of Object.entries(registers)) {
        assert.equal(toHex(values.get(name)?.get(Number(index)) ?? new Uint8Array()), value);
        compared++;
      }
    }
    assert.ok(compared >= 8);
    assert.deepEqual(mismatches(log), []);
    if (file !== "arch-linux-workstation.bin") {
      assert.deepEqual(bootFacts(log, "sha1").separatorFaults, []);
    }
  });
}

for (const [file, rtmrs] of Object.entries(RTMRS)) {
  Deno.test(`replay() of ${file} gives the RTMRs of its machine`, () => {
    const bytes = vector(`eventlog/${file}`);
    if (!bytes) return;
    const log = parseEventLog(bytes, "ccel");
    const values = replay(log).get("sha384");
    assert.deepEqual([0, 1, 2, 3].map((i) => toHex(values?.get(i) ?? new Uint8Array())), rtmrs);
    assert.deepEqual(mismatches(log), []);
  });
}

Deno.test("replay() of a CCEL gives RTMR 0 to 2 of the quote of the same machine", async () => {
  const quote = ownVector("tdx/cos113-quote.bin");
  const bytes = ownVector("tdx/cos113-ccel.bin");
  const rtmrs = new Map([0, 1, 2, 3].map((i) => [i, quote.slice(0x178 + 48 * i, 0x1a8 + 48 * i)]));
  const policy = {
    kind: "ccel",
    banks: ["sha384"],
    registers: [0, 1, 2],
    secureBoot: "any",
  } as const;
  const { verdict, facts } = await appraiseEventLog(bytes, policy, new Map([["sha384", rtmrs]]));
  assert.deepEqual(verdict.checks.filter(({ ok }) => !ok), []);
  assert.equal(facts?.texts.length, 15);
  assert.ok(facts?.texts.some((text) => /root=/.test(text)));
});

Deno.test("appraiseEventLog() accepts Google's log under its quoted registers", async () => {
  const { eventLog, quotes } = decodeAttestation(
    ownVector("tpm/gce-cos85-nonce9009.attestation.pb"),
  );
  const trusted = new Map(quotes.map(({ bank, pcrs }) => [bank, pcrs] as const));
  const registers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];
  for (const bank of ["sha256", "sha384"] as Bank[]) {
    const policy = { kind: "tcg", banks: [bank], registers, secureBoot: "any" } as const;
    const { verdict } = await appraiseEventLog(eventLog, policy, trusted);
    assert.deepEqual(verdict.checks.filter(({ ok }) => !ok), []);
  }
});

Deno.test("A-9 replay() of the seed's log, which firmware cut at 64 KiB, misses three PCRs", () => {
  const { eventLog, quotes } = decodeAttestation(ownVector("tpm/cocos-vtpm-quote.attestation.pb"));
  const [quote] = quotes;
  assert.ok(quote);
  const log = parseEventLog(eventLog, "tcg");
  assert.equal(log.form, "sha1");
  const values = replay(log).get("sha1");
  const wrong = [...quote.pcrs].filter(([index, value]) =>
    index < 10 && toHex(values?.get(index) ?? new Uint8Array(20)) !== toHex(value)
  );
  assert.deepEqual(wrong.map(([index]) => index).sort(), [5, 8, 9]);
});

Deno.test("bootFacts() reads secure boot, version and command line from covered data", () => {
  const facts = (file: string, bank: Bank) =>
    bootFacts(parseEventLog(ownVector(`eventlog/${file}`), "tcg"), bank);
  const ubuntu = facts("ubuntu-2404-amd-sevsnp.bin", "sha256");
  assert.match(ubuntu.firmwareVersion ?? "", /GCE/);
  assert.equal(ubuntu.texts.length, 71);
  assert.ok(ubuntu.texts.some((text) => /root=/.test(text)));
  assert.ok(ubuntu.programs.length >= 2);
  const states = Object.keys(PCRS).map((file) => [file, facts(file, "sha1").secureBoot]);
  assert.equal(Object.fromEntries(states)["arch-linux-workstation.bin"], "unknown");
  assert.equal(Object.fromEntries(states)["rhel8-uefi.bin"], "on");
});
