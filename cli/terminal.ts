// What people and programs see: data on stdout, people's text on stderr, JSON when asked for.
// Texts from peers are hostile and lose their control characters before a terminal sees them.
import { escaped } from "../base/mod.ts";

/** A stream that is written to. */
export interface Sink {
  write(text: string): void;
  readonly isTerminal: boolean;
}

/** Where a person answers. */
export interface Input {
  readonly isTerminal: boolean;
  /** The next line; nothing at the end. */
  line(): Promise<string | undefined>;
}

/** Marks shown on a terminal only. */
export interface Marks {
  readonly before?: string;
  readonly after?: string;
}

/** A line that shows how far a transfer is. */
export interface Progress {
  add(bytes: number): void;
  /** Ends the line; plain outputs get their one line now. */
  done(): void;
}

/** Options of a {@linkcode Terminal}. */
export interface TerminalOptions {
  readonly out: Sink;
  readonly err: Sink;
  /** Absent: nobody answers. */
  readonly input?: Input;
  readonly json: boolean;
  /** From NO_COLOR (no-color.org): set and not empty means no colour. */
  readonly color: boolean;
  /** Width of the terminal in columns. */
  readonly columns: number;
}

const GREEN = "\x1b[32m";
const RED = "\x1b[31m";
const PLAIN = "\x1b[0m";

/** Narrowest and widest bar, in columns. */
const MIN_BAR = 10;
const MAX_BAR = 100;

/** The outputs of one run. */
export class Terminal {
  readonly json: boolean;
  readonly #options: TerminalOptions;

  constructor(options: TerminalOptions) {
    this.json = options.json;
    this.#options = options;
  }

  /** Whether a person reads and answers here. */
  get interactive(): boolean {
    const { err, input } = this.#options;
    return !this.json && err.isTerminal && input?.isTerminal === true;
  }

  /** Asks a person; only the whole word `yes` is a yes. */
  async ask(question: string): Promise<boolean> {
    if (!this.interactive) return false;
    this.#options.err.write(question);
    return (await this.#options.input?.line())?.trim().toLowerCase() === "yes";
  }

  /** A line for people. */
  say(text: string, marks: Marks = {}): void {
    this.#line(text, marks, "");
  }

  /** A line that says it worked. */
  success(text: string, marks: Marks = {}): void {
    this.#line(text, marks, GREEN);
  }

  /** A line that says what failed; also shown beside JSON when there is no JSON for it. */
  failure(text: string, marks: Marks = {}): void {
    this.#line(text, marks, RED);
  }

  /** Data: to stdout; with `--json` the object, else the text. */
  data(text: string, object: Record<string, unknown>): void {
    if (this.json) this.result(object);
    else this.#options.out.write(`${text}\n`);
  }

  /** The one JSON object of a run; nothing without `--json`. */
  result(object: Record<string, unknown>): void {
    if (this.json) this.#options.out.write(`${JSON.stringify(object)}\n`);
  }

  /** A bar on a terminal, one line at the end elsewhere. `total` and amounts are in bytes. */
  progress(label: string, mark: string, total: number): Progress {
    const { err, columns } = this.#options;
    let sent = 0;
    let shown = -1;
    const draw = () => {
      const percent = total === 0 ? 100 : Math.min(100, Math.floor((sent / total) * 100));
      if (percent === shown) return;
      shown = percent;
      const room = columns - label.length - mark.length - 14;
      const width = Math.max(MIN_BAR, Math.min(MAX_BAR, room));
      const full = Math.floor((width * percent) / 100);
      const bar = "█".repeat(full) + "░".repeat(width - full);
      err.write(`\r${mark} ${label} [${bar}] [${percent}%]`);
    };
    const live = err.isTerminal && !this.json;
    if (live) draw();
    return {
      add: (bytes) => {
        sent += bytes;
        if (live) draw();
      },
      done: () => {
        if (live) err.write("\n");
        else this.say(`${label}: ${sent} bytes`);
      },
    };
  }

  #line(text: string, { before, after }: Marks, color: string): void {
    if (this.json) return;
    const { err } = this.#options;
    if (!err.isTerminal) {
      err.write(`${text}\n`);
      return;
    }
    const marked = (before === undefined ? "" : `${before} `) + text +
      (after === undefined ? "" : ` ${after} `);
    err.write(
      this.#options.color && color !== "" ? `${color}${marked}${PLAIN}\n` : `${marked}\n`,
    );
  }
}

/** A hostile text made fit for one line of a terminal; `max` is in characters. */
export function printable(text: string, max = 2_000): string {
  const cut = text.length > max ? `${text.slice(0, max)}…` : text;
  return escaped(cut);
}

/** The process's own outputs. */
export function processTerminal(json: boolean, noColor: string | undefined): Terminal {
  const encoder = new TextEncoder();
  const sink = (stream: typeof Deno.stdout): Sink => ({
    isTerminal: stream.isTerminal(),
    write: (text) => {
      const bytes = encoder.encode(text);
      for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
    },
  });
  const err = sink(Deno.stderr);
  let columns = 80;
  if (err.isTerminal) {
    try {
      columns = Deno.consoleSize().columns || 80;
    } catch { /* a terminal that does not know its width */ }
  }
  return new Terminal({
    out: sink(Deno.stdout),
    err,
    input: { isTerminal: Deno.stdin.isTerminal(), line: readLine },
    json,
    color: noColor === undefined || noColor === "",
    columns,
  });
}

/** Longest answer that is read, in bytes. */
const MAX_ANSWER = 1_024;

/** One line of standard input. */
async function readLine(): Promise<string | undefined> {
  const buffer = new Uint8Array(MAX_ANSWER);
  let filled = 0;
  while (filled < buffer.length) {
    const count = await Deno.stdin.read(buffer.subarray(filled));
    if (count === null) break;
    filled += count;
    if (buffer.subarray(0, filled).includes(0x0a)) break;
  }
  const text = new TextDecoder().decode(buffer.subarray(0, filled));
  return filled === 0 ? undefined : text.split("\n")[0];
}
