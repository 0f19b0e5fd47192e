// Flags of the guest's programs: made for the guest's paths, and never wider than a list.
import assert from "node:assert/strict";
import { hex, sha3_256 } from "../base/mod.ts";
import { bundle, checkDeno, commandLine, DENO_VERSION, portable } from "./_bundle.ts";
import { checkRights, guestFlag } from "./_programs.ts";

Deno.test("guestFlag() puts the guest's settings file in and takes the example server out", () => {
  assert.equal(
    guestFlag("--allow-net=0.0.0.0:7002,192.0.2.1:1,unix:/run/cocos/runner.sock", "x/env"),
    "--allow-net=0.0.0.0:7002,unix:/run/cocos/runner.sock",
  );
  assert.equal(
    guestFlag("--allow-read=/cocos/work,x/env,x/env2", "x/env"),
    "--allow-read=/cocos/work,/run/cocos/agent/environment,x/env2",
  );
  assert.equal(guestFlag("--ignore-env", "x/env"), "--ignore-env");
});

Deno.test("checkRights() L-2 takes lists, and no right without one", () => {
  checkRights("agent", ["--allow-net=0.0.0.0:7002", "--allow-read=/a,/b", "--ignore-env"]);
  checkRights("runner", ["--allow-run=/cocos/bin/bwrap", "--deny-ffi"]);
  for (
    const flag of [
      ...["-A", "--allow-all", "--allow-net", "--allow-net=", "--allow-read=/a,", "--allow-env"],
      ...["--allow-env=PATH", "--allow-ffi=/x", "--allow-run=/bin/sh", "--unstable", "agent.js"],
      ...["--allow-import=x", "--allow-read=/a b", "--v8-flags=--x"],
    ]
  ) {
    assert.throws(() => checkRights("agent", [flag]), /in the guest the right/, flag);
  }
});

Deno.test("commandLine() L-6 fetches nothing, asks nothing, reads no configuration", () => {
  const program = {
    name: "agent",
    entry: "",
    uid: 1,
    args: ["--x"],
    rights: ["--ignore-env"],
  } as const;
  assert.deepEqual(commandLine(program), [
    ...["--no-prompt", "--quiet", "--cached-only", "--no-remote", "--no-npm", "--no-config"],
    ...["--no-lock", "--no-check", "--unstable-worker-options"],
    ...["--ignore-env", "/cocos/agent.js", "--x"],
  ]);
  assert.deepEqual(commandLine(program, ["--help"]).at(-1), "--help");
  assert.throws(() => commandLine({ ...program, args: ["a\nb"] }), /two lines/);
});

Deno.test("bundle() L-6 keeps what hashes beside the agent, under the guest's flags and no rights", async () => {
  const root = new URL("../", import.meta.url).pathname;
  const folder = `.cache/hal/bundle-${crypto.randomUUID()}`;
  await Deno.mkdir(root + folder, { recursive: true });
  try {
    const entry = `${folder}/probe.ts`;
    // More than base/hasher.ts hashes without its worker.
    await Deno.writeTextFile(
      root + entry,
      `import { digestOf, hex } from ${JSON.stringify(`${root}base/mod.ts`)};
       const chunks = (async function* () {
         for (let i = 0; i < 10; i++) yield new Uint8Array(1 << 20);
       })();
       console.log(hex(await digestOf(chunks)));`,
    );
    const program = { name: "agent", entry, uid: 1, args: [], rights: [] } as const;
    await bundle(root, program, root + folder);
    const flags = commandLine(program).slice(0, -1);
    const { stdout, stderr } = await new Deno.Command("deno", {
      args: ["run", ...flags, `${root}${folder}/agent.js`],
      clearEnv: true,
      cwd: root,
    }).output();
    assert.deepEqual(
      [new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)],
      [`${hex(sha3_256(new Uint8Array(10 << 20)))}\n`, ""],
    );
  } finally {
    await Deno.remove(root + folder, { recursive: true });
  }
});

Deno.test("checkDeno() L-5 takes the pinned version only", () => {
  checkDeno(DENO_VERSION);
  assert.throws(() => checkDeno("2.9.5"), /with Deno 2\.9\.5: the guest is pinned to 2\.9\.6/);
});

Deno.test("portable() L-3 takes the machine's paths out of a bundle and changes nothing else", () => {
  const text = (folder: string) =>
    `// base/errors.ts
// ${folder}/npm/registry.test/@grpc/grpc-js/1.14.7/build/src/a.js
var require_a = __commonJS({
  "${folder}/npm/registry.test/cborg/6.1.5-rc.1/a.js"(exports) {
    const url = "../x/npm/registry.test/cborg/6.1.5/a.js"; // ../x/npm/registry.test/a/1.0.0/b
`;
  assert.equal(
    portable(text("../../home/somebody/.cache/deno")),
    `// base/errors.ts
// npm/@grpc/grpc-js/1.14.7/build/src/a.js
var require_a = __commonJS({
  "npm/cborg/6.1.5-rc.1/a.js"(exports) {
    const url = "../x/npm/registry.test/cborg/6.1.5/a.js"; // ../x/npm/registry.test/a/1.0.0/b
`,
  );
  assert.equal(portable(text("/d")), portable(text("../e")));
});
