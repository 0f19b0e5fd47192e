// The seed's walk with the real Go programs of the v0.8.2 era on one side and ours on the other, where
// COCOS_PEERS names a folder that holds them: Go CLI → our agent and manager, Go agent → our
// management server and CLI, Go management server → our agent.
import assert from "node:assert/strict";
import { KEY_KINDS } from "../../proto/mod.ts";
import { startAgent } from "../_agent.ts";
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
const DEFAULT_PORT = 7002;

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

/** The three ways to protect the management channel, as flags for either side. */
function protections(files: Pki): [string, Record<string, string>, Record<string, string>][] {
  const server = { SERVER_CERT: files.server.cert, SERVER_KEY: files.server.key };
  const ca = { AGENT_CVM_GRPC_SERVER_CA_CERTS: files.ca };
  return [
    ["without TLS", {}, {}],
    ["with TLS", server, ca],
    ["with mTLS", { ...server, CLIENT_CA_CERTS: files.ca, SERVER_CA_CERTS: files.ca }, {
      ...ca,
      AGENT_CVM_GRPC_CLIENT_CERT: files.client.cert,
      AGENT_CVM_GRPC_CLIENT_KEY: files.client.key,
    }],
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

/** Starts a program, and again when the test asks; the newest is what counts. */
async function listening(program: Program): Promise<Program> {
  await program.until((line) => line.includes("listening at"), "listening");
  return program;
}

/** Whether the computation got to a state, by a management server's output of either side. */
function state(server: Program, word: string): Promise<string> {
  return server.until((line) => line.includes(word) && !line.includes("agent log"), word);
}

/** Says whether the agent's port is free: both sides' test servers name this one. */
async function portIsTaken(): Promise<boolean> {
  if (!(await listens(DEFAULT_PORT))) return false;
  console.log(`skipped: Go Cocos programs: port ${DEFAULT_PORT} is in use`);
  return true;
}

Deno.test("the Go CLI walks our agent through a computation, with each kind of key, over a restart of the server", async () => {
  const go = await peers();
  if (go === undefined || await portIsTaken()) return;
  for (const kind of KEY_KINDS) {
    await using house = await House.open("cocos-peers");
    await stage(house, go, kind);
    const port = freePort();
    const env = { HOST: "127.0.0.1", PORT: String(port) };
    let server = await listening(house.start("cocos", ["cvms", ...CVMS], env));
    const agent = startAgent(house, port, DEFAULT_PORT);
    await state(server, "ReceivingAlgorithm");
    const cli = async (wanted: RegExp, ...args: string[]) => {
      const { stdout, stderr } = await house.runAt(`${go}/cocos-cli`, args, {
        AGENT_GRPC_URL: `127.0.0.1:${DEFAULT_PORT}`,
        HOME: house.folder,
      });
      assert.match(stdout + stderr, wanted, `${kind}: ${args.join(" ")}`);
    };
    await cli(/hash does not match manifest/, "algo", "table.csv", "private.pem");
    await cli(/results are not yet ready/, "result", "private.pem");
    await cli(/not expecting this operation/, "data", "table.csv", "private.pem");
    await cli(/Successfully uploaded algorithm/, "algo", "algo.sh", "private.pem");
    await state(server, "ReceivingData");
    // The server goes and comes back on the same port: the agent keeps what it has.
    await server.stop();
    server = await listening(house.start("cocos", ["cvms", ...CVMS], env));
    await cli(/dataset not declared/, "data", "algo.sh", "private.pem");
    await cli(/Successfully uploaded dataset/, "data", "table.csv", "private.pem");
    await cli(/Successfully uploaded dataset/, "data", "folder", "private.pem", "-d");
    await state(server, "ConsumingResults");
    await cli(/retrieved and saved successfully/, "result", "private.pem");
    const archive = new TextDecoder("latin1").decode(
      await Deno.readFile(house.path("results.zip")),
    );
    assert.ok(archive.includes(TABLE.repeat(2)), "both datasets are in the result");
    await state(server, "Complete");
    await agent.stop();
    await server.stop();
  }
});

Deno.test("a Go management server takes our agent, our CLI does the rest: plain, TLS, mTLS", async () => {
  const go = await peers();
  if (go === undefined || await portIsTaken()) return;
  await using house = await House.open("cocos-peers");
  await stage(house, go, "ecdsa");
  for (const [security, serverEnv, agentEnv] of protections(await pki(house))) {
    const port = freePort();
    const server = await listening(
      house.startAt("cvms", `${go}/cvms`, CVMS, {
        HOST: "127.0.0.1",
        PORT: String(port),
        ...serverEnv,
      }),
    );
    const agent = startAgent(house, port, DEFAULT_PORT, agentEnv);
    await state(server, "ReceivingAlgorithm");
    const cocos = async (...args: string[]) => {
      const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
        AGENT_GRPC_URL: `127.0.0.1:${DEFAULT_PORT}`,
      });
      assert.equal(code, 0, `${security}: ${args.join(" ")}: ${stderr}`);
    };
    await cocos("algo", "algo.sh", "private.pem");
    await cocos("data", "table.csv", "private.pem");
    await cocos("data", "folder", "private.pem", "-d");
    await state(server, "ConsumingResults");
    await cocos("result", "private.pem", "results.zip", "--force");
    await state(server, "Complete");
    await agent.stop();
    await server.stop();
  }
});

Deno.test("the Go agent dials our management server, our CLI uploads to it: plain, TLS, mTLS", async () => {
  const go = await peers();
  if (go === undefined || await portIsTaken()) return;
  for (const [i, kind] of KEY_KINDS.entries()) {
    await using house = await House.open("cocos-peers");
    await stage(house, go, kind);
    const [security, serverEnv, agentEnv] = protections(await pki(house))[i] as [
      string,
      Record<string, string>,
      Record<string, string>,
    ];
    const port = freePort();
    const server = await listening(
      house.start("cocos", ["cvms", ...CVMS], {
        HOST: "127.0.0.1",
        PORT: String(port),
        ...serverEnv,
      }),
    );
    const agent = house.startAt("cocos-agent", `${go}/cocos-agent`, [], {
      AGENT_CVM_GRPC_URL: `127.0.0.1:${port}`,
      AGENT_GRPC_HOST: "127.0.0.1",
      HOME: house.folder,
      ...agentEnv,
    });
    await state(server, "ReceivingAlgorithm");
    const cocos = async (exit: number, ...args: string[]) => {
      const { code, stderr } = await house.run("cocos", ["--compat", ...args], {
        AGENT_GRPC_URL: `127.0.0.1:${DEFAULT_PORT}`,
      });
      assert.equal(code, exit, `${security} ${kind}: ${args.join(" ")}: ${stderr}`);
    };
    await cocos(6, "result", "private.pem", "early.zip");
    await cocos(0, "algo", "algo.sh", "private.pem");
    await cocos(0, "data", "table.csv", "private.pem");
    await cocos(0, "data", "folder", "private.pem", "-d");
    await state(server, "ConsumingResults");
    await cocos(0, "result", "private.pem", "results.zip");
    await state(server, "Complete");
    await agent.stop();
    await server.stop();
  }
});

Deno.test("the Go CLI asks our manager, and our CLI the Go manager's words (wire.md §8)", async () => {
  const go = await peers();
  if (go === undefined) return;
  await using house = await House.open("cocos-peers");
  await house.write("bzImage", "kernel");
  await house.write("rootfs.cpio.gz", "rootfs");
  const port = freePort();
  await listening(house.start("cocos-manager", [], {
    MANAGER_GRPC_HOST: "127.0.0.1",
    MANAGER_GRPC_PORT: String(port),
    MANAGER_HTTP_PORT: "0",
    MANAGER_STATE_DIR: house.path("state"),
    MANAGER_QEMU_DISK_IMG_KERNEL_FILE: house.path("bzImage"),
    MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: house.path("rootfs.cpio.gz"),
    MANAGER_QEMU_ENABLE_KVM: "false",
  }));
  const asked = await house.runAt(`${go}/cocos-cli`, ["remove-vm", "none"], {
    MANAGER_GRPC_URL: `127.0.0.1:${port}`,
    HOME: house.folder,
  });
  assert.match(asked.stdout + asked.stderr, /entity not found/);

  const theirs = freePort();
  await listening(house.startAt("manager", `${go}/cocos-manager`, [], {
    MANAGER_GRPC_HOST: "127.0.0.1",
    MANAGER_GRPC_PORT: String(theirs),
    MANAGER_HTTP_HOST: "127.0.0.1",
    MANAGER_HTTP_PORT: String(freePort()),
    HOME: house.folder,
  }));
  const { code, stderr } = await house.run("cocos", ["remove-vm", "none"], {
    MANAGER_GRPC_URL: `127.0.0.1:${theirs}`,
  });
  assert.match(stderr, /entity not found/);
  assert.equal(code, 3);
});
