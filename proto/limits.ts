// Bounds of the wire, each with its reason.

/** Largest message either side takes: the gRPC default, which the Go peers keep (wire.md, head). */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/** Size of an upload, result or manifest chunk: what the Go programs send (wire.md §4.4–4.7). */
export const CHUNK_BYTES = 1024 * 1024;

/** Connections of one server: 100 parties with one each, health checks, and room (threats G-8). */
export const MAX_CONNECTIONS = 256;

/**
 * Connections of one address: all parties may come through one gateway, as they do through QEMU's user
 * network, but not every place is for them (threats G-8).
 */
export const MAX_CONNECTIONS_PER_PEER = 192;

/** Streams one connection may have open; a CLI uses one at a time. */
export const MAX_STREAMS = 64;

/** Header list of a call: role, signature of a 16,384-bit key, and 8 KiB of arguments fit. */
export const MAX_HEADER_BYTES = 16 * 1024;

/** Time a new connection has for its TLS handshake and HTTP/2 preface (threats G-8). */
export const HANDSHAKE_MS = 10_000;

/** A connection without any open stream is closed after this time. */
export const IDLE_CONNECTION_MS = 5 * 60_000;

/**
 * Streams that one connection may open within {@linkcode STREAM_RATE_WINDOW_MS}. Rapid reset
 * (CVE-2023-44487) opens and cancels thousands a second; honest parties need a few.
 */
export const MAX_STREAM_RATE = 1_000;

/** Window of {@linkcode MAX_STREAM_RATE}. */
export const STREAM_RATE_WINDOW_MS = 10_000;

/** Longest status text that goes on the wire, in characters: it travels as a header. */
export const MAX_STATUS_TEXT = 2_048;
