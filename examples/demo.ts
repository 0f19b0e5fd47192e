// The main job, as a person would do it by hand: four parties who don't trust one another compute
// together in a real VM. Nothing here is simulated; each step shows the command it stands for.
import { Interrupted, say, Stage } from "./_stage.ts";

const root = new URL("../", import.meta.url).pathname;

/** The parties: who holds what, and which kind of key. */
const PARTIES = [
  { name: "algorithm-provider", key: "rsa" },
  { name: "hospital-a", key: "ecdsa" },
  { name: "hospital-b", key: "ed25519" },
  { name: "research-office", key: "ecdsa" },
] as const;

/** Longest waits; a step that takes longer is a failure. The machine may be busy with other work. */
const BOOT_MS = 600_000;
const RUN_MS = 600_000;

/** A port nothing listens on, preferably the usual one. */
function freePort(preferred: number): number {
  for (const port of [preferred, 0]) {
    try {
      using listener = Deno.listen({ hostname: "127.0.0.1", port });
      return listener.addr.port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new Error("no free port");
}

/** The event of a log line of `cocos-computations`, such as `Running/Completed`. */
function eventOf(line: string): string | undefined {
  try {
    const { event, status } = JSON.parse(line);
    return event === undefined ? undefined : `${event}/${status}`;
  } catch {
    return undefined;
  }
}

/** Waits for an event; a run that failed is a failure at once. */
function untilEvent(server: ReturnType<Stage["start"]>, wanted: string, limitMs: number) {
  return server.until((line) => {
    const event = eventOf(line);
    if (event === "Failed/Failed" || event === "Running/Failed") {
      throw new Error(`the run failed: ${line}`);
    }
    return event === wanted;
  }, limitMs);
}

async function main(stage: Stage): Promise<void> {
  const home = Deno.env.get("HOME") ?? "/";
  const base = {
    HOME: home,
    PATH: Deno.env.get("PATH") ?? "",
    COCOS_DENO: Deno.execPath(),
    DENO_DIR: Deno.env.get("DENO_DIR") ??
      `${Deno.env.get("XDG_CACHE_HOME") ?? `${home}/.cache`}/deno`,
  };
  /** Surroundings of a party: a home of its own, where what it approved is kept. */
  const at = (party: string) => ({ ...base, HOME: `${stage.folder}/${party}` });
  const tables = `${root}examples/hospitals`;

  await stage.step("Prepare this machine and the image of the confidential VM", async () => {
    await stage.run("bin/prepare", ["run"], { env: base });
    const image = new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "hal"],
      cwd: root,
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    if (!(await image.status).success) throw new Error("the image could not be built");
  });

  await stage.step("Each party makes a key pair on its own machine", async () => {
    for (const { name, key } of PARTIES) {
      Deno.mkdirSync(`${stage.folder}/${name}`);
      await stage.run("bin/cocos", ["keys", "-k", key, "--dir", name], { env: at(name) });
    }
  });

  const serverPort = freePort(7001);
  const managerPort = freePort(7002);
  const server = await stage.step(
    "The computation management server holds what they agreed on",
    async () => {
      const publicKey = (party: string) => `${party}/public.pem`;
      const computation = {
        name: "breast cancer, two hospitals",
        description: "logistic regression on tables that neither hospital shows to anybody",
        algorithm: {
          file: `${tables}/logistic_regression.py`,
          key: publicKey("algorithm-provider"),
        },
        datasets: ["hospital-a", "hospital-b"].map((hospital) => ({
          file: `${tables}/${hospital}.csv`,
          filename: `${hospital}.csv`,
          key: publicKey(hospital),
        })),
        consumers: [publicKey("research-office")],
      };
      Deno.writeTextFileSync(
        `${stage.folder}/computation.json`,
        JSON.stringify(computation, null, 2),
      );
      const started = stage.start(
        "computations",
        "bin/cocos-computations",
        ["--file", "computation.json", "--manifest-out", "manifest.json"],
        { ...base, COMPUTATIONS_PORT: String(serverPort) },
      );
      await started.until((line) => line.includes("listening at"), 60_000);
      return started;
    },
  );

  await stage.step("Each party reads the manifest and approves it", async () => {
    say(
      (await stage.run("bin/cocos", ["manifest", "show", "manifest.json"], {
        env: at("hospital-a"),
      })).trimEnd().replaceAll(/^/gm, "   "),
    );
    const [digest = ""] = (await stage.run("bin/cocos", ["manifest", "digest", "manifest.json"], {
      env: at("hospital-a"),
      quiet: true,
    })).split("\n");
    for (const { name } of PARTIES) {
      await stage.run(
        "bin/cocos",
        ["manifest", "approve", "manifest.json", "--digest", digest],
        { env: at(name) },
      );
    }
  });

  const manager = { ...base, MANAGER_GRPC_URL: `localhost:${managerPort}` };
  const { id, port } = await stage.step("The host's manager boots a VM for it", async () => {
    const started = stage.start("manager", "bin/cocos-manager", ["--remove-vms-on-exit"], {
      ...base,
      MANAGER_GRPC_PORT: String(managerPort),
      MANAGER_GRPC_URL: `localhost:${serverPort}`,
      MANAGER_STATE_DIR: `${stage.folder}/manager`,
      MANAGER_QEMU_DISK_IMG_KERNEL_FILE: `${root}build/hal/bzImage`,
      MANAGER_QEMU_DISK_IMG_ROOTFS_FILE: `${root}build/hal/rootfs.cpio.gz`,
      MANAGER_QEMU_SMP_COUNT: "2",
      MANAGER_HTTP_PORT: "0",
    });
    await started.until((line) => line.includes("listening at"), 60_000);
    const answer = await stage.run(
      "bin/cocos",
      ["create-vm", "--json", "--server-url", `localhost:${serverPort}`],
      { env: manager },
    );
    const made = JSON.parse(answer) as { id: string; port: string };
    say(`   VM ${made.id}, its agent will answer on port ${made.port}`);
    await untilEvent(server, "ReceivingAlgorithm/InProgress", BOOT_MS);
    return made;
  });

  const agent = (party: string) => ({ ...at(party), AGENT_GRPC_URL: `localhost:${port}` });
  await stage.step("The parties upload what is theirs", async () => {
    await stage.run("bin/cocos", [
      "algo",
      `${tables}/logistic_regression.py`,
      "algorithm-provider/private.pem",
    ], { env: agent("algorithm-provider") });
    for (const hospital of ["hospital-a", "hospital-b"]) {
      await stage.run("bin/cocos", [
        "data",
        `${tables}/${hospital}.csv`,
        `${hospital}/private.pem`,
      ], { env: agent(hospital) });
    }
  });

  await stage.step("The algorithm runs on both tables, alone, without a network", async () => {
    await untilEvent(server, "ConsumingResults/Ready", RUN_MS);
  });

  const model = await stage.step("The one named consumer fetches the result", async () => {
    await stage.run("bin/cocos", [
      "result",
      "research-office/private.pem",
      "results.zip",
      "--extract",
      "results",
    ], { env: agent("research-office") });
    return JSON.parse(Deno.readTextFileSync(`${stage.folder}/results/model.json`)) as {
      accuracy: number;
      trained_on: number;
      tested_on: number;
    };
  });

  await stage.step("The VM is removed, and with it all it held", async () => {
    await untilEvent(server, "Complete/Completed", 60_000);
    await stage.run("bin/cocos", ["remove-vm", id], { env: manager });
    await stage.endAll();
  });

  say(`
The model is right on ${
    (100 * model.accuracy).toFixed(1)
  } % of ${model.tested_on} tumours it was not trained on (${model.trained_on} were for training).

Who saw what:
  the algorithm provider   its program; no row of a table, no result
  hospital A, hospital B   its own table; nothing of the other's, no result
  the research office      results.zip: 31 weights and 3 figures; no row, not the program
  the management server    names, digests, public keys and states; no content
  this host                a VM without a TEE here: its memory is readable to the host. On a
                           machine with SEV-SNP or TDX it is not

Time:
${stage.times()}`);
}

const stage = new Stage(`${root}.cache`);
let failure: unknown;
try {
  await main(stage);
} catch (error) {
  failure = error;
  if (!(error instanceof Interrupted)) {
    say(`\ndemo: ${error instanceof Error ? error.message : error}`);
    say(`hint: the logs of every program are in ${stage.keepLogs()}`);
  }
}
await stage[Symbol.asyncDispose]();
if (failure instanceof Interrupted) say("\ndemo: interrupted; everything was stopped and removed");
Deno.exit(failure === undefined ? 0 : failure instanceof Interrupted ? 130 : 1);
