// What a failure means to the person at the terminal: the peers' texts (wire.md §2, §4.5, §4.7) get
// the exit code they deserve and a hint. The texts are the peer's and are not trusted.
import { asCocosError, CocosError, type ErrorCode, Status } from "../base/mod.ts";
import { printable } from "./terminal.ts";

/** Texts of the Go programs, which all travel as UNKNOWN, and what they mean. */
const KNOWN: readonly (readonly [RegExp, ErrorCode, string])[] = [
  [
    /another manifest than the one approved/,
    "untrusted",
    "The management server gave the agent another manifest meanwhile; `cocos manifest show` shows it.",
  ],
  [
    /signature verification failed/,
    "unauthenticated",
    "Use the private key that belongs to the public key in the manifest for this role.",
  ],
  [
    /results are not yet ready/,
    "wrong-state",
    "Ask again when the computation has run; the computation server's log shows its state.",
  ],
  [
    /not expecting this operation in the current state/,
    "wrong-state",
    "The computation server's log shows what the agent waits for: algorithm, then datasets, then run.",
  ],
  [
    /all expected manifest items have been received/i,
    "wrong-state",
    "Nothing more of this kind is needed.",
  ],
  [
    /hash does not match manifest/,
    "digest-mismatch",
    "Compare `cocos checksum <file>` with the digest in the manifest.",
  ],
  [
    /dataset not declared in computation manifest/,
    "undeclared-item",
    "Compare `cocos checksum <path>` with the manifest; a directory's digest covers times and modes.",
  ],
  [
    /filename does not match manifest/,
    "name-mismatch",
    "Give the file the name that the manifest has for it.",
  ],
  [
    /consumer is undeclared in computation manifest/,
    "undeclared-item",
    "Use the key of a result consumer of the manifest.",
  ],
  [
    /entity not found|no VM has id/i,
    "not-found",
    "`cocos create-vm` printed the id of each VM.",
  ],
  [/maximum number of VMs exceeded/, "exhausted", "Remove a VM first: `cocos remove-vm <id>`."],
  [
    /algorithm execution error|error starting algorithm|error (creating|updating|installing) /,
    "run-failed",
    "Run it on your own machine: what an algorithm prints here is shown to nobody.",
  ],
];

/**
 * The error to show for one thrown by a call to a peer. An error that did not come from the peer
 * is returned as it is.
 */
export function advise(thrown: unknown, peer: PeerWords): CocosError {
  const error = asCocosError(thrown);
  if (!fromPeer(error)) return error;
  const text = printable(error.message);
  if (error.status === Status.UNAVAILABLE) {
    return new CocosError("unavailable", `${peer.name} is unavailable on the current address`, {
      cause: error,
      hint: unavailableHint(peer),
    });
  }
  const known = KNOWN.find(([pattern]) => pattern.test(error.message));
  if (known !== undefined) {
    return new CocosError(known[1], text, { cause: error, hint: error.hint ?? known[2] });
  }
  // A peer's INVALID_ARGUMENT is not a usage mistake of this command line.
  const code = error.code === "invalid-argument" ? "remote" : error.code;
  return new CocosError(code, text || `the ${peer.name} gave no reason`, {
    cause: error,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}

/** A peer in words: its name, the address that was used, the protection as it is printed. */
export interface PeerWords {
  readonly name: string;
  readonly address: string;
  readonly how: string;
}

/** Where to look when a peer does not answer. */
export function unavailableHint({ name, address, how }: PeerWords): string {
  const variable = `${name.toUpperCase()}_GRPC_URL`;
  const why = name === "agent"
    ? "the agent listens once it has its manifest, on the port that create-vm printed"
    : "start it with cocos-manager";
  const tls = how === "without TLS"
    ? ""
    : ` With TLS, its certificate must be for that name and signed by ${name.toUpperCase()}_GRPC_` +
      "SERVER_CA_CERTS.";
  return `Nothing answered at ${address} (${variable}) ${how}: ${why}.${tls}`;
}

/** gRPC libraries put status and details on what they throw; proto keeps that as the cause. */
function fromPeer(error: CocosError): boolean {
  const cause = error.cause as { code?: unknown; details?: unknown } | undefined;
  return typeof cause?.code === "number" && "details" in cause;
}

/** All texts of an error and its causes, one a line. */
export function causes(error: unknown): string[] {
  const lines: string[] = [];
  for (let each = error; each instanceof Error && lines.length < 10; each = each.cause) {
    lines.push(printable(`${each.name}: ${each.message}`));
  }
  return lines;
}
