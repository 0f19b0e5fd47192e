// Transfers over connections that are cut in the middle: the command goes on by itself, a few times.
import assert from "node:assert/strict";
import { CocosError, Exit, hex, sha3_256, zipEntries } from "../base/mod.ts";
import { generateKeys } from "../proto/mod.ts";
import { cocos, inFolder } from "./_fakes.ts";
import { manifestOf, type StrictAgent, strictAgent } from "./_strict.ts";
import { persist } from "./persist.ts";
import { processTerminal } from "./terminal.ts";

const pair = await generateKeys("ed25519");
const data = Uint8Array.from({ length: 10 * (1 << 20) + 5 }, (_, i) => (i * 11 + (i >> 9)) & 0xff);
const PROGRAM = { name: "algo.py", bytes: "print(1)\n" };
const agreement = await manifestOf(pair.publicPem, PROGRAM, [{ name: "big.bin", bytes: data }]);

/** Ways to an agent, the first of which are cut when this many bytes went through either way. */
function cutting(port: number, limits: readonly number[]) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const left = [...limits];
  const open = new Set<Deno.TcpConn>();
  const work = (async () => {
    for await (const near of listener) {
      const far = await Deno.connect({ hostname: "127.0.0.1", port });
      const most = left.shift() ?? Infinity;
      open.add(near).add(far);
      const end = () => {
        for (const each of [near, far]) if (open.delete(each)) each.close();
      };
      const pipe = async (from: Deno.TcpConn, to: Deno.TcpConn) => {
        const buffer = new Uint8Array(65_536);
        let through = 0;
        try {
          for (let n; (n = await from.read(buffer)) !== null;) {
            through += n;
            if (through > most) break;
            for (let at = 0; at < n;) at += await to.write(buffer.subarray(at, n));
          }
        } catch {
          // The other side is gone.
        }
        end();
      };
      pipe(near, far);
      pipe(far, near);
    }
  })().catch(() => {});
  return {
    url: `127.0.0.1:${(listener.addr as Deno.NetAddr).port}`,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const each of open) each.close();
      open.clear();
      await work;
    },
  };
}

/** Runs a command of the party over ways that are cut. */
async function over(
  limits: readonly number[],
  result: Uint8Array,
  work: (scene: {
    dir: string;
    agent: StrictAgent;
    run: (argv: string[]) => ReturnType<typeof cocos>;
  }) => Promise<void>,
  lostAnswers = 0,
): Promise<void> {
  await inFolder(async (dir) => {
    await Deno.writeTextFile(`${dir}/private.pem`, pair.privatePem);
    await Deno.writeTextFile(`${dir}/manifest.json`, agreement.text);
    await Deno.writeFile(`${dir}/big.bin`, data);
    await using agent = await strictAgent({
      agreement,
      publicPem: pair.publicPem,
      result,
      lostAnswers,
    });
    await using way = cutting(agent.port, limits);
    await work({
      dir,
      agent,
      run: (argv) =>
        cocos([...argv, "--manifest", `${dir}/manifest.json`], {
          env: { AGENT_GRPC_URL: way.url, HOME: `${dir}/home` },
        }),
    });
  });
}

/** The first connection of a command is the one that is tried with TLS; nothing goes through it. */
const TLS = Infinity;

Deno.test("cocos data goes on where the connection broke, and says so", async () => {
  await over([TLS, 4 << 20], new Uint8Array(), async ({ dir, agent, run }) => {
    const { exit, err, out } = await run(["data", `${dir}/big.bin`, `${dir}/private.pem`]);
    assert.equal(exit, Exit.OK, err);
    assert.match(err, /The connection broke .*attempt 1 of 5 in 1 s/);
    assert.match(out + err, /Going on at byte \d+ of 10485765/);
    const uploads = agent.calls.filter(({ method }) => method === "Data");
    assert.equal(uploads.length, 2);
    assert.ok((uploads[1]?.bytes ?? 0) < data.length);
    assert.equal(
      hex(sha3_256(agent.kept.get("dataset:big.bin") as Uint8Array)),
      hex(sha3_256(data)),
    );
  });
});

Deno.test("cocos data and algo take a lost answer for what it is: the upload is in, and sent once", async () => {
  await over([], new Uint8Array(), async ({ dir, agent, run }) => {
    await Deno.writeTextFile(`${dir}/${PROGRAM.name}`, PROGRAM.bytes);
    for (
      const [argv, method, bytes] of [
        [["algo", `${dir}/${PROGRAM.name}`], "Algo", PROGRAM.bytes.length],
        [["data", `${dir}/big.bin`], "Data", data.length],
      ] as const
    ) {
      const { exit, err, out } = await run([...argv, `${dir}/private.pem`]);
      assert.equal(exit, Exit.OK, err);
      assert.match(out + err, /The agent has it, whole/);
      assert.match(out + err, /Successfully uploaded/);
      const calls = agent.calls.filter((call) => call.method === method);
      assert.deepEqual(calls.map((call) => call.bytes), [bytes]);
    }
  }, 2);
});

Deno.test("O-5 O-8 cocos result goes on where the connection broke; the whole is checked", async () => {
  const entry = { path: "", name: "r.bin", mode: 0o100644, mtime: new Date(0) };
  const parts = zipEntries([entry], async function* () {
    yield data;
  });
  const archive = new Uint8Array(await new Response(ReadableStream.from(parts)).arrayBuffer());
  await over([TLS, 4 << 20], archive, async ({ dir, agent, run }) => {
    const { exit, err } = await run(["result", `${dir}/private.pem`, `${dir}/out.zip`]);
    assert.equal(exit, Exit.OK, err);
    assert.match(err, /The connection broke/);
    assert.equal(hex(sha3_256(await Deno.readFile(`${dir}/out.zip`))), hex(sha3_256(archive)));
    const calls = agent.calls.map(({ method }) => method);
    assert.equal(calls.filter((method) => method === "Result").length, 2);
    assert.equal(calls.at(-1), "Acknowledge");
  });
});

Deno.test("persist() gives up after its attempts, begins to count anew when it got on, and asks nobody twice in vain", async () => {
  const context = {
    terminal: processTerminal(true, ""),
    env: () => undefined,
    signal: new AbortController().signal,
    now: Date.now,
  };
  const broken = new CocosError("unavailable", "the agent is gone");
  const failing = async (begins: boolean, moves: readonly number[], error = broken) => {
    let tried = 0;
    await assert.rejects(
      persist(context, ({ begun, moved, attempt }) => {
        tried++;
        if (begins) begun();
        if (moves.includes(attempt)) moved();
        return Promise.reject(error);
      }, [0, 0, 0]),
      error,
    );
    return tried;
  };
  assert.equal(await failing(true, []), 4);
  assert.equal(await failing(true, [2]), 6);
  assert.equal(await failing(false, []), 1);
  assert.equal(await failing(true, [], new CocosError("digest-mismatch", "no")), 1);
});
