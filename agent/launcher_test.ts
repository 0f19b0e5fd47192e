import assert from "node:assert/strict";
import { FakeManagement, freePort } from "./_fakes.ts";

const launcher = new URL("../bin/cocos-agent", import.meta.url).pathname;

async function inFolder(use: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  // As root the agent becomes another user, which has to find its area.
  Deno.chmodSync(dir, 0o711);
  try {
    await use(dir);
    assert.deepEqual([...Deno.readDirSync(dir)].map(({ name }) => name), []);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const start = (dir: string, args: string[], env: Record<string, string>) =>
  new Deno.Command(launcher, {
    args,
    env: { ...env, COCOS_RUN_DIR: dir, COCOS_DENO: Deno.execPath() },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();

Deno.test("bin/cocos-agent: wrong settings end it with code 2 and every mistake, nothing is left", async () => {
  await inFolder(async (dir) => {
    const { code, stderr } = await start(dir, ["--runner", "/r"], {
      AGENT_VMPL: "9",
      AGENT_GRPC_PORT: "x",
    })
      .output();
    assert.equal(code, 2);
    assert.match(new TextDecoder().decode(stderr), /AGENT_VMPL[^]*AGENT_GRPC_PORT[^]*hint: /);
  });
});

Deno.test("bin/cocos-agent: the agent dials in with its rights; SIGTERM ends it and removes its area", async () => {
  await inFolder(async (dir) => {
    await using management = await FakeManagement.start();
    const child = start(dir, ["--compat", "--runner", "/run/no-runner.sock"], {
      AGENT_CVM_GRPC_URL: `localhost:${management.port}`,
      AGENT_GRPC_HOST: "127.0.0.1",
      AGENT_GRPC_PORT: String(freePort()),
    });
    const output = child.output();
    const ended = output.then(({ stderr }) => {
      throw new Error(new TextDecoder().decode(stderr));
    });
    ended.catch(() => {});
    const server = await Promise.race([management.next(), ended]);
    await server.until("event Idle/IdleState");
    server.askState();
    assert.equal(await server.until("stateRes"), "stateRes 7 ReceivingManifest");
    child.kill("SIGTERM");
    await server.until("log INFO Received signal");
    const { code } = await output;
    assert.equal(code, 143);
  });
});

Deno.test("bin/cocos-agent: what another process of the agent's user lays beside the compiled agent is neither kept nor given away", async () => {
  if (Deno.uid() !== 0) {
    console.log("skipped: only root starts the agent as another user");
    return;
  }
  const house = new URL("../.cache", import.meta.url).pathname;
  const compiled = () =>
    [...Deno.readDirSync(house)].filter(({ name }) => /^agent-\d+$/.test(name))
      .map(({ name }) => `${house}/${name}`)
      .filter((bundle) => [...Deno.readDirSync(bundle)].some(({ name }) => name === "compiled-yes"))
      .map((bundle) => `${bundle}/compiled-yes`);
  await inFolder(async (dir) => {
    // As in /run, names can be read.
    Deno.chmodSync(dir, 0o755);
    const secret = await Deno.makeTempFile();
    await Deno.writeTextFile(secret, "root's own");
    await using management = await FakeManagement.start();
    for (const path of compiled()) await Deno.remove(path, { recursive: true }).catch(() => {});
    const planter = new Deno.Command("setpriv", {
      args: ["--reuid=61000", "--regid=62000", "--clear-groups", "sh", "-c"].concat(
        'while :; do for at in "$1"/cocos-agent.*/cache; do ' +
          'ln -s "$2" "$at/v8_code_cache_of_mine" 2>/dev/null; done; sleep 0.01; done',
        "sh",
        dir,
        secret,
      ),
    }).spawn();
    const child = start(dir, ["--compat", "--runner", "/run/no-runner.sock"], {
      AGENT_CVM_GRPC_URL: `localhost:${management.port}`,
      AGENT_GRPC_HOST: "127.0.0.1",
      AGENT_GRPC_PORT: String(freePort()),
    });
    const output = child.output();
    try {
      const server = await management.next();
      await server.until("event Idle/IdleState");
      const kept = compiled().flatMap((path) =>
        [...Deno.readDirSync(path)].map(({ name }) => name)
      );
      assert.ok(kept.length > 0, "nothing was kept");
      assert.ok(!kept.includes("v8_code_cache_of_mine"), kept.join());
      assert.equal(Deno.statSync(secret).uid, 0);
    } finally {
      planter.kill("SIGKILL");
      await planter.status;
      child.kill("SIGTERM");
      await output;
      await Deno.remove(secret);
      for (const path of compiled()) await Deno.remove(path, { recursive: true }).catch(() => {});
    }
  });
});
