// `cocos keys`: a key pair of a party. Neither file is left alone: both appear, or none.
import { Draft, refuseExisting } from "./draft.ts";
import type { Context } from "./context.ts";
import { loadProto } from "./peer.ts";
import type { Invocation } from "./program.ts";

/** Names of the files, those of the Go CLI. */
export const KEY_FILES = { private: "private.pem", public: "public.pem" } as const;

/** Paths of the two files of a directory. */
export function keyPaths(directory: string): { private: string; public: string } {
  const prefix = directory === "." ? "" : `${directory.replace(/\/+$/, "")}/`;
  return { private: prefix + KEY_FILES.private, public: prefix + KEY_FILES.public };
}

/** Makes the pair and writes it: the private key readable by its owner only. */
export async function keys(
  { kind, directory, force }: Invocation & { command: "keys" },
  { terminal }: Context,
): Promise<void> {
  const paths = keyPaths(directory);
  await refuseExisting(paths.private, force);
  await refuseExisting(paths.public, force);
  const { generateKeys } = await loadProto();
  const { privatePem, publicPem } = await generateKeys(kind);
  const encoder = new TextEncoder();
  await using secret = await Draft.open(paths.private, { mode: 0o600, force });
  await using shared = await Draft.open(paths.public, { mode: 0o644, force });
  await secret.write(encoder.encode(privatePem));
  await shared.write(encoder.encode(publicPem));
  await secret.commit();
  await shared.commit();
  terminal.success(`Successfully generated public/private key pair of type: ${kind}`);
  terminal.result({ kind, private: paths.private, public: paths.public });
}
