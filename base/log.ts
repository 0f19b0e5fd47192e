// One JSON object a line, in the form of Go's slog JSON handler: the shape the Go programs print,
// so that the same tools read both.
import {
  configureSync,
  getLogger,
  type Logger,
  type LogLevel,
  type LogRecord,
} from "@logtape/logtape";

export type { Logger } from "@logtape/logtape";

/** Level words of the variables (`MANAGER_LOG_LEVEL`, `AGENT_LOG_LEVEL`, …). */
export const LEVELS = ["debug", "info", "warn", "error"] as const;

/** A level word. */
export type Level = (typeof LEVELS)[number];

const LOWEST: Record<Level, LogLevel> = {
  debug: "debug",
  info: "info",
  warn: "warning",
  error: "error",
};

/** slog's upper-case word of a record's level. */
export function levelWord(level: LogLevel): "DEBUG" | "INFO" | "WARN" | "ERROR" {
  switch (level) {
    case "trace":
    case "debug":
      return "DEBUG";
    case "info":
      return "INFO";
    case "warning":
      return "WARN";
    case "error":
    case "fatal":
      return "ERROR";
  }
}

/** Message text of a record. */
export function messageText(record: LogRecord): string {
  return record.message.map((part) => typeof part === "string" ? part : String(part)).join("");
}

/** The slog JSON line of a record, newline included; values are escaped by JSON (threats S-5). */
export function slogLine(record: LogRecord): string {
  const properties = Object.fromEntries(
    Object.entries(record.properties).map(([key, value]) => [
      key,
      value instanceof Error ? value.message : value,
    ]),
  );
  return JSON.stringify({
    time: new Date(record.timestamp).toISOString(),
    level: levelWord(record.level),
    msg: messageText(record),
    ...properties,
  }) + "\n";
}

/** Sends every log line of the process to `sink` (default: slog JSON on stdout). */
export function startLogging(level: Level, sink: (record: LogRecord) => void = toStdout): void {
  configureSync({
    reset: true,
    sinks: { main: sink },
    loggers: [
      { category: [], lowestLevel: LOWEST[level], sinks: ["main"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["main"] },
    ],
  });
}

const encoder = new TextEncoder();

function toStdout(record: LogRecord): void {
  Deno.stdout.writeSync(encoder.encode(slogLine(record)));
}

/** Logger of a room; `name` is the folder. */
export function logger(name: string): Logger {
  return getLogger(name);
}
