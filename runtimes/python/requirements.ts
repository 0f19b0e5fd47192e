// Reads a requirements file from an untrusted uploader: names and versions only. Everything by which
// such a file can reach for another source, a path or code is refused with its line (threats S-12).
// Grammar: PEP 508 (names, extras, markers), PEP 440 (versions), pip's `--hash`.

/** Largest requirements file in bytes. */
export const MAX_REQUIREMENTS_BYTES = 256 << 10;
/** Most requirements. */
export const MAX_REQUIREMENTS = 1000;

/** One requirement. */
export interface Requirement {
  /** Name as written. */
  readonly name: string;
  /** The whole line, comments and continuation lines resolved. */
  readonly text: string;
  /** Number of its first line. */
  readonly line: number;
  /** Digests the wheel must have one of, `algorithm:hex`. */
  readonly hashes: readonly string[];
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?/;
const EXTRAS = /^\[\s*[A-Za-z0-9._-]+(?:\s*,\s*[A-Za-z0-9._-]+)*\s*\]/;
const VERSION = /^(?:===?|~=|!=|<=?|>=?)\s*[A-Za-z0-9.*+!_-]+/;
/** Marker text: comparisons of named variables with quoted words; no other punctuation exists. */
const MARKER = /^;[\sA-Za-z0-9_.'"<>=!~()+*-]+$/;
const HASH = /^(sha256|sha384|sha512):([0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/;

/**
 * Reads the file.
 *
 * @throws {RangeError} that gives the number and the text of the first line that isn't acceptable.
 */
export function readRequirements(file: string): Requirement[] {
  const requirements: Requirement[] = [];
  const lines = file.replace(/^\ufeff/, "").split(/\r\n|\r|\n/);
  for (let index = 0; index < lines.length; index++) {
    const line = index + 1;
    let logical = lines[index] as string;
    // A comment line doesn't continue; any other line does after a backslash.
    while (/\\$/.test(logical) && !/^\s*#/.test(logical) && index + 1 < lines.length) {
      logical = logical.slice(0, -1) + (lines[++index] as string);
    }
    const text = logical.replace(/(^|\s)#.*$/, "").trim();
    if (text === "") continue;
    requirements.push(readRequirement(text, line));
    if (requirements.length > MAX_REQUIREMENTS) {
      throw refused(line, text, `is one more than ${MAX_REQUIREMENTS} requirements`);
    }
  }
  return requirements;
}

function refused(line: number, text: string, why: string): RangeError {
  const shown = JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
  return new RangeError(`Requirements line ${line} ${why}: ${shown}`);
}

function readRequirement(text: string, line: number): Requirement {
  if (!/^[\x20-\x7e\t]*$/.test(text)) throw refused(line, text, "has a character that isn't ASCII");
  if (text.includes("${")) throw refused(line, text, "names an environment variable");
  if (text.startsWith("-")) throw refused(line, text, "is an option, only packages may be named");
  if (/:\/\/|^[A-Za-z][A-Za-z0-9+.-]*:|\s@\s|\]@|@\s*\S+:/.test(text.replace(/\s--hash.*$/, ""))) {
    throw refused(line, text, "names a URL");
  }
  const [spec, ...options] = text.split(/\s+(?=--)/) as [string, ...string[]];
  const hashes = options.map((option) => {
    const value = /^--hash[=\s]\s*(\S+)$/.exec(option)?.[1] ?? "";
    if (!HASH.test(value)) throw refused(line, text, "has an option other than --hash=sha256:…");
    return value;
  });
  const name = NAME.exec(spec)?.[0];
  if (name === undefined || /\.(whl|zip|tar|gz|bz2|tgz)$/i.test(spec) || spec.includes("/")) {
    throw refused(line, text, "names a file, only packages may be named");
  }
  let rest = spec.slice(name.length).trim();
  rest = rest.replace(EXTRAS, "").trim();
  const bracketed = /^\(([^()]*)\)\s*(;.*)?$/.exec(rest);
  if (bracketed !== null) rest = `${bracketed[1]}${bracketed[2] ?? ""}`.trim();
  while (rest !== "" && !rest.startsWith(";")) {
    const version = VERSION.exec(rest)?.[0];
    if (version === undefined) throw refused(line, text, "isn't a name with versions");
    rest = rest.slice(version.length).trim();
    if (rest.startsWith(",")) rest = rest.slice(1).trim();
    else if (rest !== "" && !rest.startsWith(";")) {
      throw refused(line, text, "isn't a name with versions");
    }
  }
  if (rest !== "" && !MARKER.test(rest)) throw refused(line, text, "has a marker I can't read");
  return Object.freeze({ name, text, line, hashes: Object.freeze(hashes) });
}
