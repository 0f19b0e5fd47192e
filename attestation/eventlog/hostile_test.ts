// Event logs of an attacker: cut, reordered, doubled, relabelled, lying; and random damage.
import assert from "node:assert/strict";
import type { BankValues, Registers } from "../banks.ts";
import {
  BOOT,
  eventLog,
  type EventOrder,
  firmwareEvents,
  globalVariable,
  logHeader,
} from "../forge/eventlog.ts";
import { bitsToFlip, flipped } from "../testdata/vectors.ts";
import type { Verdict } from "../verdict.ts";
import {
  appraiseEventLog,
  bootFacts,
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

Deno.test("A-9 appraiseEventLog() guesses no kind: a log that reads as both needs a policy's word", async () => {
  const both = eventLog([{ register: 1, type: 4, data: new Uint8Array(4) }], ["sha384"]);
  const trusted = replay(parseEventLog(both, "ccel"));
  const policy = { banks: ["sha384"], registers: [0], secureBoot: "any" } as const;
  assert.deepEqual(await judge(both, trusted, { ...policy, kind: "ccel" }), []);
  assert.deepEqual(await judge(both, trusted, policy), ["eventlog.format"]);
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
