// Lines the process prints: slog JSON, or lines for people. What agents send is hostile; it never
// reaches a terminal with its control characters (threats S-5).
import {
  escaped,
  type Level,
  levelWord,
  messageText,
  slogLine,
  startLogging,
} from "../base/mod.ts";

type Sink = NonNullable<Parameters<typeof startLogging>[1]>;
type LogRecord = Parameters<Sink>[0];

/** States of a computation in the order it goes through them (wire.md §4.1). */
export const STATES = [
  "Idle",
  "ReceivingManifest",
  "ReceivingAlgorithm",
  "ReceivingData",
  "Running",
  "ConsumingResults",
  "Complete",
] as const;

/** The JSON line of a record. */
export function jsonLine(record: LogRecord): string {
  return `${escaped(slogLine(record).trimEnd())}\n`;
}

/** The line of a record for people: time, level, message, then the properties. */
export function plainLine(record: LogRecord): string {
  const time = new Date(record.timestamp).toISOString().slice(11, 19);
  const { event, state } = record.properties;
  const words = Object.entries(record.properties)
    .filter(([, value]) => value !== "" && value !== undefined)
    .map(([key, value]) => `${key}=${escaped(shown(value))}`);
  const head = `${time} ${levelWord(record.level).padEnd(5)} ${escaped(messageText(record))}`;
  const line = [head, ...words].join("  ");
  const states = stateLine(String(event ?? state));
  return states === undefined ? `${line}\n` : `${line}\n         ${states}\n`;
}

/** The way of a computation with its present state marked; nothing for a word that is no state. */
export function stateLine(state: string): string | undefined {
  const way: string[] = STATES.some((each) => each === state)
    ? [...STATES]
    : state === "Failed"
    ? [...STATES.slice(0, 5), "Failed"]
    : [];
  if (way.length === 0) return undefined;
  return way.map((each) => each === state ? `[${each}]` : each).join(" → ");
}

/** Starts the process's log. */
export function startPrinting(
  level: Level,
  plain: boolean,
  write: (text: string) => void,
): void {
  const line = plain ? plainLine : jsonLine;
  startLogging(level, (record) => write(line(record)));
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value) ?? String(value);
}
