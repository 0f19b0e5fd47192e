// Examples by the command lines that stand in them: a linear regression in Python, natively and in
// Pyodide, and an ELF program compiled here. The others have files of their own.
import assert from "node:assert/strict";
import { Management, startAgent } from "../_agent.ts";
import { freePort, House } from "../_house.ts";
import { digest, party } from "../_parties.ts";

/** The words of the `cocos algo` line in an example, after KEY. */
async function commandLine(example: string): Promise<string[]> {
  const text = await Deno.readTextFile(House.path(`examples/${example}`));
  const line = /cocos algo \S+ KEY (.*)$/m.exec(text)?.[1];
  assert.ok(line !== undefined, `${example} has no command line`);
  return line.split(" ");
}

/** Runs a program on both hospitals' tables; gives the folder of its results. */
async function compute(house: House, program: string, flags: readonly string[]): Promise<string> {
  const owner = await party(house, "owner", "ed25519");
  const pem = await Deno.readTextFile(owner.publicFile);
  const userKey = Uint8Array.fromBase64(
    pem.split("\n").filter((line) => !line.startsWith("-")).join(""),
  );
  const tables = ["a", "b"].map((name) => House.path(`examples/hospitals/hospital-${name}.csv`));
  const hash = async (path: string) => Uint8Array.fromHex(digest(await Deno.readFile(path)));
  await using management = await Management.start();
  const port = freePort();
  management.give({
    id: "example",
    algorithm: { hash: await hash(program), userKey },
    datasets: await Promise.all(tables.map(async (path) => ({ hash: await hash(path), userKey }))),
    resultConsumers: [{ userKey }],
    agentConfig: { port: String(port) },
  });
  const agent = startAgent(house, management.port, port);
  await management.until("runRes example ");
  const cocos = async (...args: string[]) => {
    const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
      AGENT_GRPC_URL: `127.0.0.1:${port}`,
    });
    assert.equal(code, 0, `cocos ${args.join(" ")}\n${stderr}\n${management.said.join("\n")}`);
  };
  await cocos("algo", program, owner.privateFile, ...flags);
  for (const table of tables) await cocos("data", table, owner.privateFile);
  await management.until("event ConsumingResults/Ready", 1, 300_000);
  await cocos("result", owner.privateFile, "out.zip", "--extract", "out");
  await agent.stop();
  return house.path("out");
}

/** A column of both tables. */
async function column(name: string): Promise<number[]> {
  const values: number[] = [];
  for (const each of ["a", "b"]) {
    const text = await Deno.readTextFile(House.path(`examples/hospitals/hospital-${each}.csv`));
    const [head = "", ...rows] = text.trim().split(/\r?\n/);
    const at = head.split(",").indexOf(name);
    assert.ok(at >= 0, `no column ${name}`);
    values.push(...rows.map((row) => Number(row.split(",")[at])));
  }
  return values;
}

const REGRESSION = "linear_regression.py";

for (const runtime of ["python3", "pyodide"]) {
  Deno.test(`e2e: the linear regression in Python, by its command line, with ${runtime}`, async () => {
    await using house = await House.open("examples");
    const flags = await commandLine(REGRESSION);
    const out = await compute(house, House.path(`examples/${REGRESSION}`), [
      ...flags,
      ...["--python-runtime", runtime],
    ]);
    const model = JSON.parse(await Deno.readTextFile(`${out}/model.json`));
    const names = flags.filter((word) => word.startsWith("mean_"));
    const [x, y] = await Promise.all(names.map(column)) as [number[], number[]];
    const mean = (list: number[]) => list.reduce((sum, each) => sum + each, 0) / list.length;
    const [mx, my] = [mean(x), mean(y)];
    const sum = (of: (i: number) => number) => x.reduce((total, _, i) => total + of(i), 0);
    const dx = (i: number) => (x[i] as number) - mx;
    const dy = (i: number) => (y[i] as number) - my;
    const slope = sum((i) => dx(i) * dy(i)) / sum((i) => dx(i) ** 2);
    assert.equal(model.rows, x.length);
    assert.ok(Math.abs(model.slope - slope) < 1e-6, `${model.slope}, expected ${slope}`);
    assert.ok(Math.abs(model.intercept - (my - slope * mx)) < 1e-5);
  });
}

Deno.test("e2e: an ELF program compiled from C, by its command line", async () => {
  await using house = await House.open("examples");
  const program = house.path("histogram");
  const { code, stderr } = await house.runAt("sh", [
    ...["-c", 'exec cc -O2 -static -o "$1" "$2"', "sh", program],
    House.path("examples/histogram.c"),
  ], { PATH: "/usr/local/bin:/usr/bin:/bin" });
  if (code !== 0) {
    return console.log(`skipped: no C compiler here (${stderr.trim().split("\n")[0]})`);
  }
  const out = await compute(house, program, await commandLine("histogram.c"));
  const [head, ...rows] = (await Deno.readTextFile(`${out}/histogram.csv`)).trim().split("\n");
  assert.equal(head, "from,to,rows");
  const radius = await column("mean_radius");
  const expected = Array.from({ length: 12 }, (_, i) => 5 + 5 * i)
    .map((from) => [from, radius.filter((each) => each >= from && each < from + 5).length])
    .filter(([, count]) => (count as number) >= 5)
    .map(([from, count]) => `${from},${(from as number) + 5},${count}`);
  assert.ok(expected.length > 2);
  assert.deepEqual(rows, expected);
});
