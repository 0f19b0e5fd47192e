// Which algorithm is of which kind, and which one nobody should guess about.
import assert from "node:assert/strict";
import { kindOf } from "./kind.ts";

const encoder = new TextEncoder();

/** The first block of a tar. */
function tar(): Uint8Array {
  const block = new Uint8Array(1024);
  block.set(encoder.encode("manifest.json"));
  block.set(encoder.encode("ustar\x0000"), 257);
  return block;
}

const CASES: readonly (readonly [string, string | Uint8Array, string | RegExp])[] = [
  ["addition", "\x7fELF\x02\x01", "bin"],
  ["addition.py", "print(1)\n", "python"],
  ["addition.PY", "", "python"],
  ["run.py", "#!/usr/bin/env -S uv run\n", "python"],
  ["run", "#!/usr/bin/env python3\nprint(1)\n", "python"],
  ["run", "#!/usr/bin/python3.11 -I\n", "python"],
  ["run", "#!/bin/sh\nexec python3 algo\n", "bin"],
  ["run", "#!/opt/pythonic/sh\n", "bin"],
  ["addition.wasm", "\0asm\x01\0\0\0", "wasm"],
  ["addition", "\0asm\x01\0\0\0", "wasm"],
  ["image.tar", tar(), "docker"],
  ["image", tar(), "docker"],
  ["image.tar.gz", Uint8Array.of(0x1f, 0x8b, 8, 0), "docker"],
  ["words", "a,b\n", "bin"],
  ["empty", "", "bin"],
  ["addition.wasm", "(module)", /named like wasm and begins like bin: say which/],
  ["image.tar", "no tar", /named like docker and begins like bin: say which/],
  ["addition.py", "\x7fELF", /named like python and begins like bin: say which/],
  ["addition.py", "\0asm", /named like python and begins like wasm: say which/],
  ["addition.wasm", "\x7fELF", /named like wasm and begins like bin: say which/],
];

Deno.test("kindOf() tells a kind by name and first bytes, and refuses what says two", async () => {
  const dir = await Deno.makeTempDir({ prefix: "cocos-kind-" });
  try {
    for (const [name, content, expected] of CASES) {
      const bytes = typeof content === "string"
        ? Uint8Array.from(content, (each) => each.charCodeAt(0))
        : content;
      await Deno.writeFile(`${dir}/${name}`, bytes);
      const kind = kindOf(`${dir}/${name}`);
      if (typeof expected === "string") assert.equal(await kind, expected, name);
      else await assert.rejects(kind, expected);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
