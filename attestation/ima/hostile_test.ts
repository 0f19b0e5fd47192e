// IMA lists of an attacker, and all templates: each entry forged, cut, hidden or moved is refused, and
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
  FILE_HASHES,
  IMA_CHECKS,
  type ImaCheck,
  type ImaPolicy,
  ImaReplay,
  isDigestText,
  makeAllowList,
  parseImaList,
  parseImaSignature,
  parseSnapshot,
  pathText,
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
const SIGNATURE = Uint8Array.of(3, 2, 4, 1, 2, 3, 4, 0, 3, 7, 8, 9);

const TEMPLATES: readonly ImaOrder[] = [
  { template: "ima", fields: [digest20, new TextEncoder().encode("/bin/old")] },
  { template: "ima-ng", fields: [digestField("sha256", digest32), nameField("/bin/ng")] },
  {
    template: "ima-sig",
    fields: [digestField("sha256", digest32), nameField("/bin/sig"), SIGNATURE],
  },
  {
    template: "ima-sig",
    fields: [digestField("sha256", digest32), nameField("/bin/nosig"), new Uint8Array()],
  },
  {
    template: "ima-ngv2",
    fields: [digestField("sha256", digest32, "verity"), nameField("/bin/ngv2")],
  },
  {
    template: "ima-sigv2",
    fields: [digestField("sha256", digest32, "ima"), nameField("/bin/sigv2"), SIGNATURE],
  },
  {
    template: "ima-buf",
    fields: [
      digestField("sha256", digest32),
      nameField("kexec-cmdline"),
      new TextEncoder().encode("root=/dev/vda ro"),
    ],
  },
  {
    template: "ima-modsig",
    fields: [
      digestField("sha256", digest32),
      nameField("/lib/m.ko"),
      SIGNATURE,
      digestField("sha512", new Uint8Array(64)),
      new Uint8Array(40).fill(0x30),
    ],
  },
  {
    template: "ima-modsig",
    fields: [
      digestField("sha256", digest32),
      nameField("/lib/n.ko"),
      new Uint8Array(),
      new Uint8Array(),
      new Uint8Array(),
    ],
  },
];

Deno.test("parseImaList() reads every template, binary and ASCII alike", () => {
  const binary = parseImaList(binaryList(TEMPLATES));
  const ascii = parseImaList(asciiList(TEMPLATES));
  assert.deepEqual(ascii, binary);
  assert.deepEqual(
    binary.map(({ template }) => template),
    TEMPLATES.map(({ template }) => template),
  );
  assert.deepEqual(binary.map(({ path }) => path).slice(0, 3), ["/bin/old", "/bin/ng", "/bin/sig"]);
  assert.equal(binary[4]?.file.kind, "verity");
  assert.equal(new TextDecoder().decode(binary[6]?.buffer), "root=/dev/vda ro");
  assert.equal(binary[7]?.modsigFile?.algorithm, "sha512");
  assert.equal(binary[8]?.modsigFile, undefined);
  for (const bank of Object.keys(BANKS) as Bank[]) {
    const replay = new ImaReplay([bank]);
    for (const entry of binary) assert.ok(replay.add(entry), `${bank} ${entry.template}`);
    assert.deepEqual(replay.value(bank), pcr10(TEMPLATES, bank), bank);
  }
});

Deno.test("parseImaList() reads every file hash of the kernel at its length and no other", () => {
  for (const [algorithm, size] of FILE_HASHES) {
    for (const [length, ok] of [[size, true], [size - 1, false], [size + 1, false]] as const) {
      const fields = [digestField(algorithm, new Uint8Array(length)), nameField("/x")];
      const list = [{ template: "ima-ng", fields }];
      const read = () => [parseImaList(binaryList(list)), parseImaList(asciiList(list))];
      if (ok) assert.equal(read()[1]?.[0]?.file.algorithm, algorithm);
      else assert.throws(read, CocosError);
    }
  }
});

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

Deno.test("pathText() shows no control characters and never makes two names equal", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  assert.equal(pathText(bytes("/bin/ls")), "/bin/ls");
  assert.equal(pathText(bytes("/a\nb")), "/a\\x0ab");
  assert.equal(pathText(bytes("/a\\x0ab")), "/a\\x5cx0ab");
  assert.equal(pathText(bytes("/ü")), "/ü");
  assert.equal(pathText(bytes("/a\u202eb")), "/a\\u{202e}b");
  assert.equal(pathText(Uint8Array.of(0x2f, 0xff)), "/\\xff");
  assert.notEqual(pathText(Uint8Array.of(0x2f, 0xff)), pathText(Uint8Array.of(0x2f, 0xfe)));
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

Deno.test("A-14 parseImaList() rejects lengths, names and registers that no kernel writes", () => {
  const record = binaryList([measured("/x", "x")]);
  const name = 4 + 20;
  const word = (at: number, value: number) => {
    const copy = record.slice();
    new DataView(copy.buffer).setUint32(at, value, true);
    return copy;
  };
  const line = (text: string) => new TextEncoder().encode(text);
  const hash = "0".repeat(40);
  const digest = `sha256:${"0".repeat(64)}`;
  const old = { template: "ima", fields: [digest20, new Uint8Array(256).fill(0x61)] };
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [word(name, 2), /a template name of 2 bytes/],
    [word(name, 33), /a template name of 33 bytes/],
    [word(name, 0xffffffff), /a template name of/],
    [word(name + 4 + 6, 512 * 1024 + 1), /template data of 524289 bytes/],
    [word(0, 24), /register 24, 23 is the last/],
    [word(name + 4 + 6 + 4, 5), /a digest must start|a name must end|bytes are due/],
    [binaryList([old]), /a name that does not fit its template/],
    [
      binaryList([{ template: "ima-ng", fields: [digestField("sha256", digest32), line("/x")] }]),
      /one NUL/,
    ],
    [
      binaryList([{
        template: "ima-ng",
        fields: [digestField("sha256", digest32), line("/x\0y\0")],
      }]),
      /one NUL/,
    ],
    [
      binaryList([{
        template: "ima-ng",
        fields: [digestField("sha256", digest32), nameField("x".repeat(8192))],
      }]),
      /too long/,
    ],
    [
      binaryList([{
        template: "ima-ngv2",
        fields: [digestField("sha256", digest32), nameField("/x")],
      }]),
      /kind and algorithm/,
    ],
    [
      binaryList([{
        template: "ima-ngv2",
        fields: [digestField("sha256", digest32, "evil"), nameField("/x")],
      }]),
      /kind and algorithm/,
    ],
    [
      binaryList([{
        template: "ima-ng",
        fields: [digestField("sha257", digest32), nameField("/x")],
      }]),
      /kind and algorithm/,
    ],
    [
      binaryList([{ template: "ima-ng", fields: [digest32, nameField("/x")] }]),
      /start with its algorithm/,
    ],
    [line(`x ${hash} ima-ng ${digest} /x\n`), /does not start with a register|template name/],
    [line(`1x ${hash} ima-ng ${digest} /x\n`), /does not start with a register/],
    [line(`10 ${hash.slice(1)} ima-ng ${digest} /x\n`), /does not start with a register/],
    [line(`10 ${hash} ima-xx ${digest} /x\n`), /template "ima-xx" is not known/],
    [line(`10 ${hash} ima-ng ${digest}\n`), /1 fields/],
    [line(`10 ${hash} ima-ng ${digest} /x y\n`), /3 fields/],
    [line(`10 ${hash} ima-ng ${"0".repeat(64)} /x\n`), /a digest without algorithm/],
    [line(`10 ${hash} ima-ng sha257:${"0".repeat(64)} /x\n`), /a digest without algorithm/],
    [line(`10 ${hash} ima-ng sha256:${"g".repeat(64)} /x\n`), /hex is due/],
    [line(`10 ${hash} ima-ng sha256:${"0".repeat(63)} /x\n`), /hex of whole bytes/],
    [line(`10 ${hash} ima ${"0".repeat(40)} ${"x".repeat(256)}\n`), /does not fit its template/],
    [line("1".repeat(2 * 512 * 1024 + 1025)), /an entry is too long/],
  ];
  for (const [bytes, why] of cases) {
    assert.throws(() => parseImaList(bytes), (error) => {
      assert.ok(error instanceof CocosError, String(error));
      assert.match(error.message, why);
      return true;
    }, String(why));
  }
});

Deno.test("A-14 parseImaSignature() rejects other types, versions and lengths", () => {
  assert.deepEqual(parseImaSignature(SIGNATURE).signature, Uint8Array.of(7, 8, 9));
  for (
    const bad of [
      [1, 2],
      [3, 1, 4, 1, 2, 3, 4, 0, 1, 7],
      [5, 2, 4, 1, 2, 3, 4, 0, 1, 7],
      [3, 2, 4, 1, 2, 3, 4, 0, 4, 7],
      [3, 2, 4, 1, 2, 3, 4, 0, 1, 7, 8],
      [],
    ]
  ) {
    assert.throws(() => parseImaSignature(Uint8Array.from(bad)), CocosError);
  }
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
