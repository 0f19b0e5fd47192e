// Who may call, checked when the stream opens, before a byte of payload is read. In compat a signature
// covers the role word (wire.md §2; threats G-1, G-3); in strict it covers the whole request, and the
// item must be the signer's (threats G-2 to G-4, G-7).
import {
  type CallContext,
  receiveRequest,
  type Role,
  SIGNATURE_KEY,
  type SignedRequest,
  verifyRole,
} from "../proto/mod.ts";
import { CHALLENGE_SECONDS } from "./challenges.ts";
import type { Computation } from "./computation.ts";
import type { PartyKey } from "./manifest.ts";
import {
  badMetadata,
  badRequest,
  badSignature,
  foreignItem,
  otherPayload,
  undeclaredItem,
} from "./refusals.ts";

/** Something a party may call about. */
export interface Claim {
  /** Its name in a signed request. */
  readonly item: string;
  /** Whose it is. */
  readonly owners: readonly PartyKey[];
  /** Payload a signed request must name, lower-case hexadecimal; absent: any. */
  readonly payload?: string;
  /** Its bytes. */
  readonly size?: number;
}

/** Parts of a call that say who it comes from. */
export type Credentials = Pick<CallContext, "metadata" | "method" | "connection">;

/** A caller that was let in. */
export interface Admitted<C extends Claim> {
  readonly signer: PartyKey;
  /** What the call is about; absent in compat, whose signatures don't say it. */
  readonly claim?: C;
  readonly request?: SignedRequest;
}

/**
 * Lets the owner of one of the claims in. All keys are tried whatever the first gives, so that an
 * unknown key and a bad signature take the same time.
 *
 * @param role word a compat caller signs
 * @throws {CocosError} `unauthenticated`, and in strict `permission-denied`, `undeclared-item` or
 * `digest-mismatch`.
 */
export function authorize<C extends Claim>(
  computation: Computation,
  call: Credentials,
  role: Role,
  claims: readonly C[],
): Admitted<C> {
  return computation.manifest.agreement === undefined
    ? { signer: byRole(call, role, [...new Set(claims.flatMap(({ owners }) => owners))]) }
    : byRequest(computation, call, claims);
}

function byRole({ metadata }: Credentials, role: Role, keys: readonly PartyKey[]): PartyKey {
  const [signature, ...others] = metadata.get(SIGNATURE_KEY);
  if (signature === undefined || others.length > 0) throw badMetadata();
  const valid = keys.map(({ key }) => verifyRole(role, signature, key));
  const signer = keys[valid.indexOf(true)];
  if (signer === undefined) throw badSignature();
  return signer;
}

function byRequest<C extends Claim>(
  { manifest, challenges }: Computation,
  call: Credentials,
  claims: readonly C[],
): Admitted<C> {
  const received = receiveRequest(call.metadata);
  const { request } = received;
  // Used up before anything is checked: no challenge is tried twice.
  const age = challenges.take(call.connection, request.challenge);
  if (request.method !== call.method) throw badRequest("is for another method");
  if (request.computation !== manifest.id) throw badRequest("is for another computation");
  if (request.manifest !== manifest.agreement?.digest) throw badRequest("is for another manifest");
  if (request.channel !== "") {
    throw badRequest("is bound to a channel, and this one has no binding");
  }
  if (request.lifetime > CHALLENGE_SECONDS) {
    throw badRequest(`may hold at most ${CHALLENGE_SECONDS} seconds`);
  }
  if (age === undefined || age >= request.lifetime) {
    throw badRequest("has a challenge that was not given on this connection, was used, or expired");
  }
  const valid = manifest.parties.map(({ key }) => received.isSignedBy(key));
  const signer = manifest.parties[valid.indexOf(true)];
  if (signer === undefined) throw badSignature();
  const claim = claims.find(({ item }) => item === request.item);
  if (claim === undefined) throw undeclaredItem();
  if (!claim.owners.some(({ id }) => id === signer.id)) throw foreignItem();
  const { payload = request.payload, size = request.size } = claim;
  if (request.payload !== payload || request.size !== size) throw otherPayload();
  return { signer, claim, request };
}
