// Parsers of options and arguments that the command line shares: mistakes get the domain's own text.
import { InvalidArgumentError } from "commander";
import { messageOf } from "../base/mod.ts";

/** Drops absent options, so that the result fits exact optional properties. */
export function given<T extends Record<string, string | undefined>>(values: T) {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: string };
}

/** An option's parser that reports the domain's own text. */
export function checked(parse: (text: string) => unknown): (text: string) => string {
  return (text) => {
    try {
      parse(text);
      return text;
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
  };
}

/** A path option or argument: not empty, and nothing a permission list could misread. */
export const path = checked((text) => {
  // deno-lint-ignore no-control-regex
  if (text === "" || /[,\x00-\x1f]/.test(text)) {
    throw new RangeError(
      `must be a path without comma or control character, is ${JSON.stringify(text)}`,
    );
  }
});

/** A digest or key of 64 hexadecimal digits, after `prefix`. */
export const hex = (prefix: string) =>
  checked((text) => {
    if (!text.startsWith(prefix) || !/^[0-9a-fA-F]{64}$/.test(text.slice(prefix.length))) {
      throw new RangeError(`must be ${prefix}HEX of 64 digits, is ${JSON.stringify(text)}`);
    }
  });
