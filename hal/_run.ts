// Runs one external program and turns its failure into a typed error; no shell in between.
import { CocosError } from "../base/mod.ts";

/** How to run a program. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** Start with an empty environment. */
  readonly clearEnv?: boolean;
  /** The program is killed after this time; none by default. */
  readonly limitMs?: number;
  /** What the person can do when it fails. */
  readonly hint?: string;
}

/**
 * The Deno that runs the build, by the link `bin/_task.sh` makes: a build may read the project's
 * folder, and the binary can be anywhere.
 */
export function denoOf(root: string): string {
  return `${root}/.cache/deno`;
}

const text = new TextDecoder();

/** Last lines of a program's complaints, for an error message. */
function tail(bytes: Uint8Array, lines = 8): string {
  return text.decode(bytes).trim().split("\n").slice(-lines).join("\n  ");
}

/**
 * Runs a program to its end and answers its standard output.
 *
 * @throws {CocosError} `not-found` when the program is absent, `timeout` when it takes too long, `io`
 * with the last lines of its standard error when it fails.
 */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { hint, cwd, clearEnv = false, env = {}, limitMs } = options;
  let output: Deno.CommandOutput;
  let late = false;
  try {
    const child = new Deno.Command(program, {
      args: [...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      clearEnv,
      env: { LC_ALL: "C.UTF-8", ...env },
      ...(cwd === undefined ? {} : { cwd }),
    }).spawn();
    const timer = limitMs === undefined ? undefined : setTimeout(() => {
      late = true;
      child.kill("SIGTERM");
    }, limitMs);
    output = await child.output();
    clearTimeout(timer);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new CocosError("not-found", `Cannot build the image: ${program} is not on this machine`, {
      cause,
      hint: hint ?? `Install the package that has ${program} and start again.`,
    });
  }
  if (late) {
    throw new CocosError(
      "timeout",
      `Cannot build the image: ${program} ${args[0] ?? ""} was not done in ${limitMs} ms`,
      hint === undefined ? {} : { hint },
    );
  }
  if (!output.success) {
    throw new CocosError(
      "io",
      `Cannot build the image: ${program} ${args[0] ?? ""} ended with ${
        output.signal ?? output.code
      }:\n  ${tail(output.stderr.length > 0 ? output.stderr : output.stdout)}`,
      hint === undefined ? {} : { hint },
    );
  }
  return text.decode(output.stdout);
}
