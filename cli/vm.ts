// `cocos create-vm` and `cocos remove-vm`: what the manager is asked for.
import { CocosError, LEVELS, messageOf } from "../base/mod.ts";
import type { Context } from "./context.ts";
import { withPeer } from "./peer.ts";
import type { Invocation } from "./program.ts";
import { printable } from "./terminal.ts";

/** Most bytes of a certificate or key file: chains of ten certificates have about 20 KB. */
const MAX_PEM_BYTES = 256 * 1024;

/** Asks for a VM and prints its id and port. */
export async function createVm(
  invocation: Invocation & { command: "create-vm" },
  context: Context,
): Promise<void> {
  const { serverUrl, serverCa, clientKey, clientCrt, caUrl, logLevel, ttl } = invocation;
  if (logLevel !== "" && !LEVELS.some((level) => level === logLevel.toLowerCase())) {
    throw new CocosError(
      "invalid-argument",
      `Cannot use --log-level ${JSON.stringify(logLevel)}: it must be one of ${LEVELS.join(", ")}`,
    );
  }
  if ((clientKey === undefined) !== (clientCrt === undefined)) {
    throw new CocosError(
      "invalid-argument",
      "Cannot use --client-key without --client-crt, or the other way round: give both or neither",
    );
  }
  const request = {
    agentLogLevel: logLevel,
    agentCvmServerUrl: serverUrl,
    agentCvmCaUrl: caUrl,
    ttl,
    agentCvmServerCaCert: await pem("--server-ca", serverCa),
    agentCvmClientKey: await pem("--client-key", clientKey),
    agentCvmClientCert: await pem("--client-crt", clientCrt),
  };
  const { terminal, signal } = context;
  await withPeer("manager", (proto) => proto.ManagerService, context, async (connection) => {
    terminal.say("Creating a new virtual machine", { before: "🔗" });
    const { timeoutMs } = connection;
    const answer = await connection.client.createVm(request, { signal, timeoutMs });
    const id = printable(answer.cvmId, 128);
    const port = printable(answer.forwardedPort, 16);
    terminal.success(`Virtual machine created successfully with id ${id} and port ${port}`, {
      before: "✅",
    });
    terminal.result({ id, port: Number(port) });
  });
}

/** Asks for the end of a VM. */
export async function removeVm(
  { id }: Invocation & { command: "remove-vm" },
  context: Context,
): Promise<void> {
  const { terminal, signal } = context;
  if (!/^[\x21-\x7e]{1,128}$/.test(id)) {
    throw new CocosError(
      "invalid-argument",
      `Cannot remove ${JSON.stringify(printable(id, 140))}: it is not an id of a VM`,
      { hint: "`cocos create-vm` printed the id." },
    );
  }
  await withPeer("manager", (proto) => proto.ManagerService, context, async (connection) => {
    terminal.say("Removing virtual machine", { before: "🔗" });
    const { timeoutMs } = connection;
    await connection.client.removeVm({ cvmId: id }, { signal, timeoutMs });
    terminal.success("Virtual machine removed successfully", { before: "✅" });
    terminal.result({ removed: id });
  });
}

async function pem(flag: string, path: string | undefined): Promise<Uint8Array> {
  if (path === undefined) return new Uint8Array();
  let bytes: Uint8Array;
  try {
    const { size } = await Deno.stat(path);
    if (size > MAX_PEM_BYTES) throw new RangeError(`it has ${size} bytes, at most 262144 are sent`);
    bytes = await Deno.readFile(path);
  } catch (cause) {
    throw new CocosError(
      cause instanceof Deno.errors.NotFound ? "not-found" : "io",
      `Cannot read the file of ${flag}: ${messageOf(cause)}`,
      { cause },
    );
  }
  if (!new TextDecoder().decode(bytes).includes("-----BEGIN ")) {
    throw new CocosError("invalid-argument", `Cannot send the file of ${flag}: it is not PEM`);
  }
  return bytes;
}
