// Connections to the agent and the manager: settings, protection, health, then the work. The gRPC
// library is loaded here, when a command needs it, and not at start.
import type { DescService } from "@bufbuild/protobuf";
import { CocosError, formatEndpoint, messageOf } from "../base/mod.ts";
import type { PrivateKey, Role, RpcClient } from "../proto/mod.ts";
import { advise, unavailableHint } from "./advice.ts";
import { type Peer, readSettings, securityOf } from "./settings.ts";
import type { Context } from "./context.ts";

type Proto = typeof import("../proto/mod.ts");

/** Loads the wire; about 80 ms, so only commands that use it do. */
export async function loadProto(): Promise<Proto> {
  return await import("../proto/mod.ts");
}

/** What a command gets to talk to its peer. */
export interface Connection<S extends DescService> {
  readonly client: RpcClient<S>;
  readonly timeoutMs: number;
}

/** How a peer may be reached. */
export interface PeerOptions {
  /**
   * Also over TLS with a key nobody vouches for, as a strict agent's: for calls that send nothing of
   * the person's, and whose answers are judged by themselves.
   */
  readonly anyKey?: boolean;
}

/** Takes the key that is seen first, and no other afterwards. */
function sameKey(): (key: string) => void {
  let first: string | undefined;
  return (key) => {
    first ??= key;
    if (key !== first) throw new CocosError("untrusted", "the agent's key changed meanwhile");
  };
}

/**
 * Connects to a peer, tells the person, and runs `work`.
 *
 * Without TLS and with mutual TLS the agent must answer the health check first, as the Go CLI has
 * it (wire.md §3.2); for the manager, and with TLS, the check only decides what is printed.
 *
 * @throws {CocosError} `unavailable` when nothing serves there; what the peer answers, with advice.
 */
export async function withPeer<S extends DescService, T>(
  peer: Peer,
  service: (proto: Proto) => S,
  context: Context,
  work: (connection: Connection<S>) => Promise<T>,
  { anyKey = false }: PeerOptions = {},
): Promise<T> {
  const settings = readSettings(peer, context.env);
  let security = await securityOf(settings);
  const proto = await loadProto();
  const { target, timeoutMs } = settings;
  const check = () => proto.checkHealth({ target, security, service: peer, timeoutMs });
  let healthy = await check();
  if (!healthy && anyKey && security.kind === "none") {
    security = { kind: "pinned", check: sameKey() };
    healthy = await check();
    if (!healthy) security = { kind: "none" };
  }
  const options = { target, security };
  const address = formatEndpoint(target);
  const how = security.kind === "pinned"
    ? "with TLS, its key is nobody's word yet"
    : proto.securityText(security);
  context.signal.throwIfAborted();
  if (healthy) {
    context.terminal.say(`Connected to ${peer === "agent" ? "agent " : "manager using "} ${how}`, {
      before: "🔗",
    });
  } else if (peer === "agent" && how !== "with TLS") {
    throw new CocosError("unavailable", "agent service is unavailable", {
      hint: unavailableHint({ name: peer, address, how }),
    });
  }
  await using client = proto.connect(service(proto), options);
  try {
    return await work({ client, timeoutMs });
  } catch (thrown) {
    throw advise(thrown, { name: peer, address, how });
  }
}

/**
 * Reads a private key file of any kind (wire.md §2.1).
 *
 * @throws {CocosError} `not-found`, `io` or `invalid-key`, with the path.
 */
export async function readKey(path: string): Promise<PrivateKey> {
  let pem: string;
  try {
    pem = await Deno.readTextFile(path);
  } catch (cause) {
    const missing = cause instanceof Deno.errors.NotFound;
    throw new CocosError(
      missing ? "not-found" : "io",
      `Cannot read the private key ${JSON.stringify(path)}: ${
        missing ? "no such file" : messageOf(cause)
      }`,
      { cause, ...(missing ? { hint: "`cocos keys` makes a key pair." } : {}) },
    );
  }
  const { readPrivateKey } = await loadProto();
  try {
    return readPrivateKey(pem);
  } catch (cause) {
    throw new CocosError(
      "invalid-key",
      `Cannot use the private key ${JSON.stringify(path)}: ${messageOf(cause)}`,
      {
        cause,
        hint: pem.includes("PUBLIC KEY")
          ? "This is a public key; give the private one."
          : "Give a PEM private key: RSA, ECDSA or Ed25519, not encrypted.",
      },
    );
  }
}

/** Metadata that shows a role: its name and the signature over it (wire.md §2). */
export async function credentialsOf(
  role: Role,
  key: PrivateKey,
): Promise<Record<string, string>> {
  const { SIGNATURE_KEY, signRole, USER_ID_KEY } = await loadProto();
  return { [USER_ID_KEY]: role, [SIGNATURE_KEY]: signRole(role, key) };
}
