// The seed's walk with the real Go programs of the v0.8.2 era on one side and ours on the other, where
// COCOS_PEERS names a folder that holds them: Go CLI → our agent and manager, Go agent → our
// management server and CLI, Go management server → our agent. Each walk is gone three times, with
// another kind of key and another protection, and both ends of it are restarted on the way.
import assert from "node:assert/strict";
import { KEY_KINDS } from "../../proto/mod.ts";
import { startAgent, workArea } from "../_agent.ts";
import { freePort, House, listens, type Program } from "../_house.ts";
import { type Pki, pki } from "../_parties.ts";
import { bringPeers } from "../_peers.ts";

/** The Go programs' folder, or nothing after saying why. */
async function peers(): Promise<string | undefined> {
  const brought = await bringPeers();
  if ("folder" in brought) return brought.folder;
  console.log(`skipped: Go Cocos programs: ${brought.missing}`);
  return undefined;
}

const PROGRAM = "#!/bin/sh\nfind datasets -type f -exec cat {} + >results/all\n";
const TABLE = "x,y\n1,2\n";

/** Port of every manifest of a `cvms` test server, the Go one's and ours. */
const CVMS_PORT = 7002;

/** A folder with a program, a table, a directory, and a key pair that the Go CLI made. */
async function stage(house: House, go: string, kind: string): Promise<void> {
  await house.write("algo.sh", PROGRAM, 0o755);
  await house.write("table.csv", TABLE);
  await house.write("folder/a.csv", TABLE);
  await house.write("folder/sub/b.csv", TABLE);
  const { stdout, stderr } = await house.runAt(`${go}/cocos-cli`, ["keys", "-k", kind], {
    HOME: house.folder,
  });
  assert.match(stdout + stderr, /Successfully generated public\/private key pair/);
}

/** One way to protect a connection, in the words of everybody who takes part in it. */
interface Protection {
  readonly text: "without TLS" | "with TLS" | "with mTLS";
  /** Variables of a management server. */
  readonly server: Record<string, string>;
  /** Files of a front door, as a computation names them. */
  readonly door: Record<string, string>;
  /** Variables of a client, whose names begin with this. */
  readonly client: (prefix: string) => Record<string, string>;
}

function protections({ ca, server, client }: Pki): Protection[] {
  const own = { SERVER_CERT: server.cert, SERVER_KEY: server.key };
  const door = { cert_file: server.cert, key_file: server.key };
  const trust = (prefix: string) => ({ [`${prefix}SERVER_CA_CERTS`]: ca });
  return [
    { text: "without TLS", server: {}, door: {}, client: () => ({}) },
    { text: "with TLS", server: own, door, client: trust },
    {
      text: "with mTLS",
      server: { ...own, CLIENT_CA_CERTS: ca, SERVER_CA_CERTS: ca },
      door: { ...door, client_ca_file: ca },
      client: (prefix) => ({
        ...trust(prefix),
        [`${prefix}CLIENT_CERT`]: client.cert,
        [`${prefix}CLIENT_KEY`]: client.key,
      }),
    },
  ];
}

/** Arguments of a test server for the stage, ours or Go's: they are the same. */
const CVMS = [
  "-algo-path",
  "algo.sh",
  "-public-key-path",
  "public.pem",
  "-attested-tls-bool",
  "false",
  "-data-paths",
  "table.csv,folder",
];

/** Writes the stage as a file of our management server, with a front door of its own. */
async function computation(
  house: House,
  port: number,
  door: Record<string, string>,
): Promise<string[]> {
  const key = "public.pem";
  return [
    "--file",
    await house.write(
      "computation.json",
      JSON.stringify({
        id: "1",
        algorithm: { file: "algo.sh", key },
        datasets: [{ file: "table.csv", key }, { file: "folder", key }],
        consumers: [key],
        agent: { port, ...door },
      }),
    ),
  ];
}

/** Our management server's variables have a prefix where the seed's flags are not used. */
function prefixed(variables: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(variables).map(([name, value]) => [`COMPUTATIONS_${name}`, value]),
  );
}

/** Waits until a program listens. */
async function listening(program: Program): Promise<Program> {
  await program.until((line) => line.includes("listening at"), "listening");
  return program;
}

/** Whether the computation got to a state, by a management server's output of either side. */
function state(server: Program, word: string): Promise<string> {
  return server.until((line) => line.includes(word) && !line.includes("agent log"), word);
}

/** Says whether the port of the test servers' manifests is taken. */
async function portIsTaken(): Promise<boolean> {
  if (!(await listens(CVMS_PORT))) return false;
  console.log(`skipped: Go Cocos programs: port ${CVMS_PORT} is in use`);
  return true;
}

/** The three walks of a test: each with a kind of key and a protection. */
async function walks(
  go: string,
  walk: (house: House, protection: Protection, what: string) => Promise<void>,
): Promise<void> {
  for (const [i, kind] of KEY_KINDS.entries()) {
    await using house = await House.open("cocos-peers");
    await stage(house, go, kind);
    const protection = protections(await pki(house))[i] as Protection;
    await walk(house, protection, `${protection.text}, ${kind}`);
  }
}

/** An agent that can be ended and started again over what it has. */
async function restartable(
  house: House,
  managementPort: number,
  port: number,
  env: Record<string, string> = {},
): Promise<{ restart(): Promise<void>; stop(): Promise<unknown> }> {
  const area = await workArea(house);
  const start = () => startAgent(house, managementPort, port, env, ["--work", area]);
  let agent = start();
  return {
    async restart() {
      await agent.stop();
      agent = start();
      await agent.until((line) => line.includes("interrupted computation goes on"), "going on");
    },
    stop: () => agent.stop(),
  };
}

Deno.test("the Go CLI walks our agent through a computation: plain, TLS, mTLS, all keys, restarts of agent and server", async () => {
  const go = await peers();
  if (go === undefined) return;
  await walks(go, async (house, { door, client }, what) => {
    const [managementPort, port] = [freePort(), freePort()];
    const args = await computation(house, port, door);
    const env = prefixed({ HOST: "127.0.0.1", PORT: String(managementPort) });
    let server = await listening(house.start("cocos-computations", [...args, "--compat"], env));
    const agent = await restartable(house, managementPort, port);
    await state(server, "ReceivingAlgorithm");
    const cli = async (wanted: RegExp, ...args: string[]) => {
      const { stdout, stderr } = await house.runAt(`${go}/cocos-cli`, args, {
        AGENT_GRPC_URL: `127.0.0.1:${port}`,
        HOME: house.folder,
        ...client("AGENT_GRPC_"),
      });
      assert.match(stdout + stderr, wanted, `${what}: ${args.join(" ")}`);
    };
    await cli(/hash does not match manifest/, "algo", "table.csv", "private.pem");
    await cli(/results are not yet ready/, "result", "private.pem");
    await cli(/not expecting this operation/, "data", "table.csv", "private.pem");
    await cli(/Successfully uploaded algorithm/, "algo", "algo.sh", "private.pem");
    await state(server, "ReceivingData");
    // Both ends go and come back: the agent keeps what it has.
    await server.stop();
    server = await listening(house.start("cocos-computations", [...args, "--compat"], env));
    await agent.restart();
    await cli(/dataset not declared/, "data", "algo.sh", "private.pem");
    await cli(/Successfully uploaded dataset/, "data", "table.csv", "private.pem");
    await agent.restart();
    await cli(/Successfully uploaded dataset/, "data", "folder", "private.pem", "-d");
    await state(server, "ConsumingResults");
    await agent.restart();
    await cli(/retrieved and saved successfully/, "result", "private.pem");
    const archive = new TextDecoder("latin1").decode(
      await Deno.readFile(house.path("results.zip")),
    );
    assert.ok(archive.includes(TABLE.repeat(2)), "both datasets are in the result");
    await state(server, "Complete");
    await agent.stop();
    await server.stop();
  });
});

Deno.test("a Go management server takes our agent, our CLI does the rest: plain, TLS, mTLS, all keys, restarts", async () => {
  const go = await peers();
  if (go === undefined || await portIsTaken()) return;
  await walks(go, async (house, protection, what) => {
    const port = freePort();
    const env = { HOST: "127.0.0.1", PORT: String(port), ...protection.server };
    const start = () => listening(house.startAt("cvms", `${go}/cvms`, CVMS, env));
    let server = await start();
    const agent = await restartable(
      house,
      port,
      CVMS_PORT,
      protection.client("AGENT_CVM_GRPC_"),
    );
    await state(server, "ReceivingAlgorithm");
    const cocos = async (...args: string[]) => {
      const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
        AGENT_GRPC_URL: `127.0.0.1:${CVMS_PORT}`,
      });
      assert.equal(code, 0, `${what}: ${args.join(" ")}: ${stderr}`);
    };
    await cocos("algo", "algo.sh", "private.pem");
    await state(server, "ReceivingData");
    // The Go server gives its manifest to every stream: the agent goes on with the one it has.
    await server.stop();
    server = await start();
    await agent.restart();
    await cocos("data", "table.csv", "private.pem");
    await cocos("data", "folder", "private.pem", "-d");
    await state(server, "ConsumingResults");
    await cocos("result", "private.pem", "results.zip");
    await state(server, "Complete");
    await agent.stop();
    await server.stop();
  });
});

Deno.test("the Go agent dials our management server, our CLI uploads to it: plain, TLS, mTLS, all keys, restarts", async () => {
  const go = await peers();
  if (go === undefined) return;
  await walks(go, async (house, protection, what) => {
    const [managementPort, port] = [freePort(), freePort()];
    const args = await computation(house, port, protection.door);
    const env = prefixed({
      HOST: "127.0.0.1",
      PORT: String(managementPort),
      ...protection.server,
    });
    let server = await listening(house.start("cocos-computations", [...args, "--compat"], env));
    const start = () =>
      house.startAt("cocos-agent", `${go}/cocos-agent`, [], {
        AGENT_CVM_GRPC_URL: `127.0.0.1:${managementPort}`,
        AGENT_GRPC_HOST: "127.0.0.1",
        // The Go agent takes the manifest's port alone.
        AGENT_GRPC_PORT: String(port),
        HOME: house.folder,
        ...protection.client("AGENT_CVM_GRPC_"),
      });
    let agent = start();
    await state(server, "ReceivingAlgorithm");
    // The Go agent forgets all when it ends; it gets its manifest anew.
    await agent.stop();
    await server.stop();
    server = await listening(house.start("cocos-computations", [...args, "--compat"], env));
    agent = start();
    await state(server, "ReceivingAlgorithm");
    const cocos = async (exit: number, ...args: string[]) => {
      const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
        AGENT_GRPC_URL: `127.0.0.1:${port}`,
        ...protection.client("AGENT_GRPC_"),
      });
      assert.equal(code, exit, `${what}: ${args.join(" ")}: ${stderr}`);
    };
    await cocos(6, "result", "private.pem", "early.zip");
    await cocos(0, "algo", "algo.sh", "private.pem");
    await state(server, "ReceivingData");
    await server.stop();
    server = await listening(house.start("cocos-computations", [...args, "--compat"], env));
    await cocos(0, "data", "table.csv", "private.pem");
    await cocos(0, "data", "folder", "private.pem", "-d");
    await state(server, "ConsumingResults");
    await cocos(0, "result", "private.pem", "results.zip");
    await state(server, "Complete");
    await agent.stop();
    await server.stop();
  });
});

Deno.test("the Go agent takes the manifest of our `cvms`, with the seed's own flags", async () => {
  const go = await peers();
  if (go === undefined || await portIsTaken()) return;
  await using house = await House.open("cocos-peers");
  await stage(house, go, "ecdsa");
  const port = freePort();
  const server = await listening(
    house.start("cocos", ["cvms", ...CVMS, "-compat"], { HOST: "127.0.0.1", PORT: String(port) }),
  );
  const agent = house.startAt("cocos-agent", `${go}/cocos-agent`, [], {
    AGENT_CVM_GRPC_URL: `127.0.0.1:${port}`,
    AGENT_GRPC_HOST: "127.0.0.1",
    HOME: house.folder,
  });
  await state(server, "ReceivingAlgorithm");
  await agent.stop();
  await server.stop();
});

Deno.test("the Go CLI asks our manager, and our CLI the Go manager (wire.md §8): plain, TLS, mTLS", async () => {
  const go = await peers();
  if (go === undefined) return;
  await using house = await House.open("cocos-peers");
  await house.write("bzImage", "kernel");
  await house.write("rootfs.cpio.gz", "rootfs");
  for (const { text, server, client } of protections(await pki(house))) {
    const manager = Object.fromEntries(
      Object.entries(server).map(([name, value]) => [`MANAGER_GRPC_${name}`, value]),
    );
    const port = freePort();
    const ours = await listening(house.start("cocos-manager", [], {
      MANAGER_GRPC_HOST: "127.0.0.1",
      MANAGER_GRPC_PORT: String(port),
      MANAGER_GRPC_URL: `127.0.0.1:${freePort()}`,
      MANAGER_HTTP_PORT: "0",
      MANAGER_STATE_DIR: house.path("state"),
      MANAGER_QEMU_DISK_IMG_KERNEL_FILE: house.path("bzImage"),
      MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: house.path("rootfs.cpio.gz"),
      MANAGER_QEMU_ENABLE_KVM: "false",
      ...manager,
    }));
    const ask = async (wanted: RegExp, ...args: string[]) => {
      const { stdout, stderr } = await house.runAt(`${go}/cocos-cli`, args, {
        MANAGER_GRPC_URL: `127.0.0.1:${port}`,
        HOME: house.folder,
        ...client("MANAGER_GRPC_"),
      });
      assert.match(stdout + stderr, wanted, `${text}: ${args.join(" ")}`);
    };
    await ask(/entity not found/, "remove-vm", "none");
    await ask(
      /invalid duration|invalid argument/,
      "create-vm",
      "--server-url",
      "x:1",
      "--ttl",
      "-1s",
    );
    await ours.stop();

    const theirs = freePort();
    const other = await listening(house.startAt("manager", `${go}/cocos-manager`, [], {
      MANAGER_GRPC_HOST: "127.0.0.1",
      MANAGER_GRPC_PORT: String(theirs),
      MANAGER_HTTP_HOST: "127.0.0.1",
      MANAGER_HTTP_PORT: String(freePort()),
      HOME: house.folder,
      ...manager,
    }));
    const { code, stderr } = await house.run("cocos", ["remove-vm", "none"], {
      MANAGER_GRPC_URL: `127.0.0.1:${theirs}`,
      ...client("MANAGER_GRPC_"),
    });
    assert.match(stderr, /entity not found/, text);
    assert.equal(code, 3, text);
    await other.stop();
  }
});
