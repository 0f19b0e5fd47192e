// IMA lists of an attacker: each entry forged, cut, hidden or moved is refused, and
// only a signed PCR 10 of a strong bank counts.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { type Bank, BANKS, type BankValues } from "../banks.ts";
import {
  asciiList,
  binaryList,
  digestField,
  type ImaOrder,
  measured,
  nameField,
  pcr10,
} from "../forge/ima.ts";
import { bitsToFlip, flipped } from "../testdata/vectors.ts";
import { toHex, type Verdict } from "../verdict.ts";
import {
  allowListOf,
  appraiseIma,
  coverageOf,
  explainIma,
  IMA_CHECKS,
  type ImaCheck,
  type ImaPolicy,
  ImaReplay,
  isDigestText,
  makeAllowList,
  parseImaList,
  parseSnapshot,
} from "./mod.ts";

const BOOT_PCRS = new Map(Array.from({ length: 10 }, (_, i) => [i, new Uint8Array(32).fill(i)]));
const joined = new Uint8Array(320);
for (const [i, value] of BOOT_PCRS) joined.set(value, 32 * i);
const AGGREGATE: ImaOrder = {
  template: "ima-ng",
  fields: [digestField("sha256", BANKS.sha256.hash(joined)), nameField("boot_aggregate")],
};

const LIST: readonly ImaOrder[] = [
  AGGREGATE,
  measured("/init", "init"),
  measured("/usr/bin/agent", "agent"),
  measured("/usr/lib/a_b", "library"),
];

const ALLOWED = allowListOf(parseImaList(binaryList(LIST)));

const POLICY = {
  banks: ["sha256"],
  extend: "own",
  tail: "refuse",
  violations: "refuse",
  algorithms: ["sha256"],
  bootAggregate: "required",
  allowed: ALLOWED,
} as const satisfies ImaPolicy;

/** Registers as a TPM that saw these entries would quote them. */
function quoted(orders: readonly ImaOrder[], banks: readonly Bank[] = ["sha256"]): BankValues {
  return new Map(banks.map((bank) => [
    bank,
    new Map([...(bank === "sha256" ? BOOT_PCRS : []), [10, pcr10(orders, bank)]]),
  ]));
}

async function judge(
  list: Uint8Array,
  registers: BankValues = quoted(LIST),
  policy: ImaPolicy = POLICY,
): Promise<string[]> {
  const { verdict, entries } = await appraiseIma(list, policy, { registers });
  assert.equal(entries.length > 0, verdict.ok, "entries only after a good verdict");
  return failed(verdict);
}

function failed(verdict: Verdict): string[] {
  return verdict.checks.filter(({ ok, actual }) => !ok && actual !== "(not reached)").map((c) =>
    c.id
  );
}

Deno.test("appraiseIma() accepts the honest list, binary and ASCII", async () => {
  assert.deepEqual(await judge(binaryList(LIST)), []);
  assert.deepEqual(await judge(asciiList(LIST)), []);
});

const digest20 = new Uint8Array(20).fill(0x20);
const digest32 = new Uint8Array(32).fill(0x32);
const EVIL = measured("/usr/bin/agent", "evil agent");
const at = (index: number, order: ImaOrder) => LIST.map((each, i) => i === index ? order : each);
const SHA1_FILE: ImaOrder = {
  template: "ima-ng",
  fields: [digestField("sha1", digest20), nameField("/old")],
};
const TOMTOU: ImaOrder = { ...measured("/usr/bin/agent", ""), violation: true };
const INJECTED = asciiList(LIST).length;

const LIES: readonly (readonly [string, readonly ImaCheck[], Uint8Array, BankValues])[] = [
  ["an empty list", ["ima.replay"], new Uint8Array(), quoted(LIST)],
  ["a list cut between entries", ["ima.replay"], binaryList(LIST.slice(0, -1)), quoted(LIST)],
  ["a list cut inside of an entry", ["ima.format"], binaryList(LIST).subarray(0, -1), quoted(LIST)],
  [
    "an ASCII list cut inside of a line",
    ["ima.format"],
    asciiList(LIST).subarray(0, INJECTED - 1),
    quoted(LIST),
  ],
  [
    "another template",
    ["ima.format"],
    binaryList(at(2, { ...EVIL, template: "ima-xx" })),
    quoted(LIST),
  ],
  [
    "an entry with another digest and its own hash",
    ["ima.replay"],
    binaryList(at(2, EVIL)),
    quoted(LIST),
  ],
  [
    "an entry whose words were changed under its hash",
    ["ima.replay"],
    binaryList(at(2, { ...LIST[2]!, hash: undefined!, fields: EVIL.fields })),
    quoted(LIST),
  ],
  [
    "an entry with the honest hash over other words",
    ["ima.replay"],
    binaryList(at(2, { ...EVIL, hash: parseImaList(binaryList(LIST))[2]!.templateHash })),
    quoted(LIST),
  ],
  [
    "two entries swapped",
    ["ima.replay"],
    binaryList([LIST[0]!, LIST[2]!, LIST[1]!, LIST[3]!]),
    quoted(LIST),
  ],
  [
    "an entry twice",
    ["ima.replay"],
    binaryList([...LIST.slice(0, 3), LIST[2]!, LIST[3]!]),
    quoted(LIST),
  ],
  [
    "an entry moved to another register",
    ["ima.replay"],
    binaryList(at(2, { ...LIST[2]!, pcr: 11 })),
    quoted(LIST),
  ],
  ["an entry shown as a violation", ["ima.replay"], binaryList(at(2, TOMTOU)), quoted(LIST)],
  ["a list newer than the quote", ["ima.tail"], binaryList([...LIST, LIST[1]!]), quoted(LIST)],
  ["no boot aggregate", ["ima.boot-aggregate"], binaryList(LIST.slice(1)), quoted(LIST.slice(1))],
  [
    "a boot aggregate of another boot",
    ["ima.boot-aggregate"],
    binaryList([{
      ...AGGREGATE,
      fields: [digestField("sha256", digest32), nameField("boot_aggregate")],
    }, ...LIST.slice(1)]),
    quoted([{
      ...AGGREGATE,
      fields: [digestField("sha256", digest32), nameField("boot_aggregate")],
    }, ...LIST.slice(1)]),
  ],
  [
    "a violation",
    ["ima.violations", "ima.files"],
    binaryList([...LIST, TOMTOU]),
    quoted([...LIST, TOMTOU]),
  ],
  [
    "a file known by SHA-1 only",
    ["ima.algorithms", "ima.files"],
    binaryList([...LIST, SHA1_FILE]),
    quoted([...LIST, SHA1_FILE]),
  ],
  [
    "a file nobody knows",
    ["ima.files"],
    binaryList([...LIST, measured("/tmp/x", "x")]),
    quoted([...LIST, measured("/tmp/x", "x")]),
  ],
  [
    "a known file with other content",
    ["ima.files"],
    binaryList([...LIST, EVIL]),
    quoted([...LIST, EVIL]),
  ],
  [
    "a file that calls itself boot_aggregate",
    ["ima.files"],
    binaryList([...LIST, measured("boot_aggregate", "x")]),
    quoted([...LIST, measured("boot_aggregate", "x")]),
  ],
  [
    "a known digest under another path",
    ["ima.files"],
    binaryList([...LIST, measured("/sbin/init", "init")]),
    quoted([...LIST, measured("/sbin/init", "init")]),
  ],
];

for (const [name, ids, list, registers] of LIES) {
  Deno.test(`A-10 appraiseIma() refuses ${name}`, async () => {
    assert.deepEqual(await judge(list, registers), ids);
  });
}

const HOLES: readonly (readonly [
  string,
  readonly ImaCheck[],
  { [name in keyof ImaPolicy]?: ImaPolicy[name] | undefined },
])[] = [
  ["no bank", ["ima.replay"], { banks: [] }],
  ["only SHA-1", ["ima.replay"], { banks: ["sha1"] }],
  ["a bank nobody quoted", ["ima.replay"], { banks: ["sha384"] }],
  ["no way of extending", ["ima.replay"], { extend: undefined }],
  ["another way of extending", ["ima.replay"], { extend: "legacy-padded" }],
  ["nothing about the tail", ["ima.tail"], { tail: undefined }],
  ["nothing about violations", ["ima.violations"], { violations: undefined }],
  ["no algorithm", ["ima.algorithms"], { algorithms: undefined }],
  ["an empty list of algorithms", ["ima.algorithms"], { algorithms: [] }],
  ["nothing about the boot aggregate", ["ima.boot-aggregate"], { bootAggregate: undefined }],
  ["no allow-list", ["ima.files"], { allowed: undefined }],
  ["an empty allow-list", ["ima.files"], { allowed: makeAllowList([]) }],
];

for (const [name, ids, change] of HOLES) {
  Deno.test(`A-10 appraiseIma() refuses under a policy that names ${name}`, async () => {
    const policy = Object.fromEntries(
      Object.entries({ ...POLICY, ...change }).filter(([, value]) => value !== undefined),
    );
    assert.deepEqual(await judge(binaryList(LIST), quoted(LIST), policy), ids);
  });
}

Deno.test("every check of IMA_CHECKS alone refuses some list", () => {
  const alone = new Set([...LIES, ...HOLES].map(([, ids]) => ids.join()));
  assert.deepEqual(IMA_CHECKS.filter((id) => !alone.has(id)), []);
  assert.deepEqual(
    explainIma({}).filter(({ expected }) => expected.startsWith("(not set")).length,
    6,
  );
});

Deno.test("A-10 appraiseIma() takes PCR 10 from signed registers only", async () => {
  assert.deepEqual(await judge(binaryList(LIST), new Map()), ["ima.replay"]);
  assert.deepEqual(await judge(binaryList(LIST), quoted(LIST, ["sha1"])), ["ima.replay"]);
});

Deno.test("A-10 appraiseIma() refuses what it cannot judge: a boot PCR or an earlier value is missing", async () => {
  const some = new Map(quoted(LIST).get("sha256"));
  some.delete(3);
  assert.deepEqual(await judge(binaryList(LIST), new Map([["sha256", some]])), [
    "ima.boot-aggregate",
  ]);
  const from = { entries: 4, values: new Map([["sha1" as const, new Uint8Array(20)]]) };
  const { verdict } = await appraiseIma(new Uint8Array(), POLICY, {
    registers: quoted(LIST),
    from,
  });
  assert.deepEqual(failed(verdict), ["ima.replay"]);
  assert.throws(() => new ImaReplay(["sha256"], "own", from), CocosError);
});

Deno.test("A-10 appraiseIma() accepts digests under every path only when the policy names them", async () => {
  const orders = [AGGREGATE, measured("/any/where", "init")];
  const digest = `sha256:${toHex(BANKS.sha256.hash(new TextEncoder().encode("init")))}`;
  const allowed = makeAllowList([], { anywhere: [digest] });
  assert.deepEqual(await judge(binaryList(orders), quoted(orders), { ...POLICY, allowed }), []);
  const none = makeAllowList([["/init", digest]]);
  assert.deepEqual(await judge(binaryList(orders), quoted(orders), { ...POLICY, allowed: none }), [
    "ima.files",
  ]);
});

Deno.test("A-10 appraiseIma() looks only at the quoted part when the tail is ignored", async () => {
  const longer = binaryList([...LIST, EVIL]);
  const { verdict, entries } = await appraiseIma(longer, { ...POLICY, tail: "ignore" }, {
    registers: quoted(LIST),
  });
  assert.deepEqual([failed(verdict), entries.length], [[], 4]);
});

Deno.test("A-10 appraiseIma() goes on where it stopped, and only there", async () => {
  const grown = [...LIST, measured("/init", "init")];
  const first = await appraiseIma(binaryList(LIST), POLICY, { registers: quoted(LIST) });
  assert.ok(first.state);
  const tail = binaryList(grown.slice(LIST.length));
  const next = (list: Uint8Array, orders: readonly ImaOrder[]) =>
    appraiseIma(list, POLICY, { registers: quoted(orders), from: first.state });
  const second = await next(tail, grown);
  assert.deepEqual(failed(second.verdict), []);
  assert.equal(second.state?.entries, 5);
  assert.equal(second.entries[0]?.index, 4);
  assert.deepEqual(failed((await next(new Uint8Array(), LIST)).verdict), []);
  assert.deepEqual(failed((await next(binaryList(grown), grown)).verdict), ["ima.replay"]);
  assert.deepEqual(failed((await next(tail, LIST.slice(1))).verdict), ["ima.replay"]);
  const rebooted = await appraiseIma(tail, POLICY, {
    registers: quoted(grown),
    from: { entries: 4, values: new Map([["sha256", new Uint8Array(32)]]) },
  });
  assert.deepEqual(failed(rebooted.verdict), ["ima.replay"]);
});

Deno.test("A-10 older kernels extend a padded SHA-1: accepted only by name", () => {
  const entries = parseImaList(binaryList(LIST));
  const padded = new ImaReplay(["sha256"], "legacy-padded");
  for (const entry of entries) padded.add(entry);
  const value = padded.value("sha256") as Uint8Array;
  assert.equal(coverageOf(entries, "sha256", value).covered, undefined);
  assert.equal(coverageOf(entries, "sha256", value, { how: "legacy-padded" }).covered, 4);
});

Deno.test("A-10 a name with a line break cannot make a line of its own", async () => {
  const fake = new TextDecoder().decode(asciiList([measured("/usr/bin/agent", "agent")])).trim();
  const orders = [AGGREGATE, measured(`/tmp/x\n${fake}`, "evil")];
  assert.deepEqual(await judge(asciiList(orders), quoted(orders)), ["ima.replay"]);
  assert.deepEqual(await judge(binaryList(orders), quoted(orders)), ["ima.files"]);
  assert.equal(parseImaList(binaryList(orders))[1]?.path.includes("\n"), false);
});

Deno.test("A-10 allow-lists know blanks in names as the kernel writes them", async () => {
  const orders = [AGGREGATE, measured("/srv/a_file_(deleted)", "x")];
  const digest = `sha256:${toHex(BANKS.sha256.hash(new TextEncoder().encode("x")))}`;
  const allowed = makeAllowList([["/srv/a file (deleted)", digest]]);
  assert.deepEqual(await judge(binaryList(orders), quoted(orders), { ...POLICY, allowed }), []);
});

Deno.test("parseSnapshot() reads file hashes and refuses what is none", async () => {
  const digest = BANKS.sha256.hash(new TextEncoder().encode("init"));
  const text = JSON.stringify({ cloud_type: "x", filehashes: [["/init", toHex(digest)]] });
  const allowed = parseSnapshot(text);
  const empty = measured("/var/lock", "");
  const orders = [AGGREGATE, measured("/init", "init"), empty];
  assert.deepEqual(await judge(binaryList(orders), quoted(orders), { ...POLICY, allowed }), []);
  const strict = { ...POLICY, allowed: { ...allowed, emptyFiles: false } };
  assert.deepEqual(await judge(binaryList(orders), quoted(orders), strict), ["ima.files"]);
  for (
    const bad of [
      "[]",
      "{}",
      '{"filehashes":[]}',
      '[["/x","00"]]',
      '[["/x"]]',
      '[["/x",1]]',
      `[["/x","${"g".repeat(64)}"]]`,
    ]
  ) {
    assert.throws(() => parseSnapshot(bad), CocosError, bad);
  }
  assert.ok(isDigestText(`sha256:${"0".repeat(64)}`));
  assert.ok(!isDigestText(`sha256:${"0".repeat(40)}`));
});

Deno.test("A-10 A-14 appraiseIma() refuses every flipped bit of a list", async () => {
  for (const list of [binaryList(LIST), asciiList(LIST)]) {
    for (const bit of bitsToFlip(list.length, 1500)) {
      const ids = await judge(flipped(list, bit));
      // A leading blank and a zero before the register are the same register.
      const spaced = list[0] === 0x31 && ids.length === 0;
      assert.ok(ids.length > 0 || spaced, `bit ${bit}`);
    }
  }
});

Deno.test("appraiseIma() judges a list of 100,000 entries as it judges a short one", async () => {
  const orders = Array.from(
    { length: 100_000 },
    (_, i) =>
      i === 0
        ? AGGREGATE
        : measured(`/usr/lib/x86_64-linux-gnu/package-${i}/library.so.${i % 7}`, `${i}`),
  );
  const list = binaryList(orders);
  const registers = quoted(orders);
  const policy = { ...POLICY, allowed: allowListOf(parseImaList(list)) };
  const { verdict, entries } = await appraiseIma(list, policy, { registers });
  assert.deepEqual(failed(verdict), []);
  assert.equal(entries.length, 100_000);
  const other = await appraiseIma(flipped(list, 8 * 50 * 100_000), policy, { registers });
  assert.equal(other.verdict.ok, false);
});
