// What was approved is kept for its owner only, whole or not at all.
import assert from "node:assert/strict";
import { filesOf } from "../agreement/mod.ts";
import { Exit } from "../base/mod.ts";
import { generateKeys } from "../proto/mod.ts";
import { Approvals } from "./approvals.ts";
import { cocos, inFolder } from "./_fakes.ts";
import { ID, manifestOf, strictAgent } from "./_strict.ts";
import { planOf } from "./plan_file.ts";
import { parse } from "./program.ts";

const { publicPem, privatePem } = await generateKeys("ed25519");
const PROGRAM = { name: "algo.py", bytes: "print(1)\n" };
const first = await manifestOf(publicPem, PROGRAM);
const second = await manifestOf(publicPem, PROGRAM, [], (message) => void (message.name = "b"));

const of = (HOME: string) => new Approvals((name) => name === "HOME" ? HOME : undefined);

Deno.test("Approvals keeps one manifest a computation, and one key a manifest", async () => {
  await inFolder(async (dir) => {
    const approvals = of(`${dir}/home`);
    assert.equal(await approvals.approved(ID), undefined);
    assert.equal(await approvals.pinned(first), undefined);
    await approvals.approve(first);
    assert.equal(await approvals.approved(ID), first.text);
    await approvals.pin(first, "aa");
    assert.equal(await approvals.pinned(first), "aa");
    assert.equal(await approvals.pinned(second), undefined);
    await approvals.approve(second);
    assert.equal(await approvals.approved(ID), second.text);
    // A new approval forgets the agent's key.
    assert.equal(await approvals.pinned(first), undefined);
    const folder = `${dir}/home/.cocos/computations`;
    await approvals.pin(second, "bb");
    for (const [path, mode] of [["", 0o700], [`/${ID}.manifest`, 0o600], [`/${ID}.key`, 0o600]]) {
      assert.equal((await Deno.stat(`${folder}${path}`)).mode! & 0o777, mode, `${path}`);
    }
    assert.deepEqual((await Array.fromAsync(Deno.readDir(folder))).length, 2);
  });
});

Deno.test("Approvals in a folder that others can write to are none (M-7)", async () => {
  await inFolder(async (dir) => {
    const approvals = of(dir);
    await approvals.approve(first);
    await Deno.chmod(`${dir}/.cocos/computations`, 0o722);
    const refused = { code: "untrusted", message: /others may write there/ };
    await assert.rejects(approvals.approved(ID), refused);
    await assert.rejects(approvals.pinned(first), refused);
    await assert.rejects(approvals.pin(first, "aa"), refused);
    await assert.rejects(approvals.approve(second), refused);
    await Deno.chmod(`${dir}/.cocos/computations`, 0o700);
    assert.equal(await approvals.approved(ID), first.text);
  });
});

Deno.test("Approvals that several commands write at once stay whole", async () => {
  await inFolder(async (dir) => {
    const long = await manifestOf(publicPem, PROGRAM, [], (message) => {
      message.description = "x".repeat(100_000);
    });
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => of(dir).approve(i % 2 === 0 ? first : long)),
    );
    assert.ok([first.text, long.text].includes(await of(dir).approved(ID) ?? ""));
  });
});

Deno.test("Approvals without HOME keeps nothing, and says what to do", async () => {
  for (const HOME of ["", "relative", "/a,b"]) {
    assert.equal(await of(HOME).approved(ID), undefined);
    await assert.rejects(of(HOME).approve(first), { code: "invalid-config" });
  }
});

Deno.test("cocos manifest show, digest and approve read a file or the agent's manifest", async () => {
  await inFolder(async (dir) => {
    await using agent = await strictAgent({ agreement: first, publicPem });
    const env = { AGENT_GRPC_URL: agent.url, HOME: `${dir}/home` };
    await Deno.writeTextFile(`${dir}/m.json`, first.text);
    for (const file of [[`${dir}/m.json`], []]) {
      const shown = await cocos(["manifest", "show", ...file], { env });
      assert.deepEqual([shown.exit, shown.out.split("\n")[1]], [Exit.OK, '  "a study"']);
      const json = await cocos(["--json", "manifest", "show", ...file], { env });
      const { digest, manifest } = JSON.parse(json.out);
      assert.deepEqual([digest, manifest], [first.digest, JSON.parse(first.text)]);
      const printed = await cocos(["manifest", "digest", ...file], { env });
      assert.equal(printed.out, `${first.digest}\n`);
      const wrong = await cocos(
        ["manifest", "approve", ...file, "--digest", second.digest],
        { env },
      );
      assert.equal(wrong.exit, Exit.UNTRUSTED);
      assert.equal(await of(`${dir}/home`).approved(ID), undefined);
      const approved = await cocos(
        ["--json", "manifest", "approve", ...file, "--digest", first.digest.toUpperCase()],
        { env },
      );
      assert.deepEqual(JSON.parse(approved.out), { approved: ID, digest: first.digest });
      assert.equal(await of(`${dir}/home`).approved(ID), first.text);
      await Deno.remove(`${dir}/home`, { recursive: true });
    }
    const cases: [string[], Exit, RegExp][] = [
      [["manifest", "show", `${dir}/none`], Exit.NOT_FOUND, /Cannot read the manifest/],
      [["manifest"], Exit.OK, /^$/],
      [["manifest", "approve", "--digest", "12"], Exit.USAGE, /must be HEX of 64 digits/],
      [["manifest", "show", "--pin", "12"], Exit.USAGE, /must be sha256:HEX of 64 digits/],
      [["algo", "a", "k", "--pin", "sha256:12"], Exit.USAGE, /must be sha256:HEX of 64 digits/],
    ];
    for (const [argv, exit, message] of cases) {
      const outcome = await cocos(argv, { env });
      assert.equal(outcome.exit, exit, argv.join(" "));
      assert.match(outcome.err, message);
    }
  });
});

Deno.test("a computation file stands for its manifest: made of the files it names, from its own folder", async () => {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/public.pem`, publicPem);
    await Deno.writeTextFile(`${dir}/algo.py`, "print(1)\n");
    const plan = {
      id: ID,
      name: "a study",
      algorithm: { file: "algo.py", key: "public.pem" },
      consumers: ["public.pem"],
      channel: "insecure",
    };
    await Deno.writeTextFile(`${dir}/computation.json`, JSON.stringify(plan));
    const file = `${dir}/computation.json`;
    const { exit, out, err } = await cocos(["manifest", "digest", file]);
    assert.deepEqual([exit, out], [Exit.OK, `${first.digest}\n`], err);
    // The launcher grants exactly the files that it names.
    const argv = ["manifest", "digest", file];
    assert.deepEqual(filesOf((await planOf(parse(argv)))!), [
      `${dir}/algo.py`,
      `${dir}/public.pem`,
    ]);
    for (const other of [["manifest", "show", `${dir}/algo.py`], ["--compat", "algo", file, "k"]]) {
      assert.equal(await planOf(parse(other)), undefined);
    }
    await using agent = await strictAgent({ agreement: first, publicPem });
    await Deno.writeTextFile(`${dir}/k.pem`, privatePem);
    const env = { AGENT_GRPC_URL: agent.url };
    const algo = ["algo", `${dir}/algo.py`, `${dir}/k.pem`, "--manifest", file];
    assert.equal((await cocos(algo, { env })).exit, Exit.OK);
    await Deno.writeTextFile(file, JSON.stringify({ ...plan, name: "another" }));
    assert.equal((await cocos(algo, { env })).exit, Exit.UNTRUSTED);
    await Deno.writeTextFile(file, JSON.stringify({ ...plan, algorithm: { file: "none" } }));
    const broken = await cocos(["manifest", "show", file]);
    assert.match(
      broken.err,
      /The computation has 1 mistake\(s\):\n {2}algorithm\.key: is required/,
    );
  });
});
