// Flags as Go's flag package reads them: one dash or two, value after `=` or as the next word. The
// seed's walk types them with one dash.
import { CocosError } from "../base/mod.ts";

/** What a flag takes: nothing, or one value. */
export interface FlagSpec {
  readonly value: boolean;
  readonly help: string;
}

/** Flags that were given; a flag without value is there with an empty text. */
export type Flags<N extends string> = Partial<Record<N, string>>;

/**
 * Parses words into flags. A flag given twice keeps its last value, as Go has it.
 *
 * @throws {CocosError} `invalid-argument` that lists every mistake.
 */
export function parseFlags<N extends string>(
  words: readonly string[],
  specs: Readonly<Record<N, FlagSpec>>,
): Flags<N> {
  const flags: Flags<N> = {};
  const mistakes: string[] = [];
  const queue = [...words];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    const parts = /^--?([a-z][a-z-]*)(?:=([\s\S]*))?$/.exec(word);
    if (parts === null) {
      mistakes.push(`unexpected argument ${JSON.stringify(word)}`);
      continue;
    }
    const name = parts[1] as N;
    const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
    if (spec === undefined) {
      mistakes.push(`flag provided but not defined: -${name}`);
      // What follows an unknown flag is probably its value, and not worth a second complaint.
      if (parts[2] === undefined && queue[0]?.startsWith("-") === false) queue.shift();
    } else if (!spec.value) {
      if (parts[2] === undefined) flags[name] = "";
      else mistakes.push(`flag takes no value: -${name}`);
    } else {
      const value = parts[2] ?? queue.shift();
      if (value === undefined) mistakes.push(`flag needs an argument: -${name}`);
      else flags[name] = value;
    }
  }
  if (mistakes.length > 0) throw new CocosError("invalid-argument", mistakes.join("\n"));
  return flags;
}

/** The list of flags for people. */
export function flagHelp(specs: Readonly<Record<string, FlagSpec>>): string {
  return Object.entries(specs)
    .map(([name, { value, help }]) => `  ${`-${name}${value ? " <value>" : ""}`.padEnd(30)}${help}`)
    .join("\n");
}
