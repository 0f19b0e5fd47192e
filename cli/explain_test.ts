// `cocos run explain`: what it prints is what bubblewrap is told, for every kind; hostile texts of a
// manifest stay texts.
import assert from "node:assert/strict";
import { ALLOWED, CONDITIONAL, ENVIRONMENT, sandboxArgv } from "../proto/sandbox/mod.ts";
import { generateKeys, type Kind } from "../proto/mod.ts";
import { explanation, mountsOf, stepsOf } from "./explain.ts";
import { cocos, inFolder } from "./_fakes.ts";
import { manifestOf } from "./_strict.ts";

const { publicPem } = await generateKeys("ed25519");
const ALGORITHM = { name: "algo", bytes: "print(1)\n" };

const agreed = (type: Kind, runtime = "", more: { args?: string[]; requirements?: boolean } = {}) =>
  manifestOf(publicPem, ALGORITHM, [], (message) => {
    const { algorithm } = message;
    assert.ok(algorithm !== undefined);
    algorithm.type = type;
    algorithm.runtime = runtime;
    algorithm.args = more.args ?? ["--epochs", "5"];
    if (more.requirements === true) algorithm.requirementsHash = new Uint8Array(32).fill(7);
  });

Deno.test("explain tells every mount, variable and system call that bubblewrap and the filter are told", async () => {
  for (
    const [type, runtime, steps] of [
      ["bin", "", ["run"]],
      ["python", "", ["run"]],
      ["python", "python3", ["install", "run"]],
      ["python", "pyodide", ["run"]],
      ["wasm", "", ["run"]],
    ] as const
  ) {
    const agreement = await agreed(type, runtime, { requirements: steps.length > 1 });
    const found = stepsOf(agreement.terms);
    assert.deepEqual(found.map(({ what }) => what), steps);
    const text = explanation(agreement);
    for (const { what, spec } of found) {
      const argv = sandboxArgv(spec);
      const told = mountsOf(argv);
      const flags = ["--ro-bind", "--bind", "--ro-bind-try", "--ro-bind-data", "--symlink"];
      const places = argv.slice(0, argv.indexOf("--")).filter((each) =>
        [...flags, "--tmpfs", "--proc", "--dev"].includes(each)
      );
      assert.equal(told.length, places.length, `${type} ${runtime} ${what}`);
      for (const { path, what } of told) {
        assert.ok(text.includes(`${path.padEnd(23)} ${what}`), path);
      }
      // Data is in sight of a run and of nothing before it; one folder is writable.
      const writable = told.filter((each) => each.what.includes("WRITABLE")).map(({ path }) =>
        path
      );
      assert.deepEqual(writable, [
        "/dev/shm",
        "/tmp",
        what === "run" ? "/cocos/results" : "/opt/site",
      ]);
      assert.equal(told.some(({ path }) => path === "/cocos/datasets"), what === "run");
    }
    for (const [name, value] of Object.entries(ENVIRONMENT)) {
      assert.ok(text.includes(`${name}=${value}`));
    }
    const words = new Set(text.split(/[\s:]+/));
    for (const call of [...ALLOWED, ...Object.keys(CONDITIONAL)]) assert.ok(words.has(call), call);
  }
});

Deno.test("cocos run explain prints it for people and as JSON, and refuses what it can't explain", async () => {
  await inFolder(async (dir) => {
    const agreement = await agreed("python", "", {
      args: ["two words", "\x1b[2Jforged", "--bind / /"],
    });
    await Deno.writeTextFile(`${dir}/m.json`, agreement.text);
    const shown = await cocos(["run", "explain", `${dir}/m.json`]);
    assert.equal(shown.exit, 0, shown.err);
    assert.match(
      shown.out,
      /^What is started\n {2}\/usr\/bin\/python3 -I -B \/cocos\/algo "two words" /,
    );
    assert.match(shown.out, /^ {2}\/cocos\/datasets {8} the datasets, read-only$/m);
    assert.match(shown.out, /^ {2}\/cocos\/results {9} the results, WRITABLE$/m);
    assert.match(shown.out, /^ {2}time {7}3,600 seconds, /m);
    assert.match(shown.out, /^Network\n {2}none: /m);
    assert.ok(!shown.out.includes("\x1b"), "an escape sequence of the manifest");
    const json = JSON.parse((await cocos(["--json", "run", "explain", `${dir}/m.json`])).out);
    assert.deepEqual(json.steps[0].args.slice(-1), ["--bind / /"]);
    assert.deepEqual([json.network, json.digest], [[], agreement.digest]);

    await Deno.writeTextFile(`${dir}/d.json`, (await agreed("docker")).text);
    const container = await cocos(["run", "explain", `${dir}/d.json`]);
    assert.notEqual(container.exit, 0);
    assert.match(container.err, /Cannot explain the run: Cannot explain a container/);
    assert.equal((await cocos(["run", "explain", `${dir}/none.json`])).exit, 3);
  });
});
