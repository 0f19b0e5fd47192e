// How the child tells the runner what came of a module: by exit codes the guest can't choose. Its
// words never leave the sandbox, so a code is all that is told.

/** Highest exit code a guest can have told as it is; shells and sandboxes use those above. */
export const MAX_GUEST_CODE = 125;

/** Exit codes of the child itself. */
export const Own = {
  /** The guest's exit code was above {@linkcode MAX_GUEST_CODE}. */
  CODE_ABOVE: 200,
  /** The engine refused the module; nothing of it ran. */
  NOT_VALID: 201,
  /** Its memory is shared between threads, or can't be made as large as it starts. */
  MEMORY_NOT_GIVEN: 202,
  /** It called the system before it was started. */
  TOO_EARLY: 203,
  /** Traps. */
  UNREACHABLE: 210,
  OUT_OF_BOUNDS: 211,
  STACK: 212,
  ARITHMETIC: 213,
  CALL: 214,
  EXCEPTION: 215,
  /** Something the host did not expect. */
  HOST: 220,
} as const;

/** An exit code of the child itself. */
export type Own = (typeof Own)[keyof typeof Own];

/** What a trap is called, by words of V8's messages. */
const TRAPS: readonly (readonly [RegExp, Own])[] = [
  [/unreachable/, Own.UNREACHABLE],
  [/memory access out of bounds|operation does not support unaligned/, Own.OUT_OF_BOUNDS],
  [/array element access|dereferencing a null|illegal cast/, Own.OUT_OF_BOUNDS],
  [/call stack size|stack overflow/i, Own.STACK],
  [/divide|remainder|unrepresentable/, Own.ARITHMETIC],
  [/table|signature|null function/, Own.CALL],
];

/** The exit code for what ended a guest. */
export function ownCode(thrown: unknown): Own {
  // TypeScript doesn't know the class yet.
  if (Object.prototype.toString.call(thrown) === "[object WebAssembly.Exception]") {
    return Own.EXCEPTION;
  }
  if (!(thrown instanceof WebAssembly.RuntimeError) && !(thrown instanceof RangeError)) {
    return Own.HOST;
  }
  return TRAPS.find(([words]) => words.test(thrown.message))?.[1] ?? Own.HOST;
}
