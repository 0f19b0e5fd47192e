// Who may call: a signature over the role word by a key the manifest names for it (wire.md §2). It is
// checked when the stream opens, before a byte of payload is read (threats G-1, G-3).
import { type CallContext, type Role, SIGNATURE_KEY, verifyRole } from "../proto/mod.ts";
import type { PartyKey } from "./manifest.ts";
import { badMetadata, badSignature } from "./refusals.ts";

/**
 * The first of the declared keys that signed the role. All keys are tried whatever the first gives,
 * so that an unknown key and a bad signature take the same time.
 *
 * @returns the index in `keys`
 * @throws {CocosError} `unauthenticated`.
 */
export function authorize(
  { metadata }: Pick<CallContext, "metadata">,
  role: Role,
  keys: readonly PartyKey[],
): number {
  const [signature, ...others] = metadata.get(SIGNATURE_KEY);
  if (signature === undefined || others.length > 0) throw badMetadata();
  const valid = keys.map(({ key }) => verifyRole(role, signature, key));
  const index = valid.indexOf(true);
  if (index < 0) throw badSignature();
  return index;
}
