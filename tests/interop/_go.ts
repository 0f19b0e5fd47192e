// Builds the Go programs the tests speak with, from modules whose checksums are pinned in go.sum.
// Where there is no Go, or its modules can't be fetched, the reason is what comes back.
const root = new URL("../../", import.meta.url).pathname;

/** A program that was built, or why not. */
export type Built = { readonly path: string } | { readonly missing: string };

/**
 * Builds a package of a module beside this file into `.cache/go/`; Go's own cache makes it quick the
 * second time.
 *
 * @param module folder here
 * @param target import path; `.` for the module's own program
 */
export async function buildGo(module: string, target: string): Promise<Built> {
  const path = `${root}.cache/go/${module}`;
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command("go", {
      args: ["build", "-trimpath", "-o", path, target],
      cwd: new URL(`${module}/`, import.meta.url),
      env: { GOFLAGS: "-mod=readonly -buildvcs=false" },
      stdin: "null",
    }).output();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { missing: "go is not on PATH" };
    throw error;
  }
  if (output.success) return { path };
  const text = new TextDecoder().decode(output.stderr);
  // What Go says when a module can't be had; anything else is a mistake in the program.
  if (/dial tcp|no such host|i\/o timeout|403 Forbidden|404 Not Found|toolchain/.test(text)) {
    return { missing: `the modules of ${module} can't be fetched` };
  }
  throw new Error(`go build of ${module} failed:\n${text}`);
}
