// Hostile peers and a hostile host against the agent process as it really runs: through its launcher,
// with its runner and its rights.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { AgentService, connect, readPrivateKey, ROLES, signRole } from "../../proto/mod.ts";
import { Management, startAgent } from "../_agent.ts";
import { freePort, House, type Program } from "../_house.ts";
import { Client } from "../_grpc.ts";
import { digest, party } from "../_parties.ts";

const PROGRAM = "#!/bin/sh\ncat datasets/* | wc -c >results/bytes\n";
const ALGO = "/agent.AgentService/Algo";

/** The body of a PEM file. */
async function spki(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const lines = (await Deno.readTextFile(path)).split("\n");
  return Uint8Array.fromBase64(lines.filter((line) => !line.startsWith("-")).join(""));
}

/** An agent whose computation wants PROGRAM and datasets, all of one owner. */
async function open(
  house: House,
  options: {
    datasets?: readonly Uint8Array[];
    hash?: (content: string) => Uint8Array<ArrayBuffer>;
    env?: Record<string, string>;
  } = {},
) {
  const management = await Management.start();
  const owner = await party(house, "owner", "ed25519");
  const userKey = await spki(owner.publicFile);
  const port = freePort();
  const agent = startAgent(house, management.port, port, options.env);
  const sha3 = (content: string | Uint8Array) => Uint8Array.fromHex(digest(content));
  management.give({
    id: "hostile",
    algorithm: { hash: (options.hash ?? sha3)(PROGRAM), userKey },
    datasets: (options.datasets ?? []).map((data, i) => ({
      hash: sha3(data),
      userKey,
      filename: `set-${i}`,
    })),
    resultConsumers: [{ userKey }],
    agentConfig: { port: String(port) },
  });
  await management.until("runRes hostile ");
  const key = readPrivateKey(await Deno.readTextFile(owner.privateFile));
  const client = () =>
    connect(AgentService, {
      target: { host: "127.0.0.1", port },
      security: { kind: "none" },
    });
  const algo = async () => {
    await using one = client();
    const metadata = { signature: signRole(ROLES.algorithm, key), algo_type: "bin" };
    await one.algo(
      (async function* () {
        yield { algorithm: new TextEncoder().encode(PROGRAM) };
      })(),
      { metadata },
    );
  };
  return { management, agent, port, key, client, algo };
}

/** Resident memory of the agent's own process, in MiB. */
async function memory(port: number): Promise<number> {
  const { stdout } = await new Deno.Command("ps", {
    args: ["-e", "-ww", "-o", "rss=,args="],
  }).output();
  const line = new TextDecoder().decode(stdout).split("\n")
    .find((each) => each.includes("agent/main.ts") && each.includes(`127.0.0.1:${port},`));
  assert.ok(line !== undefined, "the agent's process");
  return Number.parseInt(line.trim()) / 1024;
}

async function end(agent: Program, management: Management): Promise<void> {
  await agent.stop();
  await management[Symbol.asyncDispose]();
}

Deno.test("G-10 a hundred parties upload in parallel, all complete, memory stays bounded", async () => {
  await using house = await House.open("hostile");
  const datasets = Array.from({ length: 100 }, (_, i) => new Uint8Array((5 << 20) + i).fill(i));
  const { management, agent, port, key, client, algo } = await open(house, { datasets });
  await algo();
  await management.until("event ReceivingData/InProgress");
  const before = await memory(port);
  const metadata = { signature: signRole(ROLES.data, key) };
  await Promise.all(datasets.map(async (data, i) => {
    await using one = client();
    await one.data(
      (async function* () {
        for (let at = 0; at < data.length; at += 1 << 20) {
          yield { dataset: data.subarray(at, at + (1 << 20)), filename: `set-${i}` };
        }
      })(),
      { metadata },
    );
  }));
  const grown = await memory(port) - before;
  await management.until("event ConsumingResults/Ready");
  await end(agent, management);
  // A window of 1 MiB, a message of 1 MiB and their copies for each stream; 500 MiB came in.
  assert.ok(grown < 400, `the agent grew by ${grown} MiB for 500 MiB in 100 streams`);
});

Deno.test("G-13 malformed metadata is refused or ignored, and the agent goes on", async () => {
  await using house = await House.open("hostile");
  const { management, agent, port, key, algo } = await open(house);
  const good = signRole(ROLES.algorithm, key);
  const unauthenticated: Record<string, string | string[]>[] = [
    {},
    { signature: "" },
    { signature: [good, good] },
    { signature: `${good},${good}` },
    { signature: ` ${good.slice(0, -4)}` },
    { signature: "A".repeat(8_000) },
    { signature: "\u00ff\u00fe" },
    { "signature-bin": good },
    { "signature-bin": "%%%not base64%%%" },
  ];
  for (const metadata of unauthenticated) {
    using one = new Client(port);
    const { status } = await one.call(ALGO, metadata, []);
    assert.equal(status, 16, JSON.stringify(metadata).slice(0, 80));
  }
  const refused: Record<string, string | string[]>[] = [
    { algo_type: "cobol" },
    { algo_type: ["bin", "python"] },
    { algo_type: "python", python_runtime: "/bin/sh" },
    { algo_type: "python", python_runtime: ["python3", "python3"] },
  ];
  for (const metadata of refused) {
    using one = new Client(port);
    const { status, text } = await one.call(ALGO, { signature: good, ...metadata }, []);
    assert.equal(status, 2, text);
    assert.match(text, /algorithm type must|given twice|python runtime must/);
  }
  // A header list of 64 KiB is more than any call may have: the stream or the connection ends.
  using huge = new Client(port);
  await assert.rejects(
    huge.call(ALGO, { signature: good, filler: "x".repeat(65_536) }, []).then(({ status }) => {
      if (status !== 0) throw new Error(`status ${status}`);
    }),
  );
  // Unknown keys are ignored, broken binary ones too.
  using one = new Client(port);
  const ignored = await one.call(ALGO, { signature: good, "x-other": "1", "y-bin": "***" }, []);
  assert.deepEqual([ignored.status, ignored.text], [2, "algorithm binary is required"]);
  await algo();
  await management.until("event ConsumingResults/Ready");
  await end(agent, management);
});

Deno.test("M-3 the manifest's digests are SHA3-256: a SHA-256 of the same bytes fits no upload", async () => {
  await using house = await House.open("hostile");
  const { management, agent, algo } = await open(house, {
    hash: (content) => Uint8Array.fromHex(createHash("sha256").update(content).digest("hex")),
  });
  await assert.rejects(algo(), { message: "malformed data, hash does not match manifest" });
  await end(agent, management);
});

Deno.test("R8 (H-1) a hostile environment neither bends the agent nor its connections", async () => {
  await using house = await House.open("hostile");
  let proxied = 0;
  const proxy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  (async () => {
    for await (const connection of proxy) {
      proxied++;
      connection.close();
    }
  })();
  const address = `http://127.0.0.1:${proxy.addr.port}`;
  const { management, agent, algo } = await open(house, {
    env: {
      HTTP_PROXY: address,
      HTTPS_PROXY: address,
      http_proxy: address,
      https_proxy: address,
      grpc_proxy: address,
      NO_PROXY: "",
      NODE_OPTIONS: "--require=/nonexistent/evil.js",
      NODE_EXTRA_CA_CERTS: "/etc/shadow",
      SSL_CERT_FILE: "/etc/shadow",
      DENO_TLS_CA_STORE: "system",
      GRPC_VERBOSITY: "DEBUG",
      GRPC_TRACE: "all",
      PYTHONPATH: "/tmp",
      BASH_ENV: "/nonexistent",
      TZ: "Nowhere/None",
      LC_ALL: "xx_XX",
    },
  });
  await algo();
  await management.until("event ConsumingResults/Ready");
  assert.equal(proxied, 0, "a connection went through the proxy");
  assert.ok(
    !agent.lines.some((line) => line.includes("D resolver")),
    "gRPC traces were switched on",
  );
  await end(agent, management);
  proxy.close();
});
