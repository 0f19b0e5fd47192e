// Canonical JSON (RFC 8785): the one text of a value, for digests and signatures that another
// language must be able to make from the page alone.
import { CocosError } from "../base/mod.ts";

/** What canonical JSON can hold here: no fractions, no nulls. */
export type Canonical =
  | string
  | boolean
  | number
  | readonly Canonical[]
  | { readonly [key: string]: Canonical };

/**
 * The canonical text: keys sorted by UTF-16 code units, no white space, ECMAScript's escapes and
 * numbers (RFC 8785 §3.2). Numbers must be whole and below 2^53.
 *
 * @throws {CocosError} `invalid-argument` for a number or a text that has no canonical form.
 */
export function canonicalJson(value: Canonical): string {
  switch (typeof value) {
    case "string":
      // RFC 8785 §3.2.2.2: a lone surrogate has no UTF-8 form.
      if (!value.isWellFormed()) throw noForm("a text with a lone surrogate");
      return JSON.stringify(value);
    case "boolean":
      return String(value);
    case "number":
      if (!Number.isSafeInteger(value)) throw noForm(`the number ${value}`);
      return String(value === 0 ? 0 : value);
    case "object": {
      if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
      const members = Object.entries(value as Record<string, Canonical>)
        .sort(([a], [b]) => a < b ? -1 : 1)
        .map(([key, each]) => `${canonicalJson(key)}:${canonicalJson(each)}`);
      return `{${members.join(",")}}`;
    }
  }
}

function noForm(what: string): CocosError {
  return new CocosError("invalid-argument", `Cannot write ${what} as canonical JSON`);
}
