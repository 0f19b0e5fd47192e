// For tests: C programs compiled for WASI, where the compiler for that is installed.

/** Compiles a C file; undefined, and said why, where that can't be done. */
export async function compileWasm(
  source: string,
  into: string,
  flags: readonly string[] = [],
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const { success, stderr } = await new Deno.Command("/bin/sh", {
    args: [
      "-c",
      'exec clang --target=wasm32-wasi -O1 "$@"',
      "sh",
      ...flags,
      ...["-o", into, source],
    ],
  }).output();
  if (success) return await Deno.readFile(into);
  const [why = ""] = new TextDecoder().decode(stderr).trim().split("\n");
  console.log(`skipped: no C compiler for WASI here, Debian's clang, lld, wasi-libc (${why})`);
  return undefined;
}
