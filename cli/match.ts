// What a party is about to send, against the manifest it approved: its own item, exactly these bytes,
// run exactly so. Everything is refused before a byte leaves.
import { createPublicKey } from "node:crypto";
import { CocosError } from "../base/mod.ts";
import type { PrivateKey } from "../proto/mod.ts";
import type { AgreedItem } from "./agreement.ts";
import { printable } from "./terminal.ts";

/** The item a party uploads must be the manifest's, and its own. */
export function refuseForeign(
  what: string,
  item: Pick<AgreedItem, "userKey">,
  key: PrivateKey,
): void {
  if (item.userKey === publicText(key)) return;
  throw new CocosError("undeclared-item", `${what} is another party's in the manifest`, {
    hint: "Use the private key that belongs to the public key in the manifest.",
  });
}

/** Who fetches a result must be one of those who get it. */
export function refuseStranger(
  consumers: readonly { readonly userKey: string }[],
  key: PrivateKey,
): void {
  const mine = publicText(key);
  if (consumers.some(({ userKey }) => userKey === mine)) return;
  throw new CocosError("undeclared-item", "the manifest gives the result to other keys than this", {
    hint: "Use the private key of a result consumer of the manifest.",
  });
}

/** A party's public key as manifests have it. */
export function publicText(key: PrivateKey): string {
  return createPublicKey(key.key).export({ format: "der", type: "spki" }).toString("base64");
}

/** The bytes to be uploaded must be the manifest's, before any of them leaves. */
export async function refuseOther(
  what: string,
  { hash, size }: Pick<AgreedItem, "hash" | "size">,
  payload: { readonly size: number; digest(): Promise<Uint8Array> },
): Promise<void> {
  const found = payload.size === size ? (await payload.digest()).toHex() : undefined;
  if (found === hash) return;
  throw new CocosError(
    "digest-mismatch",
    found === undefined
      ? `${what} has ${payload.size} bytes, in the manifest it has ${size}`
      : `${what} has the digest ${found}, in the manifest it has ${hash}`,
    { hint: "Nothing was sent. Compare `cocos checksum` with `cocos manifest show`." },
  );
}

/** What the command line says of the run must be what the manifest says. */
export function refuseUnequal(
  flag: string,
  given: string | readonly string[] | undefined,
  agreed: string | readonly string[],
): void {
  if (given === undefined || JSON.stringify(given) === JSON.stringify(agreed)) return;
  throw new CocosError(
    "untrusted",
    `${flag} is ${JSON.stringify(given)}, the manifest has ${
      printable(JSON.stringify(agreed), 500)
    }`,
    { hint: `Nothing was sent. What runs is what the manifest says: leave ${flag} out.` },
  );
}

/** A flag that says yes must be the manifest's yes. */
export function refuseUnequalFlag(flag: string, agreed: boolean): void {
  if (agreed) return;
  throw new CocosError("untrusted", `${flag} is given, and the manifest says no`, {
    hint: `Nothing was sent. What is done is what the manifest says: leave ${flag} out.`,
  });
}
