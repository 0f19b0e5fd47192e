// Small measuring tools: medians, a process's memory as the kernel counts it, a table.

/** What was measured for one row by one maker. */
export interface Series {
  readonly values: readonly number[];
  readonly median: number;
}

/** Middle value; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? NaN) + high) / 2;
}

/** A series of its values. */
export function series(values: readonly number[]): Series {
  return { values, median: median(values) };
}

/** Milliseconds that work takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/**
 * A field of /proc/<pid>/status in MiB: `VmRSS` now, `VmHWM` at its highest. Deno keeps /proc from
 * its programs, so a child reads it.
 */
export async function memoryOf(pid: number, field: "VmRSS" | "VmHWM"): Promise<number> {
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/status`] }).output();
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(new TextDecoder().decode(stdout));
  if (kib === null) throw new Error(`no ${field} of process ${pid}`);
  return Number(kib[1]) / 1024;
}

/** The one process whose command line holds all words. */
export async function pidOf(...words: string[]): Promise<number> {
  const { stdout } = await new Deno.Command("ps", { args: ["-e", "-ww", "-o", "pid=,args="] })
    .output();
  const found = new TextDecoder().decode(stdout).split("\n")
    .filter((line) => words.every((word) => line.includes(word)) && !/\bsh\b/.test(line));
  if (found.length !== 1) throw new Error(`${found.length} processes with ${words.join(" ")}`);
  return Number.parseInt((found[0] as string).trim());
}

/** Text of a table; the first row is its head, numbers stand right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length))
  );
  return rows.map((row) =>
    row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)
    ).join("  ").trimEnd()
  ).join("\n");
}
