// Event logs as bytes: what firmware writes and what none does, replays, and which data a digest covers.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { BANKS } from "../banks.ts";
import {
  BOOT,
  eventLog,
  type EventOrder,
  globalVariable,
  logEvent,
  logHeader,
  u32le,
} from "../forge/eventlog.ts";
import { join } from "../forge/der.ts";
import { flipped } from "../testdata/vectors.ts";
import type {} from "../verdict.ts";
import { bindingOf, bootFacts, compareLogs, parseEventLog, replay } from "./mod.ts";

Deno.test("A-9 bindingOf() never covers what the digest does not", () => {
  const [version, , , , , , , , , , loader, command] = parseEventLog(eventLog(BOOT), "tcg").events;
  assert.ok(version && loader && command);
  assert.equal(bindingOf(version).coverage, "data");
  assert.deepEqual(bindingOf(loader), { coverage: "opaque", bytes: new Uint8Array() });
  assert.equal(new TextDecoder().decode(bindingOf(command).bytes), "linux /vmlinuz");
  const lie = {
    register: 8,
    type: 0x0d,
    data: "kernel_cmdline: /vmlinuz ro\0",
    digested: "/vmlinuz rw",
  };
  const log = parseEventLog(eventLog([lie]), "tcg");
  assert.deepEqual(bootFacts(log, "sha256").texts, []);
  const digests = new Map([
    ...log.events[0]!.digests,
    ["sha256", BANKS.sha256.hash(new TextEncoder().encode("/vmlinuz ro"))] as const,
  ]);
  const half = { ...log.events[0]!, digests };
  assert.equal(bindingOf(half).coverage, "opaque", "one bank alone does not cover");
});

Deno.test("A-9 parseEventLog() takes register FFFFFFFF for no-action events only", () => {
  const note = { register: 0xffffffff, type: 3, data: "SP800-155 Event3" };
  const log = parseEventLog(eventLog([note, ...BOOT]), "tcg");
  assert.equal(log.events[0]?.register, -2);
  assert.deepEqual(replay(log), replay(parseEventLog(eventLog(BOOT), "tcg")));
  const extending = eventLog([{ ...note, type: 5 }, ...BOOT]);
  assert.throws(() => parseEventLog(extending, "tcg"), /register 4294967295, 23 is the last/);
});

Deno.test("A-9 parseEventLog() rejects what no firmware writes", () => {
  const good = eventLog(BOOT);
  const u32 = (at: number, value: number) => {
    const copy = good.slice();
    new DataView(copy.buffer).setUint32(at, value, true);
    return copy;
  };
  const first = logHeader(["sha1", "sha256"]).length;
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [u32(0, 2), /register of the header must be 0 or 1/],
    [u32(4, 4), /type of the header is wrong/],
    [flipped(good, 8 * 10), /digest of the header must be zero/],
    [u32(28, 0xffffffff), /bytes are due/],
    [u32(56, 0), /0 digest algorithms/],
    [u32(56, 17), /17 digest algorithms/],
    [u32(64, 0x0014_0004), /a digest algorithm twice/],
    [u32(60, 0x0015_0004), /a digest of 21 bytes/],
    [u32(60, 0x0041_0099), /a digest of 65 bytes/],
    [u32(first, 24), /register 24, 23 is the last/],
    [u32(first + 8, 0), /0 digests/],
    [u32(first + 8, 3), /3 digests/],
    [u32(first + 12, 0xd), /a digest algorithm the header does not name/],
    [u32(first + 12 + 22, 4), /a digest algorithm twice/],
    [good.subarray(0, good.length - 1), /bytes are due/],
    [Uint8Array.of(...good, 1, 0, 0, 0), /bytes are due/],
    [Uint8Array.of(...good, ...new Uint8Array(16).fill(0xff), 1), /register 4294967295/],
    [Uint8Array.of(...good, ...new Uint8Array(16).fill(7)), /register 117901063/],
    [Uint8Array.of(...good, 0, ...new Uint8Array(15).fill(0xff)), /register 4294967040/],
    [new Uint8Array(), /it is empty/],
    [new Uint8Array(32 * 16_386).map((_, at) => at % 32 === 4 ? 1 : 0), /more than 16384 events/],
    [new Uint8Array(4 * 1024 * 1024 + 1), /too many/],
  ];
  for (const [bytes, why] of cases) {
    assert.throws(() => parseEventLog(bytes, "tcg"), (error) => {
      assert.ok(error instanceof CocosError);
      assert.match(error.message, why);
      return true;
    }, String(why));
  }
  parseEventLog(Uint8Array.of(...good, ...new Uint8Array(64).fill(0xff)), "tcg");
  parseEventLog(Uint8Array.of(...good, ...new Uint8Array(64)), "tcg");
});

/** A log whose last event has a digest for the first of its banks only. */
function gapped(): Uint8Array {
  const event = logEvent({ register: 0, type: 1, data: "late" }, ["sha1"]);
  return join(eventLog(BOOT), event);
}

Deno.test("A-9 replay() gives no bank that an event leaves out", () => {
  const values = replay(parseEventLog(gapped(), "tcg"));
  assert.deepEqual([...values.keys()], ["sha1"]);
});

Deno.test("A-9 replay() takes a startup locality once, early, in range, and only on a PC", () => {
  const locality = (register: number, value: string) => ({
    register,
    type: 3,
    data: `StartupLocality\0${value}`,
  });
  const pcr0 = (orders: readonly EventOrder[], kind: "tcg" | "ccel" = "tcg") =>
    replay(parseEventLog(eventLog(orders, ["sha384"]), kind)).get("sha384")?.get(0);
  const event = { register: 0, type: 1, data: "code" };
  assert.deepEqual(pcr0([locality(0, "\x03")])?.at(-1), 3);
  assert.throws(() => pcr0([event, locality(0, "\x03")]), /after the first event of PCR 0/);
  assert.throws(
    () => pcr0([locality(0, "\x03"), locality(0, "\x03")]),
    /after the first event of PCR 0/,
  );
  assert.throws(() => pcr0([locality(0, "\x05")]), /a startup locality above 4/);
  assert.throws(() => pcr0([locality(0, "\x03\x03")]), /a startup locality above 4/);
  assert.deepEqual(pcr0([locality(1, "\x03")]), undefined);
  assert.deepEqual(pcr0([locality(1, "\x03")], "ccel"), new Uint8Array(48));
  assert.deepEqual(pcr0([locality(0, "\x03")], "ccel"), new Uint8Array(48));
});

Deno.test("A-9 bindingOf() covers nothing by a digest it can't compute, and bears broken variables", () => {
  const body = join(
    new TextEncoder().encode("Spec ID Event03\0"),
    u32le(0),
    Uint8Array.of(0, 2, 0, 2),
    u32le(1),
    Uint8Array.of(0x12, 0, 32, 0, 0),
  );
  const header = join(u32le(0), u32le(3), new Uint8Array(20), u32le(body.length), body);
  const digest = join(u32le(1), Uint8Array.of(0x12, 0), new Uint8Array(32));
  const sm3 = join(header, u32le(0), u32le(1), digest, u32le(2), Uint8Array.of(7, 7));
  const [unknown] = parseEventLog(sm3, "tcg").events;
  assert.ok(unknown);
  assert.equal(bindingOf(unknown).coverage, "opaque");
  for (
    const data of [
      new Uint8Array(10),
      globalVariable("X", new Uint8Array(3)).subarray(1),
      new Uint8Array(40).fill(0xff),
    ]
  ) {
    const [event] =
      parseEventLog(eventLog([{ register: 1, type: 0x80000002, data, digested: "other" }]), "tcg")
        .events;
    assert.ok(event);
    assert.equal(bindingOf(event).coverage, "mismatch");
  }
});

/** The boot with another event at that place. */
function changed(at: number, change: Partial<EventOrder>): EventOrder[] {
  return BOOT.map((order, index) => index === at ? { ...order, ...change } : order);
}

Deno.test("A-9 bootFacts() gives no version whose words are not its digest's, or that is not first", () => {
  const version = (orders: readonly EventOrder[]) =>
    bootFacts(parseEventLog(eventLog(orders), "tcg"), "sha256").firmwareVersion;
  assert.equal(version(BOOT), "1.0");
  assert.equal(version(changed(0, { digested: "another firmware" })), undefined);
  assert.equal(version([{ register: 0, type: 1, data: "code" }, ...BOOT]), undefined);
  assert.equal(version(changed(0, { data: Uint8Array.of(0xff, 0xfe, 0x01) })), "fffe01");
});

Deno.test("compareLogs() names where two boots part", () => {
  const other = [...BOOT.slice(0, 10), { ...BOOT[10]!, digested: "evil" }, ...BOOT.slice(11)];
  const parse = (orders: readonly EventOrder[]) => parseEventLog(eventLog(orders), "tcg");
  const [difference, ...more] = compareLogs(parse(BOOT), parse(other), "sha256");
  assert.deepEqual(more, []);
  assert.deepEqual([difference?.register, difference?.position, difference?.other?.index], [
    4,
    1,
    10,
  ]);
  assert.deepEqual(compareLogs(parse(BOOT), parse(BOOT), "sha256"), []);
  assert.equal(compareLogs(parse(BOOT), parse(BOOT.slice(0, -1)), "sha256")[0]?.other, undefined);
  const noted = [{ register: 4, type: 3, data: "SP800-155 Event" }, ...BOOT];
  assert.deepEqual(compareLogs(parse(BOOT), parse(noted), "sha256"), []);
});
