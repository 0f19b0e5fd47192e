// JSON (RFC 8259), strictly and without loss: duplicate names refused, integers of any size kept
// exact, every value knows its line and its bytes. Policies, collateral and tokens come through here.
import { CocosError } from "../base/mod.ts";

/** A value with the place it was written at. */
export type Json = JsonScalar | JsonArray | JsonObject;

interface Place {
  /** Line of the first character, from 1. */
  readonly line: number;
  /** Offsets of the first character and past the last, in UTF-16 units of the text. */
  readonly start: number;
  readonly end: number;
}

/** A scalar; integers are bigint, other numbers are number. */
export interface JsonScalar extends Place {
  readonly kind: "string" | "integer" | "number" | "boolean" | "null";
  readonly value: string | bigint | number | boolean | null;
}

/** An array. */
export interface JsonArray extends Place {
  readonly kind: "array";
  readonly items: readonly Json[];
}

/** An object; names in the order of the text. */
export interface JsonObject extends Place {
  readonly kind: "object";
  readonly members: ReadonlyMap<string, Json>;
}

/** Bounds on a text; the defaults fit every document of this folder. */
export interface JsonLimits {
  /** UTF-16 units, 1 MiB by default. */
  readonly characters?: number;
  /** Nesting, 32 by default: a recursive reader needs one. */
  readonly depth?: number;
}

/** Values of one text: an allow-list of a whole system has 300,000, and each takes some 200 bytes. */
const MAX_VALUES = 1_000_000;

/**
 * Parses a whole text.
 *
 * @throws {CocosError} `invalid-argument` with the line.
 */
export function parseJson(text: string, what: string, limits: JsonLimits = {}): Json {
  const parser = new Parser(text, what, limits.depth ?? 32);
  if (text.length > (limits.characters ?? 1024 * 1024)) throw parser.fault("the text is too long");
  return parser.document();
}

class Parser {
  readonly #text: string;
  readonly #what: string;
  readonly #depth: number;
  #at = 0;
  #line = 1;
  #values = 0;

  constructor(text: string, what: string, depth: number) {
    this.#text = text;
    this.#what = what;
    this.#depth = depth;
  }

  document(): Json {
    this.#space();
    if (this.#at === this.#text.length) throw this.fault("the text is empty");
    const value = this.#value(0);
    this.#space();
    if (this.#at !== this.#text.length) throw this.fault("something follows the value");
    return value;
  }

  fault(reason: string): CocosError {
    return new CocosError(
      "invalid-argument",
      `Cannot read ${this.#what}: line ${this.#line}: ${reason}`,
    );
  }

  #space(): void {
    for (;;) {
      const character = this.#text[this.#at];
      if (character === "\n") this.#line++;
      else if (character !== " " && character !== "\t" && character !== "\r") return;
      this.#at++;
    }
  }

  #value(depth: number): Json {
    if (depth > this.#depth) throw this.fault(`more than ${this.#depth} levels`);
    if (++this.#values > MAX_VALUES) throw this.fault(`more than ${MAX_VALUES} values`);
    const start = this.#at;
    const line = this.#line;
    const place = () => ({ line, start, end: this.#at });
    const character = this.#text[start];
    if (character === "{") {
      const members = this.#members(depth);
      return Object.freeze({ kind: "object", members, ...place() });
    }
    if (character === "[") {
      const items = this.#items(depth);
      return Object.freeze({ kind: "array", items, ...place() });
    }
    if (character === '"') {
      const value = this.#string();
      return Object.freeze({ kind: "string", value, ...place() });
    }
    for (const [word, value] of [["true", true], ["false", false], ["null", null]] as const) {
      if (!this.#text.startsWith(word, start)) continue;
      this.#at += word.length;
      return Object.freeze({ kind: value === null ? "null" : "boolean", value, ...place() });
    }
    return this.#number(place);
  }

  #number(place: () => Place): Json {
    const pattern = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null || found[0].length > 64) throw this.fault("a value is due");
    this.#at += found[0].length;
    if (found[1] === undefined && found[2] === undefined) {
      return Object.freeze({ kind: "integer", value: BigInt(found[0]), ...place() });
    }
    const value = Number(found[0]);
    if (!Number.isFinite(value)) throw this.fault("a number is too large");
    return Object.freeze({ kind: "number", value, ...place() });
  }

  #members(depth: number): ReadonlyMap<string, Json> {
    const members = new Map<string, Json>();
    this.#at++;
    this.#space();
    if (this.#take("}")) return members;
    do {
      this.#space();
      if (this.#text[this.#at] !== '"') throw this.fault("a name in quotes is due");
      const name = this.#string();
      if (members.has(name)) throw this.fault(`${JSON.stringify(name)} stands twice`);
      this.#space();
      if (!this.#take(":")) throw this.fault(`a colon is due after ${JSON.stringify(name)}`);
      this.#space();
      members.set(name, this.#value(depth + 1));
      this.#space();
    } while (this.#take(","));
    if (!this.#take("}")) throw this.fault("a comma or } is due");
    return members;
  }

  #items(depth: number): readonly Json[] {
    const items: Json[] = [];
    this.#at++;
    this.#space();
    if (this.#take("]")) return items;
    do {
      this.#space();
      items.push(this.#value(depth + 1));
      this.#space();
    } while (this.#take(","));
    if (!this.#take("]")) throw this.fault("a comma or ] is due");
    return Object.freeze(items);
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #string(): string {
    const start = this.#at;
    for (;;) {
      this.#at++;
      const character = this.#text[this.#at];
      if (character === undefined || character < " ") throw this.fault("a string is not closed");
      if (character === "\\") this.#at++;
      if (character === '"') break;
    }
    this.#at++;
    try {
      const value: string = JSON.parse(this.#text.slice(start, this.#at));
      if (!value.isWellFormed()) throw new SyntaxError("a lone surrogate");
      return value;
    } catch (cause) {
      throw new CocosError(
        "invalid-argument",
        `Cannot read ${this.#what}: line ${this.#line}: a string has a wrong escape`,
        { cause },
      );
    }
  }
}

/** The exact text of a value, as it was signed or sent. */
export function sliceOf(text: string, value: Json): string {
  return text.slice(value.start, value.end);
}

/** Fields of an object, each read by name and kind; {@linkcode Fields.end} refuses unknown names. */
export class Fields {
  readonly #object: JsonObject;
  readonly #what: string;
  readonly #path: string;
  readonly #read = new Set<string>();

  constructor(json: Json, what: string, path = "") {
    if (json.kind !== "object") throw wrong(what, json, `${path || "the text"} must be an object`);
    this.#object = json;
    this.#what = what;
    this.#path = path;
  }

  /** Line of the object. */
  get line(): number {
    return this.#object.line;
  }

  /** Dotted path of a field. */
  path(name: string): string {
    return this.#path === "" ? name : `${this.#path}.${name}`;
  }

  /** The raw value, if present. */
  get(name: string): Json | undefined {
    this.#read.add(name);
    return this.#object.members.get(name);
  }

  /** An error at a field, or at the object when the field is absent. */
  fault(name: string, reason: string): CocosError {
    const at = this.#object.members.get(name) ?? this.#object;
    return wrong(this.#what, at, `${this.path(name)} ${reason}`);
  }

  string(name: string): string | undefined {
    return this.#scalar(name, "string", "a string") as string | undefined;
  }

  boolean(name: string): boolean | undefined {
    return this.#scalar(name, "boolean", "true or false") as boolean | undefined;
  }

  /** An integer within bounds, both included. */
  integer(name: string, min: number, max: number): number | undefined {
    const value = this.#scalar(name, "integer", `a whole number from ${min} to ${max}`);
    if (value === undefined) return undefined;
    if ((value as bigint) < BigInt(min) || (value as bigint) > BigInt(max)) {
      throw this.fault(name, `must be a whole number from ${min} to ${max}, is ${value}`);
    }
    return Number(value);
  }

  object(name: string): Fields | undefined {
    const json = this.get(name);
    return json === undefined ? undefined : new Fields(json, this.#what, this.path(name));
  }

  array(name: string): readonly Json[] | undefined {
    const json = this.get(name);
    if (json === undefined) return undefined;
    if (json.kind !== "array") throw this.fault(name, "must be a list");
    return json.items;
  }

  /** The value, which must be there. */
  required<T>(name: string, value: T | undefined): T {
    if (value === undefined) throw this.fault(name, "is missing");
    return value;
  }

  /** Names not read so far. */
  unread(): string[] {
    return [...this.#object.members.keys()].filter((name) => !this.#read.has(name));
  }

  /** @throws {CocosError} `invalid-argument` when a name was not read. */
  end(): void {
    const [name] = this.unread();
    if (name !== undefined) throw this.fault(name, "is not a known name");
  }

  #scalar(name: string, kind: string, form: string): unknown {
    const json = this.get(name);
    if (json === undefined) return undefined;
    if (json.kind !== kind) throw this.fault(name, `must be ${form}`);
    return (json as JsonScalar).value;
  }
}

function wrong(what: string, at: Place, reason: string): CocosError {
  return new CocosError("invalid-argument", `Cannot read ${what}: line ${at.line}: ${reason}`);
}

/** Plain JavaScript value of a parsed text; integers beyond 2^53 stay bigint. */
export function plain(json: Json): unknown {
  if (json.kind === "array") return json.items.map(plain);
  if (json.kind === "object") {
    return Object.fromEntries([...json.members].map(([name, each]) => [name, plain(each)]));
  }
  if (json.kind !== "integer") return json.value;
  const value = json.value as bigint;
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? Number(value)
    : value;
}
