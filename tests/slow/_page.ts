// The table of the slow suite, for a terminal and as docs/reliability.md.
import type { Entry, Row } from "./_entry.ts";
import { NOTHING } from "./_entry.ts";

/** What build/slow.json holds. */
export interface Table {
  /** When the last go ended, RFC 3339. */
  readonly at: string;
  readonly rows: Readonly<Record<string, Row>>;
}

const number = (value: number) => new Intl.NumberFormat("en").format(value);

/** A figure as a person reads it. */
function shown(name: string, value: number): string {
  const digits = Number.isInteger(value) ? 0 : value < 10 ? 2 : 1;
  return `${name} ${new Intl.NumberFormat("en", { maximumFractionDigits: digits }).format(value)}`;
}

/** Lines for a terminal. */
export function lines(entries: readonly Entry[], { rows }: Table): string {
  return entries.map(({ id, lines, target }) => {
    const row = rows[id] ?? NOTHING;
    const figures = Object.entries(row.figures).map(([name, value]) => shown(name, value));
    const head = `${id.padEnd(14)} ${lines.padEnd(10)} ${number(row.runs)} of ${number(target)} ` +
      `runs, ${row.failed} failed, ${row.seconds.toFixed(0)} s`;
    return [
      head,
      ...(figures.length === 0 ? [] : [`  ${figures.join(", ")}`]),
      ...row.failures.map((failure) => `  failed: ${failure.split("\n").join("\n    ")}`),
    ].join("\n");
  }).join("\n");
}

/** The page. */
export function page(entries: readonly Entry[], table: Table): string {
  const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  const rows = entries.map(({ id, lines, title, target }) => {
    const row = table.rows[id] ?? NOTHING;
    const figures = Object.entries(row.figures).map(([name, value]) => shown(name, value));
    return `| \`${id}\` | ${lines} | ${cell(title)} | ${number(row.runs)} of ${number(target)} | ` +
      `${row.failed} | ${cell(figures.join(", "))} |`;
  });
  return `# Reliability: what was done how often

Made by \`deno task test:slow --page\` from what \`deno task test:slow --minutes N\` did, the last time at
${table.at}; do not edit. Rows are defined in \`tests/slow/\`; a short form of most of them is in the
ordinary tests. The suite goes on where it stopped (its table is \`build/slow.json\`), so the goes of
one row may be of versions of the code that lie hours apart. Where fewer runs were made than wanted,
the rest is still to be done. Times and memory are those of the machine it ran on, two busy cores.

| entry | lines | what one run is, and what must hold | runs | failed | figures |
|---|---|---|---|---|---|
${rows.join("\n")}
`;
}
