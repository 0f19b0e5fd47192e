// The example of an algorithm in a container, by the command lines of docs/runtimes.md: made with
// `docker import`, uploaded by the CLI, run by the distribution's engine, without a VM.
import assert from "node:assert/strict";
import { Management, startAgent } from "../_agent.ts";
import { startEngine } from "../_engine.ts";
import { freePort, House } from "../_house.ts";
import { digest, party } from "../_parties.ts";

Deno.test("e2e: the example container is packed, uploaded and run, and its arguments arrive", async () => {
  await using house = await House.open("container");
  const started = await startEngine(house);
  if (typeof started === "string") return console.log(`skipped: ${started}`);
  await using engine = started;
  const image = await engine.pack(house.path("mean.tar"));
  await using management = await Management.start();
  const owner = await party(house, "owner", "ed25519");
  const table = await house.write("table.csv", "a,b\n1,10\n2,20\n6,60\n");
  const userKey = Uint8Array.fromBase64(
    (await Deno.readTextFile(owner.publicFile)).split("\n")
      .filter((line) => !line.startsWith("-")).join(""),
  );
  const hash = async (path: string) => Uint8Array.fromHex(digest(await Deno.readFile(path)));
  const port = freePort();
  management.give({
    id: "container",
    algorithm: { hash: await hash(image), userKey },
    datasets: [{ hash: await hash(table), userKey, filename: "table.csv" }],
    resultConsumers: [{ userKey }],
    agentConfig: { port: String(port) },
  });
  const agent = startAgent(house, management.port, port, {}, ["--docker", engine.socket]);
  await management.until("runRes container ");
  await agent.until((line) => line.includes("runner ready"), "its runner");
  const cocos = async (...args: string[]) => {
    const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
      AGENT_GRPC_URL: `127.0.0.1:${port}`,
    });
    assert.equal(code, 0, `cocos ${args.join(" ")}\n${stderr}\n${agent.lines.join("\n")}`);
  };
  await cocos("algo", image, owner.privateFile, "-a", "docker", "--args", "2");
  await cocos("data", table, owner.privateFile);
  await management.until("event ConsumingResults/Ready", 1, 120_000);
  await cocos("result", owner.privateFile, "results.zip", "--extract", house.path("results"));
  assert.equal(
    await Deno.readTextFile(house.path("results/mean.json")),
    '{"rows": 3, "mean": 30.000000}\n',
  );
  await agent.stop();
  assert.equal(await engine.left(), "");
});
