// One digest of everything the image is made from: an unchanged digest means nothing to do.
import { createHash } from "node:crypto";

/** Folders whose sources go into the guest's programs or its own scripts. */
const FOLDERS = ["hal", "agent", "runtimes", "base", "proto", "attestation", "channel"];
const FILES = ["deno.json", "deno.lock"];

/** Hex SHA-256 over names and contents of the sources, and over `more`. */
export async function inputsDigest(root: string, more: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  const add = (label: string, bytes: Uint8Array | string) => {
    const body = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    hash.update(`${label}\0${body.length}\0`).update(body);
  };
  for (const word of more) add("word", word);
  for (const file of FILES) add(file, await Deno.readFile(`${root}/${file}`));
  for (const folder of FOLDERS) {
    for (const path of await sources(root, folder)) {
      add(path, await Deno.readFile(`${root}/${path}`));
    }
  }
  return hash.digest("hex");
}

async function sources(root: string, folder: string): Promise<string[]> {
  const found: string[] = [];
  let entries: Deno.DirEntry[];
  try {
    entries = await Array.fromAsync(Deno.readDir(`${root}/${folder}`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  for (const { name, isDirectory, isFile } of entries) {
    const path = `${folder}/${name}`;
    if (isDirectory && name !== "testdata") found.push(...await sources(root, path));
    else if (isFile && !/_test\.tsx?$/.test(name)) found.push(path);
  }
  return found.sort();
}
