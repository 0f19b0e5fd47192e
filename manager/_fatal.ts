// The last words of a program that can't go on.
import { asCocosError } from "../base/mod.ts";

/** Prints the error and its hint on stderr and ends with its exit code. */
export function fatal(thrown: unknown): never {
  const error = asCocosError(thrown);
  console.error(`cocos-manager: ${error.message}`);
  if (error.hint !== undefined) console.error(`hint: ${error.hint}`);
  Deno.exit(error.exitCode);
}
