// Soak: a management server behind a network that breaks all the time. Every event has to come once
// and in its order (threats C-3).
import { Cutter } from "./_cutter.ts";
import { FakeManagement, TestAgent, textOf } from "./_fakes.ts";
import { type Outcome, randomOf } from "./_soak.ts";

/** Breaks the connection `runs` times at random bytes; the agent speaks all the while. */
export async function disconnects(runs: number, seed: number): Promise<Outcome> {
  const random = randomOf(seed);
  const folder = await Deno.makeTempDir();
  await using management = await FakeManagement.start();
  const said: string[] = [];
  await using cutter = new Cutter(
    management.port,
    (connection) => connection < runs ? random(2_500) : Number.MAX_SAFE_INTEGER,
  );
  Deno.mkdirSync(`${folder}/work`, { mode: 0o700 });
  const agent = await TestAgent.start({
    work: `${folder}/work`,
    server: cutter.port,
    env: { AGENT_CVM_GRPC_TIMEOUT: "10m" },
    reconnectMs: 0,
  });
  try {
    while (cutter.count <= runs) {
      for (let i = random(4); i >= 0; i--) {
        agent.telemetry.event(`Event${said.length}`, "InProgress");
        said.push(`event Event${said.length}/InProgress`);
        if (random(3) === 0) agent.telemetry.log("info", `line ${said.length}`);
      }
      await management.came(said.at(-1) as string);
    }
    const came = management.all.map(textOf)
      .filter((text) => text.startsWith("event Event"));
    const failures: string[] = [];
    if (came.length !== said.length) failures.push(`${said.length} said, ${came.length} came`);
    const wrong = came.findIndex((text, i) => text !== said[i]);
    if (wrong >= 0) failures.push(`${came[wrong]} came in the place of ${said[wrong]}`);
    const doubled = management.connections.reduce((sum, each) => sum + each.doubled, 0);
    return {
      runs,
      failures,
      figures: { events: said.length, "sent again and told apart": doubled },
    };
  } finally {
    await agent[Symbol.asyncDispose]();
    await management[Symbol.asyncDispose]();
    await Deno.remove(folder, { recursive: true });
  }
}
