// Rows of Python: what the sandbox adds to the interpreter's own start, and to numeric work. Bare and
// sandboxed take turns in one process, so that a busy machine is busy for both.
import { House } from "../_house.ts";
import { median } from "./_measure.ts";
import type { Row } from "./_rows.ts";

/** A start of a script and what it printed. */
interface Turn {
  readonly ms: number;
  readonly text: string;
}

/** Runs a script so often bare and so often in the sandbox. */
async function turns(
  script: string,
  count: number,
): Promise<{ bare: Turn[]; sandboxed: Turn[] }> {
  await using house = await House.open("bench");
  const directory = house.path("job");
  for (const name of ["results", "datasets"]) {
    await Deno.mkdir(`${directory}/${name}`, { recursive: true });
  }
  await Deno.writeTextFile(`${directory}/algo`, script);
  const { code, stdout, stderr } = await house.runAt("sh", [
    "-c",
    `exec "$COCOS_DENO" run --quiet --no-prompt --cached-only --ignore-env \
      --allow-run=/usr/bin/bwrap,/usr/bin/python3 --allow-read="$2" \
      "$1/runtimes/python/_compare.ts" "$2" /usr/bin/python3 "$3"`,
    ...["sh", House.path("").replace(/\/$/, ""), directory, String(count)],
  ], { PATH: "/usr/bin:/bin", HOME: Deno.env.get("HOME") ?? "/root" });
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  const all: { bare: Turn; sandboxed: Turn }[] = JSON.parse(stdout);
  return { bare: all.map(({ bare }) => bare), sandboxed: all.map(({ sandboxed }) => sandboxed) };
}

/** Numbers, lists, dictionaries and text for a few seconds; prints the seconds of the work alone. */
const KERNEL = `
import math, time
started = time.process_time()
total = 0.0
for i in range(1, 2_000_000):
    total += math.sin(i) / math.sqrt(i)
table = {}
for i in range(600_000):
    table[i * 7919 % 100_003] = table.get(i % 100_003, 0) + i
words = sorted(str(value) for value in table.values())
square = [[(i * j) % 97 for j in range(110)] for i in range(110)]
product = [[sum(a * b for a, b in zip(row, column)) for column in zip(*square)] for row in square]
print(time.process_time() - started)
`;

/** The rows. */
export const PYTHON_ROWS: readonly Row[] = [
  {
    id: "python-start",
    title: "python: sandbox start over the bare interpreter",
    unit: "ms",
    aim: 25,
    makers: ["ours"],
    run: async () => {
      const { bare, sandboxed } = await turns("pass\n", 21);
      return median(sandboxed.map(({ ms }) => ms)) - median(bare.map(({ ms }) => ms));
    },
  },
  {
    id: "python-numeric",
    title: "python: numeric work, processor time over bare",
    unit: "×",
    aim: 1.03,
    makers: ["ours"],
    run: async () => {
      const { bare, sandboxed } = await turns(KERNEL, 5);
      const best = (all: readonly Turn[]) => Math.min(...all.map(({ text }) => Number(text)));
      return best(sandboxed) / best(bare);
    },
  },
];
