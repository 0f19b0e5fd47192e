// Forms of values in a policy file: each reads strictly and writes back what it read. The file comes
// from a person or a party; a mistake is refused with its line, never guessed around (threat A-11).
import { CocosError } from "../../base/mod.ts";
import { Fields, type Json } from "../json.ts";
import { ANY, type OrAny } from "../verdict.ts";
import { SESSION } from "../rules.ts";

/** How one kind of value is read and written. */
export interface Form<T> {
  /** @throws {CocosError} `invalid-argument` with path and line. */
  read(json: Json, path: string): T;
  /** A plain JSON value. */
  write(value: T): unknown;
}

/** A field of a record: its form, and what it is when the file does not say. */
export interface Member<T> {
  readonly form: Form<T>;
  /** Absent: the file must say it. */
  readonly fallback?: { readonly value: T } | undefined;
}

const WHAT = "a policy";

/** An error at a value. */
export function wrong(json: Json, path: string, reason: string): CocosError {
  return new CocosError(
    "invalid-argument",
    `Cannot read ${WHAT}: line ${json.line}: ${path} ${reason}`,
    {
      hint: "Correct this line; `policy explain` shows what a policy asks for.",
    },
  );
}

/** A field that must be there. */
export function must<T>(form: Form<T>): Member<T> {
  return { form };
}

/** A field with a default. */
export function may<T>(form: Form<T>, value: T): Member<T> {
  return { form, fallback: { value } };
}

function simple<T>(read: (json: Json, path: string) => T): Form<T> {
  return { read, write: (value) => value };
}

/** Text of a string value. */
function textOf(json: Json, path: string, due: string): string {
  if (json.kind !== "string") throw wrong(json, path, `must be ${due}`);
  return json.value as string;
}

/** Lower-case hex of that many bytes; upper case is read, too. */
export function hex(bytes: number): Form<string> {
  return simple((json, path) => {
    const due = `hex of ${bytes} bytes`;
    const text = textOf(json, path, due).toLowerCase();
    if (!/^[0-9a-f]*$/.test(text) || text.length !== 2 * bytes) {
      throw wrong(json, path, `must be ${due}, has ${text.length / 2}`);
    }
    return text;
  });
}

/** The word `any`, or the form. */
export function orAny<T>(form: Form<T>): Form<OrAny<T>> {
  return {
    read: (json, path) =>
      json.kind === "string" && json.value === ANY ? ANY : form.read(json, path),
    write: (value) => value === ANY ? ANY : form.write(value as T),
  };
}

/** A list of at least one value; a value alone stands for a list of one. */
export function list<T>(form: Form<T>, least = 1): Form<readonly T[]> {
  return {
    read: (json, path) => {
      if (json.kind !== "array") return Object.freeze([form.read(json, path)]);
      if (json.items.length < least) {
        throw wrong(json, path, "must not be empty: write a value, or any");
      }
      if (json.items.length > 1024) throw wrong(json, path, "has more than 1024 values");
      return Object.freeze(json.items.map((each, at) => form.read(each, `${path}[${at}]`)));
    },
    write: (value) => value.map((each) => form.write(each)),
  };
}

/** `session`, `any`, or hex of that many bytes. */
export function boundHex(bytes: number): Form<string> {
  const fixed = hex(bytes);
  return simple((json, path) =>
    json.kind === "string" && (json.value === SESSION || json.value === ANY)
      ? json.value as string
      : fixed.read(json, path)
  );
}

/** A whole number within bounds. */
export function whole(min: number, max: number): Form<number> {
  return simple((json, path) => {
    const value = json.kind === "integer" ? json.value as bigint : undefined;
    if (value === undefined || value < BigInt(min) || value > BigInt(max)) {
      throw wrong(json, path, `must be a whole number from ${min} to ${max}`);
    }
    return Number(value);
  });
}

/** One of a closed list of words. */
export function word<const W extends string>(words: readonly W[]): Form<W> {
  return simple((json, path) => {
    const found = words.find((each) => json.kind === "string" && each === json.value);
    if (found === undefined) throw wrong(json, path, `must be one of ${words.join(", ")}`);
    return found;
  });
}

/** `on`, `off` or `any`. */
export const FLAG: Form<"on" | "off" | typeof ANY> = word(["on", "off", ANY]);

/** Text that matches a pattern. */
export function pattern(shape: RegExp, due: string): Form<string> {
  return simple((json, path) => {
    const text = textOf(json, path, due);
    if (text.length > 1024 || !shape.test(text)) throw wrong(json, path, `must be ${due}`);
    return text;
  });
}

/** `major.minor`, each up to 255. */
export const VERSION: Form<string> = pattern(
  /^(25[0-5]|2[0-4]\d|1?\d?\d)\.(25[0-5]|2[0-4]\d|1?\d?\d)$/,
  "a version such as 1.55",
);

/** The word true and nothing else. */
export const TRUE: Form<true> = simple((json, path) => {
  if (json.kind !== "boolean" || json.value !== true) throw wrong(json, path, "must be true");
  return true;
});

/** A time in UTC such as 2026-12-31T00:00:00Z; milliseconds since 1970 in memory. */
export const TIME: Form<number> = {
  read: (json, path) => {
    const text = textOf(json, path, "a time such as 2026-12-31T00:00:00Z");
    const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) ? Date.parse(text) : NaN;
    if (Number.isNaN(ms)) throw wrong(json, path, "must be a time such as 2026-12-31T00:00:00Z");
    return ms;
  },
  write: (value) => new Date(value).toISOString().replace(".000Z", "Z"),
};

/** Type a table of members reads to. */
export type RecordOf<M extends Record<string, Member<unknown>>> = {
  readonly [K in keyof M]: M[K] extends Member<infer T> ? T : never;
};

/** An object with exactly these members; a member whose value is `undefined` is not written. */
export function record<M extends Record<string, Member<unknown>>>(members: M): Form<RecordOf<M>> {
  return {
    read: (json, path) => {
      if (json.kind !== "object") throw wrong(json, path, "must be an object");
      const fields = new Fields(json, WHAT, path);
      const result: Record<string, unknown> = {};
      for (const [name, member] of Object.entries(members)) {
        const value = fields.get(name);
        if (value !== undefined) result[name] = member.form.read(value, fields.path(name));
        else if (member.fallback === undefined) throw fields.fault(name, "is missing");
        else if (member.fallback.value !== undefined) result[name] = member.fallback.value;
      }
      fields.end();
      return Object.freeze(result) as RecordOf<M>;
    },
    write: (value) =>
      Object.fromEntries(
        Object.entries(members)
          .filter(([name]) => value[name as keyof M] !== undefined)
          .map(([name, member]) => [name, member.form.write(value[name as keyof M])]),
      ),
  };
}

/** An object whose names are keys of a kind. */
export function map<T>(
  name: RegExp,
  due: string,
  form: Form<T>,
): Form<Readonly<Record<string, T>>> {
  return {
    read: (json, path) => {
      if (json.kind !== "object") throw wrong(json, path, "must be an object");
      const result: Record<string, T> = {};
      for (const [key, value] of json.members) {
        if (!name.test(key)) throw wrong(value, `${path}.${key}`, `is no name here: ${due}`);
        result[key] = form.read(value, `${path}.${key}`);
      }
      return Object.freeze(result);
    },
    write: (value) =>
      Object.fromEntries(Object.entries(value).map(([key, each]) => [key, form.write(each)])),
  };
}
