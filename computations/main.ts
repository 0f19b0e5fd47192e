// Entrance of `cocos-computations`, the server agents dial for their manifest. Agents are not
// trusted; the computation file is the operator's own.
import { resolve } from "../agreement/mod.ts";
import { asCocosError, CocosError, Exit, logger, messageOf } from "../base/mod.ts";
import { CvmsService, implement, serve, type TlsServer } from "../proto/mod.ts";
import { type Invocation, readInvocation, readPlan, type ServerSettings } from "./config.ts";
import { startPrinting } from "./print.ts";
import { Sessions } from "./session.ts";
import info from "./deno.json" with { type: "json" };

/** Name of the health service and in the first line, those of the Go test server. */
const SERVICE = "cvms_test_server";

/** Time sessions have to end at shutdown: they last as long as their agents, so they are cut. */
const GRACE_MS = 200;

const encoder = new TextEncoder();

function write(text: string): void {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Resolves at SIGINT or SIGTERM. */
function stopped(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => resolve());
  }
  return promise;
}

async function readTls(settings: ServerSettings): Promise<TlsServer | undefined> {
  const { serverCert, serverKey, clientCa } = settings;
  if (serverCert === "") return undefined;
  const mistakes: string[] = [];
  const read = async (path: string) => {
    try {
      return await Deno.readTextFile(path);
    } catch (cause) {
      mistakes.push(`${path}: ${messageOf(cause)}`);
      return "";
    }
  };
  const cert = await read(serverCert);
  const key = await read(serverKey);
  const ca = clientCa === "" ? undefined : await read(clientCa);
  if (mistakes.length > 0) {
    throw new CocosError("invalid-config", `Cannot serve TLS:\n  ${mistakes.join("\n  ")}`, {
      hint: "Give the paths of PEM files in SERVER_CERT, SERVER_KEY and CLIENT_CA_CERTS.",
    });
  }
  return { cert, key, ...(ca === undefined ? {} : { clientCa: ca }) };
}

/** How the first line names the protection (wire.md §4.3, §7). */
function protectionText({ serverCert, serverKey, clientCa }: ServerSettings): string {
  if (serverCert === "") return "without TLS";
  const files = `cert ${serverCert} and key ${serverKey}`;
  return clientCa === "" ? `with TLS ${files}` : `with mTLS ${files} and client ca ${clientCa}`;
}

async function writeManifest(path: string, text: string): Promise<void> {
  try {
    await Deno.writeTextFile(path, text);
  } catch (cause) {
    throw new CocosError("io", `Cannot write ${JSON.stringify(path)}: ${messageOf(cause)}`, {
      cause,
      hint: "Give -manifest-out a file in a folder that exists.",
    });
  }
}

/** The canonical manifest on stdout, its exact bytes. */
async function print({ origin }: Invocation & { command: "print" }): Promise<void> {
  write((await resolve(await readPlan(origin))).agreement?.text ?? "");
}

async function run(invocation: Invocation & { command: "serve" }): Promise<void> {
  const { settings, origin, manifestOut } = invocation;
  const end = stopped();
  startPrinting(settings.logLevel, settings.plain, write);
  const log = logger("computations");
  const computation = await resolve(await readPlan(origin), invocation);
  if (manifestOut !== undefined && computation.agreement !== undefined) {
    await writeManifest(manifestOut, computation.agreement.text);
  }
  const { agreement } = computation;
  const tls = await readTls(settings);
  const sessions = new Sessions(computation, log);
  await using server = await serve({
    host: settings.host,
    port: settings.port,
    ...(tls === undefined ? {} : { tls }),
    services: [
      implement(CvmsService, { process: (messages, call) => sessions.process(messages, call) }),
    ],
    healthName: SERVICE,
  });
  const address = settings.host.includes(":") ? `[${settings.host}]` : settings.host;
  log.info(
    `${SERVICE} service gRPC server listening at ${address}:${server.port} ${
      protectionText(settings)
    }`,
  );
  log.info("computation", {
    computation_id: computation.id,
    name: computation.name,
    sha3_256: computation.digest,
    ...(agreement === undefined
      ? { mode: "compat" }
      : { manifest_digest: agreement.digest, channel: agreement.channel }),
    algorithm: computation.algorithm.hash,
    datasets: computation.datasets,
    consumers: computation.consumers,
  });
  if (agreement === undefined) {
    log.warn(
      "compat: requests will be signed over the role only, the manifest is agreed by nobody",
    );
  } else if (agreement.channel === "insecure") {
    log.warn("channel insecure: whoever is between a party and the agent reads and changes all");
  }
  await end;
  await server.close(GRACE_MS);
  log.info("computations stopped");
}

let exit: number = Exit.OK;
try {
  const invocation = readInvocation(Deno.args, (name) => Deno.env.get(name));
  switch (invocation.command) {
    case "help":
      write(`${invocation.text}\n`);
      break;
    case "version":
      write(`${info.version}\n`);
      break;
    case "print":
      await print(invocation);
      break;
    case "serve":
      await run(invocation);
      break;
  }
} catch (thrown) {
  const error = asCocosError(thrown);
  console.error(`cocos-computations: ${error.message}`);
  if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
  exit = error.exitCode;
}
Deno.exit(exit);
