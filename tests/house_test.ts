// The rules of the house, checked on the tree as it stands: who may import whom, how wide a right
// may be, how a dependency is named.
import assert from "node:assert/strict";

/** A room is a top-level folder with code. */
const ROOMS = [
  "base",
  "proto",
  "attestation",
  "channel",
  "agent",
  "runtimes",
  "manager",
  "agreement",
  "computations",
  "status",
  "cli",
  "hal",
  "examples",
  "tests",
] as const;

/** What each room may import; a process is in nobody's list. */
const MAY_IMPORT: Record<(typeof ROOMS)[number], readonly string[]> = {
  base: [],
  proto: ["base", "channel"],
  attestation: ["base"],
  channel: ["base", "attestation"],
  agent: ["base", "proto", "attestation", "channel"],
  runtimes: ["base", "proto"],
  manager: ["base", "proto", "attestation", "channel"],
  agreement: ["base", "proto"],
  computations: ["base", "proto", "agreement", "attestation", "channel"],
  status: ["base", "proto", "attestation"],
  cli: ["base", "proto", "agreement", "attestation", "channel"],
  hal: ["base"],
  examples: ["base", "proto"],
  tests: ["base", "proto", "agreement", "attestation", "channel", "hal", "examples"],
};

/**
 * Files that are imported from another room without being its entrance: the verifier's page runs in
 * a browser, where the rest of base, which needs Node's modules, can't be.
 */
const WIDER = new Set(["base/errors.ts"]);

/** Longest file that is still one idea; a file that is a standard says so in its first lines. */
const MAX_LINES = 420;

const root = new URL("../", import.meta.url);

/** Files git tracks or would track. */
async function tracked(): Promise<string[]> {
  const { stdout } = await new Deno.Command("git", {
    args: ["ls-files", "-co", "--exclude-standard"],
    cwd: root,
  }).output();
  const names = new TextDecoder().decode(stdout).trim().split("\n");
  const found: string[] = [];
  for (const name of names) {
    try {
      if ((await Deno.lstat(new URL(name, root))).isFile) found.push(name);
    } catch (error) {
      // Deleted, and git not told yet.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return found;
}

/** Module specifiers of a TypeScript text: static imports, re-exports, and `import()` of a text. */
function specifiers(code: string): string[] {
  const pattern = /(?:\bfrom|^\s*import|\bimport\()\s*"([^"]+)"/gm;
  return [...code.matchAll(pattern)].map((match) => match[1] as string);
}

const names = await tracked();
const sources = await Promise.all(
  names.filter((name) => /\.tsx?$/.test(name) && !name.includes("/gen/")).map(async (name) => ({
    name,
    room: name.split("/")[0] as (typeof ROOMS)[number],
    // Examples in documentation import as a reader would.
    code: (await Deno.readTextFile(new URL(name, root))).replaceAll(/^\s*(\*|\/\/).*$/gm, ""),
  })),
);

Deno.test("house: every source file stands in a room", () => {
  assert.deepEqual(sources.filter(({ room }) => !ROOMS.includes(room)).map(({ name }) => name), []);
});

Deno.test("house: rooms import what they may, by mod.ts only", () => {
  const wrong: string[] = [];
  for (const { name, room, code } of sources) {
    for (const specifier of specifiers(code)) {
      if (!specifier.startsWith(".")) continue;
      const target = new URL(specifier, new URL(name, root)).pathname.slice(root.pathname.length);
      const other = target.split("/")[0] as string;
      if (other === room) continue;
      const test = name.endsWith("_test.ts");
      const allowed = MAY_IMPORT[room].includes(other) ||
        (test && ["base", "proto", "channel"].includes(other));
      const entrance = /^[a-z]+\/([a-z]+\/)?mod\.ts$/.test(target) || WIDER.has(target);
      if (!allowed || !entrance) wrong.push(`${name} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("house: attestation touches no file, socket, process or clock of its own", () => {
  const wrong: string[] = [];
  for (const { name, room, code } of sources) {
    if (room !== "attestation" || /_test\.ts$|\/_soak\w*\.ts$|\/testdata\//.test(name)) continue;
    for (
      const bad of [/\bDeno\./, /"node:(fs|net|tls|http|https|child_process|dgram)/, /\bfetch\(/]
    ) {
      if (bad.test(code)) wrong.push(`${name} uses ${bad.source}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("L-6 nothing is imported by a URL, an inline npm name or a computed name", () => {
  const wrong: string[] = [];
  for (const { name, code } of sources) {
    for (const specifier of specifiers(code)) {
      if (/^(npm|jsr|https?|data|file):/.test(specifier)) wrong.push(`${name}: ${specifier}`);
    }
    if (/\bimport\(\s*[^"\s)]/.test(code)) wrong.push(`${name}: import() of a computed name`);
    if (/\beval\(|\bnew Function\(/.test(code)) wrong.push(`${name}: code from text`);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("L-1 every dependency is pinned exactly and the lock is frozen", async () => {
  const config = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  assert.equal(config.lock.frozen, true);
  const loose = Object.entries<string>(config.imports).filter(([, to]) =>
    !/^npm:(@[a-z0-9-]+\/)?[a-z0-9.-]+@\d+\.\d+\.\d+(\/[a-z0-9/.-]+)?$/.test(to)
  );
  assert.deepEqual(loose, []);
  const lock = JSON.parse(await Deno.readTextFile(new URL("deno.lock", root)));
  const without = Object.entries<{ integrity?: string }>(lock.npm).filter(([, entry]) =>
    !/^sha512-/.test(entry.integrity ?? "")
  );
  assert.deepEqual(without.map(([name]) => name), []);
});

Deno.test("L-1 every direct dependency is justified in docs/dependencies.md", async () => {
  const config = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  const page = await Deno.readTextFile(new URL("docs/dependencies.md", root));
  const missing = Object.values<string>(config.imports)
    .map((to) => (/^npm:((?:@[^/]+\/)?[^@/]+)/.exec(to) as RegExpExecArray)[1] as string)
    .filter((name) => !page.includes(`\`${name}\``));
  assert.deepEqual([...new Set(missing)], []);
});

Deno.test("L-2 no right is given without saying to what", async () => {
  const wide = new RegExp(
    String.raw`--allow-` +
      String.raw`(all|run|read|write|env|net|ffi)(?![-=\w])|deno (run|test) -A\b`,
  );
  const wrong: string[] = [];
  for (
    const name of names.filter((each) =>
      /\.(ts|tsx|json|sh)$|^bin\/|^\.ci\//.test(each) && !each.endsWith("_test.ts")
    )
  ) {
    const text = await Deno.readTextFile(new URL(name, root));
    for (const [i, line] of text.split("\n").entries()) {
      if (wide.test(line) && !/^\s*(\/\/|\*|#)/.test(line)) wrong.push(`${name}:${i + 1}`);
    }
    if (!name.endsWith("/deno.json")) continue;
    const { permissions = {} } = JSON.parse(text);
    for (const [set, kinds] of Object.entries<Record<string, unknown>>(permissions)) {
      for (const [kind, value] of Object.entries(kinds)) {
        if (value === true && set === "default") wrong.push(`${name}: ${kind}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("house: a source file begins by saying what it is, and is not longer than an idea", async () => {
  const wrong: string[] = [];
  for (const { name } of sources) {
    if (/_test\.ts$|\/testdata\//.test(name)) continue;
    const text = await Deno.readTextFile(new URL(name, root));
    const lines = text.split("\n");
    if (!/^(\/\/|\/\*\*)/.test(lines[0] as string)) wrong.push(`${name}: no first line`);
    if (lines.length > MAX_LINES) wrong.push(`${name}: ${lines.length} lines`);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("house: nothing tracked names a placeholder or a path of one machine", async () => {
  const placeholder = new RegExp("\\b(TO" + "DO|FIX" + "ME|X" + "XX)\\b");
  const wrong: string[] = [];
  for (const { name } of sources) {
    const text = await Deno.readTextFile(new URL(name, root));
    if (placeholder.test(text)) wrong.push(name);
    if (text.includes(root.pathname)) wrong.push(`${name}: a path of this machine`);
  }
  assert.deepEqual(wrong, []);
});
