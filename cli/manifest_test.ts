// The canonical form is Go's encoding/json of the seed era: order, omissions, escapes (wire.md §4.8).
import assert from "node:assert/strict";
import fc from "fast-check";
import { canonicalManifest } from "./manifest.ts";
import { cocos, inFolder } from "./_fakes.ts";

const text = (json: unknown) =>
  new TextDecoder().decode(
    canonicalManifest(typeof json === "string" ? json : JSON.stringify(json)),
  );
const ZERO = `[${new Array(32).fill(0).join(",")}]`;
const hash = Array.from({ length: 32 }, (_, i) => i);

Deno.test("canonicalManifest() keeps Go's key order and leaves empty values out", () => {
  assert.equal(
    text({
      result_consumers: [{ user_key: "AQID" }, {}],
      algorithm: { user_key: "BA==", hash },
      datasets: [{ filename: "a.csv", user_key: "BQ==", hash }, { hash, filename: "" }],
      description: "",
      name: "n",
      id: "1",
      unknown: 3,
    }),
    `{"id":"1","name":"n","datasets":[{"hash":[${hash}],"user_key":"BQ==","filename":"a.csv"},` +
      `{"hash":[${hash}]}],"algorithm":{"hash":[${hash}],"user_key":"BA=="},` +
      `"result_consumers":[{"user_key":"AQID"},{}]}`,
  );
  assert.equal(text("{}"), `{"algorithm":{"hash":${ZERO}}}`);
  assert.equal(
    text({ datasets: [], result_consumers: [], id: null }),
    `{"algorithm":{"hash":${ZERO}}}`,
  );
});

Deno.test("canonicalManifest() escapes what Go escapes", () => {
  assert.equal(
    text({ id: '<a>&\u2028\u2029"\\é\n' }).split(',"algorithm"')[0],
    String.raw`{"id":"\u003ca\u003e\u0026\u2028\u2029\"\\é\n"`,
  );
});

Deno.test("canonicalManifest() names the field that is wrong", () => {
  const cases: [unknown, RegExp][] = [
    ["", /is not JSON/],
    [[], /the manifest must be an object/],
    [{ id: 1 }, /id must be text/],
    [{ datasets: {} }, /datasets must be a list/],
    [{ datasets: [3] }, /datasets\[0\] must be an object/],
    [{ datasets: [{ hash: [1] }] }, /datasets\[0\]\.hash must be a list of 32 numbers/],
    [{ algorithm: { hash: hash.with(3, 256) } }, /algorithm\.hash must be a list of 32 numbers/],
    [{ algorithm: { hash: "00" } }, /algorithm\.hash must be a list/],
    [{ algorithm: { user_key: "***" } }, /algorithm\.user_key must be base64/],
    [{ result_consumers: [{ user_key: 3 }] }, /result_consumers\[0\]\.user_key must be base64/],
  ];
  for (const [json, message] of cases) assert.throws(() => text(json), message);
});

Deno.test("canonicalManifest() of its own output is the same", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (name) => {
    const once = text({ name });
    assert.equal(text(once), once);
  }));
});

Deno.test("cocos checksum -m covers the canonical form, whatever the spacing", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/a.json`, JSON.stringify({ id: "1", name: "n" }));
    await Deno.writeTextFile(`${dir}/b.json`, '{ "name": "n",\n "x": 1, "id": "1" }');
    const a = await cocos(["checksum", "-m", `${dir}/a.json`]);
    const b = await cocos(["checksum", `${dir}/b.json`, "--manifest"]);
    assert.equal(a.out, b.out);
    assert.match(a.out, /^Hash of manifest file: [0-9a-f]{64}\n$/);
    const base64 = await cocos(["checksum", "-m", "-b", `${dir}/a.json`]);
    assert.match(base64.out, /^Hash of manifest file: [A-Za-z0-9+/]{43}=\n$/);
  });
});
