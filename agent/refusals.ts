// Every refusal a party can meet at the front door, with the texts of the Go agent (wire.md §2, §4.5,
// §4.7). Codes are our own; `inSeedCodes` gives them the numbers the Go peers expect.
import { CocosError, type ErrorCode, Status } from "../base/mod.ts";

/** The state does not take this call now. */
export function wrongState(): CocosError {
  return new CocosError(
    "wrong-state",
    "agent not expecting this operation in the current state",
  );
}

/** The item this upload is for is in already. */
export function allReceived(): CocosError {
  return new CocosError("conflict", "all expected manifest Items have been received");
}

/** No signature of a declared key. */
export function badSignature(): CocosError {
  return new CocosError("unauthenticated", "signature verification failed");
}

/** The `signature` metadata is absent or repeated. */
export function badMetadata(): CocosError {
  return new CocosError(
    "unauthenticated",
    "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata",
  );
}

/** A signed request that does not hold for this call (threats G-2, G-3). */
export function badRequest(what: string): CocosError {
  return new CocosError("unauthenticated", `signed request ${what}`, {
    hint: "Ask for a challenge, sign and call on one connection.",
  });
}

/** The caller approved another manifest than the one in force (threats M-7). */
export function otherManifest(): CocosError {
  return new CocosError("untrusted", "this agent has another manifest than the one approved", {
    hint: "Read the agent's manifest, and ask whoever runs the computation why it differs.",
  });
}

/** The connection has answers like this one under way that it does not take (threats R5). */
export function oneAtATime(): CocosError {
  return new CocosError(
    "exhausted",
    "this connection has as much of the manifest under way as it may have",
    {
      hint: "Wait for the answer that is under way.",
    },
  );
}

/** The signed request is about an item the manifest doesn't have, or this method doesn't take. */
export function undeclaredItem(): CocosError {
  return new CocosError("undeclared-item", "item not declared in computation manifest");
}

/** The item is another party's (threats G-4). */
export function foreignItem(): CocosError {
  return new CocosError("permission-denied", "item belongs to another party in the manifest");
}

/** The signed payload is not the manifest's: nothing of it needs to be read (threats G-7). */
export function otherPayload(): CocosError {
  return new CocosError("digest-mismatch", "payload and size signed for are not the manifest's");
}

/** Metadata or a name in a message says something else than the manifest (threats R3, G-14). */
export function otherTerms(what: string): CocosError {
  return new CocosError("invalid-argument", `${what} must be the manifest's`, {
    hint: "The manifest alone decides it; leave it away.",
  });
}

/** The bytes are not those the manifest names. */
export function badDigest(): CocosError {
  return new CocosError("digest-mismatch", "malformed data, hash does not match manifest");
}

/** The requirements are not those the manifest names, or are missing. */
export function badRequirements(): CocosError {
  return new CocosError("digest-mismatch", "malformed data, requirements do not match manifest");
}

/** No dataset of the manifest has this digest. */
export function undeclaredDataset(): CocosError {
  return new CocosError("undeclared-item", "dataset not declared in computation manifest");
}

/** The dataset is declared, by another party (threats G-4). */
export function foreignDataset(): CocosError {
  return new CocosError("permission-denied", "dataset not declared in computation manifest", {
    hint: "A dataset is taken only from the party whose key the manifest names for it.",
  });
}

/** The uploaded name is not the manifest's. */
export function badName(): CocosError {
  return new CocosError("name-mismatch", "malformed data, filename does not match manifest");
}

/** The stream held no algorithm. */
export function noAlgorithm(): CocosError {
  return new CocosError("invalid-argument", "algorithm binary is required");
}

/** The stream held no dataset. */
export function noDataset(): CocosError {
  return new CocosError("invalid-argument", "dataset is required");
}

/** Results are asked for before there are any. */
export function notReady(): CocosError {
  return new CocosError("wrong-state", "computation results are not yet ready");
}

/** Results are asked for after the last consumer had them (threats O-6). */
export function resultsPurged(): CocosError {
  return new CocosError(
    "wrong-state",
    "computation results were purged after every consumer had received them",
  );
}

/** The computation this call belongs to was stopped meanwhile (threats G-5). */
export function stopped(): CocosError {
  return new CocosError("cancelled", "the computation was stopped");
}

/** Codes that keep their own gRPC status in compat; the Go agent answers UNKNOWN to all others. */
const OWN_STATUS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "unauthenticated",
  "permission-denied",
  "too-large",
  "exhausted",
  "timeout",
  "cancelled",
  "unavailable",
  "internal",
]);

/** The same refusal with the gRPC status a Go peer expects for it (code 2 for most). */
export function inSeedCodes(error: CocosError): CocosError {
  if (OWN_STATUS.has(error.code)) return error;
  return new CocosError(error.code, error.message, {
    cause: error.cause,
    status: Status.UNKNOWN,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}
