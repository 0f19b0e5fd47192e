// Flags as Go's flag package reads them: one dash or two, value after `=` or as the next word. The
// seed's walk types them with one dash.
import { CocosError, text } from "../base/mod.ts";

/** What a flag takes: nothing, one value, or one more value each time it is given. */
export interface FlagSpec {
  readonly takes: "nothing" | "value" | "values";
  readonly help: string;
}

/** Specifications by name. */
export type FlagSpecs = Readonly<Record<string, FlagSpec>>;

/** Flags that were given; one without value is there with an empty text. */
export type Flags<S extends FlagSpecs> = {
  -readonly [N in keyof S]?: S[N]["takes"] extends "values" ? readonly string[] : string;
};

/**
 * Parses words into flags. A flag of one value that is given twice keeps its last, as Go has it.
 *
 * @throws {CocosError} `invalid-argument` that lists every mistake.
 */
export function parseFlags<const S extends FlagSpecs>(
  words: readonly string[],
  specs: S,
): Flags<S> {
  const flags: Record<string, string | readonly string[]> = {};
  const mistakes: string[] = [];
  const queue = [...words];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    const parts = /^--?([a-z][a-z-]*)(?:=([\s\S]*))?$/.exec(word);
    if (parts === null) {
      mistakes.push(`unexpected argument ${JSON.stringify(word)}`);
      continue;
    }
    const name = parts[1] as string;
    const spec = Object.hasOwn(specs, name) ? specs[name] : undefined;
    if (spec === undefined) {
      mistakes.push(`flag provided but not defined: -${name}`);
      // What follows an unknown flag is probably its value, and not worth a second complaint.
      if (parts[2] === undefined && queue[0]?.startsWith("-") === false) queue.shift();
    } else if (spec.takes === "nothing") {
      if (parts[2] === undefined) flags[name] = "";
      else mistakes.push(`flag takes no value: -${name}`);
    } else {
      const value = parts[2] ?? queue.shift();
      if (value === undefined) mistakes.push(`flag needs an argument: -${name}`);
      else if (spec.takes === "value") flags[name] = value;
      else flags[name] = [...flags[name] ?? [], value];
    }
  }
  if (mistakes.length > 0) throw new CocosError("invalid-argument", mistakes.join("\n"));
  return flags as Flags<S>;
}

/** The list of flags for people. */
export function flagHelp(specs: FlagSpecs): string {
  return Object.entries(specs)
    .map(([name, { takes, help }]) =>
      `  ${`-${name}${takes === "nothing" ? "" : " <value>"}`.padEnd(30)}${help}`
    )
    .join("\n");
}

/** A path that fits a permission list. */
export function path(value: string): string {
  const one = text().parse(value);
  if (one.includes(",")) throw new RangeError(`must be a path without comma, is "${one}"`);
  return one;
}
