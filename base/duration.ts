// Durations as Go's time.ParseDuration reads and time.Duration.String writes them: the wire, the
// flags and the variables of the Go peers use that text.
import { CocosError } from "./errors.ts";

const UNIT_MS: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3,
  "μs": 1e-3,
  ms: 1,
  s: 1e3,
  m: 6e4,
  h: 36e5,
};

/** Longest duration we take, one year: a timer past 2^31 ms fires at once in JavaScript. */
export const MAX_DURATION_MS = 365 * 24 * 36e5;

/**
 * Milliseconds of a Go duration text such as `1h0m0s`, `25s`, `500ms`.
 *
 * @throws {CocosError} `invalid-argument` for other text, a negative value, or more than a year.
 */
export function parseDuration(text: string): number {
  if (text === "0") return 0;
  let rest = text;
  let ms = 0;
  while (rest !== "") {
    const part = /^(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/.exec(rest);
    if (part === null) throw invalid(text);
    ms += Number(part[1]) * (UNIT_MS[part[2] as string] as number);
    rest = rest.slice(part[0].length);
  }
  if (text === "" || !Number.isFinite(ms) || ms > MAX_DURATION_MS) throw invalid(text);
  return ms;
}

function invalid(text: string): CocosError {
  return new CocosError(
    "invalid-argument",
    `time: invalid duration ${JSON.stringify(text.slice(0, 64))}`,
    { hint: "Write a duration such as 25s, 10m or 1h30m, at most one year." },
  );
}

/** Go's text of a duration given in milliseconds (`1h0m0s`, `1.5s`, `25ms`, `0s`). */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  if (ms < 1e-3) return `${Math.round(ms * 1e6)}ns`;
  if (ms < 1) return `${trim(ms * 1e3)}µs`;
  if (ms < 1e3) return `${trim(ms)}ms`;
  const whole = Math.floor(ms / 1e3);
  const seconds = `${trim((whole % 60) + (ms / 1e3 - whole))}s`;
  if (whole < 60) return seconds;
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  return hours > 0 ? `${hours}h${minutes}m${seconds}` : `${minutes}m${seconds}`;
}

function trim(value: number): string {
  return String(Number(value.toFixed(6)));
}
