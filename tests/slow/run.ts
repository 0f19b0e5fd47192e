// `deno task test:slow`: does each entry as often as the time allows, goes on where it stopped the
// last time, and prints one table. Entries with the smallest part of their target done come first.
import { ENTRIES } from "./_entries.ts";
import { type Entry, merged, NOTHING } from "./_entry.ts";
import { lines, page, type Table } from "./_page.ts";

const HELP =
  `Usage: deno task test:slow [--minutes N] [--only ID,…] [--again] [--from FILE] [--page]

  --minutes  how long to go on (default 10; 0 only prints the table); a go that has begun is ended
  --only     entries to do (default: all that have not reached their target)
  --again    forgets what is known of these entries
  --from     first takes the rows of another table of this suite that did more, as of another copy
  --page     writes docs/reliability.md from the table

Entries: ${ENTRIES.map(({ id }) => id).join(", ")}
`;

const STORE = new URL("../../build/slow.json", import.meta.url);

interface Options {
  readonly minutes: number;
  readonly entries: readonly Entry[];
  readonly again: boolean;
  readonly from: readonly string[];
  readonly page: boolean;
}

function readOptions(argv: readonly string[]): Options | undefined {
  let minutes = 10;
  let only: string[] | undefined;
  const from: string[] = [];
  let [again, wantsPage] = [false, false];
  const queue = argv.flatMap((word) => word.split("=", 2));
  const value = (flag: string) => {
    const word = queue.shift();
    if (word === undefined) throw new Error(`${flag} needs a value`);
    return word;
  };
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    switch (word) {
      case "--help":
      case "-h":
        return undefined;
      case "--minutes":
        minutes = Number(value(word));
        break;
      case "--only":
        only = value(word).split(",");
        break;
      case "--from":
        from.push(value(word));
        break;
      case "--again":
        again = true;
        break;
      case "--page":
        wantsPage = true;
        break;
      default:
        throw new Error(`unknown flag ${word}\n\n${HELP}`);
    }
  }
  if (!(minutes >= 0 && minutes <= 10_000)) throw new Error("--minutes is 0 to 10000");
  const entries = only === undefined ? ENTRIES : only.map((name) => {
    const entry = ENTRIES.find(({ id }) => id === name);
    if (entry === undefined) throw new Error(`unknown entry ${name}\n\n${HELP}`);
    return entry;
  });
  return { minutes, entries, again, from, page: wantsPage };
}

async function read(store: URL | string = STORE): Promise<Table> {
  try {
    return JSON.parse(await Deno.readTextFile(store));
  } catch (error) {
    if (store === STORE && error instanceof Deno.errors.NotFound) return { at: "", rows: {} };
    throw error;
  }
}

async function write(table: Table): Promise<void> {
  await Deno.mkdir(new URL(".", STORE), { recursive: true });
  await Deno.writeTextFile(STORE, JSON.stringify(table, null, 2) + "\n");
}

async function main(): Promise<number> {
  const options = readOptions(Deno.args);
  if (options === undefined) {
    console.log(HELP.trimEnd());
    return 0;
  }
  const { entries } = options;
  let table = await read();
  if (options.again) {
    const rows = { ...table.rows };
    for (const { id } of entries) delete rows[id];
    table = { ...table, rows };
  }
  for (const path of options.from) {
    const other = await read(path);
    const rows = { ...table.rows };
    for (const [id, row] of Object.entries(other.rows)) {
      if (row.runs > (rows[id]?.runs ?? 0)) rows[id] = row;
    }
    table = { at: other.at > table.at ? other.at : table.at, rows };
    await write(table);
  }
  const end = performance.now() + options.minutes * 60_000;
  while (performance.now() < end) {
    const part = (entry: Entry) => (table.rows[entry.id]?.runs ?? 0) / entry.target;
    const [entry] = entries.filter((each) => part(each) < 1).sort((a, b) => part(a) - part(b));
    if (entry === undefined) break;
    const row = table.rows[entry.id] ?? NOTHING;
    const runs = Math.min(entry.batch, entry.target - row.runs);
    const started = performance.now();
    // The seed is the number of runs before: a failure can be repeated, no go repeats another.
    const outcome = await entry.run(runs, row.runs);
    const seconds = (performance.now() - started) / 1000;
    const next = merged(entry, row, outcome, seconds);
    table = { at: new Date().toISOString(), rows: { ...table.rows, [entry.id]: next } };
    await write(table);
    console.error(
      `${entry.id}: ${next.runs} of ${entry.target} runs, ${next.failed} failed ` +
        `(this go: ${seconds.toFixed(0)} s)`,
    );
    for (const failure of outcome.failures) console.error(`  failed: ${failure}`);
  }
  console.log(lines(ENTRIES, table));
  if (options.page) {
    await Deno.writeTextFile(
      new URL("../../docs/reliability.md", import.meta.url),
      page(ENTRIES, table),
    );
  }
  return entries.some(({ id }) => (table.rows[id]?.failed ?? 0) > 0) ? 1 : 0;
}

try {
  Deno.exit(await main());
} catch (error) {
  console.error(`test:slow: ${error instanceof Error ? error.message : error}`);
  Deno.exit(2);
}
