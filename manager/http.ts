// The manager's read-only HTTP door: is it alive, and how often was it asked. It knows no secrets and
// changes nothing; whoever reaches it is a stranger.
import { CocosError, messageOf } from "../base/mod.ts";
import { VERSION } from "./arguments.ts";

/** Methods that are counted; a fixed set, so that no caller can make labels (threats W-7). */
export const METHODS = ["CreateVM", "RemoveVM", "ReturnCVMInfo", "FetchAttestation"] as const;

/** A counted method. */
export type Method = typeof METHODS[number];

/** Counts calls and their time by method. */
export class Counters {
  readonly #of = new Map<Method, { count: number; failed: number; micros: number }>();

  /** Adds one finished call. */
  add(method: Method, ms: number, ok: boolean): void {
    const entry = this.#of.get(method) ?? { count: 0, failed: 0, micros: 0 };
    entry.count++;
    if (!ok) entry.failed++;
    entry.micros += Math.round(ms * 1000);
    this.#of.set(method, entry);
  }

  /** The Prometheus text format; the first two names are the Go manager's (wire.md §8.5). */
  text(vms: number): string {
    const rows = (
      name: string,
      value: (each: { count: number; failed: number; micros: number }) => number,
    ) =>
      METHODS.map((method) => {
        const entry = this.#of.get(method) ?? { count: 0, failed: 0, micros: 0 };
        return `${name}{method="${method}"} ${value(entry)}\n`;
      }).join("");
    return "# HELP manager_api_request_count Requests by method.\n" +
      "# TYPE manager_api_request_count counter\n" +
      rows("manager_api_request_count", (each) => each.count) +
      "# HELP manager_api_request_latency_microseconds Time spent on requests by method.\n" +
      "# TYPE manager_api_request_latency_microseconds summary\n" +
      rows("manager_api_request_latency_microseconds_sum", (each) => each.micros) +
      rows("manager_api_request_latency_microseconds_count", (each) => each.count) +
      "# HELP manager_api_request_failed_count Requests that ended with an error, by method.\n" +
      "# TYPE manager_api_request_failed_count counter\n" +
      rows("manager_api_request_failed_count", (each) => each.failed) +
      "# HELP manager_vms VMs that run.\n# TYPE manager_vms gauge\n" +
      `manager_vms ${vms}\n`;
  }
}

/** Answers one request. */
export function answer(
  request: Request,
  what: { readonly counters: Counters; readonly vms: () => number; readonly instanceId: string },
): Response {
  const { pathname } = new URL(request.url);
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("only GET\n", { status: 405, headers: { allow: "GET, HEAD" } });
  }
  switch (pathname) {
    case "/health":
      return new Response(
        `${
          JSON.stringify({
            status: "pass",
            version: VERSION,
            description: "manager service",
            instance_id: what.instanceId,
          })
        }\n`,
        { headers: { "content-type": "application/health+json", "cache-control": "no-store" } },
      );
    case "/metrics":
      return new Response(what.counters.text(what.vms()), {
        headers: { "content-type": "text/plain; version=0.0.4", "cache-control": "no-store" },
      });
    default:
      return new Response("not found\n", { status: 404 });
  }
}

/**
 * Starts the door.
 *
 * @throws {CocosError} `unavailable` when the address is taken.
 */
export function openHttp(
  { host, port }: { readonly host: string; readonly port: number },
  what: Parameters<typeof answer>[1],
): AsyncDisposable & { readonly port: number } {
  try {
    const server = Deno.serve(
      {
        hostname: host,
        port,
        onListen: () => {},
        onError: () => new Response(null, { status: 500 }),
      },
      (request) => answer(request, what),
    );
    return { port: server.addr.port, [Symbol.asyncDispose]: () => server.shutdown() };
  } catch (cause) {
    throw new CocosError("unavailable", `Cannot listen on ${host}:${port}: ${messageOf(cause)}`, {
      cause,
      hint: "Set MANAGER_HTTP_PORT to a free port, or to 0 for no HTTP listener.",
    });
  }
}
