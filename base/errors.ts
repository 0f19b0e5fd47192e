// The one domain error and the table that gives each code its gRPC status and its exit code.

/** gRPC status numbers (grpc/grpc doc/statuscodes.md). */
export const Status = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** A gRPC status number. */
export type Status = (typeof Status)[keyof typeof Status];

/** Exit codes of every program of the house. */
export const Exit = {
  OK: 0,
  FAILURE: 1,
  USAGE: 2,
  NOT_FOUND: 3,
  DENIED: 4,
  UNTRUSTED: 5,
  WRONG_STATE: 6,
  TIMEOUT: 7,
  INTERRUPTED: 130,
} as const;

/** An exit code. */
export type Exit = (typeof Exit)[keyof typeof Exit];

/** Code of an error → what goes on the wire, what the shell sees. */
const TABLE = {
  "invalid-argument": [Status.INVALID_ARGUMENT, Exit.USAGE],
  "invalid-config": [Status.INVALID_ARGUMENT, Exit.USAGE],
  "invalid-manifest": [Status.INVALID_ARGUMENT, Exit.FAILURE],
  "invalid-key": [Status.INVALID_ARGUMENT, Exit.FAILURE],
  "invalid-archive": [Status.INVALID_ARGUMENT, Exit.FAILURE],
  "digest-mismatch": [Status.INVALID_ARGUMENT, Exit.FAILURE],
  "name-mismatch": [Status.INVALID_ARGUMENT, Exit.FAILURE],
  "undeclared-item": [Status.PERMISSION_DENIED, Exit.DENIED],
  "unauthenticated": [Status.UNAUTHENTICATED, Exit.DENIED],
  "permission-denied": [Status.PERMISSION_DENIED, Exit.DENIED],
  "untrusted": [Status.FAILED_PRECONDITION, Exit.UNTRUSTED],
  "wrong-state": [Status.FAILED_PRECONDITION, Exit.WRONG_STATE],
  "conflict": [Status.ABORTED, Exit.WRONG_STATE],
  "already-exists": [Status.ALREADY_EXISTS, Exit.FAILURE],
  "not-found": [Status.NOT_FOUND, Exit.NOT_FOUND],
  "out-of-range": [Status.OUT_OF_RANGE, Exit.FAILURE],
  "too-large": [Status.RESOURCE_EXHAUSTED, Exit.FAILURE],
  "exhausted": [Status.RESOURCE_EXHAUSTED, Exit.FAILURE],
  "not-supported": [Status.UNIMPLEMENTED, Exit.FAILURE],
  "unavailable": [Status.UNAVAILABLE, Exit.FAILURE],
  "timeout": [Status.DEADLINE_EXCEEDED, Exit.TIMEOUT],
  "cancelled": [Status.CANCELLED, Exit.INTERRUPTED],
  "run-failed": [Status.ABORTED, Exit.FAILURE],
  "data-loss": [Status.DATA_LOSS, Exit.FAILURE],
  "io": [Status.INTERNAL, Exit.FAILURE],
  "internal": [Status.INTERNAL, Exit.FAILURE],
  "remote": [Status.UNKNOWN, Exit.FAILURE],
} as const satisfies Record<string, readonly [Status, Exit]>;

/** Stable name of a kind of failure. */
export type ErrorCode = keyof typeof TABLE;

/** Every code. */
export const ERROR_CODES = Object.keys(TABLE) as readonly ErrorCode[];

/** Extras of a {@linkcode CocosError}. */
export interface CocosErrorOptions {
  /** What caused it; never dropped. */
  cause?: unknown;
  /** What the person can do about it. */
  hint?: string;
  /** A gRPC status other than the code's own (the texts of the Go peers all use UNKNOWN). */
  status?: Status;
}

/**
 * The error every room of the house throws: a stable code, a message a person understands, the
 * cause, and a hint what to do.
 */
export class CocosError extends Error {
  override readonly name = "CocosError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly #status: Status | undefined;

  constructor(code: ErrorCode, message: string, options: CocosErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.#status = options.status;
  }

  /** gRPC status this error has on the wire. */
  get status(): Status {
    return this.#status ?? TABLE[this.code][0];
  }

  /** Exit code of a program that ends by this error. */
  get exitCode(): Exit {
    return TABLE[this.code][1];
  }
}

/** Any thrown value as a {@linkcode CocosError}; what is not one becomes `internal`. */
export function asCocosError(thrown: unknown): CocosError {
  if (thrown instanceof CocosError) return thrown;
  return new CocosError("internal", messageOf(thrown), { cause: thrown });
}

/** Text of any thrown value. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The code a gRPC status maps back to, for errors that come from a peer. */
export function codeOfStatus(status: number): ErrorCode {
  switch (status) {
    case Status.CANCELLED:
      return "cancelled";
    case Status.INVALID_ARGUMENT:
      return "invalid-argument";
    case Status.DEADLINE_EXCEEDED:
      return "timeout";
    case Status.NOT_FOUND:
      return "not-found";
    case Status.ALREADY_EXISTS:
      return "already-exists";
    case Status.PERMISSION_DENIED:
      return "permission-denied";
    case Status.RESOURCE_EXHAUSTED:
      return "exhausted";
    case Status.FAILED_PRECONDITION:
      return "wrong-state";
    case Status.ABORTED:
      return "conflict";
    case Status.OUT_OF_RANGE:
      return "out-of-range";
    case Status.UNIMPLEMENTED:
      return "not-supported";
    case Status.INTERNAL:
      return "internal";
    case Status.UNAVAILABLE:
      return "unavailable";
    case Status.DATA_LOSS:
      return "data-loss";
    case Status.UNAUTHENTICATED:
      return "unauthenticated";
    default:
      return "remote";
  }
}
