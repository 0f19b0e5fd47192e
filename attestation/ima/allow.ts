// What files may be in an IMA list: an allow-list of digests by path, made by hand, from a good
// machine's list, or from a snapshot of a file system. Paths alone prove nothing; digests decide.
import { sha1 } from "@noble/hashes/legacy.js";
import { sha224, sha256, sha384, sha512 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import { Fields, type Json, parseJson } from "../json.ts";
import { toHex } from "../verdict.ts";
import type { ImaEntry } from "./parse.ts";
import { digestText, FILE_HASHES } from "./template.ts";

/** A snapshot of a root file system has some 100,000 files; each path and digest is near 150 units. */
const MAX_CHARACTERS = 128 * 1024 * 1024;

/** Accepted files. Digests are `algorithm:hex`, or `verity:algorithm:hex`, lower-case. */
export interface ImaAllowList {
  /** Path → digests. Blanks in paths are `_`, as the kernel writes them. */
  readonly files: ReadonlyMap<string, ReadonlySet<string>>;
  /** Digests accepted under every path. */
  readonly anywhere: ReadonlySet<string>;
  /** Whether files without content are accepted anywhere. */
  readonly emptyFiles: boolean;
}

/** Why a file is not accepted. */
export type ImaRefusal = "unknown-path" | "other-content" | "violation";

/** A file that is not accepted. */
export interface ImaFinding {
  readonly index: number;
  readonly path: string;
  readonly digest: string;
  readonly why: ImaRefusal;
}

/** Entries that an allow-list does not accept; `boot_aggregate` is checked elsewhere. */
export function refusedFiles(
  entries: readonly ImaEntry[],
  allowed: ImaAllowList,
  options: { readonly violations?: boolean } = {},
): ImaFinding[] {
  const findings: ImaFinding[] = [];
  for (const entry of entries) {
    if (isBootAggregate(entry)) continue;
    const why = refusal(entry, allowed, options.violations ?? false);
    if (why === undefined) continue;
    findings.push({ index: entry.index, path: entry.path, digest: digestText(entry.file), why });
  }
  return findings;
}

function refusal(
  entry: ImaEntry,
  allowed: ImaAllowList,
  violations: boolean,
): ImaRefusal | undefined {
  if (entry.violation) return violations ? undefined : "violation";
  const digest = digestText(entry.file);
  if (allowed.anywhere.has(digest)) return undefined;
  if (allowed.emptyFiles && EMPTY.has(digest)) return undefined;
  const known = allowed.files.get(entry.path.replaceAll(" ", "_"));
  if (known === undefined) return "unknown-path";
  return known.has(digest) ? undefined : "other-content";
}

/** The first entry of a boot, a digest of the boot's PCRs; only the first may have this name. */
export function isBootAggregate(entry: ImaEntry): boolean {
  return entry.index === 0 && entry.path === "boot_aggregate";
}

/** The allow-list under which exactly these entries pass; violations and the boot aggregate are left out. */
export function allowListOf(entries: readonly ImaEntry[]): ImaAllowList {
  return makeAllowList(
    entries
      .filter((entry) => !entry.violation && !isBootAggregate(entry))
      .map((entry) => [entry.path, digestText(entry.file)] as const),
  );
}

/** An allow-list of path and digest pairs. */
export function makeAllowList(
  pairs: Iterable<readonly [path: string, digest: string]>,
  options: { readonly anywhere?: readonly string[]; readonly emptyFiles?: boolean } = {},
): ImaAllowList {
  const files = new Map<string, Set<string>>();
  for (const [path, digest] of pairs) {
    const name = path.replaceAll(" ", "_");
    const known = files.get(name) ?? new Set<string>();
    known.add(digest);
    files.set(name, known);
  }
  return Object.freeze({
    files,
    anywhere: new Set(options.anywhere ?? []),
    emptyFiles: options.emptyFiles ?? false,
  });
}

/**
 * Reads a file-system snapshot: JSON `{"filehashes": [[path, hex], …]}` with more members, or the list
 * alone. The algorithm follows from the digest's length (SHA-1, SHA-256, SHA-384, SHA-512). Files
 * without content are accepted anywhere, as the snapshot's own tool does.
 *
 * @throws {CocosError} `invalid-argument` with the line; an empty snapshot accepts nothing and is refused.
 */
export function parseSnapshot(text: string): ImaAllowList {
  const what = "an IMA snapshot";
  const json = parseJson(text, what, { characters: MAX_CHARACTERS });
  const list = json.kind === "array" ? json.items : new Fields(json, what).array("filehashes");
  if (list === undefined || list.length === 0) {
    throw new CocosError("invalid-argument", `Cannot read ${what}: it has no file hashes`);
  }
  return makeAllowList(list.map((item) => pairOf(item, what)), { emptyFiles: true });
}

const BY_HEX_LENGTH = new Map([[40, "sha1"], [64, "sha256"], [96, "sha384"], [128, "sha512"]]);

function pairOf(item: Json, what: string): readonly [string, string] {
  const [path, digest] = item.kind === "array" ? item.items : [];
  const named = path?.kind === "string" && digest?.kind === "string";
  if (item.kind !== "array" || item.items.length !== 2 || !named) {
    throw new CocosError(
      "invalid-argument",
      `Cannot read ${what}: line ${item.line}: no [path, hex]`,
    );
  }
  const hex = String(digest.value).toLowerCase();
  const algorithm = BY_HEX_LENGTH.get(hex.length);
  if (algorithm === undefined || !/^[0-9a-f]+$/.test(hex)) {
    throw new CocosError("invalid-argument", `Cannot read ${what}: line ${item.line}: no digest`);
  }
  return [String(path.value), `${algorithm}:${hex}`];
}

const EMPTY: ReadonlySet<string> = new Set(
  ([["sha1", sha1], ["sha224", sha224], ["sha256", sha256], ["sha384", sha384], [
    "sha512",
    sha512,
  ]] as const).map(([name, hash]) => `${name}:${toHex(hash(new Uint8Array()))}`),
);

/** Whether a word is a digest as allow-lists have it. */
export function isDigestText(word: string): boolean {
  const match = /^(?:verity:)?([a-z0-9-]+):([0-9a-f]+)$/.exec(word);
  return match !== null && FILE_HASHES.get(match[1] ?? "") === (match[2] ?? "").length / 2;
}
