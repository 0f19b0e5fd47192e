// `deno task bench`: measures, prints a table, writes build/bench.json. Times judge nothing by
// themselves: the machine may be busy, and no test depends on them.
import { bringPeers } from "../_peers.ts";
import { median, type Series, series, table } from "./_measure.ts";
import { type Row, ROWS } from "./_rows.ts";
import type { Maker } from "./_scene.ts";

const HELP = `Usage: deno task bench [--rows ID,ID…] [--runs N] [--tcg]

  --rows   rows to measure (default: all but those that boot a VM)
  --runs   runs of each, the median counts (default 3)
  --tcg    rows that boot a VM as well; they need the image (deno task hal)

With COCOS_PEERS, a folder that holds the Go cocos-cli, cocos-agent and cvms, the same work is done
by them, and the last column is our median over theirs. Rows of WebAssembly kernels need clang with
wasi-libc, and COCOS_WASMTIME, a Python that has the package wasmtime.

Rows: ${ROWS.map(({ id }) => id).join(", ")}
`;

/** Flags of the command line. */
interface Options {
  readonly rows: readonly Row[];
  readonly runs: number;
}

function readOptions(argv: readonly string[]): Options | undefined {
  let runs = 3;
  let names: string[] | undefined;
  let tcg = false;
  const queue = [...argv];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    const [flag, value = queue[0]] = word.split("=", 2) as [string, string | undefined];
    const takes = () => {
      if (!word?.includes("=")) queue.shift();
      if (value === undefined) throw new Error(`${flag} needs a value`);
      return value;
    };
    switch (flag) {
      case "--help":
      case "-h":
        return undefined;
      case "--tcg":
        tcg = true;
        break;
      case "--rows":
        names = takes().split(",");
        break;
      case "--runs":
        runs = Number(takes());
        break;
      default:
        throw new Error(`unknown flag ${flag}\n\n${HELP}`);
    }
  }
  if (!Number.isInteger(runs) || runs < 1 || runs > 100) throw new Error("--runs is 1 to 100");
  const rows = names === undefined
    ? ROWS.filter((row) => tcg || row.slow === undefined)
    : names.map((name) => {
      const row = ROWS.find(({ id }) => id === name);
      if (row === undefined) throw new Error(`unknown row ${name}\n\n${HELP}`);
      return row;
    });
  return { rows, runs };
}

/** Figures of one row. */
interface Measured {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly aim?: number;
  readonly ours?: Series;
  readonly go?: Series;
  /** Our median over the Go pair's. */
  readonly ratio?: number;
  readonly failures?: readonly string[];
}

async function measure(row: Row, runs: number, peers: string): Promise<Measured> {
  const values: Record<Maker, number[]> = { ours: [], go: [] };
  const failures: string[] = [];
  for (const maker of row.makers) {
    if (maker === "go" && peers === "") continue;
    for (let i = 0; i < runs; i++) {
      try {
        values[maker].push(await row.run(maker, peers));
      } catch (error) {
        failures.push(`${maker}: ${error instanceof Error ? error.message : error}`);
        break;
      }
    }
  }
  const { id, title, unit, aim } = row;
  const both = values.ours.length > 0 && values.go.length > 0;
  return {
    id,
    title,
    unit,
    ...(aim === undefined ? {} : { aim }),
    ...(values.ours.length === 0 ? {} : { ours: series(values.ours) }),
    ...(values.go.length === 0 ? {} : { go: series(values.go) }),
    ...(both ? { ratio: median(values.ours) / median(values.go) } : {}),
    ...(failures.length === 0 ? {} : { failures }),
  };
}

const figure = (value: number | undefined) =>
  value === undefined ? "" : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);

async function main(): Promise<number> {
  const options = readOptions(Deno.args);
  if (options === undefined) {
    console.log(HELP.trimEnd());
    return 0;
  }
  const brought = await bringPeers();
  const peers = "folder" in brought ? brought.folder : "";
  if ("missing" in brought) console.error(`skipped: the Go pair: ${brought.missing}`);
  const measured: Measured[] = [];
  for (const row of options.rows) {
    const one = await measure(row, options.runs, peers);
    measured.push(one);
    console.error(`${one.title}: ${figure(one.ours?.median)} ${one.unit}`);
    for (const failure of one.failures ?? []) console.error(`  failed: ${failure}`);
  }
  console.log(table([
    ["", "ours", "unit", "aim", "Go pair", "ours/Go"],
    ...measured.map(({ title, unit, aim, ours, go, ratio }) => [
      title,
      figure(ours?.median),
      unit,
      figure(aim),
      figure(go?.median),
      figure(ratio),
    ]),
  ]));
  const out = new URL("../../build/bench.json", import.meta.url);
  await Deno.mkdir(new URL(".", out), { recursive: true });
  await Deno.writeTextFile(
    out,
    JSON.stringify({ at: new Date().toISOString(), runs: options.runs, rows: measured }, null, 2) +
      "\n",
  );
  return measured.some(({ failures }) => failures !== undefined) ? 1 : 0;
}

try {
  Deno.exit(await main());
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  Deno.exit(2);
}
