// What an entry of the slow suite is, and how the figures of its goes are put together.

/** What one go of an entry saw. */
export interface Outcome {
  readonly runs: number;
  /** What went wrong, in words; empty when all is well. */
  readonly failures: readonly string[];
  readonly figures: Readonly<Record<string, number>>;
}

/** How a figure of several goes becomes one. */
export type Merge = "sum" | "max" | "min";

/** One thing that is done very often, or for very long. */
export interface Entry {
  /** Name on the command line and in the table. */
  readonly id: string;
  /** Lines of the threat model. */
  readonly lines: string;
  /** What must hold, and of what one run consists. */
  readonly title: string;
  /** Runs that are wanted in all. */
  readonly target: number;
  /** Runs of one go; a go should take a minute or two. */
  readonly batch: number;
  /** How figures are merged; a figure that is not named is summed. */
  readonly merge?: Readonly<Record<string, Merge>>;
  /** Does it `runs` times; what it does by chance follows from the seed. */
  run(runs: number, seed: number): Promise<Outcome>;
}

/** Everything that is known of an entry, from all goes. */
export interface Row {
  readonly runs: number;
  readonly failed: number;
  readonly seconds: number;
  readonly figures: Readonly<Record<string, number>>;
  /** The first failures, in words. */
  readonly failures: readonly string[];
}

/** A row before the first go. */
export const NOTHING: Row = { runs: 0, failed: 0, seconds: 0, figures: {}, failures: [] };

/** Most failures that are kept in words. */
const MAX_FAILURES = 5;

/** The row with one more go in it. */
export function merged(entry: Entry, row: Row, outcome: Outcome, seconds: number): Row {
  const figures: Record<string, number> = { ...row.figures };
  for (const [name, value] of Object.entries(outcome.figures)) {
    const before = figures[name];
    figures[name] = before === undefined
      ? value
      : MERGE[entry.merge?.[name] ?? "sum"](before, value);
  }
  return {
    runs: row.runs + outcome.runs,
    failed: row.failed + outcome.failures.length,
    seconds: row.seconds + seconds,
    figures,
    failures: [...row.failures, ...outcome.failures].slice(0, MAX_FAILURES),
  };
}

const MERGE: Record<Merge, (a: number, b: number) => number> = {
  sum: (a, b) => a + b,
  max: Math.max,
  min: Math.min,
};

/** A soak of a room, which runs as that room's tests do; see agent/_soaks.ts for the other end. */
export function soak(room: string, name: string): Entry["run"] {
  return async (runs, seed) => {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--no-prompt", "--no-check", "--cached-only", "-P=test"],
        ...["_soaks.ts", name, "--runs", String(runs), "--seed", String(seed)],
      ],
      cwd: new URL(`../../${room}/`, import.meta.url),
      env: { NO_COLOR: "1", COCOS_DENO: Deno.execPath() },
      stdin: "null",
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
    const line = text(stdout).split("\n").at(-1) ?? "";
    // A soak that died is a failure like any other, and its last words say where.
    if (!success) {
      return { runs, failures: [`it ended: ${text(stderr).slice(-2_000)}`], figures: {} };
    }
    return parse(JSON.parse(line));
  };
}

function parse(value: unknown): Outcome {
  const { runs, failures, figures } = value as Partial<Outcome>;
  if (typeof runs !== "number" || !Array.isArray(failures) || typeof figures !== "object") {
    throw new TypeError("a soak prints runs, failures and figures");
  }
  return { runs, failures: failures.map(String), figures };
}
