// launch: --ignore-env --allow-env=HOST,PORT,SERVER_CERT,SERVER_KEY,SERVER_CA_CERTS,CLIENT_CA_CERTS,LOG_LEVEL,COMPUTATIONS_HOST,COMPUTATIONS_PORT,COMPUTATIONS_SERVER_CERT,COMPUTATIONS_SERVER_KEY,COMPUTATIONS_SERVER_CA_CERTS,COMPUTATIONS_CLIENT_CA_CERTS,COMPUTATIONS_LOG_LEVEL --allow-read --allow-run=getent
// Prints the rights the server needs, one flag a line: its own address and the files its computation
// names. It opens the computation file and nothing else; wherever that is, hence the read right.
import { type ComputationPlan, filesOf } from "../agreement/mod.ts";
import { addressesOf, CocosError, formatEndpoint } from "../base/mod.ts";
import { type Invocation, readInvocation, readPlan } from "./config.ts";

/** Addresses of a host name. */
export type Resolve = (host: string) => readonly string[];

/** Flags for a server of this plan, or for printing its manifest. */
export function rights(
  invocation: Invocation & { command: "serve" | "print" },
  plan: ComputationPlan | undefined,
  resolve: Resolve,
): string[] {
  const { origin, manifestOut } = invocation;
  const settings = invocation.command === "serve" ? invocation.settings : undefined;
  const read = [
    ...(origin.kind === "file" ? [origin.path] : []),
    ...(plan === undefined ? [] : filesOf(plan)),
    ...[settings?.serverCert, settings?.serverKey, settings?.clientCa]
      .filter((path) => path !== undefined && path !== ""),
  ] as string[];
  return [
    ...(read.length === 0 ? [] : [`--allow-read=${[...new Set(read)].map(whole).join(",")}`]),
    ...(manifestOut === undefined ? [] : [`--allow-write=${whole(manifestOut)}`]),
    ...(settings === undefined
      ? []
      : [`--allow-net=${
        hostsOf(settings.host, resolve).map((host) => formatEndpoint({ host, port: settings.port }))
      }`]),
  ];
}

/** A name is looked up before it is listened on, so its addresses are granted with it. */
function hostsOf(host: string, resolve: Resolve): string[] {
  if (/^[0-9.]+$/.test(host) || host.includes(":")) return [host];
  return [host, ...host === "localhost" ? ["127.0.0.1", "::1"] : resolve(host)];
}

/** A path that is one item of a permission list. */
function whole(path: string): string {
  if (path.includes(",") || path.includes("\n")) {
    throw new CocosError("invalid-argument", `Cannot grant read on ${JSON.stringify(path)}`);
  }
  return path;
}

if (import.meta.main) {
  const argv = Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args;
  try {
    const invocation = readInvocation(argv, (name) => Deno.env.get(name));
    if (invocation.command === "serve" || invocation.command === "print") {
      // A computation that can't be read gives no files; the server then reports why.
      const plan = await readPlan(invocation.origin).catch(() => undefined);
      for (const each of rights(invocation, plan, addressesOf)) console.log(each);
    }
  } catch {
    // The server itself meets the same mistake, and reports it with its exit code.
  }
}
