// Text form of protocol-buffer messages (the "textproto" of the seed's CLI): writer and strict reader
// over the tables of _proto.ts. The text comes from a file someone else may have written.
import { CocosError } from "../../base/mod.ts";
import { type FieldSpec, type Message, type Schema, sortedEntries, type Value } from "./_proto.ts";

/** A textproto of an attestation with a 64 KiB log, every byte escaped, is below 1 MiB. */
const MAX_TEXT = 8 * 1024 * 1024;
const MAX_DEPTH = 8;
const MAX_ELEMENTS = 256;

/** Writes a message as text, two spaces a level. */
export function format(schema: Schema, message: Message, indent = ""): string {
  let out = "";
  for (const spec of schema.fields.toSorted((left, right) => left.number - right.number)) {
    const value = message[spec.name];
    if (value === undefined || (spec.repeated !== true && isDefault(value))) continue;
    if (value instanceof Map) {
      for (const [key, each] of sortedEntries(value as ReadonlyMap<number | string, Uint8Array>)) {
        const text = typeof key === "number" ? String(key) : quoted(new TextEncoder().encode(key));
        out += `${indent}${spec.name}: {\n${indent}  key: ${text}\n`;
        out += `${indent}  value: ${quoted(each)}\n${indent}}\n`;
      }
      continue;
    }
    for (const each of spec.repeated === true ? value as readonly Value[] : [value as Value]) {
      if (typeof spec.kind === "object" && "message" in spec.kind) {
        out += `${indent}${spec.name}: {\n`;
        out += `${format(spec.kind.message, each as Message, `${indent}  `)}${indent}}\n`;
      } else {
        out += `${indent}${spec.name}: ${scalar(spec, each)}\n`;
      }
    }
  }
  return out;
}

/** Go leaves out what an absent field means anyway. */
function isDefault(value: Value): boolean {
  return value === 0 || value === 0n || value === "" ||
    (value instanceof Uint8Array && value.length === 0);
}

function scalar(spec: FieldSpec, value: Value): string {
  if (value instanceof Uint8Array) return quoted(value);
  if (typeof value === "string") return quoted(new TextEncoder().encode(value));
  if (typeof spec.kind === "object" && "words" in spec.kind) {
    return spec.kind.words[value as number] ?? String(value);
  }
  return String(value);
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

function quoted(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    if (byte === 0x22 || byte === 0x5c) text += "\\" + String.fromCharCode(byte);
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += "\\" + byte.toString(8).padStart(3, "0");
  }
  return `"${text}"`;
}

/** Reads a message. @throws {CocosError} `invalid-argument` with the line. */
export function parse(schema: Schema, text: string): Message {
  if (text.length > MAX_TEXT) {
    throw new CocosError("invalid-argument", `Cannot read ${schema.name}: the text is too long`);
  }
  const parser = new Parser(text, schema.name);
  const message = parser.message(schema, undefined, 0);
  return message;
}

const TOKEN = /[A-Za-z_][A-Za-z0-9_]*|-?(?:0[xX][0-9a-fA-F]+|[0-9]+)|[{}<>\[\]:;,]/y;

class Parser {
  readonly #text: string;
  readonly #what: string;
  #at = 0;

  constructor(text: string, what: string) {
    this.#text = text;
    this.#what = what;
    this.#gap();
  }

  message(schema: Schema, close: string | undefined, depth: number): Message {
    if (depth > MAX_DEPTH) throw this.#fault("messages are nested too deep");
    const message: Record<string, Value> = {};
    while (!this.#closes(close)) {
      const name = this.#token();
      const spec = schema.fields.find((each) => each.name === name);
      if (spec === undefined) {
        throw this.#fault(`${JSON.stringify(name)} is no field of ${schema.name}`);
      }
      const colon = this.#taken(":");
      if (spec.repeated === true && this.#taken("[")) {
        if (!this.#taken("]")) {
          do this.#add(message, spec, depth); while (this.#taken(","));
          if (!this.#taken("]")) throw this.#fault("] is due");
        }
      } else {
        if (!colon && !(typeof spec.kind === "object" && !("words" in spec.kind))) {
          throw this.#fault(": is due");
        }
        this.#add(message, spec, depth);
      }
      if (!this.#taken(",")) this.#taken(";");
    }
    return message;
  }

  #add(message: Record<string, Value>, spec: FieldSpec, depth: number): void {
    const { kind, name } = spec;
    if (typeof kind === "object" && "map" in kind) {
      const map = (message[name] ?? new Map()) as Map<number | string, Uint8Array>;
      const entry = this.#block({
        name: `an entry of ${name}`,
        fields: [
          { number: 1, name: "key", kind: kind.map },
          { number: 2, name: "value", kind: "bytes" },
        ],
      }, depth);
      const key = (entry["key"] ?? (kind.map === "u32" ? 0 : "")) as number | string;
      if (map.has(key)) throw this.#fault(`${name} has key ${key} twice`);
      if (map.size >= MAX_ELEMENTS) throw this.#fault(`${name} has too many entries`);
      map.set(key, (entry["value"] ?? new Uint8Array()) as Uint8Array);
      message[name] = map;
      return;
    }
    const value = this.#value(spec, depth);
    if (spec.repeated === true) {
      const list = (message[name] ?? []) as Value[];
      if (list.length >= MAX_ELEMENTS) throw this.#fault(`${name} has too many elements`);
      list.push(value);
      message[name] = list;
    } else {
      if (message[name] !== undefined) throw this.#fault(`${name} is given twice`);
      message[name] = value;
    }
  }

  #value({ kind, name }: FieldSpec, depth: number): Value {
    if (kind === "bytes") return this.#string();
    if (kind === "string") {
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.#string());
      } catch {
        throw this.#fault(`${name} is not UTF-8`);
      }
    }
    if (kind === "u32" || kind === "u64") return this.#number(kind, this.#token());
    if ("words" in kind) {
      const word = this.#token();
      const found = Object.entries(kind.words).find(([, each]) => each === word);
      return found === undefined ? this.#number("u32", word) : Number(found[0]);
    }
    if ("message" in kind) return this.#block(kind.message, depth);
    throw new CocosError("internal", "A map is not a single value");
  }

  #block(schema: Schema, depth: number): Message {
    const close = this.#taken("{") ? "}" : this.#taken("<") ? ">" : undefined;
    if (close === undefined) throw this.#fault("{ is due");
    return this.message(schema, close, depth + 1);
  }

  #number(kind: "u32" | "u64", word: string): number | bigint {
    const most = kind === "u32" ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
    const octal = /^0[0-9]/.test(word);
    if (!/^[0-9]/.test(word) || octal || word.length > 20 || BigInt(word) > most) {
      throw this.#fault(`${JSON.stringify(word)} is not a number of this field`);
    }
    return kind === "u32" ? Number(word) : BigInt(word);
  }

  /** One or more adjacent quoted strings, as bytes. */
  #string(): Uint8Array {
    const bytes: number[] = [];
    let count = 0;
    for (let quote = this.#text[this.#at]; quote === '"' || quote === "'"; count++) {
      this.#at++;
      this.#quoted(quote, bytes);
      this.#gap();
      quote = this.#text[this.#at];
    }
    if (count === 0) throw this.#fault("a quoted string is due");
    return Uint8Array.from(bytes);
  }

  #quoted(quote: string, bytes: number[]): void {
    for (;;) {
      const start = this.#at;
      const point = this.#text.codePointAt(this.#at);
      if (point === undefined || point === 0x0a) throw this.#fault("a string has no end");
      this.#at += point > 0xffff ? 2 : 1;
      const char = String.fromCodePoint(point);
      if (char === quote) return;
      if (char !== "\\") {
        if (point < 0x80) bytes.push(point);
        else for (const byte of new TextEncoder().encode(char)) bytes.push(byte);
        continue;
      }
      const escape = /[0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|[nrt"'\\]/y;
      escape.lastIndex = this.#at;
      const found = escape.exec(this.#text)?.[0];
      if (found === undefined) throw this.#fault("an escape is not known", start);
      this.#at += found.length;
      const first = found.charAt(0);
      const value = /[0-7]/.test(first)
        ? parseInt(found, 8)
        : /[xX]/.test(first)
        ? parseInt(found.slice(1), 16)
        : (ESCAPES[first] ?? first).charCodeAt(0);
      if (value > 0xff) throw this.#fault("an escape is above 255", start);
      bytes.push(value);
    }
  }

  #closes(close: string | undefined): boolean {
    if (close !== undefined) return this.#taken(close);
    return this.#at === this.#text.length;
  }

  #taken(mark: string): boolean {
    if (this.#text[this.#at] !== mark) return false;
    this.#at++;
    this.#gap();
    return true;
  }

  #token(): string {
    TOKEN.lastIndex = this.#at;
    const found = TOKEN.exec(this.#text)?.[0];
    if (found === undefined) throw this.#fault("a name or a value is due");
    this.#at += found.length;
    this.#gap();
    return found;
  }

  /** Skips blanks and comments. */
  #gap(): void {
    for (;;) {
      const char = this.#text[this.#at];
      if (char === "#") {
        const end = this.#text.indexOf("\n", this.#at);
        this.#at = end === -1 ? this.#text.length : end;
      } else if (char === " " || char === "\t" || char === "\r" || char === "\n") {
        this.#at++;
      } else return;
    }
  }

  #fault(why: string, at = this.#at): CocosError {
    const line = this.#text.slice(0, at).split("\n").length;
    return new CocosError("invalid-argument", `Cannot read ${this.#what}: line ${line}: ${why}`);
  }
}
