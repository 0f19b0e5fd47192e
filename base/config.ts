// Reading a process's configuration: every variable typed, every mistake reported at once.
import { CocosError, messageOf } from "./errors.ts";
import { parseDuration } from "./duration.ts";

/** Parser of one variable: text in, value out, or a throw whose message says what is wrong. */
export type Field<T> = {
  /** Default as text; `undefined` makes the variable required. */
  readonly fallback: string | undefined;
  readonly parse: (text: string) => T;
};

/** Values of a set of fields. */
export type Values<F extends Record<string, Field<unknown>>> = {
  readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never;
};

/** Where texts come from: an environment, or a parsed file. */
export type Source = (name: string) => string | undefined;

/**
 * Reads all fields; a field's key is the variable's name.
 *
 * @throws {CocosError} `invalid-config` that names every wrong variable, not only the first.
 */
export function readConfig<F extends Record<string, Field<unknown>>>(
  fields: F,
  source: Source,
): Values<F> {
  const values: Record<string, unknown> = {};
  const mistakes: string[] = [];
  for (const [name, field] of Object.entries(fields)) {
    const text = source(name) ?? field.fallback;
    if (text === undefined) {
      mistakes.push(`${name}: is required and not set`);
      continue;
    }
    try {
      values[name] = field.parse(text);
    } catch (error) {
      mistakes.push(`${name}: ${messageOf(error)}`);
    }
  }
  if (mistakes.length > 0) {
    throw new CocosError(
      "invalid-config",
      `Cannot start: ${mistakes.length} setting(s) are wrong:\n  ${mistakes.join("\n  ")}`,
      { hint: "Correct the variables named above and start again." },
    );
  }
  return values as Values<F>;
}

/** Shows a rejected text without flooding the terminal or carrying control characters. */
function shown(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

/** One line of printable text of at most `max` characters (default 4,096). */
export function text(fallback?: string, max = 4096): Field<string> {
  return {
    fallback,
    parse: (value) => {
      // deno-lint-ignore no-control-regex
      if (value.length > max || /[\x00-\x1f\x7f]/.test(value)) {
        throw new RangeError(
          `must be one line of at most ${max} printable characters, is ${shown(value)}`,
        );
      }
      return value;
    },
  };
}

/** A whole number within bounds, both included. */
export function integer(min: number, max: number, fallback?: string): Field<number> {
  return {
    fallback,
    parse: (value) => {
      const number = Number(value);
      if (!/^-?\d{1,15}$/.test(value) || number < min || number > max) {
        throw new RangeError(
          `must be a whole number from ${min} to ${max}, is ${shown(value)}`,
        );
      }
      return number;
    },
  };
}

/** A decimal number within bounds, both included. */
export function decimal(min: number, max: number, fallback?: string): Field<number> {
  return {
    fallback,
    parse: (value) => {
      const number = Number(value);
      if (!/^-?\d{1,15}(\.\d{1,15})?$/.test(value) || number < min || number > max) {
        throw new RangeError(`must be a number from ${min} to ${max}, is ${shown(value)}`);
      }
      return number;
    },
  };
}

/** A Boolean in the words Go's strconv.ParseBool takes. */
export function boolean(fallback?: string): Field<boolean> {
  return {
    fallback,
    parse: (value) => {
      if (/^(1|t|T|TRUE|true|True)$/.test(value)) return true;
      if (/^(0|f|F|FALSE|false|False)$/.test(value)) return false;
      throw new RangeError(`must be true or false, is ${shown(value)}`);
    },
  };
}

/** One of a closed list of words. */
export function oneOf<const W extends string>(words: readonly W[], fallback?: W): Field<W> {
  return {
    fallback,
    parse: (value) => {
      const word = words.find((each) => each === value);
      if (word === undefined) {
        throw new RangeError(`must be one of ${words.join(", ")}, is ${shown(value)}`);
      }
      return word;
    },
  };
}

/** A Go duration text; the value is in milliseconds. */
export function duration(fallback?: string): Field<number> {
  return { fallback, parse: parseDuration };
}

/** A field that may be absent or empty: the value is then `undefined`. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return {
    fallback: field.fallback ?? "",
    parse: (value) => (value === "" ? undefined : field.parse(value)),
  };
}

/** Host and port of a network peer. */
export interface Endpoint {
  /** A name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

/**
 * Parses `host:port`: letters, digits, dots and dashes, or a bracketed IPv6 address without zone;
 * no scheme, no user, no path, no comma (threats H-4; a comma would widen a permission list).
 *
 * @throws {RangeError} that shows the text.
 */
export function parseEndpoint(value: string): Endpoint {
  const parts =
    /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)):(\d{1,5})$/
      .exec(value);
  const port = Number(parts?.[3]);
  if (parts === null || port < 1 || port > 65535) {
    throw new RangeError(`must be host:port without scheme, is ${shown(value)}`);
  }
  return { host: (parts[1] ?? parts[2]) as string, port };
}

/** An {@linkcode Endpoint} field. */
export function endpoint(fallback?: string): Field<Endpoint> {
  return { fallback, parse: parseEndpoint };
}

/** `host:port` text of an endpoint, IPv6 in brackets. */
export function formatEndpoint({ host, port }: Endpoint): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
