// What a kernel writes, and what none does: templates, hashes, names, signatures, snapshots.
// only a signed PCR 10 of a strong bank counts.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { type Bank, BANKS } from "../banks.ts";
import {
  asciiList,
  binaryList,
  digestField,
  type ImaOrder,
  measured,
  nameField,
  pcr10,
} from "../forge/ima.ts";
import { FILE_HASHES, ImaReplay, parseImaList, parseImaSignature, pathText } from "./mod.ts";

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
