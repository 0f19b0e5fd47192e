// What every command is given instead of reaching for globals.
import type { Source } from "../base/mod.ts";
import type { Terminal } from "./terminal.ts";

/** Surroundings of one run. */
export interface Context {
  readonly terminal: Terminal;
  /** The environment. */
  readonly env: Source;
  /** Fires when the person interrupts. */
  readonly signal: AbortSignal;
  /** The clock, milliseconds since 1970; the process's own unless a test gives another. */
  readonly now: () => number;
}
