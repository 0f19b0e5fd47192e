// Forged reports of Azure's paravisor: runtime data of any content, correctly framed.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { join } from "../forge/der.ts";
import { u32le } from "../forge/eventlog.ts";
import { BANKS } from "../banks.ts";
import { hclKey, parseHclReport } from "./mod.ts";

const N = "qR7L".padEnd(342, "A");
const KEY = { kid: "HCLAkPub", key_ops: ["sign"], kty: "RSA", e: "AQAB", n: N };
const USER = "00".repeat(64);

/** A report with this runtime data; `change` writes over the frame. */
function forged(
  runtime: unknown,
  { type = 2, hash = 1, tail = 40, hardware = new Uint8Array(0x4a0) } = {},
): Uint8Array<ArrayBuffer> {
  const data = runtime instanceof Uint8Array
    ? runtime
    : new TextEncoder().encode(typeof runtime === "string" ? runtime : JSON.stringify(runtime));
  const head = [u32le(1), u32le(0x4d4 + data.length), u32le(2), new Uint8Array(16)];
  const claims = [20 + data.length, 1, type, hash, data.length].map(u32le);
  return join(
    new TextEncoder().encode("HCLA"),
    ...head,
    hardware,
    ...claims,
    data,
    new Uint8Array(tail),
  );
}

Deno.test("parseHclReport() reads forged runtime data and its digest in every hash", () => {
  const sizes = { 1: "sha256", 2: "sha384", 3: "sha512" } as const;
  for (const [hash, bank] of Object.entries(sizes)) {
    const report = parseHclReport(forged({ keys: [KEY] }, { hash: Number(hash) }));
    const digest = BANKS[bank].hash(report.runtimeData);
    assert.deepEqual(report.reportData.subarray(0, digest.length), digest);
    assert.ok(report.reportData.subarray(digest.length).every((byte) => byte === 0));
    assert.equal(report.userData.length, 0);
    assert.equal(report.configuration, null);
  }
  assert.equal(parseHclReport(forged({ keys: [KEY] }, { type: 4 })).hardwareReport.length, 1024);
  assert.equal(hclKey(forged({ keys: [KEY], "user-data": USER })).kind, "rsa");
});

Deno.test("parseHclReport() takes the word older paravisors have for the use of their key", () => {
  const older = forged({ keys: [{ ...KEY, key_ops: ["encrypt"] }] });
  assert.deepEqual(parseHclReport(older).ak, parseHclReport(forged({ keys: [KEY] })).ak);
});

Deno.test("A-8 A-14 parseHclReport() rejects other keys, other frames and other JSON", () => {
  const late = new Uint8Array(0x4a0);
  late[1024] = 1;
  const put = (at: number, ...values: number[]) => {
    const copy = forged({ keys: [KEY] });
    copy.set(values, at);
    return copy;
  };
  const keyed = (change: Record<string, unknown>) => forged({ keys: [{ ...KEY, ...change }] });
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [put(0, 0), /start with HCLA/],
    [put(4, 3), /version 3/],
    [put(8, 0), /size of the header/],
    [put(12, 1), /request type 1/],
    [put(16, 1), /status and reserved/],
    [put(0x4c0, 0), /sizes disagree/],
    [put(0x4c4, 2), /version of the runtime data/],
    [put(0x4c8, 3), /report type 3/],
    [put(0x4cc, 4), /hash type/],
    [put(0x4d0, 255, 255), /sizes disagree/],
    [put(forged({ keys: [KEY] }).length - 1, 1), /padding must be zero/],
    [forged({ keys: [KEY] }, { type: 4, hardware: late }), /bytes behind the TDREPORT/],
    [forged({ keys: [KEY] }, { tail: 16 * 1024 }), /too many/],
    [forged("{"), /line 1/],
    [forged(Uint8Array.of(0xff)), /not UTF-8/],
    [forged({}), /keys is missing/],
    [forged({ keys: [] }), /must hold one HCLAkPub, holds 0/],
    [forged({ keys: [KEY, KEY] }), /holds 2/],
    [forged(`{"keys":[${JSON.stringify(KEY)}],"keys":[]}`), /keys/],
    [keyed({ kty: "EC" }), /must be RSA/],
    [keyed({ key_ops: ["sign", "decrypt"] }), /must be one use/],
    [keyed({ key_ops: ["decrypt"] }), /must be one use/],
    [keyed({ e: "AQ" }), /e must be an odd number from 3/],
    [keyed({ key_ops: undefined }), /key_ops is missing/],
    [keyed({ n: N.slice(0, 200) }), /2048 to 4096 bits/],
    [keyed({ n: "AAAA".padEnd(342, "A") }), /2048 to 4096 bits/],
    [keyed({ n: "qR7L".padEnd(1000, "A") }), /2048 to 4096 bits/],
    [keyed({ e: "AQAC" }), /odd number/],
    [keyed({ e: "AAEAAQ" }), /odd number/],
    [keyed({ e: "AQAAAAAB" }), /odd number/],
    [forged({ keys: [KEY], "user-data": "0" }), /hex of at most 64 bytes/],
    [forged({ keys: [KEY], "user-data": "zz" }), /hex of at most 64 bytes/],
    [forged({ keys: [KEY], "user-data": "00".repeat(65) }), /hex of at most 64 bytes/],
  ];
  for (const [bytes, why] of cases) {
    assert.throws(() => parseHclReport(bytes), (error) => {
      assert.ok(error instanceof CocosError, String(error));
      assert.match(error.message, why);
      return true;
    }, String(why));
  }
});
