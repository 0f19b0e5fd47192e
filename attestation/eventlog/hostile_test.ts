// Event logs of an attacker: cut, reordered, doubled, relabelled, lying; and random damage.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { BANKS, type BankValues, type Registers } from "../banks.ts";
import {
  eventLog,
  type EventOrder,
  firmwareEvents,
  globalVariable,
  logEvent,
  logHeader,
  u32le,
} from "../forge/eventlog.ts";
import { join } from "../forge/der.ts";
import { bitsToFlip, flipped } from "../testdata/vectors.ts";
import type { Verdict } from "../verdict.ts";
import {
  appraiseEventLog,
  bindingOf,
  bootFacts,
  compareLogs,
  EVENTLOG_CHECKS,
  type EventLogCheck,
  type EventLogPolicy,
  explainEventLog,
  parseEventLog,
  replay,
} from "./mod.ts";

const POLICY = {
  kind: "tcg",
  banks: ["sha256"],
  registers: [0, 4, 7, 8],
  secureBoot: "on",
} as const satisfies EventLogPolicy;

const BOOT: readonly EventOrder[] = [
  ...firmwareEvents(),
  { register: 4, type: 0x80000003, data: "path of a loader", digested: "image of a loader" },
  { register: 8, type: 0x0d, data: "grub_cmd: linux /vmlinuz\0", digested: "linux /vmlinuz" },
  { register: 8, type: 0x0d, data: "kernel_cmdline: /vmlinuz ro\0", digested: "/vmlinuz ro" },
];

/** Registers of the honest boot: what the TPM quoted. */
const TRUSTED: BankValues = replay(parseEventLog(eventLog(BOOT), "tcg"));

/** Registers as a TPM would have them after exactly these events, whoever caused them. */
function quotedAfter(orders: readonly EventOrder[]): BankValues {
  return replay(parseEventLog(eventLog(orders), "tcg"));
}

function failed(verdict: Verdict): string[] {
  return verdict.checks.filter(({ ok, actual }) => !ok && actual !== "(not reached)").map((c) =>
    c.id
  );
}

async function judge(
  log: Uint8Array,
  trusted: BankValues = TRUSTED,
  policy: EventLogPolicy = POLICY,
): Promise<string[]> {
  const { verdict, facts } = await appraiseEventLog(log, policy, trusted);
  assert.equal(facts !== undefined, verdict.ok, "facts only after a good verdict");
  return failed(verdict);
}

function changed(at: number, change: Partial<EventOrder>): EventOrder[] {
  return BOOT.map((order, index) => index === at ? { ...order, ...change } : order);
}

Deno.test("appraiseEventLog() accepts the honest log", async () => {
  assert.deepEqual(await judge(eventLog(BOOT)), []);
  const { facts } = await appraiseEventLog(eventLog(BOOT), POLICY, TRUSTED);
  assert.deepEqual(facts, {
    secureBoot: "on",
    firmwareVersion: "1.0",
    programs: facts?.programs,
    texts: ["linux /vmlinuz", "/vmlinuz ro"],
    separatorFaults: [],
  });
});

const SEPARATOR = 2;

/**
 * Secure boot is off; a compromised OS extends PCR 7 by "on" and a separator. With `lie`, the log's
 * types, which nothing signs, hide the firmware's own variable and separator.
 */
function relabelled(lie: boolean): EventOrder[] {
  const [version, , ...rest] = BOOT;
  const off = globalVariable("SecureBoot", Uint8Array.of(0));
  const [type, other] = [lie ? 0x0d : 0x80000001, lie ? 0x0d : 4];
  return [
    version!,
    { register: 7, type, data: lie ? "nothing to see" : off, digested: off },
    ...rest.map((order) =>
      order.register === 7
        ? {
          ...order,
          type: other,
          data: lie ? "move along" : new Uint8Array(4),
          digested: new Uint8Array(4),
        }
        : order
    ),
    { register: 7, type: 0x80000001, data: globalVariable("SecureBoot", Uint8Array.of(1)) },
    { register: 7, type: 4, data: new Uint8Array(4) },
  ];
}

const LIES: readonly (readonly [string, readonly EventLogCheck[], Uint8Array, BankValues])[] = [
  ["an empty log", ["eventlog.format"], new Uint8Array(), TRUSTED],
  ["a log without events", ["eventlog.format"], logHeader(["sha256"]), TRUSTED],
  [
    "a log of no-action events",
    ["eventlog.format"],
    eventLog([{ register: 0, type: 3, data: "x" }]),
    TRUSTED,
  ],
  ["the last event is missing", ["eventlog.replay"], eventLog(BOOT.slice(0, -1)), TRUSTED],
  [
    "one event more than was signed",
    ["eventlog.replay"],
    eventLog([...BOOT, BOOT.at(-1)!]),
    TRUSTED,
  ],
  [
    "two events swapped",
    ["eventlog.replay"],
    eventLog([...BOOT.slice(0, -2), BOOT.at(-1)!, BOOT.at(-2)!]),
    TRUSTED,
  ],
  [
    "an event hidden as no-action",
    ["eventlog.replay"],
    eventLog(changed(10, { type: 3 })),
    TRUSTED,
  ],
  [
    "an event moved to another PCR",
    ["eventlog.replay"],
    eventLog(changed(10, { register: 5 })),
    TRUSTED,
  ],
  [
    "another startup locality",
    ["eventlog.replay"],
    eventLog([{ register: 0, type: 3, data: "StartupLocality\0\x03" }, ...BOOT]),
    TRUSTED,
  ],
  [
    "a startup locality after PCR 0 was extended",
    ["eventlog.replay"],
    eventLog([...BOOT, { register: 0, type: 3, data: "StartupLocality\0\x03" }]),
    TRUSTED,
  ],
  [
    "a variable whose words are not its digest's",
    ["eventlog.digests", "eventlog.secure-boot"],
    eventLog(changed(1, { digested: globalVariable("SecureBoot", Uint8Array.of(0)) })),
    quotedAfter(changed(1, { data: globalVariable("SecureBoot", Uint8Array.of(0)) })),
  ],
  [
    "an action whose words are not its digest's",
    ["eventlog.digests"],
    eventLog([...BOOT, {
      register: 5,
      type: 0x80000007,
      data: "Exit Boot Services",
      digested: "Returning from Boot",
    }]),
    TRUSTED,
  ],
  [
    "a separator that says the boot failed",
    ["eventlog.separators"],
    eventLog(changed(SEPARATOR, { data: Uint8Array.of(1, 0, 0, 0) })),
    quotedAfter(changed(SEPARATOR, { data: Uint8Array.of(1, 0, 0, 0) })),
  ],
  [
    "a separator twice",
    ["eventlog.separators"],
    eventLog([...BOOT, BOOT[SEPARATOR]!]),
    quotedAfter([...BOOT, BOOT[SEPARATOR]!]),
  ],
  [
    "a separator missing",
    ["eventlog.separators"],
    eventLog(BOOT.filter((_, at) => at !== SEPARATOR + 3)),
    TRUSTED,
  ],
  [
    "secure boot off",
    ["eventlog.secure-boot"],
    eventLog([...firmwareEvents(0), ...BOOT.slice(10)]),
    quotedAfter([...firmwareEvents(0), ...BOOT.slice(10)]),
  ],
  [
    "secure boot claimed by the OS after the separator",
    ["eventlog.secure-boot"],
    eventLog([...BOOT.filter((_, at) => at !== 1), BOOT[1]!]),
    quotedAfter([...BOOT.filter((_, at) => at !== 1), BOOT[1]!]),
  ],
  [
    "secure boot claimed by the OS behind relabelled separators",
    ["eventlog.separators", "eventlog.secure-boot"],
    eventLog(relabelled(true)),
    quotedAfter(relabelled(false)),
  ],
  [
    "secure boot said twice",
    ["eventlog.secure-boot"],
    eventLog([BOOT[1]!, ...BOOT]),
    quotedAfter([BOOT[1]!, ...BOOT]),
  ],
];

for (const [name, ids, log, trusted] of LIES) {
  Deno.test(`A-9 appraiseEventLog() refuses ${name}`, async () => {
    assert.deepEqual(await judge(log, trusted), ids);
  });
}

const HOLES: readonly (readonly [string, readonly EventLogCheck[], EventLogPolicy])[] = [
  ["names no kind", ["eventlog.format"], { ...POLICY, kind: undefined! }],
  ["names the other kind", ["eventlog.format"], { ...POLICY, kind: "ccel" }],
  ["selects no register", ["eventlog.replay"], { ...POLICY, registers: [] }],
  ["selects a register nobody quoted", ["eventlog.replay"], { ...POLICY, registers: [0, 11] }],
  ["counts no bank", ["eventlog.replay"], { ...POLICY, banks: [] }],
  ["counts only SHA-1", ["eventlog.replay"], { ...POLICY, banks: ["sha1"] }],
  ["counts a bank nobody quoted", ["eventlog.replay"], { ...POLICY, banks: ["sha512"] }],
  ["does not say what secure boot must be", ["eventlog.secure-boot"], {
    ...POLICY,
    secureBoot: undefined!,
  }],
];

for (const [name, ids, policy] of HOLES) {
  Deno.test(`A-9 appraiseEventLog() refuses under a policy that ${name}`, async () => {
    const given = Object.fromEntries(Object.entries(policy).filter(([, v]) => v !== undefined));
    assert.deepEqual(await judge(eventLog(BOOT), TRUSTED, given), ids);
  });
}

Deno.test("every check of EVENTLOG_CHECKS alone refuses some log", () => {
  const alone = new Set([...LIES, ...HOLES].map(([, ids]) => ids.join()));
  assert.deepEqual(EVENTLOG_CHECKS.filter((id) => !alone.has(id)), []);
  assert.deepEqual(explainEventLog(POLICY).map(({ id }) => id), [...EVENTLOG_CHECKS]);
});

Deno.test("A-9 a register value the log's digest gives in one bank does not pass in another", async () => {
  const log = eventLog(BOOT, ["sha1", "sha256", "sha384"]);
  const trusted = replay(parseEventLog(log, "tcg"));
  const wrong: Registers = new Map(
    [...trusted.get("sha384") ?? []].map(([i, v]) => [i, flipped(v, 3)]),
  );
  const policy = { ...POLICY, banks: ["sha256", "sha384"] } as const;
  assert.deepEqual(await judge(log, trusted, policy), []);
  const mixed: BankValues = new Map([...trusted, ["sha384", wrong]]);
  assert.deepEqual(await judge(log, mixed, policy), ["eventlog.replay"]);
});

Deno.test("A-9 compareReplay() says that a log is longer than what was signed", async () => {
  const longer = eventLog([...BOOT, {
    register: 8,
    type: 0x0d,
    data: "grub_cmd: halt\0",
    digested: "halt",
  }]);
  const { verdict } = await appraiseEventLog(longer, POLICY, TRUSTED);
  const check = verdict.checks.find(({ id }) => id === "eventlog.replay");
  assert.match(check?.actual ?? "", /the first 2 events give the trusted value: 1 more were added/);
});

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

Deno.test("A-9 bootFacts() gives no version whose words are not its digest's, or that is not first", () => {
  const version = (orders: readonly EventOrder[]) =>
    bootFacts(parseEventLog(eventLog(orders), "tcg"), "sha256").firmwareVersion;
  assert.equal(version(BOOT), "1.0");
  assert.equal(version(changed(0, { digested: "another firmware" })), undefined);
  assert.equal(version([{ register: 0, type: 1, data: "code" }, ...BOOT]), undefined);
  assert.equal(version(changed(0, { data: Uint8Array.of(0xff, 0xfe, 0x01) })), "fffe01");
});

Deno.test("A-9 appraiseEventLog() guesses no kind: a log that reads as both needs a policy's word", async () => {
  const both = eventLog([{ register: 1, type: 4, data: new Uint8Array(4) }], ["sha384"]);
  const trusted = replay(parseEventLog(both, "ccel"));
  const policy = { banks: ["sha384"], registers: [0], secureBoot: "any" } as const;
  assert.deepEqual(await judge(both, trusted, { ...policy, kind: "ccel" }), []);
  assert.deepEqual(await judge(both, trusted, policy), ["eventlog.format"]);
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

Deno.test("A-9 A-14 appraiseEventLog() refuses every flipped bit of digests, registers and types", async () => {
  const log = eventLog(BOOT);
  const header = logHeader(["sha1", "sha256"]).length;
  for (const bit of bitsToFlip(log.length, 3000)) {
    const ids = await judge(flipped(log, bit)).catch((error) => [String(error)]);
    if (ids.length > 0) continue;
    const left = parseEventLog(log, "tcg");
    const right = parseEventLog(flipped(log, bit), "tcg");
    const at = left.events.findLast((event) => event.offset <= bit >> 3);
    const note = `bit ${bit} of event ${at?.index}`;
    if (bit >> 3 < header) continue; // version numbers of the header: no claim follows from them
    assert.ok(at, note);
    const [before, after] = [bootFacts(left, "sha256"), bootFacts(right, "sha256")];
    assert.deepEqual({ ...after, firmwareVersion: 0, texts: 0 }, {
      ...before,
      firmwareVersion: 0,
      texts: 0,
    }, note);
    // A type or a prefix that is no longer the expected one may hide a text, never make one.
    assert.ok([before.firmwareVersion, undefined].includes(after.firmwareVersion), note);
    assert.deepEqual(after.texts.filter((text) => !before.texts.includes(text)), [], note);
  }
});
