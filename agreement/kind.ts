// What kind an algorithm is, told from its name and its first bytes: parties see it in the manifest
// before anything runs. What says nothing is `bin`, as for the seed's uploads (wire.md §4.5).
import { CocosError } from "../base/mod.ts";
import type { Kind } from "../proto/mod.ts";

/** A tar's magic ends at byte 262 (POSIX.1-2017, pax, "ustar Interchange Format"). */
const HEAD_BYTES = 512;

const SUFFIXES: readonly (readonly [RegExp, Kind])[] = [
  [/\.py$/i, "python"],
  [/\.wasm$/i, "wasm"],
  [/\.(tar|tar\.gz|tgz)$/i, "docker"],
];

/**
 * The kind of an algorithm's file.
 *
 * @throws {CocosError} `invalid-manifest` when name and content say different things.
 */
export async function kindOf(path: string): Promise<Kind> {
  const head = new Uint8Array(HEAD_BYTES);
  let filled = 0;
  using file = await Deno.open(path);
  while (filled < head.length) {
    const count = await file.read(head.subarray(filled));
    if (count === null) break;
    filled += count;
  }
  const told = kindOfBytes(head.subarray(0, filled));
  const named = SUFFIXES.find(([suffix]) => suffix.test(path))?.[1];
  if (named === "python" && (told === undefined || told === "script")) return named;
  const kind = told === undefined || told === "script" ? "bin" : told;
  if (named !== undefined && kind !== named) {
    throw new CocosError(
      "invalid-manifest",
      `${path} is named like ${named} and begins like ${kind}: say which it is (type, -algo-type)`,
    );
  }
  return kind;
}

/** What the first bytes say; nothing when they say nothing. */
function kindOfBytes(head: Uint8Array): Kind | "script" | undefined {
  const text = (from: number, to: number) => String.fromCharCode(...head.subarray(from, to));
  if (text(0, 4) === "\x7fELF") return "bin";
  if (text(0, 4) === "\0asm") return "wasm";
  // An archive that `docker save` or a builder wrote, or gzip around one (RFC 1952 §2.3.1).
  if (text(257, 262) === "ustar" || text(0, 3) === "\x1f\x8b\x08") return "docker";
  if (text(0, 2) !== "#!") return undefined;
  const [interpreter = ""] = text(2, HEAD_BYTES).split("\n");
  return /(^|[/\s])python[0-9.]*(\s|$)/.test(interpreter) ? "python" : "script";
}
