// What an algorithm prints, for those the manifest lets see it: a bounded tail for parties, slow lines
// for the server. The text is hostile: nothing in it steers a terminal or forges a line of somebody
// else's, and no amount of it costs memory or bandwidth (threats S-5, S-6).

/** Most bytes of the tail, in characters: about 800 lines. */
export const TAIL_CHARACTERS = 64 * 1024;

/** Longest line; a longer one goes on in the next. */
export const LINE_CHARACTERS = 400;

/** Messages a second the server gets, and how many at once after a silence. */
export const LINES_PER_SECOND = 10;
const BURST = 20;

/** A stream of the algorithm. */
export type Stream = "stdout" | "stderr";

/** Where an algorithm's output may go. */
export interface OutputOptions {
  /** Whether a tail is kept for parties. */
  readonly keeps: boolean;
  /** Told a line for the server; absent, it gets none. */
  readonly tell?: (line: string) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

/** The tail as a party gets it. */
export interface Tail {
  /** Lines, the newest last. */
  readonly text: string;
  /** Bytes that are not in it any more, or never were. */
  readonly dropped: number;
}

/** The output of one run. */
export class Output {
  readonly #options: OutputOptions;
  readonly #decoders: Record<Stream, TextDecoder> = {
    stdout: new TextDecoder(),
    stderr: new TextDecoder(),
  };
  readonly #open: Record<Stream, string> = { stdout: "", stderr: "" };
  readonly #lines: string[] = [];
  #characters = 0;
  /** Bytes that were taken, and those that came too fast to be. */
  #taken = 0;
  #dropped = 0;
  #tokens = BURST;
  #refilled: number;
  #withheld = 0;

  constructor(options: OutputOptions) {
    this.#options = options;
    this.#refilled = this.#now();
  }

  /** Takes a piece of what was printed; cut anywhere. */
  take(stream: Stream, data: Uint8Array): void {
    this.#taken += data.length;
    if (!this.#options.keeps && this.#options.tell === undefined) return;
    const parts = (this.#open[stream] + this.#decoders[stream].decode(data, { stream: true }))
      .split("\n");
    this.#open[stream] = parts.pop() as string;
    for (const part of parts) this.#line(stream, part);
    while (this.#open[stream].length >= LINE_CHARACTERS) {
      const [head, rest] = cut(this.#open[stream]);
      this.#line(stream, head);
      this.#open[stream] = rest;
    }
  }

  /** Counts bytes that came too fast to be read here. */
  drop(bytes: number): void {
    this.#dropped += bytes;
  }

  /** The run is over: a last line needs no newline. */
  end(): void {
    for (const stream of ["stdout", "stderr"] as const) {
      const rest = this.#open[stream] + this.#decoders[stream].decode();
      this.#open[stream] = "";
      if (rest !== "") this.#line(stream, rest);
    }
    if (this.#withheld > 0) {
      this.#options.tell?.(`(${this.#withheld} more lines were printed too fast to be sent)`);
      this.#withheld = 0;
    }
  }

  /** What is kept. */
  tail(): Tail {
    this.#shorten();
    const text = this.#lines.join("\n");
    // With the newline of the last line, and lines that are not yet whole.
    const held = this.#options.keeps ? `${text}\n${this.#open.stdout}${this.#open.stderr}` : "";
    const { length } = new TextEncoder().encode(held);
    return { text, dropped: this.#dropped + Math.max(0, this.#taken - length) };
  }

  /** The last lines, at most so many and so long in all. */
  last(lines: number, characters: number): string {
    const text = this.#lines.slice(-lines).join("\n");
    return text.length <= characters ? text : `…${text.slice(-characters)}`.toWellFormed();
  }

  #line(stream: Stream, text: string): void {
    let rest = text;
    do {
      const [head, tail] = cut(rest);
      this.#add(stream, head);
      rest = tail;
    } while (rest !== "");
  }

  #add(stream: Stream, raw: string): void {
    const tell = this.#granted();
    if (!this.#options.keeps && tell === undefined) return;
    const text = plain(raw);
    if (this.#options.keeps) {
      this.#lines.push(text);
      this.#characters += text.length + 1;
      // Not one by one: to move all others up for each line would be most of the work.
      if (this.#characters > TAIL_CHARACTERS * 2) this.#shorten();
    }
    tell?.(`${stream}: ${text}`);
  }

  /** Where this line may go beside the tail; says first how many before it did not. */
  #granted(): ((line: string) => void) | undefined {
    const { tell } = this.#options;
    if (tell === undefined) return undefined;
    const now = this.#now();
    const earned = (now - this.#refilled) / 1_000 * LINES_PER_SECOND;
    this.#tokens = Math.min(BURST, this.#tokens + earned);
    this.#refilled = now;
    const messages = this.#withheld > 0 ? 2 : 1;
    if (this.#tokens < messages) {
      this.#withheld++;
      return undefined;
    }
    this.#tokens -= messages;
    if (this.#withheld > 0) tell(`(${this.#withheld} lines were printed too fast to be sent)`);
    this.#withheld = 0;
    return tell;
  }

  #shorten(): void {
    let gone = 0;
    while (this.#characters > TAIL_CHARACTERS) {
      this.#characters -= (this.#lines[gone++] as string).length + 1;
    }
    this.#lines.splice(0, gone);
  }

  #now(): number {
    return (this.#options.now ?? (() => performance.now()))();
  }
}

/** A line's first piece and the rest, never cut inside a surrogate pair. */
function cut(text: string): [string, string] {
  if (text.length <= LINE_CHARACTERS) return [text, ""];
  const inside = (text.charCodeAt(LINE_CHARACTERS - 1) & 0xfc00) === 0xd800;
  const at = inside ? LINE_CHARACTERS - 1 : LINE_CHARACTERS;
  return [text.slice(0, at), text.slice(at)];
}

/**
 * A line without what a terminal, a log viewer or a reader's eye would obey: control characters
 * (C0, C1), line and paragraph separators, and marks that turn the direction of text around.
 */
export function plain(line: string): string {
  return line.toWellFormed().replace(
    // deno-lint-ignore no-control-regex
    /[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    "\ufffd",
  );
}
