// The lock: its form, its completeness, and what happens when a pin is gone.
import assert from "node:assert/strict";
import { choose, formatLock, parseLock, type Pin } from "./_packages.ts";
import { parseOsRelease, recipeFor, RECIPES } from "./_recipe.ts";

const TEXT = await Deno.readTextFile(`${import.meta.dirname}/packages.lock.json`);
const DEBIAN = recipeFor({ id: "debian", codename: "bookworm", name: "Debian 12" }, "x86_64");
const PIN: Pin = { name: "libc6", version: "1:2-3", sha256: "0".repeat(64) };

for (const recipe of RECIPES) {
  Deno.test(`packages.lock.json L-1 pins each package of ${recipe.id} and one kernel`, () => {
    const names = (parseLock(TEXT)[recipe.id] ?? []).map(({ name }) => name);
    const kernel = names.find((name) => /^linux-image-\d/.test(name)) ?? "";
    assert.notEqual(kernel, "");
    const wanted = [...recipe.packages, kernel, ...recipe.modulesOf(kernel)];
    assert.deepEqual(names, wanted.sort());
  });
}

Deno.test("packages.lock.json is in the form formatLock() writes, and names no mirror", () => {
  assert.equal(formatLock(parseLock(TEXT)), TEXT);
  assert.doesNotMatch(TEXT, /:\/\//);
});

Deno.test("parseLock() refuses names, versions and digests of another form", () => {
  for (
    const wrong of [
      { ...PIN, name: "../etc" },
      { ...PIN, name: "-o=x" },
      { ...PIN, version: "1 2" },
      { ...PIN, version: "" },
      { ...PIN, sha256: "0".repeat(63) },
    ]
  ) assert.throws(() => parseLock(JSON.stringify({ id: [wrong] })), /malformed/);
});

Deno.test("choose() takes the pin where the mirror has it", () => {
  const versions = new Map([["libc6", [
    { version: "1:2-4", suite: "bookworm" },
    { version: "1:2-3", suite: "bookworm-security" },
  ]]]);
  assert.deepEqual(choose("libc6", [PIN], versions, DEBIAN), { name: "libc6", version: "1:2-3" });
});

Deno.test("choose() tells the drift when a pin is gone, and passes backports by", () => {
  const versions = new Map([["libc6", [
    { version: "1:9-1", suite: "bookworm-backports" },
    { version: "1:2-4", suite: "bookworm" },
  ]]]);
  assert.deepEqual(choose("libc6", [PIN], versions, DEBIAN), {
    name: "libc6",
    version: "1:2-4",
    was: "1:2-3",
  });
  assert.throws(() => choose("zlib1g", [], versions, DEBIAN), /Cannot find the package zlib1g/);
});

Deno.test("recipeFor() stops with the reason on a machine without a recipe", () => {
  const fedora = parseOsRelease('ID=fedora\nPRETTY_NAME="Fedora Linux 44"\n');
  assert.throws(() => recipeFor(fedora, "x86_64"), /on Fedora Linux 44: there is no recipe/);
  assert.throws(() => recipeFor({ ...fedora, id: "debian" }, "aarch64"), /on aarch64/);
});

Deno.test("parseOsRelease() reads quoted and bare values", () => {
  assert.deepEqual(
    parseOsRelease('PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_CODENAME=bookworm\n'),
    { id: "debian", codename: "bookworm", name: "Debian GNU/Linux 12" },
  );
});
