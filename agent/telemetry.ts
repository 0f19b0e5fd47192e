// What the agent says: log lines on stdout and to the management server, state events to the server.
// Nothing a party or an algorithm owns may be in it (threats S-6, R7).
import { create, toJsonString } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type Level, LEVELS } from "../base/mod.ts";
import { cvms, events } from "../proto/mod.ts";
import { Outbox, outgoing } from "./outbox.ts";

/** Longest message of one AgentLog in bytes (wire.md §4.3). */
export const LOG_BYTES = 500;

/** Most warning events a second that the algorithm's output may cause; ten of all kinds may go out. */
const WARNINGS_PER_SECOND = 5;

/** Status words of events (wire.md §4.2). */
export type EventStatus =
  | "IdleState"
  | "InProgress"
  | "Starting"
  | "Warning"
  | "Ready"
  | "Completed"
  | "Failed"
  | "Stopped"
  | "Terminated";

/** Where lines go besides the server. */
export type Print = (line: string) => void;

/** The voice of one agent. */
export class Telemetry {
  readonly outbox: Outbox;
  /** Put into every line and event; empty until a manifest is accepted. */
  computationId = "";
  readonly #lowest: number;
  readonly #print: Print;
  #warnings = { second: 0, count: 0 };

  constructor(level: Level, print: Print = toStdout) {
    this.#lowest = LEVELS.indexOf(level);
    this.#print = print;
    this.outbox = new Outbox((count) =>
      outgoing({
        case: "agentLog",
        value: this.#line("warn", `${count} messages were dropped while nobody took them`),
      })
    );
  }

  /** Logs a message; a long one goes out in pieces. */
  log(level: Level, message: string): void {
    if (LEVELS.indexOf(level) < this.#lowest) return;
    for (const piece of pieces(clean(message), LOG_BYTES)) {
      const value = this.#line(level, piece);
      const { computationId, level: word, timestamp } = value;
      const shown = create(events.EventsLogsSchema, {
        message: {
          case: "agentLog",
          value: {
            message: piece,
            computationId,
            level: word,
            ...(timestamp === undefined ? {} : { timestamp }),
          },
        },
      });
      this.#print(toJsonString(events.EventsLogsSchema, shown) + "\n");
      this.outbox.push(outgoing({ case: "agentLog", value }));
    }
  }

  /** Sends a line the algorithm printed, where the manifest lets the server see it; never to stdout. */
  printed(line: string): void {
    for (const piece of pieces(`algorithm ${clean(line)}`, LOG_BYTES)) {
      this.outbox.push(outgoing({ case: "agentLog", value: this.#line("info", piece) }));
    }
  }

  /**
   * Sends an event; `type` is the state's name or a special one.
   *
   * @param details go out as JSON; nothing of a party's or an algorithm's may be in them
   */
  event(type: string, status: EventStatus, details?: Record<string, unknown>): void {
    const value = create(cvms.AgentEventSchema, {
      eventType: type,
      timestamp: timestampFromMs(Date.now()),
      computationId: this.computationId,
      originator: "agent",
      status,
      ...(details === undefined
        ? {}
        : { details: new TextEncoder().encode(JSON.stringify(details)) }),
    });
    this.outbox.push(outgoing({ case: "agentEvent", value }));
  }

  /** Says that the algorithm wrote to its standard error; at most so often a second. */
  warning(now = performance.now()): void {
    const second = Math.floor(now / 1_000);
    if (second !== this.#warnings.second) this.#warnings = { second, count: 0 };
    if (++this.#warnings.count <= WARNINGS_PER_SECOND) this.event("AlgorithmRun", "Warning");
  }

  #line(level: Level, message: string): cvms.AgentLog {
    return create(cvms.AgentLogSchema, {
      message,
      computationId: this.computationId,
      level: level.toUpperCase(),
      timestamp: timestampFromMs(Date.now()),
    });
  }
}

/** Cuts a text into pieces of at most `max` bytes of UTF-8, never inside a character. */
export function pieces(text: string, max: number): string[] {
  const buffer = new Uint8Array(max);
  const encoder = new TextEncoder();
  const cut: string[] = [];
  let rest = text;
  do {
    const { read } = encoder.encodeInto(rest, buffer);
    cut.push(rest.slice(0, read));
    rest = rest.slice(read);
  } while (rest !== "");
  return cut;
}

/** One line without control characters: texts of peers come in here (threats S-5). */
function clean(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.toWellFormed().replace(/[\x00-\x1f\x7f-\x9f]+/g, " ");
}

const encoder = new TextEncoder();

function toStdout(line: string): void {
  let rest = encoder.encode(line);
  while (rest.length > 0) rest = rest.subarray(Deno.stdout.writeSync(rest));
}
