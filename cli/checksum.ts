// `cocos checksum`: the digest a manifest has for a file, a directory, or the manifest itself.
import { CocosError, digestFile, digestOf, hex, sha3_256, zipDirectory } from "../base/mod.ts";
import type { Context } from "./context.ts";
import { canonicalManifest } from "./manifest.ts";
import type { Invocation } from "./program.ts";
import { look } from "./upload.ts";

/** A manifest of 1,000 datasets has about 1 MB. */
const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;

/** Prints the digest of an invocation's path. */
export async function checksum(
  { path, manifest, base64 }: Invocation & { command: "checksum" },
  { terminal }: Context,
): Promise<void> {
  const info = await look(path);
  const digest = manifest
    ? await manifestDigest(path, info)
    : info.isDirectory
    ? await digestOf(zipDirectory(path))
    : await digestFile(path);
  const shown = base64 ? digest.toBase64() : hex(digest);
  terminal.data(`Hash of ${manifest ? "manifest file" : "file"}: ${shown}`, {
    path,
    sha3_256: hex(digest),
    base64: digest.toBase64(),
  });
}

async function manifestDigest(path: string, info: Deno.FileInfo): Promise<Uint8Array> {
  if (!info.isFile || info.size > MAX_MANIFEST_BYTES) {
    throw new CocosError(
      "invalid-manifest",
      `Cannot read the manifest ${JSON.stringify(path)}: it must be a file of at most 16 MiB`,
    );
  }
  return sha3_256(canonicalManifest(await Deno.readTextFile(path)));
}
