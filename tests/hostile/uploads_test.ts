// Uploads nobody wants, a gigabyte each, against the agent process as it really runs: in every state
// that has a front door (threats G-7).
import assert from "node:assert/strict";
import { readPrivateKey, ROLES, signRole } from "../../proto/mod.ts";
import { Management, startAgent, workArea } from "../_agent.ts";
import { entries, freePort, House } from "../_house.ts";
import { Client, field, flood, mebibyte } from "../_grpc.ts";
import { digest, party } from "../_parties.ts";

const ALGO = "/agent.AgentService/Algo";
const DATA = "/agent.AgentService/Data";
const RESULT = "/agent.AgentService/Result";

/** Frames of a flood, 1 MiB each. */
const GIGABYTE = 1_024;

/** What a peer's connection, its window and the kernel's buffers may hold of a flood, in MiB. */
const TAKEN = 64;

/** Resident memory of the agent on a port, in MiB. */
async function memory(port: number): Promise<number> {
  const { stdout } = await new Deno.Command("ps", { args: ["-e", "-ww", "-o", "rss=,args="] })
    .output();
  const line = new TextDecoder().decode(stdout).split("\n")
    .find((each) => each.includes("agent/main.ts") && each.includes(`127.0.0.1:${port},`));
  assert.ok(line !== undefined, "the agent's process");
  return Number.parseInt(line.trim()) / 1024;
}

/** Paths of everything beneath a folder, save the agent's own note of events on their way. */
function tree(folder: string): string[] {
  return entries(folder).filter((name) => !name.startsWith("unsent")).flatMap((name) => {
    const path = `${folder}/${name}`;
    return Deno.lstatSync(path).isDirectory ? [path, ...tree(path)] : [path];
  });
}

Deno.test("G-7 a gigabyte in each of the eight states is refused at once: memory flat, disk clean", async () => {
  await using house = await House.open("uploads");
  await using management = await Management.start();
  const owner = await party(house, "owner", "ed25519");
  const pem = await Deno.readTextFile(owner.publicFile);
  const userKey = Uint8Array.fromBase64(
    pem.split("\n").filter((line) => !line.startsWith("-")).join(""),
  );
  const key = readPrivateKey(await Deno.readTextFile(owner.privateFile));
  const as = (role: (typeof ROLES)[keyof typeof ROLES]) => ({ signature: signRole(role, key) });
  const port = freePort();
  const area = await workArea(house);
  const agent = startAgent(house, management.port, port, {}, ["--work", area]);
  const piece = mebibyte();
  let before = 0;

  /** Uploads of both kinds, save those this state wants, each refused at once with `text`. */
  const refuses = async (state: string, calls: readonly [string, string][]) => {
    const there = tree(area);
    for (const [path, text] of calls) {
      using client = new Client(port);
      const metadata = as(path === ALGO ? ROLES.algorithm : ROLES.data);
      const { reply, sent } = await flood(client, path, metadata, piece, GIGABYTE);
      assert.match(reply.text, new RegExp(text), `${state}: ${path}`);
      assert.ok(sent < TAKEN, `${state}: ${path}: ${sent} MiB were taken`);
    }
    assert.deepEqual(tree(area), there, state);
    const grown = await memory(port) - before;
    assert.ok(grown < TAKEN, `${state}: the agent grew by ${grown} MiB`);
  };
  const STATE = "agent not expecting this operation in the current state";
  const both: [string, string][] = [[ALGO, STATE], [DATA, STATE]];
  const data = "x,y\n1,2\n";
  const give = (id: string, program: string, datasets = [data]) =>
    management.give({
      id,
      algorithm: { hash: Uint8Array.fromHex(digest(program)), userKey },
      datasets: datasets.map((each) => ({ hash: Uint8Array.fromHex(digest(each)), userKey })),
      resultConsumers: [{ userKey }],
      agentConfig: { port: String(port) },
    });
  const send = async (path: string, content: string) => {
    using client = new Client(port);
    const metadata = as(path === ALGO ? ROLES.algorithm : ROLES.data);
    const reply = await client.call(path, metadata, [field(1, content)]);
    assert.equal(reply.status, 0, reply.text);
  };
  const stop = async (id: string) => {
    management.stop(id);
    assert.equal(await management.until(`stopped ${id}`), `stopped ${id} `);
  };

  // Idle and ReceivingManifest have no door.
  await management.until("event Idle/IdleState");
  using early = new Client(port);
  await assert.rejects(flood(early, ALGO, as(ROLES.algorithm), piece, GIGABYTE));

  const endless = "#!/bin/sh\nwhile :; do :; done\n";
  give("1", endless);
  await management.until("runRes 1 ");
  before = await memory(port);
  await refuses("ReceivingAlgorithm", [[DATA, STATE]]);
  await send(ALGO, endless);
  await refuses("ReceivingData", [[ALGO, STATE]]);
  await send(DATA, data);
  await management.until("event Running/InProgress");
  await refuses("Running", both);
  await stop("1");

  const failing = "#!/bin/sh\nexit 3\n";
  give("2", failing, []);
  await management.until("runRes 2 ");
  await send(ALGO, failing);
  await management.until("event Failed/Failed");
  await refuses("Failed", both.slice(0, 1));
  await stop("2");

  const whole = "#!/bin/sh\ncat datasets/* >results/all\n";
  give("3", whole);
  await management.until("runRes 3 ");
  await send(ALGO, whole);
  await send(DATA, data);
  await management.until("event ConsumingResults/Ready");
  await refuses("ConsumingResults", both);
  using consumer = new Client(port);
  const reply = await consumer.call(RESULT, as(ROLES.consumer), [new Uint8Array()]);
  assert.equal(reply.status, 0, reply.text);
  await management.until("event Complete/Completed");
  await refuses("Complete", both);
  await agent.stop();
});
