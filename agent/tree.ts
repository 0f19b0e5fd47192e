// Digests of folders the agent made itself, so that a restarted agent can tell whether what it had
// committed is still whole (threats C-1).
import { CocosError, digestFile, hex, sha3_256 } from "../base/mod.ts";

/**
 * SHA3-256 over paths, sizes and digests of all regular files at or below the given names.
 *
 * @param folder the folder the names are in
 * @throws {CocosError} `data-loss` when something is absent or neither file nor folder; without its name,
 * which is a party's and may come into the log (threats R7).
 */
export async function treeDigest(folder: string, names: readonly string[]): Promise<string> {
  const lines: string[] = [];
  for (const name of [...names].sort()) await visit(folder, name, lines);
  return hex(sha3_256(new TextEncoder().encode(JSON.stringify(lines))));
}

async function visit(folder: string, path: string, lines: string[]): Promise<void> {
  const full = `${folder}/${path}`;
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(full);
  } catch (cause) {
    throw new CocosError("data-loss", "a file is not there", { cause });
  }
  if (info.isFile) {
    lines.push(JSON.stringify([path, info.size, hex(await digestFile(full))]));
    return;
  }
  if (!info.isDirectory) throw new CocosError("data-loss", "something is neither file nor folder");
  const names: string[] = [];
  for await (const { name } of Deno.readDir(full)) names.push(name);
  lines.push(JSON.stringify([path, names.length]));
  for (const name of names.sort()) await visit(folder, `${path}/${name}`, lines);
}
