// Whole computations without a VM: the same processes through the same launchers on loopback, with
// the real sandbox. As root the launchers become users of their own; as a user they stay.
import assert from "node:assert/strict";
import { Management, startAgent, startStrictAgent } from "../_agent.ts";
import { entries, freePort, House, listens, processesWith } from "../_house.ts";
import { digest, party } from "../_parties.ts";

/** Private folders of the agent at this port and of its runner, as their command lines name them. */
async function areasOf(port: number): Promise<string[]> {
  const mine = await processesWith(`127.0.0.1:${port},`);
  const pattern = /\/[\w./-]*\/cocos-(?:agent|runner)\.\w+/g;
  const agent = new Set(mine.join(" ").match(pattern));
  assert.ok(agent.size > 0, `no process of the agent at port ${port}`);
  const all = await Promise.all([...agent].map((area) => processesWith(`${area}/`)));
  return [...new Set(all.flat().join(" ").match(pattern))];
}

/** Asserts that nothing is left of programs that were started in `house`. */
async function assertNothingLeft(
  house: House,
  areas: readonly string[],
  ports: readonly number[],
): Promise<void> {
  for (const text of [house.folder, ...areas]) assert.deepEqual(await processesWith(text), []);
  for (const area of areas) {
    const cut = area.lastIndexOf("/");
    assert.ok(!entries(area.slice(0, cut)).includes(area.slice(cut + 1)), `${area} is left`);
  }
  for (const port of ports) assert.equal(await listens(port), false, `port ${port}`);
}

/** A management server with a computation, up to its first line; `manifest.json` is for the parties. */
async function serve(house: House, name: string, computation: Record<string, unknown>) {
  const port = freePort();
  await house.write(`${name}.json`, JSON.stringify(computation));
  const server = house.start("cocos-computations", [
    ...["--file", `${name}.json`, "--manifest-out", house.path(`${name}.manifest`)],
  ], { COMPUTATIONS_HOST: "127.0.0.1", COMPUTATIONS_PORT: String(port) });
  await server.until((line) => line.includes("listening at"), "listening");
  return { server, port, manifest: house.path(`${name}.manifest`) };
}

/** A computation file, `cocos-computations` and `cocos-agent`, up to the open door. */
async function start(house: House, computation: Record<string, unknown>) {
  const port = freePort();
  const served = await serve(house, "computation", { ...computation, agent: { port } });
  const { server, manifest } = served;
  const agent = startStrictAgent(house, served.port, port);
  const event = (wanted: string) =>
    server.until((line) => {
      if (!line.includes('"agent event"')) return false;
      const { event, status } = JSON.parse(line);
      if (`${event}/${status}` === "Failed/Failed" && wanted !== "Failed/Failed") {
        throw new Error(`the run failed:\n${server.lines.join("\n")}\n${agent.lines.join("\n")}`);
      }
      return `${event}/${status}` === wanted;
    }, wanted);
  await event("ReceivingAlgorithm/InProgress");
  await server.until((line) => line.includes("agent accepted the manifest"), "accepted");
  const env = { ...house.home("home"), AGENT_GRPC_URL: `127.0.0.1:${port}` };
  const cocos = (...args: string[]) => house.run("cocos", args, env);
  /** Runs a command that must succeed; gives what it said. */
  const does = async (...args: string[]) => {
    const { code, stdout, stderr } = await cocos(...args);
    assert.equal(code, 0, `cocos ${args.join(" ")}\n${stderr}\n${agent.lines.join("\n")}`);
    return stderr + stdout;
  };
  /** Runs a command that must fail with this exit code and text. */
  const fails = async (exit: number, text: string, ...args: string[]) => {
    const { code, stderr } = await cocos(...args);
    assert.ok(stderr.includes(text), `cocos ${args.join(" ")}\n${stderr}`);
    assert.equal(code, exit, stderr);
  };
  const areas = await areasOf(port);
  /** Ends both, and asserts that nothing of them is left. */
  const stop = async () => {
    await agent.stop();
    assert.equal((await server.stop()).code, 0);
    await assertNothingLeft(house, areas, [served.port, port]);
  };
  return { server, agent, event, does, fails, stop, manifest, port };
}

Deno.test("e2e: a shell script on a file and a directory, keys of all kinds, two consumers (O-3, G-4)", async () => {
  await using house = await House.open("loopback");
  const provider = await party(house, "provider", "rsa");
  const hospital = await party(house, "hospital", "ecdsa");
  const clinic = await party(house, "clinic", "ed25519");
  const office = await party(house, "office", "ed25519");
  const journal = await party(house, "journal", "rsa");
  const stranger = await party(house, "stranger", "ecdsa");
  const program = await house.write(
    "algo.sh",
    `#!/bin/sh
set -e
echo "$#:$1:$2" >results/args.txt
cat datasets/table.csv datasets/a.csv datasets/deep/b.csv >results/all.txt
mkdir results/more
(ls / ; ls -A datasets) >results/more/seen.txt
echo to nobody
`,
    0o755,
  );
  await house.write("table.csv", "table\n");
  await house.write("folder/a.csv", "a\n");
  await house.write("folder/deep/b.csv", "b\n");
  await house.write("other.csv", "something else\n");
  await house.write("elsewhere/table.csv", "tabel\n");
  const run = await start(house, {
    algorithm: { file: program, key: provider.publicFile, args: ["one", "two words"] },
    datasets: [
      { file: "table.csv", key: hospital.publicFile },
      { file: "folder", key: clinic.publicFile },
    ],
    consumers: [office.publicFile, journal.publicFile],
  });
  const { does, fails, event } = run;

  await fails(5, "nobody here approved the manifest", "algo", program, provider.privateFile);
  await does("manifest", "approve", run.manifest);
  await fails(4, "another party's in the manifest", "algo", program, stranger.privateFile);
  await fails(6, "not yet ready", "result", office.privateFile, "early.zip");
  await fails(1, "bytes, in the manifest it has", "algo", "other.csv", provider.privateFile);
  await fails(6, "not expecting this operation", "data", "table.csv", hospital.privateFile);
  await fails(5, "--args is", "algo", program, provider.privateFile, "--args", "three");
  const said = await does("algo", program, provider.privateFile);
  const key = /door_key":"([0-9a-f]{64})"/.exec(run.server.lines.join("\n"))?.[1] ?? "nothing";
  // The key the parties pin at first use is the one the management server was told.
  assert.ok(said.includes("Connected to agent  with TLS"), said);
  await does("data", "table.csv", hospital.privateFile, "--pin", `sha256:${key}`);
  await event("ReceivingData/InProgress");
  await fails(6, "not expecting this operation", "algo", program, provider.privateFile);
  await fails(4, "another party's in the manifest", "data", "folder", office.privateFile);
  await fails(1, 'no dataset "other.csv"', "data", "other.csv", clinic.privateFile);
  await fails(1, "has the digest", "data", "elsewhere/table.csv", hospital.privateFile);
  await does("data", "folder", clinic.privateFile);
  await event("ConsumingResults/Ready");

  await fails(4, "gives the result to other keys", "result", hospital.privateFile, "no.zip");
  await does("result", office.privateFile, "office.zip", "--extract", "got");
  const read = (name: string) => Deno.readTextFile(house.path(name));
  assert.equal(await read("got/args.txt"), "2:one:two words\n");
  assert.equal(await read("got/all.txt"), "table\na\nb\n");
  const seen = (await read("got/more/seen.txt")).trim().split("\n");
  assert.deepEqual(seen.slice(-3).sort(), ["a.csv", "deep", "table.csv"]);
  assert.ok(!seen.includes("run"), "the host's /run is in sight");
  // The second consumer has not had it yet: the computation is not complete.
  assert.ok(!run.server.lines.some((line) => line.includes('"Complete"')));
  await does("result", journal.privateFile, "journal.zip");
  assert.deepEqual(
    await Deno.readFile(house.path("journal.zip")),
    await Deno.readFile(house.path("office.zip")),
  );
  await event("Complete/Completed");
  // S-6: what the program prints reaches no line of the server.
  assert.ok(!run.server.lines.some((line) => line.includes("to nobody")));
  assert.deepEqual(entries(house.folder).filter((name) => /early|no\.zip/.test(name)), []);

  await run.stop();
});

Deno.test("e2e: M-7 the parties approved one manifest, the agent was given another: nobody sends a byte", async () => {
  await using house = await House.open("loopback");
  const owner = await party(house, "owner", "ecdsa");
  const thief = await party(house, "thief", "ed25519");
  const program = await house.write("algo.sh", "#!/bin/sh\ncat datasets/* >results/all\n", 0o755);
  await house.write("table.csv", "secret\n");
  const agreed = {
    algorithm: { file: program, key: owner.publicFile },
    datasets: [{ file: "table.csv", key: owner.publicFile }],
    consumers: [owner.publicFile],
  };
  // What the parties read, from a server that tells them the truth.
  const honest = await serve(house, "agreed", { ...agreed, agent: { port: 7002 } });
  const { id } = JSON.parse(await Deno.readTextFile(honest.manifest));
  // What the agent gets: the same id and files, and one consumer more.
  const run = await start(house, {
    ...agreed,
    id,
    consumers: [owner.publicFile, thief.publicFile],
  });
  await run.does("manifest", "approve", honest.manifest);
  const other = "another manifest than the approved one";
  for (const flags of [[], ["--manifest", honest.manifest], ["--manifest", "agreed.json"]]) {
    await run.fails(5, other, "algo", program, owner.privateFile, ...flags);
    await run.fails(5, other, "data", "table.csv", owner.privateFile, ...flags);
    await run.fails(5, other, "result", owner.privateFile, "out.zip", ...flags);
  }
  await run.fails(5, "they differ in", "algo", program, owner.privateFile);
  assert.deepEqual(entries(house.folder).filter((name) => name.startsWith("out")), []);
  // Whoever approves the other one himself is taken: it was the manifest, and nothing else.
  await run.does("algo", program, owner.privateFile, "--manifest", "computation.json");
  await run.event("ReceivingData/InProgress");
  assert.equal((await honest.server.stop()).code, 0);
  await run.stop();
});

Deno.test("e2e: Python on a dataset, through the seed's test server, without TLS", async () => {
  await using house = await House.open("loopback");
  const owner = await party(house, "owner", "ecdsa");
  const program = await house.write(
    "mean.py",
    `import csv, json, sys
rows = [float(row["x"]) for row in csv.DictReader(open("datasets/numbers.csv"))]
json.dump({"mean": sum(rows) / len(rows), "args": sys.argv[1:]}, open("results/mean.json", "w"))
`,
  );
  await house.write("numbers.csv", "x\n1\n2\n6\n");
  const managementPort = freePort();
  const server = house.start("cocos", [
    "cvms",
    "-algo-path",
    program,
    "-public-key-path",
    owner.publicFile,
    "-attested-tls-bool",
    "false",
    "-data-paths",
    "numbers.csv",
    ...["-algo-args=-v", "-algo-args", "a b"],
  ], { HOST: "127.0.0.1", PORT: String(managementPort) });
  await server.until((line) => line.includes("listening at"), "listening");
  // The test server's manifest names port 7002; the agent's own setting is stronger.
  const port = freePort();
  const agent = startStrictAgent(house, managementPort, port);
  await server.until((line) => line.includes("agent accepted the manifest"), "accepted");
  const env = { ...house.home("home"), AGENT_GRPC_URL: `127.0.0.1:${port}` };
  const cocos = async (...args: string[]) => {
    const { code, stderr } = await house.run("cocos", args, env);
    assert.equal(code, 0, stderr);
    return stderr;
  };
  // As somebody at a pipe does it: reads what the agent holds, then approves it.
  const { stdout } = await house.run("cocos", ["manifest", "show"], env);
  assert.match(stdout, /arguments {5}"-v" "a b"/);
  assert.match(await cocos("manifest", "approve"), /INSECURE: without protection/);
  assert.match(
    await cocos("algo", program, owner.privateFile, "-a", "python", "--args=-v", "--args", "a b"),
    /INSECURE CHANNEL/,
  );
  await cocos("data", "numbers.csv", owner.privateFile);
  await server.until((line) => line.includes('"ConsumingResults"'), "results");
  await cocos("result", owner.privateFile, "--extract", "out");
  assert.deepEqual(JSON.parse(await Deno.readTextFile(house.path("out/mean.json"))), {
    mean: 3,
    args: ["-v", "a b"],
  });
  await server.until((line) => line.includes('"Complete"'), "complete");
  const areas = await areasOf(port);
  await agent.stop();
  assert.equal((await server.stop()).code, 0);
  await assertNothingLeft(house, areas, [managementPort, port]);
});

Deno.test("e2e: a program that fails says so to its consumer, and no partial result leaves (O-7)", async () => {
  await using house = await House.open("loopback");
  const owner = await party(house, "owner", "ed25519");
  const program = await house.write(
    "fail.sh",
    "#!/bin/sh\necho half >results/half.txt\necho because\nexit 3\n",
  );
  const run = await start(house, {
    algorithm: { file: program, key: owner.publicFile },
    consumers: [owner.publicFile],
    log_readers: ["consumers"],
  });
  await run.does("manifest", "approve", run.manifest);
  await run.does("algo", program, owner.privateFile);
  await run.event("Running/Failed");
  await run.event("Failed/Failed");
  await run.fails(
    1,
    "algorithm execution error: exit status 3",
    "result",
    owner.privateFile,
    "half.zip",
  );
  assert.deepEqual(entries(house.folder).filter((name) => name.startsWith("half")), []);
  // The manifest lets the consumer, and nobody else, see what it printed.
  assert.match(await run.does("output", owner.privateFile), /^because$/m);
  assert.ok(!run.server.lines.some((line) => line.includes("because")));
  await run.stop();
});

Deno.test("e2e: in compat, stopped in the middle of a run, the agent does the next computation (M-10, S-9)", async () => {
  await using house = await House.open("loopback");
  await using management = await Management.start();
  const owner = await party(house, "owner", "ecdsa");
  const port = freePort();
  const agent = startAgent(house, management.port, port);
  const sleepy = await house.write(
    "sleepy.sh",
    "#!/bin/sh\ntrap '' TERM\nsleep 987654 & sleep 987654\n",
  );
  const quick = await house.write("quick.sh", "#!/bin/sh\necho done >results/word\n");
  const manifest = async (id: string, program: string) => {
    const userKey = await spki(owner.publicFile);
    return {
      id,
      algorithm: { hash: Uint8Array.fromHex(digest(await Deno.readFile(program))), userKey },
      resultConsumers: [{ userKey }],
      agentConfig: { port: String(port) },
    };
  };
  const cocos = async (...args: string[]) => {
    const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
      AGENT_GRPC_URL: `127.0.0.1:${port}`,
    });
    assert.equal(code, 0, stderr);
  };
  management.give(await manifest("first", sleepy));
  assert.equal(await management.until("runRes first"), "runRes first ");
  await cocos("algo", sleepy, owner.privateFile);
  await management.until("event Running/InProgress");
  management.tell({ case: "agentStateReq", value: { id: "q1" } });
  assert.equal(await management.until("state q1"), "state q1 Running");
  management.stop("first");
  await management.until("event Stopped/Stopped");
  assert.equal(await management.until("stopped first"), "stopped first ");
  assert.deepEqual(await processesWith("sleep 987654"), []);
  assert.equal(await listens(port), false);

  management.give(await manifest("second", quick));
  assert.equal(await management.until("runRes second"), "runRes second ");
  await cocos("algo", quick, owner.privateFile);
  await management.until("event ConsumingResults/Ready");
  await cocos("result", owner.privateFile, "second.zip", "--extract", "second");
  assert.equal(await Deno.readTextFile(house.path("second/word")), "done\n");
  await management.until("event Complete/Completed");
  const areas = await areasOf(port);
  await agent.stop();
  await assertNothingLeft(house, areas, [port]);
});

/** The body of a PEM block. */
async function spki(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const lines = (await Deno.readTextFile(path)).split("\n");
  return Uint8Array.fromBase64(lines.filter((line) => !line.startsWith("-")).join(""));
}
