// The computation management service, which CVMs dial. The manager only looks whether it is there and
// whether its certificate is the expected one: it is told nothing and believed nothing.
import { formatEndpoint, logger, messageOf } from "../base/mod.ts";
import type { Config } from "./config.ts";
import { within } from "./qemu.ts";

const log = logger("manager");

/** Connects once and says in the log how it went; never an error, the service may come later. */
export async function greetManagement(management: Config["management"]): Promise<void> {
  const { endpoint, caFile, certFile, keyFile, timeoutMs } = management;
  const { host: hostname, port } = endpoint;
  const address = formatEndpoint(endpoint);
  const secured = caFile !== undefined || certFile !== undefined;
  const dial = async () => {
    const read = (file: string) => Deno.readTextFile(file);
    const connection = secured
      ? await Deno.connectTls({
        hostname,
        port,
        alpnProtocols: ["h2"],
        ...(caFile === undefined ? {} : { caCerts: [await read(caFile)] }),
        ...(certFile === undefined || keyFile === undefined
          ? {}
          : { cert: await read(certFile), key: await read(keyFile) }),
      })
      : await Deno.connect({ hostname, port });
    try {
      if ("handshake" in connection) await connection.handshake();
    } finally {
      connection.close();
    }
  };
  const dialled = dial();
  dialled.catch(() => {});
  try {
    if (!await within(dialled, timeoutMs)) throw new Error("no answer in time");
    log.info`computation management service found at ${address} ${
      secured ? "with TLS" : "without TLS"
    }`;
  } catch (error) {
    log.warn`computation management service at ${address} is not there yet: ${messageOf(error)}`;
  }
}
