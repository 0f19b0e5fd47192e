// Digest and size of what the parties will upload: a file's bytes, a directory's archive, a
// wheelhouse's archive; or only what somebody says of them, where this server must not see them.
import {
  CocosError,
  digestFile,
  digestOf,
  fromHex,
  hex,
  listDirectory,
  listWheelhouse,
  zipEntries,
  zipSize,
} from "../base/mod.ts";
import type { AssetPlan, RequirementsPlan } from "./plan.ts";

/** What an upload will be. */
export interface Asset {
  readonly hash: Uint8Array;
  /** Bytes; 0 when nobody said. */
  readonly size: number;
  readonly isDirectory: boolean;
}

/**
 * Reads an asset.
 *
 * @throws {CocosError} `digest-mismatch` when the file is not what its plan says.
 */
export async function assetOf({ file, hash, size }: AssetPlan): Promise<Asset> {
  const given = hash === undefined ? undefined : fromHex(hash);
  if (file === undefined) {
    return { hash: given ?? new Uint8Array(), size: size ?? 0, isDirectory: false };
  }
  const found = await read(file);
  agree(file, found.hash, given);
  if (size !== undefined && size !== found.size) {
    throw new CocosError("digest-mismatch", `${file} has ${found.size} bytes, not ${size}`);
  }
  return found;
}

/** Digest of the requirements' upload; nothing when there are none. */
export async function requirementsOf(
  plan: RequirementsPlan | undefined,
): Promise<Uint8Array | undefined> {
  if (plan === undefined) return undefined;
  const { file, wheelhouse, hash } = plan;
  const given = hash === undefined ? undefined : fromHex(hash);
  if (wheelhouse !== undefined) {
    const found = await digestOf(zipEntries(await listWheelhouse(wheelhouse, file)));
    agree(wheelhouse, found, given);
    return found;
  }
  if (file === undefined) return given;
  const found = await digestFile(file);
  agree(file, found, given);
  return found;
}

async function read(file: string): Promise<Asset> {
  const info = await Deno.stat(file);
  if (!info.isDirectory) {
    return { hash: await digestFile(file), size: info.size, isDirectory: false };
  }
  const entries = await listDirectory(file);
  return { hash: await digestOf(zipEntries(entries)), size: zipSize(entries), isDirectory: true };
}

function agree(file: string, found: Uint8Array, given: Uint8Array | undefined): void {
  if (given === undefined || hex(given) === hex(found)) return;
  throw new CocosError(
    "digest-mismatch",
    `${file} has the digest ${hex(found)}, not ${hex(given)}`,
  );
}
