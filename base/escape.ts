// Text from strangers for a person's terminal (threats S-5).

// C0, DEL, C1, line separators and the marks that turn the reading direction: JSON leaves most of
// them as they are, terminals do not.
const UNSAFE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** Every unsafe character as `\uXXXX`: in JSON the same text, for people a visible one. */
export function escaped(text: string): string {
  return text.toWellFormed().replaceAll(
    UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
